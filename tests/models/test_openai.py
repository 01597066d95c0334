"""Against llama.cpp's real HTTP server, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from tests.fakes.server import Answer, Question, serving

from amp.errors import InvalidInputError, MissingDependencyError, ModelError
from amp.models.base import LanguageModel, Message, Prompt, Request
from amp.models.llamacpp import LlamaCppModel
from amp.models.openai import OpenAIModel

KEY = "sk-very-secret"
JSON = {"Content-Type": "application/json"}


def ask(text: str, max_tokens: int = 8, prefix: str = "", stop: tuple[str, ...] = ()) -> Prompt:
    messages = [Message("system", "You are helpful."), Message("user", text)]
    if prefix:
        messages.append(Message("assistant", prefix))
    return Prompt(tuple(messages), max_tokens, stop)


@pytest.fixture
async def remote(smol: LlamaCppModel) -> AsyncIterator[OpenAIModel]:
    model = OpenAIModel(
        "smol", base_url=f"{smol.address}/v1", api_key=smol.api_key, prefix=True, grammar=True
    )
    yield model
    await model.close()


# --------------------------------------------------------------------------- a real server


async def test_it_answers_what_the_model_in_process_answers(
    remote: OpenAIModel, smol: LlamaCppModel
) -> None:
    assert isinstance(remote, LanguageModel)
    request = Request(ask("Name a colour.", 3))
    await smol.generate(request)  # a cold prompt rounds differently from a cached one
    (near,), (far,) = await smol.generate(request), await remote.generate(request)
    assert far.text == near.text
    assert far.log_probs == pytest.approx(near.log_probs, abs=0.05)
    assert far.entropies == pytest.approx(near.entropies, abs=0.05)
    assert far.usage.prompt_tokens == near.usage.prompt_tokens
    assert far.usage.completion_tokens == near.usage.completion_tokens
    assert far.finish_reason == near.finish_reason


async def test_tokens_of_every_choice_count(remote: OpenAIModel) -> None:
    """Trap: with n > 1 this server states the tokens of one choice."""
    completions = await remote.generate(Request(ask("Tell a story."), n=3, temperature=1.0))
    assert [c.usage.completion_tokens for c in completions] == [8, 8, 8]
    assert [c.usage.model_calls for c in completions] == [1, 0, 0]
    assert len({c.text for c in completions}) == 3


async def test_more_samples_than_the_server_takes_are_asked_for_one_by_one(
    remote: OpenAIModel,
) -> None:
    request = Request(ask("Tell a story."), n=6, temperature=1.0)
    completions = await remote.generate(request)
    assert len({c.text for c in completions}) == 6
    assert [c.usage.model_calls for c in completions] == [1] * 6
    assert not remote.capabilities.parallel_samples


async def test_without_the_option_a_prefix_is_asked_for(smol: LlamaCppModel) -> None:
    model = OpenAIModel("smol", base_url=f"{smol.address}/v1", api_key=smol.api_key)
    assert not model.capabilities.prefix
    prompt = ask("Count to five.", prefix="1, 2, 3,")
    (completion,) = await model.generate(Request(prompt))
    assert completion.usage.prompt_tokens == await model.count_tokens(prompt)
    assert completion.usage.prompt_tokens > await smol.count_tokens(prompt)
    await model.close()


async def test_stop_strings_and_grammars_reach_the_server(remote: OpenAIModel) -> None:
    prompt = ask("Say it.", max_tokens=30, stop=("three",))
    (completion,) = await remote.generate(Request(prompt, grammar='root ::= "one two three"'))
    assert completion.text == "one two "
    assert completion.finish_reason == "stop"


async def test_a_probe_tells_the_likeliest_tokens(remote: OpenAIModel, smol: LlamaCppModel) -> None:
    far, near = await remote.next_token(ask("Yes or no?")), await smol.next_token(ask("Yes or no?"))
    assert 15 <= len(far.log_probs) <= 20
    for text, value in far.log_probs.items():
        assert value == pytest.approx(near.log_probs[text], abs=0.05)
    assert far.usage.completion_tokens == 1


async def test_counts_are_exact_where_the_server_tells(
    remote: OpenAIModel, smol: LlamaCppModel
) -> None:
    assert await remote.count_tokens(ask("日本 and more")) == await smol.count_tokens(
        ask("日本 and more")
    )


def test_one_model_serves_several_event_loops(smol: LlamaCppModel) -> None:
    model = OpenAIModel("smol", base_url=f"{smol.address}/v1", api_key=smol.api_key)

    async def once() -> str:
        (completion,) = await model.generate(Request(ask("Name a colour.")))
        return completion.text

    assert asyncio.run(once()) == asyncio.run(once())
    asyncio.run(model.close())


async def test_a_timeout_is_no_error(remote: OpenAIModel, smol: LlamaCppModel) -> None:
    prompt = ask("Tell a story.", max_tokens=2000)
    request = Request(prompt, n=2, grammar="root ::= [a-z] root", timeout_seconds=0.3)
    completions = await remote.generate(request)
    assert [c.finish_reason for c in completions] == ["timeout", "timeout"]
    assert completions[0].usage.prompt_tokens == await smol.count_tokens(prompt)


async def test_a_context_that_is_too_small_is_one_line(remote: OpenAIModel) -> None:
    with pytest.raises(ModelError, match=r"status 400.*context size") as caught:
        await remote.generate(Request(ask("x " * 5000)))
    assert "\n" not in str(caught.value)


async def test_a_wrong_key_is_told_without_the_key(smol: LlamaCppModel) -> None:
    model = OpenAIModel("smol", base_url=f"{smol.address}/v1", api_key=KEY)
    with pytest.raises(ModelError, match="refused the key.*OPENAI_API_KEY") as caught:
        await model.generate(Request(ask("x")))
    assert KEY not in str(caught.value)
    await model.close()


# --------------------------------------------------------------------------- scripted servers


def chat(*texts: str, log_probs: bool = True, completion_tokens: int = 1) -> dict[str, Any]:
    half = {"token": "a", "logprob": math.log(0.5), "top_logprobs": []}
    half["top_logprobs"] = [{"token": "a", "logprob": math.log(0.5)}]
    choices = [
        {
            "index": i,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": [half]} if log_probs else None,
        }
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 5, "completion_tokens": completion_tokens}
    return {"choices": choices, "usage": usage}


def answering(
    respond: Callable[[dict[str, Any]], dict[str, Any] | Answer], asked: list[dict[str, Any]]
) -> AbstractContextManager[str]:
    def answer(question: Question) -> Answer:
        if not question.path.endswith("/chat/completions"):
            return Answer(404)
        asked.append(json.loads(question.body))
        found = respond(asked[-1])
        if isinstance(found, Answer):
            return found
        return Answer(body=json.dumps(found).encode(), headers=JSON)

    return serving(answer)


def refusal(message: str, parameter: str | None = None, status: int = 400) -> Answer:
    error = {"error": {"message": message, "param": parameter, "type": "invalid_request_error"}}
    return Answer(status, json.dumps(error).encode(), JSON)


@pytest.mark.parametrize(
    "message",
    ["Field 'n': Value must be between 1 and 1", "`n` is not supported", "n must be 1"],
)
async def test_a_server_that_refuses_n_is_asked_one_by_one(message: str) -> None:
    asked: list[dict[str, Any]] = []

    def respond(body: dict[str, Any]) -> dict[str, Any] | Answer:
        return refusal(message) if "n" in body else chat(f"seed {body['seed']}")

    with answering(respond, asked) as address:
        model = OpenAIModel("m", base_url=address, max_retries=0)
        completions = await model.generate(Request(ask("x"), n=3))
        await model.generate(Request(ask("x"), n=2))
        await model.close()
    assert len({c.text for c in completions}) == 3
    assert [c.usage.model_calls for c in completions] == [1, 1, 1]
    assert sum("n" in body for body in asked) == 1  # what was refused is not asked for again


async def test_a_server_that_ignores_n_is_asked_for_the_rest() -> None:
    with answering(lambda body: chat(str(body["seed"])), []) as address:
        model = OpenAIModel("m", base_url=address, max_retries=0)
        completions = await model.generate(Request(ask("x"), n=3))
        await model.close()
    assert len({c.text for c in completions}) == 3
    assert not model.capabilities.parallel_samples


async def test_another_refusal_is_not_taken_for_one_of_n() -> None:
    with answering(lambda body: refusal("temperature is too high"), []) as address:
        model = OpenAIModel("m", base_url=address, max_retries=0)
        with pytest.raises(ModelError, match="temperature is too high"):
            await model.generate(Request(ask("x"), n=3))
        await model.close()


async def test_log_probabilities_are_given_up_where_refused() -> None:
    asked: list[dict[str, Any]] = []

    def respond(body: dict[str, Any]) -> dict[str, Any] | Answer:
        if "logprobs" in body:
            return refusal("logprobs are not supported")
        return chat("a b", log_probs=False, completion_tokens=2)

    with answering(respond, asked) as address:
        model = OpenAIModel("m", base_url=address, max_retries=0)
        (completion,) = await model.generate(Request(ask("x")))
        assert not model.capabilities.log_probs
        assert completion.log_prob is None
        assert completion.usage.completion_tokens == 2
        with pytest.raises(ModelError, match="no log-probabilities"):
            await model.next_token(ask("x"))
        await model.close()
    assert sum("logprobs" in body for body in asked) == 1


async def test_log_probabilities_that_do_not_come_are_given_up() -> None:
    with answering(lambda body: chat("a", log_probs=False), []) as address:
        model = OpenAIModel("m", base_url=address, max_retries=0)
        await model.generate(Request(ask("x")))
        await model.close()
    assert not model.capabilities.log_probs


async def test_the_servers_total_counts_where_choices_list_fewer_tokens() -> None:
    with answering(lambda body: chat("a", "b", completion_tokens=10), []) as address:
        model = OpenAIModel("m", base_url=address, max_retries=0)
        completions = await model.generate(Request(ask("x"), n=2))
        await model.close()
    assert sum(c.usage.completion_tokens for c in completions) == 10


async def test_max_completion_tokens_replaces_max_tokens_where_wanted() -> None:
    def respond(body: dict[str, Any]) -> dict[str, Any] | Answer:
        if "max_tokens" in body:
            return refusal("Use 'max_completion_tokens' instead of max_tokens")
        return chat(str(body["max_completion_tokens"]))

    with answering(respond, []) as address:
        model = OpenAIModel("m", base_url=address, max_retries=0)
        (completion,) = await model.generate(Request(ask("x", max_tokens=7)))
        await model.close()
    assert completion.text == "7"


async def test_without_a_tokenizer_the_count_is_a_bound() -> None:
    with answering(lambda body: chat("a"), []) as address:
        model = OpenAIModel("m", base_url=address, max_retries=0)
        assert await model.count_tokens(ask("日本")) >= len("You are helpful.日本".encode())
        await model.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"choices": []}, "no choices"),
        ({"choices": [{}]}, "no message"),
        ({"choices": [None]}, "no message"),
    ],
)
async def test_an_answer_that_lacks_something_says_what(
    answer: dict[str, Any], expected: str
) -> None:
    with answering(lambda body: answer, []) as address:
        model = OpenAIModel("m", base_url=address)
        with pytest.raises(ModelError, match=expected):
            await model.generate(Request(ask("x"), n=2))
        await model.close()


async def test_a_choice_without_content_is_an_empty_answer_that_was_paid_for() -> None:
    answer = chat("x", log_probs=False, completion_tokens=7)
    answer["choices"][0]["message"]["content"] = None
    with answering(lambda body: answer, []) as address:
        model = OpenAIModel("m", base_url=address)
        (completion,) = await model.generate(Request(ask("x")))
        assert model.capabilities.log_probs  # nothing was said, so nothing is known of it
        await model.close()
    assert completion.text == ""
    assert completion.usage.completion_tokens == 7


async def test_choices_beyond_those_asked_for_are_dropped_and_paid_for() -> None:
    with answering(lambda body: chat("a", "b", "c", completion_tokens=3), []) as address:
        model = OpenAIModel("m", base_url=address)
        completions = await model.generate(Request(ask("x"), n=2))
        await model.close()
    assert [c.text for c in completions] == ["a", "b"]
    assert sum(c.usage.completion_tokens for c in completions) == 3
    assert model.capabilities.parallel_samples


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported value: 'temperature' does not support 0.0 with this model.",
        "Unsupported parameter: 'temperature' is not supported with this model.",
    ],
)
async def test_a_temperature_that_is_refused_as_such_is_given_up_and_logged(
    message: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[dict[str, Any]] = []

    def respond(body: dict[str, Any]) -> dict[str, Any] | Answer:
        return refusal(message) if "temperature" in body else chat("a")

    with answering(respond, asked) as address:
        model = OpenAIModel("m", base_url=address)
        await asyncio.gather(*(model.generate(Request(ask("x"))) for _ in range(3)))
        await model.generate(Request(ask("x")))
        await model.close()
    assert 1 <= ["temperature" in body for body in asked].count(True) <= 3
    assert "temperature" not in asked[-1]
    assert asked[-1]["top_p"] == 1.0
    assert [r.getMessage() for r in caplog.records if r.name.startswith("amp")] == [
        "model m refuses temperature; from now on it uses its own sampling"
    ]


async def test_a_grammar_needs_the_option() -> None:
    model = OpenAIModel("m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(InvalidInputError, match="takes no grammar"):
        await model.generate(Request(ask("x"), grammar='root ::= "a"'))


def test_openai_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InvalidInputError, match="OPENAI_API_KEY"):
        OpenAIModel("gpt")
    with pytest.raises(InvalidInputError, match="expected http"):
        OpenAIModel("gpt", base_url="localhost:8000")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingDependencyError, match=r"adaptive-meta-planning\[openai\]"):
        OpenAIModel("m", base_url="http://127.0.0.1:9/v1")
