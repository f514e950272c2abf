"""Values from outside stay values, wherever a rule puts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bridge.schema.text import JsonTemplate, Place, TopicText, UrlText, escape_for, place_of, plain


@given(st.text(max_size=200))
def test_no_value_makes_a_topic_level(value: str) -> None:
    """An MQTT client cannot be led to another topic by what a plate says."""
    text = escape_for(Place.TOPIC, value)
    assert text
    assert not set(text) & set("/+#$\x00")


@given(st.text(max_size=200))
def test_no_value_leaves_its_part_of_a_url(value: str) -> None:
    """Nothing that means something in a URL survives unescaped."""
    assert not set(escape_for(Place.URL, value)) & set("/?#&=:@[] \r\n\\")


@given(st.text(max_size=200))
def test_no_value_breaks_a_header(value: str) -> None:
    """One line, ASCII."""
    text = escape_for(Place.HEADER, value)
    assert text.isascii()
    assert text.isprintable()


@given(st.text(max_size=200))
def test_no_value_is_a_path(value: str) -> None:
    """A file name part holds no separator and is never `..`."""
    text = escape_for(Place.FILE, value)
    assert not set(text) & set("/\\.\x00")
    assert 0 < len(text) <= 64


@pytest.mark.parametrize(
    ("value", "text"), [(97.0, "97"), (95.5, "95.5"), (True, "true"), (None, "null"), ("x", "x"), ([1, "a"], '[1,"a"]')]
)
def test_values_read_as_people_write_them(value: object, text: str) -> None:
    """A whole number has no `.0`."""
    assert plain(value) == text  # type: ignore[arg-type]


def test_a_model_names_the_place_of_each_text() -> None:
    """Through optional, list and dict types; a plain text has no place."""

    class Params(BaseModel):
        topic: TopicText
        maybe: UrlText | None = None
        many: list[TopicText] = []
        body: dict[str, JsonTemplate] = {}
        fixed: str = ""

    fields = Params.model_fields
    places = {name: place_of(field.annotation, tuple(field.metadata)) for name, field in fields.items()}
    assert places == {
        "topic": Place.TOPIC,
        "maybe": Place.URL,
        "many": Place.TOPIC,
        "body": Place.JSON,
        "fixed": None,
    }
