"""What a user sees of `vms-bridge run` when something is wrong: the cause, the cure, and a code. Never a traceback."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.bridge.commands.helpers import cli, going, write_site


def _no_file(site: Path) -> None:
    pass


def _broken_yaml(site: Path) -> None:
    (site / "bridge.yaml").write_text("site: home\nhttp: {port: 1\nzone: UTC\n", encoding="utf-8")


def _unknown_key(site: Path) -> None:
    write_site(site, "hhtp: {}")


def _bad_port(site: Path) -> None:
    write_site(site, port=70000)


def _unwritable(site: Path) -> None:
    (site / "file").touch()
    write_site(site, "data_dir: file/data")


def _bad_list(site: Path) -> None:
    write_site(site)
    (site / "rules").mkdir()
    (site / "rules/a.yaml").write_text("lists: {residents: {plates: r.csv}}\nrules: []\n", encoding="utf-8")
    (site / "rules/r.csv").write_text("plate,valid_until\n12AB345,31.12.2026\n", encoding="utf-8")


def _no_list(site: Path) -> None:
    write_site(site)
    (site / "rules").mkdir()
    (site / "rules/a.yaml").write_text("lists: {residents: {plates: r.csv}}\nrules: []\n", encoding="utf-8")


def _bad_rule(site: Path) -> None:
    write_site(site)
    (site / "rules").mkdir()
    (site / "rules/a.yaml").write_text(
        "rules:\n  - id: r\n    when: {kind: plate.raed}\n    then: []\n", encoding="utf-8"
    )


def _no_variable(site: Path) -> None:
    write_site(site, "latitude: ${NO_SUCH_VARIABLE}")


def _no_binary(site: Path) -> None:
    write_site(site, "bus: {binary: /no/such/nats-server}")


TABLE: list[tuple[Callable[[Path], None], int, list[str]]] = [
    (_no_file, 2, ["there is no configuration bridge.yaml", "`vms-bridge init`", "--config"]),
    (_broken_yaml, 2, ["bridge.yaml:3:"]),
    (_unknown_key, 2, ["bridge.yaml:5:1: unknown key 'hhtp'; did you mean 'http'?"]),
    (_bad_port, 2, ["bridge.yaml:3:", "http.port", "65535"]),
    (_unwritable, 3, ["cannot start: cannot create", "file/data", "what to do: a file is in the way"]),
    (_bad_list, 2, ["r.csv:2:", "valid_until"]),
    (_no_list, 2, ["rules/a.yaml:1:29: list residents: rules/r.csv cannot be read", "create it, or correct the path"]),
    (_bad_rule, 2, ["rules/a.yaml:3:18: rule r", "plate.raed", "did you mean 'plate.read'?"]),
    (_no_variable, 2, ["bridge.yaml:5:", "NO_SUCH_VARIABLE is not set; set it or write"]),
    (_no_binary, 3, ["nats-server is not at /no/such/nats-server", "what to do: correct bus.binary"]),
]


@pytest.mark.parametrize(("prepare", "code", "words"), TABLE, ids=lambda value: getattr(value, "__name__", ""))
def test_run_says_what_is_wrong_and_what_to_do(
    site: Path, prepare: Callable[[Path], None], code: int, words: list[str]
) -> None:
    """One message, two lines at most, and the exit code that the reference names."""
    prepare(site)
    done = cli("run", cwd=site)
    assert done.returncode == code, done.stderr
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr
    assert done.stdout == ""


def test_a_port_in_use(site: Path) -> None:
    """Which, and what to set."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write_site(site, port=port)
        done = cli("run", cwd=site)
    assert done.returncode == 3
    assert f"cannot start: port {port} on 127.0.0.1 is in use" in done.stderr
    assert "what to do: stop the other program or set http.port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_directory_in_use(site: Path) -> None:
    """A second bridge on the same directory names the first by its process id, and the first goes on."""
    write_site(site)
    with going("run", cwd=site) as first:
        first.line("listening", "err")
        done = cli("run", cwd=site)
        assert first.process.poll() is None
        assert done.returncode == 3
        assert f"is in use by process {first.process.pid}" in done.stderr
        assert "what to do: stop it or choose another data_dir" in done.stderr
        assert first.stop() == 0


def test_a_system_that_cannot_be_reached_does_not_stop_the_bridge(site: Path) -> None:
    """It starts, says which source is away and why, in the log and in its health, and stops cleanly."""
    write_site(site, 'sources: {nvr1: {type: ts-api, url: "http://127.0.0.1:1", username: a, password: hunter22}}')
    with going("run", cwd=site) as bridge:
        listening, away = bridge.lines("listening on http", "nvr1", stream="err")
        assert "cannot reach http://127.0.0.1:1" in away
        assert "hunter22" not in away
        assert "cannot reach http://127.0.0.1:1" in _readiness(
            listening.partition("listening on ")[2].partition(";")[0]
        )
        assert bridge.stop() == 0


def _readiness(url: str) -> str:
    return httpx.get(f"{url}/readyz", timeout=10).text


def test_a_port_in_use_is_said_before_anything_is_begun(site: Path) -> None:
    """No server was started and nothing is in the data directory but its lock; the next start finds it as it was."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write_site(site, port=port)
        done = cli("run", cwd=site)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        f"cannot start: port {port} on 127.0.0.1 is in use",
        "what to do: stop the other program or set http.port",
    ]
    assert [path.name for path in (site / "data").rglob("*")] == ["lock"]
