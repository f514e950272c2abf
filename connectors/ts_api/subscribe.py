"""Decide which event sockets to open for which topics, and what to say to the server for them.

Some messages do not name their topic, and v0's one `ch` means channels to some topics and parking
lots to others; so each such topic gets a socket of its own and only the rest share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .addresses import Host, Value
from .config import TsApiConfig
from .link import Door
from .topics import PARAMETERS, topic
from .topics import families as grouped
from .values import Dialect

_SOCKET: Mapping[Dialect, str] = {"v0": "/wsapi/subscribeEvents", "v1": "/wsapi/v1/events"}
# One request line of the guide asks for body temperature as a type of object.
_OTHER_WAYS: Mapping[str, tuple[str, str]] = {"bodyTemperature": ("object", "bodyTemperature")}


@dataclass(frozen=True, slots=True)
class Family:
    """Topics that share a socket."""

    topics: tuple[str, ...]
    other_way: bool = False
    """Ask the way that only one line of the guide shows."""

    @property
    def name(self) -> str:
        """How logs and errors call it."""
        return "+".join(self.topics)

    @property
    def alone(self) -> str | None:
        """The topic of every message that does not name one."""
        return self.topics[0] if len(self.topics) == 1 else None

    def others(self) -> Iterable[Family]:
        """Return other ways to ask for the same, to be tried when this one is refused."""
        if not self.other_way and self.alone in _OTHER_WAYS:
            yield Family(self.topics, other_way=True)

    def asked(self) -> Mapping[str, tuple[str, str | None]]:
        """Return, per topic, the topic to name to the server and the object type that goes with it."""
        ways: Mapping[str, tuple[str, str | None]] = _OTHER_WAYS if self.other_way else {}
        return {topic: ways.get(topic, (topic, None)) for topic in self.topics}


def families(topics: Sequence[str]) -> list[Family]:
    """Group topics by socket."""
    return [Family(names) for names in grouped(topics)]


def door(
    config: TsApiConfig,
    host: Host,
    dialect: Dialect,
    family: Family,
    headers: Mapping[str, str],
    auth: Mapping[str, str],
) -> Door:
    """Return how to open a family's socket. `headers` authenticate on v1, `auth` in the address on v0."""
    words = PARAMETERS[dialect]
    params: dict[str, Value] = {words["details"]: True}
    if config.language is not None:
        params["lang"] = config.language
    asked = list(family.asked().values())
    if dialect == "v1":
        subscriptions = {name: _filters(config, name, kind) for name, kind in asked}
        return Door(family.name, family.topics, host.socket(_SOCKET["v1"], params), headers, subscriptions)
    params[words["topics"]] = ",".join(name for name, _ in asked)
    kinds = [kind for _, kind in asked if kind is not None]
    if kinds:
        params[words["objects"]] = ",".join(kinds)
    if config.channels and any(_by_channel(name) for name in family.topics):
        params[words["channels"]] = ",".join(map(str, config.channels))
    return Door(family.name, family.topics, host.socket(_SOCKET["v0"], {**params, **auth}), {}, {})


def _filters(config: TsApiConfig, name: str, kind: str | None) -> dict[str, Any]:
    """Return the filters of a v1 subscription: arrays, where v0 has lists in one parameter."""
    words, filters = PARAMETERS["v1"], dict[str, Any]()
    if config.channels and _by_channel(name):
        filters[words["channels"]] = list(config.channels)
    if kind is not None:
        filters[words["objects"]] = [kind]
    return filters


def _by_channel(name: str) -> bool:
    return "channels" in topic(name).narrowed_by
