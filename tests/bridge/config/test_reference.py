"""The reference page and the schema know everything the reader knows."""

from __future__ import annotations

import jsonschema
import pytest

from bridge.config.reference import config_page, config_schema
from tests.bridge.config.sources import CAMERA, SENSOR

SPECS = {"camera": CAMERA, "sensor": SENSOR}


def test_the_page_names_every_section_and_source() -> None:
    """With defaults as a user would write them."""
    page = config_page(SPECS)
    for heading in ("## bus.mqtt", "## http.push.&lt;name&gt;", "## sources.&lt;name&gt; with `type: camera`"):
        assert heading in page
    assert "| `url` | text | **required** | Where it is. |" in page
    assert "| `keep` | duration | `7d` | How long events are kept, once they are decided on. |" in page
    assert "| `max_body` | size | `256KiB` |" in page
    assert "| `class` | `actuating` \\| `transient` | `actuating` |" in page


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        ({}, 0),
        ({"site": "x", "doors": {"a": {"output": "g", "pulse": "1s"}}}, 0),
        ({"sources": {"a": {"type": "camera", "url": "x", "password_file": "/run/secrets/a"}}}, 0),
        ({"http": {"push": {"a": {"token_file": "t"}}}}, 0),
        ({"sources": {"a": {"type": "camera"}}}, 1),
        ({"sources": {"a": {"type": "toaster"}}}, 1),
        ({"sources": {"a": {"type": "sensor", "url": "x"}}}, 1),
        ({"http": {"prt": 1}}, 1),
        ({"doors": {"a": {"output": "g", "pulse": "soon"}}}, 1),
    ],
)
def test_the_schema_helps_an_editor(data: dict[str, object], errors: int) -> None:
    """It accepts what the reader accepts, each source by its own type."""
    found = list(jsonschema.Draft202012Validator(config_schema(SPECS)).iter_errors(data))
    assert len(found) == errors, found
