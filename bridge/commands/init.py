"""`vms-bridge init`: ask a server what it has and write a first configuration that checks and tests.

It reads from the server and switches nothing. What exists already is not overwritten unless told to.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.output import Exit, JsonOption, command, err, out, print_json
from bridge.commands.site import actions, connectors
from bridge.errors import (
    ConfigError,
    ConnectorAuthError,
    ConnectorError,
    ConnectorUnavailableError,
    StartError,
)

if TYPE_CHECKING:
    from bridge.contracts import ConnectorConfig, ConnectorSpec, SystemInfo

PASSWORD = "VMS_BRIDGE_PASSWORD"  # noqa: S105 - the name of a variable
_JOBS = "jobs"
_PATIENCE = 30.0
"""Seconds for all the questions; a large server is asked for each camera's presets."""
_CURES: dict[type[ConnectorError], str] = {
    ConnectorAuthError: "check the user name and the password (or the API key), and the user's rights on the server",
    ConnectorUnavailableError: "check the address, the port and http/https; is the server's web interface switched on?",
    ConnectorError: "check that the address is a server of this --type, and that its API is licensed and switched on",
}


@dataclass(frozen=True, slots=True)
class Written:
    """What goes into the source's section: plain fields, and secrets by field."""

    fields: dict[str, str]
    secrets: dict[str, str]


