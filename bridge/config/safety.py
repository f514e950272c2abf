"""What a user may write under `safety`: what holds for the whole site, whatever a door says."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, JsonValue

from bridge.config.base import Device, Model, Name
from bridge.schema.units import Duration


class InputMatch(Model):
    """An event that stands for somebody's hand: a panic button on an input."""

    source: Name = Field(description="The source it comes from.")
    kind: str = Field(description="The kind of event: `call.started`.")
    channel: Device | None = Field(None, description="Its channel or code; default: any.")
    data: dict[str, JsonValue] = Field(default_factory=dict, description="Fields of its data that must be so.")


class BreakerConfig(Model):
    """Stops everything when the site behaves as no site does. A person resets it."""

    per_minute: int = Field(20, ge=1, description="Openings a minute on the whole site; one more trips it.")
    storm: int = Field(300, ge=1, description="Orders a minute that ask for an opening; one more trips it.")


class StuckConfig(Model):
    """What a source began and never ended is ended by the bridge, with reason `timeout`; its state is unknown then."""

    motion: Duration = Field(timedelta(minutes=15), description="Motion without an end.")
    call: Duration = Field(timedelta(hours=1), description="A call without an end.")


class SafetyConfig(Model):
    """What holds for everything that can move."""

    hold_off: Duration = Field(
        timedelta(seconds=15),
        description="After a start nothing leaves idle for so long; less is for demos.",
    )
    clock_tolerance: Duration = Field(
        timedelta(seconds=5),
        description="A source whose clock differs by more, or is not known, opens nothing.",
    )
    trusted_clocks: tuple[Name, ...] = Field(
        (),
        description="Sources and push clients whose clock is kept right (NTP) and need not prove it. The clock of any "
        "other counts only once the source has been asked and has told: a push client cannot be asked.",
    )
    breaker: BreakerConfig = Field(default_factory=BreakerConfig, description="Trips on a storm of openings.")
    kill_on: tuple[InputMatch, ...] = Field((), description="Events that pull the kill switch.")
    kill_topic: bool = Field(
        True, description="A message on `<prefix>/<site>/kill/set` pulls the kill switch; it can never reset it."
    )
    alerts: tuple[Name, ...] = Field(
        (),
        description="Webhooks that are told when a part fails, directly and without the bus. One that does not take "
        "it is tried every minute; the newest 100 are kept for it.",
    )
    heartbeat: Duration = Field(timedelta(minutes=1), description="How often `bridge.heartbeat` says that we live.")
    stuck: StuckConfig = Field(default_factory=StuckConfig, description="When a motion or call has lasted too long.")
