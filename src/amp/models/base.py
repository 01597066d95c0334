"""The base language model M: the protocol, the request, the answer.

A back end is one class in one file, with the methods of `LanguageModel` and no other public ones.
What differs between back ends is data in `Capabilities`, so that callers need not know which back
end they have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from amp.errors import InvalidInputError
from amp.types import Usage

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat for a model to continue.

    If the last message is the assistant's, the model continues that very text (a prefix), where its
    capabilities say `prefix`; elsewhere the back end states a substitute.

    Attributes:
        messages: the chat; begins with a system message, since templates differ in their default.
        max_tokens: cap of the answer, chosen with the prompt so that few answers are cut off.
        stop: strings that end the answer; they are not part of it.
        version: which prompts made it, such as ``gsm8k/3``; goes into every recording.
        labels: the answers whose probabilities `LanguageModel.next_token` is asked for, if they are
            known. A back end that is able to tells the probability of each of them, however small,
            and not only those of the likeliest tokens. Not part of a recording's key.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    stop: tuple[str, ...] = ()
    version: str = ""
    labels: tuple[str, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """Samples of one prompt.

    Attributes:
        prompt: what to continue.
        n: how many samples.
        first_sample: index of the first one. Sample i of a request is the same for every policy.
        temperature: 0 is greedy.
        top_p: nucleus mass in (0, 1].
        seed: separates runs; sample i draws from a stream of (seed, i).
        grammar: GBNF that the answer must match, or None; needs the capability `grammar`.
        thinking_tokens: budget of native thinking before the answer, on top of the prompt's cap; 0
            thinks not at all, or as little as the model can; needs the capability
            `thinking_budget`.
        timeout_seconds: the call is cancelled after this long; not part of a recording's key.
        on_text: called with each piece of the first sample's text as it comes, from any thread, by
            models that can; not part of a recording's key either.
    """

    prompt: Prompt
    n: int = 1
    first_sample: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    grammar: str | None = None
    thinking_tokens: int = 0
    timeout_seconds: float | None = None
    on_text: Callable[[str], None] | None = field(default=None, compare=False, repr=False)


FinishReason = Literal["stop", "length", "timeout", "filtered"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One sample.

    Attributes:
        text: what was generated; never repeats the prompt or its prefix.
        finish_reason: ``stop`` at its own end or a stop string, ``length`` at the cap, ``timeout``
            when the call was cancelled, ``filtered`` where the provider's filter keeps the answer
            back or the model refuses to give one; its text is empty then.
        usage: this sample's share. The first sample of a call carries the call itself and its
            prompt tokens, so that the sum over the samples is what the call cost.
        log_probs: natural log-probability of each generated token before temperature; empty if the
            model gives none.
        entropies: entropy of each token's distribution in nats, a lower bound from the most likely
            tokens; empty if the model gives none.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    log_probs: tuple[float, ...] = ()
    entropies: tuple[float, ...] = ()

    @property
    def cut_off(self) -> bool:
        """Whether it ended at a cap or in the middle."""
        return self.finish_reason in ("length", "timeout")

    @property
    def log_prob(self) -> float | None:
        return math.fsum(self.log_probs) if self.log_probs else None

    @property
    def entropy(self) -> float | None:
        return math.fsum(self.entropies) / len(self.entropies) if self.entropies else None


@dataclass(frozen=True, slots=True)
class NextToken:
    """The distribution of the next token after a prompt, as far as the model provides it.

    Attributes:
        log_probs: natural log-probability by token text, the most likely tokens only. Texts that
            differ only as tokens are added up.
        usage: what the probe cost.
        hidden: hidden state of the last token, if it was asked for and the model has it.
        complete: whether log_probs covers the whole vocabulary.
    """

    log_probs: dict[str, float]
    usage: Usage
    hidden: tuple[float, ...] | None = None
    complete: bool = False


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Log-probabilities of one continuation, token by token, and what scoring it cost."""

    log_probs: tuple[float, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do besides generating text. What it cannot is replaced, and noted.

    Attributes:
        log_probs: log-probabilities of what it wrote, and of the likeliest next tokens.
        full_distribution: the next token's distribution over the whole vocabulary.
        hidden_states: the hidden state of a prompt's last token.
        scoring: log-probabilities of given continuations.
        parallel_samples: several samples of one prompt in one call.
        prefix: continuing the assistant's last message.
        grammar: answers that match a GBNF grammar.
        thinking_budget: native thinking within a number of tokens.
        temperature: sampling at a given temperature; else the model uses its own.
        top_p: nucleus sampling.
        max_temperature: the highest temperature that it accepts; a higher one is lowered to it.
    """

    log_probs: bool = False
    full_distribution: bool = False
    hidden_states: bool = False
    scoring: bool = False
    parallel_samples: bool = False
    prefix: bool = False
    grammar: bool = False
    thinking_budget: bool = False
    temperature: bool = True
    top_p: bool = True
    max_temperature: float = 2.0


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Who a model is, for recordings, run manifests and the cost ledger.

    Attributes:
        name: the name in the catalog, or the provider's.
        sha256: hash of its weights file; empty where there is no file.
        parameters: number of parameters, or None if it is not known.
        context_tokens: the longest prompt and answer together, or None if unknown.
        layers: number of attention layers, or None if it is not known.
        attention_width: width of attention (heads times their width), or None if it is not known.
        dollars_per_million_prompt_tokens: price; 0 for a local model, None if it is not known.
        dollars_per_million_cached_tokens: price of prompt tokens found in a cache.
        dollars_per_million_completion_tokens: price.
        dollars_per_million_reasoning_tokens: price of native thinking; None if it is that of other
            completion tokens.
    """

    name: str
    sha256: str = ""
    parameters: int | None = None
    context_tokens: int | None = None
    layers: int | None = None
    attention_width: int | None = None
    dollars_per_million_prompt_tokens: float | None = 0.0
    dollars_per_million_cached_tokens: float | None = 0.0
    dollars_per_million_completion_tokens: float | None = 0.0
    dollars_per_million_reasoning_tokens: float | None = None

    @property
    def called(self) -> str:
        """Its name, and which weights that was, where they are a file."""
        return f"{self.name} ({self.sha256[:8]})" if self.sha256 else self.name


@runtime_checkable
class LanguageModel(Protocol):
    """Any base model. All methods are safe to call concurrently from one event loop.

    Raises:
        ModelError: if the model is unreachable, refuses the request or answers garbage.
    """

    @property
    def card(self) -> ModelCard: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def generate(self, request: Request) -> list[Completion]:
        """Returns `request.n` samples, numbered from `request.first_sample`."""
        ...

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        """Returns the log-probabilities of each continuation after the prompt."""
        ...

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        """Returns the next-token distribution after the prompt, with the hidden state on demand."""
        ...

    async def count_tokens(self, prompt: Prompt) -> int:
        """Returns the tokens of a prompt with its template, exactly or as an upper bound.

        Limits are held with this figure, so it is never less than what a call is charged.
        """
        ...

    async def close(self) -> None:
        """Frees what the model holds. Calling it twice is fine."""
        ...


def by_name(models: Sequence[LanguageModel]) -> dict[str, LanguageModel]:
    """Some models by the names on their cards, in their order.

    Raises:
        InvalidInputError: if there is none, or two have one name.
    """
    named = {model.card.name: model for model in models}
    names = [model.card.name for model in models]
    if not names:
        raise InvalidInputError("no model is given, expected at least 1")
    if twice := next((name for name in named if names.count(name) > 1), None):
        raise InvalidInputError(
            f"two models are called {twice!r}, so an allocation can't tell them apart; name each"
            " once"
        )
    return named


_LARGEST_EXPONENT = 700.0


def entropy(log_probs: Sequence[float]) -> float:
    """Entropy of the next-token distribution, in nats (spec 2.2, H).

    Args:
        log_probs: natural log-probabilities of the most likely tokens, any order. Mass that they
            leave out is taken as one further outcome, so the result is a lower bound of the entropy
            of the full distribution.

    Returns:
        A number from 0 to log(len(log_probs) + 1); 0 for an empty sequence, whose only outcome is
        the mass left out.

    Raises:
        ValueError: if a value is positive, NaN, or the masses add up to more than 1 + 1e-6.
    """
    for value in log_probs:
        if not value <= 0.0:
            raise ValueError(f"log-probability is {value}, expected a number of at most 0")
    masses = [math.exp(value) for value in log_probs]
    total = math.fsum(masses)
    if total > 1.0 + 1e-6:
        raise ValueError(f"probabilities add up to {total:.7f}, expected at most 1")
    masses.append(max(0.0, 1.0 - total))
    # max: a mass that rounding lifted above 1 must not make the entropy negative.
    return max(0.0, -math.fsum(mass * math.log(mass) for mass in masses if mass > 0.0))


def normalised(log_probs: Sequence[float]) -> list[float]:
    """Removes the rounding of 32-bit servers: no value above 0, no total mass above 1.

    Raises:
        ValueError: if the masses exceed 1 by more than 1e-3, which no rounding explains.
    """
    clipped = [min(0.0, value) for value in log_probs]
    total = math.fsum(math.exp(value) for value in clipped)
    if total > 1.0 + 1e-3:
        raise ValueError(f"probabilities add up to {total:.4f}, expected at most 1")
    excess = math.log(total) if total > 1.0 else 0.0
    return [value - excess for value in clipped]


def perplexity(log_probs: Sequence[float]) -> float | None:
    """Perplexity of a text: exp of the mean of its tokens' negative log-probabilities (spec 3.2).

    Args:
        log_probs: natural log-probability of each of its tokens.

    Returns:
        At least 1; infinite where it is beyond every number; None for a text without tokens.

    Raises:
        ValueError: if a value is positive or NaN.
    """
    for value in log_probs:
        if not value <= 0.0:
            raise ValueError(f"log-probability is {value}, expected a number of at most 0")
    if not log_probs:
        return None
    surprise = -math.fsum(log_probs) / len(log_probs)
    return math.exp(surprise) if surprise < _LARGEST_EXPONENT else math.inf
