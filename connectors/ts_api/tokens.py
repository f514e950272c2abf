"""Read and remember what a camera's presets and outputs are called. No I/O.

People write names, the server wants tokens. They are remembered because a gate must not wait for a
list; a token that the server no longer knows is forgotten and looked up again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from bridge.sdk import ActionRejectedError, PtzPreset, Relay

N = TypeVar("N", PtzPreset, Relay)


class Tokens(Generic[N]):
    """The named tokens of each channel, as last heard."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._known: dict[str, Sequence[N]] = {}

    def keep(self, channel: str, items: Sequence[N]) -> None:
        """Remember a channel's list."""
        self._known[channel] = items

    def forget(self, channel: str | None = None) -> None:
        """Forget one channel's list, or all: channels can be exchanged."""
        if channel is None:
            self._known.clear()
        else:
            self._known.pop(channel, None)

    def find(self, channel: str, wanted: str) -> str | None:
        """Return the token that is meant, by token or by name; None if there is none.

        Raises ActionRejectedError if a name is borne by several.
        """
        items = self._known.get(channel, ())
        if any(item.token == wanted for item in items):
            return wanted
        same = {item.token for item in items if item.name == wanted}
        alike = same or {item.token for item in items if item.name.casefold() == wanted.casefold()}
        if len(alike) > 1:
            raise ActionRejectedError(
                f"channel {channel} has {len(alike)} {self._what}s named {wanted!r}; use the token", "ambiguous"
            )
        return next(iter(alike), None)

    def unknown(self, channel: str, wanted: str) -> ActionRejectedError:
        """Return the error for a name that does not exist."""
        names = ", ".join(repr(item.name or item.token) for item in self._known.get(channel, ())) or "none"
        return ActionRejectedError(
            f"channel {channel} has no {self._what} {wanted!r}; it has: {names}", f"unknown_{self._what}"
        )


def presets_in(answer: Any, channel: str) -> list[PtzPreset]:
    """Return a channel's presets from any of the forms that guides and examples show."""
    return [PtzPreset(token, name) for token, name in _pairs(answer, channel, "preset")]


def relays_in(answer: Any, channel: str) -> list[Relay]:
    """Return a channel's outputs; the same forms are taken as for presets."""
    return [Relay(token, name) for token, name in _pairs(answer, channel, "relay")]


def parts(answer: Any) -> Sequence[Mapping[str, Any]]:
    """Return the objects an answer consists of: a list of them, or the one."""
    return [item for item in (answer if isinstance(answer, list) else [answer]) if isinstance(item, dict)]


def _pairs(answer: Any, channel: str, member: str) -> Iterator[tuple[str, str]]:
    for part in parts(answer):
        if member not in part:
            yield from _pair(part)  # a bare list of {token, name}
        elif str(part.get("chid", channel)) == channel and isinstance(part[member], list):
            for item in part[member]:
                yield from _pair(item)


def _pair(item: Any) -> Iterator[tuple[str, str]]:
    token = item.get("token") if isinstance(item, dict) else None
    if isinstance(token, (str, int)):
        name = item.get("name")
        yield str(token), name if isinstance(name, str) else ""
