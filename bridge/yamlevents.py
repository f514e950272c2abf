"""The events of a YAML parser, each with its place: by libyaml where that is safe, else by ruamel's own parser.

libyaml (through PyYAML) is twenty times as quick and reads YAML 1.1. The two differ in what a line break is
and in a few corners, so it is given only texts without those; a text that it refuses is read again by ruamel,
which keeps to YAML 1.2 and whose messages users see. What a value means is decided by neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import events as own

try:
    import yaml
    from yaml import events as other
    from yaml.cyaml import CParser
except ImportError:  # PyYAML without its C part, or not there at all: slower, and the same
    yaml, other, CParser = None, own, None

Event = Any
AliasEvent = (own.AliasEvent, other.AliasEvent)
DocumentStartEvent = (own.DocumentStartEvent, other.DocumentStartEvent)
MappingEndEvent = (own.MappingEndEvent, other.MappingEndEvent)
MappingStartEvent = (own.MappingStartEvent, other.MappingStartEvent)
ScalarEvent = (own.ScalarEvent, other.ScalarEvent)
SequenceEndEvent = (own.SequenceEndEvent, other.SequenceEndEvent)
SequenceStartEvent = (own.SequenceStartEvent, other.SequenceStartEvent)
"""Each is what the event may be an instance of, whichever parser made it."""

_UNSAFE = re.compile(
    r"""[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]  # see below
    | ^%                        # a directive
    | (?:^|[\s\[{,])\?(?:\s|$)  # a key that is more than a word
    | [|>][-+0-9]*\#            # a comment without its space
    | (?:^|\s)!(?:\s|$)         # a tag without a name
    """,
    re.MULTILINE | re.VERBOSE,
)
"""Where the two differ: line breaks that only one knows, tabs, control characters, marks of byte order, halves of
surrogate pairs, and what the comments say. A person writes hardly any of it."""


class QuickParserError(Exception):
    """libyaml cannot read this."""


def quick_events(text: str) -> Iterator[Event] | None:
    """Return the events by libyaml; None where it is not there, or might understand something else."""
    return None if CParser is None or _UNSAFE.search(text) else _events(text)


def _events(text: str) -> Iterator[Event]:
    parser = CParser(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    except (yaml.YAMLError, UnicodeError) as error:
        raise QuickParserError from error
    finally:
        parser.dispose()
