"""The routes for rule files: which rules decide, and reading the files now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pydantic import Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.http.callers import Caller, Callers, Said

_STATUS = {"unchanged": 200, "changed": 200, "waits": 409, "refused": 422}


class Outcome(Protocol):
    """What came of reading the files."""

    @property
    def outcome(self) -> str:
        """unchanged, changed, waits or refused."""
        ...

    def as_json(self) -> Mapping[str, JsonValue]:
        """Return it for programs."""
        ...


class Rules(Protocol):
    """The rule files of the site."""

    async def reload(self, who: str, confirm: str | None = None) -> Outcome:
        """Read them now. Raises StoreUnavailableError."""
        ...

    def state(self) -> Mapping[str, JsonValue]:
        """Return what decides, and how the files are."""
        ...


class Tell(Protocol):
    """Write a command down in the log: what, about what, by whom, why, and what came of it."""

    def __call__(
        self, command: str, target: str | None, persons: tuple[str, ...], reason: str | None, *, outcome: str
    ) -> None:
        """Write it down as soon as that can be."""
        ...


class Reload(Said):
    """Read the rule files now."""

    confirm: str | None = Field(None, max_length=64, description="The change that may move things, by its number.")


class RulesApi:
    """The routes of one site."""

    def __init__(self, callers: Callers, rules: Rules, tell: Tell) -> None:
        self._callers, self._rules, self._tell = callers, rules, tell

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            self._callers.route("GET", "/api/rules", "viewer", self._show),
            self._callers.saying("POST", "/api/rules/reload", "admin", Reload, self._reload),
        ]

    async def _show(self, _: Request, __: Caller) -> Response:
        return JSONResponse(dict(self._rules.state()))

    async def _reload(self, _: Request, caller: Caller, said: Reload) -> Response:
        result = await self._rules.reload(caller.who, said.confirm)
        self._tell("reload", said.confirm, (caller.who,), said.reason, outcome=result.outcome)
        return JSONResponse(dict(result.as_json()), status_code=_STATUS[result.outcome])
