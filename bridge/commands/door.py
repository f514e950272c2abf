"""`vms-bridge door`, `kill`, `breaker` and `clock`: what a person at this machine may do to what moves.

Asks the bridge that runs, with the token it keeps in its data directory. The kill switch and a hold
are files as well, so that they work when no bridge answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from bridge.commands.ask import ask, person
from bridge.commands.output import ConfigOption, Exit, JsonOption, command, out, print_json
from bridge.commands.site import DEFAULT_CONFIG, load_site
from bridge.errors import BridgeError, ConfigError
from bridge.registry import unknown

if TYPE_CHECKING:
    from bridge.config.load import Loaded
    from bridge.safety.latch import Latch

door = typer.Typer(name="door", help="Look at doors, open, stop and release them.", no_args_is_help=True)
breaker = typer.Typer(name="breaker", help="The breaker that stops a storm of openings.", no_args_is_help=True)

clock = typer.Typer(name="clock", help="Clocks that keep doors shut: look at them, accept them.", no_args_is_help=True)

Door = Annotated[str, typer.Argument(help="Name of the door.")]
Pending = Annotated[str, typer.Argument(help="The opening that waits; see `door list`.")]
Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Why; kept with the command.")]


@command
def list_doors(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the doors, what waits for people, the kill switch and the breaker."""
    state = ask(load_site(Path(config)), "GET", "/api/safety")
    if as_json:
        print_json(state)
        return
    for name, one in state["doors"].items():
        held = f", stopped by {one['held']['principal']}: {one['held']['reason']}" if one["held"] else ""
        _say(f"{name}: {one['mode']}{held}")
    for one in state["pending"]:
        _say(f"{one['id']} waits at {one['door']} until {one['until']}: {one['plate'] or one['rule']}")
    _say_waiting(state["settings"])
    for latch, words in (("kill", "the kill switch is pulled"), ("breaker", "the breaker has tripped")):
        if state[latch]:
            _say(f"{words}: {state[latch]['reason']} ({state[latch]['principal']}, {state[latch]['at']})")


