"""Read single values of TS-API messages: numbers, channels, codes, addresses, encoded texts, secrets.

Tolerant where nothing is lost by it (R-9, R-10, R-12, R-13 below mark the choices of docs/ref/ts-api.md),
and silent: a value that cannot be read is None, and whoever asked decides whether that matters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import unquote

Dialect = Literal["v0", "v1"]
State = Literal["connected", "connecting", "disconnected", "auth_failed", "no_video", "unused", "unknown"]

# TS-API guide 0.9.20, "Channel status"; 1000 and 1404 since 0.9.7, for channels that play a file.
_STATES_V0: Mapping[int, State] = {
    -5: "connecting",  # rebooting
    -4: "connecting",  # reconnecting
    -3: "connecting",
    -2: "connecting",  # loading
    -1: "unused",
    0: "disconnected",  # no response
    1: "unknown",  # "used": configured, nothing said about the link
    2: "connected",  # has video
    200: "connected",
    401: "auth_failed",
    403: "auth_failed",  # camera blocked
    404: "disconnected",  # no network
    408: "disconnected",  # timeout
    410: "no_video",
    503: "disconnected",  # camera service failure
    1000: "no_video",  # playback complete
    1404: "disconnected",  # file not found
}
# v1 guide 1.1.0, "Channel status". The same numbers mean something else in v0.
_STATES_V1: Mapping[int, State] = {0: "connected", -1: "disconnected", -2: "connecting", -3: "auth_failed"}
_STATES: Mapping[Dialect, Mapping[int, State]] = {"v0": _STATES_V0, "v1": _STATES_V1}
_ALWAYS_CONNECTED = 200

# Members whose text is percent-encoded inside the JSON (TS-API guide 0.9.20; v1 encodes nothing).
# Live messages carry the same members in the clear, so each is named with the place it comes from.
ENCODED: frozenset[tuple[str, str]] = frozenset(
    {("plates", "srcName"), ("log", "storagePath"), ("info", "siteName"), ("recordings", "title")}
)

_CREDENTIAL = (
    r"auth|authorization|login|token|access_?token|refresh_?token|api_?key|x-api-key|session|session_?id"
    r"|password|passwd|pwd|secret"
)
_SECRET_KEY = re.compile(_CREDENTIAL, re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    rf"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-Fa-f]{{2}}))({_CREDENTIAL})(=|%3D)[^&#;\s\"'<>]*", re.IGNORECASE
)
# An address may be a parameter of another one, and percent-encoded there.
_USERINFO = re.compile(r"(?:(?<=://)|(?<=%3A//)|(?<=%3A%2F%2F))[^/?#\s\"'<>]*(?:@|%40)", re.IGNORECASE)
# A password may hold `/`, `?` or `#`; a port may not be followed by anything but those.
_LONG_USERINFO = re.compile(r"(?<=://)[^/?#\s:@]*:(?!\d{1,5}(?:[/?#\s]|$))[^\s\"'<>]*@")
# What any of the above contains. Most messages hold none of it, and plain searching tells so 50 times faster.
_SUSPECT = ("@", "%40", "auth", "login", "token", "key", "session", "passw", "pwd", "secret")
_HIDDEN = "***"

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_MAX_INTEGER = 10**18
_MAX_CHANNEL = 10**6
_MAX_TOKEN = 200
_SURELY_FITS = _MAX_TOKEN // 12
"""Characters; each takes at most four bytes, and each of these three places."""
_PLAIN_BYTES = re.compile(rb"[A-Za-z0-9-]")
_NUMERIC = (int, float, str)
_FLAGS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
MAX_TEXT = 4096
"""Characters of a text meant for people; more is cut off."""
_MAX_PATH = 2048
# RFC 3986, appendix B, of which path and query are wanted.
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?(?://[^/?#]*)?([^?#]*)(?:\?([^#]*))?", re.IGNORECASE | re.ASCII)
_MAX_LIST = 256
_MAX_WORD = 64


# --- plain values ----------------------------------------------------------------------------------------


def text(value: Any) -> str | None:
    """Return a text for people; None for nothing, an empty text or something else."""
    return value[:MAX_TEXT] if isinstance(value, str) and value else None


def code(value: Any) -> str | None:
    """Return a code or id as text, uncut; a whole number is one too."""
    if isinstance(value, str):
        return value.strip() or None
    number = integer(value)
    return None if number is None else str(number)


def integer(value: Any) -> int | None:
    """Return a whole number, also one written as text or with a point and nothing after it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value.strip()) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _MAX_INTEGER else None
    return value if isinstance(value, int) and abs(value) < _MAX_INTEGER else None


def flag(value: Any) -> bool | None:
    """Return true or false, also written as a number or a word."""
    return value if isinstance(value, bool) else _FLAGS.get((code(value) or "").lower())


