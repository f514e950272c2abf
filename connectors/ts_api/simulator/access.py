"""Who may do what: users, cookie sessions, signed tokens, API keys; as strict and as lenient as the
server.

v0 reads `auth=` as clients really write it: without padding, with a bare `=`, with `+` turned into a
space. v1 tokens are real JWTs; refreshing rotates the pair and the old refresh token dies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import SecretStr

from .config import Permission, Right, SimulatorConfig, UserConfig

# What a user's rights allow on v1, where calls ask for permissions.
_RIGHT_OF: dict[Permission, Right] = {
    "remote": "Remote",
    "playback": "Playback",
    "control": "Control",
    "dataExport": "DataExport",
    "settings": "Settings",
}
_ALIASES: dict[str, Permission] = {"channel:read": "remote", "vod:read": "remote", "admin": "settings"}


@dataclass
class Principal:
    """An authenticated client. `via` says how; `expires` when, for tokens."""

    name: str
    via: Literal["password", "session", "token", "apikey"]
    admin: bool = False
    rights: frozenset[Right] = frozenset()
    permissions: frozenset[Permission] | None = None
    channels: frozenset[int] | None = None
    expires: datetime | None = None

    def may(self, permission: Permission) -> bool:
        """Tell whether a v1 permission is there."""
        if self.permissions is not None:
            return bool({permission, "*"} & self.permissions)
        return self.admin or _RIGHT_OF[permission] in self.rights

    def may_reach(self, channel: int) -> bool:
        """Tell whether a channel is within the client's limits."""
        return self.channels is None or channel in self.channels


@dataclass
class ApiKey:
    """A key with its limits."""

    id: str
    key: str = field(repr=False)
    name: str
    permissions: frozenset[Permission]
    channels: frozenset[int] | None = None
    networks: tuple[str, ...] = ()
    expires: datetime | None = None

    def allows(self, client: str, now: datetime) -> bool:
        """Tell whether the key works from an address at a time."""
        if self.expires and now >= self.expires:
            return False
        if not self.networks:
            return True
        address = ipaddress.ip_address(client)
        return any(address in ipaddress.ip_network(network, strict=False) for network in self.networks)


