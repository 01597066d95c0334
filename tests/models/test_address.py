"""Addresses are read once, or refused in one line without their secrets."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.models.connection import read_address


@settings(max_examples=30)
@given(st.text() | st.text().map("http://{}".format) | st.from_regex(r"https?://[^/]*@?[^/]*/\S*"))
def test_any_text_is_an_address_or_one_line(text: str) -> None:
    try:
        address = read_address(text)
    except InvalidInputError as error:
        assert str(error).startswith("base_url ")
        assert len(str(error).splitlines()) == 1
        return
    assert address.url.startswith(("http://", "https://"))
    assert read_address(address.url).url == address.url


@pytest.mark.parametrize(
    "text",
    [
        *("http://u:SECRET@h:x/v1", "http://u:SECRET@[::1/v1", "u:SECRET@h/v1", "SECRET"),
        *("http://u:pa/SECRET@h/v1", "ftp://u:SECRET@h", "h/v1?api_key=SECRET", "eyJ.SECRET.x"),
        *("http://h:99999/v1?key=SECRET", "http://u:SECRET@/v1", "http://u:SE\uff03SECRET@h"),
    ],
)
def test_a_wrong_address_is_told_without_its_secrets(text: str) -> None:
    with pytest.raises(InvalidInputError, match="expected http") as caught:
        read_address(text)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (" HTTP://127.0.0.1:8000/v1/ ", "http://127.0.0.1:8000/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/v1/messages/", "http://h/v1"),
        ("http://[::1]:8000/v1#here", "http://[::1]:8000/v1"),
        ("http://user:pw@h/v1?api-version=1&key=k", "http://h/v1"),
    ],
)
def test_what_does_no_harm_is_taken(text: str, url: str) -> None:
    assert read_address(text).url == url


def test_a_login_and_a_query_are_kept_apart() -> None:
    address = read_address("https://me:p%40ss@x.openai.azure.com/openai?api-version=1&key=k12345")
    assert address.query == {"api-version": "1", "key": "k12345"}
    assert address.login == "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert "k12345" in address.keys
    assert {"p%40ss", "p@ss"} <= set(address.passwords)
    assert address.takes_key_apart
    assert "p@ss" not in repr(address)
    assert read_address("http://token@h").passwords[0] == "token"


@pytest.mark.parametrize("text", ["http://t0ken-12345:x@h", "http://h/v1?t0ken-12345"])
def test_a_token_may_stand_for_the_user_or_for_the_whole_query(text: str) -> None:
    assert "t0ken-12345" in read_address(text).keys
