"""Calls over a network: side by side where a server makes one sample a call, and within a time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from amp.models.base import Completion, Prompt, Request
from amp.types import Usage

Call = Callable[[Request], Awaitable[list[Completion]]]


def deadline_of(request: Request) -> float | None:
    """Returns the time of the running event loop at which the request runs out of time."""
    if request.timeout_seconds is None:
        return None
    return asyncio.get_running_loop().time() + request.timeout_seconds


async def within(
    deadline: float | None,
    call: Call,
    request: Request,
    count_tokens: Callable[[Prompt], Awaitable[int]],
) -> list[Completion]:
    """Returns the samples of one call, or that it timed out.

    A call that timed out is charged with the bound of its prompt. What the server generated until
    then is known to nobody and counts as nothing.
    """
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(deadline):
            return await call(request)
    except TimeoutError:
        seconds = asyncio.get_running_loop().time() - begun
        share = Completion("", "timeout", Usage(seconds=seconds / request.n))
        charged = Usage(model_calls=1, prompt_tokens=await count_tokens(request.prompt))
        first = dataclasses.replace(share, usage=share.usage + charged)
        return [first] + [share] * (request.n - 1)


async def one_by_one(request: Request, call: Call) -> list[Completion]:
    """Returns the samples of a request, made side by side in a call each.

    Like a task group, but what one call raises comes out as itself, not in a group.
    """
    numbers = range(request.first_sample, request.first_sample + request.n)
    singles = [dataclasses.replace(request, n=1, first_sample=number) for number in numbers]
    tasks = [asyncio.ensure_future(call(single)) for single in singles]
    try:
        return [sample for samples in await asyncio.gather(*tasks) for sample in samples]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
