"""The effect ledger: exactly one claims, nobody takes another's claim for his own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.bus import effects
from bridge.bus.bus import Bus
from bridge.bus.effects import JetEffectLedger, write_end
from bridge.bus.pull import scan
from bridge.bus.stored import last
from bridge.bus.wire import TTL, Received
from bridge.errors import StaleOwnerError, StoreUnavailableError
from bridge.schema.orders import ActionClass, Effect
from tests.bridge.bus.helpers import effect, result, running_bus, until
from tests.bridge.bus.link import linked_bus


async def test_a_record_lives_from_claim_to_end(bus: Bus) -> None:
    """Claimed, found, changed by revision, and then no longer among the unfinished."""
    ledger = bus.effects
    assert await ledger.find("o1") is None
    claimed = await ledger.claim(effect(1))
    assert claimed is not None
    assert await ledger.find("o1") == claimed
    assert await ledger.claim(effect(1, executor="y")) is None
    waiting = await ledger.update(claimed, effect(1, status="waiting", attempt=2, last_error="503"))
    assert [order async for order in ledger.unfinished()] == ["o1"]
    ended = await ledger.update(waiting, effect(1, status="ended", result=result(1)))
    assert await ledger.find("o1") == ended
    assert [order async for order in ledger.unfinished()] == []
    assert await ledger.claim(effect(1)) is None


async def test_a_record_that_changed_meanwhile_is_not_replaced(bus: Bus) -> None:
    """An update names the revision it has seen; an older one is refused."""
    claimed = await bus.effects.claim(effect(1))
    assert claimed is not None
    after = await bus.effects.update(claimed, effect(1, attempt=2))
    with pytest.raises(StaleOwnerError, match="o1"):
        await bus.effects.update(claimed, effect(1, attempt=3))
    assert await bus.effects.find("o1") == after


async def test_of_many_claims_exactly_one_wins(bus: Bus) -> None:
    """Fifty runners, equal to the last letter, claim each of twenty orders: each is won once."""
    claims = [bus.effects.claim(effect(number)) for number in range(20) for _ in range(50)]
    won = [claim for claim in await asyncio.gather(*claims) if claim is not None]
    assert sorted(claim.effect.order for claim in won) == sorted(f"o{number}" for number in range(20))


async def test_many_unfinished_are_all_found(bus: Bus) -> None:
    """The scan at start finds what was started or waits, and nothing that ended."""
    for number in range(60):
        status = ("started", "waiting", "ended")[number % 3]
        await bus.effects.claim(effect(f"_{number}", status=status))
    found = [order async for order in bus.effects.unfinished()]
    assert found == [f"o_{number}" for number in range(60) if number % 3 != 2]


async def test_the_scan_at_start_reads_no_bodies(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the records say beside them; and of the stream, which holds more, only the records."""
    read: list[bytes] = []

    async def watched(*what: Any, **how: Any) -> AsyncIterator[list[Received]]:
        async for messages in scan(*what, **how):
            read.extend(message.data for message in messages)
            yield messages

    monkeypatch.setattr(effects, "scan", watched)
    await bus.connection.client.jetstream().publish("vms.home.order.0.o7", b"an order")
    await bus.effects.claim(effect(1))
    await bus.effects.claim(effect(2, status="ended", result=result(2)))
    assert [order async for order in bus.effects.unfinished()] == ["o1"]
    assert read == [b"", b""]


async def test_a_record_is_kept_for_a_month_after_its_last_change(bus: Bus) -> None:
    """As long as orders are; its status stands beside it."""
    claimed = await bus.effects.claim(effect(1, status="waiting"))
    assert claimed is not None
    found = await last(bus.connection, bus.stream("ENGINE"), "vms.home.effect.o1")
    assert found is not None
    assert (found.seq, found.body) == (claimed.revision, effect(1, status="waiting").encode())
    assert (found.headers[TTL], found.headers["Vms-Status"]) == ("2592000", "waiting")


async def test_an_end_that_the_queue_never_gave_out_is_a_record_of_one_try() -> None:
    """Ended when it was told, by whom it is told."""
    claimed: list[Effect] = []

    class Ledger(JetEffectLedger):
        def __init__(self) -> None:
            pass

        async def claim(self, effect: Effect) -> None:
            claimed.append(effect)

    end = result(1, action_class=ActionClass.RELEASING)
    await write_end(Ledger(), end, "me")
    assert claimed == [
        Effect(
            order="o1", action_class=ActionClass.RELEASING, status="ended", attempt=1, executor="me",
            claimed=end.ended, result=end,
        )
    ]  # fmt: skip


async def test_a_claim_whose_answer_was_lost_is_ours(tmp_path: Path) -> None:
    """The claim was written and the answer lost: it is recognised as our own. Another's, however alike, is not."""
    async with linked_bus(tmp_path) as (bus, link):
        await bus.effects.claim(effect("other"))
        link.swallow = True
        claim = asyncio.create_task(bus.effects.claim(effect(1)))
        other = asyncio.create_task(bus.effects.claim(effect("other")))
        await link.dropped(2)
        link.swallow = False
        link.cut()
        claimed = await claim
        assert claimed is not None
        assert await bus.effects.find("o1") == claimed
        assert await other is None


async def test_a_claim_that_arrives_late_is_ours(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try is given up and arrives just before the second: the refusal of the second is no defeat."""
    store, calls = bus._acks.store, 0

    async def late(messages: Any, patience: float) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StoreUnavailableError("lost")
        if calls == 2:
            await store(messages, patience)
        return await store(messages, patience)

    monkeypatch.setattr(bus._acks, "store", late)
    claimed = await bus.effects.claim(effect(1))
    assert claimed is not None
    assert calls == 2
    assert await bus.effects.find("o1") == claimed


async def test_a_server_that_stays_away_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer for long nobody may act: the claim raises."""
    monkeypatch.setattr("bridge.bus.fence._PATIENCE", 0.2)
    monkeypatch.setattr("bridge.bus.fence._ATTEMPT", 0.1)
    async with linked_bus(tmp_path) as (bus, link):
        link.swallow = True
        with pytest.raises(StoreUnavailableError):
            await bus.effects.claim(effect(1))


async def test_claims_hold_over_kills_of_the_server(tmp_path: Path) -> None:
    """With the server killed among many claims every order is won once and the ledger has every one."""
    async with running_bus(tmp_path) as bus:
        server = bus._server
        assert server is not None
        won: list[str] = []

        async def runner(name: str) -> None:
            ledger = JetEffectLedger(bus.connection, bus._acks, bus.stream("ENGINE"), "home")
            for number in range(150):
                claimed = await ledger.claim(effect(number, executor=name))
                if claimed is not None:
                    won.append(claimed.effect.order)

        async def killer() -> None:
            for mark in (40, 100):
                await until(lambda mark=mark: len(won) >= mark)  # type: ignore[misc]
                if server.pid is not None:
                    os.kill(server.pid, signal.SIGKILL)

        await asyncio.gather(killer(), *(runner(f"r{number}") for number in range(5)))
        assert sorted(won) == sorted(f"o{number}" for number in range(150))
        assert len([order async for order in bus.effects.unfinished()]) == 150
        assert server.restarts >= 2
