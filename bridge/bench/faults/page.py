"""The published table: rows as they were last measured, with where, when and at which commit; beside it as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .outcome import Outcome

BEGIN, END = "<!-- table: made by `vms-bridge bench faults`; edit nothing between these -->", "<!-- end of table -->"
_COLUMNS = (
    *("row", "fault", "size", "injected", "promised", "lost", "doubled", "wrong"),
    *("figures", "without …: showed", "passed", "commit"),
)


def publish(
    page: Path, outcomes: Sequence[Outcome], seed: int, machine: Mapping[str, Any], commit: str | None = None
) -> None:
    """Put rows into the page and its JSON; rows that were not run stay as they were, with their commit."""
    beside = page.with_suffix(".json")
    rows: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    day = datetime.now(UTC).date().isoformat()
    for outcome in outcomes:
        rows[outcome.row] = outcome.as_json() | {"seed": seed, "day": day, "commit": commit, "machine": dict(machine)}
    rows = dict(sorted(rows.items()))
    beside.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = (
        page.read_text(encoding="utf-8")
        if page.exists()
        else f"# What was broken, and what was lost\n\n{BEGIN}\n{END}\n"
    )
    head, rest = text.partition(BEGIN)[::2]
    tail = rest.partition(END)[2]
    page.write_text(f"{head}{BEGIN}\n\n{table(rows)}\n{END}{tail}", encoding="utf-8")


def table(rows: Mapping[str, Any]) -> str:
    """Return the table, and a line for each machine and day."""
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        "|---" * len(_COLUMNS) + "|",
    ]
    lines += [_line(row) for row in rows.values() if not row.get("tests")]
    lines += ["", "| row | what is tried | size | tests | passed | commit |", "|---|---|---|---|---|---|"]
    lines += [_suite_line(row) for row in rows.values() if row.get("tests")]
    lines += ["", *_where(rows.values()), ""]
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    control = row["control"]
    without = f"{control['without']}: {control['showed']}" if control else "–"
    figures = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in row["figures"].items())
    counts = (f"{row[name]:,}" for name in ("injected", "acked", "lost", "doubled", "wrong"))
    return (
        "| "
        + " | ".join([row["row"], row["fault"], row["size"], *counts, figures, without, _passed(row), _commit(row)])
        + " |"
    )


def _suite_line(row: Mapping[str, Any]) -> str:
    cells = [row["row"], row["fault"], row["size"], str(row["tests"]), _passed(row), _commit(row)]
    return "| " + " | ".join(cells) + " |"


def _commit(row: Mapping[str, Any]) -> str:
    return f"`{row['commit']}`" if row.get("commit") else "–"


def _passed(row: Mapping[str, Any]) -> str:
    passed = "skipped: " + row["skipped"] if row["skipped"] else "yes" if row["passed"] else "**no**"
    return passed + (": " + "; ".join(row["problems"][:3]) if row["problems"] else "")


def _where(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each day, seed and machine, with how long a sync took at the least and at the most."""
    places: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        machine = row["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        place = f"- {row['day']}, seed {row['seed']}: {machine['cpu']}, {machine['cores']} cores, {machine['system']}"
        what = f"Python {machine['python']}, {versions}."
        places.setdefault((f"{place}, {machine['file_system']}", what), []).append(machine["sync_us"] / 1000)
    return [
        f"{place}, one sync {min(took):.2g} to {max(took):.2g} ms; {what}"
        for (place, what), took in sorted(places.items())
    ]
