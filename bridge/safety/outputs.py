"""The only way to a relay: what is not declared cannot be switched, and what leaves idle owes its return.

Says nothing about who may: the gate and the doors do. `active` means away from the declared idle
position, whichever way the relay is wired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from bridge.config.models import OutputConfig
from bridge.contracts import Services, SwitchesRelays
from bridge.registry import unknown
from bridge.safety.reasons import Reason, refusal
from bridge.safety.releases import ReleaseJournal, Target

MAX_PULSE = timedelta(seconds=30)
"""No pulse is longer, whatever is configured."""


class Outputs:
    """The declared outputs of one site."""

    def __init__(self, outputs: Mapping[str, OutputConfig], journal: ReleaseJournal, services: Services) -> None:
        self._outputs = outputs
        self._journal = journal
        self._services = services

    def get(self, name: str) -> OutputConfig:
        """Return the declaration. Raises ActionRejectedError if there is none."""
        output = self._outputs.get(name)
        if output is None:
            raise refusal(Reason.UNKNOWN_OUTPUT, unknown("output", name, list(self._outputs)))
        return output

    def hold(self, name: str, asked: timedelta | None) -> timedelta | None:
        """Return how long it may stay active: as asked, but never longer than declared.

        None, which means for good, is left to outputs that can hurt nobody.
        """
        output = self.get(name)
        if asked is None:
            return None if output.output_class == "transient" else output.max_on
        return min(asked, output.max_on)

    async def activate(self, name: str, order: str, hold: timedelta | None, permit: Callable[[], None]) -> None:
        """Take an output away from idle, for `hold` or for good. Raises as `ReleaseJournal.away`."""
        output = self.get(name)
        relays = self._services.source(output.source, SwitchesRelays)

        async def send() -> None:
            await relays.switch_relay(output.channel, output.relay, output.idle == "off")

        if hold is None:
            permit()
            await send()
        else:
            await self._journal.away(target_of(output), order, hold, permit, send)

    async def idle(self, name: str) -> None:
        """Bring an output back to idle. Raises ActionError if it did not confirm it."""
        await self._journal.idle(target_of(self.get(name)))


def target_of(output: OutputConfig) -> Target:
    """Return what the release journal knows an output by."""
    return Target("relay", output.source, output.channel, output.relay, output.idle == "on")
