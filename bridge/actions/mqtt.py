"""The action `mqtt`: publish a message."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Literal

from pydantic import Field, JsonValue

from bridge.actions.envelope import envelope
from bridge.actions.mqtt_client import MqttPublisher, check_topic
from bridge.contracts import ActionContext, ActionParams, ActionSpec, Known
from bridge.errors import ActionRejectedError
from bridge.schema.orders import ActionClass, Order
from bridge.schema.text import JsonTemplate, TopicText


class MqttParams(ActionParams):
    """Publish a message on the configured broker, below the configured prefix."""

    topic: TopicText = Field(description="Topic below the prefix; a space becomes `%20`.")
    payload: JsonTemplate = Field(
        None, description="What to publish: a text is sent as it is, anything else as JSON. Default: the event."
    )
    qos: Literal[0, 1, 2] = Field(1, description="MQTT quality of service; with 0 nobody confirms anything.")
    retain: bool = Field(
        False, description="The broker keeps it for later subscribers. An older retry never replaces a newer message."
    )


async def run(params: MqttParams, context: ActionContext) -> Mapping[str, JsonValue]:
    """Publish once. Raises ActionError."""
    published = await context.services.get(MqttPublisher).publish(
        params.topic,
        _payload(params, context.order),
        qos=params.qos,
        retain=params.retain,
        stamp=context.order.created,
    )
    return {"topic": params.topic} if published else {"topic": params.topic, "superseded": True}


def _payload(params: MqttParams, order: Order) -> bytes:
    if params.payload is None:
        return envelope(order)
    if isinstance(params.payload, str):
        return params.payload.encode()
    return json.dumps(params.payload, ensure_ascii=False, separators=(",", ":")).encode()


def _check(params: MqttParams, known: Known) -> Iterable[str]:
    if known.mqtt is False:
        yield "there is no `mqtt` in the configuration"
    try:
        check_topic(params.topic)
    except ActionRejectedError as exc:
        if "{{" not in params.topic:
            yield str(exc)


SPEC = ActionSpec(
    name="mqtt",
    summary="Publish a message.",
    params=MqttParams,
    action_class=ActionClass.INFORMATION,
    run=run,
    example="mqtt: {topic: 'gate/plates', payload: {plate: '{{ event.data.plate }}'}}",
    timeout=timedelta(seconds=15),
    check=_check,
)
