"""What a test expected and what came of it, in lines that a person can read: side by side, and why not.

`-` is missing, `+` is too much, `~` came, but otherwise than expected. Under what is missing stands why the rules
that could have ordered it did not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from bridge.sdk import ActionSpec, Order
from rules.expected import Expected, over, whole
from rules.refused import refused
from rules.rule import Rule
from rules.ruleset import RuleSet
from rules.steps import Act
from rules.trace import Trace
from rules.trialmodel import INCONCLUSIVE, UnmetPart
from rules.trialreader import Trial
from rules.watching import how_far

MOST_BESIDE = 300
"""Orders, expected and made, that are laid side by side from the first difference on."""
MOST_REASONS = 3
"""That are told of one rule, and rules that are asked, for one missing order."""
_IN = "    "


@dataclass(frozen=True, slots=True)
class Played:
    """What came of playing a test."""

    rules: RuleSet
    orders: tuple[Order, ...]
    traces: tuple[Trace, ...]
    looks: tuple[Trace, ...]
    """How rules looked at the events: why they did not fire from them, and when they did; empty if nobody watched."""
    waiting: Mapping[str, tuple[str, ...]]
    """Steps that still wait at the end, by rule."""
    names: Mapping[str, str]
    """What the events of the test are called, by id: `given[2] plate.read`."""

    def name(self, event: str) -> str:
        """Return what an event is called."""
        return self.names.get(event, f"event {event[:12]}")


def differences(trial: Trial, played: Played, actions: Mapping[str, ActionSpec[Any]]) -> list[str]:
    """Return what is otherwise than expected; nothing if all is as it should be."""
    teller = _Teller(played, actions)
    lines: list[str] = []
    if trial.part.expect is not None:
        lines += teller.compared(trial.expect, all_of_them=True)
    if trial.expect_some:
        lines += teller.compared(trial.expect_some, all_of_them=False)
    lines += teller.refused(trial.expect)
    lines += teller.refused(trial.expect_some)
    for unwanted in trial.expect_not:
        made = [order for order in played.orders if unwanted.matches(order, actions)]
        lines += [f"+ {teller.made(order)}, and must not be" for order in made[:MOST_BESIDE]]
        if len(made) > MOST_BESIDE:
            lines.append(f"  (and {len(made) - MOST_BESIDE} more)")
    for unmet in trial.part.expect_unmet:
        lines += teller.unmet(unmet)
    return lines


class _Teller:
    def __init__(self, played: Played, actions: Mapping[str, ActionSpec[Any]]) -> None:
        self._played, self._actions = played, actions

    def made(self, order: Order) -> str:
        """Return what was ordered, by whom and from what."""
        ordered = Expected(order.action, dict(order.params))
        return f"{ordered} was ordered by rule {order.rule} from {self._played.name(order.trigger.id)}"

    def refused(self, expected: Sequence[Expected]) -> list[str]:
        """Return the expected orders of which fewer came than were expected that would not be refused."""
        lines: list[str] = []
        times = Counter(map(str, expected))
        for wanted in {str(one): one for one in expected}.values():
            made = [order for order in self._played.orders if wanted.matches(order, self._actions)]
            whys = [refused(order, self._actions.get(order.action)) for order in made]
            wrong = [(order, why) for order, why in zip(made, whys, strict=True) if why is not None]
            if wrong and len(made) - len(wrong) < times[str(wanted)]:
                order, why = wrong[0]
                lines.append(f"- {self.made(order)}, and the bridge would refuse it: {why}")
        return lines[:MOST_BESIDE]

    # --- orders -------------------------------------------------------------------------------------

    def compared(self, expected: Sequence[Expected], *, all_of_them: bool) -> list[str]:
        """Return the two rows side by side, or nothing if they agree. `all_of_them`: there is nothing besides."""
        orders = self._played.orders
        agreeing, passed = self._agreeing(expected, orders, all_of_them=all_of_them)
        if agreeing == len(expected) and (not all_of_them or passed == len(orders)):
            return []
        if len(expected) * len(orders) <= MOST_BESIDE**2:
            return self._beside_all(expected, orders, all_of_them=all_of_them)
        rest, came = expected[agreeing:], orders[passed:]
        lines = self._beside_all(rest[:MOST_BESIDE], came[:MOST_BESIDE], all_of_them=all_of_them)
        if agreeing:
            lines.insert(0, f"  (the first {agreeing} orders are as expected)")
        if len(rest) > MOST_BESIDE or len(came) > MOST_BESIDE:
            lines.append(f"  (from there on {len(rest)} orders were expected and {len(came)} came; not all are shown)")
        return lines

    def _agreeing(self, expected: Sequence[Expected], orders: Sequence[Order], *, all_of_them: bool) -> tuple[int, int]:
        """Return how many of the expected orders came, one after the other, and how many orders went by till then."""
        passed = 0
        for number, one in enumerate(expected):
            further = islice(enumerate(orders, 1), passed, passed + 1 if all_of_them else None)
            found = next((count for count, order in further if one.matches(order, self._actions)), None)
            if found is None:
                return number, passed
            passed = found
        return len(expected), passed

    def _beside_all(self, expected: Sequence[Expected], orders: Sequence[Order], *, all_of_them: bool) -> list[str]:
        pairs = _aligned([[one.matches(order, self._actions) for order in orders] for one in expected], len(orders))
        lines: list[str] = []
        missing: list[Expected] = []
        extra: list[Order] = []
        for left, right in [*pairs, (-1, -1)]:
            if right is None and left is not None:
                missing.append(expected[left])
            elif left is None and right is not None:
                extra.append(orders[right])
            else:
                lines += self._apart(missing, extra, all_of_them=all_of_them)
                missing, extra = [], []
                if left is not None and left >= 0:
                    lines.append(f"  {expected[left]}")
        return lines

    def _apart(self, missing: Sequence[Expected], extra: Sequence[Order], *, all_of_them: bool) -> list[str]:
        """Return what is missing at a place and what came there instead."""
        lines: list[str] = []
        left = list(extra)
        for one in missing:
            other = next((order for order in left if order.action == one.action), None)
            if other is not None:
                left.remove(other)
                lines += self._beside(one, other)
            else:
                lines.append(f"- {one} was expected")
                lines += [f"{_IN}{reason}" for reason in self._reasons(one)]
        if all_of_them:
            lines += [f"+ {self.made(order)}, unexpectedly" for order in left]
        return lines

    def _beside(self, one: Expected, order: Order) -> list[str]:
        """Return the parameters in which an order differs from the expected one, side by side."""
        head = f"~ {order.action} was ordered by rule {order.rule} from {self._played.name(order.trigger.id)}"
        rows = [("", "expected", "came")]
        if one.rule is not None and one.rule != order.rule:
            rows.append(("rule", one.rule, order.rule))
        wanted, came = self._flat(one, order)
        rows += [(path, value, came.get(path, "absent")) for path, value in wanted.items() if came.get(path) != value]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        return [head, *(f"{_IN}{a:{widths[0]}}  {b:{widths[1]}}  {c}".rstrip() for a, b, c in rows)]

    def _flat(self, one: Expected, order: Order) -> tuple[dict[str, str], dict[str, str]]:
        """Return the parameters of both as the action reads them; as they are written, if it cannot read them."""
        model = self._actions[order.action].params
        try:
            wanted = whole(model.model_validate(over(order.params, one.params)))
        except ValidationError:
            return _flattened(one.params), _flattened(order.params)
        return _flattened(wanted), _flattened(whole(model.model_validate(order.params)))

    # --- why not ------------------------------------------------------------------------------------

    def _reasons(self, one: Expected) -> list[str]:
        """Return why the rules that could have ordered this did not."""
        asked = [rule for rule in self._played.rules.rules if one.rule in (None, rule.id)]
        able = [rule for rule in asked if any(self._could(act, one) for act in _acts(rule, one))]
        told: list[str] = []
        if not able:
            able = [rule for rule in asked if _acts(rule, one)]
            whose = f"rule {one.rule} does not order" if one.rule else "no rule of this file orders"
            told = [f"{whose} `{one.action}`{' like this' if able else ''}"]
        told += [reason for rule in able[:MOST_REASONS] for reason in self._why(rule)]
        more = len(able) - MOST_REASONS
        return [*told, f"and {more} other rules that could have"] if more > 0 else told

    def _could(self, act: Act, one: Expected) -> bool:
        return act.fixed is None or one.fits(act.fixed, self._actions)

    def _why(self, rule: Rule) -> list[str]:
        """Return what kept a rule from firing, or what became of its steps: what came nearest, and last."""
        looks = [trace for trace in self._played.looks if trace.rule == rule.id]
        told = [
            f"rule {rule.id} {trace.outcome} from {self._played.name(trace.event)}: {note}"
            for trace in looks
            for note in (*trace.failed, *trace.skipped)
        ]
        told += [f"rule {rule.id} fired, and {step} still waits" for step in self._played.waiting.get(rule.id, ())]
        told += [
            f"rule {rule.id} is in shadow: it fired from {self._played.name(trace.event)}, and orders nothing"
            for trace in looks
            if trace.fired and rule.shadow
        ]
        unmet = [trace for trace in looks if trace.outcome in ("unmet", INCONCLUSIVE)]
        nearest = max((_nearness(trace) for trace in unmet), default=0)
        told += [self._look(trace) for trace in unmet if _nearness(trace) == nearest]
        if not told:
            fired = any(trace.fired for trace in looks)
            kinds = sorted({trigger.kind or "anything" for trigger in self._played.rules.triggers_of.get(rule.id, ())})
            nothing = f"there was no {' or '.join(kinds)}" if kinds else "its time did not come"
            verdict = "fired, and ordered it less often, or in another place" if fired else f"did not fire: {nothing}"
            told = [f"rule {rule.id} {verdict}"]
        return list(dict.fromkeys(told))[-MOST_REASONS:]

    def _look(self, trace: Trace) -> str:
        return f"{trace} ({self._played.name(trace.event)})"

    # --- rules that do not fire ---------------------------------------------------------------------

    def unmet(self, part: UnmetPart) -> list[str]:
        """Return what is otherwise than a rule that does not fire was expected to be."""
        looks = [trace for trace in self._played.looks if trace.rule == part.rule]
        count = sum(_is_unmet(part, trace) for trace in looks)
        if count == part.times or (count and part.times is None):
            return []
        asked = f", {part.wanted}" if part.wanted is not None else ""
        asked += f", that sees {json.dumps(part.seen, ensure_ascii=False)}" if "seen" in part.model_fields_set else ""
        asked += f", for key {part.key!r}" if part.key is not None else ""
        often = f" {part.times} times, and it was {count} times" if part.times is not None else ""
        told = [
            f"rule {part.rule} fired from {self._played.name(trace.event)}" if trace.fired else self._look(trace)
            for trace in looks
            if trace.outcome in ("unmet", INCONCLUSIVE, "fired")
        ]
        told = told or [f"rule {part.rule} looked at nothing"]
        lines = [f"{_IN}{line}" for line in list(dict.fromkeys(told))[-2 * MOST_REASONS :]]
        return [f"- rule {part.rule} not to fire by {part.by}{asked} was expected{often}", *lines]


def _acts(rule: Rule, one: Expected) -> list[Act]:
    """Return the steps of a rule that order such an action, whatever its parameters."""
    return [step.does for step in rule.steps if isinstance(step.does, Act) and step.does.word == one.action]


def _nearness(trace: Trace) -> int:
    return 100 if trace.outcome == INCONCLUSIVE else how_far(trace.condition)


def _is_unmet(part: UnmetPart, trace: Trace) -> bool:
    if trace.outcome not in ("unmet", INCONCLUSIVE):
        return False
    by = INCONCLUSIVE if trace.outcome == INCONCLUSIVE else trace.condition
    if by != part.by or (part.wanted is not None and part.wanted != trace.wanted):
        return False
    if "seen" in part.model_fields_set and not _same(part.seen, trace.seen):
        return False
    return part.key is None or part.key == trace.key


def _same(wanted: Any, seen: Any) -> bool:
    seen = to_jsonable_python(seen)
    return bool(wanted == seen) or (seen is not None and str(wanted) == str(seen))


def _flattened(value: Any, path: str = "") -> dict[str, str]:
    """Return the leaves of nested parameters by their paths, as JSON."""
    if isinstance(value, dict) and (value or not path):
        return {
            name: leaf
            for key, item in value.items()
            for name, leaf in _flattened(item, f"{path}.{key}"[not path :]).items()
        }
    return {path: json.dumps(value, ensure_ascii=False, default=str)}


def _aligned(same: Sequence[Sequence[bool]], width: int) -> Iterable[tuple[int | None, int | None]]:
    """Return pairs of expected and made in order, as many together as possible."""
    height = len(same)
    best = [[0] * (width + 1) for _ in range(height + 1)]
    for row in reversed(range(height)):
        for column in reversed(range(width)):
            skip = max(best[row + 1][column], best[row][column + 1])
            best[row][column] = max(skip, best[row + 1][column + 1] + 1 if same[row][column] else 0)
    pairs: list[tuple[int | None, int | None]] = []
    row = column = 0
    while row < height or column < width:
        if row < height and column < width and same[row][column] and best[row][column] == best[row + 1][column + 1] + 1:
            pairs.append((row, column))
            row, column = row + 1, column + 1
        elif row < height and (column == width or best[row + 1][column] >= best[row][column + 1]):
            pairs.append((row, None))
            row += 1
        else:
            pairs.append((None, column))
            column += 1
    return pairs
