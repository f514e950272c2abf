"""What rules can do: one action a file, and the runner that carries orders out.

`BUILTIN` names where each action's `SPEC` lives. Nothing is imported here.
"""

BUILTIN: dict[str, str] = {
    "relay": "bridge.actions.relay:SPEC",
    "open": "bridge.actions.open:SPEC",
    "ptz": "bridge.actions.ptz:SPEC",
    "mqtt": "bridge.actions.mqtt:SPEC",
    "webhook": "bridge.actions.webhook:SPEC",
    "clip": "bridge.actions.clip:SPEC",
    "vms_trigger": "bridge.actions.vms_trigger:SPEC",
}
