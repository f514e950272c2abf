"""The keys of plates: the same for ever, few of them in memory, and gone when they are to be gone."""

from __future__ import annotations

import json
import secrets
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.bus import platekeys
from bridge.bus.platekeys import ERASED, FILE, PlateKeys
from tests.bridge.bus.helpers import NOW

PLATES = [f"12AB{number}" for number in range(12)]


async def test_a_plate_that_has_not_come_for_long_keeps_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the keys used last are in memory; the others come from the file, and no plate gets a second one."""
    monkeypatch.setattr(platekeys, "RECENT", 3)
    keys = PlateKeys(tmp_path)
    first = await keys.hashes(PLATES)
    assert len(set(first.values())) == len(PLATES)
    assert await keys.hashes(PLATES) == first
    assert await keys.hashes(reversed(PLATES)) == first
    assert await PlateKeys(tmp_path).hashes(PLATES) == first
    assert len((tmp_path / FILE).read_text().splitlines()) == 1 + len(PLATES)


async def test_what_came_lately_or_never_costs_no_look_into_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is in memory the keys that were used last stay."""
    monkeypatch.setattr(platekeys, "RECENT", 3)
    keys, lines = PlateKeys(tmp_path), list[bytes]()
    first, read = await keys.hashes(PLATES[:5]), platekeys._name_in
    monkeypatch.setattr(platekeys, "_name_in", lambda line: lines.append(line) or read(line))
    for lately in (PLATES[2:5], PLATES[4:5], PLATES[2:3]):
        assert await keys.hashes(lately) == {plate: first[plate] for plate in lately}
    assert all(keys.find(f"99ZZ{number}") is None for number in range(100))
    assert lines == []
    assert await keys.hashes(PLATES[:1]) == {PLATES[0]: first[PLATES[0]]}
    assert len(lines) > 0
    lines.clear()
    assert await keys.hashes([PLATES[0], PLATES[2], PLATES[4]]) == {plate: first[plate] for plate in PLATES[:5:2]}
    assert lines == []


def test_the_filter_takes_few_others_for_one_that_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in forty to fifty when it is as full as with a million names; and every name that came."""
    monkeypatch.setattr(platekeys._Filter, "BITS", 15)
    names = platekeys._Filter()
    came, others = ([f"{kind}{number}" for number in range(3906)] for kind in "ab")
    for name in came:
        assert len(set(names._places(name))) == 4
        names.add(name)
    assert all(name in names for name in came)
    assert 19 < sum(name in names for name in others) < 147, "7 deviations of 81: what a name's places are is chance"


async def test_a_filter_that_is_full_costs_time_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it says of every plate that it may be in the file, the file says of a new one that it is not."""
    monkeypatch.setattr(platekeys._Filter, "BITS", 3)
    monkeypatch.setattr(platekeys, "RECENT", 3)
    keys = PlateKeys(tmp_path)
    first = await keys.hashes(PLATES)
    assert len(set(first.values())) == len(PLATES)
    assert await keys.hashes(PLATES) == first


async def test_keys_cannot_be_guessed(tmp_path: Path) -> None:
    """128 bits for a plate, 256 for what names them."""
    await PlateKeys(tmp_path).hashes(PLATES[:1])
    master, line = (json.loads(text) for text in (tmp_path / FILE).read_text().splitlines())
    assert (len(bytes.fromhex(master["master"])), len(bytes.fromhex(line["key"]))) == (32, 16)


async def test_a_damaged_first_line_costs_every_plate_its_key(tmp_path: Path) -> None:
    """It says how they are found. All get another one, and that stays."""
    first = await PlateKeys(tmp_path).hashes(PLATES)
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join(["{\n", *lines[1:]]))
    after = await PlateKeys(tmp_path).hashes(PLATES)
    assert not set(first.values()) & set(after.values())
    assert await PlateKeys(tmp_path).hashes(PLATES) == after


async def test_a_key_that_is_not_in_memory_is_forgotten_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the file no more, and nobody else's is lost."""
    monkeypatch.setattr(platekeys, "RECENT", 3)
    keys = PlateKeys(tmp_path)
    first = await keys.hashes(PLATES)
    assert keys.forget(PLATES[0], NOW)
    assert keys.find(PLATES[0]) is None
    after = await keys.hashes(PLATES)
    assert after.pop(PLATES[0]) != first.pop(PLATES[0])
    assert after == first


