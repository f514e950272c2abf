"""Write down what a server has as the beginning of a site: three files, as text. Asks nobody, opens nothing.

Names come from the server and may hold anything. In values they are quoted as JSON, which YAML 1.2
reads, with `${` taken apart; in comments they are made one harmless line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from zoneinfo import available_timezones

from bridge.contracts import ChannelInfo, Relay, SystemInfo

_NO_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
CONFIG, SECRETS, RULES = "bridge.yaml", "secrets.yaml", "rules/first.yaml"

_HEAD = """\
# Written by `vms-bridge init` from what the server said. `vms-bridge check` checks it, `vms-bridge run` starts it.
site: home                        # name of this place; first part of every subject and event source
zone: {zone}{zone_note}
data_dir: data                    # everything the bridge must not forget

sources:
  {name}:                         # {product}
{source}{channels}
"""
_OUTPUTS = """\
# The relays that the server has, as outputs that rules may switch. What is not declared here cannot be switched.
# `idle` is the position that is safe to return to: check it at the device, it is not always "off".
outputs:
{outputs}
# A door protects an output that lets somebody in. `observe` decides and records, and opens nothing;
# set `mode: act` when the log shows what you want. Rules then say `open: main-gate`.
# doors:
#   main-gate: {{output: {first}, mode: observe, pulse: 1s, max_age: 10s, cooldown: 5s}}

"""
_TAIL = """\
# webhooks:
#   backoffice: {url: "https://example.org/hook"}
# mqtt: {host: 127.0.0.1}

rules:
  - rules/*.yaml
"""
_RULES = """\
# A first rule: when something moves{place_words}, a clip of it is kept, one a minute at most.
# Change it, then `vms-bridge check` and `vms-bridge test`; neither needs the server.
rules:
  - id: first-clip
    description: A clip of what moves, one a minute at most.
    when: {{kind: motion.started, source: {name}{channel}}}
    per: channel
    cooldown: 1m
    then:
      - clip: {{before: 5s, after: 10s}}

tests:
  - name: motion makes one clip a minute
    given:
      - {{kind: motion.started, source: {name}, channel: {test_channel}}}
      - {{wait: 30s}}
      - {{repeat: 1}}
      - {{wait: 31s}}
      - {{repeat: 1}}
    expect:
      - clip: {{before: 5s, after: 10s}}
      - clip: {{before: 5s, after: 10s}}

  - name: another source's motion makes none
    given: [{{kind: motion.started, source: another, channel: {test_channel}}}]
    expect: []
"""


def outputs_of(info: SystemInfo) -> dict[str, tuple[ChannelInfo, Relay]]:
    """Return every relay under the name it gets as an output."""
    named: dict[str, tuple[ChannelInfo, Relay]] = {}
    for channel in info.channels:
        for number, relay in enumerate(channel.relays, 1):
            name = _slug(relay.name) or f"channel-{_slug(channel.channel) or 'x'}-relay-{number}"
            unique, again = name, 2
            while unique in named:
                unique, again = f"{name}-{again}", again + 1
            named[unique] = (channel, relay)
    return named


def config_text(name: str, info: SystemInfo, fields: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    """Return `bridge.yaml`. `fields` are the source's plain fields, `secrets` the names of its secret ones."""
    zone = info.zone if info.zone in available_timezones() else "UTC"
    source = "".join(f"    {key}: {value_text(value)}\n" for key, value in fields.items())
    source += "".join(f"    {key}: !secret {value_text(secret)}\n" for key, secret in secrets.items())
    outputs = outputs_of(info)
    text = _HEAD.format(
        zone=zone,
        zone_note="" if zone == info.zone else f"   # the server says {_note(info.zone) or 'nothing'}; set your own",
        name=key_text(name),
        product=_note(f"{info.product} {info.version}, {info.name}"),
        source=source,
        channels="".join(_channel_note(channel) for channel in info.channels),
    )
    if outputs:
        lines = (_output_line(key, name, *where) for key, where in outputs.items())
        text += _OUTPUTS.format(outputs="".join(lines), first=key_text(next(iter(outputs))))
    return text + _TAIL


def secrets_text(secrets: Mapping[str, str]) -> str:
    """Return `secrets.yaml`."""
    head = "# Secrets of bridge.yaml, as `!secret name`. Keep it readable by the bridge alone.\n"
    return head + "".join(
        f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in secrets.items()
    )


def rules_text(name: str, info: SystemInfo) -> str:
    """Return `rules/first.yaml`: one rule that works at this site, and its tests."""
    first = info.channels[0] if info.channels else None
    channel = value_text(first.channel) if first else ""
    return _RULES.format(
        name=key_text(name),
        place_words=f" on channel {_note(first.channel)}" if first else "",
        channel=f", channel: {channel}" if first else "",
        test_channel=channel or '"1"',
    )


def value_text(value: str) -> str:
    """Return a value as YAML that means exactly this text in a configuration."""
    return json.dumps(value.replace("${", "$${"), ensure_ascii=False)


def key_text(name: str) -> str:
    """Return a name as YAML that means text: bare where it reads as a word, quoted where it would be a number."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) and name.casefold() not in _NO_WORDS
    return name if plain else json.dumps(name)


def _output_line(key: str, source: str, channel: ChannelInfo, relay: Relay) -> str:
    fields = f"source: {key_text(source)}, channel: {value_text(channel.channel)}, relay: {value_text(relay.token)}"
    return f'  {key_text(key)}: {{{fields}, idle: "off", class: actuating}}   # {_note(relay.name)}\n'


def _channel_note(channel: ChannelInfo) -> str:
    presets = ", ".join(_note(preset.name) for preset in channel.presets)
    return (
        f"    # channel {_note(channel.channel)}: {_note(channel.name)}{f'; presets: {presets}' if presets else ''}\n"
    )


def _note(text: str) -> str:
    """Return a text fit for a comment."""
    return "".join(c if c.isprintable() else " " for c in text)[:80].strip()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:40].strip("-")
