"""`vms-bridge check`: beside checking, the schema for editors."""

from __future__ import annotations

import json

import jsonschema
from typer.testing import CliRunner

from bridge.cli import app


def test_the_schema_of_rule_files_is_printed() -> None:
    """With actions and the fields of each kind, whatever the folder holds."""
    shown = CliRunner().invoke(app, ["check", "--schema"])
    assert shown.exit_code == 0
    schema = json.loads(shown.output)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "plate" in schema["$defs"]["match.plate.read"]["properties"]["match"]["properties"]
    assert "open" in schema["$defs"]["Step"]["properties"]
