"""Plans of several actions: one call writes them, and they are followed without any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.allocate import FixedAllocator, PlanThenFollow, plan_arms
from amp.allocate.base import Allocator
from amp.cost import Ledger
from amp.errors import InvalidInputError
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.execute.plans import PlainPlans, plan_in, planned
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.trace import episode_from_json, to_json
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Decision,
    Episode,
    Limits,
    Observation,
    Round,
    StepContext,
    StepRecord,
    Task,
    Transition,
    Usage,
    standing_plan,
)

ROAD = Task("road", "walk the road")
ARMS = plan_arms(Allocation())
WAYS = ("north", "east", "south")


@dataclass
class Road:
    """A road of so many turns; a wrong one changes nothing, and "north" is closed at times."""

    turns: Sequence[str]
    closed: frozenset[int] = frozenset()
    at: int = 0

    def reset(self, task: Task) -> Observation:
        self.at = 0
        return self._observe()

    def step(self, action: str) -> Transition:
        assert action in (self._observe().actions or ())  # whatever is done was admissible
        self.at += action == self.turns[self.at]
        there = self.at == len(self.turns)
        return Transition(self._observe(), there, there, float(there), f"turn {self.at}")

    def _observe(self) -> Observation:
        closed = self.at in self.closed
        return Observation(
            f"at turn {self.at}", tuple(w for w in WAYS if not closed or w != "north")
        )


def listed(plan: Sequence[str]) -> str:
    """A plan as a model writes it, behind the number that its prompt gives."""
    return "\n".join(f"{n}. {line}" for n, line in enumerate(plan, 1)).removeprefix("1.")


async def walk(
    road: Road, plans: Sequence[str], allocator: Allocator, steps: int = 30
) -> tuple[Episode, ScriptedModel]:
    """An episode in which the n-th call that writes gets the n-th plan; choices take the last."""
    wrote: list[str] = []

    def answer(prompt: object, index: int) -> str:
        wrote.append(plans[min(len(wrote), len(plans) - 1)])
        return wrote[-1]

    model = ScriptedModel(answer, next_tokens=lambda prompt: {"1": 0.1, "2": 0.2, "3": 0.7})
    planner = Planner(
        model,
        Executor(PlainPrompts()),
        allocator=allocator,
        limits=Limits(steps=steps),
        probes=frozenset(),
    )
    return await planner.run(ROAD, road), model


few = settings(max_examples=25)
roads = st.lists(st.sampled_from(WAYS), min_size=1, max_size=8)


@few
@given(roads, st.integers(1, 8))
async def test_a_plan_that_is_followed_to_its_end_takes_the_calls_of_its_planning(
    turns: list[str], k: int
) -> None:
    pieces = [turns[start : start + k] for start in range(0, len(turns), k)]
    allocator = PlanThenFollow(Allocation(), depth=k, most=8)
    episode, model = await walk(Road(turns), [listed(piece) for piece in pieces], allocator)
    assert episode.success
    assert list(episode.plan) == turns
    assert episode.usage.model_calls == len(model.requests) == len(pieces)
    followed = [s for s in episode.steps if s.rounds[0].allocation == ARMS["follow"]]
    assert len(followed) == len(turns) - len(pieces)
    assert all(step.usage == Usage() and not step.rounds[0].substitutes for step in followed)


@few
@given(roads, st.frozensets(st.integers(0, 7)), st.integers(2, 8))
async def test_what_is_followed_is_admissible_and_what_stands_is_told_by_the_steps(
    turns: list[str], closed: frozenset[int], k: int
) -> None:
    seen: list[StepContext] = []

    class Watching(PlanThenFollow):
        def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
            seen.append(context)
            return super().allocate(context, complexity)

    allocator = Watching(Allocation(), depth=k)
    episode, _ = await walk(Road(turns, closed), [listed(turns)], allocator, steps=20)
    for context in seen:
        stands = standing_plan(context.steps)
        assert context.standing_plan == planned(context, PlainPlans())
        assert context.standing_plan in (stands, ())
        assert (context.standing_plan == stands) == (
            not stands or stands[0] in (context.observation.actions or ())
        )
    for step in episode.steps:
        assert step.action is None or step.action in (step.observation.actions or ())


@few
@given(st.lists(st.sampled_from([*WAYS, "", "  "]), max_size=8), st.integers(1, 10))
def test_a_line_that_cannot_be_read_ends_a_plan(lines: list[str], k: int) -> None:
    text = "\n".join(f"{n}. {line}" for n, line in enumerate(lines, 1))
    end = next((i for i, line in enumerate(lines) if not line.strip()), len(lines))
    assert plan_in(text, k, PlainPlans()) == lines[: min(k, end)]


@few
@given(st.lists(st.sampled_from(WAYS), min_size=1, max_size=8))
async def test_a_plan_of_one_action_is_that_action(lines: list[str]) -> None:
    model = ScriptedModel([listed(lines)])
    context = StepContext(ROAD, Observation("here", WAYS))
    arm = plan_arms(Allocation(), plans=(1,))["plan 1"]
    (candidate,) = await Executor(PlainPrompts()).execute(context, arm, meter(model))
    assert (candidate.action, candidate.plan) == (lines[0], ())


def meter(model: ScriptedModel) -> Meter:
    return Meter(model, Ledger(Limits()))


def test_a_plan_that_was_cut_off_loses_the_line_that_was_being_written() -> None:
    assert plan_in(" north\n2. ea", 4, PlainPlans(), cut_off=True) == ["north"]
    assert plan_in(" nor", 4, PlainPlans(), cut_off=True) == []


async def test_to_follow_no_plan_is_to_act_at_once_and_the_step_says_so() -> None:
    episode, model = await walk(Road(["south"]), ["-"], FixedAllocator(ARMS["follow"]))
    assert episode.success
    assert not model.requests
    (step,) = episode.steps
    assert step.rounds[0].substitutes == ("no standing plan to follow: acted as without one",)


async def test_a_step_whose_plan_names_nothing_admissible_acts_at_once() -> None:
    episode, _ = await walk(Road(["south"]), [listed(["up"])], PlanThenFollow())
    (step,) = episode.steps
    assert [r.allocation.tools for r in step.rounds] == [{"plan"}, frozenset()]
    assert step.rounds[0].candidates[0].failure == "the plan begins with no admissible action"
    assert episode.success


async def test_a_broken_plan_is_written_anew_and_after_the_last_one_the_steps_act_at_once() -> None:
    road = Road(["east", "north", "south"], closed=frozenset({1}))
    plans = [listed(["east", "north"]), listed(["east"]), listed(["east"])]
    episode, model = await walk(road, plans, PlanThenFollow(Allocation(), 8, most=2), steps=6)
    kinds = [sorted(step.rounds[0].allocation.tools) for step in episode.steps]
    assert kinds == [["plan"], ["plan"], [], [], [], []]
    assert len(model.requests) == 2
    given_up, _ = await walk(road, plans, PlanThenFollow(Allocation(), 8, 2, gives_up=True))
    assert (len(given_up.steps), given_up.ended) == (3, "given up")


async def test_a_step_with_one_admissible_action_takes_none_of_the_plans() -> None:
    class Gate(Road):
        def _observe(self) -> Observation:
            return Observation("at the gate", WAYS[:1]) if self.at == 0 else super()._observe()

    turns = ["north", "east", "south", "east"]
    rule = PlanThenFollow(Allocation(), 8, most=1)
    episode, model = await walk(Gate(turns), [listed(turns[1:])], rule, steps=len(turns))
    assert episode.success
    assert len(model.requests) == 1


async def test_what_was_done_in_a_situation_before_is_not_followed_there_again() -> None:
    # The wrong turns change nothing, so the third step is in the situation of the second one.
    episode, _ = await walk(
        Road(["south"]), [listed(["east"] * 5), listed(["south"])], PlanThenFollow()
    )
    assert list(episode.plan) == ["east", "east", "south"]


def step(*candidates: Candidate, action: str | None, stop: Decision | None = None) -> StepRecord:
    each = Round(Complexity(0.0), Allocation(), 0.0, candidates, Usage())
    return StepRecord(Observation(), (each,), Complexity(0.0), action, Usage(), stop=stop)


def test_the_plan_that_stands_is_that_of_what_was_carried_out() -> None:
    one, two = Candidate("", "a", plan=("b",)), Candidate("", "x", plan=("y",))
    assert standing_plan(()) == ()
    assert standing_plan((step(one, two, action="a"),)) == ("b",)
    assert standing_plan((step(one, two, action="a"), step(action="b"))) == ()
    twice = replace(one, plan=("c",))
    assert standing_plan((step(one, twice, action="a"),)) == ("c",)  # the newest
    assert standing_plan((step(one, twice, action="a", stop=Decision(None, winner=0)),)) == ("b",)


async def test_traces_hold_plans_and_are_the_same_as_ever_without() -> None:
    episode, _ = await walk(Road(["east", "north"]), [listed(["east", "north"])], PlanThenFollow())
    line = to_json(episode)
    assert '"plan": ["north"]' in line
    assert episode_from_json(line) == episode
    plain, _ = await walk(Road(["south"]), ["-"], FixedAllocator())
    assert '"plan"' not in to_json(plain)
    assert '"standing_plan"' not in to_json(plain)


async def test_several_plans_come_from_one_call_and_vote_on_their_first_action() -> None:
    model = ScriptedModel([listed(["east", "north"]), listed(["south"]), listed(["east"])])
    arm = replace(ARMS["plan 4"], beam_width=3, temperature=0.7, verification=1)
    context = StepContext(ROAD, Observation("here", WAYS))
    candidates = await Executor(PlainPrompts()).execute(context, arm, meter(model))
    assert [c.action for c in candidates] == ["east", "south", "east"]
    assert candidates[0].plan == ("north",)
    assert len(model.requests) == 1


async def test_where_actions_are_free_text_a_plan_is_followed_as_it_was_written() -> None:
    model = ScriptedModel([listed(["look", "think hard"])])
    context = StepContext(ROAD, Observation("here", None))
    (candidate,) = await Executor(PlainPrompts()).execute(context, ARMS["plan 4"], meter(model))
    assert (candidate.action, candidate.plan) == ("look", ("think hard",))


def test_a_shorter_plan_is_asked_for_in_the_same_words() -> None:
    context = StepContext(ROAD, Observation("here", WAYS))
    four, eight = (PlainPlans().ask(context, WAYS, k) for k in (4, 8))
    assert four.messages == eight.messages
    assert (four.stop, eight.max_tokens) == (("\n5.", "\n\n"), 2 * four.max_tokens)


@pytest.mark.parametrize(("depth", "most"), [(0, 3), (8, 0)])
def test_no_plan_at_all_is_refused(depth: int, most: int) -> None:
    with pytest.raises(InvalidInputError, match="at least 1 action and 1 plan"):
        PlanThenFollow(Allocation(), depth, most)


def test_what_the_user_sets_holds_for_all_arms_of_the_rule() -> None:
    rule = PlanThenFollow().with_overrides({"depth": 3, "temperature": 0.5})
    context = StepContext(ROAD, Observation("here", WAYS))
    allocation = rule.allocate(context, Complexity(0.0)).allocation
    assert allocation == Allocation(depth=3, temperature=0.5, tools=frozenset({"plan"}))
