"""CEL, measured before it runs, and bounded when it does."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.sdk import VmsEvent, payload_model
from rules.celscan import Scope
from rules.expressions import EventContext, Expression, ExpressionError, as_json
from tests.rules.support import event, plate

SCOPE = Scope(data=payload_model("plate.read"))
FREE = Scope()


def _context(one: VmsEvent | None = None) -> EventContext:
    return EventContext(one or plate(), lambda entity, attribute: f"{entity}.{attribute}", lambda text: "local")


def _value(text: str, one: VmsEvent | None = None, scope: Scope = FREE) -> Any:
    return _context(one).evaluate(Expression(text, scope), rule="r", key="k", steps={"s": {"path": "p"}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("event.data.score > 90.0", True),
        ("event.data.score > 90", True),
        ("event.data.lot == null", True),
        ('state("a", "b")', "a.b"),
        ("state(event.source, event.type)", "site/nvr1.plate.read"),
        ("rule + key", "rk"),
        ("local(event.time)", "local"),
        ("event.data.linked_channels.exists(c, c == '2')", True),
        ("event.data.linked_channels.map(c, int(c) * 2)", [2, 4]),
        ("has(event.data.score) && event.data.plate.startsWith('12')", True),
        ('{"b": 1, "a": {"d": 2, "c": 3}}', {"a": {"c": 3, "d": 2}, "b": 1}),
        ('timestamp("2026-01-01T00:00:00Z") + duration("1h")', "2026-01-01T01:00:00Z"),
        ('duration("90s")', 90.0),
        ("event.data.linked_channels.size() > 1 ? 'many' : 'few'", "many"),
        ("// a remark\n 1 + 1", 2),
    ],
)
def test_what_expressions_can_say(text: str, value: Any) -> None:
    """Fields, state, key, rule, lists, times; maps come back in one order."""
    found = _value(text, plate(linked_channels=["1", "2"]))
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1 +", "at character 4: mismatched input '<EOF>'"),
        ("evt.data", "unknown name 'evt'; did you mean 'event'?"),
        ("x", "unknown name 'x'; known: event, key, rule"),
        ("[1].all(x, x > 0) && x", "unknown name 'x'"),
        ("event.data.plaet", "unknown field of event.data 'plaet'; did you mean 'plate'?"),
        ("event.data.lot.entrence", "unknown field of event.data.lot 'entrence'; did you mean 'entrance'?"),
        ("has(event.data.scor)", "unknown field of event.data 'scor'; did you mean 'score'?"),
        ("event.plate", "unknown attribute of event 'plate'"),
        ("now()", "unknown function 'now'"),
        ("event.data.plate.lower()", "unknown function 'lower'"),
        ("steps.s.path", "unknown name 'steps'"),
        ("Foo{a: 1}", "unknown type 'Foo'"),
        (
            "event.data.linked_channels.map(x, x.map(y, y))",
            "`map` inside another macro is not allowed: its cost has no bound",
        ),
        ("[1].map(x, [x, x])", "`map` cannot give lists or mappings: their cost has no bound"),
        ("[1].map(x, {'a': x})", "`map` cannot give lists or mappings: their cost has no bound"),
        ("key.matches(rule)", "`matches` takes its pattern as a text in quotes"),
        ("matches(key, 'a')", "`matches` is written after the text: value.matches('pattern')"),
        ("key.matches('(a{1,40}){1,40}')", "not a pattern of RE2"),
        ("key.matches('(a{1,30}b?){30}c{900}d{900}e{900}')", "the pattern has "),
        ("max(1, 2)", "unknown function 'max'"),
        ("[1].all(x, ([2].exists(y, y == x)))", "`exists` inside another macro is not allowed"),
        ("[1].map(a, a).map(b, b).map(c, c).map(d, d).map(e, e)", "more than 4 macros"),
        ("(" * 25 + "1" + ")" * 25, "nested deeper than 24 brackets"),
        ("(" * 50_000, "longer than 2000 characters"),
        ("1" + "+1" * 5000, "longer than 2000 characters"),
        ("a\nb", "unknown name 'a'"),
        ('"unfinished', "at character"),
    ],
)
def test_what_they_cannot_say_is_found_at_load(text: str, message: str) -> None:
    """Unknown names, fields and functions, and what could take for ever."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        Expression(text, SCOPE)
    assert str(caught.value).startswith(message)


def test_brackets_and_names_inside_texts_do_not_count() -> None:
    """A text is a text, whatever quotes it stands in."""
    assert (
        _value(r"""'((((' + "evt" + r'\d' + 'a\'b' + "}}".replaceless""".removesuffix(".replaceless"))
        == r"((((evt\da'b}}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "event.data.device.startsWith('a')",
        "event.data.lot.entrance",
        "1 / 0",
        "event.data.plate + 1",
        "9223372036854775807 + 1",
        "0.0 / 0.0",
        "b'x'",
        "{1: 2}",
    ],
)
def test_no_answer_is_an_error_with_a_reason(text: str) -> None:
    """Absent values, other types, overflow, and what JSON cannot hold."""
    with pytest.raises(ExpressionError) as caught:
        _value(text)
    assert str(caught.value)


def test_an_event_too_large_is_not_shown() -> None:
    """A list of a hundred thousand in a foreign payload cannot make an expression slow."""
    huge = event("vendor.event", {"topic": "t", "body": list(range(100_000))})
    with pytest.raises(ExpressionError, match="too large"):
        _value("event.data.body.all(x, x in event.data.body)", huge)


_BODY = "event.data.body"


