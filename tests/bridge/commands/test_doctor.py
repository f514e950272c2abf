"""`vms-bridge doctor`: what it finds on a real machine, and what it says about it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.bus import binary
from bridge.commands.examine_machine import PACKAGES, claims, disk, synchronised
from tests.bridge.commands.helpers import cli, going, write_site

SOURCE = """\
sources:
  nvr1: {{type: ts-api, url: "{url}", username: admin, password: {password}}}
"""


def _doctor(site: Path, *options: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Return the exit code and the findings by what they are about."""
    done = cli("doctor", "--json", *options, cwd=site)
    assert done.stderr == ""
    found: dict[str, list[dict[str, str]]] = {}
    answer = json.loads(done.stdout)
    for finding in answer["findings"]:
        found.setdefault(finding["about"], []).append(finding)
        assert (finding["verdict"] == "ok") == (finding["cure"] == "")
    assert answer["ok"] == (done.returncode == 0)
    return done.returncode, found


def test_a_machine_and_a_server_that_are_well(server: dict[str, Any], site: Path) -> None:
    """No problem, and the facts that a report needs; nothing is left behind."""
    write_site(site, SOURCE.format(url=server["url"], password="admin"))
    code, found = _doctor(site)
    assert code == 0
    assert "sha256" in found["nats-server"][0]["message"]
    assert "nats-py" in found["packages"][0]["message"]
    assert "libavcodec" in found["video"][0]["message"]
    assert "median" in found["fsync"][0]["message"]
    assert "4 channels" in found["source nvr1"][0]["message"]
    assert [path.name for path in site.iterdir()] == ["bridge.yaml"]


def test_for_people_each_line_begins_with_its_verdict(site: Path) -> None:
    """And the last one counts."""
    write_site(site)
    done = cli("doctor", "--offline", cwd=site)
    *lines, last = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warning", "problem"}
    assert last.startswith("0 problems")


def test_the_ports_of_the_bridge_that_runs_are_no_problem(site: Path) -> None:
    """In use by us is fine; in use by another is not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write_site(site, port=port)
        code, found = _doctor(site, "--offline")
        assert (code, found["http.port"][0]["cure"]) == (1, "choose another http.port")
    with going("run", cwd=site) as bridge:
        bridge.line("listening", "err")
        code, found = _doctor(site, "--offline")
    assert code == 0
    assert found["http.port"][0]["message"] == f"{port} on 127.0.0.1 is used by the bridge that runs"
    assert "a bridge is running" in found["bridge"][1]["message"]


def test_what_cannot_be_reached_is_a_problem_each(server: dict[str, Any], site: Path) -> None:
    """A wrong password, a webhook's host that no DNS knows, a broker and a NATS that are not there."""
    more = SOURCE.format(url=server["url"], password="hunter22")
    more += 'webhooks: {office: {url: "https://no-such-host.invalid/x"}}\nmqtt: {host: 127.0.0.1, port: 1}\n'
    more += 'bus: {servers: ["nats://127.0.0.1:1"]}'
    write_site(site, more)
    code, found = _doctor(site)
    assert code == 1
    assert found["source nvr1"][0]["cure"].startswith("check username and password")
    assert "cannot be resolved" in found["webhook office"][0]["message"]
    assert "127.0.0.1:1 does not answer" in found["mqtt"][0]["message"]
    assert "does not answer" in found["nats"][0]["message"]
    assert "hunter22" not in json.dumps(found)
    assert _doctor(site, "--offline")[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no bridge.yaml"),
        ("site: [", "bridge.yaml:1"),
        ("sites: home\n", "bridge.yaml:1:1: unknown key 'sites'; did you mean 'site'?"),
    ],
)
def test_a_configuration_that_does_not_load(site: Path, text: str | None, words: str) -> None:
    """It is a problem with its place, and the machine is looked at all the same."""
    if text is not None:
        (site / "bridge.yaml").write_text(text, encoding="utf-8")
    code, found = _doctor(site, "--offline")
    assert code == 1
    assert words in found["configuration"][0]["message"]
    assert found["nats-server"][0]["verdict"] == "ok"


def test_rules_that_do_not_compile_are_a_problem(site: Path) -> None:
    """Configuration and rules are one."""
    write_site(site)
    (site / "rules").mkdir()
    (site / "rules/a.yaml").write_text("rules: [{id: a, when: {kind: plate.raed}, then: []}]\n", encoding="utf-8")
    code, found = _doctor(site, "--offline")
    assert code == 1
    assert any("plate.read" in finding["message"] for finding in found["configuration"])


def test_another_distribution_with_our_names_is_a_problem() -> None:
    """Which of two packages is imported would be chance."""
    there = dict.fromkeys(PACKAGES, "/site-packages")
    mine = {name: ["vms_event_bridge"] for name in PACKAGES}
    assert [finding.verdict for finding in claims(mine, there)] == ["ok"]
    found = list(claims(mine | {"rules": ["vms-event-bridge", "business-rules"]}, there))
    assert [(f.verdict, f.cure) for f in found] == [("problem", "pip uninstall business-rules")]
    found = list(claims(mine, there | {"rules": "/elsewhere"}))
    assert [f.verdict for f in found] == ["problem"]


def test_a_data_directory_under_a_file_is_a_problem(site: Path) -> None:
    """It can neither be written nor made."""
    (site / "file").touch()
    found = list(disk(site / "file" / "data"))
    assert [(finding.about, str(finding.verdict)) for finding in found] == [("data_dir", "problem")]


def test_the_kernel_is_asked_for_the_clock_and_not_told() -> None:
    """Any answer will do; asking needs no rights."""
    assert synchronised() in (True, False, None)


@contextmanager
def _nats(folder: Path, *options: str) -> Iterator[str]:
    """A nats-server that is not the bridge's; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = str(binary.find("auto").path)
    process = subprocess.Popen(
        [program, "-a", "127.0.0.1", "-p", str(port), *options],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert any("Server is ready" in line for line in process.stderr)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_nats_without_jetstream_is_what_run_refuses_too(site: Path) -> None:
    """Both say so, in the same words; `run` says nothing else."""
    with _nats(site) as url:
        write_site(site, f'bus: {{servers: ["{url}"]}}')
        code, found = _doctor(site)
        started = cli("run", cwd=site)
    cause, cure = started.stderr.splitlines()
    assert (code, started.returncode) == (1, 3)
    assert cause == f"cannot start: {found['nats'][0]['message']}"
    assert "has no JetStream" in cause
    assert cure == "what to do: turn JetStream on there"


def test_that_an_existing_nats_must_sync_is_a_warning(site: Path) -> None:
    """Nobody can see it from here, so everybody is told; nothing is made there."""
    with _nats(site, "-js", "-sd", str(site / "store")) as url:
        write_site(site, f'bus: {{servers: ["{url}"]}}')
        code, found = _doctor(site)
    assert code == 0
    assert [finding["verdict"] for finding in found["nats"]] == ["ok", "warning"]
    assert "sync_interval: always" in found["nats"][1]["cure"]
    assert not list((site / "store").rglob("*VMS-home*"))


def test_a_nats_that_is_not_there_is_said_once(site: Path) -> None:
    """By `run` as well: the cause and the cure, and no line of the log before them."""
    write_site(site, 'bus: {servers: ["nats://127.0.0.1:1"]}')
    done = cli("run", cwd=site)
    assert done.returncode == 3
    cause, cure = done.stderr.splitlines()
    assert cause.startswith("cannot start: NATS at 127.0.0.1:1 does not answer")
    assert cure == "what to do: start it, or correct bus.servers"
