"""Read `bridge.yaml`: every problem at once, each with file, line and column, and what to do.

Nothing is opened, connected to or created here; a configuration that loads may still meet a port in use.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bridge.config.checks import Finding, Names, findings
from bridge.config.expand import Environment, Expander, Secrets
from bridge.config.models import BridgeConfig
from bridge.contracts import ConnectorConfig, ConnectorSpec
from bridge.errors import ConfigError, Problem
from bridge.registry import Registry, unknown
from bridge.yamlcheck import path_of, problems_from_validation
from bridge.yamlfile import YamlFile, YamlPath, read_yaml

PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": "is not a name: letters, digits, `-`, `_` and `.`, at most 64 of them",
    r"^[^#+/\x00$][^#+\x00]*$": "is not the beginning of an MQTT topic: no `+` or `#`, no `/` or `$` in front",
}
"""What the regular expressions of the models want, in words."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that fits together."""

    config: BridgeConfig
    sources: Mapping[str, ConnectorConfig]
    specs: Mapping[str, ConnectorSpec[Any]]
    """The connector of each source."""
    warnings: tuple[Problem, ...]
    path: Path | None
    """The file; None when there was none."""

    @property
    def folder(self) -> Path:
        """Where relative paths begin."""
        return _folder(self.path)

    def rule_files(self) -> list[Path]:
        """Return the rule files there are now, sorted. Raises ConfigError for one that is named and missing."""
        found: set[Path] = set()
        missing: list[Problem] = []
        for pattern in self.config.rules:
            matches = _matching(self.folder, pattern)
            if not matches and not glob.has_magic(pattern):
                missing.append(Problem(str(self.path or ""), 0, 0, "rules", f"there is no file {pattern!r}"))
            files = [path for path in matches if path.is_file()]
            if matches and not files and not glob.has_magic(pattern):
                cure = f"write {pattern.rstrip('/')}/*.yaml" if matches[0].is_dir() else "name a file"
                missing.append(Problem(str(self.path or ""), 0, 0, "rules", f"{pattern!r} is no file; {cure}"))
            found.update(files)
        if missing:
            raise ConfigError(missing)
        return sorted(found)


@dataclass(frozen=True, slots=True)
class Examined:
    """A configuration as far as it can be understood, and everything wrong with it."""

    loaded: Loaded | None
    """Without what is wrong in it; None if nothing can be made of it."""
    problems: tuple[Problem, ...]
    written: Mapping[str, frozenset[str]]
    """The names in each section, whether or not the rest of each is right."""


def load(path: Path | None, registry: Registry, env: Mapping[str, str] = os.environ) -> Loaded:
    """Read a configuration; with no file, the defaults. Raises ConfigError with every problem found.

    `registry` knows the source types; their own fields are checked against the connectors' models.
    """
    found = examine(path, registry, env)
    if found.problems or found.loaded is None:
        raise ConfigError(found.problems)
    return found.loaded


def examine(path: Path | None, registry: Registry, env: Mapping[str, str] = os.environ) -> Examined:
    """Read a configuration as `load` does, and keep what can be understood of one that is wrong.

    Raises ConfigError if the file cannot be read at all.
    """
    secrets = Secrets(_folder(path))
    environment = Environment(env)
    if path is None:
        yaml = YamlFile("defaults", {})
    else:
        yaml = read_yaml(path, tags={"!secret": secrets.get}, scalar=environment.fill)
    reading = _Reading(yaml, registry, _folder(path))
    config, sources = reading.validate()
    problems = (*yaml.problems, *secrets.problems, *reading.problems)
    written = _written(yaml.value)
    if config is None:
        return Examined(None, problems, written)
    warnings = (*secrets.warnings, *reading.warnings)
    return Examined(Loaded(config, sources, reading.specs, warnings, path), problems, written)


def _matching(folder: Path, pattern: str) -> list[Path]:
    whole = Path(glob.escape(str(folder))) / Path(pattern).expanduser()
    # Not Path.glob: it takes no pattern that begins at the root, and a user may write one.
    return [Path(name) for name in glob.glob(str(whole), recursive=True)]  # noqa: PTH207


def _folder(path: Path | None) -> Path:
    return path.resolve().parent if path is not None else Path.cwd()


