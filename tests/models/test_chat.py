"""Messages, prefixes, seeds and deadlines of chat APIs."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.models.conformance import ask

from amp.errors import ModelError
from amp.models.base import Completion, Message, Prompt, Request
from amp.models.bill import Spent
from amp.models.chat import (
    as_messages,
    base_seed,
    deadline_of,
    one_by_one,
    upper_bound,
    within,
    without_prefix,
)
from amp.types import Usage

ASKED = Prompt((Message("system", "s"), Message("user", "u"), Message("assistant", "So: ")), 8)


def test_a_prefix_goes_as_it_is_where_the_server_continues_it() -> None:
    assert as_messages(ASKED, prefix=True)[-1] == {"role": "assistant", "content": "So: "}


def test_elsewhere_the_last_user_message_asks_to_continue_it() -> None:
    messages = as_messages(ASKED, prefix=False)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[-1]["content"].startswith("u\n\n")
    assert "So: " in messages[-1]["content"]


def test_without_a_user_message_there_is_one_for_it() -> None:
    prompt = Prompt((Message("system", "s"), Message("assistant", "So: ")), 8)
    assert [m["role"] for m in as_messages(prompt, prefix=False)] == ["system", "user"]


def test_a_repeated_prefix_is_removed() -> None:
    assert without_prefix("So: yes", ASKED) == "yes"
    assert without_prefix("yes", ASKED) == "yes"
    assert without_prefix("So: yes", Prompt(ASKED.messages[:2], 8)) == "So: yes"


@given(st.integers(), st.integers(0, 10_000))
def test_no_sample_gets_the_seed_that_means_at_random(seed: int, index: int) -> None:
    assert 0 <= base_seed(seed) + index < 2**32 - 1


def test_neighbouring_seeds_are_far_apart() -> None:
    seeds = sorted(base_seed(seed) for seed in range(100))
    assert min(b - a for a, b in itertools.pairwise(seeds)) > 256


def test_the_bound_counts_bytes() -> None:
    assert upper_bound([{"role": "user", "content": "日本"}]) >= 6


# ---------------------------------------------------------------------------


async def count_seven(prompt: Prompt) -> int:
    return 7


async def test_samples_come_in_order_whichever_is_ready_first() -> None:
    async def call(part: Request) -> list[Completion]:
        await asyncio.sleep(0.02 * (5 - part.first_sample))
        return [Completion(str(part.first_sample), "stop", Usage())] * part.n

    samples = await one_by_one(Request(ask("x"), n=3, first_sample=2), call)
    assert [sample.text for sample in samples] == ["2", "3", "4"]


async def test_when_one_call_fails_the_others_end_at_once() -> None:
    async def call(part: Request) -> list[Completion]:
        if part.first_sample == 1:
            raise ModelError("no")
        await asyncio.sleep(60)
        return []

    async with asyncio.timeout(5):
        with pytest.raises(ModelError, match="no"):
            await one_by_one(Request(ask("x"), n=3), call)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_call_that_timed_out_is_charged_with_its_bounds() -> None:
    async def call(part: Request, spent: Spent) -> list[Completion]:
        await asyncio.sleep(60)
        return []

    request = Request(ask("x"), n=2, timeout_seconds=0.02)
    samples = await within(deadline_of(request), call, request, count_seven)
    assert [sample.finish_reason for sample in samples] == ["timeout", "timeout"]
    assert [sample.usage.prompt_tokens for sample in samples] == [7, 0]
    assert (
        sum(sample.usage.completion_tokens for sample in samples) == 2 * request.prompt.max_tokens
    )
    assert [sample.usage.model_calls for sample in samples] == [1, 0]
    assert [sample.usage.estimated_calls for sample in samples] == [1, 0]
    assert sum(sample.usage.seconds for sample in samples) >= 0.02


async def test_without_a_timeout_there_is_no_deadline() -> None:
    assert deadline_of(Request(ask("x"))) is None
