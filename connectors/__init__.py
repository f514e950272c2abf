"""The video systems the bridge speaks to: one package or module each.

`BUILTIN` names where each connector's `SPEC` lives. Nothing is imported here: a system that is
not configured costs nothing.
"""

BUILTIN: dict[str, str] = {
    "ts-api": "connectors.ts_api:SPEC",
}
