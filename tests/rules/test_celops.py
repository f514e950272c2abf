"""What can never be worked out in an expression is told by check; nothing else is. Held against the library itself."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import cel
import pytest

from bridge.sdk import payload_model
from rules.celops import _FUNCTIONS, _METHODS
from rules.celscan import Scope
from rules.celtypes import About
from rules.expressions import EventContext, Expression, ExpressionError, UnfitError
from tests.rules.support import event, plate
from tests.rules.test_pointless import _said

VALUES = {
    "a whole number": "1",
    "an unsigned number": "1u",
    "a number with decimals": "1.5",
    "text": '"a"',
    "true or false": "true",
    "a list": "[1]",
    "a mapping": '{"a": 1}',
    "a timestamp": 'timestamp("2026-01-01T00:00:00Z")',
    "a duration": 'duration("1s")',
    "bytes": 'b"a"',
}
CONVERTED = {"int": '"1"', "uint": '"1"', "double": '"1.5"', "timestamp": '"2026-01-01T00:00:00Z"', "duration": '"1s"'}
"""Texts that may become that."""


def _has_answer(text: str) -> bool:
    context = cel.Context({}, {"state": lambda entity, attribute: 1, "local": lambda text: "x"})
    try:
        cel.compile(text).execute(context)
    except Exception:  # noqa: BLE001 - whatever the library raises is no answer
        return False
    return True


def _told(text: str) -> bool:
    return bool(Expression(text, Scope(), condition=False).notes)


@pytest.mark.parametrize("mark", ["+", "-", "*", "/", "%"])
def test_operators_take_what_the_library_takes(mark: str) -> None:
    """Told is what has no answer, and nothing that has one."""
    for left, right in itertools.product(VALUES.values(), repeat=2):
        text = f"{left} {mark} {right}"
        assert _told(text) is not _has_answer(text), text


def test_a_minus_takes_what_the_library_takes() -> None:
    """Also the odd: it negates what is true or false, and no unsigned number."""
    for value in VALUES.values():
        assert _told(f"-{value}") is not _has_answer(f"-{value}"), value


@pytest.mark.parametrize("name", sorted(_METHODS.keys() - {"matches"}))
def test_functions_after_a_value_take_what_the_library_takes(name: str) -> None:
    """Of the right thing, with as many arguments, and not written before it."""
    inside = ["", '"a"', "1", '"a", "b"'] if _METHODS[name].arguments else ["", '"Europe/Berlin"']
    for value, given in itertools.product(VALUES.values(), inside):
        text = f"({value}).{name}({given})"
        assert _told(text) is not _has_answer(text), text
    assert name == "size" or _told(f'{name}("a", "a")')


@pytest.mark.parametrize("name", sorted(_FUNCTIONS.keys() - {"has", "state", "local"}))
def test_functions_before_a_value_take_what_the_library_takes(name: str) -> None:
    """Of the right thing, one of it, and not written after it."""
    for value in VALUES.values():
        one = CONVERTED.get(name, value) if value == VALUES["text"] else value
        assert _told(f"{name}({one})") is not _has_answer(f"{name}({one})"), (name, one)
    assert _told(f"{name}()")
    assert name == "size" or _told(f'"a".{name}()')


@pytest.mark.parametrize(
    "text", ["24h", "1.5h", "1h30m", "90s", "1500ms", "-5s", "1d", "5 m", "5", "1w", "", ".5s", "10us"]
)
def test_spans_are_written_as_the_library_reads_them(text: str) -> None:
    """It has no days, and `1d` would never be a span."""
    assert _told(f'duration("{text}")') is not _has_answer(f'duration("{text}")')


def test_a_span_that_the_library_reads_in_part_is_a_mistake() -> None:
    """It would be an hour."""
    assert _has_answer('duration("1h30")')
    assert _told('duration("1h30")')


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T18:00:00Z",
        "2026-01-31T18:00:00.5+01:00",
        "2026-01-31 18:00:00Z",
        "2026-01-31T18:00:00",
        "2026-01-31",
    ],
)
def test_times_are_written_as_the_library_reads_them(text: str) -> None:
    """With their offset."""
    assert _told(f'timestamp("{text}")') is not _has_answer(f'timestamp("{text}")')


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (
            "event.data.score + 1 > 90",
            "is a number with decimals and `1` is a whole number: `+` has no answer for them;",
        ),
        ("event.data.region.width / 2.0 > 3.0", "write double(event.data.region.width)"),
        ("event.data.score % 2 == 1", "`%` takes whole ones; write int(event.data.score)"),
        (
            '"n " + event.data.score == "n 97"',
            "is text and `event.data.score` is a number: `+` has no answer for them;",
        ),
        ('"n " + event.data.score == "n 97"', "write string(event.data.score)"),
        ('event.received - event.time < duration("5s")', "write timestamp(event.received)"),
        ('event.time + duration("5s") > timestamp("2026-01-01T00:00:00Z")', "write timestamp(event.time)"),
        ("event.time.getHours() > 22", "`getHours` takes a duration or a timestamp; write timestamp(event.time)"),
        ('timestamp(event.time).getHours("Asia/Seoul") > 22', "`getHours` takes no zone: it is UTC's; `local(event.t"),
        ('event.data.linked_channels.contains("1")', "`event.data.linked_channels` is a list, and `contains` takes te"),
        ("event.data.plate.contains(3)", "`3` is a number, and `contains` looks for a text"),
        ("event.data.score.exists(c, c > 1)", "`event.data.score` is a number, and `exists` goes through a list"),
        ('event.data.plate[0] == "1"', "`event.data.plate` is text, and has no items"),
        ('state("nvr1/1") == "on"', "`state` takes an entity and an attribute, and 1 is given"),
        ('state("nvr1/P1", "count") * 1.5 > 3.0', 'write double(state("nvr1/P1", "count"))'),
        ('event.data.plate.startsWith("12-")', "never has '12-' in it: plates are in capitals without separators; wri"),
        (
            "!has(event.data.lot)",
            "`has` always holds here: what is absent is there as null; write event.data.lot == null",
        ),
    ],
)
def test_what_has_no_answer_is_a_mistake(condition: str, said: str) -> None:
    """It would be a rule that never fires; the message says how it is written."""
    [found] = _said(condition)
    assert said in found


@pytest.mark.parametrize(
    "condition",
    [
        "event.data.score > 90 && event.data.score >= 97u && event.data.score - 1e-3 > 0.0",
        "event.data.score + 1.0 > 90",
        "event.data.region.width * event.data.region.height > 0x10",
        'timestamp(event.received) - timestamp(event.time) < duration("24h")',
        "timestamp(event.time).getHours() % 2 == 0",
        'event.data.plate_raw.startsWith("12-")',
        'event.data.plate.contains("AB") && event.data.plate.matches("^ab-")',
        'state("nvr1/P1", "count") + 1 > 3',
        "has(event.data.lot) && event.data.lot.entrance == 'P1'",
        "!(event.data.direction == null)",
        "size(event.data.linked_channels.map(c, c + 'x')) + 1 == 3",
        'string(event.data.score) + "%" == "97%"',
        'event.data.plate == "\\\\?"',
    ],
)
def test_what_has_an_answer_is_none(condition: str) -> None:
    """Nothing is said of what can be worked out."""
    assert _said(condition) == []


def test_free_fields_may_be_asked_for_and_flags_turned_round() -> None:
    """What a custom event has nobody knows beforehand; a flag is no question whether it is there."""
    assert _said("!has(event.data.door) || event.data.count + 1 > 3", kind="custom.x") == []
    assert _said("!event.data.hat", kind="object.detected") == []


def test_an_outcome_that_no_step_has_is_a_mistake() -> None:
    """Of an action or a `wait_for`; what else a step gave depends on it."""
    steps = Scope(frozenset({"event", "steps"}), steps=frozenset({"answer"}), about=About("call.started"))
    notes = Expression('steps.answer.outcome == "answered"', steps, condition=True).notes
    assert ["is never 'answered': unknown outcome 'answered'; known: " in note for note in notes] == [True]
    for right in (
        'steps.answer.outcome in ["done", "timeout"]',
        'steps.answer.path == "a"',
        "steps.answer.event.id != ''",
    ):
        assert Expression(right, steps, condition=True).notes == ()


def test_what_is_told_has_no_answer_when_an_event_comes() -> None:
    """As the engine works it out, not only as the library does by itself."""

    def nothing(*asked: Any) -> None:
        return None

    context = EventContext(plate(), nothing, str)
    with pytest.raises(ExpressionError):
        context.evaluate(Expression("event.data.score + 1 > 90", Scope(), condition=True), rule="r", key="")


def test_in_looks_into_what_the_library_looks_into() -> None:
    """Lists and mappings."""
    for value in VALUES.values():
        assert _told(f"1 in {value}") is not _has_answer(f"1 in {value}"), value


# --- all of it together --------------------------------------------------------------------------------------

LEAVES = [
    *("event.data.score", "event.data.region.width", "1", "2.5", "-1", "event.data.linked_channels.size()"),
    *("event.data.plate", "event.data.direction", "event.subject", '"A1"', "event.time", "local(event.time)", "key"),
    *("timestamp(event.time)", 'duration("5s")', "timestamp(event.received) - timestamp(event.time)"),
    *("event.data.linked_channels", '["1", "2"]', 'event.data.linked_channels.filter(c, c == "1")'),
    *("int(event.subject)", "string(event.data.score)", 'state("nvr1/P1", "count")', 'state("nvr1/1", "motion")'),
]
ENDS = ["size()", "getHours()", 'contains("1")', 'startsWith("e")']


def _value(chance: Random, depth: int = 0) -> str:
    pick = chance.random()
    if depth > 1 or pick < 0.6:
        return chance.choice(LEAVES)
    if pick < 0.85:
        return f"({_value(chance, depth + 1)} {chance.choice('+-*/%')} {_value(chance, depth + 1)})"
    if pick < 0.92:
        return f"{chance.choice(LEAVES)}.{chance.choice(ENDS)}"
    return f"{chance.choice(['string', 'int', 'double', 'size', 'timestamp'])}({chance.choice(LEAVES)})"


def _answers(expression: Expression) -> set[Any]:
    """Return what comes of it on events that say everything: its answers, or that types do not fit."""
    found: set[Any] = set()
    known = {"motion": "on", "count": 3}
    for score, number, direction in itertools.product((97, 50.5), ("A1", "7"), ("entry", "exit")):
        region = {"x": 1, "y": 2, "width": 3, "height": 4}
        data = {"plate": number, "plate_raw": number, "score": score, "direction": direction, "region": region}
        one = event("plate.read", {**data, "linked_channels": ["1", "7"]})
        context = EventContext(one, lambda entity, attribute: known.get(attribute), lambda text: "2026-01-05 12:00:00")
        try:
            found.add(bool(context.evaluate(expression, rule="r", key="7")))
        except UnfitError:
            found.add("unfit")
        except ExpressionError:
            found.add("none")
    return found


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_written_is_told_if_it_never_has_an_answer(seed: int) -> None:
    """Neither a false alarm nor a miss: held against the engine, on events that say everything."""
    chance = Random(seed)
    scope = Scope(data=payload_model("plate.read"), about=About("plate.read"))
    for _ in range(250):
        mark = chance.choice(["==", "<", ">", ">=", "in"])
        text = f"{_value(chance)} {mark} {_value(chance)}"
        expression = Expression(text, scope, condition=True)
        answers = _answers(expression)
        assert not (expression.notes and True in answers), (text, expression.notes)
        assert expression.notes or answers != {"unfit"}, text
