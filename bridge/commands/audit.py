"""`vms-bridge audit`: is the audit trail whole, what is in it, and forget a plate."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.output import ConfigOption, Exit, JsonOption, command, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, load_site
from bridge.errors import ConfigError, StartError

if TYPE_CHECKING:
    from bridge.bus.connect import Connection
    from bridge.config.load import Loaded
    from bridge.schema.audit import Anchor, Verdict

audit = typer.Typer(
    name="audit",
    help="The audit trail: check it, export it, forget a plate in it.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

_SLACK = timedelta(days=1)
_FULL = 0.9
"""Of the stream's bytes: from there on its oldest records may have been dropped."""


@audit.command()
@command
def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    anchors: Annotated[
        Path | None, typer.Option(help="Anchors kept elsewhere (lines of `anchors.jsonl`), to check against too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether the trail is intact, where it was altered, or what of it no anchor proves."""
    loaded = _load(config)
    verdict = asyncio.run(_verdict(loaded, _anchors_in(anchors) if anchors else []))
    if as_json:
        print_json(as_object(verdict))
    else:
        style = {"intact": "green", "unproven": "yellow", "altered": "red"}[verdict.state]
        out().print(in_words(verdict), style=style, markup=False, highlight=False)
    if verdict.state == "altered":
        raise typer.Exit(Exit.FAILED)


@audit.command()
@command
def export(
    config: ConfigOption = DEFAULT_CONFIG,
    since: Annotated[
        str | None, typer.Option(help="Only what ended, or was changed, since: `7d`, or an ISO time.")
    ] = None,
    plate: Annotated[
        str | None, typer.Option(help="Only what this plate was the cause of, and changes of lists that name it.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--raw", help="Records exactly as stored, so that the chain can be checked elsewhere.")
    ] = False,
) -> None:
    """Print the records, oldest first, one JSON object a line: record, its hash and where it stands."""
    from bridge.commands.events import since_when

    loaded = _load(config)
    moment = since_when(since, loaded.config.tzinfo)
    token = _token(loaded, plate) if plate is not None else None
    asyncio.run(_export(loaded, moment, token, raw=whole))


@audit.command()
@command
def erase(
    plate: Annotated[str, typer.Argument(help="The plate to forget, in canonical form: as `events` shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Forget a plate: what the trail holds of it can never be linked to it again. The chain stays whole.

    Dead letters that name it are dropped. That a plate was forgotten is recorded, not which. In the log of events, in
    orders and traces plates stand until those leave by their age; clips are kept and removed by their own rules.
    What is known now keeps it until that changes: a list it is on, a parking space, what rules remember of it.
    Backups written before still hold its key: restore them with `--erased`.
    """
    loaded = _load(config)
    found, letters = asyncio.run(_erase(loaded, plate))
    if as_json:
        print_json({"erased": found, "letters": letters})
        return
    out().print("the plate is forgotten" if found else "the trail knows no such plate", highlight=False)
    if letters:
        out().print(f"{letters} dead letters that named it are dropped", highlight=False)
    kept = _folder(loaded) / "erased.jsonl"
    words = f"older backups may hold its key: keep {kept} apart from them, and restore them with --erased FILE"
    out().print(words, markup=False, highlight=False)


def _load(config: Path) -> Loaded:
    logging.basicConfig(level=logging.CRITICAL)
    return load_site(Path(config))


def _folder(loaded: Loaded) -> Path:
    from bridge.commands.tail import data_dir

    return data_dir(loaded) / "audit"


async def _records(connection: Connection, site: str) -> AsyncIterator[tuple[str, bytes]]:
    from bridge.bus.pull import scan
    from bridge.bus.streams import stream_name

    async for batch in scan(connection, stream_name(site, "RESULTS")):
        for message in batch:
            yield message.subject, message.data


async def _verdict(loaded: Loaded, elsewhere: list[Anchor]) -> Verdict:
    from bridge.bus.anchors import read_anchors, read_key
    from bridge.bus.streams import stream_name
    from bridge.commands.tail import reaching
    from bridge.schema.audit import TrailCheck
    from bridge.schema.subjects import Subjects

    site, folder = loaded.config.site, _folder(loaded)
    try:
        key, anchors = read_key(folder), read_anchors(folder)
    except OSError as error:
        raise StartError(f"the anchors in {folder} cannot be read: {error.strerror}", "look at its rights") from error
    async with reaching(loaded, role="reader") as connection:
        info = await connection.api(f"STREAM.INFO.{stream_name(site, 'RESULTS')}")
        now = datetime.now(UTC)
        check = TrailCheck(
            [*anchors, *elsewhere], key, Subjects(site), trimmed=may_be_trimmed(info, now), kept=kept_since(info, now)
        )
        async for subject, body in _records(connection, site):
            check.take(subject, body)
    return check.verdict()


def may_be_trimmed(info: dict[str, Any], now: datetime) -> bool:
    """Tell whether a stream may have dropped its oldest messages by its limits."""
    config, state = info["config"], info["state"]
    if config["max_bytes"] > 0 and state["bytes"] >= _FULL * config["max_bytes"]:
        return True
    age = timedelta(microseconds=config["max_age"] // 1000)
    made = datetime.fromisoformat(info["created"])
    return bool(age) and now - made >= age - _SLACK


def kept_since(info: dict[str, Any], now: datetime) -> datetime | None:
    """Return since when the age of a stream has taken nothing; None if it takes nothing at all."""
    age = timedelta(microseconds=info["config"]["max_age"] // 1000)
    return now - age + _SLACK if age else None


async def _export(loaded: Loaded, since: datetime | None, token: str | None, *, raw: bool) -> None:
    from pydantic import ValidationError

    from bridge.commands.tail import reaching
    from bridge.schema.audit import digest, read_record

    async with reaching(loaded, role="reader") as connection:
        async for _, body in _records(connection, loaded.config.site):
            try:
                record = read_record(body)
            except ValidationError:
                print_json({"not_a_record": body.decode(errors="replace")})
                continue
            if since is not None and record.at < since:
                continue
            if token is not None and not record.concerns(token):
                continue
            if raw:
                sys.stdout.buffer.write(body + b"\n")
                sys.stdout.buffer.flush()
            else:
                print_json({"n": record.n, "hash": digest(body), "record": json.loads(body)})


async def _erase(loaded: Loaded, plate: str) -> tuple[bool, int]:
    """Return whether the trail knew it, and how many dead letters named it."""
    from bridge.bus.acks import Acks
    from bridge.bus.effects import JetEffectLedger
    from bridge.bus.letters import DeadLetterBox, note
    from bridge.bus.platekeys import PlateKeys
    from bridge.bus.streams import stream_name
    from bridge.commands.dlq import principal
    from bridge.commands.tail import reaching

    site = loaded.config.site
    async with reaching(loaded) as connection:
        keys = PlateKeys(_folder(loaded))
        known = await asyncio.to_thread(keys.find, plate) is not None

        async def write_down(letters: int) -> None:
            if known or letters:
                ledger = JetEffectLedger(connection, Acks(connection), stream_name(site, "ENGINE"), site)
                said = "a plate was erased" + (f", with {letters} dead letters" if letters else "")
                await note(ledger, "plate-erase", principal(), datetime.now(UTC), said)

        letters = await DeadLetterBox(connection, site, principal()).forget(plate, write_down)
        return await asyncio.to_thread(keys.forget, plate, datetime.now(UTC)), letters


def _token(loaded: Loaded, plate: str) -> str:
    from bridge.bus.platekeys import PlateKeys

    token = PlateKeys(_folder(loaded)).find(plate)
    if token is None:
        raise ConfigError("--plate: the trail knows no such plate, or it was erased")
    return token


def _anchors_in(path: Path) -> list[Anchor]:
    from pydantic import ValidationError

    from bridge.schema.audit import Anchor

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Anchor.model_validate_json(line) for line in lines if line.strip()]
    except OSError as error:
        raise ConfigError(f"--anchors: {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"--anchors: {path} holds a line that is no anchor") from error


def as_object(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON."""
    return {
        "state": verdict.state,
        "records": verdict.records,
        "first": verdict.first,
        "last": verdict.last,
        "proven_to": verdict.proven,
        "unproven": max(0, verdict.last - verdict.proven) if verdict.state != "altered" else None,
        "altered_at": verdict.altered_at,
        "why": verdict.why,
    }


def in_words(verdict: Verdict) -> str:
    """Say it in a sentence that promises no more than is known."""
    if verdict.state == "altered":
        return f"altered at {verdict.altered_at}: {verdict.why}"
    if verdict.last == 0:
        return "intact: there is no record yet"
    span = f"records {verdict.first} to {verdict.last}"
    if verdict.state == "intact":
        return f"intact: {span}; whether more followed and is gone nobody can say"
    tail = verdict.last - verdict.proven
    since = f"the last anchor, at {verdict.proven}" if verdict.proven else "the beginning: there is no anchor"
    return f"tail unproven: {span} hold together, the last {tail} since {since}, are not proven yet"
