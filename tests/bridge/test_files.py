"""Files that people name: what is no file is refused and never waited for, nor is a disk that does not answer."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from threading import Event

import pytest

from bridge.commands.site import actions, connectors
from bridge.config.load import load
from bridge.errors import ConfigError
from bridge.files import read_file
from bridge.live.aside import aside
from bridge.rulebook import action_specs, compile_files

pytestmark = pytest.mark.timeout(60)
RULES = (
    "lists: {l: {plates: l.csv}}\nholidays: h.ics\nrules: [{id: r, when: {kind: plate.read}, then: [{set_mode: a}]}]\n"
)


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _problems(folder: Path, config: str | None = None) -> str:
    try:
        if config is None:
            compile_files([folder / "r.yaml"], action_specs(actions()))
        else:
            (folder / "bridge.yaml").write_text(config, encoding="utf-8")
            load(folder / "bridge.yaml", connectors()).rule_files()
    except ConfigError as error:
        return "\n".join(map(str, error.problems))
    return ""


def test_a_file_is_read_and_a_pipe_is_not(tmp_path: Path) -> None:
    """Nobody writes into the pipe, and nobody waits for that."""
    (tmp_path / "a").write_bytes(b"abc")
    assert (read_file(tmp_path / "a"), read_file(tmp_path / "a", 2)) == (b"abc", b"ab")
    for other in (_pipe(tmp_path / "p"), Path("/dev/zero")):
        with pytest.raises(OSError, match="it is a pipe or a device, not a file"):
            read_file(other)


def test_pipes_among_rule_files_are_problems_with_their_place(tmp_path: Path) -> None:
    """A list, holidays, or the rules themselves."""
    _pipe(tmp_path / "l.csv")
    _pipe(tmp_path / "h.ics")
    (tmp_path / "r.yaml").write_text(RULES, encoding="utf-8")
    assert _problems(tmp_path).splitlines() == [
        "r.yaml:1:21: list l: l.csv cannot be read: it is a pipe or a device, not a file; name a file",
        "r.yaml:2:11: holidays: h.ics cannot be read: it is a pipe or a device, not a file; name a file",
    ]
    (tmp_path / "r.yaml").unlink()
    _pipe(tmp_path / "r.yaml")
    assert _problems(tmp_path) == "r.yaml: cannot be read: it is a pipe or a device, not a file; name a file"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("site: a\nrules: [p]\n", "'p' is no file; name a file"),
        ("site: a\nrules: [rules/]\n", "'rules/' is no file; write rules/*.yaml"),
        ("site: a\nrules: ['*.p']\n", ""),
        ("site: a\nwebhooks: {w: {url: https://example.org, secrets: [!secret s]}}\n", "it is a pipe or a device"),
        ("site: a\nmqtt: {host: h, username: u, password_file: p}\n", "p cannot be read: it is a pipe or a device"),
    ],
)
def test_pipes_that_the_configuration_names(config: str, said: str, tmp_path: Path) -> None:
    """Rules, secrets: nothing of that kind is passed over without a word."""
    for name in ("p", "x.p", "secrets.yaml"):
        _pipe(tmp_path / name)
    (tmp_path / "rules").mkdir()
    found = _problems(tmp_path, config)
    assert bool(found) is bool(said)
    assert said in found


def test_a_configuration_that_is_a_pipe(tmp_path: Path) -> None:
    """It is refused as well."""
    with pytest.raises(ConfigError, match="it is a pipe or a device"):
        load(_pipe(tmp_path / "bridge.yaml"), connectors())


def test_nobody_waits_at_the_end_for_what_hangs() -> None:
    """The loop ends while a thread still reads from a disk that does not answer."""
    go, over = Event(), Event()

    def hang() -> None:
        go.wait(30)
        over.set()

    async def stop() -> None:
        task = asyncio.create_task(aside(hang, "test"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stop())
    assert not over.is_set()
    go.set()
    assert over.wait(30)


async def test_work_aside_gives_what_it_gives() -> None:
    """A value, or the error."""
    assert await aside(lambda: 7, "test") == 7
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 // 0, "test")
