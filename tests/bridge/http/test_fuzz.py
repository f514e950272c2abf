"""Whatever is pushed, the answer is 200 or the sender's fault; and no connection is left in a strange state."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from bridge.config.models import PushClient
from connectors.ts_api.push import PUSH
from tests.bridge.http.harness import Log, serving

CLIENTS = {"booth": PushClient(password=SecretStr("x"), token=SecretStr("y"))}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of a real server that runs in a thread of its own; ten requests share a connection, as they come."""
    started, stop = threading.Event(), asyncio.Event()
    found: dict[str, object] = {}

    async def serve() -> None:
        async with serving(Log(), clients=CLIENTS, formats=[PUSH]) as server:
            found.update(url=server.url, loop=asyncio.get_running_loop())
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="http-server")
    thread.start()
    assert started.wait(10)
    with httpx.Client(base_url=str(found["url"]), auth=("booth", "x")) as http:
        yield http
    loop = found["loop"]
    assert isinstance(loop, asyncio.AbstractEventLoop)
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


_texts = st.text(max_size=12) | st.sampled_from(["LPR", "emergencyCall", "callStart", "1,2", "2018-02-01T14:30:15"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)
_items = st.fixed_dictionaries(
    {},
    optional={
        "topic": st.sampled_from(["LPR", "emergencyCall"]) | _values,
        "src": _texts | _values,
        "plateNo": _texts | _values,
        "event": st.sampled_from(["callStart", "callEnd"]) | _values,
        "when": _texts | _values,
        "timeBegin": _values,
        "camera": _texts | _values,
        "device": _values,
    },
)
_quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _harmless(answer: httpx.Response) -> None:
    assert answer.status_code in (200, 400, 413), answer.text
    if answer.status_code == 200:
        assert answer.content == b""
    else:
        assert answer.json()["message"]


@_quick
@given(items=_items | st.lists(_items | _values, max_size=5))
@example(items={"topic": "LPR", "src": "1", "plateNo": "A", "when": "9999-12-31T23:59:59-12:00"})
@example(items={"topic": "LPR", "src": "1", "plateNo": "A", "when": "0001-01-01T00:00:00+14:00"})
@example(items={"topic": "LPR", "src": "\U0001f697" * 100, "plateNo": "\u202e" * 100})
def test_no_json_is_our_fault(client: httpx.Client, items: object) -> None:
    """Anything like a push, and anything unlike one."""
    _harmless(client.post("/api/push", content=json.dumps(items)))


@_quick
@given(body=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_no_bytes_are_our_fault(client: httpx.Client, body: bytes) -> None:
    """Noise is 400."""
    _harmless(client.post("/api/v1/push", content=body))


@_quick
@given(
    scheme=st.sampled_from(["Basic ", "Bearer ", "basic", "", "Digest "]),
    value=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40),
    query=st.text(max_size=30),
)
def test_no_credentials_are_our_fault(client: httpx.Client, scheme: str, value: str, query: str) -> None:
    """Whatever stands in the header or the address: 401, 429 once it is too often, never more."""
    headers = {"authorization": f"{scheme}{value}".strip().encode("latin-1")}
    answer = client.post("/api/push", params={"auth": query}, headers=headers, content=b"{}", auth=None)
    assert answer.status_code in (401, 429)
