"""The routes for lists and the mode of the site: look at them, and change them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import AwareDatetime, Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.clock import Clock
from bridge.http.body import RefusedError
from bridge.http.callers import Caller, Callers, Said
from bridge.schema.kinds import MAX_LIST_VALUES

_Value = Annotated[str, Field(min_length=1, max_length=256)]


class ChangeList(Said):
    """What is to be changed in a list; `for` counts from `valid_from`, or from now."""

    values: tuple[_Value, ...] = Field(min_length=1, max_length=MAX_LIST_VALUES)
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    tags: tuple[_Value, ...] = Field((), max_length=20)

    def until(self, now: datetime) -> datetime | None:
        """Return when it ends. Raises RefusedError if it is said twice."""
        if self.for_ is None:
            return self.valid_until
        if self.valid_until is not None:
            raise RefusedError(422, "bad_body", "say `for` or `valid_until`, not both")
        return (self.valid_from or now) + self.for_


class SetMode(Said):
    """The mode that the site is to be in."""

    mode: _Value


Do = Literal["add", "remove", "reset"]


class Lists(Protocol):
    """The lists of the site."""

    def all(self) -> list[dict[str, JsonValue]]:
        """Return which there are."""
        ...

    def show(self, name: str, value: str | None = None) -> Mapping[str, JsonValue]:
        """Return what was changed in one. Raises ActionRejectedError."""
        ...

    async def change(
        self,
        name: str,
        do: Do,
        values: Sequence[str],
        who: str,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        tags: Sequence[str] = (),
        reason: str | None = None,
    ) -> Mapping[str, JsonValue]:
        """Change one. Raises ActionRejectedError, StoreUnavailableError."""
        ...


class Modes(Protocol):
    """The mode of the site."""

    def state(self) -> Mapping[str, JsonValue]:
        """Return it."""
        ...

    async def set(self, mode: str, who: str, *, reason: str | None = None) -> Mapping[str, JsonValue]:
        """Set it. Raises ActionRejectedError, StoreUnavailableError."""
        ...


class ListsApi:
    """The routes of one site."""

    def __init__(self, callers: Callers, lists: Lists, modes: Modes, clock: Clock) -> None:
        self._callers, self._lists, self._modes, self._clock = callers, lists, modes, clock

    def routes(self) -> list[Route]:
        """Return all routes."""
        looking, saying = self._callers.route, self._callers.saying
        every: tuple[Do, ...] = ("add", "remove", "reset")
        changing = [
            saying("POST", f"/api/lists/{{name}}/{do}", "operator", ChangeList, self._changing(do)) for do in every
        ]
        return [
            looking("GET", "/api/lists", "viewer", self._all),
            looking("GET", "/api/lists/{name}", "viewer", self._show),
            *changing,
            looking("GET", "/api/mode", "viewer", self._mode),
            saying("POST", "/api/mode", "operator", SetMode, self._set_mode),
        ]

    async def _all(self, _: Request, __: Caller) -> Response:
        return JSONResponse({"lists": self._lists.all()})

    async def _show(self, request: Request, _: Caller) -> Response:
        value = request.query_params.get("value")
        return JSONResponse(dict(self._lists.show(request.path_params["name"], value)))

    def _changing(self, do: Do) -> Callable[[Request, Caller, ChangeList], Awaitable[Response]]:
        async def act(request: Request, caller: Caller, said: ChangeList) -> Response:
            name = request.path_params["name"]
            if caller.lists is not None and name not in caller.lists:
                raise RefusedError(403, "scope", f"{caller.who} may not change the list {name}")
            done = await self._lists.change(
                name,
                do,
                said.values,
                caller.who,
                valid_from=said.valid_from,
                valid_until=said.until(self._clock.now()),
                tags=said.tags,
                reason=said.reason,
            )
            return JSONResponse(dict(done))

        return act

    async def _mode(self, _: Request, __: Caller) -> Response:
        return JSONResponse(dict(self._modes.state()))

    async def _set_mode(self, _: Request, caller: Caller, said: SetMode) -> Response:
        return JSONResponse(dict(await self._modes.set(said.mode, caller.who, reason=said.reason)))
