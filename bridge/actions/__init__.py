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
    "emit": "bridge.actions.own:EMIT",
    "set_mode": "bridge.actions.own:SET_MODE",
    "set_state": "bridge.actions.own:SET_STATE",
    "add_to_list": "bridge.actions.own:ADD_TO_LIST",
    "remove_from_list": "bridge.actions.own:REMOVE_FROM_LIST",
}
