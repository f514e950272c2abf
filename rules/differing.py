"""What differs between two sets of rule files, in words and by rule. Pure.

A rule is touched by what is written in it, and by the schedules and lists that it names. Of the templates only
what comes out of them counts; that one has changed is said beside the rules it touches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import SequenceMatcher
from typing import Any, TypeVar

from rules.lists import ValueList
from rules.meaning import Meaning, RuleMeaning
from rules.schedules import Schedule

T = TypeVar("T")
SHOWN = 5
"""Values of a list that are named one by one."""
_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Part:
    """A list, schedule or template that differs, in words, and the rules it touches."""

    name: str
    words: str
    rules: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {"name": self.name, "change": self.words, "rules": list(self.rules)}


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs in meaning."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What changed in each rule."""
    rewritten: tuple[str, ...] = ()
    """Rules written in another way that mean the same; to the engine they are new, and their state begins anew."""
    lists: tuple[Part, ...] = ()
    schedules: tuple[Part, ...] = ()
    templates: tuple[Part, ...] = ()

    @property
    def same(self) -> bool:
        """Nothing differs in meaning."""
        parts = (self.added, self.removed, self.renamed, self.changed, self.lists, self.schedules)
        return not any(parts)

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "same": self.same,
            "added": list(self.added),
            "removed": list(self.removed),
            "renamed": [{"from": old, "to": new} for old, new in self.renamed],
            "changed": [{"rule": rule, "changes": list(words)} for rule, words in self.changed.items()],
            "rewritten": list(self.rewritten),
            "lists": [part.as_json() for part in self.lists],
            "schedules": [part.as_json() for part in self.schedules],
            "templates": [part.as_json() for part in self.templates],
        }

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        for name in self.added:
            yield f"+ rule {name}"
        for name in self.removed:
            yield f"- rule {name}"
        for old, new in self.renamed:
            yield f"~ rule {old} is now called {new}; its state begins anew"
        for rule, words in self.changed.items():
            yield f"~ rule {rule}"
            yield from (f"    {one}" for one in words)
        for what, parts in (("list", self.lists), ("schedule", self.schedules), ("template", self.templates)):
            for part in parts:
                yield f"~ {what} {part.name}: {part.words}{_touching(part.rules)}"
        if self.rewritten:
            yield f"= the same in other words, though their state begins anew: {_some(self.rewritten)}"


def difference(old: Meaning, new: Meaning) -> Difference:
    """Return what differs."""
    gone, come = old.rules.keys() - new.rules.keys(), new.rules.keys() - old.rules.keys()
    renamed = _renamed({name: old.rules[name] for name in gone}, {name: new.rules[name] for name in come})
    both = sorted(old.rules.keys() & new.rules.keys())
    changed = {name: tuple(_rule(old.rules[name], new.rules[name])) for name in both}
    touched = frozenset(name for name in both if changed[name])
    return Difference(
        tuple(sorted(come - {to for _, to in renamed})),
        tuple(sorted(gone - {name for name, _ in renamed})),
        tuple(renamed),
        {name: words for name, words in changed.items() if words},
        tuple(n for n in both if not changed[n] and old.rules[n].version != new.rules[n].version),
        tuple(_parts(old.lists, new.lists, _list, _using(new, "lists"))),
        (*_parts(old.schedules, new.schedules, _schedule, _using(new, "schedules")), *_holidays(old, new)),
        tuple(_templates(old, new, touched)),
    )


def _renamed(gone: Mapping[str, RuleMeaning], come: Mapping[str, RuleMeaning]) -> list[tuple[str, str]]:
    by_meaning = {rule.same: name for name, rule in sorted(gone.items())}
    found = []
    for name, rule in sorted(come.items()):
        if rule.same in by_meaning:
            found.append((by_meaning.pop(rule.same), name))
    return found


# --- rules -----------------------------------------------------------------------------------------------


def _rule(old: RuleMeaning, new: RuleMeaning) -> Iterator[str]:
    for key in dict.fromkeys([*old.said, *new.said]):
        if key in {"then", "on_error"}:
            yield from _steps(key, old.said.get(key, []), new.said.get(key, []))
        else:
            yield from _value(key, old.said.get(key), new.said.get(key))


def _value(path: str, old: Any, new: Any) -> Iterator[str]:
    """Yield what differs between two values."""
    if old == new and isinstance(old, bool) == isinstance(new, bool):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _value(f"{path}.{key}", old.get(key), new.get(key))
    elif (
        isinstance(old, list) and isinstance(new, list) and not any(isinstance(one, (dict, list)) for one in old + new)
    ):
        yield f"{path}: {_some_of(old, new)}"
    else:
        yield f"{path}: {_shown(old)} → {_shown(new)}"


