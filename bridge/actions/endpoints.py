"""The configured webhooks: signature, headers, and who is left in peace for a while.

Signs as Standard Webhooks 1.0 asks, says what each status means for another try, and stops asking
a receiver that fails again and again. Secrets are used here and shown nowhere.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from pydantic import SecretStr

from bridge.actions.http_client import Answer, HttpClient
from bridge.clock import Clock
from bridge.config.models import WebhookConfig
from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.registry import unknown

_LOG = logging.getLogger(__name__)

BREAK_AFTER = 5
"""Failures in a row after which a receiver is left alone."""
REST = (30.0, 60.0, 120.0, 300.0)
"""Seconds it is left alone, for the first, second, ... time in a row; the last one repeats."""
MAX_TIMEOUT = timedelta(seconds=30)

_TRY_AGAIN = frozenset({408, 425, 429})
"""Of the 4xx, those that say: not now. All others say: not this request."""
_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try of sending one message. `id` is the same on every try."""

    id: str
    method: str
    content_type: str
    body: bytes = field(repr=False)
    to: str | None = None
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: timedelta | None = None


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    rests: int = 0
    until: float = 0.0
    probing: bool = False

    def ask(self, name: str, now: float) -> None:
        """Let a try through, or raise ActionUnavailableError; after a rest one try goes first."""
        if self.failures < BREAK_AFTER:
            return
        if now < self.until:
            rest = timedelta(seconds=self.until - now)
            raise ActionUnavailableError(f"{name} has failed {self.failures} times in a row and is left alone", rest)
        if self.probing:
            raise ActionUnavailableError(f"{name} is being tried again", timedelta(seconds=1))
        self.probing = True

    def answered(self) -> None:
        self.failures = self.rests = 0

    def failed(self, now: float) -> None:
        """Count a failure. What was under way when a rest began says nothing new, and makes it no longer."""
        if now < self.until:
            return
        self.failures += 1
        if self.failures >= BREAK_AFTER:
            self.until = now + REST[min(self.rests, len(REST) - 1)]
            self.rests += 1


class Webhooks:
    """The receivers of one site, and those that rules name by URL."""

    def __init__(self, targets: Mapping[str, WebhookConfig], http: HttpClient, clock: Clock) -> None:
        self._targets = targets
        self._http = http
        self._clock = clock
        self._breakers: dict[str, _Breaker] = {}
        self._gone: set[str] = set()

    @property
    def gone(self) -> frozenset[str]:
        """Receivers that answered 410 and are not asked any more until the bridge starts anew."""
        return frozenset(self._gone)

    async def send(self, delivery: Delivery) -> int:
        """Send once and return the status, a 2xx. Raises ActionUnavailableError, ActionRejectedError."""
        name, target = self._target(delivery)
        if name in self._gone:
            raise ActionRejectedError(f"{name} said that it is gone", "gone")
        breaker = self._breaker(name)
        breaker.ask(name, self._clock.monotonic())
        try:
            answer = await self._exchange(delivery, target)
            status = self._judge(name, answer)
        except ActionUnavailableError:
            breaker.failed(self._clock.monotonic())
            raise
        except ActionRejectedError:
            breaker.answered()
            raise
        else:
            breaker.answered()
            return status
        finally:
            breaker.probing = False

    def _target(self, delivery: Delivery) -> tuple[str, WebhookConfig]:
        if delivery.to is None:
            url = delivery.url or ""
            return urlsplit(url).hostname or "the receiver", WebhookConfig(url=url)
        target = self._targets.get(delivery.to)
        if target is None:
            raise ActionRejectedError(unknown("webhook", delivery.to, list(self._targets)), "unknown_webhook")
        return delivery.to, target

    def _breaker(self, name: str) -> _Breaker:
        if len(self._breakers) > 1000:  # names from templated URLs: nobody may fill our memory with them
            self._breakers.clear()
        return self._breakers.setdefault(name, _Breaker())

    async def _exchange(self, delivery: Delivery, target: WebhookConfig) -> Answer:
        timestamp = int(self._clock.now().timestamp())
        headers = {name: value.get_secret_value() for name, value in target.headers.items()}
        headers |= delivery.headers
        headers |= {
            "content-type": delivery.content_type,
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
        }
        secrets = [*([target.secret] if target.secret is not None else []), *target.secrets]
        if secrets:
            headers["webhook-signature"] = signature(delivery.id, timestamp, delivery.body, secrets)
        return await self._http.send(
            delivery.method,
            target.url,
            headers,
            delivery.body,
            timeout=min(delivery.timeout or target.timeout, MAX_TIMEOUT),
            allow_private=target.allow_private,
            ca_file=target.ca_file,
        )

    def _judge(self, name: str, answer: Answer) -> int:
        status = answer.status
        if 200 <= status < 300:
            return status
        if status == 410:
            self._gone.add(name)
            _LOG.error("a webhook is gone and is not sent to any more", extra={"webhook": name})
            raise ActionRejectedError(f"{name} said that it is gone (410)", "gone")
        if status >= 500 or status in _TRY_AGAIN:
            raise ActionUnavailableError(
                f"{name} answered {status}", retry_after(answer.retry_after, self._clock.now())
            )
        if 300 <= status < 400:
            raise ActionRejectedError(f"{name} answered {status}; redirects are not followed", "redirected")
        raise ActionRejectedError(f"{name} answered {status}", "rejected")


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """Read a `Retry-After` header: seconds or a date (RFC 9110, 10.2.3). None if there is none that can be read."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return timedelta(seconds=min(int(value.strip()), 10**9))
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(date.replace(tzinfo=date.tzinfo or UTC) - now, timedelta(0))


def signature(message: str, timestamp: int, body: bytes, secrets: Iterable[SecretStr]) -> str:
    """Return the `webhook-signature` of Standard Webhooks 1.0: one `v1` for each secret, the newest first.

    Raises ActionRejectedError for a secret that is not base64.
    """
    signed = b".".join((message.encode(), str(timestamp).encode(), body))
    digests = (hmac.new(_key(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _key(secret: SecretStr) -> bytes:
    encoded = secret.get_secret_value().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ActionRejectedError("a webhook secret is not `whsec_` and base64", "bad_secret") from exc
    if not key:
        raise ActionRejectedError("a webhook secret is empty", "bad_secret")
    return key
