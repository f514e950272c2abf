"""`vms-bridge init` against a simulated server."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from bridge.commands.first_site import config_text, outputs_of, rules_text, secrets_text
from bridge.config.load import load
from bridge.contracts import ChannelInfo, PtzPreset, Relay, SystemInfo
from bridge.registry import Registry
from connectors import BUILTIN
from tests.bridge.commands.helpers import cli


def test_what_it_writes_checks_and_tests(server: dict[str, Any], site: Path) -> None:
    """The three files fit together, name the relays, and keep the password in a private file alone."""
    done = cli("init", server["url"], "-u", "admin", "--password-stdin", cwd=site, said="admin\n")
    assert done.returncode == 0, done.stderr
    assert "Entrance gate" in done.stdout
    text = (site / "bridge.yaml").read_text(encoding="utf-8")
    assert 'gate: {source: nvr1, channel: "1", relay: "relay-1", idle: "off", class: actuating}' in text
    assert "#   main-gate: {output: gate, mode: observe" in text
    assert "password: !secret" in text
    assert stat.S_IMODE((site / "secrets.yaml").stat().st_mode) == 0o600
    checked = cli("check", cwd=site)
    assert (checked.returncode, checked.stdout) == (0, "ok: 1 sources, 1 rules, 2 tests of rules\n"), checked.stderr
    tested = cli("test", cwd=site)
    assert (tested.returncode, tested.stdout.splitlines()[-1]) == (0, "2 passed, 0 failed"), tested.stdout


def test_the_ten_jobs_come_with_it_if_asked_for(server: dict[str, Any], site: Path) -> None:
    """Beside the site, as one of their own that checks and tests; none of them counts before it is moved."""
    arguments = ("init", server["url"], "-u", "admin", "--jobs")
    done = cli(*arguments, cwd=site, VMS_BRIDGE_PASSWORD="admin")
    assert done.returncode == 0, done.stderr
    assert "copied ten jobs to jobs: move what you need to rules" in done.stdout
    assert len(list((site / "jobs" / "rules").glob("*.yaml"))) == 10
    assert cli("check", cwd=site).stdout == "ok: 1 sources, 1 rules, 2 tests of rules\n"
    assert cli("test", "-c", "jobs/bridge.yaml", cwd=site).returncode == 0
    again = cli(*arguments, "--dir", ".", cwd=site, VMS_BRIDGE_PASSWORD="admin")
    assert (again.returncode, "jobs exists already" in again.stderr) == (2, True)


def test_for_scripts_it_says_what_there_is_and_what_was_written(server: dict[str, Any], site: Path) -> None:
    """One line of JSON and nothing else; the password is not in it."""
    arguments = ("init", server["url"], "-u", "admin", "--json")
    done = cli(*arguments, cwd=site, VMS_BRIDGE_PASSWORD="admin")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["ok"]
    assert all((site / file).is_file() for file in told["files"])
    assert told["tests"] == {"passed": 2, "failed": 0}
    assert [channel["channel"] for channel in told["system"]["channels"]] == ["1", "2", "3", "4"]
    again = cli(*arguments, cwd=site, VMS_BRIDGE_PASSWORD="admin")
    assert (again.returncode, again.stdout) == (2, "")


def test_nothing_is_overwritten_unless_told(server: dict[str, Any], site: Path) -> None:
    """One file that is there stops it before the server is asked; --force does it."""
    (site / "secrets.yaml").write_text("mine: 1\n", encoding="utf-8")
    refused = cli("init", "http://127.0.0.1:1", "-u", "admin", cwd=site, VMS_BRIDGE_PASSWORD="admin")
    assert refused.returncode == 2
    assert "secrets.yaml exists already: choose another folder with --dir, or add --force" in refused.stderr
    assert sorted(path.name for path in site.iterdir()) == ["secrets.yaml"]
    done = cli("init", server["url"], "-u", "admin", "--force", cwd=site, VMS_BRIDGE_PASSWORD="admin")
    assert done.returncode == 0, done.stderr


def test_an_api_key_will_do(server: dict[str, Any], site: Path) -> None:
    """With a key no user is asked for."""
    key = server["api_key"]
    done = cli("init", server["url"], "--api-key-stdin", "--name", "1", "--dir", "new/site", cwd=site, said=f"{key}\n")
    assert done.returncode == 0, done.stderr
    assert key not in (site / "new/site/bridge.yaml").read_text(encoding="utf-8")
    assert cli("check", "-c", "new/site/bridge.yaml", cwd=site).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "password", "code", "words"),
    [
        (("{url}", "-u", "admin"), "wrong", 1, "check the user name and the password"),
        (("http://127.0.0.1:1", "-u", "admin"), "x", 1, "check the address, the port and http/https"),
        (("{url}/deep", "-u", "admin"), "x", 2, "url: must end after host and port"),
        (("http://a:secret@b", "-u", "admin"), "x", 2, "url: must not hold credentials"),
        (("127.0.0.1", "-u", "admin"), "x", 2, "url: must begin with http:// or https://"),
        (("{url}", "--type", "ts-apy"), "x", 2, "unknown source type 'ts-apy'; did you mean 'ts-api'?"),
        (("{url}",), "x", 2, "whom to log in as? add --user NAME, or --api-key-stdin"),
        (("{url}", "-u", "admin"), "", 2, "there is no password: set VMS_BRIDGE_PASSWORD, or use --password-stdin"),
        (("{url}", "-u", "a", "--name", "a/b"), "x", 2, "--name: 'a/b' is not a name"),
    ],
)
def test_what_goes_wrong_is_one_line_with_a_cure(
    server: dict[str, Any], site: Path, arguments: tuple[str, ...], password: str, code: int, words: str
) -> None:
    """And nothing is written, and no secret said."""
    filled = [argument.format(url=server["url"]) for argument in arguments]
    done = cli("init", *filled, cwd=site, VMS_BRIDGE_PASSWORD=password)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr
    assert "secret" not in done.stderr
    assert list(site.iterdir()) == []


def test_something_else_that_answers_is_said(site: Path) -> None:
    """A web server that is no TS-API server."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        done = cli("init", f"http://127.0.0.1:{other.server_port}", "-u", "a", cwd=site, VMS_BRIDGE_PASSWORD="x")
        other.shutdown()
        thread.join()
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "check that the address is a server of this --type" in done.stderr


