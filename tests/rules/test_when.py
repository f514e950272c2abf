"""What is wrong in a `when`, and how that is told."""

from __future__ import annotations

import pytest

from tests.rules.support import KNOWN, problems_of


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        (
            "{kind: motion.started, count: 3}",
            "3:11: rule r: `within` is missing beside `count`; write {kind: mot",
        ),
        ("{kind: motion.started, cuont: 3, within: 1m}", "3:34: rule r: unknown key `cuont`; did you mean `count`?"),
        ("{kind: motion.started, within: 1m}", "3:34: rule r: `within` does not go with `kind`; write {kind: plate"),
        ("{kind: plate.read, for: 3s}", "3:30: rule r: `for`: nothing is known that ends plate.read; write until"),
        ("{kind: channel.status, for: 3s}", "3:34: rule r: `for`: say with `match` what of channel.status must stay"),
        ("{sequence: [{kind: plate.red}, {kind: call.started}], within: 1m}", "3:30: rule r: unknown kind 'plate.red'"),
        (
            "{sequence: [{kind: plate.read}, {not: {kind: call.started}}], within: 1m}",
            "3:43: rule r: `sequence`: `no",
        ),
        (
            "{sequence: [{kind: plate.read, match: {plat: A}}, {kind: call.started}], within: 1m}",
            "3:50: rule r: unknown field of plate.read 'plat'; did you mean 'plate'?",
        ),
        ("{absent: {kind: call.ended}, within: 1m}", "3:11: rule r: `after` is missing beside `absent`; write {absent"),
        ("{silent: nvr9, for: 1m}", "3:20: rule r: unknown source 'nvr9'"),
        (
            "{silent: {kind: source.connected, source: nvr1}, for: 1m}",
            "3:27: rule r: `silent` never hears source.connected: the bridge tells it, not the source",
        ),
        ("{silent: nvr1}", "3:11: rule r: `for` is missing beside `silent`; write {silent: nvr1, for: 5m}"),
        ('{every: "61 * * * *"}', "3:19: rule r: `every`: '61 * * * *' is no cron expression (Bad minute)"),
        ('{every: "0 0 30 2 *"}', "3:19: rule r: `every`: '0 0 30 2 *' "),
        (
            '{every: "0 6 * * *", zone: Europe/Berln}',
            "3:38: rule r: unknown zone 'Europe/Berln'; did you mean 'E",
        ),
        ("{at: sunset}", "3:16: rule r: `at`: sunrise and sunset need the site's `latitude`"),
        ("{at: '25:00'}", "3:16: rule r: `when.at`: '25:00' is not a time of day"),
        ("{kind: parking.count, field: cuont, rises_above: 3}", "3:40: rule r: unknown field of parking.count 'cuont'"),
        ("{kind: parking.count, field: name, rises_above: 3}", "3:40: rule r: `name` is text, and must be a number"),
        (
            "{kind: parking.count, field: count, rises_above: 3, rearm_below: 4}",
            "3:76: rule r: `rearm_below` must not",
        ),
        ("{kind: motion.started, rate: 1/d, within: 1m}", "3:40: rule r: `rate`: 1/d within this span is 1 events"),
        (
            "{kind: motion.started, count: 3, within: 40d}",
            "3:52: rule r: `when.within`: must not be longer than 31",
        ),
        ("{any: [{kind: motion.started}]}", "3:17: rule r: `when.any`: must not be empty"),
        ('{every: "0 6 * * *", max_lateness: 2m}', "3:46: rule r: `when.max_lateness`: must not be longer than 60s"),
        (
            "{absent: {kind: call.ended}, after: {kind: call.started}, within: 1m, include: resync}",
            "3:90: rule r: `include: resync` belongs into the events of `absent`",
        ),
        ("{kind: plate.read, include: inconclusive}", "3:39: rule r: only `absent` and `silent` can be inconclusive"),
    ],
    ids=str,
)
def test_a_mistake_in_when_has_its_message(when: str, problem: str) -> None:
    """One mistake gives one line, at the place where it is."""
    text = f"rules:\n  - id: r\n    when: {when}\n    then: [{{webhook: backoffice}}]\n"
    found = problems_of(text, known=KNOWN)
    assert [line.removeprefix("r.yaml:")[: len(problem)] for line in found] == [problem]


def test_match_belongs_into_the_parts() -> None:
    """There is no one kind whose fields it could name."""
    text = """
    rules:
      - id: r
        when: {any: [{kind: motion.started}, {kind: motion.ended}]}
        match: {reason: seen}
        then: [{webhook: x}]
    """
    assert problems_of(text) == ["r.yaml:5:5: rule r: `match` belongs into the events of `any`"]
