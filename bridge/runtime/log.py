"""What the bridge says about itself: one line an entry, a constant message with fields, never a secret.

`extra={"source": "nvr1"}` on a call becomes a field. In a terminal the lines are for people, elsewhere they are JSON.
Every record of every library passes here, so that nothing leaves unmasked.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO

from bridge.runtime.redact import Redactor

_OWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
"""Attributes that every record has; whatever else it has was given as `extra`."""

_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_QUIET = {"asyncio": logging.INFO} | dict.fromkeys(("aiohttp", "httpcore", "httpx", "websockets"), logging.WARNING)
"""Libraries that say more than a reader of this log can use. httpx logs whole URLs, query and all."""


class RedactionFilter(logging.Filter):
    """Masks the message, its arguments, all fields and the exception of a record, before any formatter sees them."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record in place and let it through."""
        record.msg, record.args = self._redactor.text(_message(record)), ()
        for name, value in _fields(record).items():
            setattr(record, name, self._redactor.value(value, name))
        if record.exc_info and not record.exc_text:
            record.exc_text = _exception(record)
        if record.exc_text:
            record.exc_text = self._redactor.text(record.exc_text)
        record.exc_info = None  # what a formatter could still read from it is not masked
        if record.stack_info:
            record.stack_info = self._redactor.text(record.stack_info)
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _fields(record).items():
            entry[f"{name}_" if name in entry else name] = value
        if record.exc_text:
            entry["exception"] = record.exc_text
        if record.stack_info:
            entry["stack"] = record.stack_info
        return _writable(json.dumps(entry, ensure_ascii=False, default=str))


class TextFormatter(logging.Formatter):
    """`12:00:01.250 WARNING source lost  source=nvr1 reason=auth`, in the reader's own time."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and below it the exception if there is one."""
        time = _time(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{name}={_plain(value)}" for name, value in _fields(record).items())
        line = f"{time} {record.levelname:<7} {record.getMessage()}{'  ' if fields else ''}{fields}"
        below = [part for text in (record.exc_text, record.stack_info) if text for part in text.split("\n")]
        shown = [line.replace("\n", "\\n"), *below]
        return _writable("\n".join(map(_harmless, shown)))


def configure(
    level: Literal["debug", "info", "warning", "error"],
    form: Literal["auto", "json", "text"],
    redactor: Redactor,
    stream: TextIO | None = None,
) -> None:
    """Let everything go through one handler at the root, to `stream` (default: standard error).

    Also warnings and what would otherwise be printed when the process dies of an exception.
    """
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactionFilter(redactor))
    as_json = form == "json" or (form == "auto" and not out.isatty())
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(capture=True)
    sys.excepthook = _last_words


def _harmless(line: str) -> str:
    """Return a line without what a terminal obeys: colours, cursor, direction of writing, other line ends."""
    return _OBEYED.sub(lambda m: m[0].encode("unicode_escape").decode(), line)


def _writable(text: str) -> str:
    """Return the text without halves of characters, which no stream takes: the whole entry would be lost."""
    return text.encode(errors="backslashreplace").decode()


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("bridge").critical("the bridge stops on an unforeseen error", exc_info=(kind, error, trace))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a library's wrong format string must not print its arguments unmasked
        return f"{record.msg} (its arguments do not fit)"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN and not name.startswith("_")}


def _exception(record: logging.LogRecord) -> str:
    info = record.exc_info
    if not isinstance(info, tuple) or info[1] is None:
        return ""
    text = io.StringIO()
    traceback.print_exception(*info, file=text)
    return text.getvalue().rstrip("\n")


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if text and not set(text) & set(' "=\n\r\t') else json.dumps(text, ensure_ascii=False)
