"""The loop: spec 3.1 with rounds, under limits that hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle

from amp.allocate.base import Allocator, FixedAllocator, RandomAllocator
from amp.allocate.rules import HeuristicAllocator
from amp.allocate.space import Space
from amp.assess.base import WeightedAssessor
from amp.errors import InvalidInputError, ModelError
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import STOP, Allocation, Complexity, Decision, Limits, StepContext, Usage
from amp.votes import most_likely, vote


def planner(
    model: ScriptedModel, allocator: Allocator | None = None, limits: Limits = Limits(steps=10)
) -> Planner:
    return Planner(
        model,
        Executor(PlainPrompts()),
        WeightedAssessor(),
        allocator or FixedAllocator(),
        limits,
    )


def walker() -> ScriptedModel:
    return ScriptedModel(
        ["walk", "wait", "Action: 8"], next_tokens=lambda prompt: {"1": 0.2, "2": 0.8}
    )


@dataclass(frozen=True)
class Persistent(Allocator):
    """Buys rounds for ever."""

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        return Decision(Allocation(temperature=1.0), log_prob=-0.5)


@dataclass(frozen=True)
class Stingy(Allocator):
    """Never buys a round."""

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        return STOP


@dataclass(frozen=True)
class Second(Allocator):
    """Buys one round and has its second candidate carried out."""

    allocation: Allocation

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        return (
            Decision(None, winner=1) if context.evidence.candidates else Decision(self.allocation)
        )


async def test_a_plan_reaches_its_goal_and_every_step_says_what_it_cost() -> None:
    world = Corridor()
    episode = await planner(walker()).run(CORRIDOR, world)
    assert (episode.success, episode.ended) == (True, "done")
    assert list(episode.plan) == world.taken == ["walk"] * 3
    assert [step.feedback for step in episode.steps] == ["cell 1", "cell 2", "cell 3"]
    assert sum((s.usage for s in episode.steps), Usage()) == episode.usage
    assert all(step.usage.tokens > 0 for step in episode.steps)


async def test_the_model_reads_what_was_done_before() -> None:
    model = walker()
    await planner(model).run(CORRIDOR, Corridor())
    assert "Done: walk. cell 2" in model.probes[-1].messages[1].content


async def test_the_goal_shortens_the_distance_and_so_the_complexity() -> None:
    episode = await planner(walker()).run(CORRIDOR, Corridor())
    distances = [step.complexity.features["distance"] for step in episode.steps]
    assert distances == sorted(distances, reverse=True)


@given(
    tokens=st.integers(1, 3000),
    seed=st.integers(0, 5),
    width=st.integers(1, 4),
)
async def test_a_token_limit_is_never_exceeded(tokens: int, seed: int, width: int) -> None:
    allocator = RandomAllocator(Space(beam_width=(1, width), tools=frozenset({"guide"})))
    limited = planner(walker(), allocator, Limits(steps=20, tokens=tokens))
    episode = await limited.run(replace(CORRIDOR, seed=seed), Corridor())
    assert episode.usage.tokens <= tokens
    assert episode.ended in ("done", "limit of tokens", "limit of steps")


async def test_a_step_limit_ends_the_episode_as_a_failure() -> None:
    lazy = ScriptedModel([], next_tokens=lambda prompt: {"1": 1.0})
    episode = await planner(lazy, limits=Limits(steps=4)).run(CORRIDOR, Corridor())
    assert len(episode.steps) == 4
    assert (episode.success, episode.ended) == (False, "limit of steps")


async def test_what_a_round_brought_is_used_though_the_next_one_does_not_fit() -> None:
    free = await planner(walker(), FixedAllocator(Allocation(temperature=1.0))).run(
        RIDDLE, Riddle()
    )
    limits = Limits(tokens=free.usage.tokens * 2 + 40)
    episode = await planner(walker(), Persistent(), limits).run(RIDDLE, Riddle())
    step = episode.steps[0]
    assert len(step.rounds) == 2
    assert step.action is not None
    assert step.failure is not None
    assert step.failure.startswith(f"limit of {limits.tokens} tokens reached")


async def test_rounds_add_up_and_end_at_the_planners_fence() -> None:
    limited = planner(walker(), Persistent())
    limited.max_rounds = 5
    step = (await limited.run(RIDDLE, Riddle())).steps[0]
    assert len(step.rounds) == 5
    assert {r.log_prob for r in step.rounds} == {-0.5}
    assert [r.candidates[0].text for r in step.rounds[:3]] == ["walk", "wait", "Action: 8"]
    assert "agreement" not in step.rounds[0].complexity.features
    assert step.rounds[1].complexity.features["agreement"] == 1.0
    assert step.complexity == step.rounds[-1].complexity  # what decided, not what came after
    assert step.final_complexity is not None
    assert step.final_complexity != step.complexity


async def test_the_heuristic_stops_when_two_agree_and_goes_on_while_they_do_not() -> None:
    same = ScriptedModel(["Action: 8"])
    split = ScriptedModel(["Action: 8", "Action: 6", "Action: 7", "Action: 5"])
    allocator = HeuristicAllocator(
        Space(depth=(0, 0), beam_width=(1, 1)), settled_below=0.0, max_rounds=4
    )
    agreed = (await planner(same, allocator).run(RIDDLE, Riddle())).steps[0]
    split_up = (await planner(split, allocator).run(RIDDLE, Riddle())).steps[0]
    assert len(agreed.rounds) == 2
    assert len(split_up.rounds) == allocator.max_rounds


async def test_an_unreadable_answer_is_a_counted_failure_of_the_step() -> None:
    world = Riddle()
    episode = await planner(ScriptedModel([""]), limits=Limits(steps=2)).run(RIDDLE, world)
    assert [step.action for step in episode.steps] == [None, None]
    assert episode.steps[0].failure == "no answer could be read"
    assert episode.success is False


async def test_a_failing_model_ends_the_episode_with_a_record_and_loses_nothing() -> None:
    def tell(prompt: Prompt) -> dict[str, float]:
        if "cell 2" in prompt.messages[-2].content:
            raise ModelError("the server is gone")
        return {"2": 1.0}

    model = ScriptedModel([], next_tokens=tell)
    episode = await planner(model).run(CORRIDOR, Corridor())
    assert (episode.ended, episode.success) == ("model error", False)
    assert episode.plan == ("walk", "walk")
    assert episode.steps[-1].failure == "the server is gone"
    assert episode.usage.model_calls == len(model.probes) - 1


async def test_the_selection_is_the_planners(riddle_votes: ScriptedModel) -> None:
    three = FixedAllocator(Allocation(temperature=1.0, beam_width=3))
    voted = await planner(riddle_votes, three).run(RIDDLE, Riddle())
    best = Planner(riddle_votes, allocator=three, select=most_likely)
    assert voted.plan == ("8",)
    assert (await best.run(RIDDLE, Riddle())).plan == ("short",)


async def test_a_selection_overrules_the_winner_of_the_allocator_and_the_record_says_so(
    riddle_votes: ScriptedModel,
) -> None:
    second = Second(Allocation(temperature=1.0, beam_width=3))
    (step,) = (await Planner(riddle_votes, allocator=second).run(RIDDLE, Riddle())).steps
    assert (step.action, step.stop) == ("short", Decision(None, winner=1))
    plain = Planner(riddle_votes, allocator=second, select=vote)
    (step,) = (await plain.run(RIDDLE, Riddle())).steps
    assert (step.action, step.stop) == ("8", STOP)


@pytest.fixture
def riddle_votes() -> ScriptedModel:
    """Two say the same at length, one says something shorter, so that it is more likely."""
    return ScriptedModel(
        ["I have thought about it. Action: 8", "Action: short", "Once more I say Action: 8"]
    )


async def test_an_allocator_that_buys_nothing_fails_the_step() -> None:
    episode = await planner(walker(), Stingy(), Limits(steps=1)).run(RIDDLE, Riddle())
    assert episode.steps[0].failure == "no round was allocated"


@pytest.mark.parametrize(
    ("allocator", "assessor", "is_probed"),
    [
        (None, None, True),
        (HeuristicAllocator(), None, True),
        (FixedAllocator(), None, False),
        (FixedAllocator(), WeightedAssessor(), True),  # named, so it is wanted
    ],
)
def test_nobody_pays_for_a_probe_that_nothing_reads(
    allocator: Allocator | None, assessor: WeightedAssessor | None, is_probed: bool
) -> None:
    planner = Planner(ScriptedModel(["walk"]), assessor=assessor, allocator=allocator)
    assert planner.probes == (WeightedAssessor().probes if is_probed else frozenset())
    probed = Planner(ScriptedModel(["walk"]), allocator=allocator, probes=frozenset({"hidden"}))
    assert probed.probes == {"hidden"}


async def test_the_same_seed_gives_the_same_episode_and_another_seed_another() -> None:
    def answer(prompt: Prompt, sample: int) -> str:
        return "Action: 8"

    allocator = RandomAllocator(Space(tools=frozenset({"guide"})))

    async def run(seed: int) -> object:
        model = ScriptedModel(answer, next_tokens=lambda prompt: {"1": 0.5, "2": 0.5})
        limits = Limits(steps=40)
        return (
            await planner(model, allocator, limits).run(replace(CORRIDOR, seed=seed), Corridor())
        ).steps

    assert await run(1) == await run(1)
    assert await run(1) != await run(2)


@pytest.mark.parametrize("value", [-3, 0, float("nan")])
def test_limits_that_allow_nothing_are_refused_before_a_task_is_planned(value: float) -> None:
    with pytest.raises(InvalidInputError, match="limit steps is .*, expected more than 0"):
        Planner(walker(), limits={"steps": value})
    if value != 0:  # which is what may be left of a limit
        with pytest.raises(InvalidInputError, match="limit steps is .*, expected more than 0"):
            Limits(steps=value)  # type: ignore[arg-type]


def test_a_planner_without_rounds_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_rounds is 0"):
        Planner(
            walker(), Executor(PlainPrompts()), WeightedAssessor(), FixedAllocator(), max_rounds=0
        )
