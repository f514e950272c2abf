"""Ask the server and tell it what to do, with credentials, and with one retry when a token has run out.

`query` speaks of the source and raises connector errors; `command` speaks of an order and raises
action errors. Neither repeats anything else: that is for whoever can judge it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bridge.sdk import ActionError, ActionUnavailableError

from .auth import Credentials
from .failures import Failure, Kind, of_code
from .wire import Answer, Call, Wire


class Rest:
    """Requests to one server in one dialect."""

    def __init__(self, wire: Wire, credentials: Credentials, command_timeout: timedelta | None = None) -> None:
        self._wire = wire
        self._command_timeout = command_timeout
        self.credentials = credentials

    async def exchange(self, call: Call, *, within: timedelta | None = None) -> Answer | Failure:
        """Send it; once more with new credentials if the old ones had run out."""
        shown = await self.credentials.headers()
        if isinstance(shown, Failure):
            return shown
        answer = await self._wire.send(call, shown, within=within)
        if not isinstance(answer, Failure) or answer.kind is not Kind.UNAUTHORIZED:
            return answer
        if not await self.credentials.renew(shown):
            return answer
        renewed = await self.credentials.headers()
        return renewed if isinstance(renewed, Failure) else await self._wire.send(call, renewed, within=within)

    async def query(self, call: Call) -> Any:
        """Return what the server knows. Raises ConnectorError."""
        answer = await self.exchange(call)
        if isinstance(answer, Failure):
            raise answer.of_source()
        return answer.data

    async def command(self, call: Call, *, camera: bool = False) -> Any:
        """Have something done and return the answer, which only means that it was accepted.

        `camera`: HTTP 500 means that the camera is offline or cannot do it, so that nothing happened
        (v1 guide 1.1.0, PTZ). Raises ActionError.
        """
        answer = await self.exchange(call, within=self._command_timeout)
        if isinstance(answer, Failure):
            raise _error(answer, camera)
        check(answer.data, call.what)
        return answer.data


def _error(failure: Failure, camera: bool) -> ActionError:
    # v1 puts the device's result code into the body of a 400 or 500; -1 is the code of every v1 error.
    if failure.kind in (Kind.FAILED, Kind.INVALID) and failure.code is not None and failure.code < -1:
        return of_code(failure.code, "", failure.message)
    if failure.kind is Kind.FAILED and camera:
        return ActionUnavailableError(failure.message, failure.retry_after)
    return failure.of_order()


def check(data: Any, what: str) -> None:
    """Raise the error of an answer's result code, or of one of its parts'; none, or 0, is success."""
    for part in data if isinstance(data, list) else [data]:
        code = part.get("code") if isinstance(part, dict) else None
        if isinstance(code, int) and code != 0:
            message = part.get("message")
            raise of_code(code, message if isinstance(message, str) else "", what)
