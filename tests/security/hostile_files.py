"""Rule files made to do harm, and a program that reads each of them with little memory: `python -m tests.security.hostile_files`."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bridge.sdk import Known, RuleCompileError
from rules.compiler import compile_rules
from rules.load import load_documents
from rules.ruleset import SiteSettings
from rules.trial import trial_results
from tests.rules.support import ACTIONS

MEMORY = 1 << 30
"""Of the whole process, the interpreter and all libraries included."""

_RULE = "rules:\n  - id: r\n    when: {kind: plate.read}\n    then: [{open: a}]\n"


def _rule(**parts: str) -> str:
    lines = {"id": "r", "when": "{kind: plate.read}", "then": "[{open: a}]", **parts}
    return "rules:\n  - " + "\n    ".join(f"{key.rstrip('_')}: {value}" for key, value in lines.items()) + "\n"


def _many(count: int, line: str) -> str:
    return "".join(line.replace("%", str(number)) for number in range(count))


def _chain(count: int) -> str:
    return "templates:\n" + "".join(f"  t{n}: {{rule: {{use: t{(n + 1) % count}}}}}\n" for n in range(count)) + _RULE


def _laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def _doubling(item: str) -> str:
    lines = [f"  t{n}: {{inputs: {{x: any}}, rule: {{use: t{n + 1}, with: {{x: {item}}}}}}}" for n in range(7)]
    body = "rule: {when: {kind: plate.read}, then: [{mqtt: {topic: a, payload: $x}}]}"
    last = f"  t7: {{inputs: {{x: any}}, {body}}}"
    return "\n".join(["templates:", *lines, last, "rules: [{id: r, use: t0, with: {x: haha}}]", ""])


def _uses(count: int) -> str:
    values = ", ".join(["$x"] * 500)
    head = f"templates:\n  t: {{inputs: {{x: any}}, rule: {{when: {{kind: plate.read}}, then: [{{mqtt: {{topic: a, payload: [{values}]}}}}]}}}}\n"
    return head + "rules:\n" + _many(count, "  - {id: r%, use: t, with: {x: [a, b, c, d, e, f]}}\n")


CASES: Mapping[str, Callable[[], str | Mapping[str, str]]] = {
    "deep lists": lambda: "rules: " + "[" * 5_000 + "]" * 5_000,
    "deep mappings": lambda: "rules: " + "{a: " * 5_000 + "b" + "}" * 5_000,
    "deep block": lambda: "".join(" " * n + "a:\n" for n in range(1_000)),
    "deep dashes": lambda: "rules:\n" + "- " * 50_000 + "a",
    "aliases": lambda: _laughs(12) + _RULE,
    "an alias of itself": lambda: "rules: &a [*a]\n",
    "merge keys": lambda: "a: &a {b: c}\nrules: [{<<: *a}]\n",
    "a tag": lambda: "rules: !!python/object/apply:os.system ['true']\n",
    "many documents": lambda: "---\n" * 100_000,
    "many keys": lambda: _many(40_000, "a%:\n"),
    "many keys in a rule": lambda: _RULE + _many(15_000, "    k%: 1\n"),
    "the same key": lambda: _RULE * 1_500,
    "many fields": lambda: _RULE + "    match:\n" + _many(15_000, "      k%: 1\n"),
    "many rules all wrong": lambda: "rules:\n" + _many(12_000, "  - {id: r%, when: {kind: plate.raed}, then: [{opn: a}]}\n"),
    "many lists nearly named": lambda: "lists:\n"
    + _many(5_000, "  list%: {values: [a]}\n")
    + "rules:\n"
    + _many(1_000, "  - {id: r%, when: {kind: plate.read}, match: {plate: {in: lost%}}, then: [{open: a}]}\n"),
    "a name of a megabyte": lambda: _rule(id="a" * 900_000),
    "a kind of a megabyte": lambda: _rule(when="{kind: " + "a" * 900_000 + "}"),
    "a field of a megabyte": lambda: _rule(match="{" + "a" * 900_000 + ": 1}"),
    "a key of a megabyte": lambda: _rule(**{"a" * 900_000: "1"}),
    "an action of a megabyte": lambda: _rule(then="[{" + "a" * 900_000 + ": 1}]"),
    "a text of a megabyte": lambda: _rule(then='[{mqtt: {topic: "' + "a" * 900_000 + '{{ 1 + }}"}}]'),
    "many templates in a text": lambda: _rule(then='[{mqtt: {topic: "' + "{{ key }}" * 90_000 + '"}}]'),
    "open braces": lambda: _rule(then='[{mqtt: {topic: "' + "{{" * 200_000 + '"}}]'),
    "a long integer": lambda: _rule(priority="9" * 100_000),
    "a large integer": lambda: _rule(match="{score: {at_least: 999999999999999999999999999999}}"),
    "a large float": lambda: _rule(match="{score: {at_least: 1.5e999}}"),
    "a long duration": lambda: _rule(cooldown="9" * 100_000 + "d"),
    "a duration of ages": lambda: _rule(cooldown="999999999999d"),
    "a span of ages": lambda: _rule(when="{kind: plate.read, count: 3, within: 999999d}"),
    "a huge count": lambda: _rule(when="{kind: plate.read, count: 1000000000, within: 1h}"),
    "a rate of everything": lambda: _rule(when="{kind: plate.read, rate: 1e999/s, within: 1h}"),
    "a clock time of ages": lambda: _rule(when='{at: "99999999:00"}'),
    "an offset of ages": lambda: _rule(when="{at: sunset-99999999999d}"),
    "many times": lambda: _rule(when="{at: [" + _many(20_000, '"07:30", ') + "]}"),
    "cron of the 30th of February": lambda: _rule(when='{every: "0 0 30 2 *"}'),
    "cron of a Monday the 31st of June": lambda: _rule(when='{every: "0 0 31 6 mon#5"}', then="[{mqtt: {topic: a}}]"),
    "cron of a hundred thousand minutes": lambda: _rule(when='{every: "' + "1," * 100_000 + '1 * * * *"}'),
    "cron of many fields": lambda: _rule(when='{every: "' + "* " * 100_000 + '"}'),
    "cron of a huge step": lambda: _rule(when='{every: "*/99999999999999999999 * * * *"}', then="[{mqtt: {topic: a}}]"),
    "a long sequence": lambda: _rule(when="{sequence: [" + _many(20_000, "{kind: plate.read}, ") + "], within: 1h}"),
    "a long any": lambda: _rule(when="{any: [" + _many(8_000, "{kind: plate.read}, ") + "]}"),
    "many keys of per": lambda: _rule(per="[" + _many(50_000, "plate, ") + "]"),
    "many expressions of per": lambda: _rule(per="[" + _many(20_000, "event.data.plate + '%', ") + "]"),
    "many steps": lambda: _rule(then="[" + _many(5_000, "{open: a}, ") + "]"),
    "many waiting steps": lambda: _rule(then="[" + _many(3_000, "{open: a, as: s%}, ") + "]"),
    "deep parallel": lambda: _rule(then="[{parallel: " * 14 + "[{open: a}]" + "}]" * 14),
    "a pattern of a megabyte": lambda: _rule(match="{plate: {regex: " + "a" * 900_000 + "}}"),
    "a pattern of patterns": lambda: _rule(match="{plate: {regex: '(((a{1,30}){1,30}){1,30}){1,30}'}}"),
    "a pattern that looks back": lambda: _rule(match=r"{plate: {regex: '(a+)+\1'}}"),
    "many patterns": lambda: _rule(match="{plate: {regex: '(a{1,30}b?){29}'}}").replace("rules:\n", "rules:\n" + _many(500, "  - {id: p%, when: {kind: plate.read}, match: {plate: {regex: '(a{1,30}b?){29}%'}}, then: [{open: a}]}\n")),
    "an expression of a megabyte": lambda: _rule(if_="'" + "1+" * 400_000 + "1'"),
    "an expression of brackets": lambda: _rule(if_="'" + "(" * 1_900 + "'"),
    "an expression of minus": lambda: _rule(if_="'" + "-" * 1_900 + "1 == 1'"),
    "an expression of nots": lambda: _rule(if_="'" + "!" * 1_900 + "true'"),
    "an expression of questions": lambda: _rule(if_="'" + "true ? 1 : " * 170 + "1'"),
    "an expression of lists": lambda: _rule(if_="'" + "[" * 900 + "]" * 900 + " == 1'"),
    "macros in macros": lambda: _rule(if_="'event.data.linked_channels.all(a, [1].all(b, [1].all(c, c == 1)))'"),
    "many expressions": lambda: "rules:\n" + _many(1_000, "  - {id: r%, when: {kind: plate.read}, if: 'event.data.score > %', then: [{open: a}]}\n"),
    "a list of ten megabytes": lambda: "lists:\n  l:\n    values:\n" + _many(700_000, "      - AB%\n"),
    "a list of a megabyte": lambda: "lists:\n  l: {plates: [" + _many(90_000, "AB%, ") + "]}\n" + _RULE,
    "a table of ten megabytes": lambda: {"r.yaml": "lists: {l: {plates: l.csv}}\n" + _RULE, "l.csv": "plate\n" + _many(149_999, "AB-CD-EF-GH-IJ-KL-MN-OP-QR-ST-AB-CD-EF-GH-IJ-KL-MN-OP-QR-ST-%\n")},
    "a table of too much": lambda: {"r.yaml": "lists: {l: {plates: l.csv}}\n" + _RULE, "l.csv": "plate\n" + _many(260_000, "AB%\n")},
    "a table all wrong": lambda: {"r.yaml": "lists: {l: {plates: l.csv}}\n" + _RULE, "l.csv": "plate,days\n" + _many(200_000, "AB%,nosuchday\n")},
    "a table with one line": lambda: {"r.yaml": "lists: {l: {plates: l.csv}}\n" + _RULE, "l.csv": 'plate\n"' + "a" * 10_000_000},
    "a table somewhere else": lambda: "lists: {l: {plates: ../../../../etc/passwd}}\n" + _RULE,
    "templates in a ring": lambda: _chain(3),
    "templates in a large ring": lambda: _chain(5_000),
    "templates that laugh": lambda: _doubling("[" + ", ".join(["$x"] * 20) + "]"),
    "templates that laugh in texts": lambda: _doubling("$x" * 20),
    "templates that grow": lambda: _uses(12_000),
    "many inputs": lambda: "templates:\n  t:\n    inputs:\n" + _many(10_000, "      i%: text\n") + "    rule: {when: {kind: plate.read}, then: []}\n",
    "many windows": lambda: "schedules:\n  s: [" + _many(5_000, '{days: mon}, ') + "]\n" + _RULE,
    "tests without end": lambda: _RULE + "tests:\n  - name: x\n    given: [{kind: plate.read}, " + _many(5_000, "{repeat: 10000}, ") + "]\n    expect: []\n",
    "a test that waits for ages": lambda: _rule(when='{every: "* * * * *"}', then="[{mqtt: {topic: a}}]") + "tests: [{name: x, given: [{wait: 36500d}], expect: []}]\n",
    "a test that waits for ever": lambda: _RULE + "tests: [{name: x, given: [" + _many(200, "{wait: 36500d}, ") + "], expect: []}]\n",
    "zeros": lambda: "\x00" * 100_000,
    "half pairs": lambda: 'rules: [{id: "\\ud800"}]\n',
}  # fmt: skip


def read(folder: Path, made: str | Mapping[str, str]) -> list[str]:
    """Compile what was made and run its tests. Return the problems, or else in what the tests differ."""
    for old in folder.iterdir():
        old.unlink()
    for name, text in ({"r.yaml": made} if isinstance(made, str) else made).items():
        (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        rules = compile_rules(load_documents([folder / "r.yaml"], folder), ACTIONS, Known(), SiteSettings())
    except RuleCompileError as error:
        return [str(problem) for problem in error.problems]
    return [line for result in trial_results(rules, ACTIONS) for line in result.difference]


def main() -> None:
    """Print for each case the seconds it took, how many problems there are, the first, and the longest."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for name, make in CASES.items():
            if wanted and not any(word in name for word in wanted):
                continue
            made = make()
            began = time.process_time()
            try:
                said = read(Path(folder), made)
            except MemoryError:
                said = ["NO MEMORY LEFT"]
            except Exception as error:  # noqa: BLE001 - what is no problem of the user is a mistake of ours
                said = [f"RAISED {type(error).__name__}: {error!s:.200}"]
            spent = time.process_time() - began
            result = {"name": name, "seconds": round(spent, 3), "problems": len(said), "first": (said or [""])[0][:300]}
            result["longest"] = max(map(len, said), default=0)
            result["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
