"""The route for the store: a person says that they know what it has lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.http.callers import Caller, Callers

Accept = Callable[[], Awaitable[Sequence[object]]]
"""Forget what was lost, and return it in words. Raises OSError if a restart would bring it back."""
Tell = Callable[[str, str | None, tuple[str, ...], str | None], None]
"""Write a command down in the log: what, about what, by whom, why."""


class StoreApi:
    """The routes of one site."""

    def __init__(self, callers: Callers, accept: Accept, tell: Tell) -> None:
        self._callers, self._accept, self._tell = callers, accept, tell

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [self._callers.route("POST", "/api/store/accept", "admin", self._accepted)]

    async def _accepted(self, _: Request, caller: Caller) -> Response:
        lost = [str(each) for each in await self._accept()]
        if lost:
            self._tell("accept_loss", None, (caller.who,), caller.reason)
        return JSONResponse({"accepted": lost})
