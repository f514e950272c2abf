"""What the tests of the TS-API connector share: samples, configurations, scripted servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from bridge.clock import Clock, SystemClock
from bridge.sdk import SourceContext
from connectors.ts_api.config import TsApiConfig
from connectors.ts_api.connector import TsApi

DATA = Path(__file__).parent.parent / "data" / "ts_api"
USER, PASSWORD = "bridge", "CANARY-pass:word"
API_KEY = "CANARY-api-key"
CANARIES = ("CANARY-pass", "Q0FOQVJZ", "CANARY-api-key", "CANARY-access", "CANARY-refresh")
"""Parts of every secret the tests use, plain and as base64 would show them."""
URL = "http://nvr.test:8080"

Reply = httpx.Response | Callable[[httpx.Request], httpx.Response] | list[httpx.Response]


def sample(name: str) -> Any:
    """Return a recorded message."""
    return json.loads((DATA / f"{name}.json").read_text())


def samples(prefix: str) -> list[str]:
    """Return the names of the recorded messages that begin so."""
    return sorted(path.stem for path in DATA.glob(f"{prefix}*.json"))


def config(**values: Any) -> TsApiConfig:
    """Return a configuration for a v0 server, with the differences given."""
    return TsApiConfig.model_validate({"url": URL, "username": USER, "password": PASSWORD, **values})


def context(clock: Clock | None = None) -> SourceContext:
    """Return what a connector is built with."""
    return SourceContext("home", "nvr1", clock or SystemClock())


def ok(body: Any, **headers: str) -> httpx.Response:
    """Return an answer with JSON."""
    return httpx.Response(200, json=body, headers=headers)


def html(status: int) -> httpx.Response:
    """Return what a proxy answers."""
    return httpx.Response(status, html="<html><body><h1>Bad Gateway</h1></body></html>")


class Script:
    """A server that answers by path: `{"GET /api/info": reply}`. Paths without a reply get 404."""

    def __init__(self, replies: Mapping[str, Reply], info: str = "TS-API@0.9.20", dialect: str = "v0") -> None:
        self.requests: list[httpx.Request] = []
        path = "/api/info" if dialect == "v0" else "/api/v1/info"
        basics = {"apiVersion": info, "timezone": {"name": "America/New_York", "bias": "-05:00"}}
        self._replies: dict[str, Reply] = {f"GET {path}": lambda _: ok(basics), **replies}

    def transport(self) -> httpx.MockTransport:
        """Return the transport that reaches it."""
        return httpx.MockTransport(self._answer)

    def connector(self, clock: Clock | None = None, **values: Any) -> TsApi:
        """Return a connector whose requests go here."""
        return TsApi(config(**values), context(clock), self.transport())

    @property
    def asked(self) -> list[str]:
        """What was asked after finding the server, without host."""
        return [f"{r.method} {r.url.raw_path.decode()}" for r in self.requests if not r.url.path.endswith("/info")]

    def query(self, index: int = -1) -> dict[str, list[str]]:
        """Return the parameters of a request."""
        return parse_qs(urlsplit(str(self.requests[index].url)).query, keep_blank_values=True)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self._replies.get(f"{request.method} {request.url.path}")
        if isinstance(reply, list):
            return reply.pop(0)
        if reply is None:
            return httpx.Response(404, json={"code": -1, "message": "Not found"})
        return reply if isinstance(reply, httpx.Response) else reply(request)
