"""The host of the application's subscribers: one FastStream broker, and what every subscriber gets around it.

`subscribe` is the only way to register one, so none can be without its acknowledgement policy: under
FastStream's default a message whose handler raised is gone. Here it comes again, later each time; what
fails again and again for a reason of its own goes to the dead letters before it is let go of, and an
outage of the store is nobody's fault and waited out. The hot loops are not here; docs/design/faststream.md
says why, and why FastStream has a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import nats.errors
from faststream import AckPolicy, BaseMiddleware
from faststream.exceptions import FastStreamException, HandlerException, NackMessage, RejectMessage
from faststream.nats import JStream, NatsBroker, NatsMessage
from faststream.security import BaseSecurity, SASLPlaintext
from faststream.specification import AsyncAPI
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy
from pydantic import SecretStr, ValidationError

import bridge
from bridge.bus.connect import Connection
from bridge.contracts import DeadLetters
from bridge.errors import StoreError
from bridge.schema.base import Record

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=Record)

POISON_AFTER = 5
"""Deliveries after which a message whose handler raises is given up."""
BACK_OFF = (0.05, 0.5, 2.0, 10.0)
"""Seconds after which a message comes again, by how often it was delivered; the last one from then on."""
_ACK_WAIT = 30.0
_IN_HAND = 256
_STOP_GRACE = 5.0
_RESTART = (0.1, 1.0, 5.0)

Outcome = Literal["done", "later", "poison"]


class SubscriberObserver(Protocol):
    """Told what became of each delivery."""

    def handled(self, subscriber: str, outcome: Outcome, seconds: float) -> None:
        """A subscriber has dealt with a message."""
        ...


@dataclass(frozen=True, slots=True)
class Subscriber(Generic[M]):
    """One reader of a stream. `name` is the durable consumer's; readers of one name share the messages."""

    name: str
    subject: str
    stream: str
    model: type[M]
    handle: Callable[[M, int], Awaitable[None]]
    description: str


class _Told(NamedTuple):
    """What subscribers write, for the document alone."""

    title: str
    subject: str
    model: type[Record]
    description: str


class Host:
    """Every subscriber of the process. Register all of them, then open it."""

    def __init__(
        self,
        servers: tuple[str, ...],
        credentials: tuple[str, SecretStr | None] | None,
        manners: Mapping[str, Any],
        dead: DeadLetters,
        observer: SubscriberObserver | None = None,
    ) -> None:
        self._servers, self._credentials, self._manners = servers, credentials, manners
        self._care = partial(_Care, dead=dead, observer=observer)
        self._subscribers: dict[str, Subscriber[Any]] = {}
        self._told: list[_Told] = []
        self._closed = asyncio.Event()
        self._over = False

    @classmethod
    def beside(cls, connection: Connection, dead: DeadLetters, observer: SubscriberObserver | None = None) -> Host:
        """Return one that connects as `connection` does."""
        return cls(connection.servers, connection.credentials, connection.manners, dead, observer)

    def subscribe(
        self,
        name: str,
        subject: str,
        stream: str,
        model: type[M],
        handle: Callable[[M, int], Awaitable[None]],
        description: str,
    ) -> None:
        """Have `handle` called with every message of a stream and its sequence, at least once, one at a time.

        It may raise: StoreError brings the message again until it does not; another error does so
        `POISON_AFTER` times. A message that is not a `model` is a dead letter at once.
        """
        if name in self._subscribers:
            raise ValueError(f"there is a subscriber {name} already")
        self._subscribers[name] = Subscriber(name, subject, stream, model, handle, description)

    def tells(self, title: str, subject: str, model: type[Record], description: str) -> None:
        """Say in the document what a subscriber writes."""
        self._told.append(_Told(title, subject, model, description))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Host]:
        """Run the subscribers until the end. They are there soon, or as soon as the server is."""
        task = asyncio.create_task(self._run(), name="subscribers")
        try:
            yield self
        finally:
            # Told as well as cancelled: Python 3.11's `wait_for`, which nats-py uses, may swallow a cancellation.
            self._over = True
            self._closed.set()
            task.cancel()
            await asyncio.wait((task,))

    def document(self) -> str:
        """Return the AsyncAPI document."""
        title = "VMS event bridge: subscribers"
        schema = AsyncAPI(self._broker(), title=title, version=bridge.__version__).to_specification().to_jsonable()
        schema["components"] = _in_order(schema["components"])
        return json.dumps(_in_order(schema), indent=1, ensure_ascii=False) + "\n"

    # --- the broker -------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Keep a broker running. nats-py closes a connection for good on errors that are none; then a new one."""
        failures = 0
        while not self._over:
            self._closed.clear()
            try:
                async with self._started():
                    if failures:
                        _log.info("the subscribers are back")
                    failures = 0
                    await self._closed.wait()
                if not self._over:
                    _log.warning("the subscribers' connection was closed; they begin again")
            except (nats.errors.Error, FastStreamException, TimeoutError, OSError) as exc:
                if not failures:
                    _log.warning("the subscribers cannot begin", extra={"error": str(exc) or type(exc).__name__})
                failures += 1
            except Exception:  # noqa: BLE001 - the edge of a supervised task: subscribers must come back
                _log.exception("the subscribers have failed")
                failures += 1
            if not self._over:
                await asyncio.sleep(_RESTART[min(failures, len(_RESTART) - 1)])

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[None]:
        broker = self._broker()
        client: Client | None = None
        try:
            async with asyncio.timeout(30):
                client = await broker.connect()
                await broker.start()
            yield
        finally:
            try:
                await broker.stop()
            except* (nats.errors.Error, OSError, TimeoutError):
                _log.debug("the subscribers' connection was gone before they were stopped")
            if client is not None and not client.is_closed:
                await client.close()

    def _broker(self) -> NatsBroker:
        """Return a broker with all subscribers. It logs nothing: what there is to say we say, without contents."""
        broker = NatsBroker(
            list(self._servers),
            security=_security(self._credentials),
            closed_cb=self._on_closed,
            drain_timeout=int(_STOP_GRACE),
            graceful_timeout=_STOP_GRACE,
            middlewares=[self._care],
            apply_types=False,
            decoder=_as_it_is,
            logger=None,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            **self._manners,
        )
        for subscriber in self._subscribers.values():
            _register(broker, subscriber)
        for told in self._told:
            broker.publisher(told.subject, title=told.title, schema=told.model, description=told.description)
        return broker

    async def _on_closed(self) -> None:
        self._closed.set()


