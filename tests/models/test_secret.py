"""A secret is hidden in whatever way it is written."""

from __future__ import annotations

import base64
import logging
import re
import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.models.connection import (
    DUMMIES,
    SHORTEST,
    Secrets,
    clean_key,
    header_secrets,
    login_secrets,
    proxy_logins,
)

few = settings(max_examples=30)


@few
@given(st.text(string.ascii_letters, max_size=SHORTEST - 1), st.text())
def test_short_words_stay(key: str, text: str) -> None:
    assert Secrets([key]).hide(text) == text


@pytest.mark.parametrize("key", ["ollama", "none", "EMPTY", "model", "lm-studio", "no-key-needed"])
def test_words_that_stand_for_no_key_stay(key: str) -> None:
    assert Secrets([key]).hide(f"try {key} first") == f"try {key} first"


def test_a_key_of_which_a_part_is_shown_is_hidden() -> None:
    secrets = Secrets(["sk-proj-0123456789"])
    assert secrets.hide("key sk-proj-01234*** is bad") == "key [key]*** is bad"
    assert secrets.hide("key ...roj-0123456789") == "key ...ro[key]"
    assert secrets.hide("keys begin with sk-proj-") == "keys begin with sk-proj-"


def test_a_short_password_is_hidden_as_a_word() -> None:
    assert Secrets([], ["tiger"]).hide("tiger, not tigers: //u:tiger@h") == (
        "[key], not tigers: //u:[key]@h"
    )


@few
@given(st.text())
def test_a_clean_key_is_printable_or_refused_without_being_shown(key: str) -> None:
    try:
        cleaned = clean_key(key, "api_key")
    except InvalidInputError as error:
        assert len(key.strip()) < 3 or key.strip() not in str(error)
        assert "\n" not in str(error)
        return
    assert cleaned.isascii()
    assert cleaned == "" or cleaned.isprintable()
    assert cleaned == cleaned.strip()


def test_a_key_with_a_line_break_says_where() -> None:
    with pytest.raises(InvalidInputError, match="api_key holds a line break at character 4 of 7"):
        clean_key("abc\ndef\r\n", "api_key")
    assert clean_key("\ufeff abcdef\r\n", "api_key") == "abcdef"


def test_the_log_shows_no_key() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "to %s", ("http://u:sk-12345678@h",), None)
    assert Secrets(["sk-12345678"]).filter(record)
    assert record.getMessage() == "to http://u:[key]@h"


def test_passwords_of_proxies_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass@proxy:1")
    assert "me:pass" in proxy_logins()


@pytest.mark.parametrize("login", ["me:pass%40word", "sk-t0ken-12345", "sk-t0ken-12345:x"])
def test_a_login_is_hidden_in_every_form_that_a_proxy_repeats(
    login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{login}@proxy:1")
    found = [login_secrets(each) for each in proxy_logins()]
    secrets = Secrets(
        [key for keys, _ in found for key in keys], [word for _, words in found for word in words]
    )
    user, _, password = login.replace("%40", "@").partition(":")
    header = base64.b64encode(f"{user}:{password}".encode()).decode()
    shown = secrets.hide(f"407 {user}:{password} Basic {header}")
    assert not {"pass@word", "sk-t0ken-12345", header} & set(re.split(r"[ :]", shown)), shown


@few
@given(
    st.text(string.ascii_letters + string.punctuation, min_size=SHORTEST),
    st.text(string.ascii_letters, max_size=5),
    st.text(string.ascii_letters, max_size=5),
)
def test_a_key_is_hidden_in_the_base64_of_a_longer_text(key: str, before: str, after: str) -> None:
    assume(key.lower() not in DUMMIES)  # Hypothesis tries words that it finds in the code
    whole = base64.b64encode(f"{before}{key}{after}".encode()).decode()
    assert Secrets([key]).occur(f"Basic {whole}")


def test_values_of_headers_count() -> None:
    found = header_secrets("X-Gateway: Bearer gw-0123456789\nX-Team: blue")
    assert Secrets(found).hide("sent gw-0123456789, blue").endswith("[key], blue")


@pytest.mark.parametrize("key", ["organis\nation", "organis\tation"])
def test_a_control_character_is_known_as_python_writes_it(key: str) -> None:
    assert Secrets([key]).hide(f"Illegal header value {key.encode()!r}") == (
        "Illegal header value b'[key]'"
    )
