"""Every error the bridge raises on purpose.

BridgeError
├── ConfigError                      the user edits a file; never retried; carries every problem found
│   └── RuleCompileError             the same, for rule files
├── StartError                       the bridge cannot start here; says the cause and the cure
├── ConnectorError
│   ├── ConnectorUnavailableError    retried with back-off
│   ├── ConnectorAuthError           retried slowly, shown in health; a person must act
│   └── ConnectorUnsupportedError    the system does not offer this (licence, switched off); retried slowly
├── PayloadError                     one bad message; parked as a dead letter, the rest goes on
├── StoreError
│   ├── StoreUnavailableError        cannot be written down now; the sender keeps it and tries again
│   └── StaleOwnerError              another owner has written since; drop everything, start over
└── ActionError
    ├── ActionUnavailableError       worth another try; may say when
    ├── ActionRejectedError          the far side said no; recorded, not retried
    └── ActionUnknownError           it may or may not have happened; never repeated when it actuates
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


class BridgeError(Exception):
    """Whatever the bridge raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a file the user wrote: where it is, what it is, and what to do."""

    file: str
    line: int
    column: int
    where: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.where}: {self.message}" if self.where else f"{place}: {self.message}"


class ConfigError(BridgeError):
    """A file must be edited before the bridge can use it. `problems` holds all that were found."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        found = [Problem("", 0, 0, "", problems)] if isinstance(problems, str) else list(problems)
        self.problems = tuple(sorted(found))
        super().__init__("\n".join(p.message if not p.file else str(p) for p in self.problems))


class RuleCompileError(ConfigError):
    """A rule set cannot be used; the last good one stays in force."""


class StartError(BridgeError):
    """The bridge cannot start here: a port or directory in use, a disk it cannot write to."""

    def __init__(self, cause: str, cure: str) -> None:
        self.cause, self.cure = cause, cure
        super().__init__(f"{cause}: {cure}")


class ConnectorError(BridgeError):
    """A source cannot be used at the moment."""


class ConnectorUnavailableError(ConnectorError):
    """The source does not answer, or answers nonsense; it is tried again with back-off."""


class ConnectorAuthError(ConnectorError):
    """The source refuses our credentials; it is tried again slowly and shown in health."""


class ConnectorUnsupportedError(ConnectorError):
    """The source does not offer this: not licensed, switched off, too old. Tried again slowly."""


class PayloadError(BridgeError):
    """One message cannot be understood. `reason` is a short code from a fixed list, for metrics."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class StoreError(BridgeError):
    """The durable log did not take a write."""


class StoreUnavailableError(StoreError):
    """Nothing was promised: the sender keeps the event and tries again after `retry_after`."""

    def __init__(self, message: str, retry_after: timedelta = timedelta(seconds=2)) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class StaleOwnerError(StoreError):
    """Somebody else owns this partition now; what was decided here was not written."""


class ActionError(BridgeError):
    """An action did not do what was asked."""


class ActionUnavailableError(ActionError):
    """The far side cannot do it now; worth another try, not before `retry_after` if given."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class ActionRejectedError(ActionError):
    """The far side said no, and would say no again. `reason` is a short code for metrics and traces."""

    def __init__(self, message: str, reason: str = "rejected") -> None:
        self.reason = reason
        super().__init__(message)


class ActionUnknownError(ActionError):
    """The request was sent and no answer came: it may have happened."""
