"""Which certificates are trusted, alike for requests and sockets.

`server.pem` is a self-signed certificate for 127.0.0.1 with its key, made for these tests and trusted by nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from bridge.sdk import ConfigError, ConnectorUnavailableError
from connectors.ts_api.connector import TsApi
from connectors.ts_api.tls import trust
from tests.fakes import Running, listening

from .far_side import FarSide
from .support import DATA, config, context

PEM = DATA.parent / "tls" / "server.pem"
FINGERPRINT = hashlib.sha256(
    ssl.PEM_cert_to_DER_cert(PEM.read_text().partition("-----END PRIVATE KEY-----\n")[2])
).hexdigest()


@asynccontextmanager
async def session(**values: Any) -> AsyncIterator[tuple[FarSide, Running]]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(PEM)
    async with FarSide(server).running() as far:
        connector = TsApi(far.config(**values), context())
        try:
            async with listening(connector) as running:
                yield far, running
        finally:
            await connector.aclose()


@pytest.mark.parametrize("values", [{"fingerprint": FINGERPRINT}, {"ca_file": PEM}, {"insecure": True}])
async def test_a_trusted_server_is_listened_to(values: dict[str, Any]) -> None:
    """By fingerprint, by authority, or blindly, which health then shows."""
    async with session(**values) as (far, running):
        await running.ready()
        assert far.connections == 1
        assert ("tls_not_verified" in running.session.flaws) == ("insecure" in values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "its certificate is not trusted"),
        ({"fingerprint": "00" * 32}, f"the certificate has another fingerprint: {FINGERPRINT}"),
    ],
)
async def test_a_stranger_learns_nothing(values: dict[str, Any], words: str) -> None:
    """No request reaches a server whose certificate is not trusted."""
    async with session(**values) as (far, running):
        error = await running.failure()
        assert isinstance(error, ConnectorUnavailableError)
        assert words in str(error)
        assert far.requests == []


@asynccontextmanager
async def _echo() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A TLS server that keeps what it is sent."""
    heard: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(PEM)
    async with await asyncio.start_server(keep, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1], heard


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("way", ["asyncio", "socket"])
@pytest.mark.parametrize("right", [True, False])
def test_a_pin_holds_on_every_way_out(loop: Callable[[Coroutine[Any, Any, None]], None], way: str, right: bool) -> None:
    """In asyncio, in uvloop, which `run` uses, and on a plain socket; a wrong server is sent no byte."""
    context = trust(config(url="https://nvr.test", fingerprint=FINGERPRINT if right else "00" * 32))
    assert context is not None

    def plain(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as bare, context.wrap_socket(bare) as secure:
            secure.sendall(b"secret")

    async def connect(port: int) -> None:
        if way == "socket":
            await asyncio.to_thread(plain, port)
            return
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"secret")
        writer.close()
        await writer.wait_closed()

    async def scene() -> None:
        async with _echo() as (port, heard):
            if right:
                await connect(port)
                async with asyncio.timeout(5):
                    while not heard:  # noqa: ASYNC110 - the other side of a socket
                        await asyncio.sleep(0.01)
                assert heard == [b"secret"]
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match=f"another fingerprint: {FINGERPRINT}"):
                    await connect(port)
                await asyncio.sleep(0)
                assert [part for part in heard if part] == []

    loop(scene())


def test_a_file_without_certificates_is_a_mistake_of_the_configuration() -> None:
    """It names the file."""
    with pytest.raises(ConfigError, match=r"nothing\.pem cannot be used"):
        trust(config(url="https://nvr.test", ca_file="nothing.pem"))
    with pytest.raises(ConfigError, match="cannot be used"):
        trust(config(url="https://nvr.test", ca_file=__file__))


def test_plain_http_needs_no_trust() -> None:
    """Nothing is loaded for it."""
    assert trust(config()) is None
