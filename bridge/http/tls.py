"""The certificate that the HTTP port shows, and whom it asks for one. Nothing older than TLS 1.2 is spoken."""

from __future__ import annotations

import ssl

from bridge.config.models import HttpTls
from bridge.errors import StartError


def context(config: HttpTls) -> ssl.SSLContext:
    """Return what to serve with. Raises StartError when a file cannot be used."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION
    made.set_alpn_protocols(["http/1.1"])
    key = config.key_file or config.cert_file
    try:
        # Without a password of its own OpenSSL would ask the terminal for one, and wait.
        made.load_cert_chain(config.cert_file, key, password=_no_password)
    except (OSError, ssl.SSLError) as exc:
        raise _unusable(f"http.tls: {config.cert_file} with {key}", exc) from exc
    if config.ca_file is not None:
        try:
            made.load_verify_locations(config.ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise _unusable(f"http.tls.ca_file {config.ca_file}", exc) from exc
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _no_password() -> str:
    return ""


def _unusable(what: str, exc: OSError | ssl.SSLError) -> StartError:
    if isinstance(exc, FileNotFoundError):
        return StartError(f"{what}: a file does not exist", "correct the path; it is relative to the configuration")
    if isinstance(exc, PermissionError):
        return StartError(f"{what}: may not be read", "let the bridge's user read it")
    reason = getattr(exc, "reason", None) or "not usable"
    return StartError(
        f"{what} cannot be used ({str(reason).replace('_', ' ').lower()})",
        "give PEM files: a certificate and the key that belongs to it, without a password",
    )
