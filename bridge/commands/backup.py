"""`vms-bridge backup` and `vms-bridge restore`: the site's data as a directory, and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.output import ConfigOption, JsonOption, command, err, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, load_site
from bridge.errors import ConfigError
from bridge.safety import restored

if TYPE_CHECKING:
    from bridge.commands.archive import Entry
    from bridge.config.load import Loaded

_OWN = "the data are on NATS servers of your own (bus.servers): back them up there, with `nats account backup`"


@command
def backup(
    directory: Annotated[Path, typer.Argument(help="Where to; must not exist yet, or be empty.")],
    config: ConfigOption = DEFAULT_CONFIG,
    clips: Annotated[bool, typer.Option("--clips", help="The clips as well; they may be large.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write everything that is stored into a directory, while the bridge runs or not.

    Not the configuration and the rules: those are your files.
    """
    logging.basicConfig(level=logging.CRITICAL)
    loaded = load_site(Path(config))
    if loaded.config.bus.servers:
        raise ConfigError(_OWN)
    entries = asyncio.run(_backup(loaded, directory.absolute(), clips=clips))
    _say(entries, f"written to {directory}", as_json=as_json)


@command
def restore(
    directory: Annotated[Path, typer.Argument(help="What `vms-bridge backup` wrote.")],
    config: ConfigOption = DEFAULT_CONFIG,
    erased: Annotated[
        Path | None, typer.Option(help="What was erased since: `audit/erased.jsonl` of the data directory before.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup into the site's data directory, which must be empty, and look whether all is there.

    Events that came after the backup are not in it; what is decided again after a restore is old, and moves nothing.
    Nor is what was stopped or held after it: so the kill switch comes up pulled, until `vms-bridge kill --reset`.
    Plates erased after the backup was written are in it: `--erased` erases them again.
    """
    logging.basicConfig(level=logging.CRITICAL)
    loaded = load_site(Path(config))
    if loaded.config.bus.servers:
        raise ConfigError(_OWN)
    if erased is not None and not erased.is_file():
        raise ConfigError(f"--erased: {erased} is not there")
    entries = asyncio.run(_restore(loaded, directory.absolute(), erased.absolute() if erased else None))
    _say(entries, "restored and complete", as_json=as_json)
    err().print(restored.NEXT, markup=False, highlight=False)


async def _backup(loaded: Loaded, directory: Path, *, clips: bool) -> list[Entry]:
    from bridge.commands import archive
    from bridge.commands.tail import data_dir, reaching

    folder = _clips(loaded) if clips else None
    async with reaching(loaded) as connection:
        return await archive.write(
            connection, loaded.config, data_dir(loaded), directory, datetime.now(UTC), clips=folder
        )


async def _restore(loaded: Loaded, directory: Path, erased: Path | None) -> list[Entry]:
    from bridge.commands import archive
    from bridge.commands.tail import data_dir

    return await archive.read(directory, loaded.config, data_dir(loaded), _clips(loaded), erased=erased)


def _clips(loaded: Loaded) -> Path:
    from bridge.commands.tail import data_dir

    own = loaded.config.clips.dir
    return (loaded.folder / own).absolute() if own else data_dir(loaded) / "clips"


def _say(entries: Sequence[Entry], ending: str, *, as_json: bool) -> None:
    if as_json:
        print_json({entry.name: {"messages": entry.messages, "bytes": entry.size} for entry in entries})
        return
    for entry in entries:
        out().print(f"{entry.name:<32} {entry.messages:>10} messages {entry.size:>12} bytes", highlight=False)
    out().print(ending, markup=False, highlight=False)
