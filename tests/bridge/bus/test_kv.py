"""Buckets and contents by hash."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.bus.bus import Bus
from bridge.bus.kv import Entry, key_of, parts_of
from bridge.bus.streams import BUCKETS, stream_name
from bridge.errors import PayloadError, StaleOwnerError, StoreError

NAMES = st.lists(st.one_of(st.none(), st.text(min_size=1, max_size=12)), min_size=1, max_size=4)


@given(NAMES)
def test_any_names_make_a_key_and_come_back(names: list[str | None]) -> None:
    """A key is made of what every tool for buckets accepts, and gives its names back."""
    try:
        key = key_of(*names)
    except (PayloadError, UnicodeEncodeError):
        return
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_=.") for letter in key)
    assert parts_of(key) == tuple(names)


@given(st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()), st.text(min_size=1, max_size=20))
def test_stream_names_are_safe_and_tell_sites_apart(one: str, other: str) -> None:
    """Whatever a site is called, its streams have names that the server takes, and another site has others."""
    try:
        first, second = stream_name(one, "EVENTS"), stream_name(other, "EVENTS")
    except UnicodeEncodeError:
        return
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in first)
    assert (first == second) == (one == other)


async def test_values_are_put_changed_and_deleted(bus: Bus) -> None:
    """Reading gives the last value and its revision; deleted is as if it had never been."""
    lists = bus.kv("lists")
    key = key_of("residents", "12 AB.345")
    assert await lists.get(key) is None
    first = await lists.put(key, b"1")
    assert await lists.get(key) == Entry(b"1", first)
    second = await lists.update(key, b"2", first)
    with pytest.raises(StaleOwnerError):
        await lists.update(key, b"3", first)
    assert [pair async for pair in lists.items()] == [(key, Entry(b"2", second))]
    await lists.delete(key)
    await lists.delete(key)
    assert await lists.get(key) is None
    assert [pair async for pair in lists.items()] == []


async def test_a_value_is_created_once_and_again_after_it_was_deleted(bus: Bus) -> None:
    """Of many who create one wins; after a deletion there is room again."""
    leases = bus.kv("leases")
    ends = await asyncio.gather(*(leases.create("nvr1", b"%d" % number) for number in range(20)))
    assert sum(end is not None for end in ends) == 1
    await leases.delete("nvr1")
    assert await leases.create("nvr1", b"new") is not None
    assert await leases.create("nvr1", b"newer") is None


async def test_a_lease_ends_by_itself_unless_it_is_renewed(bus: Bus) -> None:
    """A value with a time to live is gone after it, and renewing makes it last."""
    leases = bus.kv("leases")
    kept = await leases.create("kept", b"me", timedelta(seconds=1))
    assert await leases.create("lost", b"me", timedelta(seconds=1)) is not None
    async with asyncio.timeout(10):
        while await leases.get("lost") is not None:
            assert kept is not None
            kept = await leases.update("kept", b"me", kept, timedelta(seconds=5))
            await asyncio.sleep(0.05)
    assert await leases.get("kept") is not None
    assert await leases.create("lost", b"you") is not None


async def test_contents_of_any_size_are_found_by_their_hash(bus: Bus) -> None:
    """Empty, small, exactly one piece, and several times the server's limit of a message."""
    for size in (0, 10, 512 * 1024, 512 * 1024 + 1, 3_000_000):
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        name = await bus.contents.put(content)
        assert name == hashlib.sha256(content).hexdigest()
        assert await bus.contents.put(content) == name
        assert await bus.contents.get(name) == content
    assert await bus.contents.get("0" * 64) is None


async def test_damaged_contents_are_not_used(bus: Bus) -> None:
    """A content whose bytes do not give its name is refused."""
    name = await bus.contents.put(b"rules")
    await bus.kv("rulesets").put(f"{name}.0", b"other rules")
    with pytest.raises(StoreError, match="is damaged"):
        await bus.contents.get(name)


async def test_every_bucket_is_there(bus: Bus) -> None:
    """All buckets of the table can be used."""
    for bucket in BUCKETS:
        assert await bus.kv(bucket).put("a", b"1") > 0
