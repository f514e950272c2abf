"""Bad input while the bridge runs: it is named, kept apart, and takes nothing good with it.

What is wrong before it runs (configuration, rules, lists, ports, directories) is in
`tests/bridge/commands/test_bad_input.py`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.schema.kinds import PlateRead
from tests.bridge.commands.helpers import PATIENCE, Program, cli, going
from tests.e2e.site import Bridge, Letter, bridge, simulator

PUSHER = ("gate", "s3cret")
CONFIG = """\
site: home
zone: America/New_York
data_dir: {data_dir}
http: {{port: 0, push: {{gate: {{username: gate, password: s3cret}}}}}}
{sources}
"""


def _lpr(plate: str, **members: Any) -> dict[str, Any]:
    return {"topic": "LPR", "src": "F00001", "plateNo": plate, "when": "2026-01-10T18:00:00-05:00"} | members


GOOD = _lpr("12AB345")
DOUBLED = json.dumps(GOOD)[:-1] + ', "topic": "emergencyCall"}'
DEEP = json.dumps(GOOD)[:-1] + ', "x": ' + "[" * 20 + "]" * 20 + "}"
PUSHES: list[tuple[str, bytes, int, str, str]] = [
    ("no JSON", b'{"topic": "LPR", ', 400, "not_json", "the body is not JSON"),
    ("not UTF-8", b'{"topic": "\xff"}', 400, "not_utf8", "the body is not UTF-8"),
    ("no object", b"[%b, 7]", 200, "not_object", "an item must be a JSON object"),
    ("too deep", b"[%b, " + DEEP.encode() + b"]", 200, "too_deep", "nested deeper"),
    ("a key twice", b"[%b, " + DOUBLED.encode() + b"]", 200, "duplicate_key", "a key stands twice"),
    ("no plate", b'[%b, {"topic": "LPR", "src": "F00001"}]', 200, "missing_field", "plateNo"),
    ("an unknown topic", b'[%b, {"topic": "weather", "src": "a"}]', 200, "unknown_topic", "weather"),
]
"""What is pushed (`%b` is a good item beside it), the answer, and the reason and words it is parked with."""


@pytest.mark.timeout(120)
async def test_a_bad_pushed_item_is_parked_with_its_reason_and_the_good_one_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each kind of bad body: one line with the reason, the message among the dead letters, the good one in the log."""
    caplog.set_level(logging.WARNING)
    async with bridge(tmp_path, CONFIG.format(data_dir="data", sources="")) as site:
        for number, (name, body, status, reason, words) in enumerate(PUSHES):
            plate = f"OK{number}"
            content = body.replace(b"%b", json.dumps(_lpr(plate)).encode())
            caplog.clear()
            answer = await _push(site.running.http.url, content)
            assert answer.status_code == status, name
            if status != 200:
                assert reason in answer.text
            letter = await _newest_letter(site, number + 1)
            assert letter.reason == reason, name
            assert words in letter.headers["Vms-Error"], name
            (line,) = [record for record in caplog.records if "could not be understood" in record.message]
            assert line.__dict__["reason"] == reason
            assert words in line.__dict__["error"]
            if status == 200:
                await site.until(lambda plate=plate: plate in _plates(site))  # type: ignore[misc]
        assert len(_plates(site)) == sum(status == 200 for _, _, status, _, _ in PUSHES)


