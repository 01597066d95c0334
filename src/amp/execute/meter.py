"""Makes all calls to the model and the tools: within the limits, numbered, and counted."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from amp.cost import Grant, Ledger, worst_dollars
from amp.errors import AmpError, InvalidInputError, ModelError, did_you_mean
from amp.execute.base import Tool
from amp.execute.observing import PendingCall, ToolRun, note
from amp.models.base import (
    Capabilities,
    Completion,
    LanguageModel,
    LogProbs,
    Message,
    NextToken,
    Prompt,
    Request,
    by_name,
)
from amp.models.bill import Bill, open_bill
from amp.models.chat import MIN_TOKENS
from amp.models.replicas import Session, in_session
from amp.types import StepContext, ToolUse, Usage

_TOOL_GRACE_SECONDS = 1.0
"""A tool with a timeout of its own may end a little after it, and its error is more precise."""

_ROUNDING = 1e-6
"""By which a log-probability or entropy of 0 may miss it."""

ESTIMATED = "an estimate of the tokens, which the model did not tell"

Answer = TypeVar("Answer")


class Meter:
    """A model whose every call is granted by a ledger and charged to it.

    It also numbers the samples of one episode: a second request with the same prompt gets the next
    samples, never the same ones again (except greedy samples, which are all equal). The result of
    `next_token` is kept, so that a repeated probe costs nothing.

    Where the planner has several models, the meter of the base model leads to those of the others
    (`answering`), and knows which failed in this episode.

    Args:
        model: the model.
        ledger: where everything is charged.
        seed: of the samples.
        others: the planner's other models, if this is its base model.

    Attributes:
        models: all of them by name, this one first.
        failed: names of those that are asked no more.
        notes: what was replaced, reduced or missing since the last `take_notes`, one phrase each;
            a round records them as its `substitutes`.
        writes_programs: False once the model was asked for programs again, and wrote none.
    """

    def __init__(
        self,
        model: LanguageModel,
        ledger: Ledger,
        seed: int = 0,
        others: Sequence[LanguageModel] = (),
    ) -> None:
        self.model = model
        self.models = by_name([model, *others])
        self.failed: set[str] = set()
        self.ledger = ledger
        self.seed = seed
        self.notes: list[str] = []
        self.writes_programs = True
        self._others: dict[int, Meter] = {}
        self._drawn: Counter[Prompt] = Counter()
        self._probes: dict[Prompt, NextToken] = {}
        self._session = Session()  # so that servers find what they have read of this episode

    @property
    def capabilities(self) -> Capabilities:
        return self.model.capabilities

    def take_notes(self) -> tuple[str, ...]:
        """Returns the notes without repetition and clears them."""
        notes = tuple(dict.fromkeys(self.notes))
        self.notes.clear()
        return notes

    def on(self, model: LanguageModel) -> Meter:
        """The meter of another model in the same episode: one ledger, the same notes."""
        if model is self.model:
            return self
        if id(model) not in self._others:
            other = Meter(model, self.ledger, self.seed)
            other.notes, other._session = self.notes, self._session
            self._others[id(model)] = other
        return self._others[id(model)]

    def answering(self, name: str | None) -> Meter:
        """The meter of the model of this name; in place of one that failed, of the first other.

        Args:
            name: as in `Allocation.model`.

        Raises:
            InvalidInputError: if there is no such model.
        """
        wanted = self.model.card.name if name is None else name
        if wanted not in self.models:
            known = list(self.models)
            raise InvalidInputError(
                f"no model {wanted!r} answers here{did_you_mean(wanted, known)} (models:"
                f" {', '.join(known)})"
            )
        left = (other for other in self.models if other not in self.failed)
        answers = next(left) if wanted in self.failed else wanted
        if answers != wanted:
            self.notes.append(f"model {answers} instead of {wanted}, which failed")
        return self.on(self.models[answers])

    def mask(self, error: ModelError) -> None:
        """Has the model that failed asked no more in this episode.

        Raises:
            ModelError: the error itself, if no other model is left.
        """
        left = self.models.keys() - self.failed
        if error.model not in left or len(left) == 1:
            raise error
        self.failed.add(error.model)
        self.notes.append(f"model {error.model} failed and is asked no more: {error}")

    async def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of a prompt, as the model counts them; costs nothing."""
        with self._named():
            return await self.model.count_tokens(prompt)

    async def generate(
        self,
        prompt: Prompt,
        *,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        thinking_tokens: int = 0,
    ) -> list[Completion]:
        """Draws the next `n` samples of a prompt, or as many as the limits allow.

        Native thinking counts against the limits like the answer, and has its budget on top of the
        prompt's cap.

        Raises:
            LimitReachedError: if not one sample fits; the call is not made.
            ModelError: from the model.
        """
        if temperature == 0.0 and n > 1:
            self.notes.append(f"1 greedy sample instead of {n} equal ones")
            n = 1
        grants = await self._grants(prompt, n, prompt.max_tokens + thinking_tokens)
        granted_n, granted_tokens = sum(g.n for g in grants), min(g.max_tokens for g in grants)
        if granted_n < n:
            self.notes.append(f"{granted_n} samples instead of {n} to stay within the limits")
        # Thinking is shortened before the answer, as an answer that is cut off is worth nothing.
        # A budget below the smallest that every API accepts becomes 0.
        thinking = min(thinking_tokens, granted_tokens - prompt.max_tokens)
        if thinking < MIN_TOKENS:
            thinking = 0
        cap = granted_tokens - thinking
        if thinking < thinking_tokens:
            self.notes.append(f"{thinking} tokens of thinking instead of {thinking_tokens}")
        if cap < prompt.max_tokens:
            self.notes.append(f"cap of {cap} tokens instead of {prompt.max_tokens}")
        # Numbered by prompt, whatever the temperature: the same number at another temperature would
        # use the same random numbers and often give the same text, which would pass for agreement.
        first_sample = 0 if temperature == 0.0 else self._drawn[prompt]
        self._drawn[prompt] += granted_n
        request = Request(
            prompt=replace(prompt, max_tokens=cap),
            n=granted_n,
            first_sample=first_sample,
            temperature=temperature,
            top_p=top_p,
            seed=self.seed,
            thinking_tokens=thinking,
            timeout_seconds=grants[0].timeout_seconds,
        )
        asked = PendingCall(self.model.card, request.prompt, request)
        completions = await self._granted(grants, self.model.generate(request), asked)
        self._charge([c.usage for c in completions], asked, completions)
        self._note_sampling(temperature, top_p)
        return [self._told(completion) for completion in completions]

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Returns the next-token distribution after a prompt; a repeated call costs nothing.

        Args:
            prompt: the prompt.
            hidden: whether to return the hidden state, too; not every model provides it.

        Raises:
            LimitReachedError: if the call does not fit; it is not made.
            ModelError: from the model.
        """
        token = self._probes.get(prompt)
        if token is None or (hidden and token.hidden is None):
            # A back end may read the prompt a second time for the hidden state.
            grants = await self._grants(prompt, 1, 1, readings=2 if hidden else 1)
            asked = PendingCall(self.model.card, prompt)
            call = self.model.next_token(prompt, hidden=hidden)
            token = await self._granted(grants, call, asked)
            self._charge([token.usage], asked)
            self._probes[prompt] = token
        return token

    async def score(self, prompt: Prompt, text: str) -> LogProbs:
        """Returns the log-probabilities of a text after a prompt, token by token.

        Raises:
            LimitReachedError: if the call does not fit; it is not made.
            ModelError: from the model.
        """
        whole = replace(prompt, messages=(*prompt.messages, Message("user", text)))
        grants = await self._grants(whole, 1, await self.count_tokens(whole))
        asked = PendingCall(self.model.card, whole)
        scored = await self._granted(grants, self.model.score(prompt, [text]), asked)
        self._charge([scored[0].usage], asked)
        return scored[0]

    async def use(self, tool: Tool, text: str) -> ToolUse | None:
        """Runs a tool on a text and charges its time; a failure becomes `ToolUse.error`."""
        return await self._guarded(tool, tool.use(text), text)

    async def advise(self, tool: Tool, context: StepContext) -> ToolUse | None:
        """Gets a tool's advice and charges its time; a failure becomes `ToolUse.error`."""
        return await self._guarded(tool, tool.advise(context), context.task.goal)

    async def _guarded(
        self, tool: Tool, call: Awaitable[ToolUse | None], given: str
    ) -> ToolUse | None:
        """Enforces a tool's limits, and turns its exceptions into `ToolUse.error`."""
        begun, moment = time.perf_counter(), time.time_ns()
        try:
            async with asyncio.timeout(tool.limits.seconds + _TOOL_GRACE_SECONDS):
                use = await call
        except AmpError:
            raise
        except TimeoutError:
            error = f"no result within {tool.limits.seconds:g} seconds"
            use = ToolUse(tool.name, given, "", error, time.perf_counter() - begun)
        except Exception as failure:  # tools are written by users, and none may end a run
            error = f"the tool failed: {type(failure).__name__}: {failure}"
            use = ToolUse(tool.name, given, "", error, time.perf_counter() - begun)
        if use is None:
            return None
        if len(use.output.encode("utf-8", "replace")) > tool.limits.output_bytes:
            error = f"the result has more than {tool.limits.output_bytes} bytes"
            use = replace(use, output="", error=error, resume=None)
        self.ledger.charge_tool(use.seconds)
        note(ToolRun(use, moment, time.time_ns()))
        return use

    def _note_sampling(self, temperature: float, top_p: float) -> None:
        """Notes sampling settings that the model ignored; some refuse one only in the call."""
        can = self.capabilities
        if not can.temperature:
            self.notes.append(f"the model's own sampling instead of temperature {temperature:g}")
        elif temperature > can.max_temperature:
            self.notes.append(f"temperature {can.max_temperature:g} instead of {temperature:g}")
        if not can.top_p and top_p < 1.0 and temperature > 0.0:
            self.notes.append(f"no nucleus sampling instead of top_p {top_p:g}")

    async def _grants(
        self, prompt: Prompt, n: int, max_tokens: int, readings: int = 1
    ) -> list[Grant]:
        """Gets permission for n samples: one call if the model can share the prompt, else n."""
        card = self.model.card
        prompt_tokens = readings * await self.count_tokens(prompt)
        if self.capabilities.parallel_samples:
            return [self.ledger.grant(card, prompt_tokens, n, max_tokens)]
        grants = [self.ledger.grant(card, prompt_tokens, 1, max_tokens)]
        while len(grants) < n and self._lacking(prompt_tokens, max_tokens) is None:
            grants.append(self.ledger.grant(card, prompt_tokens, 1, max_tokens))
        return grants

    def _lacking(self, prompt_tokens: int, completion_tokens: int) -> str | None:
        """The limit that does not allow so many tokens; None if all do."""
        left = self.ledger.remaining
        if left.tokens is not None and prompt_tokens + completion_tokens > left.tokens:
            return "tokens"
        dollars = worst_dollars(prompt_tokens, completion_tokens, self.model.card)
        return "dollars" if left.dollars is not None and dollars > left.dollars else None

    async def _granted(
        self, grants: list[Grant], call: Awaitable[Answer], asked: PendingCall
    ) -> Answer:
        """Awaits a call within its time, then frees what was reserved for it.

        A call without an answer is charged here: with what the model wrote down, and with its time.
        """
        bill = self._bill(grants, asked.request.thinking_tokens if asked.request else 0)
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(grants[0].timeout_seconds) as deadline:
                with open_bill(bill), self._named():
                    return await call
        except BaseException as error:
            spent = bill.usages()
            if spent is None:  # at most all of it, if the model was at work
                cut_off = isinstance(error, TimeoutError | asyncio.CancelledError)
                spent = [bill.most(grant.n) for grant in grants if cut_off]
            spent = [*spent, Usage(seconds=time.perf_counter() - begun)]
            self._charge(spent, asked, error=type(error).__name__)
            if isinstance(error, TimeoutError) and deadline.expired():
                raise self.ledger.refuse("seconds", "a model call was cancelled") from None
            raise
        finally:
            bill.calls = None  # they hold the bill, and so this meter, in a circle
            for grant in grants:
                self.ledger.release(grant)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Says whose call it is, and of an error of the model which one that is."""
        try:
            with in_session(self._session):
                yield
        except ModelError as error:
            error.model = self.model.card.name
            raise

    def _told(self, completion: Completion) -> Completion:
        """The completion without figures of its tokens of which one cannot be, which is noted."""
        surprises = [-log_prob for log_prob in completion.log_probs]
        if not all(-_ROUNDING <= surprise < math.inf for surprise in surprises):
            self.notes.append(
                "no log-probabilities of tokens, since the model gave one that is none"
            )
            completion = replace(completion, log_probs=())
        if not all(-_ROUNDING <= entropy < math.inf for entropy in completion.entropies):
            self.notes.append("no entropies of tokens, since the model gave one that is none")
            completion = replace(completion, entropies=())
        return completion

    def _bill(self, grants: list[Grant], thinking_tokens: int) -> Bill:
        """A bill for calls that are granted; what is reserved beyond joins the grants."""
        granted = grants[0]
        prompt_tokens = granted.tokens - granted.n * granted.max_tokens
        bound = Usage(
            model_calls=1,
            prompt_tokens=prompt_tokens,
            completion_tokens=granted.max_tokens,
            reasoning_tokens=thinking_tokens,
            estimated_calls=1,
        )

        def more(samples: int) -> None:
            if limit := self._lacking(prompt_tokens, samples * granted.max_tokens):
                raise self.ledger.refuse(limit, "one more try of a call won't fit")
            card = self.model.card
            grants.append(self.ledger.reserve(card, prompt_tokens, samples, granted.max_tokens))

        return Bill(bound, len(grants), more)

    def _charge(
        self,
        usages: Sequence[Usage],
        asked: PendingCall,
        completions: Sequence[Completion] = (),
        error: str = "",
    ) -> None:
        usage = self.ledger.charge(self.model.card, usages)
        texts = tuple(c.text for c in completions)
        asked.ended(usage, texts, tuple(c.finish_reason for c in completions), error)
        if usage.estimated_calls:
            self.notes.append(ESTIMATED)
