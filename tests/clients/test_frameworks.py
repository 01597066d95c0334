"""Clients that people use, unpatched and in environments of their own, against the gateway."""

from __future__ import annotations

from typing import Any

import pytest
from tests.clients.running import told_by
from tests.fakes.upstream import USAGE, WORDS, serving, working
from tests.serve.running import gateway

pytestmark = pytest.mark.slow

TEXT = "".join(WORDS)
TOKENS, CACHED = USAGE["total_tokens"], 16


@pytest.mark.parametrize("wrapped", [(), ("wrapped",)], ids=["server", "wrapped"])
async def test_langchain_calls_tools_streams_and_keeps_to_schemas(wrapped: tuple[str, ...]) -> None:
    async with serving(working) as upstream, gateway(upstream.url) as amp:
        url = upstream.url if wrapped else amp.v1
        told = await told_by("langchain", "langchain_agent.py", url, *wrapped)
        spent = amp.accounts.spent
    assert (told["result"], told["answer"], told["streamed"]) == ("4", TEXT, TEXT)
    assert (told["tokens"], told["streamed_tokens"], told["cached"]) == (TOKENS, TOKENS, CACHED)
    assert told["sum"] == 4
    assert len(upstream.asked) == 4
    if wrapped:
        assert told["calls"] == 4
    else:
        assert (spent.model_calls, spent.tokens, spent.estimated_calls) == (4, 4 * TOKENS, 0)


@pytest.mark.parametrize("wrapped", [(), ("wrapped",)], ids=["server", "wrapped"])
async def test_the_agents_sdk_runs_over_both_apis(wrapped: tuple[str, ...]) -> None:
    async with serving(working) as upstream, gateway(upstream.url) as amp:
        url = upstream.url if wrapped else amp.v1
        told = await told_by("agents", "openai_agents.py", url, *wrapped)
        spent = amp.accounts.spent
    expected: dict[str, Any] = {"answer": TEXT, "streamed": TEXT, "deltas": True, "sum": 4}
    expected |= {"requests": 2, "tokens": 2 * TOKENS, "cached": 2 * CACHED}
    assert told["chat_completions"] == expected
    assert told["responses"] == expected
    if wrapped:
        assert told["calls"] == 10
    else:
        assert (spent.model_calls, spent.tokens, spent.estimated_calls) == (10, 10 * TOKENS, 0)


async def test_litellm_speaks_both_apis() -> None:
    async with serving(working) as upstream, gateway(upstream.url) as amp:
        # Else it fetches a table of prices when it is imported.
        told = await told_by(
            "litellm", "litellm_client.py", amp.url, LITELLM_LOCAL_MODEL_COST_MAP="True"
        )
        spent = amp.accounts.spent
    for api in ("openai/gpt", "anthropic/claude"):
        assert (told[api]["whole"], told[api]["streamed"], told[api]["answer"]) == (TEXT,) * 3
        assert told[api]["arguments"] == {"a": 2, "b": 2}
    assert told["openai/gpt"]["tokens"] == told["openai/gpt"]["streamed_tokens"] == TOKENS
    assert told["anthropic/claude"]["tokens"] == told["anthropic/claude"]["streamed_tokens"] == 37
    assert (spent.model_calls, spent.estimated_calls) == (8, 0)
    assert spent.tokens == 4 * TOKENS + 4 * 37


async def test_clients_of_older_sdks_can_be_wrapped() -> None:
    async with serving(working) as upstream:
        told = await told_by("older", "older_sdks.py", upstream.url)
    assert told == {"said": [[TEXT] * 3] * 2, "calls": 6}
