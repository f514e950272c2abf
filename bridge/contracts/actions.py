"""What an action is: its parameters, what it may reach, and how the registry knows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

from bridge.clock import Clock
from bridge.schema.event import VmsEvent
from bridge.schema.orders import ActionClass, Order, Result


class ActionParams(BaseModel):
    """The parameters of an action, as written in a rule; every field described.

    Text fields may hold `{{ CEL }}`; they are rendered before the order is made, so `run` sees values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


P = TypeVar("P", bound=ActionParams)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known:
    """What exists at this site, for checks at load time. None means: not known here, do not check."""

    sources: frozenset[str] | None = None
    channels: Mapping[str, frozenset[str]] | None = None
    """The channels of a source; of one that is not in it nobody knows them."""
    presets: Mapping[tuple[str, str], frozenset[str]] | None = None
    """The presets of a source's channel, by every name they go by."""
    here: frozenset[tuple[str, str]] | None = None
    """Source and channel of the event that a rule acts on, where its `when` leaves no other; empty: it has none."""
    sourced: bool = True
    """That event may come from a source, not from the bridge itself alone."""
    doors: frozenset[str] | None = None
    door_ages: Mapping[str, timedelta] = field(default_factory=dict)
    """How old a cause each door lets in, where that is known."""
    door_age: timedelta | None = None
    """The same for a door that nothing is known of; None: do not check."""
    outputs: frozenset[str] | None = None
    webhooks: frozenset[str] | None = None
    mqtt: bool | None = None
    lists: frozenset[str] | None = None
    modes: frozenset[str] | None = None


class Services(Protocol):
    """What actions may reach, by type: `services.get(DoorKeeper)`. Wired in one place, bridge.app."""

    def get(self, service: type[T]) -> T:
        """Return the one service of that type. Raises ActionRejectedError if the site has none."""
        ...

    def source(self, name: str, capability: type[T]) -> T:
        """Return a configured source as a capability. Raises ActionRejectedError if it has it not."""
        ...


@dataclass(frozen=True, slots=True)
class ActionContext:
    """One try of one order."""

    order: Order
    attempt: int
    clock: Clock
    services: Services


@dataclass(frozen=True, slots=True)
class Written:
    """An event that an action writes into our own log, as far as its parameters say before any event comes."""

    kind: str
    data: Mapping[str, JsonValue] = field(default_factory=dict)
    """Fields whose value is known."""
    whole: bool = False
    """Fields that are not in `data` are absent; otherwise nothing is known of them."""
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class ActionSpec(Generic[P]):
    """An action as the registry knows it. `run` tries once and raises; the runner retries."""

    name: str
    summary: str
    params: type[P]
    action_class: ActionClass
    run: Callable[[P, ActionContext], Awaitable[Mapping[str, JsonValue]]]
    example: str
    shorthand: str | None = None
    """The parameter that a bare value sets: `open: main-gate` is `open: {door: main-gate}`."""
    max_age: timedelta | None = None
    """How old the cause may be when it starts; None: no limit."""
    age_here: Callable[[P, Known], timedelta | None] = lambda params, known: None
    """The same for what the parameters name, where the site asks for less; None: it does not, or is not known."""
    timeout: timedelta = timedelta(seconds=15)
    """One try is cut off after this."""
    give_up_after: timedelta = timedelta(days=3)
    """Retries stop then, and the order is dead."""
    check: Callable[[P, Known], Iterable[str]] = lambda params, known: ()
    """Problems visible before running: an unknown door, a channel that does not exist."""
    classify: Callable[[P], ActionClass] | None = None
    """For actions whose class depends on their parameters: a relay switched off releases."""
    event: Callable[[P, Order], VmsEvent] | None = None
    """For an action that is nothing but an event in our own log: which one. Pure, so that tests of rules see it too."""
    writes: Callable[[Mapping[str, Any], bool], Written | None] | None = None
    """The same before there is an order, from those parameters that do not depend on an event, and whether these
    are all: so that rules which lead to each other are seen when files are checked."""
    failed: Callable[[P, Result, ActionContext], Awaitable[None]] | None = None
    """Told of every order of this action that ends without being done, before it is let go of; perhaps twice."""
    target: Callable[[P, Order], str] | None = None
    """What an order is for: a door, an output, a camera, a receiver; default: the action itself.

    Orders that move something are done one after another for each target; of the others a bounded
    number for each target at once, so that one slow receiver holds up nobody else.
    """
