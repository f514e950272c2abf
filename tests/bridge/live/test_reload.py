"""Rule files that change while the bridge runs: all or nothing, and what moves things only with a person's word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bridge.bus.bus import Bus
from bridge.clock import SystemClock
from bridge.commands.site import actions, connectors
from bridge.config.load import load
from bridge.contracts import Emit
from bridge.errors import StoreUnavailableError
from bridge.live.reload import Reloader
from bridge.rulebook import StoredRuleSets, action_specs, compile_site
from bridge.runtime.health import HealthBook
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import RulesChanged
from rules.ruleset import RuleSet
from tests.bridge.bus.helpers import running_bus

CONFIG = """
site: home
webhooks: {backoffice: {url: https://example.org/hook}}
sources: {nvr1: {type: ts-api, url: http://127.0.0.1:9, username: a, password: b}}
outputs: {barrier: {source: nvr1, channel: 1, relay: relay-1, idle: "off"}}
doors: {gate: {output: barrier}}
"""
TELL = """
lists:
  residents: {plates: residents.csv}
rules:
  - id: tell
    when: {kind: plate.read}
    match: {plate: {in: residents}}
    then: [{webhook: backoffice}]
"""
OPEN = """
schedules:
  night: {from: "22:00", to: "06:00"}
rules:
  - id: let-in
    when: {kind: plate.read}
    during: night
    then: [{open: gate}]
"""


class Files:
    """A site's files, and the log that a reloader writes to."""

    def __init__(self, folder: Path, bus: Bus, emit: Emit) -> None:
        self.folder, self.bus, self._emit = folder, bus, emit
        self.told: list[VmsEvent] = []
        self.health = HealthBook(SystemClock())
        self.broken = False
        self.write("bridge.yaml", CONFIG)
        self.write("rules/residents.csv", "plate\n12AB345\n")
        self.write("rules/tell.yaml", TELL)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")

    async def emit(self, events: Sequence[VmsEvent]) -> asyncio.Future[None]:
        if self.broken:
            raise StoreUnavailableError("the store is away")
        self.told += events
        return await self._emit(events)

    async def begin(self, in_force: RuleSet | None = None) -> Reloader:
        specs = action_specs(actions())
        loaded = load(self.folder / "bridge.yaml", connectors())
        sets = StoredRuleSets(self.bus.contents, specs, self.bus.named_rules)
        rules = compile_site(loaded, specs)
        reloader = Reloader(loaded, specs, sets, self.emit, SystemClock(), self.health, rules)
        await reloader.begin(in_force)
        return reloader

    @property
    def changes(self) -> list[RulesChanged]:
        return [event.data for event in self.told if isinstance(event.data, RulesChanged)]

    @property
    def flaw(self) -> tuple[str, str]:
        part = self.health["rules"]
        return part.reason, part.message


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    async with running_bus(tmp_path / "bus") as bus:
        yield Files(tmp_path / "site", bus, await bus.intake())


async def test_changed_files_are_named_once_with_what_differs(files: Files) -> None:
    """Old and new hash, rules and lists; what is stored under the new hash is what was compiled."""
    reloader = await files.begin()
    first = reloader.rules
    files.write("rules/tell.yaml", TELL)
    assert (await reloader.reload("cli:ann")).outcome == "unchanged"
    files.write("rules/tell.yaml", TELL.replace("id: tell", "id: told"))
    files.write("rules/residents.csv", "plate\n34CD567\n")
    result = await reloader.reload("cli:ann")
    assert (result.outcome, result.rules) == ("changed", 1)
    assert (await reloader.reload("cli:ann")).outcome == "unchanged"
    begun, change = files.changes
    assert (begun.previous, begun.added, begun.lists) == (None, ("tell",), ("residents",))
    assert (change.previous, change.ruleset) == (first.hash, reloader.rules.hash)
    assert (change.added, change.changed, change.removed, change.lists) == (("told",), (), ("tell",), ("residents",))
    assert (files.told[-1].principal, files.told[-1].origin) == ("cli:ann", Origin.COMMAND)
    again = await StoredRuleSets(files.bus.contents, action_specs(actions())).load(change.ruleset)
    assert (again.hash, [rule.id for rule in again.rules]) == (change.ruleset, ["told"])


async def test_one_mistake_leaves_everything_as_it_was(files: Files) -> None:
    """Each problem is said with its place, in the answer and in health; correcting the file ends it."""
    reloader = await files.begin()
    before = reloader.rules
    files.write("rules/more.yaml", "rules:\n  - id: more\n    when: {kind: plate.raed}\n    then: [{webhok: x}]\n")
    files.write("rules/residents.csv", "plate,valid_until\n34CD567,tomorrow\n")
    result = await reloader.reload("cli:ann")
    assert result.outcome == "refused"
    places = [(problem.file, problem.line) for problem in result.problems]
    assert places == [("rules/more.yaml", 3), ("rules/more.yaml", 4), ("rules/residents.csv", 2)]
    assert (reloader.rules, len(files.changes)) == (before, 1)
    reason, message = files.flaw
    assert reason == "broken"
    assert all(f"{file}:{line}:" in message for file, line in places)
    (files.folder / "rules/more.yaml").unlink()
    files.write("rules/residents.csv", "plate\n12AB345\n")
    assert (await reloader.reload("cli:ann")).outcome == "unchanged"
    assert files.flaw == ("", "")


async def test_what_opens_waits_until_exactly_this_change_is_confirmed(files: Files) -> None:
    """A new rule, another schedule of it, one that is gone; the number of another change confirms nothing."""
    reloader = await files.begin()
    for content in (OPEN, OPEN.replace("22:00", "21:00"), "rules: []\n"):
        files.write("rules/open.yaml", content)
        waits = await reloader.reload("cli:ann")
        assert (waits.outcome, waits.change and waits.change.moving) == ("waits", ("let-in",))
        assert files.flaw[0] == "confirm"
        number = str(waits.as_json()["confirm"])
        assert number in files.health["rules"].cure
        files.write("rules/extra.yaml", f"# {number}\n")  # another content, so another change
        assert (await reloader.reload("cli:ann", number)).outcome == "waits"
        (files.folder / "rules/extra.yaml").unlink()
        assert (await reloader.reload("cli:ann", number)).outcome == "changed"
    assert [change.changed + change.added + change.removed for change in files.changes[1:]] == [("let-in",)] * 3


async def test_what_only_tells_waits_for_nobody(files: Files) -> None:
    """Nor does a list that a rule which opens asks, nor such a rule in the shadow."""
    files.write("rules/open.yaml", OPEN.replace("during: night", "match: {plate: {in: residents}}\n    during: night"))
    reloader = await files.begin()
    files.write("rules/residents.csv", "plate\n12AB345\n34CD567\n")
    assert (await reloader.reload("cli:ann")).outcome == "changed"
    shadow = OPEN[OPEN.index("rules:") :].replace("let-in", "may-be").replace("during: night", "shadow: true")
    files.write("rules/more.yaml", shadow)
    assert (await reloader.reload("cli:ann")).outcome == "changed"


async def test_a_start_is_no_way_around_the_confirmation(files: Files) -> None:
    """What was changed while the bridge was away waits as well, and the rules of before decide."""
    before = (await files.begin()).rules
    files.write("rules/open.yaml", OPEN)
    again = await files.begin(before)
    assert (again.rules, len(files.changes), files.flaw[0]) == (before, 1, "confirm")
    waits = await again.reload("cli:ann")
    assert (await again.reload("cli:ann", str(waits.as_json()["confirm"]))).outcome == "changed"


async def test_a_store_that_is_away_is_tried_again(files: Files) -> None:
    """Nothing counts that is not written down; at the next look it is."""
    reloader = await files.begin()
    files.write("rules/tell.yaml", TELL.replace("id: tell", "id: told"))
    files.broken = True
    with pytest.raises(StoreUnavailableError):
        await reloader.reload("cli:ann")
    assert [rule.id for rule in reloader.rules.rules] == ["tell"]
    files.broken = False
    await reloader.look()
    assert [rule.id for rule in reloader.rules.rules] == ["told"]


async def test_the_configuration_is_not_read_again_and_that_is_said(files: Files) -> None:
    """Until it says what it did."""
    reloader = await files.begin()
    files.write("bridge.yaml", CONFIG.replace("home", "garden"))
    assert (await reloader.reload("cli:ann")).outcome == "unchanged"
    assert files.flaw[0] == "config_changed"
    assert reloader.state()["config_changed"] is True
    files.write("bridge.yaml", CONFIG)
    await reloader.reload("cli:ann")
    assert files.flaw == ("", "")


async def test_files_are_read_by_themselves_when_they_rest(files: Files) -> None:
    """Also a file that a pattern finds anew, and a list that was missing."""
    reloader = await files.begin()
    files.write("rules/new.yaml", TELL.replace("id: tell", "id: new").replace("residents", "guests"))
    await reloader.look()
    assert files.flaw == ("", ""), "it may still be written"
    await reloader.look()
    assert files.flaw[0] == "broken", "its list is not there yet"
    files.write("rules/guests.csv", "plate\n")
    await reloader.look()
    await reloader.look()
    assert sorted(rule.id for rule in reloader.rules.rules) == ["new", "tell"]
    assert (files.told[-1].principal, files.told[-1].origin) == (None, Origin.BRIDGE)


async def test_a_list_that_the_configuration_opens_must_be_there(files: Files) -> None:
    """A rule file that takes it away is refused, and the message says who would miss it."""
    more = "http: {api: {booking: {token: 0123456789abcdef, role: operator, lists: [residents]}}}\n"
    files.write("bridge.yaml", CONFIG + more)
    reloader = await files.begin()
    files.write("rules/tell.yaml", "rules: []\n")
    (problem,) = (await reloader.reload("cli:ann")).problems
    assert str(problem).endswith("bridge.yaml: http.api.booking.lists: unknown list 'residents'; known: none")


async def test_rule_sets_stay_as_long_as_the_log_needs_them(files: Files) -> None:
    """A list that is exported anew each night must not fill the store; what is still explained keeps its rules."""
    reloader = await files.begin()
    hashes = [reloader.rules.hash]
    for number in range(3):
        files.write("rules/residents.csv", f"plate\nA{number}\n")
        await reloader.reload("cli:ann")
        hashes.append(reloader.rules.hash)
    kept = [await files.bus.contents.get(one) is not None for one in hashes]
    assert kept == [True] * 4
    await files.bus.connection.api(f"STREAM.PURGE.{files.bus.stream('EVENTS')}")
    files.write("rules/residents.csv", "plate\nB1\n")
    await reloader.reload("cli:ann")
    kept = [await files.bus.contents.get(one) is not None for one in (*hashes, reloader.rules.hash)]
    assert kept == [False, False, False, True, True]
    files.write("rules/residents.csv", "plate\nA0\n")  # what went comes back
    await reloader.reload("cli:ann")
    assert await files.bus.contents.get(hashes[1]) is not None