HOSTILE = 'a: "b" # ${HOME} {x}\n- !secret y\x1b'


def test_names_of_a_server_cannot_break_the_files(site: Path) -> None:
    """Quotes, variables, line ends and control characters mean themselves, or a harmless comment."""
    channel = ChannelInfo(
        HOSTILE, HOSTILE, True, (PtzPreset("1", HOSTILE),), (Relay(HOSTILE, HOSTILE), Relay("2", "on"))
    )
    info = SystemInfo(HOSTILE, HOSTILE, "v0", HOSTILE, HOSTILE, (channel,))
    fields = {"type": "ts-api", "url": "http://127.0.0.1", "username": HOSTILE.replace(":", "")}
    (site / "rules").mkdir()
    (site / "bridge.yaml").write_text(config_text("on", info, fields, {"password": "on_password"}), encoding="utf-8")
    (site / "secrets.yaml").write_text(secrets_text({"on_password": HOSTILE}), encoding="utf-8")
    (site / "rules/first.yaml").write_text(rules_text("on", info), encoding="utf-8")
    loaded = load(site / "bridge.yaml", Registry("source type", BUILTIN, "vms_bridge.none"), {})
    source: Any = loaded.sources["on"]
    assert (source.username, source.password.get_secret_value()) == (HOSTILE.replace(":", ""), HOSTILE)
    assert [output.relay for output in loaded.config.outputs.values()] == [HOSTILE, "2"]
    assert list(outputs_of(info)) == list(loaded.config.outputs)
    tested = cli("test", cwd=site)
    assert tested.returncode == 0, tested.stdout + tested.stderr
