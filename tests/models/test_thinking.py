"""What is sent for a budget of thinking, and how thinking is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.server import Answer, Question, serving
from tests.models.conformance import ask

from amp.errors import InvalidInputError
from amp.models import catalog
from amp.models.anthropic import AnthropicModel
from amp.models.base import Completion, LanguageModel, Request
from amp.models.chat import (
    AnthropicStyle,
    OpenAIStyle,
    anthropic_budget,
    anthropic_fields,
    effort,
    estimated_tokens,
    openai_fields,
)
from amp.models.llamacpp import LlamaCppModel
from amp.models.openai import OpenAIModel

JSON = {"Content-Type": "application/json"}
LEVELS = ("low", "medium", "high")
budgets = st.integers(1, 10**6)

# --------------------------------------------------------------------------- laws


@given(budgets, budgets)
def test_more_tokens_are_never_less_effort(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert LEVELS.index(effort(low)) <= LEVELS.index(effort(high))


@given(budgets, st.sampled_from(["effort", "budget"]))
def test_there_is_one_way_to_ask_for_thinking(tokens: int, style: OpenAIStyle) -> None:
    (fields,) = openai_fields(style, tokens)
    assert fields


@given(budgets, st.sampled_from(["adaptive", "budget"]))
def test_the_cap_grows_at_least_by_the_budget(tokens: int, style: AnthropicStyle) -> None:
    (fields,) = anthropic_fields(style, tokens)
    grown = anthropic_budget(style, tokens)
    assert grown >= tokens
    if style == "budget":  # the API wants the budget below the cap, and at least 1024
        assert fields["thinking"]["budget_tokens"] == grown >= 1024


def test_without_a_style_nothing_is_said_of_thinking() -> None:
    assert openai_fields(None, 0) == anthropic_fields(None, 0) == ({},)


@given(st.integers(0, 10**6), st.text(), st.text())
def test_an_estimate_is_a_part_of_the_sum(tokens: int, thought: str, said: str) -> None:
    assert 0 <= estimated_tokens(tokens, thought, said) <= tokens
    assert estimated_tokens(tokens, "", said) == 0
    assert estimated_tokens(tokens, thought or "x", "") == tokens


# --------------------------------------------------------------------------- what is sent


CHAT: dict[str, Any] = {
    "choices": [{"message": {"content": "y"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 9},
}
MESSAGE: dict[str, Any] = {
    "content": [{"type": "text", "text": "y"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 9},
}


class Server:
    """Answers every request alike, but refuses those that hold one of the refused texts."""

    def __init__(self, answer: dict[str, Any], refused: tuple[str, ...] = ()) -> None:
        self.answer = answer
        self.refused = refused
        self.asked: list[dict[str, Any]] = []

    def __call__(self, question: Question) -> Answer:
        if not question.path.endswith(("completions", "messages")):
            return Answer(404)
        self.asked.append(json.loads(question.body))
        body = json.dumps(self.asked[-1])
        for text in self.refused:
            if text in body:
                error = {"error": {"message": f"Unsupported value: {text}"}}
                return Answer(400, json.dumps(error).encode(), JSON)
        return Answer(body=json.dumps(self.answer).encode(), headers=JSON)


async def openai(request: Request, server: Server, **options: Any) -> Completion:
    with serving(server) as address:
        return await _once(OpenAIModel("m", base_url=address, **options), request)


async def anthropic(request: Request, server: Server, **options: Any) -> Completion:
    with serving(server) as address:
        return await _once(AnthropicModel("m", base_url=address, **options), request)


async def _once(model: LanguageModel, request: Request) -> Completion:
    (completion,) = await model.generate(request)
    await model.close()
    return completion


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, "none"), (1, "low"), (2048, "low"), (2049, "medium"), (8192, "medium"), (8193, "high")],
)
async def test_openai_gets_an_effort(tokens: int, expected: str) -> None:
    server = Server(CHAT)
    await openai(Request(ask("x", 10), thinking_tokens=tokens), server, thinking="effort")
    (body,) = server.asked
    assert body["reasoning_effort"] == expected
    assert body["max_tokens"] == 10 + tokens


async def test_a_model_that_must_think_thinks_as_little_as_it_can() -> None:
    server = Server(CHAT, refused=('"reasoning_effort": "none"', '"reasoning_effort": "minimal"'))
    with serving(server) as address:
        model = OpenAIModel("m", base_url=address, thinking="effort")
        for _ in range(2):
            await model.generate(Request(ask("x")))
        await model.close()
    sent = [body["reasoning_effort"] for body in server.asked]
    assert sent == ["none", "minimal", "low", "low"]


async def test_what_a_model_refuses_while_it_thinks_it_may_take_otherwise() -> None:
    fields = {"temperature", "top_p", "logprobs"}
    server = Server(CHAT, refused=tuple(fields))
    with serving(server) as address:
        model = OpenAIModel("m", base_url=address, thinking="effort")
        await model.generate(Request(ask("x"), thinking_tokens=100))
        assert not fields & set(server.asked[-1])
        assert model.capabilities.log_probs
        server.refused = ()
        await model.generate(Request(ask("x")))
        assert fields <= set(server.asked[-1])
        await model.close()


async def test_servers_of_ones_own_get_the_number() -> None:
    server = Server(CHAT)
    mine = {"chat_template_kwargs": {"mine": 1}}
    request = Request(ask("x", 10), thinking_tokens=300)
    await openai(request, server, thinking="budget", extra=mine)
    await openai(Request(ask("x", 10)), server, thinking="budget", extra=mine)
    thinking, plain = server.asked
    assert thinking["thinking_budget_tokens"] == thinking["thinking_token_budget"] == 300
    assert thinking["chat_template_kwargs"] == {"enable_thinking": True, "mine": 1}
    assert thinking["max_tokens"] == 310
    assert plain["chat_template_kwargs"] == {"enable_thinking": False, "mine": 1}
    assert "thinking_budget_tokens" not in plain


@pytest.mark.parametrize(
    ("style", "tokens", "thinking", "config", "grown"),
    [
        ("budget", 0, {"type": "disabled"}, None, 0),
        ("budget", 300, {"type": "enabled", "budget_tokens": 1024}, None, 1024),
        ("budget", 5000, {"type": "enabled", "budget_tokens": 5000}, None, 5000),
        ("adaptive", 0, {"type": "disabled"}, None, 0),
        ("adaptive", 300, {"type": "adaptive"}, {"effort": "low"}, 300),
        ("adaptive", 9000, {"type": "adaptive"}, {"effort": "high"}, 9000),
    ],
)
async def test_anthropic_gets_a_budget_or_an_effort(
    style: AnthropicStyle, tokens: int, thinking: object, config: object, grown: int
) -> None:
    server = Server(MESSAGE)
    await anthropic(Request(ask("x", 10), thinking_tokens=tokens), server, thinking=style)
    (body,) = server.asked
    assert body["thinking"] == thinking
    assert body.get("output_config") == config
    assert body["max_tokens"] == 10 + grown
    assert ("temperature" in body) == (tokens == 0)  # thinking forbids it


async def test_a_claude_that_must_think_thinks_as_little_as_it_can() -> None:
    server = Server(MESSAGE, refused=('"thinking":',))
    await anthropic(Request(ask("x")), server, thinking="adaptive")
    assert server.asked[-1]["output_config"] == {"effort": "low"}
    assert "thinking" not in server.asked[-1]


@pytest.mark.parametrize("call", [openai, anthropic])
async def test_an_answer_that_has_begun_is_not_thought_about(call: Any) -> None:
    server = Server(CHAT if call is openai else MESSAGE)
    prompt = ask("Count.", prefix="1, 2,")
    for tokens, role in ((0, "assistant"), (100, "user")):
        request = Request(prompt, thinking_tokens=tokens)
        await call(request, server, thinking="budget", prefix=True)
        assert server.asked[-1]["messages"][-1]["role"] == role


@pytest.mark.parametrize("call", [openai, anthropic])
async def test_without_the_option_a_budget_is_refused(call: Any) -> None:
    server = Server(CHAT)
    with pytest.raises(InvalidInputError, match=r"thinking_tokens is 5.*thinking=\.\.\."):
        await call(Request(ask("x"), thinking_tokens=5), server)
    assert not server.asked


def test_a_style_of_another_api_is_refused() -> None:
    wrong: Any = "adaptive"
    with pytest.raises(InvalidInputError, match="thinking is 'adaptive'.*effort or budget"):
        OpenAIModel("m", base_url="http://127.0.0.1:9", thinking=wrong)
    wrong = "effort"
    with pytest.raises(InvalidInputError, match="thinking is 'effort'.*adaptive or budget"):
        AnthropicModel("m", base_url="http://127.0.0.1:9", thinking=wrong)


# --------------------------------------------------------------------------- how it is counted


def chat(content: str, *, listed: tuple[str, ...] = (), **message: str) -> dict[str, Any]:
    tokens = [{"token": token, "logprob": -1.0, "top_logprobs": []} for token in listed]
    choice = {"message": {"content": content, **message}, "logprobs": {"content": tokens}}
    return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 10}}


async def test_what_the_server_states_counts() -> None:
    request = Request(ask("x"), thinking_tokens=9)
    answer = chat("y")
    answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": 7}
    sample = await openai(request, Server(answer), thinking="effort")
    assert (sample.usage.completion_tokens, sample.usage.reasoning_tokens) == (10, 7)
    usage = MESSAGE["usage"] | {"output_tokens_details": {"thinking_tokens": 6}}
    sample = await anthropic(request, Server(MESSAGE | {"usage": usage}), thinking="adaptive")
    assert (sample.usage.completion_tokens, sample.usage.reasoning_tokens) == (9, 6)


async def test_else_the_tokens_before_the_text_count_and_are_no_part_of_its_log_probs() -> None:
    listed = ("hm", ",", " yes", "</think>", "\n\n", "yes", " it", " is")
    answer = chat("yes it is", listed=listed, reasoning_content="hm, yes")
    request = Request(ask("x"), thinking_tokens=9)
    sample = await openai(request, Server(answer), thinking="budget")
    assert sample.usage.reasoning_tokens == 5
    assert sample.log_prob == pytest.approx(-3.0)


async def test_else_the_tokens_are_split_by_length() -> None:
    request = Request(ask("x"), thinking_tokens=9)
    sample = await openai(request, Server(chat("12", reasoning="12345678")), thinking="budget")
    assert sample.usage.reasoning_tokens == 8
    assert not sample.log_probs
    block = {"type": "thinking", "thinking": "12345678", "signature": ""}
    message = MESSAGE | {"content": [block, {"type": "text", "text": "1"}]}
    sample = await anthropic(request, Server(message), thinking="budget")
    assert sample.usage.reasoning_tokens == 8
    assert sample.text == "1"


# --------------------------------------------------------------------------- a model that thinks

# No small model at hand thinks. One that is told to begin with the tag writes on all the same, and
# the server cuts its thinking off as it would that of a model that can.
THINKING_TEMPLATE = """
{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}
{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}
{{- message['content'] + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}
{%- else %}{{ '<think>\\n' }}{%- endif %}{%- endif %}"""


@pytest.fixture(scope="module")
def thinker(smol: LlamaCppModel) -> Iterator[LlamaCppModel]:
    path = catalog.resolve(smol.card.name)
    model = LlamaCppModel(path, threads=1, context_tokens=2048, chat_template=THINKING_TEMPLATE)
    yield model
    asyncio.run(model.close())


def test_only_a_template_that_can_switch_it_makes_the_capability(
    smol: LlamaCppModel, thinker: LlamaCppModel
) -> None:
    assert thinker.capabilities.thinking_budget
    assert not smol.capabilities.thinking_budget


@pytest.mark.parametrize("tokens", [4, 12])
async def test_a_budget_holds_in_process(thinker: LlamaCppModel, tokens: int) -> None:
    prompt = ask("What is 2 and 3?", 6)
    request = Request(prompt, n=2, temperature=1.0, thinking_tokens=tokens)
    for sample in await thinker.generate(request):
        assert 1 <= sample.usage.reasoning_tokens <= tokens
        assert sample.usage.completion_tokens <= tokens + 6
        assert len(sample.log_probs) <= sample.usage.completion_tokens - tokens
        assert "think>" not in sample.text
    (plain,) = await thinker.generate(Request(prompt))
    assert plain.usage.reasoning_tokens == 0
    assert len(plain.log_probs) == plain.usage.completion_tokens == 6


async def test_a_budget_holds_over_http(thinker: LlamaCppModel) -> None:
    address, key = thinker.address, thinker.api_key
    prompt = ask("What is 2 and 3?", 40)
    request = Request(prompt, thinking_tokens=8)
    (near,) = await thinker.generate(request)
    openai = OpenAIModel("t", base_url=f"{address}/v1", api_key=key, thinking="budget")
    (far,) = await openai.generate(request)
    assert far.text == near.text
    assert len(far.log_probs) == pytest.approx(len(near.log_probs), abs=1)
    assert 1 <= far.usage.reasoning_tokens <= far.usage.completion_tokens - len(far.log_probs)
    assert near.usage.prompt_tokens == far.usage.prompt_tokens <= await openai.count_tokens(prompt)
    await openai.close()
    # This API's least budget is 1024, more than this model thinks: it thinks until it is done.
    claude = AnthropicModel("t", base_url=address, api_key=key, thinking="budget")
    (sample,) = await claude.generate(request)
    assert 0 < sample.usage.reasoning_tokens <= sample.usage.completion_tokens
    await claude.close()


async def test_what_is_charged_is_never_more_than_was_counted(thinker: LlamaCppModel) -> None:
    for prompt in (ask("x", 3), ask("Count.", 3, prefix="1, 2,")):
        counted = await thinker.count_tokens(prompt)
        for tokens in (0, 4):
            (sample,) = await thinker.generate(Request(prompt, thinking_tokens=tokens))
            assert 0 < sample.usage.prompt_tokens <= counted
