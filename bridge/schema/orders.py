"""What a rule wants done, and what came of it.

An order is born in a step of the engine and ends as exactly one of done, expired, refused,
dead or unknown. Its class says how it may fail; that is decided here, once, for every action.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, JsonValue

from bridge.schema.base import Record, UtcTime
from bridge.schema.event import Origin, VmsEvent
from bridge.schema.kinds import Outcome


class ActionClass(StrEnum):
    """How an action may fail. See docs/design/orders.md."""

    ACTUATING = "actuating"
    """Leaves the declared idle state or starts motion: at most once, young and live only."""
    RELEASING = "releasing"
    """Back to idle: until confirmed, never expires, waits for nothing."""
    TRANSIENT = "transient"
    """A preset, a light: at least once while young."""
    INFORMATION = "information"
    """A message, a clip: at least once, the same id on every try."""
    VENDOR_START = "vendor_start"
    """Starts something at the vendor that must not be started twice: claim first, look before repeating."""


AT_MOST_ONCE = frozenset({ActionClass.ACTUATING, ActionClass.VENDOR_START})
"""Classes whose interrupted try is never simply repeated."""

MAX_AGE: dict[ActionClass, timedelta] = {
    ActionClass.ACTUATING: timedelta(seconds=10),
    ActionClass.TRANSIENT: timedelta(seconds=30),
}
"""How old a cause may be where the action says nothing else. The other classes have no limit."""


class StepResult(Record):
    """What an earlier step of the same firing gave, for the steps that name it."""

    outcome: Outcome | Literal["pending", "timeout"]
    output: dict[str, JsonValue] = Field(default_factory=dict)


class Order(Record):
    """One thing to do. Everything the runner needs is in it; it looks nothing up in the rules."""

    id: str = Field(description="From rule, rule version, key, causing events and place in the rule.")
    rule: str
    rule_version: str
    key: str = Field(description="What the rule told its firings apart by; empty if nothing.")
    index: int = Field(ge=0, description="Place among the rule's actions.")
    step: str | None = Field(None, description="The name given with `as`.")
    action: str
    action_class: ActionClass
    params: dict[str, Any] = Field(description="The action's parameters, texts already rendered.")
    causes: tuple[str, ...] = Field(description="Ids of the events that caused it; the last one decided.")
    trigger: VmsEvent = Field(description="The event that decided.")
    origin: Origin = Field(description="The least trustworthy provenance among the causes.")
    hops: int = Field(0, ge=0, description="How many firings, one leading to the next, led to it; this one included.")
    occurred: UtcTime = Field(description="When the cause happened, by its source.")
    received: UtcTime = Field(description="When the bridge read the cause.")
    created: UtcTime = Field(description="When the engine decided, by the log's clock.")
    expires: UtcTime | None = Field(None, description="Not to be started after this.")
    max_lateness: timedelta | None = Field(
        None,
        description="For an order of the clock: it may move something, at most so long after its time.",
    )
    priority: int = 0
    steps: dict[str, StepResult] = Field(default_factory=dict, description="Results of earlier steps by name.")

    def encode(self) -> bytes:
        """Return the JSON form."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def decode(cls, message: bytes | str) -> Order:
        """Read what `encode` wrote. Raises `pydantic.ValidationError`."""
        return cls.model_validate_json(message)


class Result(Record):
    """The one end of an order."""

    order: str
    rule: str
    action: str
    action_class: ActionClass
    step: str | None = None
    outcome: Outcome
    reason: str | None = Field(None, description="A short code from a fixed list.")
    message: str | None = None
    attempts: int = Field(0, ge=0)
    started: UtcTime | None = None
    ended: UtcTime
    causes: tuple[str, ...] = ()
    output: dict[str, JsonValue] = Field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the JSON form."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def decode(cls, message: bytes | str) -> Result:
        """Read what `encode` wrote. Raises `pydantic.ValidationError`."""
        return cls.model_validate_json(message)


class About(Record):
    """What an order was for: enough to judge its end when the order itself is gone."""

    rule_version: str
    origin: Origin
    occurred: UtcTime
    received: UtcTime
    created: UtcTime
    plate: str | None = Field(None, description="The plate that was read, if one was.")
    hops: int = Field(0, ge=0, description="How many firings, one leading to the next, led to it.")


class Effect(Record):
    """The ledger's record of one order: claimed before anything is done, ended exactly once.

    `attempt` counts tries begun. A record found `started` after a crash is settled by its class:
    actuating ends `unknown`, releasing and information are tried again with the same id.
    """

    order: str
    action_class: ActionClass
    status: Literal["started", "waiting", "ended"]
    attempt: int = Field(ge=1)
    executor: str = Field(description="Which runner holds it.")
    claimed: UtcTime
    next_try: UtcTime | None = Field(None, description="For `waiting`: not before this.")
    last_error: str | None = None
    about: About | None = None
    result: Result | None = Field(None, description="For `ended`.")

    def encode(self) -> bytes:
        """Return the JSON form."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def decode(cls, message: bytes | str) -> Effect:
        """Read what `encode` wrote. Raises `pydantic.ValidationError`."""
        return cls.model_validate_json(message)
