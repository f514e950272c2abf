"""The routes for dead letters: look at them, send them on their way again, drop them.

What moves something can be shown and never goes again; that is decided where the letters are kept, and
asked here only to say it clearly. Who did what is in the audit trail and in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.clock import Clock
from bridge.errors import StoreError, StoreUnavailableError
from bridge.http.body import RefusedError
from bridge.http.callers import Caller, Callers
from bridge.schema.units import Duration

MOST = 200
"""Letters in one answer."""


class Letter(Protocol):
    """One dead letter."""

    @property
    def obstacle(self) -> str | None:
        """Why it cannot go again; None if it can."""
        ...

    def as_json(self, *, whole: bool = False) -> Mapping[str, JsonValue]:
        """Return it for programs."""
        ...


class Letters(Protocol):
    """The dead letters, as one caller reaches them. Every method raises StoreUnavailableError."""

    async def newest(
        self, limit: int, *, action_class: str | None = None, reason: str | None = None, since: datetime | None = None
    ) -> Sequence[Letter]:
        """Return the newest, oldest first."""
        ...

    async def get(self, seq: int) -> Letter:
        """Return one. Raises StoreError when there is none of that number."""
        ...

    async def redrive(self, seq: int, now: datetime) -> str:
        """Send it on its way again; return the new order's id. Raises StoreError."""
        ...

    async def drop(self, seq: int, now: datetime, why: str = "") -> None:
        """Take it away for good. Raises StoreError."""
        ...


Tell = Callable[[str, str | None, tuple[str, ...], str | None], None]
"""Write a command down in the log: what, about what, by whom, why."""


class Query(BaseModel):
    """Which letters are wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action_class: str | None = Field(None, alias="class", max_length=64)
    reason: str | None = Field(None, max_length=64)
    since: AwareDatetime | Duration | None = None
    limit: int = Field(50, ge=1, le=MOST)


class LettersApi:
    """The routes of one site. `letters` opens them for whoever is named."""

    def __init__(self, callers: Callers, letters: Callable[[str], Letters], tell: Tell, clock: Clock) -> None:
        self._callers, self._letters, self._tell, self._clock = callers, letters, tell, clock

    def routes(self) -> list[Route]:
        """Return all routes."""
        route = self._callers.route
        return [
            route("GET", "/api/dlq", "viewer", self._list),
            route("GET", "/api/dlq/{number:int}", "viewer", self._show),
            route("POST", "/api/dlq/{number:int}/redrive", "operator", self._redrive),
            route("POST", "/api/dlq/{number:int}/drop", "admin", self._drop),
        ]

    async def _list(self, request: Request, caller: Caller) -> Response:
        query = _query(request)
        since = self._clock.now() - query.since if isinstance(query.since, timedelta) else query.since
        found = await self._letters(caller.who).newest(
            query.limit, action_class=query.action_class, reason=query.reason, since=since
        )
        return JSONResponse({"letters": [letter.as_json() for letter in found]})

    async def _show(self, request: Request, caller: Caller) -> Response:
        letter = await _get(self._letters(caller.who), request.path_params["number"])
        return JSONResponse(letter.as_json(whole=True))

    async def _redrive(self, request: Request, caller: Caller) -> Response:
        letters, number = self._letters(caller.who), request.path_params["number"]
        if (obstacle := (await _get(letters, number)).obstacle) is not None:
            raise RefusedError(409, "not_redrivable", obstacle)
        order = await letters.redrive(number, self._clock.now())
        self._tell("redrive", str(number), (caller.who,), caller.said.reason)
        return JSONResponse({"letter": number, "order": order})

    async def _drop(self, request: Request, caller: Caller) -> Response:
        letters, number = self._letters(caller.who), request.path_params["number"]
        await _get(letters, number)
        await letters.drop(number, self._clock.now(), caller.said.reason or "")
        self._tell("drop", str(number), (caller.who,), caller.said.reason)
        return JSONResponse({"letter": number, "dropped": True})


async def _get(letters: Letters, number: int) -> Letter:
    try:
        return await letters.get(number)
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        raise RefusedError(404, "no_letter", str(exc)) from exc


def _query(request: Request) -> Query:
    try:
        return Query.model_validate(dict(request.query_params))
    except ValidationError as exc:
        first = exc.errors()[0]
        raise RefusedError(422, "bad_query", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from exc
