"""What a server offers is read from what it says of itself, once, and used; nothing is guessed."""

from __future__ import annotations

import logging
import math
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.server import serving
from tests.fakes.vllm import DESCRIPTION, Vllm, log_prob, template

from amp.cost import Ledger
from amp.errors import ModelError
from amp.execute.choice_step import MAX_CHOICES, ask, labels_for
from amp.execute.meter import Meter
from amp.models.base import Message, Prompt, Request
from amp.models.openai import OpenAIModel
from amp.models.openai_client import LABELS, PROMPTS, ServerOffers, read_offers
from amp.types import Limits

SYSTEM, USER = Message("system", "You are helpful."), Message("user", "Which one?")
PROMPT = Prompt((SYSTEM, USER), max_tokens=4)
BEGUN = Prompt((SYSTEM, USER, Message("assistant", "It is")), max_tokens=4)


@contextmanager
def model_at(server: Vllm, **options: Any) -> Iterator[OpenAIModel]:
    with serving(server) as url:
        yield OpenAIModel("m", base_url=f"{url}/v1", max_retries=0, **options)


# ------------------------------------------------------------------------------------ descriptions


def test_what_vllm_describes_is_offered() -> None:
    offers = read_offers(DESCRIPTION)
    assert offers.continues
    assert offers.scores
    assert offers.weighs_labels


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["paths", "post", "$ref", "anyOf", "properties", "schema", "/tokenize"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["paths", "components", "info"]), json_values))
def test_whatever_else_is_described_offers_nothing(description: dict[str, Any]) -> None:
    assert read_offers(description) == ServerOffers()


def test_a_description_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#/components/schemas/Loop"}
    body = {"content": {"application/json": {"schema": schema}}}
    loop = {
        "paths": {"/v1/chat/completions": {"post": {"requestBody": body}}},
        "components": {"schemas": {"Loop": {**schema, "properties": {"n": {}}}}},
    }
    assert read_offers(loop).chat == {"n"}


@given(lacks=st.sets(st.sampled_from(sorted({LABELS, PROMPTS, "continue_final_message"}))))
def test_what_a_version_lacks_is_not_offered(lacks: set[str]) -> None:
    offers = read_offers(Vllm(lacks=frozenset(lacks))._description())
    assert offers.weighs_labels == (LABELS not in lacks)
    assert offers.continues == ("continue_final_message" not in lacks)
    assert offers.scores == (not lacks & {PROMPTS, "continue_final_message"})


# -------------------------------------------------------------------------------------- asked once


async def test_a_server_is_asked_once_what_it_offers() -> None:
    server = Vllm()
    with model_at(server) as model:
        for _ in range(3):
            await model.count_tokens(PROMPT)
            await model.score(PROMPT, ["yes"])
            await model.generate(Request(BEGUN))
        await model.close()
    assert server.paths.count("/openapi.json") == 1


async def test_a_server_that_describes_nothing_is_asked_for_nothing_more() -> None:
    server = Vllm(describes=False)
    with model_at(server) as model:
        await model.next_token(Prompt(PROMPT.messages, 1, labels=("A", "B")))
        await model.generate(Request(BEGUN))
        with pytest.raises(ModelError, match="does not say that it tells"):
            await model.score(PROMPT, ["yes"])
        assert not model.capabilities.scoring
        await model.close()
    assert server.paths.count("/openapi.json") == 1
    sent = {name for chat in server.chats for name in chat}
    assert not sent & {LABELS, PROMPTS, "continue_final_message", "add_generation_prompt"}


# ---------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize("prompt", [PROMPT, BEGUN])
async def test_a_prompt_is_counted_as_it_is_charged(prompt: Prompt) -> None:
    with model_at(Vllm()) as model:
        counted = await model.count_tokens(prompt)
        (completion,) = await model.generate(Request(prompt))
        await model.close()
    assert counted == completion.usage.prompt_tokens


