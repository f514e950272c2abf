"""The path from an order to its effect.

Gate, claim in the ledger, gate again, one try with a hard time limit, record, acknowledge; in this
order, so that whatever dies in between leaves a record that says what may have happened. The record
is the end: who wants to know of it reads the ledger. Decides when to try again and when to stop; how
an action works it does not know.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from pydantic import JsonValue, TypeAdapter, ValidationError

from bridge.actions.lanes import Job
from bridge.actions.plan import Plan, Unusable
from bridge.actions.records import burial, ended_effect, result_of, started_effect, waiting_effect
from bridge.actions.retry import delay_before
from bridge.actions.tally import Tally
from bridge.clock import Clock
from bridge.contracts import ActionContext, Claimed, DeadLetters, EffectLedger, Services
from bridge.crashpoint import crash_point
from bridge.errors import (
    ActionRejectedError,
    ActionUnavailableError,
    ActionUnknownError,
    StaleOwnerError,
    StoreUnavailableError,
)
from bridge.safety.gate import Gate, Verdict
from bridge.safety.reasons import Reason
from bridge.schema.kinds import Outcome
from bridge.schema.orders import AT_MOST_ONCE, ActionClass, Effect, Order, Result
from bridge.uncancelled import uncancelled

_LOG = logging.getLogger(__name__)

POISON_AFTER = 5
"""Tries after which an action that fails in a way it should not is given up."""
_SOON = timedelta(seconds=1)
_EARLY = timedelta(milliseconds=50)
_OUTPUT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
_EXPIRES = frozenset({Reason.EXPIRED.value, Reason.TOO_OLD.value})
_SUPERSEDED = Verdict("refuse", Reason.SUPERSEDED)


class EffectPath:
    """The path, for one runner. Stateless: everything it knows is in the ledger."""

    def __init__(
        self,
        ledger: EffectLedger,
        dead: DeadLetters,
        services: Services,
        gate: Gate,
        clock: Clock,
        executor: str,
        tally: Tally,
    ) -> None:
        self._ledger = ledger
        self._dead = dead
        self._services = services
        self._gate = gate
        self._clock = clock
        self._executor = executor
        self._tally = tally

    async def walk(self, job: Job) -> timedelta | None:
        """Go once along the path; return how long until the next time, None when the order has ended.

        Raises StoreError when the ledger or the dead letters cannot be written now; it is safe to walk again.
        """
        if isinstance(job.planned, Unusable):
            return await self._unusable(job, job.planned)
        return await self._pass(job, job.planned)

    async def _pass(self, job: Job, planned: Plan) -> timedelta | None:
        """Go once through the path; return how long until the next pass, None when the order has ended."""
        crash_point("effect.taken")
        verdict = self._verdict(job, planned)
        crash_point("effect.gated")
        if not verdict.go:
            result = result_of(job.order, self._clock.now(), *_end_of(verdict))
            claimed = await self._ledger.claim(ended_effect(job.order, self._executor, result))
            return await self._resume(job, planned, verdict) if claimed is None else await self._finish(job, result)
        claimed = await self._ledger.claim(self._started(job, planned, 1, self._clock.now()))
        if claimed is None:
            return await self._resume(job, planned, verdict)
        return await self._try(job, planned, claimed)

    async def _resume(self, job: Job, planned: Plan, verdict: Verdict) -> timedelta | None:
        """Go on with an order that has a record: a retry, a redelivery, or what a crash left behind."""
        found = await self._ledger.find(job.order.id)
        crash_point("effect.found")
        if found is None:
            return _SOON
        effect, now = found.effect, self._clock.now()
        if effect.result is not None:
            return await self._finish(job, effect.result, of_earlier=not job.known)
        left = effect.next_try - now if effect.next_try is not None else timedelta(0)
        if effect.status == "started":
            if effect.executor != self._executor and left > timedelta(0):
                return left
            if planned.action_class in AT_MOST_ONCE:
                return await self._end(job, found, "unknown", Reason.INTERRUPTED)
        elif left > _EARLY and verdict.go:
            return left
        if not verdict.go:
            return await self._end(job, found, *_end_of(verdict))
        started = self._started(job, planned, effect.attempt + 1, effect.claimed)
        return await self._try(job, planned, await self._ledger.update(found, started))

    async def _try(self, job: Job, planned: Plan, claimed: Claimed) -> timedelta | None:
        """Try once what is claimed."""
        crash_point("effect.claimed")
        verdict = self._verdict(job, planned)
        if not verdict.go:
            return await self._end(job, claimed, *_end_of(verdict))
        attempt, began = claimed.effect.attempt, self._clock.now()
        try:
            output = await self._act(job.order, planned, attempt)
        except ActionRejectedError as exc:
            outcome: Outcome = "expired" if exc.reason in _EXPIRES else "refused"
            return await self._end(job, claimed, outcome, exc.reason, str(exc), began)
        except ActionUnavailableError as exc:
            return await self._again(job, planned, claimed, str(exc), exc.retry_after)
        except (ActionUnknownError, TimeoutError) as exc:
            error = str(exc) or f"no answer within {planned.spec.timeout.total_seconds():g} s"
            return await self._unanswered(job, planned, claimed, error, began)
        except Exception as exc:  # noqa: BLE001 - the edge: an action may raise anything, also one from outside
            _LOG.exception("an action failed in an unexpected way", extra={"order": job.order.id})
            return await self._broken(job, planned, claimed, f"{type(exc).__name__}: {exc}", began)
        crash_point("effect.acted")
        return await self._end(job, claimed, "done", None, None, began, output)

    async def _act(self, order: Order, planned: Plan, attempt: int) -> dict[str, JsonValue]:
        context = ActionContext(order, attempt, self._clock, self._services)
        async with asyncio.timeout(planned.spec.timeout.total_seconds()):
            with uncancelled():
                output = await planned.spec.run(planned.params, context)
        try:
            return _OUTPUT.validate_python(dict(output))
        except (ValidationError, TypeError, ValueError) as exc:
            _LOG.error("an action gave an output that is not JSON", extra={"action": order.action, "error": str(exc)})
            return {}

    async def _again(
        self, job: Job, planned: Plan, claimed: Claimed, error: str, retry_after: timedelta | None = None
    ) -> timedelta | None:
        """Plan the next try, or end the order when there is no time for one."""
        effect, now = claimed.effect, self._clock.now()
        delay = delay_before(effect.attempt, planned.action_class, retry_after)
        latest = self._gate.latest_start(job.order, planned.spec, planned.params)
        if latest is not None and now + delay > latest:
            return await self._end(job, claimed, "expired", Reason.TOO_OLD, error)
        releasing = planned.action_class is ActionClass.RELEASING
        if not releasing and now + delay > effect.claimed + planned.spec.give_up_after:
            return await self._give_up(job, claimed, Reason.GAVE_UP, error)
        if await self._record(claimed, waiting_effect(effect, now + delay, error)) is None:
            return _SOON
        crash_point("effect.waiting")
        self._tally.failed(job.order, effect.attempt, error)
        return delay

    async def _unanswered(
        self, job: Job, planned: Plan, claimed: Claimed, error: str, began: datetime
    ) -> timedelta | None:
        if planned.action_class in AT_MOST_ONCE:
            return await self._end(job, claimed, "unknown", Reason.NO_ANSWER, error, began)
        return await self._again(job, planned, claimed, error)

    async def _broken(self, job: Job, planned: Plan, claimed: Claimed, error: str, began: datetime) -> timedelta | None:
        repeats = planned.action_class in (ActionClass.INFORMATION, ActionClass.TRANSIENT)
        if repeats and claimed.effect.attempt >= POISON_AFTER:
            return await self._give_up(job, claimed, Reason.POISON, error)
        return await self._unanswered(job, planned, claimed, error, began)

    async def _give_up(self, job: Job, claimed: Claimed, reason: Reason, error: str) -> timedelta | None:
        await self._bury(job.order, reason, error, claimed.effect.attempt)
        return await self._end(job, claimed, "dead", reason, error)

    async def _unusable(self, job: Job, unusable: Unusable) -> timedelta | None:
        """End an order that this version cannot read, unless another one has ended it."""
        found = await self._ledger.find(job.order.id)
        if found is not None and found.effect.result is not None:
            return await self._finish(job, found.effect.result, of_earlier=not job.known)
        await self._bury(job.order, unusable.reason, unusable.detail, 0)
        if found is not None:
            return await self._end(job, found, "dead", unusable.reason, unusable.detail)
        result = result_of(job.order, self._clock.now(), "dead", unusable.reason, unusable.detail)
        claimed = await self._ledger.claim(ended_effect(job.order, self._executor, result))
        return _SOON if claimed is None else await self._finish(job, result)

    # --- the end -------------------------------------------------------------------------------

    async def _end(
        self,
        job: Job,
        claimed: Claimed,
        outcome: Outcome,
        reason: str | None,
        message: str | None = None,
        began: datetime | None = None,
        output: dict[str, JsonValue] | None = None,
    ) -> timedelta | None:
        attempts = claimed.effect.attempt
        result = result_of(job.order, self._clock.now(), outcome, reason, message, attempts, began, output)
        ended = claimed.effect.model_copy(update={"status": "ended", "next_try": None, "result": result})
        recorded = await self._record(claimed, ended)
        if recorded is None:
            return _SOON
        return await self._finish(job, recorded.effect.result or result)

    async def _record(self, claimed: Claimed, effect: Effect) -> Claimed | None:
        """Write what happened, however long it takes; None when another runner has taken the order over.

        A write that seemed to fail may have been stored: then it is found and counts.
        """
        while True:
            try:
                return await self._ledger.update(claimed, effect)
            except StoreUnavailableError as exc:
                _LOG.warning("what happened to an order cannot be written down yet", extra={"order": effect.order})
                await self._clock.sleep(max(exc.retry_after, _SOON).total_seconds())
            except StaleOwnerError:
                return await self._found_changed(effect)

    async def _found_changed(self, effect: Effect) -> Claimed | None:
        found = await self._ledger.find(effect.order)
        if found is not None and (found.effect.result is not None or found.effect == effect):
            return found
        _LOG.warning("another runner has taken an order over", extra={"order": effect.order})
        return None

    async def _finish(self, job: Job, result: Result, *, of_earlier: bool = False) -> timedelta | None:
        """Let go of an order whose end is recorded; None, as for every order that has ended."""
        crash_point("effect.recorded")
        if result.outcome == "unknown":
            _LOG.error(
                "it is not known whether an order was carried out",
                extra={"order": result.order, "rule": result.rule, "action": result.action, "reason": result.reason},
            )
        await self._tell(job, result)
        await job.pending.done()
        crash_point("effect.acked")
        if of_earlier:
            self._tally.forget(result.order)
        else:
            self._tally.ended(result)
        return None

    async def _tell(self, job: Job, result: Result) -> None:
        """Let the action say in its own words that it was not done."""
        planned = job.planned
        if result.outcome == "done" or isinstance(planned, Unusable) or planned.spec.failed is None:
            return
        context = ActionContext(job.order, result.attempts, self._clock, self._services)
        try:
            await planned.spec.failed(planned.params, result, context)
        except ActionRejectedError as exc:
            _LOG.warning("nobody can be told that an action failed", extra={"error": str(exc)})
        crash_point("effect.told")

    async def _bury(self, order: Order, reason: Reason, error: str, attempts: int) -> None:
        _LOG.error("an order is given up", extra={"order": order.id, "reason": reason.value, "error": error})
        await self._dead.bury(
            order.action_class.value, reason.value, order.encode(), burial(order, reason, error, attempts)
        )
        crash_point("effect.buried")

    def _started(self, job: Job, planned: Plan, attempt: int, claimed: datetime) -> Effect:
        return started_effect(job.order, planned, self._executor, attempt, claimed, self._clock.now())

    def _verdict(self, job: Job, planned: Plan) -> Verdict:
        if job.superseded:
            return _SUPERSEDED
        return self._gate.check(job.order, planned.spec, planned.params)


def _end_of(verdict: Verdict) -> tuple[Outcome, Reason | None]:
    return ("expired" if verdict.decision == "expire" else "refused"), verdict.reason
