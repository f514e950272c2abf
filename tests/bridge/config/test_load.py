"""A configuration is understood as it is written, with everything filled in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bridge.config.load import Loaded, load
from bridge.errors import ConfigError
from tests.bridge.config.sources import REGISTRY, CameraConfig


def _load(folder: Path, text: str, **env: str) -> Loaded:
    path = folder / "bridge.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, REGISTRY, env)


def _problems(folder: Path, text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _load(folder, text, **env)
    return [str(p).removeprefix(f"{folder}/") for p in caught.value.problems]


def test_no_file_gives_the_safe_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback, nothing open, data beside where the bridge was started."""
    monkeypatch.chdir(tmp_path)
    loaded = load(None, REGISTRY, {})
    assert loaded.config.http.host == "127.0.0.1"
    assert loaded.config.bus.mqtt is None
    assert loaded.config.data_dir == tmp_path / "data"
    assert loaded.path is None
    assert loaded.warnings == ()
    assert loaded.rule_files() == []


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}\n", "http:\nsources:\n"])
def test_an_empty_file_or_section_is_the_default(tmp_path: Path, text: str) -> None:
    """What is commented out is not an error."""
    loaded = _load(tmp_path, text)
    assert loaded.config.http.port == 8480
    assert loaded.sources == {}


def test_a_section_that_is_there_but_empty_counts(tmp_path: Path) -> None:
    """`mqtt:` under bus opens the listener with its defaults."""
    assert _load(tmp_path, "bus:\n  mqtt:\n").config.bus.mqtt is not None


def test_words_that_yaml_once_made_booleans_stay_words(tmp_path: Path) -> None:
    """`idle: off` and `channel: 007` mean what they say."""
    loaded = _load(
        tmp_path,
        "sources: {cam: {type: camera, url: x}}\n"
        "outputs: {gate: {source: cam, channel: 007, relay: 1, idle: off}}\n"
        "dry_run: on\n",
    )
    gate = loaded.config.outputs["gate"]
    assert (gate.idle, gate.channel, gate.relay) == ("off", "007", "1")
    assert loaded.config.dry_run is True


def test_each_source_is_read_by_its_own_connector(tmp_path: Path) -> None:
    """The type selects the model; the spec comes along."""
    loaded = _load(tmp_path, "sources: {cam: {type: camera, url: x, channels: [1, 2]}, door: {type: sensor}}\n")
    cam = loaded.sources["cam"]
    assert isinstance(cam, CameraConfig)
    assert cam.channels == (1, 2)
    assert loaded.specs["door"].name == "sensor"


def test_variables_come_from_the_environment(tmp_path: Path) -> None:
    """With defaults, inside text, for numbers too; `$${` is a plain `${`."""
    loaded = _load(
        tmp_path,
        "site: ${SITE}\nhttp: {port: '${PORT:-9000}'}\n"
        "webhooks: {a: {url: 'http://${HOST}/x?y=$${z}', timeout: '${T:-5s}'}}\n",
        SITE="yard",
        HOST="h.example",
    )
    assert loaded.config.site == "yard"
    assert loaded.config.http.port == 9000
    assert loaded.config.webhooks["a"].url == "http://h.example/x?y=${z}"
    assert loaded.config.webhooks["a"].timeout == timedelta(seconds=5)


def test_secrets_come_from_a_file_beside(tmp_path: Path) -> None:
    """`!secret` looks into secrets.yaml; numbers are text there too."""
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text("cam: 'p w'\npin: 1234\n", encoding="utf-8")
    secrets.chmod(0o600)
    loaded = _load(
        tmp_path,
        "sources: {cam: {type: camera, url: x, password: !secret cam}}\n"
        "http: {push: {booth: {password: !secret pin}}}\n",
    )
    cam = loaded.sources["cam"]
    assert isinstance(cam, CameraConfig)
    assert cam.password is not None
    assert cam.password.get_secret_value() == "p w"
    booth = loaded.config.http.push["booth"].password
    assert booth is not None
    assert booth.get_secret_value() == "1234"
    assert loaded.warnings == ()
    assert "p w" not in repr(loaded)


def test_a_secrets_file_that_everybody_can_read_is_warned_about(tmp_path: Path) -> None:
    """A warning with the cure, and the bridge still starts."""
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text("cam: x\n", encoding="utf-8")
    secrets.chmod(0o644)
    loaded = _load(tmp_path, "sources: {cam: {type: camera, url: x, password: !secret cam}}\n")
    assert [str(w) for w in loaded.warnings] == [f"{secrets}: everybody here can read it; run: chmod 600 {secrets}"]