async def test_a_key_made_after_another_process_erased_the_plate_is_kept(tmp_path: Path) -> None:
    """The running bridge hears of a note alone, too: what comes after the erasure can be found and stays so."""
    running = PlateKeys(tmp_path)
    await running.hashes(["OTHER1"])
    assert not PlateKeys(tmp_path).forget("12AB345", NOW)
    [said] = await running.tokens([(NOW, {"12AB345"})])
    later = await running.hashes(["12AB345"])
    assert said != later
    restarted = PlateKeys(tmp_path)
    assert restarted.find("12AB345") == later["12AB345"]
    assert await restarted.hashes(["12AB345"]) == later


async def test_a_damaged_line_costs_one_plate_its_key(tmp_path: Path) -> None:
    """It gets another one; what was written of it can be found no more, and all else goes on."""
    first = await PlateKeys(tmp_path).hashes(PLATES)
    lines = (tmp_path / FILE).read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {"key": "no key"})
    (tmp_path / FILE).write_text("\n".join(lines) + "\n")
    keys = PlateKeys(tmp_path)
    after = await keys.hashes(PLATES)
    assert len(set(first.items()) - set(after.items())) == 1
    assert await keys.hashes(PLATES) == await PlateKeys(tmp_path).hashes(PLATES) == after


async def test_memory_does_not_depend_on_how_many_plates_there_were(tmp_path: Path) -> None:
    """Twenty thousand more in the file, five megabytes if they were kept, and it takes the megabyte of the filter."""
    token = (await PlateKeys(tmp_path).hashes(PLATES[:1]))[PLATES[0]]
    with (tmp_path / FILE).open("a") as file:
        for _ in range(20_000):
            file.write(json.dumps({"plate": secrets.token_hex(16), "key": secrets.token_hex(16)}) + "\n")
    tracemalloc.start()
    keys = PlateKeys(tmp_path)
    assert keys.find(PLATES[0]) == token
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.5 * 2**20
    assert most < 3 * 2**20


async def test_an_erased_key_does_not_come_back_with_an_older_file(tmp_path: Path) -> None:
    """Put back from a backup it is destroyed again, here or elsewhere, by what was erased; all others stay."""
    there, here = tmp_path / "there", tmp_path / "here"
    keys = PlateKeys(there)
    first = await keys.hashes(PLATES)
    old = (there / FILE).read_bytes()
    assert keys.forget(PLATES[0], NOW)
    assert not keys.forget(PLATES[0], NOW)
    erased = (there / ERASED).read_text()
    assert not any(plate in erased or first[plate] in erased for plate in PLATES)

    (there / FILE).write_bytes(old)  # as a crash between note and deed leaves it, too
    assert PlateKeys(there).find(PLATES[0]) is None

    here.mkdir()
    (here / FILE).write_bytes(old)
    other = PlateKeys(here)
    assert other.find(PLATES[0]) == first[PLATES[0]]
    for _ in range(2):
        other.take_erased(there / ERASED)
        assert PlateKeys(here).find(PLATES[0]) is None
    assert (here / ERASED).read_text() == erased
    assert {plate: other.find(plate) for plate in PLATES[1:]} == {plate: first[plate] for plate in PLATES[1:]}
    assert json.loads(old.splitlines()[1])["key"] not in (here / FILE).read_text()


async def test_a_plate_without_a_key_is_erased_in_older_copies_too(tmp_path: Path) -> None:
    """Its key is only in a backup: put back it is destroyed, and one that the plate gets later stays over restarts."""
    keys = PlateKeys(tmp_path)
    first = await keys.hashes(PLATES)
    old = (tmp_path / FILE).read_bytes()
    lines = [line for number, line in enumerate(old.splitlines(keepends=True)) if number != 1]
    (tmp_path / FILE).write_bytes(b"".join(lines))
    keys = PlateKeys(tmp_path)
    gone = next(plate for plate in PLATES if keys.find(plate) is None)
    assert not keys.forget(gone, NOW)
    (tmp_path / FILE).write_bytes(old)
    assert PlateKeys(tmp_path).find(gone) is None
    said = await PlateKeys(tmp_path).tokens([(NOW - timedelta(hours=1), {gone})])
    assert PlateKeys(tmp_path).find(gone) is None, "what was said before gets none either"
    later = await PlateKeys(tmp_path).hashes([gone])
    assert len({first[gone], said[0][gone], later[gone]}) == 3
    assert PlateKeys(tmp_path).find(gone) == later[gone]
    assert gone not in (tmp_path / ERASED).read_text()
    with (tmp_path / FILE).open("ab") as file:
        file.write(old.splitlines(keepends=True)[1])
    assert PlateKeys(tmp_path).find(gone) == later[gone]


