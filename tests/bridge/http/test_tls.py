"""The port with TLS: the same limits and answers, nothing older than 1.2, and files that are wrong are said."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from bridge.config.models import HttpTls
from bridge.errors import StartError
from bridge.http.limits import Limits
from tests.bridge.http.harness import BOOTH, Log, serving


def _certificate(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody trusts, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]
    request += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert, *more]
    subprocess.run(request, check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The server's."""
    return _certificate(tmp_path_factory.mktemp("tls"), "server", "-nodes")


async def test_pushes_are_taken_over_tls(files: tuple[Path, Path]) -> None:
    """Who trusts the certificate is served; who speaks plain HTTP is not."""
    log = Log()
    async with serving(log, tls=HttpTls(cert_file=files[0], key_file=files[1])) as server:
        assert server.url.startswith("https://")
        trust = ssl.create_default_context(cafile=files[0])
        async with httpx.AsyncClient(base_url=server.url, verify=trust, auth=BOOTH) as client:
            assert (await client.post("/push", json={"plate": "A"})).status_code == 200
        async with httpx.AsyncClient(base_url=server.url.replace("https", "http"), auth=BOOTH) as client:
            with pytest.raises(httpx.TransportError):
                await client.post("/push", json={"plate": "A"})
    assert len(log.events) == 1


async def test_nothing_older_than_1_2_is_spoken(files: tuple[Path, Path]) -> None:
    """Whatever the client would take."""
    async with serving(Log(), tls=HttpTls(cert_file=files[0], key_file=files[1])) as server:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="deprecated"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="deprecated"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=old)


async def test_a_handshake_that_does_not_go_on_ends(files: tuple[Path, Path]) -> None:
    """In the time that a first byte has without TLS."""
    tls = HttpTls(cert_file=files[0], key_file=files[1])
    async with serving(Log(), tls=tls, limits=replace(Limits(), first_byte=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_clients_may_be_asked_for_a_certificate(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Without one of that authority nobody is heard at all."""
    log = Log()
    mine = _certificate(tmp_path, "client", "-nodes")
    async with serving(log, tls=HttpTls(cert_file=files[0], key_file=files[1], ca_file=mine[0])) as server:
        for shown in (False, True):
            trust = ssl.create_default_context(cafile=files[0])
            if shown:
                trust.load_cert_chain(*mine)
            async with httpx.AsyncClient(base_url=server.url, verify=trust, auth=BOOTH) as client:
                if shown:
                    assert (await client.post("/push", json={"plate": "A"})).status_code == 200
                else:
                    with pytest.raises(httpx.TransportError):
                        await client.post("/push", json={"plate": "A"})
    assert len(log.events) == 1


@pytest.mark.parametrize("wrong", ["missing", "swapped", "empty", "encrypted", "other_key"])
async def test_files_that_cannot_be_used_are_said(files: tuple[Path, Path], tmp_path: Path, wrong: str) -> None:
    """With the file and the cure, before anything listens; a key with a password does not wait for a terminal."""
    (tmp_path / "empty.pem").touch()
    tls = {
        "missing": lambda: HttpTls(cert_file=tmp_path / "none.pem"),
        "swapped": lambda: HttpTls(cert_file=files[1], key_file=files[0]),
        "empty": lambda: HttpTls(cert_file=tmp_path / "empty.pem"),
        "encrypted": lambda: _tls(_certificate(tmp_path, "locked", "-passout", "pass:secret")),
        "other_key": lambda: HttpTls(cert_file=files[0], key_file=_certificate(tmp_path, "other", "-nodes")[1]),
    }[wrong]()
    with pytest.raises(StartError, match=r"http\.tls: .*(does not exist|cannot be used)"):
        async with serving(Log(), tls=tls):
            pass


def _tls(files: tuple[Path, Path]) -> HttpTls:
    return HttpTls(cert_file=files[0], key_file=files[1])
