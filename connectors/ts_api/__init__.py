"""TS-API, the web API of TS Solution's TS-CMS, TS-NVR, TS-LPR and TS-IVR, in both of its dialects."""

from __future__ import annotations

from bridge.sdk import ConnectorSpec

from .config import TsApiConfig
from .connector import TsApi
from .push import PUSH
from .twins import READERS

SPEC = ConnectorSpec(
    name="ts-api",
    summary="TS-CMS, TS-NVR, TS-LPR and TS-IVR servers, over TS-API v0 and v1.",
    config=TsApiConfig,
    build=TsApi,
    push=PUSH,
    twins=READERS,
    simulator="connectors.ts_api.simulator.command:app",
)

__all__ = ["SPEC", "TsApi", "TsApiConfig"]