async def test_a_note_of_a_key_is_about_that_key_alone(tmp_path: Path) -> None:
    """One that the plate got later stays also where the notes are from before it."""
    keys = PlateKeys(tmp_path)
    await keys.hashes(PLATES[:1])
    keys.forget(PLATES[0], NOW)
    notes = (tmp_path / ERASED).read_bytes()
    later = await keys.hashes(PLATES[:1])
    (tmp_path / ERASED).write_bytes(notes)
    assert await PlateKeys(tmp_path).hashes(PLATES[:1]) == later


async def test_what_is_erased_after_a_key_was_noted_as_one_to_keep_is_erased(tmp_path: Path) -> None:
    """Every note counts."""
    keys = PlateKeys(tmp_path)
    keys.forget(PLATES[0], NOW)
    kept = await keys.hashes(PLATES[:2])
    assert keys.forget(PLATES[1], NOW)
    assert (keys.find(PLATES[0]), keys.find(PLATES[1])) == (kept[PLATES[0]], None)


async def test_keys_of_which_none_goes_are_not_written_again(tmp_path: Path) -> None:
    """Whoever reads them would make everybody else read them anew."""
    keys = PlateKeys(tmp_path)
    await keys.hashes(PLATES)
    keys.forget(PLATES[0], NOW)
    before = (tmp_path / FILE).stat().st_ino
    assert PlateKeys(tmp_path).find(PLATES[0]) is None
    assert (tmp_path / FILE).stat().st_ino == before


async def test_the_latest_erasure_counts_wherever_it_stands(tmp_path: Path) -> None:
    """Notes that come from elsewhere are added at the end, whenever they were made."""
    keys = PlateKeys(tmp_path)
    await keys.hashes(PLATES[:1])
    keys.forget(PLATES[0], NOW)
    earlier = json.loads((tmp_path / ERASED).read_text()) | {"at": (NOW - timedelta(days=1)).isoformat()}
    (tmp_path / "notes").write_text(json.dumps(earlier) + "\n")
    keys.take_erased(tmp_path / "notes")
    await keys.tokens([(NOW - timedelta(hours=1), {PLATES[0]})])
    assert keys.find(PLATES[0]) is None


async def test_what_was_said_before_a_plate_was_erased_gets_no_key(tmp_path: Path) -> None:
    """Written again it cannot be linked, not to what comes later nor to itself; a key that is new stays."""
    keys = PlateKeys(tmp_path)
    one, two = PLATES[:2]
    before, after = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    first = await keys.hashes([one, two])
    assert await keys.tokens([(before, {one}), (before, set())]) == [{one: first[one]}, {}]
    keys.forget(one, NOW)
    again = await keys.tokens([(before, {one, two}), (NOW, {one}), (after, {one})])
    assert again[0][two] == first[two]
    assert len({first[one], *(said[one] for said in again)}) == 4
    assert {len(said[one]) for said in again} == {len(first[one])}
    assert keys.find(one) == again[2][one]
    assert PlateKeys(tmp_path).find(one) == again[2][one]
    assert (await PlateKeys(tmp_path).tokens([(before, {one})]))[0][one] not in {said[one] for said in again}


async def test_what_is_no_note_of_an_erasure_erases_nothing(tmp_path: Path) -> None:
    """A file that somebody wrote into is read as far as it goes."""
    keys = PlateKeys(tmp_path / "audit")
    first = await keys.hashes(PLATES)
    other = tmp_path / "notes"
    at = NOW.isoformat()
    strange: list[dict[str, object]] = [
        {"key": 7}, {"key": "a", "plate": "b", "at": "yesterday"}, {"at": 1}, {"at": at}, {"plate": "", "at": at},
        {"plate": ["b"], "at": at}, {"plate": "b", "key": ["a"], "at": at}, {"plate": "b", "kept": ["a"]},
        {"plate": "b"}, {"plate": "b", "at": "2026-01-10T12:00:00"},
    ]  # fmt: skip
    other.write_text("".join(f"{json.dumps(line)}\n" for line in strange))
    keys.take_erased(other)
    keys.take_erased(tmp_path / "nothing")
    assert not (tmp_path / "audit" / ERASED).exists()
    assert await PlateKeys(tmp_path / "audit").hashes(PLATES) == first
