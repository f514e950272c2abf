"""The action `webhook`: tell somebody over HTTP, signed, with the same id on every try."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from bridge.actions.endpoints import MAX_TIMEOUT, Delivery, Webhooks
from bridge.actions.envelope import CONTENT_TYPE, envelope
from bridge.contracts import ActionContext, ActionParams, ActionSpec, Known
from bridge.registry import unknown
from bridge.schema.orders import ActionClass, Order
from bridge.schema.text import HeaderText, JsonTemplate, UrlText
from bridge.schema.units import Duration, format_duration

_OURS = re.compile(r"webhook-.*|content-length|transfer-encoding|host|connection|upgrade", re.IGNORECASE)
"""Headers that are ours to set: the signature's, and those of the connection."""


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class WebhookParams(ActionParams):
    """POST the event as CloudEvents JSON; the `webhook-id` header is the order's id on every try."""

    to: str | None = Field(None, description="Name of a configured webhook.")
    url: UrlText | None = Field(None, description="Where to send, for a receiver that is not configured; unsigned.")
    with_: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        (), alias="with", description="Names of earlier steps whose results go along, in `data.steps`."
    )
    method: Literal["POST", "PUT", "PATCH"] = Field("POST", description="HTTP method.")
    body: JsonTemplate = Field(
        None, description="A body of your own: a text is sent as it is, anything else as JSON. Default: the event."
    )
    headers: dict[str, HeaderText] = Field(default_factory=dict, description="Headers to add.")
    timeout: Duration | None = Field(None, description="Give up on one try after this; default: the webhook's own.")

    @model_validator(mode="after")
    def _one_receiver(self) -> Self:
        if (self.to is None) == (self.url is None):
            raise ValueError("write exactly one of `to` and `url`")
        for name in self.headers:
            if _OURS.fullmatch(name):
                raise ValueError(f"the header {name} cannot be set")
        if self.timeout is not None and self.timeout > MAX_TIMEOUT:
            raise ValueError(f"a try lasts at most {format_duration(MAX_TIMEOUT)}")
        return self


async def run(params: WebhookParams, context: ActionContext) -> Mapping[str, JsonValue]:
    """Send once. Raises ActionError."""
    body, content_type = _content(params, context.order)
    headers = {name.lower(): value for name, value in params.headers.items()}
    delivery = Delivery(
        id=context.order.id,
        method=params.method,
        content_type=headers.pop("content-type", content_type),
        body=body,
        to=params.to,
        url=params.url,
        headers=headers,
        timeout=params.timeout,
    )
    return {"status": await context.services.get(Webhooks).send(delivery)}


def _content(params: WebhookParams, order: Order) -> tuple[bytes, str]:
    if params.body is None:
        return envelope(order, params.with_), CONTENT_TYPE
    if isinstance(params.body, str):
        return params.body.encode(), "text/plain; charset=utf-8"
    return json.dumps(params.body, ensure_ascii=False, separators=(",", ":")).encode(), "application/json"


def _check(params: WebhookParams, known: Known) -> Iterable[str]:
    if params.to is not None and known.webhooks is not None and params.to not in known.webhooks:
        yield unknown("webhook", params.to, known.webhooks)
    if params.url is None:
        return
    scheme, rest = params.url.partition("://")[::2]
    if scheme not in ("http", "https"):
        yield "the URL must begin with http:// or https://"
    elif "{{" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
        yield "the host of a URL cannot come from an event; only its path and query can"


def _target(params: WebhookParams, _order: Order) -> str:
    return f"webhook:{params.to or urlsplit(params.url or '').netloc}"


SPEC = ActionSpec(
    name="webhook",
    summary="Tell somebody over HTTP.",
    params=WebhookParams,
    action_class=ActionClass.INFORMATION,
    run=run,
    example="webhook: {to: backoffice}",
    shorthand="to",
    timeout=MAX_TIMEOUT + timedelta(seconds=5),
    check=_check,
    target=_target,
)
