"""What was spent, and what may be. Imports nothing of amp but its errors."""

from __future__ import annotations

from dataclasses import dataclass

from amp.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Usage:
    """What was really spent. Every token counts: probes, discarded beams, verification, retries.

    Attributes:
        model_calls: requests sent to a model; `n` samples of one prompt are one call.
        prompt_tokens: tokens read, once per call, including those in a prefix cache.
        cached_prompt_tokens: the part of prompt_tokens that was in a prefix cache.
        completion_tokens: tokens generated, over all samples.
        reasoning_tokens: the part of completion_tokens that native thinking took.
        estimated_calls: the part of model_calls whose tokens are an upper bound or what had come
            by then, since a call was cut off or the model told no usage that can be true.
        flops: floating point operations of the model.
        seconds: time inside models and tools.
        dollars: price of the calls.
        tool_calls: runs of tools.
    """

    model_calls: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    dollars: float = 0.0
    tool_calls: int = 0
    reasoning_tokens: int = 0
    estimated_calls: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together; what a token limit counts."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.model_calls + other.model_calls,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.flops + other.flops,
            self.seconds + other.seconds,
            self.dollars + other.dollars,
            self.tool_calls + other.tool_calls,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated_calls + other.estimated_calls,
        )

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(
            self.model_calls - earlier.model_calls,
            self.prompt_tokens - earlier.prompt_tokens,
            self.cached_prompt_tokens - earlier.cached_prompt_tokens,
            self.completion_tokens - earlier.completion_tokens,
            self.flops - earlier.flops,
            self.seconds - earlier.seconds,
            self.dollars - earlier.dollars,
            self.tool_calls - earlier.tool_calls,
            self.reasoning_tokens - earlier.reasoning_tokens,
            self.estimated_calls - earlier.estimated_calls,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of one episode; None means unlimited. A call that would exceed one is not made.

    Attributes:
        steps: plan steps.
        tokens: prompt and completion tokens, cached ones included.
        dollars: price of the calls.
        seconds: time inside models and tools.
        environment_seconds: how long one ``reset`` or ``step`` of an async environment may take by
            the clock. It counts for no other limit.

    Raises:
        InvalidInputError: if one is negative or no number; 0 is what may be left of a limit.
    """

    steps: int | None = None
    tokens: int | None = None
    dollars: float | None = None
    seconds: float | None = None
    environment_seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "tokens", "dollars", "seconds", "environment_seconds"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InvalidInputError(f"limit {name} is {value}, expected more than 0")
