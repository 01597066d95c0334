"""The one way from the executor to the model and the tools: granted, numbered, counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from amp.cost import Grant, Ledger
from amp.execute.base import Tool
from amp.models.base import Capabilities, Completion, LanguageModel, NextToken, Prompt, Request
from amp.types import ToolUse

Answer = TypeVar("Answer")


class Meter:
    """A model whose every call is granted by a ledger and charged to it.

    It also numbers the samples of one episode: asking again for the same prompt gives the next
    samples, never the same ones (a greedy sample alone stays what it is). A probe that was made is
    not made (nor charged) a second time.

    Attributes:
        ledger: where everything is charged.
        notes: what stood in for what since `take_notes`, one phrase each.
    """

    def __init__(self, model: LanguageModel, ledger: Ledger, seed: int = 0) -> None:
        self.model = model
        self.ledger = ledger
        self.seed = seed
        self.notes: list[str] = []
        self._drawn: Counter[Prompt] = Counter()
        self._probes: dict[Prompt, NextToken] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self.model.capabilities

    def take_notes(self) -> tuple[str, ...]:
        """Returns the notes without repetition and starts afresh."""
        notes, self.notes = tuple(dict.fromkeys(self.notes)), []
        return notes

    async def generate(
        self, prompt: Prompt, *, n: int = 1, temperature: float = 0.0, top_p: float = 1.0
    ) -> list[Completion]:
        """Draws the next `n` samples of a prompt, or as many as the limits allow.

        Raises:
            LimitReachedError: if not one sample fits; the call is not made.
            ModelError: from the model.
        """
        if temperature == 0.0 and n > 1:
            self.notes.append(f"1 greedy sample instead of {n} equal ones")
            n = 1
        grant = self.ledger.grant(
            self.model.card, await self.model.count_tokens(prompt), n, prompt.max_tokens
        )
        if grant.n < n:
            self.notes.append(f"{grant.n} samples instead of {n} to stay within the limits")
        if grant.max_tokens < prompt.max_tokens:
            self.notes.append(f"cap of {grant.max_tokens} tokens instead of {prompt.max_tokens}")
        # Numbered by prompt alone: the same sample at another temperature would draw from the same
        # random stream, and often be the same text, which looks like agreement and is none.
        first_sample = 0 if temperature == 0.0 else self._drawn[prompt]
        self._drawn[prompt] += grant.n
        request = Request(
            prompt=replace(prompt, max_tokens=grant.max_tokens),
            n=grant.n,
            first_sample=first_sample,
            temperature=temperature,
            top_p=top_p,
            seed=self.seed,
            timeout_seconds=grant.timeout_seconds,
        )
        completions = await self._granted(grant, self.model.generate(request))
        self.ledger.charge(self.model.card, [c.usage for c in completions])
        return completions

    async def probe(self, prompt: Prompt) -> NextToken:
        """Returns the next-token distribution after a prompt; asked twice, it costs once.

        Raises:
            LimitReachedError: if the call does not fit; it is not made.
            ModelError: from the model.
        """
        if prompt not in self._probes:
            grant = self.ledger.grant(
                self.model.card, await self.model.count_tokens(prompt), 1, 1
            )
            answer = await self._granted(grant, self.model.probe(prompt))
            self.ledger.charge(self.model.card, [answer.usage])
            self._probes[prompt] = answer
        return self._probes[prompt]

    async def use(self, tool: Tool, text: str) -> ToolUse | None:
        """Runs a tool on a text and charges its time."""
        use = await tool.use(text)
        if use is not None:
            self.ledger.charge_tool(use.seconds)
        return use

    async def _granted(self, grant: Grant, call: Awaitable[Answer]) -> Answer:
        """Awaits a call within its time; what was held for it is given back in any case."""
        try:
            async with asyncio.timeout(grant.timeout_seconds) as deadline:
                return await call
        except TimeoutError:
            if not deadline.expired():
                raise
            raise self.ledger.refuse("seconds", "a model call was cancelled") from None
        finally:
            self.ledger.release(grant)
