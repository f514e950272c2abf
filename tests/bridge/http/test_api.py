"""Commands over HTTP: who may, what they do, and that everything is kept with who asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from bridge.config.models import ApiClient, DoorConfig
from bridge.errors import ActionRejectedError, StoreUnavailableError
from bridge.http.api import SafetyApi
from bridge.http.callers import Callers
from bridge.http.verify import HOLD_BACK, Throttle
from bridge.safety.desk import Desk
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.orders import Order, Result
from tests.bridge.actions.support import Site, make_order, plate_event, running, until
from tests.clock import VirtualClock

CLIENTS = {
    name: ApiClient(token=SecretStr(f"{name}-0123456789abcdef"), role=role)
    for name, role in (("guard", "operator"), ("second", "operator"), ("wall", "viewer"), ("chief", "admin"))
}
LOCAL = "local-token"


class Log:
    """`Emit` into memory; `down` refuses."""

    def __init__(self) -> None:
        self.events: list[VmsEvent] = []
        self.down = False
        self.watchers: list[Callable[[VmsEvent], None]] = []

    async def __call__(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        for watcher in self.watchers:
            for event in events:
                watcher(event)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.down:
            stored.set_exception(StoreUnavailableError("the store is away", timedelta(seconds=7)))
            return stored
        self.events.extend(events)
        stored.set_result(None)
        return stored

    def commands(self) -> list[tuple[str, str | None]]:
        return [(getattr(e.data, "command", e.type), e.principal) for e in self.events]


class Office:
    """A site with people at its API."""

    def __init__(self, site: Site) -> None:
        self.site, self.log = site, Log()
        self.desk = Desk("site", site.safety, site.clock)
        self.desk.connect(self.log, self._submit)
        api = SafetyApi(Callers(CLIENTS, LOCAL, Throttle(site.clock), site.clock), self.desk, site.safety)
        app = Starlette(routes=api.routes())
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bridge")
        self.orders: list[Order] = []

    async def _submit(self, order: Order) -> Result | None:
        self.orders.append(order)
        return await self.site.do(order)

    async def ask(self, who: str, method: str, path: str, **said: Any) -> httpx.Response:
        token = LOCAL if who == "local" else CLIENTS[who].token.get_secret_value() if who in CLIENTS else who
        body = {"json": said} if said else {}
        return await self.http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **body)


@asynccontextmanager
async def office(folder: Path, **door: Any) -> AsyncIterator[Office]:
    clock = VirtualClock()
    doors = {"main": DoorConfig(**({"output": "barrier", "mode": "act"} | door))}
    async with running(folder, clock, doors=doors) as site:
        place = Office(site)
        try:
            yield place
        finally:
            await place.desk.aclose()
            await place.http.aclose()


def _opened(place: Office) -> int:
    return sum(on for _, _, on in place.site.device.switched)


async def test_a_guard_opens_a_door_and_it_is_known_who(tmp_path: Path) -> None:
    """The command is an event with its principal, written before anything moves, and the order names it."""
    async with office(tmp_path) as place:
        answer = await place.ask("guard", "POST", "/api/doors/main/open", reason="a delivery")
        assert (answer.status_code, answer.json()["outcome"]) == (200, "done")
        [event] = place.log.events
        assert (event.type, event.origin, event.principal) == ("command.given", Origin.COMMAND, "api:guard")
        assert event.data.model_dump() == {
            "command": "open", "target": "main", "persons": ("api:guard",), "reason": "a delivery", "pending": None,
            "outcome": None,
        }  # fmt: skip
        assert (place.orders[0].origin, place.orders[0].causes) == (Origin.COMMAND, (event.id,))
        assert _opened(place) == 1


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [
        ("wall", "/api/doors/main/open", 403),
        ("wall", "/api/kill", 403),
        ("guard", "/api/kill/reset", 403),
        ("guard", "/api/breaker/reset", 403),
        ("guard", "/api/doors/main/release", 403),
        ("guard", "/api/doors/mian/open", 404),
        ("guard", "/api/pending/nothing/confirm", 404),
        ("a wrong token", "/api/doors/main/open", 401),
        ("", "/api/doors/main/open", 401),
    ],
)
async def test_who_may_not_is_told_so_and_nothing_happens(tmp_path: Path, who: str, path: str, status: int) -> None:
    """Without the role, the token or the door nothing moves and nothing is written."""
    async with office(tmp_path) as place:
        answer = await place.ask(who, "POST", path)
        assert answer.status_code == status, answer.text
        assert answer.json()["message"]
        assert (place.log.events, _opened(place)) == ([], 0)


async def test_whoever_guesses_tokens_is_slowed_down(tmp_path: Path) -> None:
    """Ten wrong ones a minute, then 429, also for a right one from there."""
    async with office(tmp_path) as place:
        for _ in range(10):
            assert (await place.ask("wrong", "GET", "/api/safety")).status_code == 401
        assert (await place.ask("guard", "GET", "/api/safety")).status_code == 429


async def test_whoever_guesses_tokens_cannot_keep_others_from_stopping(tmp_path: Path) -> None:
    """Behind a proxy all have one address: a right token stops doors and everything at once; others wait for a no."""
    async with office(tmp_path) as place:
        for _ in range(10):
            await place.ask("wrong", "GET", "/api/safety")
        for path in ("/api/kill", "/api/doors/main/hold"):
            for who in ("wrong", "", "wall"):
                asking = asyncio.create_task(place.ask(who, "POST", path))
                await until(lambda: HOLD_BACK in place.site.clock.waits)
                assert not asking.done()
                await place.site.clock.advance(HOLD_BACK)
                answer = await asking
                assert (answer.status_code, 50 < int(answer.headers["retry-after"]) <= 60) == (429, True)
            assert (await place.ask("guard", "POST", path)).status_code == 200
        assert place.site.kill.pulled
        for path in ("/api/kill/reset", "/api/doors/main/release", "/api/doors/main/open"):
            assert (await place.ask("chief", "POST", path)).status_code == 429


@pytest.mark.parametrize(("age", "outcome"), [(9, "done"), (11, None), (-5, "refused"), (-11, None)])
async def test_a_command_that_comes_late_opens_nothing(tmp_path: Path, age: float, outcome: str | None) -> None:
    """A telephone that had no network for a while sends what was pressed minutes ago."""
    async with office(tmp_path) as place:
        asked = (place.site.clock.now() - timedelta(seconds=age)).isoformat()
        answer = await place.ask("guard", "POST", "/api/doors/main/open", asked=asked)
        assert answer.json().get("outcome") == outcome
        assert (answer.json().get("reason") == "expired") == (outcome is None)
        assert _opened(place) == (outcome == "done")


@pytest.mark.parametrize(
    "path",
    [
        "kill/reset", "breaker/reset", "doors/main/release", "pending/x/confirm", "cameras/a/1/lock", "clock/accept",
        "cameras/a/1/unlock", "sources/a/clock/accept", "settings/confirm",
    ],
)  # fmt: skip
async def test_no_command_is_done_that_comes_late(tmp_path: Path, path: str) -> None:
    """A reset that took a minute does not undo the stop that came after it was asked for."""
    async with office(tmp_path) as place:
        assert (await place.ask("guard", "POST", "/api/kill")).status_code == 200
        asked = (place.site.clock.now() - timedelta(seconds=11)).isoformat()
        said = {"confirm": "x"} if path.startswith("settings") else {}
        answer = await place.ask("chief", "POST", f"/api/{path}", asked=asked, **said)
        assert (answer.status_code, answer.json()["reason"]) == (409, "expired")
        assert "11 s ago" in answer.json()["message"]
        assert place.site.kill.pulled


@pytest.mark.parametrize("path", ["kill", "doors/main/hold"])
async def test_a_stop_is_done_however_late_it_comes(tmp_path: Path, path: str) -> None:
    """Nobody is in danger from a gate that stays shut."""
    async with office(tmp_path) as place:
        asked = (place.site.clock.now() - timedelta(hours=1)).isoformat()
        assert (await place.ask("guard", "POST", f"/api/{path}", asked=asked)).status_code == 200
        assert place.site.kill.pulled or place.site.safety.doors.holds["main"].pulled


async def test_a_no_counts_however_late_it_comes(tmp_path: Path) -> None:
    """It keeps something shut."""
    async with office(tmp_path, mode="confirm") as place:
        await place.site.do(make_order(place.site.clock, "open", {"door": "main"}))
        [waits] = place.site.safety.doors.pending.all()
        asked = (place.site.clock.now() - timedelta(hours=1)).isoformat()
        assert (await place.ask("guard", "POST", f"/api/pending/{waits.id}/deny", asked=asked)).status_code == 200
        assert not place.site.safety.doors.pending.all()


async def test_a_door_in_confirm_waits_for_one_person(tmp_path: Path) -> None:
    """A resident's plate waits, a person agrees, it opens; agreeing again finds nothing."""
    async with office(tmp_path, mode="confirm") as place:
        result = await place.site.do(make_order(place.site.clock, "open", {"door": "main"}))
        assert result.reason == "needs_confirmation"
        [waits] = (await place.ask("wall", "GET", "/api/safety")).json()["pending"]
        assert (waits["door"], waits["plate"], waits["needed"]) == ("main", "12AB345", 1)
        answer = await place.ask("guard", "POST", f"/api/pending/{waits['id']}/confirm")
        assert (answer.status_code, answer.json()["outcome"]) == (200, "done")
        again = await place.ask("guard", "POST", f"/api/pending/{waits['id']}/confirm")
        assert (again.status_code, _opened(place)) == (404, 1)
        assert place.log.commands() == [("confirm", "api:guard")]


