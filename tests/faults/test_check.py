"""The checker itself: it says nothing of a faultless site, and finds each kind of fault in a doctored one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from bridge.bench.faults.check import CHECKS, MAX_AGE, Push, Seen, faults, off_late

NOW = 1_000_000.0
BOTH = ("open", "webhook")


def _read(n: int) -> dict[str, Any]:
    return {"id": f"e{n}", "type": "plate.read", "data": {"plate": f"P{n}"}}


def _result(n: int, action: str, outcome: str) -> dict[str, Any]:
    return {"order": f"{action}-{n}", "action": action, "outcome": outcome, "causes": [f"e{n}"]}


def _ended(result: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"ended-{result['order']}", "type": "action.ended", "data": {"order": result["order"]}}


def _relay(n: int, action: str, at: float) -> dict[str, Any]:
    return {"what": "relay", "token": f"r{n}", "action": action, "at": NOW + at}


def _hook(n: int, name: str | None = None) -> dict[str, Any]:
    return {"what": "hook", "plate": f"P{n}", "id": name or f"w{n}", "at": NOW + 1}


class Story:
    """P1 is fresh and is let in, P2 is five minutes old, P3 is let in and the bridge dies meanwhile."""

    def __init__(self) -> None:
        self.pushes = [
            Push("P1", NOW, 0, acked=True),
            Push("P2", NOW - 300, 300, acked=True),
            Push("P3", NOW + 2, 0, acked=True),
        ]
        self.device = [
            *(_relay(1, "on", 0.1), _relay(1, "off", 0.4), _hook(1)),
            *(_hook(2), _hook(2)),
            *(_relay(3, "on", 2.1), _relay(3, "off", 30.0), _relay(3, "off", 30.1), _hook(3)),
        ]
        self.results = [
            *(_result(1, "open", "done"), _result(1, "webhook", "done")),
            *(_result(2, "open", "expired"), _result(2, "webhook", "done")),
            *(_result(3, "open", "unknown"), _result(3, "webhook", "done")),
        ]
        self.events = [_read(1), _read(2), _read(3), *map(_ended, self.results)]
        self.lives = [(NOW - 5, NOW + 2.2), (NOW + 27, NOW + 40)]

    def seen(self) -> Seen:
        return Seen(self.pushes, self.device, self.events, self.results, self.lives, BOTH)


def _drop_event(story: Story) -> None:
    del story.events[0]


def _repeat_event(story: Story) -> None:
    story.events.append(deepcopy(story.events[0]))


def _read_twice_under_another_id(story: Story) -> None:
    story.events.append(_read(1) | {"id": "e1-again"})


def _invent_event(story: Story) -> None:
    story.events.append(_read(9))


def _double_on(story: Story) -> None:
    story.device.insert(1, _relay(1, "on", 0.2))


def _on_for_an_old_push(story: Story) -> None:
    story.device += [_relay(2, "on", 3), _relay(2, "off", 3.3)]


def _on_long_after_its_time(story: Story) -> None:
    story.device[0]["at"] = NOW + MAX_AGE + 5
    story.device[1]["at"] = NOW + MAX_AGE + 5.3


def _old_push_unknown(story: Story) -> None:
    story.results[2]["outcome"] = "unknown"


def _old_push_done(story: Story) -> None:
    story.results[2]["outcome"] = "done"


def _done_without_on(story: Story) -> None:
    del story.device[:2]


def _left_on(story: Story) -> None:
    del story.device[1]


def _off_before_on_only(story: Story) -> None:
    story.device[1]["at"] = NOW + 0.05


def _off_late_while_alive(story: Story) -> None:
    story.lives[1] = (NOW + 10, NOW + 40)


def _two_results(story: Story) -> None:
    story.results.append(_result(1, "open", "unknown"))


def _no_result(story: Story) -> None:
    del story.results[1]


def _end_told_twice(story: Story) -> None:
    story.events.append(_ended(story.results[0]) | {"id": "another"})


def _nobody_told(story: Story) -> None:
    story.device = [entry for entry in story.device if entry != _hook(1)]


def _told_under_two_ids(story: Story) -> None:
    story.device.append(_hook(1, "another"))


def _two_told_under_one_id(story: Story) -> None:
    story.device = [entry | {"id": "same"} if entry["what"] == "hook" else entry for entry in story.device]


def _delivery_given_up(story: Story) -> None:
    story.results[1]["outcome"] = "dead"


def _missing_clip_not_told(story: Story) -> None:
    story.results.append(_result(1, "clip", "refused"))


def _missing_clip_told_twice(story: Story) -> None:
    _missing_clip_not_told(story)
    story.events += [{"id": f"told-{n}", "type": "clip.failed", "data": {"order": "clip-1"}} for n in (1, 2)]


DOCTORED: list[tuple[Callable[[Story], None], str]] = [
    (_drop_event, "P1 was acknowledged and is lost"),
    (_repeat_event, "event e1 is stored 2 times"),
    (_read_twice_under_another_id, "P1 is stored 2 times"),
    (_invent_event, "P9 is stored and was never pushed"),
    (_double_on, "r1 was switched on 2 times"),
    (_on_for_an_old_push, "P2 was let in 303.0 s after its time"),
    (_on_long_after_its_time, "P1 was let in 35.0 s after its time"),
    (_old_push_unknown, "P2 was 300 s old and ended ['unknown']"),
    (_old_push_done, "P2 was 300 s old and ended ['done']"),
    (_done_without_on, "P1 is said to be let in, and its relay was never switched on"),
    (_left_on, "the relay of P1 stays on"),
    (_off_before_on_only, "the relay of P1 stays on"),
    (_two_results, "P1 has 2 results of open"),
    (_no_result, "P1 has 0 results of webhook"),
    (_end_told_twice, "the action.ended events are not one for each result"),
    (_nobody_told, "nobody was told of P1"),
    (_told_under_two_ids, "P1 was told under 2 ids"),
    (_two_told_under_one_id, "['P1', 'P2', 'P3'] were told under one id"),
    (_delivery_given_up, "telling of P1 ended ['dead']"),
    (_missing_clip_not_told, "clips are missing for ['clip-1'], and told is of []"),
    (_missing_clip_told_twice, "clips are missing for ['clip-1'], and told is of ['clip-1', 'clip-1']"),
]


def test_a_faultless_story_passes() -> None:
    """Of a site where everything went well, crash included, the checker says nothing."""
    assert faults(Story().seen()) == []


@pytest.mark.parametrize(("doctor", "said"), DOCTORED, ids=[doctor.__name__[1:] for doctor, _ in DOCTORED])
def test_a_doctored_story_is_caught(doctor: Callable[[Story], None], said: str) -> None:
    """Each kind of fault is found and named."""
    story = Story()
    doctor(story)
    assert any(said in fault for fault in faults(story.seen())), faults(story.seen())


def test_every_check_finds_something() -> None:
    """No check is idle: each finds at least one of the doctored stories by itself."""
    idle = set(CHECKS)
    for doctor, _ in DOCTORED:
        story = Story()
        doctor(story)
        idle -= {check for check in CHECKS if list(check(story.seen()))}
    assert not idle


def test_an_output_that_was_switched_off_late_is_slow() -> None:
    """Judged where time is: a busy machine may need longer."""
    story = Story()
    assert list(off_late(story.seen())) == []
    _off_late_while_alive(story)
    assert faults(story.seen()) == []
    assert list(off_late(story.seen())) == ["the relay of P3 was left on for 20.0 s by a bridge that was alive"]
