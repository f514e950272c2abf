"""The TS-API connector keeps what every connector promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import ClassVar

from bridge.sdk import ConnectorConfig, PayloadError, VmsEvent
from connectors.ts_api import SPEC
from connectors.ts_api.decode import DecodeContext, decode
from tests.connectors import contract

from .far_side import FarSide
from .support import API_KEY, DATA, config, samples

RECEIVED = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)


class TestTsApi(contract.ConnectorContract):
    spec = SPEC
    samples: ClassVar = {
        name: (DATA / f"{name}.json").read_bytes() for name in [*samples("event."), *samples("v1.ws.events.")]
    }

    def decode(self, message: bytes) -> Sequence[VmsEvent]:
        try:
            body = json.loads(message)
        except ValueError as exc:
            raise PayloadError("not_json", "not JSON") from exc
        return decode(body, context=DecodeContext(site=contract.SITE, source=contract.SOURCE, received=RECEIVED))

    def example(self) -> ConnectorConfig:
        return config(api_key=API_KEY)

    def far_side(self) -> AbstractAsyncContextManager[FarSide]:
        return FarSide().running()

    def good(self, number: int) -> bytes:
        stamp = f"2026-01-10T12:00:0{number}.000Z"
        plate = {"topic": "LPR", "timestamp": stamp, "chid": {"chid": 1}, "plateNo": f"12AB{number}", "score": 95}
        return json.dumps(plate).encode()
