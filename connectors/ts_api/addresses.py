"""Build and mend addresses: query strings as the server wants them, and URLs that stay on the server.

Addresses inside answers name `localhost`, an inside host or no host at all; credentials go to the
configured host and to no other (TS-API guide 0.9.20, "vod"; v1 guide 1.0.2, relative URLs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

Value = str | int | bool | None
"""A parameter's value; None is a bare flag, `&stop`."""

_ILLEGAL = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?&=+,;@!$'*%]")
_WEB = frozenset({"http", "https"})
_SOCKET = frozenset({"ws", "wss"})
_STREAM = frozenset({"rtsp", "rtmp"})


def query(params: Mapping[str, Value]) -> str:
    """Return `?a=1&flag`, or nothing. Commas stay as they are: the server's lists are written with them."""
    parts = [name if value is None else f"{name}={_text(value)}" for name, value in params.items()]
    return "?" + "&".join(parts) if parts else ""


def _text(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(str(value), safe=",", errors="replace")


class Host:
    """The configured server's place on the network."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.secure = parts.scheme == "https"
        self.netloc = parts.netloc
        self.hostname = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        self.host_and_port = self.netloc if parts.port else f"{self.hostname}:{443 if self.secure else 80}"

    def socket(self, path: str, params: Mapping[str, Value]) -> str:
        """Return the address of one of the server's sockets."""
        return f"{'wss' if self.secure else 'ws'}://{self.netloc}{path}{query(params)}"

    def path(self, address: str) -> str:
        """Return path and query of an address, percent-encoded where it must be."""
        parts = urlsplit(address)
        path = "/" + parts.path.lstrip("/")
        return _encoded(path + (f"?{parts.query}" if parts.query else ""))

    def resolve(self, address: str) -> str | None:
        """Return the address on the configured server, whatever host it names; None if it is no address for us.

        Web addresses keep path and query; streams keep their port too, which is another service's.
        """
        try:
            parts = urlsplit(address.strip())
            port = parts.port
        except ValueError:
            return None
        if not parts.path.strip("/"):
            return None
        scheme = parts.scheme.lower()
        if not scheme or scheme in _WEB:
            return self.url + self.path(address.strip())
        if scheme in _SOCKET:
            return f"{'wss' if self.secure else 'ws'}://{self.netloc}{self.path(address.strip())}"
        if scheme in _STREAM:
            return f"{scheme}://{self.hostname}{f':{port}' if port else ''}{self.path(address.strip())}"
        return None


def _encoded(path: str) -> str:
    return _ILLEGAL.sub(lambda m: quote(m[0], safe="", errors="replace"), path)
