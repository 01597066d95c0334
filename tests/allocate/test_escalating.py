"""The default allocator in worlds of which nothing is known: cheap, unless there is trouble."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.allocate.base import FixedAllocator
from amp.allocate.rules import EscalatingAllocator
from amp.errors import InvalidInputError
from amp.execute.choice_step import labels_for
from amp.models.base import Prompt
from amp.models.scripted import LABELS, ScriptedModel
from amp.planner import Planner
from amp.types import Allocation, Episode, Limits, Observation, Task, Transition, Usage

TASK = Task("wander", "find the way out")


@dataclass
class Maze:
    """A world drawn at random: some rooms, listed actions or free text, words of any length."""

    seed: int
    rooms: int
    actions: int | None
    words: int

    def reset(self, task: Task) -> Observation:
        self.rng = random.Random(self.seed)
        return self._look()

    def step(self, action: str) -> Transition:
        done = self.rng.random() < 0.1
        return Transition(self._look(), done, done, feedback=self.rng.choice(["", "ok", "no"]))

    def _look(self) -> Observation:
        room = self.rng.randrange(self.rooms)
        state = " ".join([f"room {room}", *["dust"] * self.words])
        if self.actions is None:
            return Observation(state)
        return Observation(state, tuple(f"door {n}" for n in range(self.actions)))


def guesser(seed: int) -> ScriptedModel:
    """A model that says anything, at any length, or nothing, and is as sure as chance has it."""

    def answer(prompt: Prompt, sample: int) -> str:
        rng = random.Random(f"{seed} {prompt} {sample}")
        return " ".join(["go"] * rng.choice([0, 1, 10, 200]))

    def next_token(prompt: Prompt) -> dict[str, float]:
        rng = random.Random(f"{seed} {prompt}")
        weights = [rng.random() ** 8 for _ in LABELS]
        return {label: w / sum(weights) for label, w in zip(LABELS, weights, strict=True)}

    return ScriptedModel(answer, next_tokens=next_token)


def at_once(episode: Episode) -> int:
    """What acting at once costs in the steps of an episode: their probes and first rounds."""
    later = sum((r.usage for step in episode.steps for r in step.rounds[1:]), Usage())
    return (episode.usage - later).tokens


@given(
    seed=st.integers(0, 1000),
    rooms=st.integers(1, 4),
    actions=st.none() | st.integers(2, 12),
    words=st.integers(0, 60),
    multiple=st.sampled_from([1.0, 2.0, 3.0, 5.0]),
    doubt=st.sampled_from([1.0, 1.1, 2.0, 5.0]),
)
async def test_no_episode_costs_more_than_its_multiple_of_acting_at_once(
    seed: int, rooms: int, actions: int | None, words: int, multiple: float, doubt: float
) -> None:
    world = Maze(seed, rooms, actions, words)
    allocator = EscalatingAllocator(multiple, doubt=doubt)
    planner = Planner(guesser(seed), allocator=allocator, limits=Limits(steps=12))
    episode = await planner.run(TASK, world)
    most = multiple if actions is None else min(multiple, doubt)  # every choice can be read
    assert episode.usage.tokens <= most * at_once(episode)
    assert episode.ended in ("done", "limit of steps")
    for step in episode.steps:
        first = step.rounds[0].allocation
        assert first == Allocation(temperature=first.temperature)
        assert len(step.rounds) <= 2


async def test_without_trouble_it_is_acting_at_once_by_default() -> None:
    sure = ScriptedModel([], next_tokens=lambda prompt: {"1": 0.9, "2": 0.1})
    world = Maze(seed=1, rooms=10**9, actions=2, words=5)
    episode = await Planner(sure, limits=Limits(steps=8)).run(TASK, world)
    assert episode.usage.tokens == at_once(episode)
    assert {step.rounds[0].allocation for step in episode.steps} == {Allocation()}


@given(seed=st.integers(0, 1000), actions=st.integers(2, 12), words=st.integers(0, 20))
async def test_where_the_model_is_sure_it_makes_the_calls_of_acting_at_once(
    seed: int, actions: int, words: int
) -> None:
    """In rooms that no plan comes back to."""

    def sure(prompt: Prompt) -> dict[str, float]:
        return {random.Random(f"{seed} {prompt}").choice(labels_for(actions)): 1.0}

    told = []
    for allocator in (None, FixedAllocator()):
        model = ScriptedModel([], next_tokens=sure)
        planner = Planner(model, allocator=allocator, limits=Limits(steps=12))
        episode = await planner.run(TASK, Maze(seed, 10**9, actions, words))
        assert len(model.probes) == len(episode.steps)
        assert not model.requests
        told.append((model.probes, episode.plan, episode.usage))
    assert told[0] == told[1]


async def test_a_choice_in_doubt_is_thought_over_when_it_can_be_afforded() -> None:
    def torn(prompt: Prompt) -> dict[str, float]:
        return {"1": 0.1, "2": 0.9} if "considered" in str(prompt) else {"1": 0.51, "2": 0.49}

    model = ScriptedModel(["The second one."], next_tokens=torn)
    world = Maze(seed=1, rooms=10**9, actions=2, words=200)
    careful = EscalatingAllocator(5.0, doubt=5.0)
    generous = Planner(model, allocator=careful, limits=Limits(steps=2))
    (thought, _) = (await generous.run(TASK, world)).steps
    assert [r.allocation.depth for r in thought.rounds] == [0, 2]
    assert thought.action == "door 1"
    frugal = Planner(model, allocator=EscalatingAllocator(), limits=Limits(steps=2))
    (quick, _) = (await frugal.run(TASK, world)).steps
    assert (len(quick.rounds), quick.action) == (1, "door 0")


async def test_a_plan_that_goes_in_circles_is_led_out_of_them() -> None:
    """The model always prefers the first door, which leads nowhere."""

    class Stuck(Maze):
        def step(self, action: str) -> Transition:
            out = action == "door 2"
            return Transition(self._look(), out, out)

    model = ScriptedModel(["Door."], next_tokens=lambda prompt: {"1": 0.9, "2": 0.05, "3": 0.05})
    episode = await Planner(model, limits=Limits(steps=60)).run(TASK, Stuck(1, 1, 3, 5))
    assert episode.success
    temperatures = [step.rounds[0].allocation.temperature for step in episode.steps]
    assert temperatures[:4] == [0.0, 1.0, 1.5, 2.0]
    assert sum(len(step.rounds) - 1 for step in episode.steps) <= 1


async def test_an_unreadable_answer_is_asked_for_again_with_reasoning() -> None:
    def answer(prompt: Prompt, sample: int) -> str:
        return "I see. Action: left" if "Think" in str(prompt) else ""

    world = Maze(seed=1, rooms=10**9, actions=None, words=200)
    planner = Planner(ScriptedModel(answer), limits=Limits(steps=1))
    (step,) = (await planner.run(TASK, world)).steps
    assert (len(step.rounds), step.action, step.failure) == (2, "left", None)


async def test_a_situation_is_state_actions_and_feedback_together() -> None:
    class Counter:
        def reset(self, task: Task) -> Observation:
            self.n = 0
            return Observation("dark", ("dig", "rest"))

        def step(self, action: str) -> Transition:
            self.n += 1
            feedback = f"hole of {self.n} feet"
            return Transition(Observation("dark", ("dig", "rest")), False, feedback=feedback)

    model = ScriptedModel([], next_tokens=lambda prompt: {"1": 0.9, "2": 0.1})
    episode = await Planner(model, limits=Limits(steps=5)).run(TASK, Counter())
    assert set(episode.plan) == {"dig"}
    assert all(step.rounds[0].allocation == Allocation() for step in episode.steps)


def test_a_multiple_below_one_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"multiple is 0\.5"):
        EscalatingAllocator(0.5)
    with pytest.raises(InvalidInputError, match=r"doubt is 0\.5"):
        EscalatingAllocator(doubt=0.5)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(2, 12)), min_size=20, max_size=20))
@settings(max_examples=3)
async def test_on_average_it_is_not_much_dearer_than_the_fixed_allocation(
    worlds: list[tuple[int, int]],
) -> None:
    """A step against a step, since who acts otherwise ends elsewhere."""
    means = []
    for allocator in (None, FixedAllocator()):
        usage, steps = 0, 0
        for seed, actions in worlds:
            planner = Planner(guesser(seed), allocator=allocator, limits=Limits(steps=12))
            episode = await planner.run(TASK, Maze(seed, 3, actions, 20))
            usage, steps = usage + episode.usage.tokens, steps + len(episode.steps)
        means.append(usage / steps)
    assert means[0] <= 1.15 * means[1]
