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
from tests.faults.server import DIALECTS, Dialect, Server, of, serving

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

AT_ONCE = 100
SHARE = 13
"""Without `thorough`, one quirk in so many."""


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
        for name in ("tokens", "dollars"):
            limit = getattr(limits, name)
            if limit is not None and getattr(self.usage, name) > limit:
                return f"{self.quirk}: {getattr(self.usage, name)} {name} of {limit}"
        return None


async def spend(server: Server, dialect: Dialect, quirk: str, limits: Limits) -> Usage:
    """Makes some calls at a server with this quirk, as an episode would."""
    make = OpenAIModel if dialect == "openai" else AnthropicModel
    model = make(
        f"{dialect}-{quirk}", base_url=server.of(dialect, quirk), api_key="k", card=CARD,
        max_retries=1, timeout_seconds=60.0 if quirk in OVERRUN else PATIENCE_SECONDS,
    )  # fmt: skip
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
            spent = await asyncio.gather(*(spend(server, dialect, q, limits) for q in part))
            for _ in range(100):  # until the server has noticed that everybody hung up
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
    "seconds": Limits(seconds=0.4),
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_ledger_is_never_below_the_bill_and_never_above_a_limit(
    dialect: Dialect, thorough: bool
) -> None:
    quirks = of(dialect)
    calls, faults = 0, []
    for number, (name, limits) in enumerate(LIMITS.items()):
        chosen = quirks if thorough else quirks[number :: SHARE * len(LIMITS)]
        if limits.seconds is not None:
            chosen = [quirk for quirk in chosen if quirk not in OVERRUN]
        async for each in accounts(dialect, chosen, limits):
            calls += each.calls
            if fault := each.fault(limits):
                faults.append(f"{name}: {fault}")
    print(f"{dialect}: {calls} calls billed")
    assert not faults, "\n".join(faults)
    assert calls > (500 if thorough else 30)
