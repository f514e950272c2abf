"""Ask the bridge that runs here, with the token that it keeps in its data directory for whoever may read that."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from bridge.errors import BridgeError, StartError

if TYPE_CHECKING:
    from bridge.config.load import Loaded


def ask(
    loaded: Loaded, method: str, path: str, reason: str | None = None, said: Mapping[str, JsonValue] | None = None
) -> dict[str, Any]:
    """Ask, and return the answer; `said` is what the body says besides who asks, and why.

    Raises StartError if no bridge runs, BridgeError with its words if it says no.
    """
    import httpx

    access = _access(loaded)
    body = {"person": person(), **({"reason": reason} if reason else {}), **(said or {})}
    headers = {"Authorization": f"Bearer {access['token']}"}
    try:
        answer = httpx.request(
            method,
            access["url"] + path,
            headers=headers,
            json=body if method == "POST" else None,
            timeout=35,
            trust_env=False,
        )
        content: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as exc:
        raise StartError("the bridge does not answer", "see that it runs: vms-bridge run") from exc
    if answer.status_code >= 400 and "outcome" not in content:
        raise BridgeError(f"{content.get('reason')}: {content.get('message')}")
    return content


def person() -> str:
    """Return who is at this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return "local"


def _access(loaded: Loaded) -> Mapping[str, str]:
    from bridge.commands.tail import data_dir

    try:
        access: Mapping[str, str] = json.loads((data_dir(loaded) / "api.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise StartError("no bridge runs here", "start it first: vms-bridge run") from exc
    return access
