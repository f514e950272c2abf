"""Small actions with the names of the real ones, and short ways to compile rules and make events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from textwrap import dedent
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from bridge.actions.own import SPECS as OWN_SPECS
from bridge.sdk import (
    ActionClass,
    ActionContext,
    ActionParams,
    ActionSpec,
    Duration,
    HeaderText,
    JsonTemplate,
    Known,
    Logged,
    Origin,
    Problem,
    RuleCompileError,
    StateKey,
    Text,
    TopicText,
    UrlText,
    VmsEvent,
    payload_model,
    stable_id,
    unknown,
)
from rules.compiler import compile_rules
from rules.engine import Decision, Engine
from rules.ruleset import Documents, RuleSet, SiteSettings

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
"""A Monday, noon."""


async def _never(params: Any, context: ActionContext) -> Mapping[str, JsonValue]:
    raise AssertionError("rules do not act")


def _texts(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, list) else value


class OpenParams(ActionParams):
    door: str


class RelayParams(ActionParams):
    output: str
    state: Literal["on", "off", "pulse"] = "on"
    for_: Duration | None = Field(None, alias="for")


class Move(ActionParams):
    pan: float = 0
    tilt: float = 0


class PtzParams(ActionParams):
    preset: Text | None = None
    move: Move | None = None
    channel: str | None = Field(None, coerce_numbers_to_str=True)


class MqttParams(ActionParams):
    topic: TopicText
    payload: JsonTemplate = None
    qos: Literal[0, 1, 2] = 1
    retain: bool = False


class WebhookParams(ActionParams):
    to: str | None = None
    url: UrlText | None = None
    with_: Annotated[tuple[str, ...], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = Field(
        (), alias="with"
    )
    body: JsonTemplate | None = None
    headers: dict[str, HeaderText] = Field(default_factory=dict)


class ClipParams(ActionParams):
    channels: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()
    before: Duration = timedelta(seconds=5)
    after: Duration = timedelta(seconds=15)


def _check_door(params: OpenParams, known: Known) -> Iterable[str]:
    if known.doors is not None and params.door not in known.doors:
        yield unknown("door", params.door, known.doors)


def _door_age(params: OpenParams, known: Known) -> timedelta | None:
    return known.door_ages.get(params.door)


def _check_webhook(params: WebhookParams, known: Known) -> Iterable[str]:
    if known.webhooks is not None and params.to is not None and params.to not in known.webhooks:
        yield unknown("webhook", params.to, known.webhooks)


def _relay_class(params: RelayParams) -> ActionClass:
    return ActionClass.RELEASING if params.state == "off" else ActionClass.ACTUATING


def _spec(name: str, params: type[ActionParams], action_class: ActionClass, **more: Any) -> ActionSpec[Any]:
    return ActionSpec(name=name, summary=name, params=params, action_class=action_class, run=_never, example="", **more)


ACTIONS: dict[str, ActionSpec[Any]] = {
    spec.name: spec
    for spec in (
        _spec(
            "open",
            OpenParams,
            ActionClass.ACTUATING,
            shorthand="door",
            max_age=timedelta(seconds=10),
            check=_check_door,
            age_here=_door_age,
        ),
        _spec("relay", RelayParams, ActionClass.ACTUATING, shorthand="output", classify=_relay_class),
        _spec("ptz", PtzParams, ActionClass.TRANSIENT, shorthand="preset", max_age=timedelta(seconds=30)),
        _spec("mqtt", MqttParams, ActionClass.INFORMATION),
        _spec("webhook", WebhookParams, ActionClass.INFORMATION, shorthand="to", check=_check_webhook),
        _spec("clip", ClipParams, ActionClass.INFORMATION),
        *OWN_SPECS,
    )
}

KNOWN = Known(
    sources=frozenset({"nvr1", "nvr2"}),
    channels={"nvr1": frozenset({"1", "2", "3"}), "nvr2": frozenset({"7"})},
    doors=frozenset({"main-gate", "garage"}),
    webhooks=frozenset({"backoffice"}),
)


def rules_of(text: str, *, known: Known | None = None, site: SiteSettings | None = None, **tables: str) -> RuleSet:
    """Compile one rule file. `tables`: CSV files by name, without the `.csv`."""
    documents = Documents({"r.yaml": dedent(text)}, {f"{name}.csv": dedent(text) for name, text in tables.items()})
    return compile_rules(documents, ACTIONS, known or Known(), site or SiteSettings())


def problems_of(text: str, **more: Any) -> list[str]:
    """Return what is wrong with a rule file."""
    try:
        rules_of(text, **more)
    except RuleCompileError as error:
        return [str(problem) for problem in error.problems]
    return []


def placed(problems: Iterable[Problem]) -> list[tuple[int, int]]:
    """Return where problems are."""
    return [(problem.line, problem.column) for problem in problems]


def event(
    kind: str,
    data: Mapping[str, Any] | None = None,
    *,
    source: str = "nvr1",
    channel: str | None = "1",
    time: datetime = START,
    received: datetime | None = None,
    origin: Origin = Origin.LIVE,
    event_id: str | None = None,
) -> VmsEvent:
    """Make an event."""
    model = payload_model(kind)
    assert model is not None
    return VmsEvent(
        id=event_id or stable_id(kind, source, channel, time, repr(data)),
        type=kind,
        source=f"site/{source}",
        subject=channel,
        time=time,
        timequality="device",
        received=received or time,
        origin=origin,
        via="ws",
        data=model.model_validate(dict(data or {})),
    )


def plate(number: str = "12AB345", *, score: float | None = 97, **more: Any) -> VmsEvent:
    """Make the read of a plate; fields of the data and of the event alike."""
    fields = {key: more.pop(key) for key in ("direction", "device", "lot", "linked_channels") if key in more}
    return event("plate.read", {"plate": number, "plate_raw": number, "score": score, **fields}, **more)


def ended(order: Any, outcome: str = "done", *, time: datetime = START, **output: JsonValue) -> VmsEvent:
    """Make the event that tells the end of an order."""
    data = {
        "order": order.id,
        "rule": order.rule,
        "action": order.action,
        "step": order.step,
        "outcome": outcome,
        "output": output,
    }
    return event("action.ended", data, source="bridge", channel=None, time=time, origin=Origin.BRIDGE)


class Run:
    """An engine, its log, and all that was decided."""

    def __init__(self, rules: RuleSet, state: Mapping[StateKey, dict[str, Any]] | None = None) -> None:
        self.rules = rules
        self.state: dict[StateKey, dict[str, Any]] = dict(state or {})
        self.engine = Engine(rules, self.state)
        self.seq = 0
        self.now = START
        self.decisions: list[Decision] = []

    def feed(self, one: VmsEvent, *, at: datetime | None = None, trace: bool = True) -> Decision:
        """Log an event and decide. Without `at` it is logged when it is received."""
        self.seq += 1
        self.now = at or one.received
        return self.keep(self.engine.step(Logged(self.seq, self.now, one), trace=trace))

    def tick(self, at: datetime) -> Decision:
        """Let the log's time come to this."""
        tick = event("bridge.tick", {"due": at}, source="bridge", channel=None, time=at, origin=Origin.TIMER)
        return self.feed(tick)

    def keep(self, decision: Decision) -> Decision:
        """Commit a decision."""
        for key, value in decision.changed.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        self.decisions.append(decision)
        return decision

    def crash(self) -> None:
        """Lose everything but what was committed."""
        self.engine = Engine(self.rules, dict(self.state))


def made(decision: Decision) -> list[tuple[str, dict[str, Any]]]:
    """Return the orders of a decision, short."""
    return [(order.action, order.params) for order in decision.orders]