def percent(value: Any) -> float | None:
    """Return a confidence from 0 to 100; engines differ, and what is outside says nothing."""
    number = _number(value)
    return number if number is not None and 0 <= number <= 100 else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, _NUMERIC):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def pixel_pair(value: Any) -> tuple[int, int] | None:
    """Return two picture coordinates or sizes."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    first, second = _number(value[0]), _number(value[1])
    if first is None or second is None or max(abs(first), abs(second)) > _MAX_CHANNEL:
        return None
    return round(first), round(second)


def members(value: Any) -> Mapping[str, Any]:
    """Return an object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Return an array, or an empty one."""
    return value if isinstance(value, list) else []


def words(value: Any) -> tuple[str, ...]:
    """Return a list of lower-case words; one word alone is a list of one."""
    listed = [value] if isinstance(value, str) else items(value)[:_MAX_LIST]
    return tuple(found for item in listed if (found := word(item)) is not None)


def word(value: Any) -> str | None:
    """Return one lower-case word."""
    return value.strip().lower()[:_MAX_WORD] or None if isinstance(value, str) else None


# --- channels (R-9) --------------------------------------------------------------------------------------


def channels(value: Any) -> tuple[str, ...]:
    """Return the 1-based channels a value names: a number, its text, `1,2`, an array, or objects with `chid`."""
    if isinstance(value, dict):
        return channels(value.get("chid")) if not isinstance(value.get("chid"), dict) else ()
    if isinstance(value, list):
        flat = [item.get("chid") if isinstance(item, dict) else item for item in value[:_MAX_LIST]]
        return tuple(dict.fromkeys(name for item in flat if (name := _channel(item)) is not None))
    if isinstance(value, str) and "," in value:
        return channels(list(value[:MAX_TEXT].split(",")))
    name = _channel(value)
    return () if name is None else (name,)


def _channel(value: Any) -> str | None:
    number = integer(value)
    return str(number) if number is not None and 0 < number <= _MAX_CHANNEL else None


def channel_of(message: Mapping[str, Any]) -> str | None:
    """Return the channel of a message: `chid` in any of its forms, else `channel`."""
    for name in ("chid", "channel"):
        found = channels(message.get(name))
        if found:
            return found[0]
    return None


def fits_subject(name: str) -> bool:
    """Tell whether a name can be filed as one token of a subject on the bus."""
    if len(name) <= _SURELY_FITS:
        return True
    raw = name.encode()
    return len(raw) <= _MAX_TOKEN and 3 * len(raw) - 2 * len(_PLAIN_BYTES.findall(raw)) <= _MAX_TOKEN


# --- channel status (R-6) --------------------------------------------------------------------------------


def state_of(status: int | None, codes: Dialect) -> State:
    """Return what a status code means in one dialect's table; 200 means connected in both."""
    if status is None:
        return "unknown"
    return "connected" if status == _ALWAYS_CONNECTED else _STATES[codes].get(status, "unknown")


def codes_in_use(statuses: Iterable[int], known: Dialect) -> Dialect:
    """Return whose codes these are. A v1 socket that sends one code only v0 has uses v0's table."""
    if known == "v1" and all(status in _STATES_V1 for status in statuses):
        return "v1"
    return "v0"


# --- encoded texts (R-10) --------------------------------------------------------------------------------


def decoded(place: str, name: str, value: Any, dialect: Dialect) -> Any:
    """Return a value percent-decoded once, if this member is encoded there and the result is text."""
    if dialect != "v0" or (place, name) not in ENCODED or not isinstance(value, str) or "%" not in value:
        return value
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        return value


# --- addresses (R-13) ------------------------------------------------------------------------------------


def path_of(address: Any) -> str | None:
    """Return path and query of an address, without host and credentials; None if it has none.

    Relative and absolute addresses, `localhost` and inside hosts come out alike: the place is always
    the configured server, because credentials go nowhere else.
    """
    if not isinstance(address, str) or not address.strip() or len(address) > _MAX_PATH:
        return None
    if "@" in address:
        address = _LONG_USERINFO.sub("", _USERINFO.sub("", address))
    match = _ADDRESS.match(address.strip())
    if match is None:
        return None
    path, query = match.groups()
    path = "/" + path.lstrip("/") if path.strip("/") else ""
    query = "&".join(item for item in query.split("&") if not _is_secret(item)) if query else ""
    return (f"{path}?{query}" if query else path) or None


def _is_secret(parameter: str) -> bool:
    return _SECRET_KEY.fullmatch(unquote(parameter.partition("=")[0])) is not None


def scheme_of(address: Any) -> str:
    """Return an address's scheme, `http` for a relative one."""
    return address.partition("://")[0].strip().lower() if isinstance(address, str) and "://" in address else "http"


def basename(path: str | None) -> str | None:
    """Return the file name in a path: what the vendor's stills are told apart by."""
    return (path or "").partition("?")[0].rpartition("/")[2] or None


# --- secrets ---------------------------------------------------------------------------------------------


def redact(value: Any) -> Any:
    """Return a JSON value without credentials: members, query parameters and user parts of addresses."""
    if isinstance(value, str):
        return _redact_text(value) if is_suspect(value) else value
    if isinstance(value, dict):
        return {_redact_text(name): _redact_member(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [redact(item) for item in value]
    return value


def _redact_member(name: str, value: Any) -> Any:
    return _HIDDEN if value and _SECRET_KEY.fullmatch(name) else redact(value)


def _redact_text(value: str) -> str:
    plain = _USERINFO.sub(f"{_HIDDEN}@", value)
    plain = _LONG_USERINFO.sub(f"{_HIDDEN}@", plain)
    return _SECRET_PARAMETER.sub(rf"\1\2{_HIDDEN}", plain)


def is_suspect(text_or_json: str) -> bool:
    """Tell whether a text may hold a credential and needs a second look."""
    lower = text_or_json.lower()
    return any(sign in lower for sign in _SUSPECT)
