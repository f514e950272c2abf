"""Why a message or an item was not taken: the one list of reason codes, however it came.

Codes stand in metrics, dead letters and answers, and never change their meaning. The same fault has the
same code on a socket, in a log and in a push.
"""

from __future__ import annotations

from collections.abc import Mapping

FLAWS: Mapping[str, str] = {
    "not_json": "it is not JSON; nor are `NaN`, numbers too large for a float, and half surrogates",
    "not_utf8": "it is not UTF-8",
    "not_object": "it is neither an object nor an array of objects, or the item is no object",
    "empty": "nothing is in it",
    "too_large": "it, or one part of it, has more bytes than are taken",
    "too_deep": "it is nested too deeply",
    "too_many_items": "it has more items or parts than are taken at once",
    "too_many_keys": "an item has too many members",
    "long_string": "a text is too long",
    "bad_text": "a text holds control characters, or what JSON cannot say",
    "duplicate_key": "a member stands twice in one object",
    "bad_name": "a code or name is too long to be filed under",
    "missing_field": "a member that is needed is not there",
    "bad_field": "a member is there and cannot be used",
    "unknown_topic": "nothing is known under this topic",
    "untagged": "it names no topic, and its shape is none of the known ones",
    "forbidden_topic": "the client may not push this topic",
    "forbidden_channel": "the client may not speak for this channel",
    "server_error": "the system itself said that something is wrong",
}
"""Every code in words. A test holds that nobody uses another one."""
