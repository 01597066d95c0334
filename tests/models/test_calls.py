from __future__ import annotations

import asyncio

import pytest
from tests.models.conformance import ask

from amp.errors import ModelError
from amp.models.base import Completion, Prompt, Request
from amp.models.chat import deadline_of, one_by_one, within
from amp.types import Usage


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


async def test_a_call_that_timed_out_is_charged_with_its_prompt() -> None:
    async def call(part: Request) -> list[Completion]:
        await asyncio.sleep(60)
        return []

    request = Request(ask("x"), n=2, timeout_seconds=0.02)
    samples = await within(deadline_of(request), call, request, count_seven)
    assert [sample.finish_reason for sample in samples] == ["timeout", "timeout"]
    assert [sample.usage.prompt_tokens for sample in samples] == [7, 0]
    assert [sample.usage.model_calls for sample in samples] == [1, 0]
    assert sum(sample.usage.seconds for sample in samples) >= 0.02


async def test_without_a_timeout_there_is_no_deadline() -> None:
    assert deadline_of(Request(ask("x"))) is None
