"""What is charged is what was billed, or more and marked as an estimate; no limit is exceeded.

The fake server keeps its bill apart from what it states, so that a ledger can be held to it, with
every quirk, and with calls that time cuts off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from tests.faults.honest import DIALECTS, Dialect
from tests.faults.quirks import of
from tests.faults.server import Server, serving

from amp.cost import Ledger
from amp.errors import AmpError
from amp.execute.meter import Meter
from amp.models.anthropic import AnthropicModel
from amp.models.base import Message, ModelCard, Prompt
from amp.models.openai import OpenAIModel
from amp.types import Limits, Usage

PROMPT = Prompt(
    (Message("system", "You are brief."), Message("user", "How many eggs are in 7 boxes?")),
    max_tokens=60,
)
CARD = ModelCard(
    "m",
    dollars_per_million_prompt_tokens=1.0,
    dollars_per_million_cached_tokens=0.1,
    dollars_per_million_completion_tokens=4.0,
)
PATIENCE_SECONDS = 1.0
OVERRUN = ("thinks", "thinks-only", "more-choices")
"""A server that generates more than it is allowed: nothing can bound what it bills for an answer
that never comes, so these are waited for."""

AT_ONCE = 24
SHARE = 13
"""Without `thorough`, one quirk in so many; with it, all with limited tokens, else a quarter."""

COULD_BE_TRUE = ("prompt-number", "completion-number", "cached-number", "reasoning-number")
"""Seven tokens: a false figure that nobody can tell from a true one."""

AnyModel = OpenAIModel | AnthropicModel


@dataclass(frozen=True)
class Account:
    """One ledger and the bill of the calls that it paid."""

    quirk: str
    usage: Usage
    prompt_tokens: int
    completion_tokens: int
    calls: int

    def fault(self, limits: Limits) -> str | None:
        """What is wrong with it."""
        told = (self.usage.prompt_tokens, self.usage.completion_tokens)
        billed = (self.prompt_tokens, self.completion_tokens)
        if told[0] < billed[0] or told[1] < billed[1]:
            return f"{self.quirk}: charged {told}, billed {billed}"
        if told != billed and not self.usage.estimated_calls:
            return f"{self.quirk}: charged {told}, billed {billed}, and not marked"
        if limits.tokens is not None and sum(billed) > limits.tokens:
            return f"{self.quirk}: billed {billed} of {limits.tokens}"
        for name in ("tokens", "dollars") if not self.quirk.startswith("claims-") else ():
            limit = getattr(limits, name)
            if limit is not None and getattr(self.usage, name) > limit:
                return f"{self.quirk}: {getattr(self.usage, name)} {name} of {limit}"
        return None


async def connected(server: Server, dialect: Dialect, quirk: str) -> AnyModel:
    """A model that has made its connection's settings, which takes a while, before it is timed."""
    make = OpenAIModel if dialect == "openai" else AnthropicModel
    model = make(
        f"{dialect}-{quirk}", base_url=server.of(dialect, quirk), api_key="k", card=CARD,
        max_retries=1, timeout_seconds=60.0 if quirk in OVERRUN else PATIENCE_SECONDS,
    )  # fmt: skip
    await model._client.connected()
    return model


async def spend(model: AnyModel, limits: Limits) -> Usage:
    """Makes some calls, as an episode would."""
    ledger = Ledger(limits)
    meter = Meter(model, ledger)
    for call in (
        lambda: meter.generate(PROMPT, n=3, temperature=0.7),
        lambda: meter.next_token(PROMPT),
        lambda: meter.generate(PROMPT),
    ):
        with suppress(AmpError):
            await call()
        if ledger.ended_by is not None:
            break
    await model.close()
    return ledger.usage


async def accounts(dialect: Dialect, quirks: list[str], limits: Limits) -> AsyncIterator[Account]:
    """The accounts of these quirks, some at a time."""
    for begin in range(0, len(quirks), AT_ONCE):
        part = quirks[begin : begin + AT_ONCE]
        with serving() as server:
            models = [await connected(server, dialect, quirk) for quirk in part]
            spent = await asyncio.gather(*(spend(model, limits) for model in models))
            for _ in range(600):  # until the server has noticed that everybody hung up
                if len(server.billed) == len(server.asked):
                    break
                await asyncio.sleep(0.05)
            for quirk, usage in zip(part, spent, strict=True):
                bill = [each for each in server.billed if each.quirks == (quirk,)]
                prompt_tokens = sum(each.prompt_tokens for each in bill)
                completion_tokens = sum(each.completion_tokens for each in bill)
                yield Account(quirk, usage, prompt_tokens, completion_tokens, len(bill))


LIMITS = {
    "unlimited": Limits(),
    "tokens": Limits(tokens=900),
    "dollars": Limits(dollars=0.0015),
    "seconds": Limits(seconds=0.8),
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_ledger_is_never_below_the_bill_and_never_above_a_limit(
    dialect: Dialect, thorough: bool
) -> None:
    quirks = [quirk for quirk in of(dialect) if quirk not in COULD_BE_TRUE]
    calls, faults = 0, []
    for number, (name, limits) in enumerate(LIMITS.items()):
        every = len(LIMITS) * (1 if thorough else SHARE)
        chosen = quirks if thorough and name == "tokens" else quirks[number::every]
        if limits.seconds is not None:
            chosen = [quirk for quirk in chosen if quirk not in OVERRUN]
        async for each in accounts(dialect, chosen, limits):
            calls += each.calls
            if fault := each.fault(limits):
                faults.append(f"{name}: {fault}")
    print(f"{dialect}: {calls} calls billed")
    assert not faults, "\n".join(faults)
    assert calls > (500 if thorough else 30)
