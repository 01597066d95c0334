"""Hostile texts: keys in every form, and pieces that would take some parsers forever."""

from __future__ import annotations

import json
import string
import sys
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.faults.quirks.echoes import forms
from tests.models.conformance import ask

from amp.errors import AmpError, InvalidInputError, MissingDependencyError
from amp.models.answer_text import cut_at_stop, without_thinking
from amp.models.base import Message, Prompt, Request
from amp.models.connection import DUMMIES, SHORTEST, Secrets
from amp.models.openai import OpenAIModel

printable = st.text(string.ascii_letters + string.digits + string.punctuation, min_size=SHORTEST)


@given(printable, st.text(), st.text())
def test_every_form_of_a_key_is_hidden(key: str, before: str, after: str) -> None:
    assume(key.lower() not in DUMMIES)
    secrets = Secrets([key])
    for form in (*forms(key).split(" | "), json.dumps(json.dumps(key)), repr(repr(key))):
        assert form not in secrets.hide(f"{before} {form} {after}"), form


@pytest.mark.parametrize("piece", ["\\", "%25", "&#0", "sk-proj-", "s"])
def test_hiding_takes_linear_time(piece: str) -> None:
    secrets = Secrets(["sk-proj-" + "aB3" * 1000])
    begun = time.process_time()
    secrets.hide(piece * (300_000 // len(piece)))
    assert time.process_time() - begun < 2.0


@pytest.mark.parametrize("piece", ["<think>", "</think>", "`", "\n```\n", "<", "a\n"])
def test_long_texts_take_linear_time(piece: str) -> None:
    text = piece * (300_000 // len(piece))
    begun = time.process_time()
    cut_at_stop(without_thinking(text).text, Prompt((Message("user", "?"),), 9, ("\n```\n", "x")))
    assert time.process_time() - begun < 2.0


@pytest.mark.parametrize(
    ("name", "proxy", "expected"),
    [
        ("ALL_PROXY", "socks5://u:SECRET@127.0.0.1:9", "pip install socksio"),
        ("HTTPS_PROXY", "ftp://u:SECRET@127.0.0.1:9", "mend or unset"),
        ("HTTP_PROXY", "http://u:SECRET@127.0.0.1:x", "mend or unset"),
        ("HTTP_PROXY", "http://u:SECRET@127.0.0.1:99999", "mend or unset"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, proxy: str, expected: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(name, proxy)
    model = OpenAIModel("m", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises((InvalidInputError, MissingDependencyError), match=expected) as caught:
        await model.generate(Request(ask("x")))
    assert "SECRET" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    model = OpenAIModel("m", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(AmpError, match="cannot be reached"):
        await model.generate(Request(ask("x")))


def test_a_long_answer_is_searched_for_a_key_at_once() -> None:
    secrets = Secrets(["sk-proj-" + "aB3" * 20])
    begun = time.process_time()
    secrets.hide("x" * 2_000_000 + "\\" * 1_000_000)
    assert time.process_time() - begun < 3.0
