"""Whatever a server does, a back end gives answers or one line, in time, and never shows a key."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import zlib

import pytest
from tests.faults.forks import seconds_of
from tests.faults.honest import DIALECTS, Dialect
from tests.faults.quirks import of
from tests.faults.quirks.echoes import forms
from tests.faults.server import Server, serving
from tests.faults.test_server import PROMPT

from amp.errors import AmpError
from amp.models.anthropic import AnthropicModel
from amp.models.base import Completion, LanguageModel, Request
from amp.models.openai import OpenAIModel

MARK = "KEYMARK"
KEY = f"sk-{MARK}/9f31+'7\"c\\x"
SHARE_IN_CI = 12
"""CI runs one of so many of the behaviours, always the same ones."""


def chosen(dialect: Dialect, *, thorough: bool) -> list[str]:
    """Names of the quirks to run."""
    names = of(dialect)
    if thorough:
        return names
    return [name for name in names if zlib.crc32(name.encode()) % SHARE_IN_CI == 0]


def make(dialect: Dialect, address: str) -> LanguageModel:
    """A back end that gives up soon."""
    model = OpenAIModel if dialect == "openai" else AnthropicModel
    return model("m", base_url=address, api_key=KEY, timeout_seconds=4.0, max_retries=1)


def is_sound(sample: Completion) -> bool:
    """Whether a sample can be saved, voted on, and charged."""
    sample.text.encode()
    json.dumps([sample.log_probs, sample.entropies, sample.usage.seconds], allow_nan=False)
    counts = (
        sample.usage.model_calls,
        sample.usage.prompt_tokens,
        sample.usage.cached_prompt_tokens,
        sample.usage.completion_tokens,
        sample.usage.reasoning_tokens,
    )
    return (
        all(type(count) is int and 0 <= count < 10**9 for count in counts)
        and sample.usage.cached_prompt_tokens <= sample.usage.prompt_tokens
        and sample.usage.reasoning_tokens <= sample.usage.completion_tokens
        and all(value <= 0.0 for value in sample.log_probs)
        and not any(tag in sample.text for tag in ("think>", "\nQuestion:"))
        and math.isfinite(sample.usage.seconds)
    )


async def outcome(server: Server, dialect: Dialect, name: str) -> tuple[str, float]:
    """What comes of one behaviour, as a text that nothing is left out of, and after how long."""
    model = make(dialect, server.of(dialect, name))
    begun = seconds_of(os.getpid())
    prompt = PROMPT.__class__(PROMPT.messages, PROMPT.max_tokens, ("\nQuestion:",))
    request = Request(prompt, n=2, temperature=0.7, top_p=0.9, timeout_seconds=6.0)
    try:
        samples = await model.generate(request)
        assert len(samples) == 2, name
        assert all(map(is_sound, samples)), (name, samples)
        found = repr(samples)
        if model.capabilities.log_probs:
            found += repr(await model.next_token(prompt))
    except AmpError as error:
        found = f"{type(error).__name__}: {error}"
        assert len(found.splitlines()) == 1, name
        assert len(found) < 700, name
    finally:
        await model.close()
    return found, seconds_of(os.getpid()) - begun


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_behaviour_ends_in_answers_or_in_one_line(
    dialect: Dialect, thorough: bool, caplog: pytest.LogCaptureFixture
) -> None:
    names = chosen(dialect, thorough=thorough)
    turns = asyncio.Semaphore(8)

    async def one(server: Server, name: str) -> tuple[str, str, float]:
        async with turns:
            try:
                return name, *(await outcome(server, dialect, name))
            except Exception as error:  # any is a finding, and the others are wanted as well
                return name, f"FAULT {type(error).__name__}: {error}", 0.0

    with serving() as server, caplog.at_level(logging.DEBUG):
        outcomes = await asyncio.gather(*(one(server, name) for name in names))
    secrets = forms(KEY).split(" | ")
    faults = [
        (name, found[:300], seconds)
        for name, found, seconds in outcomes
        if seconds >= 10.0 or "FAULT" in found or MARK in found or any(s in found for s in secrets)
    ]
    assert not faults
    assert MARK not in caplog.text
    assert len(names) >= (300 if thorough else 20)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_can_be_done_without_is_refused_once(dialect: Dialect, thorough: bool) -> None:
    """In every wording: the second question is not refused, and both are answered."""
    refusing = [name for name in of(dialect) if name.startswith("refuses-")]
    vital = ("thinking",)  # not sent without the option
    names = [name for name in refusing if name.split("-")[1] not in vital]
    with serving() as server:
        for name in names if thorough else names[::3]:
            model = make(dialect, server.of(dialect, name))
            request = Request(PROMPT, n=2, temperature=0.7, top_p=0.9)
            assert (await model.generate(request))[0].text.startswith("12 * 7"), name
            asked = len(server.asked)
            await model.generate(request)
            field = name.split("-")[1]
            again = [body for body in server.asked[asked:] if f'"{field}":' in json.dumps(body)]
            await model.close()
            if not name.endswith("-500"):
                assert not again, (name, again)
