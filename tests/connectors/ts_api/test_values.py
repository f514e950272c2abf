"""Single values: channels, codes, addresses, encoded texts, and secrets that must not stay."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.ts_api import values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, ("3",)),
        ("3", ("3",)),
        ("03", ("3",)),
        (3.0, ("3",)),
        ([1, 2], ("1", "2")),
        (["1", 1, 2], ("1", "2")),
        ("1,2, 3", ("1", "2", "3")),
        ({"chid": 4, "title": "Camera4"}, ("4",)),
        ({"chid": [4, 5]}, ("4", "5")),
        ([{"chid": 1}, {"chid": 2, "streams": []}], ("1", "2")),
        ({"chid": {"chid": 4}}, ()),
        ("", ()),
        (0, ()),
        (-1, ()),
        (True, ()),
        (None, ()),
        ("gate", ()),
        (10**30, ()),
        ("9" * 5000, ()),
        ([[1], None, {}], ()),
    ],
)
def test_r9_channels_come_in_many_forms(value: Any, expected: tuple[str, ...]) -> None:
    """Number, text, array, object; always 1-based, never anything else."""
    assert values.channels(value) == expected


def test_r9_channel_stands_in_for_chid() -> None:
    """v1 names the channel of a plate `channel`."""
    assert values.channel_of({"channel": 1}) == "1"
    assert values.channel_of({"chid": None, "channel": 2}) == "2"
    assert values.channel_of({"chid": {"chid": 3}, "channel": 2}) == "3"
    assert values.channel_of({}) is None


@pytest.mark.parametrize(
    ("code", "codes", "state"),
    [
        (200, "v0", "connected"),
        (200, "v1", "connected"),
        (0, "v0", "disconnected"),
        (0, "v1", "connected"),
        (-1, "v0", "unused"),
        (-1, "v1", "disconnected"),
        (-2, "v1", "connecting"),
        (-3, "v0", "connecting"),
        (-3, "v1", "auth_failed"),
        (401, "v0", "auth_failed"),
        (410, "v0", "no_video"),
        (777, "v0", "unknown"),
        (-9, "v1", "unknown"),
        (None, "v0", "unknown"),
    ],
)
def test_r6_status_codes_mean_different_things(code: int | None, codes: values.Dialect, state: str) -> None:
    """One table a dialect; 200 is the same in both."""
    assert values.state_of(code, codes) == state


@pytest.mark.parametrize(
    ("statuses", "known", "codes"),
    [
        ([0, -1], "v1", "v1"),
        ([], "v1", "v1"),
        ([0, 200], "v1", "v0"),
        ([2], "v1", "v0"),
        ([-4], "v1", "v0"),
        ([0], "v0", "v0"),
    ],
)
def test_r6_a_v1_socket_may_use_the_codes_of_v0(statuses: list[int], known: values.Dialect, codes: str) -> None:
    """One code that v1 does not have tells."""
    assert values.codes_in_use(statuses, known) == codes


@pytest.mark.parametrize(
    ("place", "name", "dialect", "value", "expected"),
    [
        ("plates", "srcName", "v0", "The%20Empire%20State", "The Empire State"),
        ("plates", "srcName", "v0", "The Empire State", "The Empire State"),
        ("plates", "srcName", "v0", "%EC%9E%85%EA%B5%AC", "입구"),
        ("plates", "srcName", "v0", "50%25%20off", "50% off"),
        ("plates", "srcName", "v0", "%2541", "%41"),
        ("plates", "srcName", "v0", "%FF%FE", "%FF%FE"),
        ("plates", "srcName", "v1", "The%20Empire%20State", "The%20Empire%20State"),
        ("plates", "plateNo", "v0", "A%20B", "A%20B"),
        ("live", "srcName", "v0", "A%20B", "A%20B"),
        ("log", "storagePath", "v0", "E%3A%5CrecData%5C", "E:\\recData\\"),
        ("log", "storagePath", "v0", 7, 7),
    ],
)
def test_r10_encoded_texts_are_decoded_once_and_only_where_they_are(
    place: str, name: str, dialect: values.Dialect, value: Any, expected: Any
) -> None:
    """By the table, and only if the result is text."""
    assert values.decoded(place, name, value, dialect) == expected


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("http://localhost/hls/ch1main/index.m3u8", "/hls/ch1main/index.m3u8"),
        ("/storage/e/0/1.plate.jpg", "/storage/e/0/1.plate.jpg"),
        ("storage/1.jpg", "/storage/1.jpg"),
        ("http://admin:secret@10.0.0.5:8080/a.jpg", "/a.jpg"),
        ("rtsp://admin:se/cr?et@10.0.0.5/live", "/live"),
        ("http://host/a.jpg?auth=ZGVtbw==&x=1", "/a.jpg?x=1"),
        ("/a.jpg?token=abc", "/a.jpg"),
        ("/a.jpg?apikey=abc&TOKEN=abc", "/a.jpg"),
        ("http://host/live?port=1935&app=live&stream=ch1main", "/live?port=1935&app=live&stream=ch1main"),
        ("//evil.example/a.jpg", "/a.jpg"),
        ("///evil.example/a.jpg", "/evil.example/a.jpg"),
        ("  http://host/a.jpg\n", "/a.jpg"),
        ("http://host", None),
        ("http://host/", None),
        ("http://[half", None),
        ("", None),
        ("/" + "x" * 5000, None),
        (None, None),
        (7, None),
    ],
)
def test_r13_of_an_address_only_path_and_query_stay(address: Any, path: str | None) -> None:
    """The place is always the configured server, and credentials are added when it is fetched."""
    assert values.path_of(address) == path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("rtsp://admin:pa@ss@10.0.0.5:554/live", "rtsp://***@10.0.0.5:554/live"),
        ("rtsp://admin:pa/s?s@10.0.0.5/live", "rtsp://***@10.0.0.5/live"),
        ("see rtsp://a:b@c/d and rtsp://e:f@g/h", "see rtsp://***@c/d and rtsp://***@g/h"),
        ("http://host:8080/watch?ch=1&user=a@b", "http://host:8080/watch?ch=1&user=a@b"),
        ("http://host/a.mp4&auth=ZGVtbzpwdw%3D%3D", "http://host/a.mp4&auth=***"),
        ("/a?ch=1&APIKEY=tsapi_key_1&x=2", "/a?ch=1&APIKEY=***&x=2"),
        ("http%3A//host/%3Ftoken%3Dabc", "http%3A//host/%3Ftoken%3D***"),
        ("/x?u=rtsp%3A%2F%2Fadmin%3Apw%40h%3A554&y=1", "/x?u=rtsp%3A%2F%2F***@h%3A554&y=1"),
        ("author=Kim", "author=Kim"),
        ({"uid": "kim", "password": "pw", "Token": "t"}, {"uid": "kim", "password": "***", "Token": "***"}),
        ({"a": [{"src": "rtsp://u:p@h/1"}]}, {"a": [{"src": "rtsp://***@h/1"}]}),
        ({"password": ""}, {"password": ""}),
        (["12가3456", 7, None, True], ["12가3456", 7, None, True]),
    ],
)
def test_secrets_do_not_stay_in_what_is_kept(value: Any, expected: Any) -> None:
    """Members, query parameters and user parts, wherever they are."""
    assert values.redact(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(95, 95.0), (95.5, 95.5), ("95", 95.0), (101, None), (-1, None), ("high", None), (True, None), (10**400, None)],
)
def test_r12_a_score_is_a_percentage_or_nothing(value: Any, expected: float | None) -> None:
    """Engines differ; what is outside the scale says nothing."""
    assert values.percent(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (0, False), ("true", True), ("1", True), ("FALSE", False), (2, None), (None, None), ([1], None)],
)
def test_flags_come_as_words_and_numbers_too(value: Any, expected: bool | None) -> None:
    """As in the vendor's parameters."""
    assert values.flag(value) is expected


def test_a_name_fits_a_subject_or_does_not() -> None:
    """The bus takes 200 characters after escaping; a Hangul letter makes nine of one."""
    assert values.fits_subject("F" * 200)
    assert not values.fits_subject("F" * 201)
    assert values.fits_subject("가" * 22)
    assert not values.fits_subject("가" * 23)
