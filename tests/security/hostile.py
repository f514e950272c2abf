"""Texts that have broken out of something somewhere: what a camera, a plate or a name might say to us."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

BREAKERS = (
    "\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x1b[2J", "\x1b]0;x\x07", "\x7f", "\x85", "\x9b31m", "\u2028",
    "\u2029", "\u202e", "\ufeff", "\ud800", "\udfff", "\U0001f697", "%0d%0a", "%00", "%2e%2e%2f", "\\r\\n",
    "\\", "/", "//", "\\\\", "..", "../", "..\\", "/..", "./", "~", "*", ">", ".", "+", "#", "$", "$SYS/",
    "$JS.API.", "$KV.", "_", "%", "=", "&", "?", ";", ":", "@", "'", '"', "`", "<", "|", "(", ")", "[", "]",
    "{", "}", "{{", "}}", "${", "{%", "<!--", "-->", " ", "\t", "\u00a0", "\u3000", "\uff0e\uff0e\uff0f",
    "\u2044", "\u2215", "\u0130", "\u00df", "e\u0301",
)  # fmt: skip
FRAMES = ("{}", "{}a", "a{}", "a{}b", "{}a{}", "a{}{}b", "{}" * 5)
KNOWN = (
    "", " ", "../../../../etc/passwd", "..\\..\\..\\windows\\win.ini", "/etc/passwd", "C:\\x", "CON", "NUL",
    "aux.txt", "file:///etc/passwd", "a\r\nX-Injected: 1", "a\r\n\r\n<html>", "x\nNATS/1.0\r\n",
    "PUB vms.home.order.0.x 2\r\n{}\r\n", "MSG vms 1 2\r\nOK\r\n", "-ERR 'x'\r\n", "vms.home.order.0.evil",
    "*.>", "vms.>", "a.b.c.d.e.f.g.h", "$SYS.REQ.SERVER.PING", "$JS.API.STREAM.DELETE.VMS-home-EVENTS", "+/+/+",
    "#", "homeassistant/switch/x/config", "$share/g/#", "a/b/../c", "{{ event.data.plate }}", "{{ 7*7 }}",
    "{{ config }}", "${jndi:ldap://x/a}", "%s%s%s%n", "%(message)s", "{0.__class__}",
    "'; DROP TABLE events; --", "1 OR 1=1", "<script>alert(1)</script>", "__proto__", "constructor", "true",
    "null", "NaN", "Bearer x\r\nHost: evil", "=cmd|' /C calc'!A0", "+1", "-1", "@x", "\x1b[31mred\x1b[0m",
    "\b\b\b", "a\rb", '{"level": "error"}', '"}\n{"level": "critical", "message": "forged"', "x" * 129,
    "x" * 5000, "é" * 300, "\u202egnp.exe", "_INBOX.x", "a%", "%zz", "%41", "=41", "a b", "1,2,3", "a=b",
    "level=error msg=forged", "\ud83d", "\ufffe\uffff",
)  # fmt: skip


def texts() -> list[str]:
    """All of them, each once."""
    return list(dict.fromkeys(_all()))


def _all() -> Iterator[str]:
    yield from KNOWN
    for breaker, frame in product(BREAKERS, FRAMES):
        yield frame.format(*[breaker] * 5)
