"""The same clients, with models that speak another API than they do."""

from __future__ import annotations

import pytest
from tests.clients.running import told_by
from tests.fakes.upstream import USAGE, WORDS, serving, working
from tests.serve.running import gateway

from amp.serve.upstreams.upstream import Api, UpstreamConfig

pytestmark = pytest.mark.slow

TEXT = "".join(WORDS)
TOKENS: dict[Api, int] = {"anthropic": 37, "chat": USAGE["total_tokens"]}
TOKENS["responses"] = TOKENS["chat"]

every_api = pytest.mark.parametrize("api", ["anthropic", "chat", "responses"])


@every_api
async def test_langchain(api: Api) -> None:
    async with serving(working) as upstream, gateway(UpstreamConfig(upstream.url, api=api)) as amp:
        told = await told_by("langchain", "langchain_agent.py", amp.v1)
        spent = amp.accounts.spent
    assert (told["result"], told["answer"], told["streamed"], told["sum"]) == ("4", TEXT, TEXT, 4)
    assert told["tokens"] == told["streamed_tokens"] == TOKENS[api]
    assert (spent.model_calls, spent.tokens, spent.estimated_calls) == (4, 4 * TOKENS[api], 0)


@every_api
async def test_the_agents_sdk(api: Api) -> None:
    async with serving(working) as upstream, gateway(UpstreamConfig(upstream.url, api=api)) as amp:
        told = await told_by("agents", "openai_agents.py", amp.v1)
        spent = amp.accounts.spent
    for spoken in ("chat_completions", "responses"):
        found = told[spoken]
        assert (found["answer"], found["streamed"], found["sum"]) == (TEXT, TEXT, 4)
        assert (found["deltas"], found["tokens"]) == (True, 2 * TOKENS[api])
    assert (spent.model_calls, spent.tokens, spent.estimated_calls) == (10, 10 * TOKENS[api], 0)


@every_api
async def test_litellm(api: Api) -> None:
    async with serving(working) as upstream, gateway(UpstreamConfig(upstream.url, api=api)) as amp:
        told = await told_by(
            "litellm", "litellm_client.py", amp.url, LITELLM_LOCAL_MODEL_COST_MAP="True"
        )
        spent = amp.accounts.spent
    for client in ("openai/gpt", "anthropic/claude"):
        found = told[client]
        assert (found["whole"], found["streamed"], found["answer"]) == (TEXT,) * 3
        assert found["arguments"] == {"a": 2, "b": 2}
        assert found["tokens"] == found["streamed_tokens"] == TOKENS[api]
    assert (spent.model_calls, spent.tokens, spent.estimated_calls) == (8, 8 * TOKENS[api], 0)
