"""Keep secrets out of everything the bridge says about itself.

Two nets: shapes that secrets have wherever they come from (`auth=`, `Authorization:`, `user:pass@host`, `whsec_…`),
and the very secrets of this configuration in every form they may take on the way. TS-API puts credentials into URLs,
and libraries put URLs into exceptions; so this runs over finished texts, not over what somebody remembered to mask.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretStr

MASK = "***"
MIN_LENGTH = 4
"""Shorter secrets cannot be told from ordinary text; masking them would only make logs unreadable."""

_PLAIN = r"[\w-]*(?:password|passwd|passphrase|secret|token|apikey|api[-_]key)|pwd"
_NAME = rf"(?:{_PLAIN}|auth|login|session|session[-_]?id|[\w-]*(?:authorization|signature)|(?:set-)?cookie)"
_START = r"(?i)(?:(?<![\w-])|(?<=%26)|(?<=%3F))"
_QUOTED = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\+"[^"]*")"""
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Authorization: Basic …, Cookie: a=b; c=d: up to the end of the line, or of the quoted text it stands in.
        (
            (
                r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(\s*+[:=]\s*+)(?!['\"\\*])"
                r"(?:[^\r\n'\"]|\"[^\"\r\n]*\")+"
            ),
            rf"\1\2{MASK}",
        ),
        # "password": "…", ('token', b'…'), password='…', also inside JSON inside JSON
        (rf"{_START}({_NAME})(\\*['\"]?\s*[:=,]\s*)b?{_QUOTED}", rf"\1\2{MASK}"),
        # ?auth=…&, token=…
        (rf"{_START}({_NAME})(=|%3D)(?!\*\*\*)[^\s&'\"<>]+", rf"\1\2{MASK}"),
        # password: …; not for the words that prose puts before a colon, nor for `a.password: is required`
        (rf"(?i)(?<![\w.-])({_PLAIN})(:\s*+)(?!\*\*\*)[^\s&'\"<>]+", rf"\1\2{MASK}"),
        (r"(?i)\b(basic|bearer|digest)\s++(?!\*\*\*)[A-Za-z0-9+/=._~-]{6,}", rf"\1 {MASK}"),
        # rtsp:// and rtmp:// addresses carry keys as parts of the path: only the host stays.
        (
            r"(?i)\b(rtsps?|rtmp[est]{0,2}|srt)://(?:[^\s/'\"<>]*@)?([^\s/'\"<>?]*)[^\s'\"<>]*",
            rf"\1://\2/{MASK}",
        ),
        # user:password@host. The last @ before the path counts: a password may hold one.
        (r"\b([A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s/'\"<>]*@", rf"\1{MASK}@"),
        (r"whsec_[A-Za-z0-9+/=_-]+", MASK),
        (r"tsapi_key_[A-Za-z0-9_-]+", MASK),
        (r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", MASK),
    )
)
_SECRET_NAME = re.compile(rf"{_NAME}|x-api-key", re.IGNORECASE)
_MAX_DEPTH = 8


class Redactor:
    """Masks secrets in texts and structures."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._known: re.Pattern[str] | None = None

    def add(self, secret: str, username: str | None = None) -> None:
        """Mask this secret from now on, in plain, quoted and base64 form, alone and as `username:secret`."""
        texts = {text for text in (secret, *secret.split()) if len(text) >= MIN_LENGTH}
        if username:
            texts.add(f"{username}:{secret}")
        for text in texts:
            self._secrets.update(_forms(text))
        if self._secrets:
            # The longest first: a secret may be the beginning of another.
            ordered = sorted(self._secrets, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, ordered)))

    def add_all(self, *models: BaseModel) -> None:
        """Mask every SecretStr that these hold."""
        for model in models:
            for secret, username in secrets_in(model):
                self.add(secret, username)

    def text(self, text: str) -> str:
        """Return the text with every secret masked."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: Any, name: str = "", depth: int = 0) -> Any:
        """Return a value fit for JSON, masked throughout; under a secret's name nothing of it is left."""
        if name and isinstance(value, (str, bytes)) and _SECRET_NAME.fullmatch(name):
            return MASK
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            return {self.text(str(key)): self.value(item, str(key), depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)) and depth < _MAX_DEPTH:
            return [self.value(item, name, depth + 1) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self.text(value if isinstance(value, str) else str(value))


def _forms(text: str) -> Iterator[str]:
    yield text
    yield quote(text, safe="")
    yield quote_plus(text)
    yield repr(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    data = text.encode()
    for encoded in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        yield encoded
        yield encoded.rstrip("=")
        yield quote(encoded, safe="")


def secrets_in(value: Any, username: str | None = None) -> Iterator[tuple[str, str | None]]:
    """Yield every secret in a model, with the user name that stands beside it."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value(), username
    elif isinstance(value, BaseModel):
        beside = getattr(value, "username", None)
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name), beside if isinstance(beside, str) else None)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            # `push: {booth: {password: …}}`: the client's own name is its user name unless it says another.
            beside = getattr(item, "username", None) or key
            for secret, user in secrets_in(item, username):
                yield secret, user or (beside if isinstance(beside, str) else None)
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        for item in value:
            yield from secrets_in(item, username)
