"""The actions' reference page, made from their models so that it cannot be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.config.reference import sections, sentence, table
from bridge.contracts import ActionSpec
from bridge.schema.orders import ActionClass
from bridge.schema.units import format_duration

_HEAD = """\
# Actions: every parameter

<!-- Made from the models in bridge/actions; edit those, not this page. -->

[The guide](../guide/actions.md) says what each does and shows where a text may hold `{{ … }}`.
The class of an action decides how it may fail: [the design note](../design/orders.md) has the table.
"""


def actions_page(specs: Mapping[str, ActionSpec[Any]]) -> str:
    """Return docs/ref/actions.md, with the actions in the order given."""
    lines = [_HEAD]
    for name, spec in specs.items():
        lines += [f"## {name}", "", sentence(spec.params), "", "```yaml", spec.example, "```", ""]
        lines += [*table(spec.params), ""]
        for title, model in list(sections("", spec.params))[1:]:
            lines += [f"### {name}: `{title}`", "", sentence(model), "", *table(model), ""]
        facts = [f"Class `{spec.action_class}`", f"one try lasts at most {format_duration(spec.timeout)}"]
        if spec.action_class is not ActionClass.ACTUATING:  # which is tried once
            facts.append(f"given up after {format_duration(spec.give_up_after)}")
        if spec.max_age is not None:
            facts.append(f"its cause is at most {format_duration(spec.max_age)} old")
        if spec.shorthand is not None:
            facts.append(f"a bare value is `{spec.shorthand}`")
        lines += ["; ".join(facts) + ".", ""]
    return "\n".join(lines).rstrip() + "\n"
