"""What other rules would have decided on the log as it was. Pure: there is nobody to whom an order could go.

The log is what the old rules made of the world, so part of it would have been otherwise:

* Time passes for the new rules by the log's messages, and where none comes within a second of a timer, by a tick
  of its own. While the bridge was away nobody ticked, so there is none.
* An event that comes of an order (its end, its clip) is shown to the new rules if they gave that order too; under the
  new order's id where the rule's version differs. Otherwise it is left out.
* What an order writes into the log (`emit`, `set_mode`, ...) is taken from there if both gave the same order. If only
  the old rules did, it is left out; if only the new ones do, it happens at once: its event follows from the order.
* What would have come of any other order that only the new rules give is not known: a step that waits for it goes on
  at its deadline, as when a result is late.
* Orders from before the beginning count as given by both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.contracts import Logged, StateKey
from bridge.errors import ActionError
from bridge.past.compare import wanted
from bridge.rulebook import Actions
from bridge.schema.event import Origin, VmsEvent, own_event
from bridge.schema.kinds import ActionEnded, BridgeTick
from bridge.schema.orders import Order
from rules.engine import TICK, Decision, Engine
from rules.gates import OWN_DOING
from rules.ruleset import RuleSet

GRACE = timedelta(seconds=1)
"""A message so soon after a timer was due is what fired it."""
AWAY = frozenset({"bridge.started", "rules.changed", "log.hole"})
"""What comes first after the bridge was away."""
REMEMBERED = 200_000
"""Orders of the old rules that are remembered, the newest."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Otherwise:
    """New rules on the old log, beginning with what the old ones knew."""

    def __init__(
        self, old: RuleSet, new: RuleSet, state: Mapping[StateKey, dict[str, Any]], site: str, actions: Actions
    ) -> None:
        self._site, self._actions = site, actions
        self.engine = Engine(old, state)
        # As when rules are changed in a running bridge: what unchanged rules remember stays, the rest begins anew.
        self.engine.replace_rules(new)
        self._here = Logged(0, _NEVER, self._tick(_NEVER))
        self._given: dict[str, None] = {}
        self._hidden: dict[str, None] = {}
        """Orders, and events they wrote, that are not in the log as the new rules would have it."""
        self.left_out = 0
        """Events of orders that the new rules did not give."""
        self.ticks = 0
        """Times at which nothing but the new rules had something to do."""

    def given(self, old: Decision) -> None:
        """Note the orders of the old rules."""
        for order in old.orders:
            _note(self._given, order.id)

    def step(self, logged: Logged, same_as: Mapping[str, str]) -> list[Decision]:
        """Decide what comes next in the log; return what has firings in it.

        `same_as`: old orders, and those of the new rules that stand for them.
        """
        ahead: list[Decision] = []
        due = self.engine.next_due
        if due is not None and due + GRACE < logged.stamp and logged.event.type not in AWAY:
            ahead = self._tick_up_to(logged.stamp - GRACE)
        self._here = logged
        if logged.event.type in OWN_DOING or logged.event.hops is not None:
            logged = self._instead(logged, same_as)
        decision = self.engine.step(logged, trace=False)
        return [*ahead, decision] if decision.traces or ahead else ahead

    def own(self, old: Sequence[Order], made: Sequence[Decision], same_as: Mapping[str, str]) -> list[Decision]:
        """Let happen what orders of the last step write into the log, where the log has it not so."""
        twins = {same_as[order.id]: order for order in old if order.id in same_as}
        shared: set[str] = set()
        decisions: list[Decision] = []
        waiting = deque(order for decision in made for order in decision.orders)
        while waiting:
            order = waiting.popleft()
            event = self._written(order)
            if event is None:
                continue
            twin = twins.get(order.id)
            if twin is not None and wanted(twin) == wanted(order):
                shared.add(twin.id)
                continue
            for one in (event, self._end(order, event)):
                decided = self.engine.step(Logged(self._here.seq, self._here.stamp, one), trace=False)
                decisions.append(decided)
                waiting += decided.orders
        for order in old:
            if order.id not in shared and (event := self._written(order)) is not None:
                _note(self._hidden, order.id)
                _note(self._hidden, event.id)
        return decisions

    def _written(self, order: Order) -> VmsEvent | None:
        """Return the event that an order writes into the log; None if it does something else, or cannot."""
        spec = self._actions.get(order.action)
        if spec is None or spec.event is None:
            return None
        try:
            return spec.event(spec.params.model_validate(order.params), order)
        except ActionError:
            return None

    def _end(self, order: Order, event: VmsEvent) -> VmsEvent:
        data = ActionEnded(
            order=order.id, rule=order.rule, action=order.action, step=order.step, outcome="done", attempts=1,
            output={"event": event.id},
        )  # fmt: skip
        return own_event(self._site, "action.ended", data, self._here.stamp, id=f"end-{order.id}")

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
            decisions.append(self.engine.step(Logged(self._here.seq, due, self._tick(due)), trace=False))
            if self.engine.next_due == due:
                break  # nothing would ever come of it
        return decisions

    def _tick(self, moment: datetime) -> VmsEvent:
        data = BridgeTick(due=moment)
        return own_event(self._site, TICK, data, moment, id=f"tick-{moment.isoformat()}", origin=Origin.TIMER)

    def _shown(self, event: VmsEvent, same_as: Mapping[str, str]) -> VmsEvent | None:
        """Return the event as it would have been; None if it would not have been at all."""
        order = getattr(event.data, "order", None)
        if event.id in self._hidden or order in self._hidden:
            return None
        if not isinstance(order, str) or order not in self._given:
            return event
        other = same_as.get(order)
        if other is None or other == order:
            return event if other else None
        return event.model_copy(update={"data": event.data.model_copy(update={"order": other})})


def _note(names: dict[str, None], name: str) -> None:
    names[name] = None
    if len(names) > REMEMBERED:
        del names[next(iter(names))]
