"""Resources: what may be spent (`Limits`), what a round gets (`Allocation`), what was (`Usage`).

Imports nothing of amp but its errors.
"""

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


PLAN = "plan"
"""Tool of an allocation: the model writes the next actions, at most `Allocation.depth` of them."""

STANDING_PLAN = "standing_plan"
"""Tool of an allocation: the next action of the plan that an earlier step wrote, without a call."""

UNAIDED = "unaided"
"""Tool of an allocation: prompts and listed actions leave out what the harness works out by rules,
in benchmarks that have such help."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """R(C) = {d, t, p, b, u, v}: what one round of one plan step may spend (spec 2.3).

    Attributes:
        depth: reasoning steps before acting; 0 acts at once.
        temperature: sampling temperature; 0 is greedy.
        top_p: nucleus mass in (0, 1].
        beam_width: parallel candidates, at least 1.
        tools: names of the tools that the step may use.
        verification: 0 none, 1 rule check, 2 self-check by the probability of "yes", 3 verify and
            refine. Each level includes those below.
        model: name of the model that answers, where the planner has several; None is the base one.

    Raises:
        ValueError: if a value is out of its range; the message names the field.
    """

    depth: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    beam_width: int = 1
    tools: frozenset[str] = frozenset()
    verification: int = 0
    model: str | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("depth", self.depth, 0, 64),
            ("temperature", self.temperature, 0.0, 2.0),
            ("beam_width", self.beam_width, 1, 256),
            ("verification", self.verification, 0, 3),
        ):
            if not low <= value <= high:
                raise ValueError(f"allocation {name} is {value}, expected {low} to {high}")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(
                f"allocation top_p is {self.top_p}, expected more than 0 and at most 1"
            )


@dataclass(frozen=True, slots=True)
class Decision:
    """What an allocator decided: another round with this allocation, or to stop (None).

    Attributes:
        allocation: what the next round may spend; None ends the rounds, and the candidates so far
            decide the step's action.
        log_prob: log-probability of the decision under the allocator's policy; 0 if deterministic.
        latents: the policy's samples in latent space, which the maps turned into the allocation;
            for learning, else empty.
        max_tokens: what the round may take at most; a call that could take more is not made. None
            for what the limits allow.
        give_up: why the episode is given up: it ends with this step. Empty where it goes on.
        winner: of a stop, index of the candidate whose action is carried out; None leaves that to
            the vote.

    Raises:
        ValueError: if the episode is given up and another round allocated.
    """

    allocation: Allocation | None
    log_prob: float = 0.0
    latents: tuple[float, ...] = ()
    max_tokens: int | None = None
    give_up: str = ""
    winner: int | None = None

    def __post_init__(self) -> None:
        if self.give_up and self.allocation is not None:
            raise ValueError("a decision gives up and allocates a round, expected one of the two")
        if self.winner is not None and self.allocation is not None:
            raise ValueError(
                "a decision names a winner and allocates a round, expected one of them"
            )

    @property
    def stop(self) -> bool:
        return self.allocation is None


STOP = Decision(None)