@pytest.mark.parametrize(
    ("text", "fine", "too_many"),
    [
        (f"{_BODY}[3] == 3", 2000, None),
        (f"{_BODY}.exists(x, x == -1)", 2000, None),
        (f"{_BODY}.all(x, x in {_BODY})", 100, 200),
        (" && ".join([f"{_BODY}.all(x, x in {_BODY})"] * 4), 40, 100),
        (f"{_BODY}.map(x, x).size() > 0", 100, 400),
        (f"{_BODY}.filter(x, x > 1).size() > 0", 100, 400),
        (f"{_BODY}.map(x, {_BODY}).size() > 0", 15, 50),
        (f"{_BODY}.map(x, event).size() > 0", 10, 50),
        (f"({' + '.join([_BODY] * 8)}).all(x, x in {_BODY})", 5, 100),
        (f"{' + '.join([_BODY] * 40)} == []", 20, 100),
        (f"{_BODY}.all(x, {' && '.join(['local(key) == key'] * 40)})", 10, 100),
    ],
)
def test_the_cost_of_an_expression_is_bounded_on_every_event(text: str, fine: int, too_many: int | None) -> None:
    """On a sensible list there is an answer; where it would take more than some milliseconds, there is none."""
    assert _value(text, event("vendor.event", {"topic": "t", "body": list(range(fine))})) in (True, False)
    if too_many is not None:
        with pytest.raises(ExpressionError, match=r"would take too long on an event of \d+ values"):
            _value(text, event("vendor.event", {"topic": "t", "body": list(range(too_many))}))


def test_long_texts_cost_too() -> None:
    """Joined again and again they would fill the memory."""
    text = "size(" + " + ".join(["event.data.body"] * 40) + ") > 0"
    assert _value(text, event("vendor.event", {"topic": "t", "body": "x" * 100})) is True
    with pytest.raises(ExpressionError, match="too long"):
        _value(text, event("vendor.event", {"topic": "t", "body": "x" * 60_000}))


def test_results_of_steps_count_as_well() -> None:
    """They come from outside like an event."""
    context = _context()
    expression = Expression("steps.s.items.all(x, x in steps.s.items)", Scope(FREE.names | {"steps"}, steps={"s"}))
    assert context.evaluate(expression, rule="r", key="k", steps={"s": {"items": [1, 2]}}) is True
    with pytest.raises(ExpressionError, match="too long"):
        context.evaluate(expression, rule="r", key="k", steps={"s": {"items": list(range(500))}})


def test_patterns_are_those_of_match() -> None:
    """The same RE2, compiled once, in every form of a text; what is no text gives no answer."""
    read = plate("12AB345", linked_channels=["a1", "b2"])
    assert _value(r"event.data.plate.matches('^12[A-Z]+\\d{3}$')", read) is True
    assert _value(r"event.data.plate.matches(r'\d\d\d\d')", read) is False
    assert _value("event.data.linked_channels.filter(c, c.matches('^b')).size()", read) == 1
    assert _value("'x.matches(' + key", read) == "x.matches(k"
    with pytest.raises(ExpressionError):
        _value("!event.data.score.matches('9')", read)
    work = "event.data.body.all(x, !x.matches('(a{1,30}b?){20}c'))"
    with pytest.raises(ExpressionError):
        _value(work, event("vendor.event", {"topic": "t", "body": ["a" * 200] * 50}))


def test_an_answer_about_the_event_alone_is_worked_out_once() -> None:
    """Rules that ask the same share the answer; what depends on the key does not."""
    asked: list[str] = []
    context = EventContext(plate(), lambda entity, attribute: asked.append(entity), lambda text: "")
    same = Expression('state("a", "b") == null', FREE)
    assert [context.evaluate(same, rule=rule, key="") for rule in "xyz"] == [True] * 3
    assert asked == ["a"]
    keyed = Expression("key", FREE)
    assert [context.evaluate(keyed, rule="r", key=key) for key in "ab"] == ["a", "b"]


def test_entities_and_names_are_known_beforehand() -> None:
    """So that sources in `state()` can be checked at load."""
    expression = Expression('state("nvr1/1", "motion") == "on" && state(event.source, "x") == key', FREE)
    assert expression.asked == {("nvr1/1", "motion")}
    assert expression.names == {"event", "key"}


@pytest.mark.parametrize(
    ("text", "looked"),
    [
        ('state("door", "status") == "shut"', {'state("door", "status")': "door.status"}),
        ('state(event.source + "x", "y") == ""', {'state(event.source + "x", "y")': "site/nvr1x.y"}),
        (
            "event.data.score > 99.0 || event.data.lot.entrance == 'a' || event.data.score < 2.0",
            {"event.data.score": 97.0, "event.data.lot.entrance": None},
        ),
        ("event.data.linked_channels.exists(c, state(c, 'x') == event.data.plate)", {
            "event.data.linked_channels": ["1", "2"], "event.data.plate": "12AB345",
        }),
        ("state('" + "a" * 90 + "', 'b') == ''", {"state('" + "a" * 90 + "', 'b')": "a" * 77 + "..."}),
        ("key == '' && rule == ''", {}),
    ],
)  # fmt: skip
def test_what_an_expression_looked_at_can_be_told(text: str, looked: dict[str, Any]) -> None:
    """The states and fields in it, as it calls them; not what depends on the variable of a macro."""
    assert _context(plate(linked_channels=["1", "2"])).looked(Expression(text, FREE), rule="r", key="k") == looked


def test_as_json_refuses_what_json_does_not_have() -> None:
    """Infinity is no number there."""
    with pytest.raises(ExpressionError):
        as_json([float("inf")])
