"""The schema of rule files, for editors that ask the bridge."""

from __future__ import annotations

import httpx
from starlette.applications import Starlette

from bridge.http.schema import PATH, SchemaPage


async def test_the_schema_is_made_once_and_answered_by_its_tag() -> None:
    """An editor that has it already gets it no second time."""
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b'{"title": "Rules"}\n'

    transport = httpx.ASGITransport(app=Starlette(routes=SchemaPage(make).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
        first = await client.get(PATH)
        assert (first.status_code, first.json()) == (200, {"title": "Rules"})
        assert first.headers["content-type"] == "application/schema+json"
        again = await client.get(PATH, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert made == [1]