class Access:
    """The server's memory of credentials."""

    def __init__(self, config: SimulatorConfig, now: Callable[[], datetime]) -> None:
        self._config, self._now = config, now
        self._users = {user.name: user for user in config.users}
        self._signing = secrets.token_bytes(32)
        self._sessions: dict[str, str] = {}
        self._access: dict[str, Principal] = {}
        self._refresh: dict[str, tuple[str, datetime]] = {}
        self.keys = {
            item.id: ApiKey(
                item.id,
                item.key.get_secret_value(),
                item.name,
                frozenset(item.permissions),
                frozenset(item.channels) or None,
            )
            for item in config.api_keys
        }

    # Passwords and sessions

    def by_auth(self, value: str) -> Principal | None:
        """Check `auth=`: base64 of `user:password`, however mangled on its way."""
        pair = _decoded(value)
        if pair is None:
            return None
        name, _, password = pair.partition(":")
        user = self._users.get(name)
        if user and hmac.compare_digest(user.password.get_secret_value().encode(), password.encode()):
            return self._principal(user, "password")
        return None

    def by_session(self, cookie: str) -> Principal | None:
        """Check the value of a session cookie."""
        user = self._users.get(self._sessions.get(cookie, ""))
        return self._principal(user, "session") if user else None

    def change_password(self, name: str, password: str) -> None:
        """Give a user another password; sessions and tokens end with the old one."""
        self._users[name] = self._users[name].model_copy(update={"password": SecretStr(password)})
        self._sessions = {cookie: user for cookie, user in self._sessions.items() if user != name}
        self._access = {token: one for token, one in self._access.items() if one.name != name}
        self._refresh = {token: one for token, one in self._refresh.items() if one[0] != name}

    def open_session(self, principal: Principal) -> str:
        """Return a new session cookie."""
        cookie = secrets.token_hex(16)
        self._sessions[cookie] = principal.name
        return cookie

    def close_session(self, cookie: str) -> None:
        """End a session."""
        self._sessions.pop(cookie, None)

    # Tokens

    def issue(self, principal: Principal) -> dict[str, Any]:
        """Return a new pair of tokens."""
        now = self._now()
        access = self._signed(principal.name, "access", now + self._config.token_lifetime)
        refresh = self._signed(principal.name, "refresh", now + self._config.refresh_lifetime)
        user = self._users[principal.name]
        self._access[access] = self._principal(user, "token", now + self._config.token_lifetime)
        self._refresh[refresh] = (principal.name, now + self._config.refresh_lifetime)
        return {
            "accessToken": access,
            "refreshToken": refresh,
            "expiresIn": round(self._config.token_lifetime.total_seconds()),
            "tokenType": "Bearer",
        }

    def renew(self, refresh: str) -> dict[str, Any] | None:
        """Trade a refresh token for a new pair; it works once."""
        name, expires = self._refresh.pop(refresh, ("", self._now()))
        if name not in self._users or self._now() >= expires:
            return None
        return self.issue(self._principal(self._users[name], "token"))

    def logout(self, refresh: str) -> bool:
        """Forget a refresh token and the access tokens of its user."""
        name, _ = self._refresh.pop(refresh, ("", None))
        self._access = {token: who for token, who in self._access.items() if who.name != name}
        return bool(name)

    def by_token(self, token: str) -> Principal | None:
        """Check an access token."""
        principal = self._access.get(token)
        if principal and principal.expires and self._now() >= principal.expires:
            return None
        return principal

    def expire_tokens(self, *, refresh: bool = False) -> int:
        """Make every access token (and refresh token, if asked) invalid now; return how many there were."""
        count = len(self._access)
        for principal in self._access.values():
            principal.expires = self._now()
        self._access.clear()
        if refresh:
            self._refresh.clear()
        return count

    # API keys

    def by_key(self, key: str, client: str) -> Principal | None:
        """Check an API key."""
        for item in self.keys.values():
            if hmac.compare_digest(item.key.encode(), key.encode()) and item.allows(client, self._now()):
                return Principal(
                    item.name,
                    "apikey",
                    permissions=item.permissions,
                    channels=item.channels,
                    expires=item.expires,
                )
        return None

    def create_key(self, wanted: dict[str, Any]) -> ApiKey:
        """Make a key from the body of `POST /api/v1/auth/apikey`; a ValueError says what is wrong with it."""
        permissions = frozenset(_permission(name) for name in wanted.get("permissions") or ["remote"])
        key = ApiKey(
            id=f"key_{secrets.token_hex(3)}",
            key=f"tsapi_key_{secrets.token_hex(16)}",
            name=str(wanted.get("name", "")),
            permissions=permissions,
            channels=frozenset(int(chid) for chid in wanted.get("channels") or []) or None,
            networks=tuple(str(ipaddress.ip_network(item)) for item in wanted.get("ipWhitelist") or []),
            expires=_moment(wanted.get("expiresAt")),
        )
        self.keys[key.id] = key
        return key

    def _principal(
        self, user: UserConfig, via: Literal["password", "session", "token"], expires: datetime | None = None
    ) -> Principal:
        return Principal(user.name, via, user.admin, frozenset(user.rights), expires=expires)

    def _signed(self, name: str, kind: str, expires: datetime) -> str:
        head = _base64url(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        claims = {"sub": name, "use": kind, "exp": int(expires.timestamp()), "jti": secrets.token_hex(8)}
        body = f"{head}.{_base64url(json.dumps(claims).encode())}"
        return f"{body}.{_base64url(hmac.digest(self._signing, body.encode(), hashlib.sha256))}"


def basic_auth(header: str) -> str | None:
    """Return the base64 part of an `Authorization: Basic` header."""
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "basic" else None


def _decoded(value: str) -> str | None:
    value = value.strip().replace(" ", "+").rstrip("=")
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _permission(name: str) -> Permission:
    known: dict[str, Permission] = {**_ALIASES, **{item: item for item in _RIGHT_OF}, "*": "*"}
    if name not in known:
        raise ValueError(f"unknown permission: {name}")
    return known[name]


def _moment(value: object) -> datetime | None:
    """Read `expiresAt`: null in the guide, Unix seconds in the vendor's examples."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=value)
    raise ValueError("expiresAt: null or Unix seconds")