def _in_order(part: Mapping[str, Any]) -> dict[str, Any]:
    """Sort what the parts hold: FastStream keeps its subscribers in a set, so they come in any order."""
    return {name: dict(sorted(value.items())) if isinstance(value, dict) else value for name, value in part.items()}


def _register(broker: NatsBroker, subscriber: Subscriber[Any]) -> None:
    """Register one with FastStream: a queue group, so that a restarted process finds its place free."""

    async def handle(message: Any) -> None:
        body = subscriber.model.model_validate_json(message.body)
        await subscriber.handle(body, message.raw_message.metadata.sequence.stream)

    handle.__name__ = subscriber.name
    handle.__annotations__["message"] = subscriber.model  # what the document shows; FastStream validates nothing here
    broker.subscriber(
        subscriber.subject,
        queue=subscriber.name,
        stream=JStream(subscriber.stream, declare=False),
        config=ConsumerConfig(
            durable_name=subscriber.name,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=_ACK_WAIT,
            max_ack_pending=_IN_HAND,
            max_deliver=-1,
        ),
        ack_policy=AckPolicy.NACK_ON_ERROR,
        no_reply=True,
        title=subscriber.name,
        description=subscriber.description,
    )(handle)


async def _as_it_is(message: NatsMessage) -> NatsMessage:
    """Decode nothing: a handler's wrapper does, where a failure is counted and cared for."""
    return message


class _Care(BaseMiddleware[Any, Any]):
    """What happens around every handler: measure, and decide what becomes of a message that failed."""

    def __init__(self, msg: Any, /, *, context: Any, dead: DeadLetters, observer: SubscriberObserver | None) -> None:
        super().__init__(msg, context=context)
        self._dead, self._observer = dead, observer

    async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> Any:
        """Call the handler. Raises FastStream's words for "again later" and "let go of"."""
        place = msg.raw_message.metadata
        began = asyncio.get_running_loop().time()
        outcome: Outcome = "done"
        try:
            return await call_next(msg)
        except HandlerException:
            raise
        except StoreError as exc:
            outcome = "later"
            _log.debug("put off: %s", exc, extra={"subscriber": place.consumer})
            raise _later(place.num_delivered) from exc
        except ValidationError as exc:
            outcome = "poison"
            first = exc.errors(include_url=False, include_input=False)[0]
            await self._bury(msg, "unreadable", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
            raise RejectMessage from exc
        except Exception as exc:
            outcome = "poison" if place.num_delivered >= POISON_AFTER else "later"
            _log.exception("a subscriber failed", extra={"subscriber": place.consumer, "tries": place.num_delivered})
            if outcome == "later":
                raise _later(place.num_delivered) from exc
            await self._bury(msg, "poison", f"{type(exc).__name__}: {exc}")
            raise RejectMessage from exc
        finally:
            if self._observer is not None:
                seconds = asyncio.get_running_loop().time() - began
                self._observer.handled(place.consumer, outcome, seconds)

    async def _bury(self, msg: Any, reason: str, error: str) -> None:
        """Put a message among the dead letters; if that cannot be done now it comes again."""
        place = msg.raw_message.metadata
        _log.error("a message is given up", extra={"subscriber": place.consumer, "reason": reason})
        headers = {
            "Subject": msg.raw_message.subject,
            "Subscriber": place.consumer,
            "Stream-Sequence": str(place.sequence.stream),
            "Tries": str(place.num_delivered),
            "Error": error,
        }
        try:
            await self._dead.bury("record", reason, msg.body, headers)
        except StoreError as exc:
            raise _later(place.num_delivered) from exc


def _later(delivered: int) -> NackMessage:
    return NackMessage(delay=BACK_OFF[min(delivered, len(BACK_OFF)) - 1])


def _security(credentials: tuple[str, SecretStr | None] | None) -> BaseSecurity | None:
    if credentials is None:
        return None
    username, password = credentials
    return SASLPlaintext(username, password.get_secret_value() if password else "")
