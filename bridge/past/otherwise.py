"""What other rules would have decided on the log as it was. Pure: there is nobody to whom an order could go.

The log is what the old rules made of the world, so part of it would have been otherwise:

* Time passes for the new rules by the log's messages, and where none comes within a second of a timer, by a tick
  of its own. While the bridge was away nobody ticked, so there is none.
* An event that comes of an order (its end, its clip, what it wrote into the log) is shown to the new rules if they
  gave that order too; under the new order's id where the rule's version differs. Otherwise it is left out.
* What would have come of an order that only the new rules give is not known: a step that waits for it goes on at its
  deadline, as when a result is late.
* Orders from before the beginning count as given by both.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bridge.contracts import Logged, StateKey
from bridge.schema.event import Origin, VmsEvent, own_event
from bridge.schema.kinds import BridgeTick
from rules.engine import TICK, Decision, Engine
from rules.gates import OWN_DOING
from rules.ruleset import RuleSet

GRACE = timedelta(seconds=1)
"""A message so soon after a timer was due is what fired it."""
AWAY = frozenset({"bridge.started", "rules.changed", "log.hole"})
"""What comes first after the bridge was away."""
REMEMBERED = 200_000
"""Orders of the old rules that are remembered, the newest."""


class Otherwise:
    """New rules on the old log, beginning with what the old ones knew."""

    def __init__(self, old: RuleSet, new: RuleSet, state: Mapping[StateKey, dict[str, Any]], site: str) -> None:
        self._site = site
        self.engine = Engine(old, state, site=site)
        # As when rules are changed in a running bridge: what unchanged rules remember stays, the rest begins anew.
        self.engine.replace_rules(new)
        self._seq = 0
        self._given: dict[str, None] = {}
        self.left_out = 0
        """Events of orders that the new rules did not give."""
        self.ticks = 0
        """Times at which nothing but the new rules had something to do."""

    def given(self, old: Decision) -> None:
        """Note the orders of the old rules."""
        for order in old.orders:
            self._given[order.id] = None
            if len(self._given) > REMEMBERED:
                del self._given[next(iter(self._given))]

    def step(self, logged: Logged, same_as: Mapping[str, str]) -> list[Decision]:
        """Decide what comes next in the log; return what has firings in it.

        `same_as`: old orders, and those of the new rules that stand for them.
        """
        ahead: list[Decision] = []
        due = self.engine.next_due
        if due is not None and due + GRACE < logged.stamp and logged.event.type not in AWAY:
            ahead = self._tick_up_to(logged.stamp - GRACE)
        self._seq = logged.seq
        if logged.event.type in OWN_DOING:
            logged = self._instead(logged, same_as)
        decision = self.engine.step(logged, trace=False)
        return [*ahead, decision] if decision.traces or ahead else ahead

    def _instead(self, logged: Logged, same_as: Mapping[str, str]) -> Logged:
        """Return the event as it would have been; where it would not have been at all, the time alone."""
        event = self._shown(logged.event, same_as)
        if event is None:
            self.left_out += 1
            event = self._tick(logged.stamp)
        return Logged(logged.seq, logged.stamp, event)

    def _tick_up_to(self, end: datetime) -> list[Decision]:
        decisions = []
        while (due := self.engine.next_due) is not None and due < end:
            self.ticks += 1
            decisions.append(self.engine.step(Logged(self._seq, due, self._tick(due)), trace=False))
            if self.engine.next_due == due:
                break  # nothing would ever come of it
        return decisions

    def _tick(self, moment: datetime) -> VmsEvent:
        data = BridgeTick(due=moment)
        return own_event(self._site, TICK, data, moment, id=f"tick-{moment.isoformat()}", origin=Origin.TIMER)

    def _shown(self, event: VmsEvent, same_as: Mapping[str, str]) -> VmsEvent | None:
        """Return the event as it would have been; None if it would not have been at all."""
        order = getattr(event.data, "order", None)
        if not isinstance(order, str) or order not in self._given:
            return event
        other = same_as.get(order)
        if other is None or other == order:
            return event if other else None
        return event.model_copy(update={"data": event.data.model_copy(update={"order": other})})
