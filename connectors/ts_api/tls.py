"""Decide whether a server's certificate is trusted: by authority, by fingerprint, or not at all.

One context serves requests and sockets, so that both trust the same. Self-signed certificates are
the norm here (the vendor's own examples switch checking off); pinning the fingerprint is the safe way.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from typing import Any

from bridge.sdk import ConfigError

from .config import TsApiConfig


def trust(config: TsApiConfig) -> ssl.SSLContext | None:
    """Return what to trust, or None for plain http. Raises ConfigError if `ca_file` cannot be used."""
    if not config.url.startswith("https:"):
        return None
    if config.fingerprint is not None:
        return _pinned(config.fingerprint)
    if config.insecure:
        return _unchecked()
    try:
        return ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"ca_file {config.ca_file} cannot be used: {exc}") from exc


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _pinned(fingerprint: str) -> ssl.SSLContext:
    """Trust exactly one certificate, whoever signed it and whatever name it bears.

    The check sits in the handshake itself, so nothing is ever sent to another server; in that of asyncio's
    connections (which requests and event sockets use) as in that of plain sockets.
    """

    def check(certificate: bytes | None) -> None:
        seen = hashlib.sha256(certificate or b"").hexdigest()
        if not hmac.compare_digest(seen, fingerprint):
            raise ssl.SSLCertVerificationError(f"the certificate has another fingerprint: {seen}")

    class _Pinned(ssl.SSLObject):
        def do_handshake(self, *args: Any, **kwargs: Any) -> None:
            super().do_handshake(*args, **kwargs)
            check(self.getpeercert(binary_form=True))

    class _PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, *args: Any, **kwargs: Any) -> None:
            super().do_handshake(*args, **kwargs)
            check(self.getpeercert(binary_form=True))

    context = _unchecked()
    context.sslobject_class = _Pinned
    context.sslsocket_class = _PinnedSocket
    return context