@command
def open_door(
    name: Door, reason: Reason = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Open a door, within its limits."""
    _end(ask(load_site(Path(config)), "POST", f"/api/doors/{name}/open", reason), as_json)


@command
def confirm(
    pending: Pending, reason: Reason = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Agree to an opening that waits."""
    _end(ask(load_site(Path(config)), "POST", f"/api/pending/{pending}/confirm", reason), as_json)


@command
def deny(
    pending: Pending, reason: Reason = None, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Say no to an opening that waits."""
    _end(ask(load_site(Path(config)), "POST", f"/api/pending/{pending}/deny", reason), as_json)


@command
def hold(name: Door, reason: Reason = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Stop a door: it does not open until it is released. Works without a bridge."""
    loaded = load_site(Path(config))
    _known(loaded, name)
    asyncio.run(_hold(loaded, name).pull(_who(), reason or "not said"))
    _also(loaded, f"/api/doors/{name}/hold", reason)
    _say(f"{name} is stopped until: vms-bridge door release {name}")


@command
def release(name: Door, reason: Reason = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Let a stopped door open again. Works without a bridge."""
    loaded = load_site(Path(config))
    _known(loaded, name)
    if not _also(loaded, f"/api/doors/{name}/release", reason):
        asyncio.run(_hold(loaded, name).reset(_who(), reason or "not said"))
    _say(f"{name} may open again")


@command
def kill(
    reset: Annotated[bool, typer.Option("--reset", help="Let things be switched again.")] = False,
    reason: Reason = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Pull the kill switch: nothing leaves idle any more; what is away comes back. Works without a bridge."""
    from bridge.clock import SystemClock
    from bridge.commands.tail import data_dir
    from bridge.safety.killswitch import KillSwitch

    loaded = load_site(Path(config))
    switch = KillSwitch(data_dir(loaded) / "safety", SystemClock())
    if reset:
        if not _also(loaded, "/api/kill/reset", reason):
            asyncio.run(switch.reset(_who(), reason or "not said"))
        _say("the kill switch is reset; things may be switched again")
        return
    asyncio.run(switch.pull(_who(), reason or "not said"))
    _also(loaded, "/api/kill", reason)
    _say("the kill switch is pulled; nothing leaves idle until: vms-bridge kill --reset")


@command
def reset_breaker(reason: Reason = None, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Reset the breaker, after a look at why it tripped."""
    ask(load_site(Path(config)), "POST", "/api/breaker/reset", reason)
    _say("the breaker is reset")


@command
def settings(
    confirm: Annotated[
        str | None, typer.Option("--confirm", help="Agree to the change of this number, which may move things.")
    ] = None,
    reason: Reason = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show which settings of what moves were changed and wait, and agree to them."""
    loaded = load_site(Path(config))
    if confirm is not None:
        ask(loaded, "POST", "/api/settings/confirm", reason, {"confirm": confirm})
        _say("the changed settings count from now on")
        return
    waits = ask(loaded, "GET", "/api/safety")["settings"]
    if as_json:
        print_json(waits)
    else:
        _say_waiting(waits) if waits else _say("nothing waits: what the configuration says counts")
    if waits:
        raise typer.Exit(Exit.FAILED)


@command
def list_clocks(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show whether our clock keeps doors shut, and how far the clock of each source is off."""
    clocks = ask(load_site(Path(config)), "GET", "/api/safety")["clocks"]
    if as_json:
        print_json(clocks)
        return
    until = clocks["shut_until"]
    _say(f"ours went back; nothing moves until {until}, or: vms-bridge clock accept" if until else "ours is trusted")
    for name, one in clocks["sources"].items():
        if one["ahead"] is None:
            _say(f"{name}: not known yet; opens nothing unless it is under safety.trusted_clocks")
            continue
        shut = "" if one["opens"] else f"; opens nothing. When it is right: vms-bridge clock accept {name}"
        _say(f"{name}: {one['ahead']:+.1f} s{shut}")


@command
def accept_clock(
    source: Annotated[str | None, typer.Argument(help="The source whose clock is right now; default: ours.")] = None,
    reason: Reason = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Say that a clock which was wrong is right now, so that doors need not wait for it to catch up.

    What came while it was wrong still opens nothing; what is heard from now on may.
    """
    loaded = load_site(Path(config))
    if source is None:
        ask(loaded, "POST", "/api/clock/accept", reason)
        _say("our clock is accepted; what is heard from now on may open")
        return
    ask(loaded, "POST", f"/api/sources/{quote(source, safe='')}/clock/accept", reason)
    _say(f"the clock of {source} is learned anew")


door.command("list")(list_doors)
door.command("open")(open_door)
door.command("confirm")(confirm)
door.command("deny")(deny)
door.command("hold")(hold)
door.command("release")(release)
door.command("settings")(settings)
breaker.command("reset")(reset_breaker)
clock.command("list")(list_clocks)
clock.command("accept")(accept_clock)


@breaker.callback()
def _breaker() -> None:
    """The breaker that stops a storm of openings."""


def _hold(loaded: Loaded, name: str) -> Latch:
    from bridge.clock import SystemClock
    from bridge.commands.tail import data_dir
    from bridge.safety.doors import hold_of

    return hold_of(data_dir(loaded) / "safety", name, SystemClock())


def _known(loaded: Loaded, name: str) -> None:
    if name not in loaded.config.doors:
        raise ConfigError(unknown("door", name, list(loaded.config.doors)))


def _who() -> str:
    return f"cli:{person()}"


def _also(loaded: Loaded, path: str, reason: str | None) -> bool:
    """Tell the bridge that runs too, so that it is written down; return whether one was told."""
    try:
        ask(loaded, "POST", path, reason)
    except BridgeError:
        return False
    return True


def _end(content: Mapping[str, Any], as_json: bool) -> None:
    """Show how it ended; what was asked for and not done leaves with an error."""
    if as_json:
        print_json(content)
    else:
        words = content.get("message") or content.get("reason") or ""
        _say(f"{content['outcome']}{': ' if words else ''}{words}")
    if content["outcome"] not in ("done", "pending", "denied"):
        raise typer.Exit(Exit.FAILED)


def _say_waiting(waits: Mapping[str, Any] | None) -> None:
    if waits is None:
        return
    for one in waits["changes"]:
        was, now = ("default" if value is None else value for value in (one["was"], one["now"]))
        _say(f"{one['setting']}: {was} → {now}")
    shut = "everything that moves" if waits["outputs"] is None else ", ".join(waits["outputs"]) or "nothing"
    _say(f"waits for it: {shut}; if this is meant: vms-bridge door settings --confirm {waits['confirm']}")


def _say(words: str) -> None:
    out().print(words, markup=False, highlight=False)
