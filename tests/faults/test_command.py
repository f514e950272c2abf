"""`vms-bridge bench faults` runs rows, says what it found in one form, and keeps the published table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bridge.bench.faults.ledger import Ledger
from bridge.bench.faults.load import Load
from bridge.bench.faults.outcome import Control, Outcome
from bridge.bench.faults.page import publish
from bridge.bench.faults.run import ROWS, Row, run, short_rows, verdict
from bridge.bench.revision import revision

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {
    "cpu": "c", "cores": 2, "system": "s", "file_system": "ext4", "sync_us": 170, "python": "3", "versions": {"a": "1"},
}  # fmt: skip


def faults(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "bench", "faults", "--dir", folder, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    return done.returncode, done.stdout, done.stderr


def test_a_row_is_run_and_published(tmp_path: Path) -> None:
    """`--rows C2 --json --page` prints one object, leaves nothing behind but the page, and succeeds."""
    (tmp_path / "work").mkdir()
    page = tmp_path / "page.md"
    code, said, progress = faults(tmp_path / "work", "--rows", "c2", "--seed", "7", "--json", "--page", str(page))
    assert code == 0, said + progress
    found: dict[str, Any] = json.loads(said)
    assert found.keys() == {"bench", "seed", "rows", "machine"}
    assert found["seed"] == 7
    (row,) = found["rows"]
    assert (row["row"], row["lost"], row["passed"], row["control"]["failed"]) == ("C2", 0, True, True)
    assert row["acked"] > 0
    assert "seed 7" in progress
    assert "| C2 |" in page.read_text()
    assert list((tmp_path / "work").iterdir()) == []


def test_an_unknown_row_is_refused(tmp_path: Path) -> None:
    """A row that is not there is named, with those that are."""
    code, _, words = faults(tmp_path, "--rows", "F1,Z9")
    assert code == 2
    assert "there is no row Z9; there are F1, F2" in words


def test_the_page_keeps_rows_that_were_not_run(tmp_path: Path) -> None:
    """A run replaces its own rows and nothing else, around the table included."""
    page = tmp_path / "page.md"
    publish(page, [Outcome("F1", "a", "1", acked=1), Outcome("F3", "b", "1", acked=5)], 1, MACHINE)
    assert "| yes | – |" in page.read_text()
    page.write_text("# Title\n\n" + page.read_text() + "\nThe end.\n")
    publish(page, [Outcome("F3", "b", "2", acked=77)], 2, MACHINE, "0123456789ab")
    text = page.read_text()
    assert text.startswith("# Title\n")
    assert text.endswith("\nThe end.\n")
    assert "| F1 | a | 1 |" in text
    assert "| F3 | b | 2 | 0 | 77 |" in text
    assert "| 5 |" not in text
    assert [line.rpartition("| ")[2] for line in text.splitlines() if line.startswith("| F")] == [
        "– |",
        "`0123456789ab` |",
    ]


def test_a_row_names_the_commit_only_of_a_checkout(tmp_path: Path) -> None:
    """What merely lies in somebody else's repository, as an installed package may, is not of its commit."""

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", tmp_path, *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    package, strange = tmp_path / "package", tmp_path / "venv"
    package.mkdir()
    strange.mkdir()
    (strange / "lies_here.py").touch()
    module = package / "module.py"
    module.touch()
    assert revision(package) is None
    git("init", "-q")
    git("add", "package")
    git("commit", "-q", "-m", "x")
    git("tag", "-a", "-m", "x", "v1")
    assert revision(package) == git("rev-parse", "--short=12", "HEAD")
    assert revision(strange) is None
    module.write_text("changed = True\n")
    assert revision(package) == git("rev-parse", "--short=12", "HEAD") + "-dirty"


@pytest.mark.parametrize(
    ("outcome", "passed", "words"),
    [
        (Outcome("F1", "a", "1", control=Control("x", "y", failed=True)), True, "passed"),
        (Outcome("F1", "a", "1", control=Control("x", "y", failed=False)), False, "shows nothing"),
        (Outcome("F1", "a", "1", problems=["lost"]), False, "FAILED"),
        (Outcome("F1", "a", "1", slow=["p99 is 4.0 s"]), True, "passed"),
        (Outcome("F1", "a", "1", skipped="no FUSE"), False, "skipped (no FUSE)"),
    ],
)
def test_a_row_passes_only_if_its_control_does_not(outcome: Outcome, passed: bool, words: str) -> None:
    """A control that passes too means that nothing was shown."""
    assert outcome.passed is passed
    assert words in verdict(outcome)


@pytest.mark.parametrize(("release", "problems"), [(False, []), (True, ["p99 is 4.0 s"])])
def test_speed_is_judged_in_the_long_form_only(
    release: bool, problems: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short one runs anywhere, beside anything: what was slow is told and fails nothing."""

    def measure(folder: Path, size: int, seed: int) -> Outcome:
        outcome = Outcome("F1", "a", str(size))
        outcome.in_time(4.0 < 2.0, "p99 is 4.0 s")
        return outcome

    monkeypatch.setitem(ROWS, "F1", Row("a", measure, 1, 1))  # type: ignore[arg-type]
    (outcome,) = run(["F1"], tmp_path, 1, release=release)
    assert outcome.problems == problems
    assert outcome.found == ["p99 is 4.0 s"]
    assert outcome.passed is not release


def test_the_docs_name_every_row() -> None:
    """Each row of the table is explained on its page."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    assert [name for name in ROWS if name not in text] == []


def test_every_row_has_a_short_size() -> None:
    """Whatever row is named, the short form has a size for it, never larger than the long one's."""
    assert [name for name, row in ROWS.items() if row.short <= 0] == []
    assert [name for name, row in ROWS.items() if row.large is None and row.short > row.release] == []
    assert set(short_rows()) < set(ROWS)


class _Yes(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("most", [1, 8, 21])
def test_a_load_sends_as_many_as_it_should(tmp_path: Path, most: int) -> None:
    """Also when there are fewer events than senders, so many are offered, and no more."""
    ledger = Ledger(tmp_path / "acked")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Yes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Load(server.server_port, ledger, senders=8, batch=2, most=most) as load:
            assert load.finish(10)
        server.shutdown()
    assert (ledger.offered, len(ledger.acked), len(load.since)) == (most, most, most)