def test_any_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    """`password_file` as container platforms give it; the last line break is not part of it."""
    (tmp_path / "pw").write_text("s3cret \n", encoding="utf-8")
    (tmp_path / "hook").write_text("whsec_" + "QUJD" * 10 + "\n", encoding="utf-8")
    loaded = _load(
        tmp_path,
        "sources: {cam: {type: camera, url: x, password_file: pw}}\n"
        "webhooks: {a: {url: 'http://h/', secret_file: hook}}\n"
        f"http: {{push: {{booth: {{token_file: {tmp_path}/pw}}}}}}\n",
    )
    cam = loaded.sources["cam"]
    assert isinstance(cam, CameraConfig)
    assert cam.password is not None
    assert cam.password.get_secret_value() == "s3cret "
    assert loaded.config.http.push["booth"].token is not None
    assert loaded.config.webhooks["a"].secret is not None


def test_relative_paths_begin_at_the_file(tmp_path: Path) -> None:
    """Wherever the bridge is started from, the same files are meant."""
    loaded = _load(
        tmp_path,
        "data_dir: d\nclips: {dir: ../clips}\nmqtt: {ca_file: /etc/ca.pem}\n"
        "sources: {cam: {type: camera, url: x, ca_file: ca.pem}}\n",
    )
    assert loaded.config.data_dir == tmp_path / "d"
    assert loaded.config.clips.dir == tmp_path / "../clips"
    assert loaded.config.mqtt is not None
    assert loaded.config.mqtt.ca_file == Path("/etc/ca.pem")
    cam = loaded.sources["cam"]
    assert isinstance(cam, CameraConfig)
    assert cam.ca_file == tmp_path / "ca.pem"


def test_a_pattern_that_matches_no_rule_file_is_a_warning(tmp_path: Path) -> None:
    """With its place; the default that nobody wrote is none."""
    loaded = _load(tmp_path, "rules:\n  - rules/*.yaml\n  - zzz/*.yaml\n")
    told = "rules[{}]: matches no file; correct it, or put a rule file there"
    assert [str(warning).removeprefix(f"{tmp_path}/") for warning in loaded.warnings] == [
        "bridge.yaml:2:5: " + told.format(0),
        "bridge.yaml:3:5: " + told.format(1),
    ]
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").touch()
    assert len(_load(tmp_path, "rules: ['rules/*.yaml']\n").warnings) == 0
    assert _load(tmp_path, "site: home\n").warnings == ()


def test_rule_files_are_found_beside_the_file(tmp_path: Path) -> None:
    """Patterns may match nothing; a file that is named must be there."""
    folder = tmp_path / "a [b]"
    (folder / "rules").mkdir(parents=True)
    for name in ("b.yaml", "a.yaml", "note.txt"):
        (folder / "rules" / name).touch()
    loaded = _load(folder, "rules: ['rules/*.yaml', 'more/*.yaml', rules/a.yaml]\n")
    assert loaded.rule_files() == [folder / "rules" / "a.yaml", folder / "rules" / "b.yaml"]
    with pytest.raises(ConfigError, match=r"rules: there is no file 'gone.yaml'"):
        _load(folder, "rules: [gone.yaml]\n").rule_files()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "http: {host: 0.0.0.0}\n",
            "bridge.yaml:1:14: http.host: the port is open to the network, but nobody may push",
        ),
        ("bus: {sync: 1s}\n", "bridge.yaml:1:13: bus.sync: events acknowledged since the last sync are lost"),
    ],
)
def test_what_is_risky_is_a_warning(tmp_path: Path, text: str, said: str) -> None:
    """The bridge starts, and says so."""
    (warning,) = _load(tmp_path, text).warnings
    assert said in str(warning)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """YAML, variables, fields, sources and what does not fit together, in one run and in order."""
    text = """\
site: a b
site: c
http: {port: "${PORT}", hots: x}
sources:
  cam: {type: camera}
  old: {type: camra}
outputs:
  gate: {source: cma, channel: 1, relay: 1, idle: off, max_on: 10}
doors:
  main: {output: gat, pulse: 5m}
webhooks:
  shop: {url: shop.example}
"""
    assert _problems(tmp_path, text) == [
        "bridge.yaml:1:7: site: is not a name: letters, digits, `-`, `_` and `.`, at most 64 of them",
        "bridge.yaml:2:1: site: stands twice; it is already in line 1",
        "bridge.yaml:3:14: http.port: the environment variable PORT is not set; set it or write ${PORT:-default}",
        "bridge.yaml:3:25: http: unknown key 'hots'; did you mean 'host'?",
        "bridge.yaml:5:8: sources.cam.url: is required",
        "bridge.yaml:6:15: sources.old.type: unknown source type 'camra'; did you mean 'camera'?",
        "bridge.yaml:8:18: outputs.gate.source: unknown source 'cma'; did you mean 'cam'?",
        (
            "bridge.yaml:8:64: outputs.gate.max_on: 10 is not a duration; write a number with its unit: "
            "250ms, 30s, 5m, 1h30m, 7d"
        ),
        "bridge.yaml:10:18: doors.main.output: unknown output 'gat'; did you mean 'gate'?",
        "bridge.yaml:10:30: doors.main.pulse: must be more than 0s and at most 30s",
        "bridge.yaml:12:15: webhooks.shop.url: must begin with http:// or https:// and name a host",
    ]


