"""What the store has lost is accepted by an admin, and it is written down who did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
from pydantic import SecretStr
from starlette.applications import Starlette

from bridge.config.models import ApiClient
from bridge.http.callers import Callers
from bridge.http.store import StoreApi
from bridge.http.verify import Throttle
from tests.clock import VirtualClock

CLIENTS = {
    "guard": ApiClient(token=SecretStr("guard-guard-guard"), role="operator"),
    "chief": ApiClient(token=SecretStr("chief-chief-chief"), role="admin"),
}


class Store:
    """A store that has lost something, and what is told of it."""

    def __init__(self) -> None:
        self.lost: list[str] = ["EVENTS has lost messages 1 to 3"]
        self.told: list[tuple[Any, ...]] = []
        self.stuck = False

    async def accept(self) -> Sequence[object]:
        if self.stuck:
            raise OSError("read-only")
        lost, self.lost = self.lost, []
        return lost

    def tell(self, *said: Any) -> None:
        self.told.append(said)


async def test_an_admin_accepts_what_is_lost() -> None:
    """Once; nobody else may, and what cannot be kept is said."""
    store = Store()
    api = StoreApi(Callers(CLIENTS, "local-token", Throttle(VirtualClock()), VirtualClock()), store.accept, store.tell)
    transport = httpx.ASGITransport(Starlette(routes=api.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as http:

        async def ask(who: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {CLIENTS[who].token.get_secret_value()}"}
            return await http.post("/api/store/accept", headers=headers, json={"reason": "seen"})

        assert (await ask("guard")).status_code == 403
        assert store.lost
        store.stuck = True
        assert (await ask("chief")).status_code == 507
        store.stuck = False
        assert (await ask("chief")).json() == {"accepted": ["EVENTS has lost messages 1 to 3"]}
        assert (await ask("chief")).json() == {"accepted": []}
        assert store.told == [("accept_loss", None, ("api:chief",), "seen")]
