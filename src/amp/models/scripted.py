"""A deterministic model without a model: for tests, examples and dry runs."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from amp.errors import ModelError
from amp.models.base import (
    Capabilities,
    Completion,
    LogProbs,
    ModelCard,
    NextToken,
    Prompt,
    Request,
    entropy,
)
from amp.models.bill import begin_call
from amp.models.chat import require_budget
from amp.types import Usage

Answers = Callable[[Prompt, int], str] | Mapping[str, str | Sequence[str]] | Sequence[str]
Distributions = Callable[[Prompt], Mapping[str, float]] | Mapping[str, Mapping[str, float]]

ALL_CAPABILITIES = Capabilities(
    log_probs=True,
    full_distribution=True,
    hidden_states=True,
    scoring=True,
    parallel_samples=True,
    prefix=True,
    grammar=True,
)

LABELS = string.digits + string.ascii_letters

V = TypeVar("V")

_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])")
_TEMPLATE_TOKENS = 4
_LOG_HALF = math.log(0.5)


def tokens(text: str) -> list[str]:
    """Returns a text's tokens: words and single signs, each with the white space before it."""
    return _TOKEN.findall(text)


class ScriptedModel:
    """Answers from a script. Every token has probability 1/2, so log-probabilities can be foretold.

    Args:
        answers: what to say. A function of the prompt and the sample's index; a list, from which
            sample i takes entry i modulo its length, whatever the prompt; or a mapping from a part
            of the last message to an answer or a list of answers (the longest matching part wins).
        next_tokens: what `next_token` tells: a function of the prompt, or a mapping from a part of
            the last message, to probabilities by token text. None: "yes" and "no" alike.
        capabilities: what the model claims; what it lacks, it leaves out of its answers.
        card: who the model claims to be.
        delay_seconds: pause before each answer; a request with a shorter timeout times out.
        hidden: the hidden state that `next_token` gives.

    Attributes:
        requests: every request that `generate` got, in order.
        probes: every prompt that `next_token` got, in order.
        scores: every prompt that `score` got, with its continuations, in order.
        closed: whether `close` was called.
    """

    def __init__(
        self,
        answers: Answers,
        *,
        next_tokens: Distributions | None = None,
        capabilities: Capabilities = ALL_CAPABILITIES,
        card: ModelCard | None = None,
        delay_seconds: float = 0.0,
        hidden: Sequence[float] = (0.0, 1.0),
    ) -> None:
        self._answers = answers
        self._next_tokens = next_tokens
        self._capabilities = capabilities
        self._card = card or ModelCard(name="scripted", parameters=1_000_000, context_tokens=8192)
        self._delay_seconds = delay_seconds
        self._hidden = tuple(hidden)
        self.requests: list[Request] = []
        self.probes: list[Prompt] = []
        self.scores: list[tuple[Prompt, tuple[str, ...]]] = []
        self.closed = False

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def generate(self, request: Request) -> list[Completion]:
        """Returns the scripted answers, cut at the stop strings and at the cap."""
        self._require_open()
        require_budget(request, self._card.name, supported=self._capabilities.thinking_budget)
        self.requests.append(request)
        prompt_tokens = _count(request.prompt)
        limit = request.timeout_seconds
        if limit is not None and limit < self._delay_seconds:
            await self._pause(limit, request.prompt)
            timed_out = Completion("", "timeout", Usage(seconds=limit / request.n))
            return _charged([timed_out] * request.n, prompt_tokens, estimated=True)
        await self._pause(self._delay_seconds, request.prompt)
        first, n = request.first_sample, request.n
        samples = [self._sample(request.prompt, index, n) for index in range(first, first + n)]
        return _charged(samples, prompt_tokens)

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Returns log 1/2 for each token; one call a continuation."""
        self._require_open()
        self.scores.append((prompt, tuple(continuations)))
        await self._pause(self._delay_seconds, prompt)
        scored = []
        for continuation in continuations:
            count = len(tokens(continuation))
            usage = Usage(1, _count(prompt), 0, count, seconds=self._delay_seconds)
            scored.append(LogProbs((_LOG_HALF,) * count, usage))
        return scored

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Returns the scripted next-token distribution."""
        self._require_open()
        self.probes.append(prompt)
        await self._pause(self._delay_seconds, prompt)
        masses = self._distribution(prompt)
        return NextToken(
            {text: math.log(mass) for text, mass in masses.items() if mass > 0.0},
            Usage(1, _count(prompt), 0, 1, seconds=self._delay_seconds),
            hidden=self._hidden if hidden and self._capabilities.hidden_states else None,
            complete=self._capabilities.full_distribution,
        )

    async def count_tokens(self, prompt: Prompt) -> int:
        return _count(prompt)

    async def close(self) -> None:
        self.closed = True

    async def _pause(self, seconds: float, prompt: Prompt) -> None:
        """Waits; whoever cancels that pays for the prompt, as no token has come."""
        spent = begin_call()
        spent.told(Usage(1, _count(prompt), estimated_calls=1))
        await asyncio.sleep(seconds)
        spent.told(Usage())

    def _sample(self, prompt: Prompt, index: int, n: int) -> Completion:
        text = self._answer(prompt, index)
        for stop in prompt.stop:
            text = text.split(stop, 1)[0]
        all_tokens = tokens(text)
        cut = len(all_tokens) > prompt.max_tokens
        if cut:
            all_tokens = all_tokens[: prompt.max_tokens]
            text = "".join(all_tokens)
        known = len(all_tokens) if self._capabilities.log_probs else 0
        return Completion(
            text,
            "length" if cut else "stop",
            Usage(completion_tokens=len(all_tokens), seconds=self._delay_seconds / n),
            log_probs=(_LOG_HALF,) * known,
            entropies=(entropy([_LOG_HALF]),) * known,
        )

    def _answer(self, prompt: Prompt, index: int) -> str:
        if callable(self._answers):
            return self._answers(prompt, index)
        if isinstance(self._answers, Mapping):
            found = _matching(self._answers, prompt)
            return found if isinstance(found, str) else found[index % len(found)]
        return self._answers[index % len(self._answers)]

    def _distribution(self, prompt: Prompt) -> Mapping[str, float]:
        if self._next_tokens is None:
            return {"yes": 0.5, "no": 0.5}
        if callable(self._next_tokens):
            return self._next_tokens(prompt)
        return _matching(self._next_tokens, prompt)

    def _require_open(self) -> None:
        if self.closed:
            raise ModelError("the model is closed; load it again")


def _matching(script: Mapping[str, V], prompt: Prompt) -> V:
    last = prompt.messages[-1].content
    parts = [part for part in script if part in last]
    if not parts:
        raise ModelError(f"the script has no answer to {last!r}; it knows {sorted(script)}")
    return script[max(parts, key=len)]


def _count(prompt: Prompt) -> int:
    return sum(_TEMPLATE_TOKENS + len(tokens(message.content)) for message in prompt.messages)


def _charged(
    samples: Sequence[Completion], prompt_tokens: int, *, estimated: bool = False
) -> list[Completion]:
    """Puts the call and its prompt on the first sample."""
    call = Usage(model_calls=1, prompt_tokens=prompt_tokens, estimated_calls=int(estimated))
    first = dataclasses.replace(samples[0], usage=samples[0].usage + call)
    return [first, *samples[1:]]


def random_model() -> ScriptedModel:
    """A model that knows nothing: every label of a choice is as likely as any other.

    With a temperature above 0 it acts at random among the listed actions, which is the baseline
    that shows what tools and environment do on their own. It writes nothing.
    """
    even = dict.fromkeys(LABELS, 1 / len(LABELS))
    return ScriptedModel([""], next_tokens=lambda prompt: even, card=ModelCard("random"))
