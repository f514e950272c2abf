"""What actions may reach, filled in one place; the contract is `bridge.contracts.Services`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from bridge.contracts import Connector
from bridge.errors import ActionRejectedError
from bridge.registry import unknown

T = TypeVar("T")


class ServiceTable:
    """Services by type, and sources by name."""

    def __init__(self, sources: Mapping[str, Connector]) -> None:
        self._sources = dict(sources)
        self._services: dict[type, object] = {}

    def add(self, kind: type[T], service: T) -> T:
        """Offer a service under a type; returns it."""
        self._services[kind] = service
        return service

    def get(self, service: type[T]) -> T:
        """Return the service of that type. Raises ActionRejectedError if the site has none."""
        found = self._services.get(service)
        if found is None:
            raise ActionRejectedError(f"this site has no {service.__name__}", "not_configured")
        return cast(T, found)

    def source(self, name: str, capability: type[T]) -> T:
        """Return a source as a capability. Raises ActionRejectedError if it is not there or cannot do it."""
        source = self._sources.get(name)
        if source is None:
            raise ActionRejectedError(unknown("source", name, list(self._sources)), "unknown_source")
        if not isinstance(source, capability):
            raise ActionRejectedError(f"source {name!r} offers no {capability.__name__}", "not_offered")
        return source