async def test_what_nobody_agreed_to_in_time_never_opens(tmp_path: Path) -> None:
    """It waits for as long as the door says, or until somebody says no."""
    async with office(tmp_path, mode="confirm", confirm_within="20s") as place:
        await place.site.do(make_order(place.site.clock, "open", {"door": "main"}, 1))
        [waits] = place.site.doors.pending.all()
        await place.site.advance(20, step=5)
        assert (await place.ask("guard", "POST", f"/api/pending/{waits.id}/confirm")).status_code == 404
        event = plate_event(place.site.clock, 2)
        await place.site.do(make_order(place.site.clock, "open", {"door": "main"}, 2, event))
        [waits] = place.site.doors.pending.all()
        assert (await place.ask("guard", "POST", f"/api/pending/{waits.id}/deny")).status_code == 200
        assert (await place.ask("guard", "POST", f"/api/pending/{waits.id}/confirm")).status_code == 404
        assert _opened(place) == 0


async def test_a_door_for_two_opens_for_two_different_people(tmp_path: Path) -> None:
    """One person asks, and asks again, and nothing opens; another one agrees, and it does."""
    async with office(tmp_path, persons=2) as place:
        alone = await place.ask("guard", "POST", "/api/doors/main/open")
        assert (alone.status_code, alone.json()["reason"]) == (409, "needs_confirmation")
        [waits] = place.site.doors.pending.all()
        same = await place.ask("guard", "POST", f"/api/pending/{waits.id}/confirm")
        assert (same.status_code, _opened(place)) == (202, 0)
        other = await place.ask("second", "POST", f"/api/pending/{waits.id}/confirm")
        assert (other.json()["outcome"], _opened(place)) == ("done", 1)
        assert getattr(place.orders[-1].trigger.data, "persons", None) == ("api:guard", "api:second")