async def test_an_answer_that_has_begun_is_continued() -> None:
    server = Vllm()
    with model_at(server) as model:
        await model.generate(Request(BEGUN))
        await model.generate(Request(PROMPT))
        assert model.capabilities.prefix
        await model.close()
    begun, new = server.chats
    assert template(begun).endswith("<assistant>It is")
    assert template(new).endswith("</><assistant>")
    assert "continue_final_message" not in new


# ----------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize("text", ["yes", "a longer answer", "日本", "x"])
async def test_a_text_is_scored_token_by_token(text: str) -> None:
    with model_at(Vllm()) as model:
        (scored,) = await model.score(PROMPT, [text])
        assert model.capabilities.scoring
        await model.close()
    assert scored.log_probs == pytest.approx([log_prob(character) for character in text])
    assert scored.usage.model_calls == 1
    assert scored.usage.completion_tokens == 1


async def test_scoring_that_is_refused_is_offered_no_more() -> None:
    with model_at(Vllm(refuses=frozenset({PROMPTS}))) as model:
        with pytest.raises(ModelError, match="prompt_logprobs is not supported"):
            await model.score(PROMPT, ["yes"])
        assert not model.capabilities.scoring
        await model.close()


# ------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize("count", [2, 21, MAX_CHOICES])
async def test_every_label_is_weighed_however_unlikely(count: int) -> None:
    """The likeliest tokens have no room for 52 labels, nor for one that is hardly thought of."""
    server, labels = Vllm(), labels_for(count)
    with model_at(server) as model:
        found = await ask(Meter(model, Ledger(Limits())), PROMPT, labels)
        await model.close()
    masses = [math.exp(log_prob(label)) for label in labels]
    assert found == pytest.approx([mass / sum(masses) for mass in masses])


async def test_without_the_field_the_likeliest_tokens_are_read() -> None:
    server = Vllm(lacks=frozenset({LABELS}))
    with model_at(server) as model:
        found = await ask(Meter(model, Ledger(Limits())), PROMPT, labels_for(4))
        await model.close()
    assert found is None  # none of the likeliest is a label
    assert server.chats[0]["top_logprobs"] == 20


async def test_labels_that_are_refused_are_asked_for_no_more() -> None:
    server = Vllm(refuses=frozenset({LABELS}))
    with model_at(server) as model:
        for text in "ab":
            await model.next_token(Prompt((SYSTEM, Message("user", text)), 1, labels=("A",)))
        assert model.capabilities.log_probs  # another field that is called alike
        await model.close()
    assert server.paths.count("/v1/chat/completions") == 3


def test_labels_are_no_part_of_what_a_prompt_is() -> None:
    named = Prompt(PROMPT.messages, 4, labels=tuple(string.ascii_uppercase))
    assert named == PROMPT
    assert hash(named) == hash(PROMPT)


# ---------------------------------------------------------------------------------------- thinking


async def test_a_budget_is_sent_under_its_name() -> None:
    server = Vllm()
    with model_at(server, thinking="budget") as model:
        await model.generate(Request(PROMPT, thinking_tokens=1024))
        await model.close()
    assert server.chats[0]["thinking_token_budget"] == 1024


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (
            Vllm(lacks=frozenset({"thinking_token_budget"}), strict=False),
            "describes no field for it",
        ),
        (Vllm(thinks=1300), "let it think 1300 tokens"),
    ],
)
async def test_a_budget_that_is_not_kept_is_said_once(
    server: Vllm, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with model_at(server, thinking="budget") as model, caplog.at_level(logging.WARNING):
        for _ in range(2):
            await model.generate(Request(PROMPT, thinking_tokens=1024))
        await model.close()
    said = [each.getMessage() for each in caplog.records if "beyond a budget" in each.getMessage()]
    assert len(said) == 1
    assert why in said[0]


async def test_a_budget_that_is_kept_is_not_spoken_of(caplog: pytest.LogCaptureFixture) -> None:
    with model_at(Vllm(thinks=1000), thinking="budget") as model:
        await model.generate(Request(PROMPT, thinking_tokens=1024))
        await model.close()
    assert "beyond a budget" not in caplog.text
