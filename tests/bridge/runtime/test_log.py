"""One line an entry, for people or programs, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest

from bridge.runtime.log import configure
from bridge.runtime.redact import Redactor

CANARY = "cAnArY0815"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """A stream, with the process's logging as it was put back afterwards."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook
    logging.captureWarnings(capture=False)


def _redactor() -> Redactor:
    redactor = Redactor()
    redactor.add(CANARY)
    return redactor


def _entries(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_fields_of_a_call_are_fields_of_the_entry(out: io.StringIO) -> None:
    """A constant message, the rest beside it; a field cannot take an attribute's place."""
    configure("info", "json", _redactor(), out)
    logging.getLogger("bridge.x").warning("source lost", extra={"source": "nvr1", "topics": ["LPR"], "level": 3})
    (entry,) = _entries(out)
    time = str(entry.pop("time"))
    assert time.endswith("Z")
    assert entry == {
        "level": "warning",
        "logger": "bridge.x",
        "message": "source lost",
        "source": "nvr1",
        "topics": ["LPR"],
        "level_": 3,
    }


def test_text_is_one_line_that_can_be_read(out: io.StringIO) -> None:
    """Values with spaces are quoted; a line break in a message does not fake another entry."""
    configure("info", "text", _redactor(), out)
    logging.getLogger("x").info("a\nb", extra={"reason": "no answer", "n": 3, "empty": ""})
    (line,) = out.getvalue().splitlines()
    assert line[13:] == 'INFO    a\\nb  reason="no answer" n=3 empty=""'


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_part_of_an_entry_lets_a_secret_out(out: io.StringIO, form: str) -> None:
    """Message, arguments, fields, exception, its causes and notes, and the stack."""
    configure("debug", form, _redactor(), out)  # type: ignore[arg-type]
    log = logging.getLogger("x")
    log.info("direct %s" % CANARY)  # noqa: UP031
    log.info("argument %s %s", CANARY, {"deep": [CANARY]})
    log.info("named %(a)s", {"a": CANARY})
    log.info("field", extra={"url": f"http://h/?auth={CANARY}", "deep": {"x": [CANARY]}, "obj": ValueError(CANARY)})
    log.info(ValueError(CANARY))
    log.info("wrong arguments %d", CANARY)
    log.info("stack", stack_info=True)
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as cause:
            cause.add_note(CANARY)
            raise RuntimeError(f"http://u:{CANARY}@h") from cause
    except RuntimeError:
        log.exception("failed")
    text = out.getvalue()
    assert CANARY not in text
    assert "RuntimeError" in text
    assert "The above exception was the direct cause" in text
    assert "its arguments do not fit" in text


def test_what_would_be_printed_at_the_end_is_logged(out: io.StringIO) -> None:
    """An exception nobody caught and a warning pass the same net."""
    configure("info", "json", _redactor(), out)
    try:
        raise ValueError(f"token={CANARY}")
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"password={CANARY}", stacklevel=1)
    last, warned = _entries(out)
    assert last["level"] == "critical"
    assert warned["logger"] == "py.warnings"
    assert CANARY not in out.getvalue()


def test_a_chatty_library_does_not_log_urls(out: io.StringIO) -> None:
    """httpx writes every address it asks, at `info`; that stays out."""
    configure("info", "json", _redactor(), out)
    logging.getLogger("httpx").info("HTTP Request: GET http://h/")
    assert out.getvalue() == ""


def test_auto_is_json_where_nobody_reads(out: io.StringIO) -> None:
    """A stream that is no terminal gets JSON."""
    configure("info", "auto", _redactor(), out)
    logging.getLogger("x").info("hello")
    assert _entries(out)[0]["message"] == "hello"