class _Reading:
    """One file on its way to the models."""

    def __init__(self, yaml: YamlFile, registry: Registry, folder: Path) -> None:
        self._yaml, self._registry = yaml, registry
        self._expander = Expander(yaml, folder)
        self._folder = folder
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.specs: dict[str, ConnectorSpec[Any]] = {}

    def validate(self) -> tuple[BridgeConfig | None, dict[str, ConnectorConfig]]:
        raw = {} if self._yaml.value is None else self._yaml.value
        if not isinstance(raw, dict):
            self.problems.append(self._yaml.problem((), "must be keys and values"))
            return None, {}
        self._yaml.value = raw
        raw.setdefault("data_dir", "data")
        self._expander.expand(BridgeConfig, raw)
        sources = self._sources(raw)
        config = self._config(raw)
        self.problems.extend(self._expander.problems)
        if config is not None:
            self._sort(findings(config, _names(raw), self.specs))
            if "rules" in raw:
                self._sort(_empty_patterns(config, self._folder))
        return config, sources

    def _sources(self, raw: dict[str, Any]) -> dict[str, ConnectorConfig]:
        sources: dict[str, ConnectorConfig] = {}
        written = raw.get("sources")
        for name, value in written.items() if isinstance(written, dict) else ():
            if isinstance(value, dict) and (spec := self._spec(name, value)) is not None:
                self.specs[name] = spec
                path = ("sources", name)
                self._expander.expand(spec.config, value, path)
                try:
                    sources[name] = spec.config.model_validate(value)
                except ValidationError as exc:
                    self._refused(exc, spec.config, path)
        return sources

    def _spec(self, name: str, value: dict[str, Any]) -> ConnectorSpec[Any] | None:
        known, kind = self._registry.names, value.get("type")
        path: YamlPath = ("sources", name, "type")
        if kind is None:
            self.problems.append(self._yaml.problem(path, f"is required; known: {', '.join(known) or 'none'}"))
        elif kind not in known:
            self.problems.append(self._yaml.problem(path, unknown("source type", str(kind), known)))
        else:
            try:
                spec: ConnectorSpec[Any] = self._registry.get(kind)
            except (ImportError, AttributeError) as exc:
                self.problems.append(self._yaml.problem(path, f"{kind!r} is installed but does not load: {exc}"))
            else:
                return spec
        return None

    def _config(self, raw: dict[str, Any]) -> BridgeConfig | None:
        """Validate; where parts are wrong, report them and go on with the rest, so that checks see it too."""
        rest, told = deepcopy(raw), False
        for _ in range(len(raw) + 1):
            try:
                return BridgeConfig.model_validate(rest)
            except ValidationError as exc:
                if not told:
                    self._refused(exc, BridgeConfig, ())
                    told = True
                _without(rest, exc)
        return None

    def _refused(self, exc: ValidationError, model: Any, at: YamlPath) -> None:
        # What could not be filled in is told already; that it is then no number either helps nobody.
        told = {(p.line, p.column) for p in (*self._yaml.problems, *self._expander.problems)}
        found = problems_from_validation(exc, self._yaml, model, at=at, patterns=PATTERNS)
        self.problems.extend(p for p in found if (p.line, p.column) not in told)

    def _sort(self, found: Iterable[Finding]) -> None:
        for finding in found:
            problem = self._yaml.problem(finding.path, finding.message)
            (self.warnings if finding.warning else self.problems).append(problem)


def _names(raw: Mapping[str, Any]) -> Names:
    written = _written(raw)
    none: frozenset[str] = frozenset()
    return Names(frozenset(raw), sources=written.get("sources", none), outputs=written.get("outputs", none))


def _written(raw: Any) -> dict[str, frozenset[str]]:
    sections = raw.items() if isinstance(raw, dict) else ()
    return {section: frozenset(value) for section, value in sections if isinstance(value, dict)}


def _empty_patterns(config: BridgeConfig, folder: Path) -> Iterable[Finding]:
    """Warn of patterns that match nothing: an empty folder of rules is fine, a mistyped one is not."""
    for number, pattern in enumerate(config.rules):
        if glob.has_magic(pattern) and not any(path.is_file() for path in _matching(folder, pattern)):
            yield Finding(("rules", number), "matches no file; correct it, or put a rule file there", warning=True)


def _without(raw: dict[str, Any], exc: ValidationError) -> None:
    """Take out what was refused: the value where it is wrong, the whole entry where something is missing in it."""
    for detail in exc.errors(include_url=False):
        path = path_of(detail, raw)
        if detail["type"] == "missing":
            path = path[:-1]
        parent: Any = raw
        for part in path[:-1]:
            parent = parent[part] if not isinstance(parent, dict) else parent.get(part, {})
        if isinstance(parent, dict) and path:
            parent.pop(path[-1], None)
        elif isinstance(parent, list):
            parent.clear()