CAM = "sources: {cam: {type: camera, url: x}, eye: {type: sensor}}\n"
GATE = CAM + "outputs: {gate: {source: cam, channel: 1, relay: 1, idle: off}}\n"
GOOD = "whsec_" + "QUJD" * 8

BAD: list[tuple[str, str]] = [
    ("- a\n", "bridge.yaml:1:1: must be keys and values"),
    ("sit: x\n", "bridge.yaml:1:1: unknown key 'sit'; did you mean 'site'?"),
    ("mqqt:\n", "bridge.yaml:1:1: unknown key 'mqqt'; did you mean 'mqtt'?"),
    ("zone: Berlin\n", "bridge.yaml:1:7: zone: 'Berlin' is not an IANA time zone; write one like Europe/Berlin or UTC"),
    ("latitude: 91\nlongitude: 1\n", "bridge.yaml:1:11: latitude: must be at most 90"),
    ("latitude: 48\n", "bridge.yaml:1:11: latitude: needs longitude beside it"),
    ("dry_run: maybe\n", "bridge.yaml:1:10: dry_run: must be true or false, not text"),
    ("http: 8480\n", "bridge.yaml:1:7: http: must be keys and values, not a number"),
    ("http: {port: 70000}\n", "bridge.yaml:1:14: http.port: must be at most 65535"),
    ("http: {port: http}\n", "bridge.yaml:1:14: http.port: must be a whole number, not text"),
    ("http: {max_body: big}\n", ("bridge.yaml:1:18: http.max_body: 'big' is not a size; "
     "write a number with its unit: 256KiB, 64MiB, 5GiB")),
    ("http: {push: {a b: {token: x}}}\n", ("bridge.yaml:1:15: http.push: is not a name: "
     "letters, digits, `-`, `_` and `.`, at most 64 of them")),
    ("http: {push: {a: }}\n", "bridge.yaml:1:15: http.push.a: needs a password, a token, or a secret it signs with"),
    ("http: {push: {a: {password: ''}}}\n", "bridge.yaml:1:29: http.push.a.password: is empty"),
    ("http: {push: {a: {password: x, username: 'a:b'}}}\n", ("bridge.yaml:1:42: http.push.a.username: "
     "must not be empty or hold a colon; HTTP Basic cannot carry it")),
    ("sources: {bridge: {type: camera, url: x}}\n",
     "bridge.yaml:1:19: sources.bridge: 'bridge' is the bridge's own name; choose another"),
    ("http: {push: {bridge: {token: x}}}\n",
     "bridge.yaml:1:23: http.push.bridge: 'bridge' is the bridge's own name; choose another, or say source: …"),
    ("http: {push: {a: {token: x, source: bridge}}}\n",
     "bridge.yaml:1:37: http.push.a.source: 'bridge' is the bridge's own name; choose another"),
    ("http: {push: {a: {password: x}, b: {password: y, username: a}}}\n",
     "bridge.yaml:1:60: http.push.b.username: 'a' is the name of 'a' already"),
    ("http: {push: {a: {token: x, twin_of: [nvr1]}}}\n",
     "bridge.yaml:1:39: http.push.a.twin_of[0]: unknown source 'nvr1'; known: none"),
    ("http: {push: {a: {token: x}, b: {token: x}}}\n",
     "bridge.yaml:1:41: http.push.b.token: is the token of 'a' already; each needs its own"),
    ("bus: {port: 8480}\n", "bridge.yaml:1:13: bus.port: 8480 is taken by http.port already"),
    ("http: {port: 1883}\nbus: {mqtt: {}}\n", "bridge.yaml:2:13: bus.mqtt.port: 1883 is taken by http.port already"),
    ("bus: {sync: sometimes}\n", ("bridge.yaml:1:13: bus.sync: must be 'always' or 'sometimes' is not a duration; "
     "write a number with its unit: 250ms, 30s, 5m, 1h30m, 7d")),
    ("bus: {replicas: 3}\n", ("bridge.yaml:1:17: bus.replicas: the embedded server keeps one copy; "
     "more need bus.servers")),
    ("bus: {servers: ['nats://a'], mqtt: {}}\n", ("bridge.yaml:1:36: bus.mqtt: opens the embedded server's listener, "
     "but bus.servers names other servers")),
    ("mqtt: {broker: embedded}\n", ("bridge.yaml:1:16: mqtt.broker: embedded needs the listener: "
     "add the section bus.mqtt")),
    ("mqtt: {prefix: a/#}\n", ("bridge.yaml:1:16: mqtt.prefix: is not the beginning of an MQTT topic: "
     "no `+` or `#`, no `/` or `$` in front")),
    ("mqtt: {version: '4'}\n", "bridge.yaml:1:17: mqtt.version: must be 'auto', '3.1.1' or '5'"),
    ("sources: {a: 3}\n", "bridge.yaml:1:14: sources.a: must be keys and values, not a number"),
    ("sources: {a: {}}\n", "bridge.yaml:1:14: sources.a.type: is required; known: broken, camera, sensor"),
    ("sources: {a: {type: [x]}}\n", ("bridge.yaml:1:21: sources.a.type: unknown source type \"['x']\"; "
     "known: broken, camera, sensor")),
    ("sources: {a: {type: broken}}\n", ("bridge.yaml:1:21: sources.a.type: 'broken' is installed but does not load: "
     "No module named 'tests.bridge.config.nowhere'")),
    ("sources: {a: {type: camera, url: x, chanels: [1]}}\n",
     "bridge.yaml:1:37: sources.a: unknown key 'chanels'; did you mean 'channels'?"),
    ("sources: {a: {type: camera, url: x, channels: [1, one]}}\n",
     "bridge.yaml:1:51: sources.a.channels[1]: must be a whole number, not text"),
    ("sources: {a: {type: camera, url: x, password_file: gone}}\n",
     "bridge.yaml:1:52: sources.a.password_file: {folder}/gone cannot be read: No such file or directory"),
    ("sources: {a: {type: camera, url: x, password: y, password_file: gone}}\n",
     "bridge.yaml:1:65: sources.a.password_file: stands beside password; keep one of the two"),
    ("sources: {a: {type: camera, url: x, password_file: empty}}\n",
     "bridge.yaml:1:52: sources.a.password_file: {folder}/empty is empty"),
    ("sources: {a: {type: camera, url: x, password: !secret cam}}\n",
     ("bridge.yaml:1:47: sources.a.password: there is no {folder}/secrets.yaml; "
     "make it, mode 0600, with one `name: value` a line")),
    ("site: '${}'\n", "bridge.yaml:1:7: site: write ${NAME} or ${NAME:-default} for a variable, $${ for a plain ${"),
    (GATE.replace("cam, channel", "eye, channel"),
     "bridge.yaml:2:26: outputs.gate.source: 'eye' is of type 'sensor', which switches no relays"),
    (GATE.replace("idle: off", "idle: of"), ("bridge.yaml:2:59: outputs.gate.idle: must be 'off' or 'on'; "
     "did you mean 'off'?")),
    (GATE.replace("idle: off", "idle: off, class: door"),
     "bridge.yaml:2:71: outputs.gate.class: must be 'actuating' or 'transient'"),
    (GATE.replace("idle: off", "idle: off, max_on: 0s"), "bridge.yaml:2:72: outputs.gate.max_on: must be more than 0s"),
    (GATE.replace(", idle: off", ""), "bridge.yaml:2:17: outputs.gate.idle: is required"),
    (GATE.replace("off}", "off}, lamp: {source: cam, channel: 1, relay: 1, idle: on, class: transient}"),
     "bridge.yaml:2:104: outputs.lamp.relay: is 'gate' already, whose limits would not hold for this"),
    (GATE + "doors: {a: {output: gate, pulse: 31s}}\n",
     "bridge.yaml:3:34: doors.a.pulse: must be more than 0s and at most 30s"),
    (GATE + "doors: {a: {output: gate, max_age: 2m}}\n",
     "bridge.yaml:3:36: doors.a.max_age: must be more than 0s and at most 1m"),
    (GATE + "doors: {a: {output: gate, per_hour: 2}}\n", "bridge.yaml:3:37: doors.a.per_hour: is less than per_minute"),
    (GATE.replace("off}", "off, max_on: 1s}") + "doors: {a: {output: gate, pulse: 2s}}\n",
     "bridge.yaml:3:34: doors.a.pulse: is longer than max_on of 'gate', 1s"),
    (GATE.replace("off}", "off, class: transient}") + "doors: {a: {output: gate}}\n",
     "bridge.yaml:3:21: doors.a.output: 'gate' is declared transient; a door's is actuating"),
    (GATE.replace("off}", "off, per_hour: 9}") + "doors: {a: {output: gate}}\n",
     "bridge.yaml:3:21: doors.a.output: 'gate' has limits of its own; write them at the door"),
    (GATE + "safety: {trusted_clocks: [can]}\n",
     "bridge.yaml:3:27: safety.trusted_clocks[0]: unknown source or push client 'can'; did you mean 'cam'?"),
    (GATE + "safety: {kill_on: [{source: cam, kind: call.start}]}\n",
     "bridge.yaml:3:40: safety.kill_on[0].kind: unknown kind 'call.start'; did you mean 'call.started'?"),
    (GATE + "doors: {a: {output: gate, confirmed_by: {entity: e, attribute: a, is: x, within: 11s}}}\n",
     "bridge.yaml:3:82: doors.a.confirmed_by.within: must be more than 0s and at most 10s"),
    (GATE + "safety: {alerts: [phone]}\n", "bridge.yaml:3:19: safety.alerts[0]: unknown webhook 'phone'; known: none"),
    ("webhooks: {a: {url: 'ftp://h/x'}}\n",
     "bridge.yaml:1:21: webhooks.a.url: must begin with http:// or https:// and name a host"),
    ("webhooks: {a: {url: 'http://h:port/'}}\n",
     "bridge.yaml:1:21: webhooks.a.url: must begin with http:// or https:// and name a host"),
    ("webhooks: {a: {url: 'http://h/', timeout: 0s}}\n", "bridge.yaml:1:43: webhooks.a.timeout: must be more than 0s"),
    *(
        (f"webhooks: {{a: {{url: 'http://h/', secret: '{secret}'}}}}\n",
         ("bridge.yaml:1:42: webhooks.a.secret: must be `whsec_` and base64 of 24 to 64 random bytes; "
         "make one with: echo whsec_$(openssl rand -base64 32)"))
        for secret in ("hush", "whsec_QUJD", "whsec_" + "QUJD" * 30, GOOD + "!", GOOD.removeprefix("whsec_"))
    ),
    (f"webhooks: {{a: {{url: 'http://h/', secrets: ['{GOOD}', hush]}}}}\n",
     ("bridge.yaml:1:86: webhooks.a.secrets[1]: must be `whsec_` and base64 of 24 to 64 random bytes; "
     "make one with: echo whsec_$(openssl rand -base64 32)")),
    ("rules: rules/*.yaml\n", "bridge.yaml:1:8: rules: must be a list, not text"),
    (
        "bus: {servers: ['http://x']}\n",
        "bridge.yaml:1:16: bus.servers: write them as nats://host:4222; the schemes are nats, tls, ws, wss",
    ),
    ("log: {level: warn}\n", ("bridge.yaml:1:14: log.level: must be 'debug', 'info', 'warning' or 'error'; "
     "did you mean 'warning'?")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_mistake_gives_one_line_with_its_place_and_its_cure(tmp_path: Path, text: str, said: str) -> None:
    """One mistake, one line: file, line, column, what is wrong, what to do."""
    (tmp_path / "empty").touch()
    assert _problems(tmp_path, text) == [said.replace("{folder}", str(tmp_path))]


def test_no_secret_is_in_a_message(tmp_path: Path) -> None:
    """Whatever is wrong with a secret, it is not repeated."""
    canary = "cAnArY-0815"
    for value in (canary, f"[{canary}]", f"{{a: {canary}}}"):
        text = (
            f"sources: {{a: {{type: camera, password: {value}}}}}\n"
            f"webhooks: {{a: {{url: x, secret: {value}, headers: {{h: {value}}}}}}}\n"
            f"mqtt: {{password: {value}, tls: {canary}, port: {canary}}}\n"
        )
        assert canary not in "\n".join(_problems(tmp_path, text))


def test_a_missing_secret_is_named_with_the_nearest(tmp_path: Path) -> None:
    """The names of secrets are no secrets."""
    (tmp_path / "secrets.yaml").write_text("gate_pw: x\n", encoding="utf-8")
    assert _problems(tmp_path, "sources: {a: {type: camera, url: x, password: !secret gate_pwd}}\n") == [
        (
            "bridge.yaml:1:47: sources.a.password: unknown secret 'gate_pwd'; did you mean 'gate_pw'? "
            f"(in {tmp_path}/secrets.yaml)"
        )
    ]