@pytest.mark.timeout(120)
async def test_a_bad_message_of_a_system_is_parked_and_the_next_one_is_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no JSON between two events: one log line, one dead letter, and no event is missing."""
    sources = 'sources: {{nvr1: {{type: ts-api, url: "{url}", username: admin, password: admin}}}}'
    with simulator(tmp_path) as url:
        config = CONFIG.format(data_dir="data", sources=sources.format(url=url))
        async with bridge(tmp_path, config, "", ["nvr1"]) as site, httpx.AsyncClient(base_url=url) as http:
            (await http.put("/_sim/faults/garbage", json={"times": 1})).raise_for_status()
            for plate in ("ONE1", "TWO2"):
                event = {"topic": "LPR", "channel": 1, "plateNo": plate}
                (await http.post("/_sim/events", json=event)).raise_for_status()
            await site.until(lambda: set(_plates(site)) >= {"ONE1", "TWO2"})
            letter = await _newest_letter(site, 1)
            assert letter.reason == "not_json"
            lines = [record for record in caplog.records if "could not be understood" in record.message]
            assert [line.__dict__["source"] for line in lines] == ["nvr1"]
            assert _plates(site) == ["ONE1", "TWO2"]


@pytest.mark.timeout(180)
def test_on_a_full_disk_pushes_are_refused_and_nothing_that_was_taken_is_lost(tmp_path: Path) -> None:
    """503 with Retry-After while it is full, said in the log and by /readyz; taken again when there is room."""
    with _small_disk(tmp_path / "disk") as disk:
        (tmp_path / "bridge.yaml").write_text(CONFIG.format(data_dir=disk / "data", sources=""), encoding="utf-8")
        with going("run", cwd=tmp_path) as program:
            url = _listening(program)
            taken = [plate for plate in (f"A{n}" for n in range(50)) if _pushed(url, plate).status_code == 200]
            assert len(taken) == 50
            _fill(disk)
            refused = next(answer for n in range(200) if (answer := _pushed(url, f"F{n}")).status_code != 200)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert "send it again" in refused.text
            assert "the disk is full" in program.line("events are refused", "err")
            assert str(disk) not in _until_not_ready(url, "the disk is full")
            (disk / "fill").unlink()
            program.line("events are taken again", "err")
            assert _pushed(url, "LATER1").status_code == 200
            assert program.stop() == 0
        stored = cli("events", "--json", "--limit", "1000", "--kind", "plate.read", cwd=tmp_path)
        plates = [json.loads(line)["data"]["plate"] for line in stored.stdout.splitlines()]
        assert stored.returncode == 0, stored.stderr
        assert {*taken, "LATER1"} <= set(plates)
        assert len(plates) == len(set(plates))


@pytest.mark.timeout(60)
def test_it_does_not_start_on_a_full_disk(tmp_path: Path) -> None:
    """One line with the cause, one with the cure, and the code for it."""
    with _small_disk(tmp_path / "disk", "4m") as disk:
        (tmp_path / "bridge.yaml").write_text(CONFIG.format(data_dir=disk / "data", sources=""), encoding="utf-8")
        done = cli("run", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "cannot start: the disk of" in done.stderr
    assert "what to do: free some room, or choose another data_dir" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2, done.stderr


# What the tests look at


async def _push(url: str, body: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=url, auth=PUSHER, timeout=20) as http:
        return await http.post("/api/push", content=body, headers=headers)


def _pushed(url: str, plate: str) -> httpx.Response:
    return httpx.post(f"{url}/api/push", json=_lpr(plate, pad="x" * 3000), auth=PUSHER, timeout=20)


def _until_not_ready(url: str, reason: str) -> str:
    """Wait until health says no, for this reason; return all that it says."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = httpx.get(f"{url}/readyz", timeout=10)
        if answer.status_code == 503 and reason in answer.text:
            return answer.text
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def _plates(site: Bridge) -> list[str]:
    return [event.data.plate for event in site.of("plate.read") if isinstance(event.data, PlateRead)]


async def _newest_letter(site: Bridge, count: int) -> Letter:
    """Return the newest dead letter when there are so many."""
    await site.until(lambda: len(site.dead) >= count)
    assert len(site.dead) == count
    return site.dead[-1]


def _listening(program: Program) -> str:
    return program.line("listening on http", "err").partition("listening on ")[2].partition(";")[0]


@contextmanager
def _small_disk(path: Path, size: str = "64m") -> Iterator[Path]:
    """Mount a disk of this size, or skip the test where nobody lets us."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this machine lets us mount nothing: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _fill(disk: Path) -> None:
    fill = os.open(disk / "fill", os.O_CREAT | os.O_WRONLY)
    with suppress(OSError):
        while os.write(fill, b"x" * 4096):
            pass
    os.close(fill)
