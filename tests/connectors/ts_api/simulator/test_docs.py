"""The simulator's page says what is there."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from starlette.routing import Route

from connectors.ts_api.simulator import DEMO_KEY, Simulator, happenings
from connectors.ts_api.simulator.control import control_routes
from connectors.ts_api.simulator.faults import MEANINGS, FaultName

PAGE = (Path(__file__).parents[4] / "docs" / "ref" / "simulator-ts-api.md").read_text(encoding="utf-8")


def test_every_fault_is_documented_and_explained() -> None:
    """The page and the code know the same faults."""
    assert set(get_args(FaultName)) == set(MEANINGS)
    assert all(f"| `{name}` |" in PAGE for name in MEANINGS)


def test_every_control_path_is_documented() -> None:
    """The page and the server know the same control paths."""
    routes = [route for route in control_routes(Simulator()) if isinstance(route, Route)]
    for route in routes:
        (method,) = (route.methods or set()) - {"HEAD"}
        assert f"`{method} {route.path}`" in PAGE, route.path


def test_every_member_of_every_topic_is_documented() -> None:
    """The page names each topic and each member an event can have."""
    schema = happenings.HAPPENING.json_schema()
    assert len(schema["discriminator"]["mapping"]) == 13
    for topic, reference in schema["discriminator"]["mapping"].items():
        members = set(schema["$defs"][reference.rsplit("/", 1)[-1]]["properties"]) - {"topic", "age", "at"}
        (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{topic}`" in line.split("|")[1]]
        assert [name for name in members if f"`{name}`" not in row] == [], topic


def test_the_demo_key_is_documented() -> None:
    """Whoever reads the page can sign in."""
    assert DEMO_KEY in PAGE
