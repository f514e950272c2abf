"""The pages that are made from code say what the code says; `python -m tests.test_docs` makes them again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bridge.actions import BUILTIN as ACTIONS
from bridge.actions.reference import actions_page
from bridge.bus.appender import host_appender
from bridge.bus.host import Host
from bridge.config.load import load
from bridge.config.models import BridgeConfig, DoorConfig, HttpConfig, OutputConfig
from bridge.config.reference import config_page, config_schema
from bridge.contracts import ConnectorSpec
from bridge.http.limits import Limits
from bridge.registry import Registry
from bridge.rulebook import action_specs, shipped_examples
from bridge.rulespage import rules_page
from bridge.runtime.metrics import metrics_page
from bridge.yamlfile import parse_yaml
from connectors import BUILTIN
from rules.jsonschema import rule_schema

ROOT = Path(__file__).resolve().parents[1]


def shipped() -> dict[str, ConnectorSpec[Any]]:
    """Return the connectors of this checkout, whatever else is installed."""
    registry = Registry("source type", BUILTIN, "vms_bridge.none")
    return {name: registry.get(name) for name in registry.names}


def asyncapi() -> str:
    """Return the document of what the application subscribes to, at a site called `site`."""

    async def unused(*_: object) -> None:
        raise AssertionError("the document is made without messages")

    class NoDead:
        bury = staticmethod(unused)

    class NoAppender:
        delivered = changed = staticmethod(unused)

    host = Host(("nats://127.0.0.1:4222",), None, {}, NoDead())
    host_appender(host, "site", NoAppender())
    return host.document()


def _rules() -> dict[str, Any]:
    """Return the schema of a rule file with the actions of this checkout."""
    return rule_schema(action_specs(Registry("action", ACTIONS, "vms_bridge.none")))


def _as_json(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "docs/ref/metrics.md": metrics_page,
    "docs/ref/config.md": lambda: config_page(shipped()),
    "docs/ref/asyncapi.json": asyncapi,
    "docs/ref/actions.md": lambda: actions_page(action_specs(Registry("action", ACTIONS, "vms_bridge.none"))),
    "docs/ref/rules.md": rules_page,
    "docs/ref/config.schema.json": lambda: _as_json(config_schema(shipped())),
    "docs/ref/rules.schema.json": lambda: _as_json(_rules()),
}


@pytest.mark.parametrize("path", PAGES)
def test_the_committed_page_is_what_the_models_say(path: str) -> None:
    """Run `python -m tests.test_docs` after changing a model."""
    assert (ROOT / path).read_text(encoding="utf-8") == PAGES[path]()


def test_every_option_is_described() -> None:
    """No row of the configuration page ends without a meaning; `type` explains itself."""
    rows = [row for row in config_page(shipped()).splitlines() if row.startswith("| `") and "`type`" not in row]
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_guide_names_every_parameter_of_an_action() -> None:
    """And its own section does, not another action's."""
    guide = (ROOT / "docs/guide/actions.md").read_text(encoding="utf-8")
    for name, spec in action_specs(Registry("action", ACTIONS, "vms_bridge.none")).items():
        section = guide.partition(f"\n## {name}: ")[2].partition("\n## ")[0]
        names = [field.alias or key for key, field in spec.params.model_fields.items()]
        assert [key for key in names if not re.search(rf"\b{key}\b", section)] == [], name


def test_the_schemas_are_some() -> None:
    """An editor can use them."""
    jsonschema.Draft202012Validator.check_schema(config_schema(shipped()))
    jsonschema.Draft202012Validator.check_schema(_rules())


def test_the_shipped_rules_fit_their_schema() -> None:
    """An editor marks nothing in them."""
    validator = jsonschema.Draft202012Validator(_rules())
    for path in chain(*shipped_examples()):
        content = parse_yaml(path.read_text(encoding="utf-8")).value
        assert [error.message for error in validator.iter_errors(content)] == [], path.name


def test_the_example_configuration_loads(tmp_path: Path) -> None:
    """What users copy is right, and warns about nothing once there is a rule file beside it."""
    copied = Path(shutil.copy(ROOT / "deploy" / "bridge.example.yaml", tmp_path))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "first.yaml").touch()
    loaded = load(copied, Registry("source type", {}, "vms_bridge.none"), {})
    assert loaded.warnings == ()
    assert loaded.config.bus.mqtt is not None


def test_the_example_configuration_shows_every_section() -> None:
    """A reader sees all there is; what is commented out is right as well."""
    text = (ROOT / "deploy" / "bridge.example.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^(\w+): \{\}\n(?=#  )", r"\1:\n", text, flags=re.MULTILINE).replace("\n#  ", "\n  ")
    shown = parse_yaml(text, tags={"!secret": str})
    assert set(shown.value) == set(BridgeConfig.model_fields)
    assert shown.value["doors"]["main-gate"]["output"] in shown.value["outputs"]
    DoorConfig.model_validate(shown.value["doors"]["main-gate"])
    OutputConfig.model_validate(shown.value["outputs"]["barrier"])


def test_the_http_page_says_the_limits_that_hold() -> None:
    """Whoever changes one changes the page."""
    page, limits = (ROOT / "docs/ref/http.md").read_text(encoding="utf-8"), Limits()
    for row in (
        f"| first byte after connecting | {limits.first_byte:g} s |",
        f"| header, from its first byte | {limits.header:g} s, {limits.header_bytes // 1024} KiB |",
        f"| body | {limits.body:g} s, and at least {limits.min_rate:,} bytes/s after {limits.grace:g} s |",
        f"| between two requests | {limits.keep_alive:g} s |",
        f"| an answer that is not read | {limits.write:g} s |",
        f"| requests sent ahead | {limits.pipeline} |",
        f"| connections | {HttpConfig().max_connections} (`http.max_connections`) |",
        f"(an IPv6 /64 is one) | {HttpConfig().max_per_address} (`http.max_per_address`) |",
    ):
        assert row in page


PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that is there; evidence that has moved is no evidence."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    files = [link for link in links if link and not link.startswith(("http://", "https://"))]
    assert [link for link in files if not (page.parent / link).exists()] == []


def test_the_promises_name_rows_that_are_published() -> None:
    """Whoever takes a row out of the fault table takes it out of the promise too."""
    promised = set(re.findall(r"\b([A-Z]\d)\b", (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")))
    explained = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    assert promised <= set(re.findall(r"\b([A-Z]\d)\b", explained.partition("## Figures")[0]))


def test_every_push_path_is_on_the_http_page() -> None:
    """A connector that brings one is found there."""
    page = (ROOT / "docs/ref/http.md").read_text(encoding="utf-8")
    for spec in shipped().values():
        for path in spec.push.paths if spec.push else ():
            assert f"`{path}`" in page


if __name__ == "__main__":
    for name, make in PAGES.items():
        (ROOT / name).write_text(make(), encoding="utf-8")
