"""What an allocator decides: to stop, or an allocation for one more round.

Imports nothing of amp.
"""

from __future__ import annotations

from dataclasses import dataclass

PLAN = "plan"
"""Tool of an allocation: the model writes the next actions, at most `Allocation.depth` of them."""

STANDING_PLAN = "standing_plan"
"""Tool of an allocation: the next action of the plan that an earlier step wrote, without a call."""


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
