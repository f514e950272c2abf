"""The rules of a site: compiled from its files, stored by content, read back as they were.

The log names rule sets by the hash of their content. What decides is never a file on disk but the
stored copy, so recovery and explanation use exactly the rules, and the lists, of that moment.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from bridge.bus.kv import Contents
from bridge.config.load import Examined, Loaded
from bridge.config.models import DoorConfig
from bridge.contracts import ActionSpec, Known
from bridge.errors import ConfigError, Problem, StartError
from bridge.registry import Registry, unknown
from bridge.systems import Told
from rules.compiler import compile_rules, read_meaning
from rules.jsonschema import rule_schema
from rules.load import load_documents
from rules.meaning import Meaning
from rules.ruleset import Documents, RuleSet, SiteSettings
from rules.trialreader import site_of_tests

Actions = Mapping[str, ActionSpec[Any]]
_NAMED = ("sources", "doors", "outputs", "webhooks")
"""Sections of the configuration whose names rules use."""


def action_specs(registry: Registry) -> Actions:
    """Return every action there is, by name."""
    return {name: registry.get(name) for name in registry.names}


def known(loaded: Loaded, systems: Mapping[str, Told] | None = None) -> Known:
    """Return what the configuration says there is.

    What only the systems know is left unchecked, unless `systems` has what they said last.
    """
    config, systems = loaded.config, systems or {}
    channels = {name: frozenset(told.channels) for name, told in systems.items() if told.channels}
    channels |= {name: only for name, source in loaded.sources.items() if (only := source.only_channels()) is not None}
    presets = {
        (name, channel): names
        for name, told in systems.items()
        for channel, names in told.channels.items()
        if names  # a camera that did not answer has none either
    }
    return Known(
        sources=frozenset(config.sources)
        | frozenset(client.source or name for name, client in config.http.push.items()),
        channels=channels or None,
        presets=presets or None,
        doors=frozenset(config.doors),
        door_ages={name: door.max_age for name, door in config.doors.items()},
        outputs=frozenset(config.outputs),
        webhooks=frozenset(config.webhooks),
        mqtt=config.mqtt is not None,
        modes=frozenset(config.modes) or None,
    )


def read_site(loaded: Loaded) -> Documents:
    """Read a site's rule files, and what they name. Raises ConfigError if one that is named is missing."""
    return load_documents(loaded.rule_files(), loaded.folder)


def compile_site(
    loaded: Loaded,
    actions: Actions,
    documents: Documents | None = None,
    systems: Mapping[str, Told] | None = None,
) -> RuleSet:
    """Compile a site's rule files. Raises ConfigError with every problem."""
    documents = documents or read_site(loaded)
    try:
        rules = compile_rules(documents, actions, known(loaded, systems), _settings(loaded))
    except ConfigError as error:
        raise ConfigError([*_lists_named(loaded, _written_lists(documents)), *error.problems]) from error
    problems = list(_lists_named(loaded, frozenset(rules.lists)))
    if problems:
        raise ConfigError(problems)
    return rules


def _settings(loaded: Loaded) -> SiteSettings:
    config = loaded.config
    return SiteSettings(config.zone, config.latitude, config.longitude, config.site)


def check_site(found: Examined, actions: Actions, systems: Mapping[str, Told] | None = None) -> RuleSet:
    """Compile a site's rule files, also beside a configuration that is wrong. Raises ConfigError with every problem.

    `systems` is what sources said last that they have.
    """
    if found.loaded is not None and not found.problems:
        return compile_site(found.loaded, actions, systems=systems)
    problems = list(found.problems)
    if found.loaded is not None:
        try:
            _compile_beside(found, found.loaded, actions, systems)
        except ConfigError as error:
            problems += error.problems
    raise ConfigError(problems)


def _compile_beside(found: Examined, loaded: Loaded, actions: Actions, systems: Mapping[str, Told] | None) -> RuleSet:
    """Compile beside a configuration that is wrong: what is written there in any form counts as being there."""
    config, named = loaded.config, known(loaded, systems)
    here = replace(
        named,
        **{name: getattr(named, name) | found.written.get(name, frozenset()) for name in _NAMED},
        door_ages={},
        mqtt=None,
        modes=None,
    )
    latitude, longitude = config.latitude, config.longitude
    if latitude is None or longitude is None:
        latitude, longitude = 0.0, 0.0  # where it is may be what is wrong
    return compile_rules(read_site(loaded), actions, here, SiteSettings(config.zone, latitude, longitude, config.site))


