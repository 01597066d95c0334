"""The fake server itself: without a quirk it is honest, and what it bills is what it states."""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress

import pytest
from tests.faults.honest import DIALECTS, Dialect
from tests.faults.quirks import of
from tests.faults.server import serving

from amp.errors import ModelError
from amp.models.anthropic import AnthropicModel
from amp.models.base import LanguageModel, Message, Prompt, Request
from amp.models.openai import OpenAIModel

PROMPT = Prompt((Message("system", "Be brief."), Message("user", "12 * 7?")), 40)


def make(dialect: Dialect, address: str, **options: object) -> LanguageModel:
    """The back end of a dialect."""
    model = OpenAIModel if dialect == "openai" else AnthropicModel
    return model("m", base_url=address, api_key="sk-1234567890", **options)  # type: ignore[arg-type]  # of either


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_honest_server_bills_what_it_states(dialect: Dialect) -> None:
    with serving() as server:
        model = make(dialect, server.of(dialect))
        samples = await model.generate(Request(PROMPT, n=3, temperature=1.0))
        await model.close()
        assert "84" in samples[0].text
        stated = [(s.usage.prompt_tokens, s.usage.completion_tokens) for s in samples]
        assert tuple(map(sum, zip(*stated, strict=True))) == server.bill
        assert not any(each.cancelled for each in server.billed)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_call_that_is_cancelled_is_billed_for_what_was_generated(dialect: Dialect) -> None:
    for seconds in (0.5, 2.0, 5.0):  # on a busy machine the first token takes its time
        with serving() as server:
            model = make(dialect, server.of(dialect, "slow"))
            with suppress(ModelError):
                await model.generate(Request(PROMPT, timeout_seconds=seconds))
            await model.close()
            (billed,) = server.billed
        if billed.completion_tokens:
            break
    assert billed.cancelled
    assert billed.prompt_tokens > 0
    assert 1 <= billed.completion_tokens <= 3


def test_there_are_more_than_a_hundred_quirks_of_each_dialect() -> None:
    with serving() as server:
        names = json.load(urllib.request.urlopen(f"{server.address}/quirks"))
    assert len(names) == len(set(names))
    for dialect in DIALECTS:
        assert len(of(dialect)) > 100
        assert set(of(dialect)) <= set(names)
