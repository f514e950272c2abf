"""Signing in: v0 cookie sessions, v1 tokens and API keys. TS-API guide 0.9.20 Authentication, v1 guide
1.1.0.
"""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from .call import Call, answer
from .eventtypes import PRIVACY
from .happenings import LogRow

_SIGNED_IN = 4


async def session(call: Call) -> Any:
    """Answer `/api/auth`: `login=` and `auth=` open a cookie session, `logout` ends it."""
    cookie = call.world.config.cookie
    if call.has("logout"):
        call.world.access.close_session(call.request.cookies.get(cookie, ""))
        response = Response(status_code=200)
        response.delete_cookie(cookie)
        return response
    value = call.text("login") or call.text("auth")
    principal = call.world.access.by_auth(value) if value else call.principal
    if principal is None:
        raise HTTPException(401, "authentication failed")
    row = LogRow(topic="eventLog", type=PRIVACY, code=_SIGNED_IN, param={"uid": principal.name, "autoLogin": 0})
    call.world.happen(row)
    response = Response(status_code=200)
    response.set_cookie(cookie, call.world.access.open_session(principal), httponly=True)
    return response


async def blocked(call: Call) -> Any:
    """Answer v1's `GET /api/v1/auth?login=`, which is not allowed."""
    raise HTTPException(403, "Forbidden")


async def login(call: Call) -> Any:
    """Trade a user's password for a pair of tokens."""
    body = await call.json_object()
    principal = call.world.access.by_auth(str(body.get("auth", "")))
    if principal is None:
        raise HTTPException(401, "Unauthorized")
    role = "admin" if principal.admin else "user"
    return call.world.access.issue(principal) | {"user": {"username": principal.name, "role": role}}


async def refresh(call: Call) -> Any:
    """Trade a refresh token for a new pair; the old one is dead from then on."""
    body = await call.json_object()
    pair = call.world.access.renew(str(body.get("refreshToken", "")))
    if pair is None:
        raise HTTPException(401, "Unauthorized")
    return pair


async def logout(call: Call) -> Any:
    """End the tokens of a session."""
    body = await call.json_object()
    call.world.access.logout(str(body.get("refreshToken", "")))
    return {"code": 0, "message": "Success"}


async def create_key(call: Call) -> Any:
    """Make an API key; the key itself is shown this once."""
    try:
        key = call.world.access.create_key(await call.json_object())
    except (ValueError, TypeError) as exc:
        raise HTTPException(400, str(exc)) from exc
    message = "Store this API key securely. It will not be shown again."
    return {"id": key.id, "key": key.key, "name": key.name, "message": message}


async def list_keys(call: Call) -> Any:
    """List the API keys without the keys."""
    return [
        {
            "id": key.id,
            "name": key.name,
            "permissions": sorted(key.permissions),
            "channels": sorted(key.channels or ()),
            "ipWhitelist": list(key.networks),
            "expiresAt": int(key.expires.timestamp()) if key.expires else None,
        }
        for key in call.world.access.keys.values()
    ]


async def revoke_key(call: Call) -> Any:
    """Revoke an API key."""
    if call.world.access.keys.pop(call.request.path_params["id"], None) is None:
        raise HTTPException(404, "Not found")
    return answer({"code": 0, "message": "Success"}, call.request)
