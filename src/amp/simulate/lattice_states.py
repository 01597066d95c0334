"""The states of tasks that were visited: what every arm says in each, and where that leads.

`amp.simulate.lattice_explorer` visits them, `amp.simulate.lattice_recording` keeps them, and
`amp.simulate.sample_env` makes tables of them to learn from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from amp.allocate.rules import plan_arms
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, did_you_mean
from amp.evaluate.record import corners
from amp.models.recording import digest
from amp.types import (
    UNAIDED,
    Allocation,
    Candidate,
    Episode,
    ProbeKind,
    StepContext,
    StepRecord,
    Task,
    Usage,
    standing_plan,
)

OUTSIDE = "left the lattice"
"""`Episode.ended` where what follows was not visited."""


@dataclass(frozen=True, slots=True)
class ArmAnswer:
    """What came of asking an arm once.

    Attributes:
        candidates: what it proposes.
        usage: what it cost, but for the readings.
        readings: what each of its prompts cost of which only the next token was read, by name.
            Within an episode a planner makes each of them once.
    """

    candidates: tuple[Candidate, ...]
    usage: Usage
    readings: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class StepChoice:
    """What settles a step: an action, and the plan that stands after it.

    Attributes:
        action: None where no candidate named one.
        plan: empty where none stands.
    """

    action: str | None
    plan: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A digest, as no text of a task is in a recording."""
        return digest([self.action, self.plan]).hex()[:16]


@dataclass(frozen=True, slots=True)
class LatticeEdge:
    """Where a choice leads.

    Attributes:
        to: the state; None where the episode ends, or beyond what was visited.
        outside: whether it is beyond what was visited.
        success: whether the episode ended well; None where it is not known.
        score: quality of the plan, if so.
        feedback: the environment's answer.
    """

    to: str | None = None
    outside: bool = False
    success: bool | None = False
    score: float = 0.0
    feedback: str = ""


@dataclass(slots=True)
class LatticeState:
    """A state that was visited.

    Attributes:
        name: unique; a digest of all that makes it.
        context: the step there, with one of the ways that lead to it.
        probe: what was measured before the first round, and what that cost; the candidates of
            `ArmAnswer` are none.
        asked: by arm, once or several times.
        leads: by choice.
    """

    name: str
    context: StepContext
    probe: ArmAnswer
    asked: Mapping[str, tuple[ArmAnswer, ...]]
    leads: dict[StepChoice, LatticeEdge] = field(default_factory=dict)

    def after(self, choice: str) -> str | None:
        """The state that a choice leads to, by its name; None where the episode ends.

        Raises:
            InvalidInputError: if no arm makes it here.
        """
        for one, lead in self.leads.items():
            if one.name == choice:
                return lead.to
        raise InvalidInputError(
            f"in step {len(self.context.steps) + 1} of task {self.context.task.id} something is"
            f" done that no arm of the lattice does ({', '.join(self.asked)}); record it with the"
            " arms that are allocated"
        )


@dataclass(frozen=True, slots=True)
class TaskLattice:
    """The states of a task.

    Attributes:
        task: the task.
        states: by name, in the order of their visits; the first one begins the task.
        cut_off: states that ways lead to and that were not visited, for the cap.
        prompts: different prompts that the arms were asked, each with its sample.
    """

    task: Task
    states: Mapping[str, LatticeState]
    cut_off: int
    prompts: int

    def way(self, episode: Episode) -> list[LatticeState | None]:
        """The state of each step of an episode of the task; None where it is outside."""
        way: list[LatticeState | None] = []
        state: LatticeState | None = next(iter(self.states.values()))
        for step in episode.steps:
            way.append(state)
            if state is not None:
                lead = state.leads.get(choice_in(step))
                to = None if lead is None else lead.to
                state = None if to is None else self.states[to]
        return way


@dataclass(frozen=True, slots=True)
class Arms:
    """What is asked in every state.

    Attributes:
        named: allocations by name.
        samples: how often an arm with a temperature is asked in a state; others would say the
            same again.
        probes: what is measured before.
        main: the arm whose line is visited first; None for the lines of all arms alike.

    Raises:
        InvalidInputError: if there are no arms, no samples, or main is none of the arms.
    """

    named: Mapping[str, Allocation]
    samples: int = 1
    probes: frozenset[ProbeKind] = frozenset()
    main: str | None = None

    def __post_init__(self) -> None:
        if not self.named:
            raise InvalidInputError("there are no arms, expected at least one")
        if self.samples < 1:
            raise InvalidInputError(f"samples is {self.samples}, expected at least 1")
        if self.main is not None and self.main not in self.named:
            raise InvalidInputError(
                f"main is {self.main!r}, expected one of the arms: {', '.join(self.named)}"
            )

    def times(self, arm: str) -> int:
        """How often an arm is asked in a state."""
        return self.samples if self.named[arm].temperature > 0.0 else 1


def lattice_arms(benchmark: Benchmark, names: Sequence[str] = ()) -> dict[str, Allocation]:
    """The arms of a lattice by name.

    Args:
        benchmark: has the arms of its defaults or, without any, those of `plan_arms`.
        names: the arms wanted, also ``think 2`` and ``plan 3`` with any numbers, the corners of
            the benchmark's space, and each of these as ``act unaided`` (`UNAIDED`) where the
            benchmark has help; all of the benchmark's if there are none.

    Raises:
        InvalidInputError: if there is no arm of a name.
    """
    defaults = benchmark.defaults
    ending = f" {UNAIDED}"
    counts = [re.fullmatch(r"(think|plan) (\d+)", name.removesuffix(ending)) for name in names]
    told = [(one[1], int(one[2])) for one in counts if one is not None and 0 < int(one[2]) <= 64]
    at_once = replace(defaults.fixed, depth=0, beam_width=1)
    usual = plan_arms(at_once)
    wanted = plan_arms(
        at_once,
        [count for what, count in told if what == "plan"],
        [count for what, count in told if what == "think"],
    )
    own = dict(defaults.arms) or usual
    known = corners(defaults.space) | usual | wanted | own
    if UNAIDED in benchmark.environment_tools:
        for name in names:
            if name.endswith(ending) and (arm := known.get(name.removesuffix(ending))):
                known[name] = replace(arm, tools=arm.tools | {UNAIDED})
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"unknown arm {name!r}{did_you_mean(name, list(known))} (arms of"
                f" {benchmark.name}: {'; '.join(known)})"
            )
    return {name: known[name] for name in names} if names else own


def choice_in(step: StepRecord) -> StepChoice:
    """What settled a step of an episode."""
    return StepChoice(step.action, standing_plan((step,)))


def choice_of(candidates: Sequence[Candidate], action: str | None) -> StepChoice:
    """What settles a step: the action, and the plan of the last candidate that has one for it."""
    plans = (c.plan for c in reversed(candidates) if c.action == action and c.plan)
    return StepChoice(action, next(plans, ()))