async def test_the_kill_switch_works_with_the_log_away_and_is_written_down_later(tmp_path: Path) -> None:
    """It holds at once; who pulled it is in the log as soon as there is one. Opening is refused meanwhile."""
    async with office(tmp_path) as place:
        place.log.down = True
        assert (await place.ask("guard", "POST", "/api/doors/main/open")).status_code == 503
        assert (await place.ask("guard", "POST", "/api/kill", reason="smoke")).status_code == 200
        assert place.site.kill.pulled
        place.log.down = False
        await place.site.clock.until_asleep()
        await place.site.advance(10, step=1)
        await until(lambda: place.log.commands() == [("kill", "api:guard")])
        refused = await place.ask("guard", "POST", "/api/doors/main/open")
        assert (refused.status_code, refused.json()["reason"]) == (409, "kill_switch")
        assert (await place.ask("chief", "POST", "/api/kill/reset")).status_code == 200
        assert (await place.ask("guard", "POST", "/api/doors/main/open")).json()["outcome"] == "done"


async def test_a_door_is_stopped_by_hand_and_released(tmp_path: Path) -> None:
    """Stopped also for people, and over a restart; the state says by whom."""
    async with office(tmp_path) as place:
        await place.ask("guard", "POST", "/api/doors/main/hold", reason="a crane")
        held = (await place.ask("wall", "GET", "/api/safety")).json()["doors"]["main"]["held"]
        assert (held["principal"], held["reason"]) == ("api:guard", "a crane")
        assert (await place.ask("chief", "POST", "/api/doors/main/open")).json()["reason"] == "hold"
        assert Site(tmp_path, place.site.clock, doors=place.site.doors.doors).doors.holds["main"].pulled
        await place.ask("chief", "POST", "/api/doors/main/release")
        assert (await place.ask("chief", "POST", "/api/doors/main/open")).json()["outcome"] == "done"


async def test_only_the_command_line_says_who_it_is(tmp_path: Path) -> None:
    """A client of the network is what its token says."""
    async with office(tmp_path) as place:
        assert (await place.ask("chief", "POST", "/api/doors/main/open", person="anna")).status_code == 403
        await place.ask("local", "POST", "/api/doors/main/open", person="anna")
        assert place.log.commands() == [("open", "cli:anna")]