@command
def init(
    url: Annotated[str, typer.Argument(help="The server: http://host:port")],
    system: Annotated[str, typer.Option("--type", help="What it is.")] = "ts-api",
    username: Annotated[str | None, typer.Option("--user", "-u", help="User of the server.")] = None,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help=f"Read the password from standard input (else ${PASSWORD}, or ask)."),
    ] = False,
    api_key_stdin: Annotated[
        bool, typer.Option("--api-key-stdin", help="Read an API key from standard input.")
    ] = False,
    fingerprint: Annotated[
        str | None, typer.Option(help="SHA-256 of the server's certificate, to trust a self-signed one.")
    ] = None,
    name: Annotated[str, typer.Option(help="What to call it.")] = "nvr1",
    folder: Annotated[Path, typer.Option("--dir", help="Where to write.")] = Path(),
    jobs: Annotated[bool, typer.Option("--jobs", help="Copy the ten jobs beside it: rules to take from.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a server for its channels, presets and relays, and write a first configuration for it."""
    _check_name(name)
    paths = _paths(folder, [folder / _JOBS] if jobs else [], force=force)
    spec = connectors().get(system)
    written = _credentials(url, system, username, fingerprint, password_stdin=password_stdin, api_key=api_key_stdin)
    config = _validated(spec, written)
    try:
        info = asyncio.run(_ask(spec, config, name))
    except ConnectorError as error:
        cure = next(cure for kind, cure in _CURES.items() if isinstance(error, kind))
        err().print(f"{url}: {error}; {cure}", style="red", markup=False, highlight=False)
        raise typer.Exit(Exit.FAILED) from error
    if not as_json:
        _show(info)
    _write(paths[:3], name, info, written)
    if jobs:
        _copy_jobs(paths[3])
    passed, tests = _prove(paths[0])
    if as_json:
        _print(info, paths, passed, tests)
    else:
        out().print(f"wrote {paths[0]} with secrets.yaml and rules/first.yaml; {passed} of {tests} rule tests pass")
        if jobs:
            out().print(f"copied ten jobs to {paths[3]}: move what you need to {paths[2].parent}", highlight=False)
        next_steps = f"next: vms-bridge doctor -c {paths[0]}; vms-bridge run -c {paths[0]}"
        out().print(next_steps, markup=False, highlight=False)
    if passed < tests:
        raise typer.Exit(Exit.FAILED)


def _check_name(name: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    from bridge.config.models import Name

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise ConfigError(f"--name: {name!r} is not a name: letters, digits, `-`, `_` and `.`, at most 64") from error


def _paths(folder: Path, more: list[Path], *, force: bool) -> list[Path]:
    """Return what will be written, the three files first. Raises ConfigError if some of it is there already."""
    from bridge.commands.first_site import CONFIG, RULES, SECRETS

    paths = [*(folder / relative for relative in (CONFIG, SECRETS, RULES)), *more]
    there = [str(path) for path in paths if os.path.lexists(path)]
    if there and not force:
        raise ConfigError(f"{', '.join(there)} exists already: choose another folder with --dir, or add --force")
    return paths


def _credentials(
    url: str, system: str, username: str | None, fingerprint: str | None, *, password_stdin: bool, api_key: bool
) -> Written:
    """Return the source's section. Raises ConfigError when credentials are missing and nobody can be asked."""
    fields = {"type": system, "url": url}
    if fingerprint is not None:
        fields["fingerprint"] = fingerprint
    if password_stdin and api_key:
        raise ConfigError("--password-stdin and --api-key-stdin both read standard input: give one of the two")
    if api_key:
        return Written(fields, {"api_key": _line("--api-key-stdin")})
    if username is None:
        if not sys.stdin.isatty() or password_stdin:
            raise ConfigError("whom to log in as? add --user NAME, or --api-key-stdin")
        username = typer.prompt("User", err=True)
    fields["username"] = str(username)
    return Written(fields, {"password": _password(from_stdin=password_stdin)})


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return _line("--password-stdin")
    known = os.environ.get(PASSWORD)
    if known:
        return known
    if not sys.stdin.isatty():
        raise ConfigError(f"there is no password: set {PASSWORD}, or use --password-stdin")
    return str(typer.prompt("Password", hide_input=True, err=True))


def _line(option: str) -> str:
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise ConfigError(f"{option}: standard input is empty")
    return text


def _validated(spec: ConnectorSpec[Any], written: Written) -> ConnectorConfig:
    """Return what the connector makes of it. Raises ConfigError, without any value in it."""
    from pydantic import ValidationError

    try:
        config: ConnectorConfig = spec.config.model_validate(written.fields | written.secrets)
    except ValidationError as error:
        told = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}".removeprefix(": ")
            for one in error.errors(include_url=False, include_input=False)
        )
        raise ConfigError("; ".join(told)) from error
    return config


async def _ask(spec: ConnectorSpec[Any], config: ConnectorConfig, name: str) -> SystemInfo:
    """Return what the server says of itself. Raises ConnectorError, or ConfigError if its type cannot say."""
    from bridge.clock import SystemClock
    from bridge.contracts import Describes, SourceContext

    connector = spec.build(config, SourceContext("home", name, SystemClock()))
    try:
        if not isinstance(connector, Describes):
            raise ConfigError(
                f"a {spec.name} cannot be asked what it has: write bridge.yaml by hand (docs/ref/config.md)"
            )
        async with asyncio.timeout(_PATIENCE):
            return await connector.describe()
    except TimeoutError as error:
        raise ConnectorUnavailableError(f"the server did not tell all within {_PATIENCE:.0f} s") from error
    finally:
        await connector.aclose()


def _show(info: SystemInfo) -> None:
    from rich.table import Table
    from rich.text import Text

    # Text, not strings: a server's names may hold what Rich would take for markup.
    table = Table(title=Text(f"{info.name}: {info.product} {info.version}"), title_justify="left")
    for column in ("channel", "name", "PTZ", "presets", "relays"):
        table.add_column(column)
    for channel in info.channels:
        moves = {True: "yes", False: "no", None: "?"}[channel.ptz]
        presets = ", ".join(preset.name or preset.token for preset in channel.presets)
        relays = ", ".join(f"{relay.name} ({relay.token})" for relay in channel.relays)
        table.add_row(*(Text(cell) for cell in (channel.channel, channel.name, moves, presets, relays)))
    out().print(table)


def _write(paths: list[Path], name: str, info: SystemInfo, written: Written) -> None:
    """Write the three files; the secrets first, and private from their first moment. Raises StartError."""
    from bridge.bus.datadir import write_private
    from bridge.commands.first_site import config_text, rules_text, secrets_text

    config, secrets, rules = paths
    named = {field: f"{name}_{field}" for field in written.secrets}
    try:
        rules.parent.mkdir(parents=True, exist_ok=True)
        write_private(secrets, secrets_text({named[field]: value for field, value in written.secrets.items()}))
        rules.write_text(rules_text(name, info), encoding="utf-8")
        config.write_text(config_text(name, info, written.fields, named), encoding="utf-8")
    except OSError as error:
        raise StartError(
            f"cannot write {error.filename or config} ({error.strerror})", "choose another folder with --dir"
        ) from error


def _copy_jobs(target: Path) -> None:
    """Copy the shipped jobs, a site of its own, so that nothing of it counts before it is moved. Raises StartError."""
    import shutil
    from importlib import resources

    try:
        shutil.copytree(Path(str(resources.files("rules"))) / "examples" / "jobs", target, dirs_exist_ok=True)
    except OSError as error:
        raise StartError(f"cannot write {target} ({error})", "choose another folder with --dir") from error


def _print(info: SystemInfo, paths: list[Path], passed: int, tests: int) -> None:
    """Say for scripts what the server has and what was written; no secret is in it."""
    from pydantic_core import to_jsonable_python

    print_json(
        {
            "ok": passed == tests,
            "files": [str(path) for path in paths],
            "tests": {"passed": passed, "failed": tests - passed},
            "system": to_jsonable_python(info),
        }
    )


def _prove(config: Path) -> tuple[int, int]:
    """Check and test what was written; return how many tests passed, of how many.

    Raises ConfigError: other files of the folder may not fit.
    """
    from bridge.commands.site import load_site
    from bridge.rulebook import action_specs, compile_site
    from rules.trial import run_trials

    specs = action_specs(actions())
    rules = compile_site(load_site(config), specs)
    results = run_trials(rules, specs)
    return sum(result.passed for result in results), len(results)
