"""No secret leaves, whatever shape it comes in."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from bridge.config.models import HttpConfig, PushClient, WebhookConfig
from bridge.runtime.redact import MASK, Redactor, secrets_in

CANARY = "cAnArY0815"
ENCODED = base64.b64encode(f"demo:{CANARY}".encode()).decode()

SHAPES = [
    f"GET /api/push?auth={ENCODED} HTTP/1.1",
    f"GET /api/push?topic=x&auth={ENCODED}&y=1",
    f"http://h/watch?token={CANARY}",
    f"http://h/watch?apikey={CANARY}&x=y",
    f"ws://h/wsapi?session={CANARY}",
    f"http://h/a?url=http%3A%2F%2Fh%2Fb%3Fauth%3D{CANARY}",
    f"password={CANARY}",
    f"access_token={CANARY}",
    f"client_secret={CANARY};",
    f"api_key={CANARY}",
    f"password: {CANARY}",
    f"secret={CANARY}",
    f'{{"password": "{CANARY}"}}',
    f'{{"refreshToken":"{CANARY}"}}',
    f"{{'token': '{CANARY}', 'a': 1}}",
    f'"{{\\"password\\": \\"{CANARY}\\"}}"',
    f"SomeError(password='{CANARY}')",
    f"http://admin:{CANARY}@192.0.2.1/x",
    f"http://admin:a@{CANARY}@192.0.2.1/x",
    f"nats://{CANARY}@127.0.0.1:4222",
    f"Authorization: Basic {ENCODED}",
    f"authorization: Bearer {CANARY}",
    f'Authorization: Digest username="demo", response="{CANARY}"',
    f"Proxy-Authorization: Basic {ENCODED}",
    f"(b'authorization', b'Basic {ENCODED}')",
    f"{{'Authorization': 'Bearer {CANARY}'}}",
    f"X-API-Key: {CANARY}",
    f"[('x-api-key', '{CANARY}')]",
    f"Cookie: a=b; sid={CANARY}",
    f"Set-Cookie: sid={CANARY}; HttpOnly",
    f"bearer {CANARY}",
    f"the secret is whsec_{CANARY}+/=",
    f"key tsapi_key_{CANARY}",
    f"rtsp://cam/live/{CANARY}?x=1",
    f"rtmp://admin:{CANARY}@cam:1935/app/key",
    f"rtmps://cam/app/{CANARY}",
    f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.x",
]


@pytest.mark.parametrize("text", SHAPES)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    """Even one that is in no configuration: a device's, a vendor's session."""
    masked = Redactor().text(f"before {text} after")
    assert CANARY not in masked
    assert ENCODED[:-3] not in masked
    assert MASK in masked
    assert masked.startswith("before")


@pytest.mark.parametrize("text", SHAPES)
def test_masking_twice_changes_nothing(text: str) -> None:
    """A text may pass more than one net."""
    once = Redactor().text(text)
    assert Redactor().text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "source lost reason=auth",
        "auth: the server refuses user 'bridge'",
        "sources.cam.password: is required",
        "http://192.0.2.1:8080/api/info?apiVersion",
        "plate 12AB345 on channel 1 at 22:00",
        "the session ended: no answer within 3 s",
        "unknown token at line 3",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """A log that masks everything tells nothing."""
    assert Redactor().text(text) == text


_secrets = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=6, max_size=40).filter(
    lambda s: not set(s) <= set("*") and MASK not in s and s.strip("*") != ""
)


@given(secret=_secrets, user=st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8))
def test_a_known_secret_is_masked_in_every_form(secret: str, user: str) -> None:
    """Plain, in a URL, in JSON, in a Python repr, in base64 with its user, with and without padding."""
    redactor = Redactor()
    redactor.add(secret, user)
    pair = base64.b64encode(f"{user}:{secret}".encode()).decode()
    forms = [secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]]
    forms += [pair, pair.rstrip("="), quote(pair, safe=""), base64.b64encode(secret.encode()).decode()]
    for form in forms:
        masked = redactor.text(f"<{form}>")
        assert form not in masked
        assert masked.startswith("<")
        assert masked.endswith(">")


@given(st.recursive(st.text(max_size=20), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner)))
def test_any_structure_is_masked_throughout(value: object) -> None:
    """Fields of log entries may be nested; no depth lets a secret pass."""
    redactor = Redactor()
    redactor.add(CANARY)
    nested = {"a": [value, CANARY, {"b": (f"x{CANARY}y", {CANARY: 1})}]}
    assert CANARY not in json.dumps(redactor.value(nested))


def test_a_field_with_a_secrets_name_is_masked_whole() -> None:
    """Whatever stands in `password` is none of a log's business."""
    value = Redactor().value({"password": "a b", "x-api-key": "c", "nested": {"token": ["d", "e"]}, "count": 3})
    assert value == {"password": MASK, "x-api-key": MASK, "nested": {"token": [MASK, MASK]}, "count": 3}


def test_every_secret_of_a_configuration_is_found_with_its_user() -> None:
    """Nested, in tuples and mappings; a push client's own name is its user name."""
    config = HttpConfig(
        push={"booth": PushClient(password=SecretStr("pw-1")), "x": PushClient(username="u", token=SecretStr("pw-2"))}
    )
    hook = WebhookConfig(url="http://h", secrets=(SecretStr("pw-3"),), headers={"A": SecretStr("Bearer pw-4-long")})
    assert set(secrets_in(config)) == {("pw-1", "booth"), ("pw-2", "u")}
    assert {secret for secret, _ in secrets_in(hook)} == {"pw-3", "Bearer pw-4-long"}
    redactor = Redactor()
    redactor.add_all(config, hook)
    assert "pw-4" not in redactor.text("sent pw-4-long to it")
    assert redactor.text(base64.b64encode(b"booth:pw-1").decode()) == MASK


def test_a_very_short_secret_does_not_spoil_the_log() -> None:
    """A password `1` is masked only where its shape gives it away."""

    class Model(BaseModel):
        pin: SecretStr = SecretStr("1")

    redactor = Redactor()
    redactor.add_all(Model())
    assert redactor.text("channel 1") == "channel 1"


@pytest.mark.parametrize("text", ["_" * 60_000, "-a" * 30_000, "password" * 8_000, "a://" * 15_000, "'\\" * 30_000])
def test_no_text_makes_masking_slow(text: str) -> None:
    """A hostile message cannot stop the bridge by being logged."""
    started = time.process_time()
    Redactor().text(text)
    assert time.process_time() - started < 2