def _plain(values: Sequence[Any]) -> bool:
    return not any(isinstance(one, (dict, list)) for one in values)


def _some_of(old: Sequence[Any], new: Sequence[Any]) -> str:
    plus, minus = [one for one in new if one not in old], [one for one in old if one not in new]
    if not plus and not minus:
        return f"{_shown(list(old))} → {_shown(list(new))}"
    counts = " ".join(f"{sign}{len(some)}" for sign, some in (("+", plus), ("−", minus)) if some)
    names = "; ".join(f"{word} {_some(some)}" for word, some in (("added", plus), ("removed", minus)) if some)
    return f"{counts} ({names})"


def _steps(path: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    """Yield what differs between two lists of steps, each compared with the one it came from."""
    texts = [[json.dumps(step, sort_keys=True, ensure_ascii=False) for step in steps] for steps in (old, new)]
    for tag, a, b, c, d in SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for number in range(max(b - a, d - c)):
            before = old[a + number] if a + number < b else None
            after = new[c + number] if c + number < d else None
            if before is None:
                yield f"{path}[{c + number}]: added {_shown(after)}"
            elif after is None:
                yield f"{path}[{a + number}]: removed {_shown(before)}"
            elif _action(before) == _action(after):
                yield from _value(f"{path}[{c + number}]", before, after)
            else:
                yield f"{path}[{c + number}]: {_shown(before)} → {_shown(after)}"


def _action(step: Any) -> Any:
    return sorted(step) if isinstance(step, dict) else step


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(map(_shown, value)) + "]"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _some(values: Iterable[Any]) -> str:
    names = [_shown(value) for value in values]
    return ", ".join(names[:SHOWN]) + (f", ... ({len(names)})" if len(names) > SHOWN else "")


def _touching(rules: Sequence[str]) -> str:
    return f"; touches {_some(rules)}" if rules else "; touches no rule"


# --- lists, schedules, templates ---------------------------------------------------------------------------


def _using(meaning: Meaning, section: str) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, rule in sorted(meaning.rules.items()):
        for used in rule.names(section):
            found.setdefault(used, []).append(name)
    return found


def _parts(
    old: Mapping[str, T],
    new: Mapping[str, T],
    words: Callable[[T | None, T | None], str],
    using: Mapping[str, list[str]],
) -> Iterator[Part]:
    for name in sorted(old.keys() | new.keys()):
        said = words(old.get(name), new.get(name))
        if said:
            yield Part(name, said, tuple(using.get(name, ())))


def _list(old: ValueList | None, new: ValueList | None) -> str:
    if old is None or new is None:
        return f"added, {len(new)} values" if new is not None else "removed"
    if old.plates != new.plates:
        return "holds plates now" if new.plates else "holds texts now, compared as they are"
    before, after = dict(old.entries()), dict(new.entries())
    words = _some_of(list(before), list(after)) if before.keys() != after.keys() else ""
    other = [value for value, entry in after.items() if value in before and before[value] != entry]
    terms = f"{len(other)} on other terms ({_some(other)})" if other else ""
    tags = "may be given other tags" if old.tags != new.tags and not other and not words else ""
    return "; ".join(part for part in (words, terms, tags) if part)


def _schedule(old: Schedule | None, new: Schedule | None) -> str:
    if old is not None and new is not None and set(old.windows) == set(new.windows):
        return ""
    return f"{_windows(old)} → {_windows(new)}"


def _windows(schedule: Schedule | None) -> str:
    return "none" if schedule is None else " and ".join(map(str, schedule.windows)) or "never"


def _holidays(old: Meaning, new: Meaning) -> Iterator[Part]:
    before, after = old.holidays or frozenset[date](), new.holidays or frozenset[date]()
    if before != after:
        days = [[day.isoformat() for day in sorted(some)] for some in (before, after)]
        yield Part("holidays", _some_of(days[0], days[1]), ())


def _templates(old: Meaning, new: Meaning, touched: frozenset[str]) -> Iterator[Part]:
    for name in sorted(old.templates.keys() | new.templates.keys()):
        before, after = old.templates.get(name), new.templates.get(name)
        if before != after:
            rules = tuple(sorted(rule for rule in touched if new.rules[rule].template == name))
            words = "added" if before is None else "removed" if after is None else "changed"
            yield Part(name, words, rules)
