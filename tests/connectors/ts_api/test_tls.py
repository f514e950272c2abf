"""Which certificates are trusted, alike for requests and sockets.

`server.pem` is a self-signed certificate for 127.0.0.1 with its key, made for these tests and trusted by nobody.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

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


def test_a_file_without_certificates_is_a_mistake_of_the_configuration() -> None:
    """It names the file."""
    with pytest.raises(ConfigError, match=r"nothing\.pem cannot be used"):
        trust(config(url="https://nvr.test", ca_file="nothing.pem"))
    with pytest.raises(ConfigError, match="cannot be used"):
        trust(config(url="https://nvr.test", ca_file=__file__))


def test_plain_http_needs_no_trust() -> None:
    """Nothing is loaded for it."""
    assert trust(config()) is None
