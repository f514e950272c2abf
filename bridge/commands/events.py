"""`vms-bridge events`: what is in the log, newest last, and what comes.

It looks and changes nothing: its consumer acknowledges nothing, has no name that lasts, and the
engine's own is not touched. To find the newest few it reads the log backwards, in spans that
double, so that the answer does not depend on how much is stored.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.output import ConfigOption, JsonOption, command, err, out
from bridge.commands.site import DEFAULT_CONFIG, load_site
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from bridge.bus.connect import Connection
    from bridge.bus.wire import Received
    from bridge.config.load import Loaded
    from bridge.schema.event import VmsEvent

HIDDEN = frozenset({"bridge.tick", "bridge.heartbeat"})
"""What the bridge says to itself; shown with `--all`, or when asked for by `--kind`."""
_MOST = 120
"""Characters of an event's data on a line for people."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events to show."""

    subject: str
    since: datetime | None
    contains: str
    hidden: frozenset[str]

    def takes(self, message: Received) -> bool:
        """Tell whether a message that has the right subject is wanted."""
        first, second = message.subject.split(".")[-3:-1]
        if f"{first}.{second}" in self.hidden:
            return False
        return not self.contains or self.contains in message.data.decode(errors="replace").casefold()


@command
def events(
    config: ConfigOption = DEFAULT_CONFIG,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    since: Annotated[
        str | None, typer.Option(help="Only what was stored since: `1h`, `30m`, or an ISO time (the site's zone).")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: `plate.read`, or `plate.*`.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    channel: Annotated[str | None, typer.Option(help="Only this channel (device, lot or zone).")] = None,
    contains: Annotated[str, typer.Option(help="Only events whose JSON holds this text, in either case.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="So many at most, the newest.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="The bridge's own ticks as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show stored events, oldest first; with --json one CloudEvent a line, exactly as stored.

    It reaches the log through the bridge that runs; when none does, through a server started for the look.
    """
    from bridge.schema.subjects import Subjects

    logging.basicConfig(level=logging.CRITICAL)  # what the bus says of itself is for the bridge's log
    loaded = load_site(Path(config))
    filed = Subjects(loaded.config.site).events(source, _kind(kind), channel)
    hidden = frozenset() if everything or kind in HIDDEN else HIDDEN
    wanted = Wanted(filed, since_when(since, loaded.config.tzinfo), contains.casefold(), hidden)
    asyncio.run(_show(loaded, wanted, limit, follow=follow, as_json=as_json))


def _kind(text: str | None) -> str | None:
    """Return what the subject is made from: `plate.read`, or `plate` for `plate.*`. Raises ConfigError."""
    from bridge.registry import unknown
    from bridge.schema.kinds import PAYLOADS, payload_model

    if text is None or text in ("*", "*.*"):
        return None
    families = {kind.partition(".")[0] for kind in PAYLOADS} | {"custom"}
    family, _, rest = text.partition(".")
    if rest == "*" and family in families:
        return family
    if payload_model(text) is None:
        raise ConfigError(f"--kind: {unknown('kind', text, [*PAYLOADS, *(f'{name}.*' for name in families)])}")
    return text


def since_when(text: str | None, zone: ZoneInfo, option: str = "--since") -> datetime | None:
    """Return the moment that `1h` or an ISO time means. Raises ConfigError."""
    from bridge.schema.units import parse_duration, parse_moment

    if text is None:
        return None
    try:
        return datetime.now(UTC) - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        moment = parse_moment(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {text!r} is neither a duration (1h, 30m, 7d) nor an ISO time") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


async def _show(loaded: Loaded, wanted: Wanted, limit: int, *, follow: bool, as_json: bool) -> None:
    from bridge.bus.newest import newest
    from bridge.bus.streams import stream_name
    from bridge.commands.tail import reaching

    stream = stream_name(loaded.config.site, "EVENTS")
    zone = loaded.config.tzinfo
    async with reaching(loaded, may_start=not follow, role="reader") as connection:
        end = (await connection.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]
        found = await newest(connection, stream, wanted.subject, limit, end=end, since=wanted.since, takes=wanted.takes)
        for message in found:
            _print(message, zone, as_json=as_json)
        if follow:
            async for message in coming(connection, stream, wanted.subject, end):
                if wanted.takes(message):
                    _print(message, zone, as_json=as_json)


async def coming(connection: Connection, stream: str, subject: str, after: int) -> AsyncIterator[Received]:
    """Yield what is stored after a sequence, for ever and in order; an outage is waited out, and said."""
    from bridge.bus.pull import place
    from bridge.errors import StoreUnavailableError

    while True:
        try:
            async for message in _session(connection, stream, subject, after):
                after = place(message.reply).seq
                yield message
        except StoreUnavailableError as error:
            err().print(f"waiting for the bridge: {error}", style="yellow", markup=False, highlight=False)
            await connection.wait_connected()
            await asyncio.sleep(0.2)


async def _session(connection: Connection, stream: str, subject: str, after: int) -> AsyncIterator[Received]:
    """Yield messages until the connection or the consumer is lost. Raises StoreUnavailableError then."""
    from bridge.bus.pull import Pull, create_consumer, place
    from bridge.errors import StoreUnavailableError

    name = f"tail-{connection.client.new_inbox().rpartition('.')[2]}"
    consumer = {
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after + 1,
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 60 * 1_000_000_000,  # the server forgets it by itself when we are gone
        "filter_subject": subject,
    }
    await create_consumer(connection, stream, name, consumer)
    turn = 0
    async with Pull(connection, stream, name).opened() as pull:
        while True:
            await pull.ask(500)
            for message in await pull.take(500):
                turn += 1
                if place(message.reply).turn != turn:
                    raise StoreUnavailableError("messages were lost on the way")
                yield message


def _print(message: Received, zone: ZoneInfo, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(message.data.decode(errors="replace") + "\n")
        sys.stdout.flush()
        return
    from pydantic import ValidationError

    from bridge.schema.event import VmsEvent

    try:
        line = describe(VmsEvent.decode(message.data), zone)
    except ValidationError:
        line = harmless(f"{message.subject} holds what is no event; --json shows it as it is")
    out().print(line, markup=False, highlight=False)


def describe(event: VmsEvent, zone: ZoneInfo) -> str:
    """Return an event as one line: when it happened at the site, what, where, and its data."""
    where = event.source_name + (f"/{event.subject}" if event.subject else "")
    data = event.data.model_dump(mode="json", exclude_defaults=True)
    said = " ".join(f"{name}={value}" for name, value in data.items() if value not in ("", [], {}))
    if len(said) > _MOST:
        said = said[: _MOST - 1] + "…"
    note = "" if event.origin in ("live", "bridge") else f" ({event.origin})"
    when = event.time.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    return harmless(f"{when}  {event.type:<18} {where:<16} {said}{note}".rstrip())


def harmless(text: str) -> str:
    """Return the text without what a terminal obeys: a plate may hold anything its sender liked."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