def _written_lists(documents: Documents) -> frozenset[str]:
    """Return the lists that some files name, whether or not they are right."""
    values = (tree.value for tree in documents.trees.values())
    lists = (value.get("lists") for value in values if isinstance(value, dict))
    return frozenset(name for one in lists if isinstance(one, dict) for name in one)


def _lists_named(loaded: Loaded, lists: frozenset[str]) -> Iterable[Problem]:
    """Yield what is wrong with the lists that the configuration lets people and programs change."""
    config = loaded.config
    named = {f"http.api.{name}.lists": client.lists or () for name, client in config.http.api.items()}
    if config.mqtt is not None:
        named["mqtt.commands.lists"] = config.mqtt.commands.lists
    for where, wanted in named.items():
        for name in wanted:
            if name not in lists:
                yield Problem(str(loaded.path or ""), 0, 0, where, unknown("list", name, lists))


def compile_files(paths: Sequence[Path], actions: Actions, loaded: Loaded | None = None) -> RuleSet:
    """Compile rule files by themselves, as files of a site or without one. Raises ConfigError with every problem.

    Without a site names of sources and doors are not checked; they are in UTC, and the sun is where the first of
    their tests that says so has it. Doors are as they are where nobody says how old a cause they let in.
    """
    if loaded is not None:
        documents = load_documents([path.absolute() for path in paths], loaded.folder)
        return compile_rules(documents, actions, known(loaded), _settings(loaded))
    root = Path(os.path.commonpath([path.absolute().parent for path in paths])) if paths else Path.cwd()
    documents = load_documents([path.absolute() for path in paths], root)
    door_age: timedelta = DoorConfig.model_fields["max_age"].default
    return compile_rules(documents, actions, Known(door_age=door_age), site_of_tests(documents))


def meaning_of_files(path: Path, actions: Actions) -> Meaning:
    """Return what a rule file, or all in a folder, mean. Raises ConfigError with every problem."""
    if not path.exists():
        raise ConfigError(f"there is no file or folder {path}")
    root = path.absolute() if path.is_dir() else path.absolute().parent
    paths = sorted([*root.rglob("*.yaml"), *root.rglob("*.yml")]) if path.is_dir() else [path.absolute()]
    # No site: what is compared is what the files say, so the sun may be anywhere.
    return read_meaning(load_documents(paths, root), actions, Known(), SiteSettings(latitude=0.0, longitude=0.0))


def schema_of_rules(registry: Registry) -> bytes:
    """Return the JSON Schema of rule files with the actions there are here."""
    return json.dumps(rule_schema(action_specs(registry)), ensure_ascii=False, indent=1).encode() + b"\n"


def shipped_examples() -> tuple[list[Path], list[Path]]:
    """Return the rule files that come with the bridge: the examples and the jobs, each a set of its own."""
    folder = Path(str(resources.files("rules"))) / "examples"
    return sorted(folder.glob("*.yaml")), sorted(folder.glob("jobs/rules/*.yaml"))


class StoredRuleSets:
    """Rule sets by content hash; what the engine host reads. `named` tells which the log still needs."""

    def __init__(
        self, contents: Contents, actions: Actions, named: Callable[[], Awaitable[set[str]]] | None = None
    ) -> None:
        self._contents, self._actions, self._named = contents, actions, named
        self._newest: RuleSet | None = None
        """What was stored last: it comes back as it was, where compiling it again would hold everything up."""

    async def store(self, rules: RuleSet) -> None:
        """Keep a rule set. Raises StoreUnavailableError."""
        await self._contents.put(await asyncio.to_thread(rules.bundle))
        self._newest = rules

    async def prune(self, in_force: str) -> int:
        """Delete what decided only about events that left the log; return how many. Raises StoreUnavailableError."""
        return await self._contents.keep({in_force, *await self._named()}) if self._named is not None else 0

    async def load(self, content_hash: str) -> RuleSet:
        """Return a rule set that was stored. Raises StartError if it is not there, or cannot be used any more."""
        if self._newest is not None and self._newest.hash == content_hash:
            return self._newest
        bundle = await self._contents.get(content_hash)
        if bundle is None:
            raise StartError(
                f"the rules that decided last ({content_hash[:12]}) are not in the store",
                "restore the data directory from a backup, or begin with an empty one",
            )
        return await asyncio.to_thread(RuleSet.from_bundle, bundle, self._actions)
