"""Records lattices, reads them, and replays them, for the tests of them all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fakes.trail import ARMS, CARD, Trails, walker

from amp.allocate.base import Allocator
from amp.allocate.rules import plan_arms
from amp.assess.base import WeightedAssessor
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.benchmarks.base import Benchmark
from amp.execute.executor import Executor
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.simulate.lattice_recording import (
    Lattice,
    Survey,
    lattice_from_recording,
    record_lattice,
)
from amp.simulate.lattice_states import Arms, TaskLattice
from amp.types import (
    STOP,
    Allocation,
    Complexity,
    Decision,
    Episode,
    Limits,
    StepContext,
    Task,
)

SURVEY = Survey(Trails(), Arms(ARMS))
TASKS = Trails().tasks("train", 4)
WARM = {"act": ARMS["act"], "warm": replace(ARMS["think"], temperature=0.7)}
PATH_FINDER = frozenset({"path_finder"})
FOUR = {
    "act": Allocation(),
    "think": Allocation(depth=1),
    "goal": Allocation(tools=PATH_FINDER),
    "think goal": Allocation(depth=1, tools=PATH_FINDER),
}
PLANS = plan_arms(Allocation(tools=PATH_FINDER), plans=(2, 4))


@dataclass
class Guess(Allocator):
    """An arm of chance in each round, one or two rounds a step."""

    seed: int
    arms: Sequence[Allocation] = tuple(ARMS.values())

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        done = context.evidence.rounds
        rng = random.Random(f"{self.seed} {context.task.id} {len(context.steps)} {done}")
        if done and rng.random() < 0.5 * done:
            return STOP
        return Decision(rng.choice(self.arms))


class Follow(Allocator):
    """Plans four actions, and follows them as long as they stand."""

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return STOP
        return Decision(PLANS["follow" if context.standing_plan else "plan 4"])


def record(
    path: Path, survey: Survey = SURVEY, tasks: Sequence[Task] = TASKS, waits: bool = False
) -> dict[str, str]:
    """Fills a recording; returns what was left out."""

    async def go() -> dict[str, str]:
        model = RecordedModel(walker(waits), path, "auto")
        try:
            return await record_lattice(model, path, survey, tasks)
        finally:
            await model.close()

    return asyncio.run(go())


def said(prompt: Prompt, sample: int) -> str:
    """A thought, or a plan of chance."""
    if prompt.version != "babyai-plan/1":
        return "so I go"
    steps = random.Random(repr(prompt.messages[-2:])).choices(("explore", *PRIMITIVES[:3]), k=4)
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))[2:]


def player() -> ScriptedModel:
    """A model for BabyAI whose arms hardly ever agree."""

    def next_tokens(prompt: Prompt) -> dict[str, float]:
        rng = random.Random(repr(prompt.messages[-2:]))
        masses = [rng.random() ** 3 for _ in range(9)]
        return {str(i + 1): mass / sum(masses) for i, mass in enumerate(masses)}

    return ScriptedModel(said, next_tokens=next_tokens, card=CARD)


def record_babyai(path: Path, survey: Survey, tasks: Sequence[Task]) -> None:
    """Likewise in BabyAI, by such a model."""

    async def go() -> None:
        model = RecordedModel(player(), path, "auto")
        assert await record_lattice(model, path, survey, tasks) == {}
        await model.close()

    asyncio.run(go())


def read(path: Path, survey: Survey = SURVEY, tasks: Sequence[Task] = TASKS) -> Lattice:
    return asyncio.run(lattice_from_recording(path, survey, tasks))


def replay(
    path: Path, benchmark: Benchmark, allocator: Allocator, tasks: Sequence[Task]
) -> list[Episode]:
    """What the planner does with the answers of a recording alone."""
    model = RecordedModel(None, path, "replay")
    planner = Planner(
        model,
        Executor(
            benchmark.prompts,
            {},
            benchmark.defaults.plausibility,
            plans=benchmark.defaults.plans,
        ),
        WeightedAssessor(),
        allocator,
        Limits(steps=benchmark.max_steps),
        probes=frozenset(),
    )

    async def go() -> list[Episode]:
        try:
            return [await planner.run(task, benchmark.environment(task)) for task in tasks]
        finally:
            await model.close()

    return asyncio.run(go())


def check_way(lattice: TaskLattice, episode: Episode) -> None:
    """A planner's episode goes from state to state, and each arm says there what it said to it."""
    way = lattice.way(episode)
    arms = {name: asked for state in way if state for name, asked in state.asked.items()}
    assert None not in way
    assert len(way) == len(episode.steps) > 0
    for state, step in zip(way, episode.steps, strict=True):
        assert state is not None
        assert state.context.observation == step.observation
        said = {
            tuple((c.text, c.action, c.probability) for c in one.candidates)
            for name in arms
            for one in state.asked[name]
        }
        for made in step.rounds:
            assert tuple((c.text, c.action, c.probability) for c in made.candidates) in said
