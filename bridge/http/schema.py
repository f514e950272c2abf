"""What editors ask for: the JSON Schema of rule files, with the actions of this very bridge."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/rules.schema.json"


class SchemaPage:
    """Serves the schema to anybody: it names kinds, fields and actions, nothing of the site."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._page: tuple[bytes, str] | None = None
        self._lock = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route(PATH, self._answer, methods=["GET"])]

    async def _answer(self, request: Request) -> Response:
        async with self._lock:
            if self._page is None:  # nobody may ever ask, and it takes a moment
                page = await asyncio.to_thread(self._make)
                self._page = page, f'"{hashlib.sha256(page).hexdigest()[:32]}"'
        page, tag = self._page
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return Response(page, media_type="application/schema+json", headers={"etag": tag})