async def test_a_tripped_breaker_is_an_event_and_is_reset_by_an_admin(tmp_path: Path) -> None:
    """What trips it says so in the log; `GET` shows it; after the reset doors open."""
    async with office(tmp_path) as place:
        breaker = place.site.safety.breaker
        for number in range(300):
            await breaker.asked(f"o{number}")
        with pytest.raises(ActionRejectedError, match="breaker"):
            await breaker.asked("one more")
        await until(lambda: place.log.events)
        assert place.log.events[0].type == "breaker.tripped"
        assert (await place.ask("wall", "GET", "/api/safety")).json()["breaker"]["principal"] == "bridge"
        assert (await place.ask("chief", "POST", "/api/doors/main/open")).json()["reason"] == "breaker"
        assert (await place.ask("chief", "POST", "/api/breaker/reset")).status_code == 200
        assert (await place.ask("chief", "POST", "/api/doors/main/open")).json()["outcome"] == "done"


async def test_an_admin_accepts_a_clock_and_doors_open_again(tmp_path: Path) -> None:
    """Ours, a day forward and back: shut for that day, or until somebody says that it is right; a source's likewise."""
    async with office(tmp_path) as place:
        site, own = place.site, place.site.safety.own_clock
        site.clock.jump(timedelta(days=-1))
        refused = await place.ask("guard", "POST", "/api/doors/main/open")
        assert refused.json()["reason"] == "clock_stepped"
        shut = (await place.ask("wall", "GET", "/api/safety")).json()["clocks"]["shut_until"]
        assert shut is not None
        assert (await place.ask("guard", "POST", "/api/clock/accept")).status_code == 403
        answer = await place.ask("chief", "POST", "/api/clock/accept", reason="NTP was wrong")
        assert answer.status_code == 200
        assert (await place.ask("wall", "GET", "/api/safety")).json()["clocks"]["shut_until"] is None
        place.log.watchers.append(own.heard)
        assert (await place.ask("guard", "POST", "/api/doors/main/open")).json()["outcome"] == "done"

        site.safety.clocks.learn("nvr", timedelta(days=1))
        clocks = (await place.ask("wall", "GET", "/api/safety")).json()["clocks"]["sources"]
        assert clocks == {"nvr": {"ahead": 86400.0, "opens": False}}
        assert (await place.ask("chief", "POST", "/api/sources/nvr/clock/accept")).status_code == 200
        assert site.safety.clocks.off() == {}
        assert (await place.ask("chief", "POST", "/api/sources/nvr2/clock/accept")).status_code == 404
        await until(lambda: place.log.commands().count(("accept_clock", "api:chief")) == 2)


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"reason": 5}', b'{"x": 1}', b'{"asked": "now"}'])
async def test_a_body_that_says_nonsense_is_refused(tmp_path: Path, body: bytes) -> None:
    """With what is wrong, and without anything moving."""
    async with office(tmp_path) as place:
        token = CLIENTS["guard"].token.get_secret_value()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = await place.http.post("/api/doors/main/open", content=body, headers=headers)
        assert (answer.status_code, _opened(place)) == (422, 0)


async def test_changed_settings_are_shown_and_agreed_to(tmp_path: Path) -> None:
    """By an admin, with the number of that change; who agreed is kept."""
    async with office(tmp_path) as place:
        assert (await place.ask("wall", "GET", "/api/safety")).json()["settings"] is None
        none = await place.ask("chief", "POST", "/api/settings/confirm", confirm="1")
        assert (none.status_code, none.json()["reason"]) == (404, "not_pending")
    async with office(tmp_path, min_score=0) as place:
        shown = (await place.ask("wall", "GET", "/api/safety")).json()["settings"]
        change = {"setting": "doors/main/min_score", "was": None, "now": "0.0"}
        assert (shown["changes"], shown["outputs"]) == ([change], ["barrier"])
        said = {"confirm": shown["confirm"], "reason": "the lanes are lit"}
        assert (await place.ask("guard", "POST", "/api/settings/confirm", **said)).status_code == 403
        wrong = await place.ask("chief", "POST", "/api/settings/confirm", confirm="0" * 12)
        assert (wrong.status_code, wrong.json()["reason"]) == (409, "unconfirmed")
        refused = await place.ask("guard", "POST", "/api/doors/main/open")
        assert (refused.status_code, refused.json()["reason"], _opened(place)) == (409, "unconfirmed", 0)
        assert (await place.ask("chief", "POST", "/api/settings/confirm", **said)).status_code == 200
        assert (await place.ask("guard", "POST", "/api/doors/main/open")).status_code == 200
        await until(lambda: ("agree", "api:chief") in place.log.commands())
