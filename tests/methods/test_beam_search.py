"""Step-level beam search: the ordinary planner at width 1, several partial plans beyond."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.methods import (
    ESSAY,
    Essay,
    ForkingCorridor,
    ForkingRiddle,
    asked,
    babbler,
    executor,
    spent,
)
from tests.fakes.worlds import CORRIDOR, RIDDLE, Riddle

from amp.allocate.base import Allocator, FixedAllocator
from amp.assess.base import WeightedAssessor
from amp.errors import InvalidInputError
from amp.methods.beam_search import Beam, BeamPlanner, ranked
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import (
    STOP,
    Allocation,
    Candidate,
    Complexity,
    Decision,
    Limits,
    Observation,
    StepContext,
    Transition,
)


@dataclass(frozen=True)
class Widths(Allocator):
    """Grants one width after the other, the last one for ever."""

    widths: tuple[int, ...]
    verification: int = 0

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds:
            return STOP
        width = self.widths[min(len(context.steps), len(self.widths) - 1)]
        return Decision(
            Allocation(temperature=1.0, beam_width=width, verification=self.verification)
        )


@dataclass(frozen=True)
class Rounds(Allocator):
    """Buys several rounds of one sample each."""

    rounds: int

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.evidence.rounds == self.rounds:
            return STOP
        return Decision(Allocation(temperature=1.0, verification=self.rounds % 3), log_prob=-0.5)


def search(
    model: ScriptedModel, allocator: Allocator, limits: Limits = Limits(steps=6)
) -> BeamPlanner:
    return BeamPlanner(model, executor(), WeightedAssessor(), allocator, limits)


def writer(**lines: str) -> ScriptedModel:
    """Answers by what stands in the essay so far ("" is `start`), samples parted by a bar."""

    def answer(prompt: Prompt, sample: int) -> str:
        state = prompt.messages[-1].content.partition("State: ")[2].partition("\n")[0]
        samples = lines[state.replace("/", "_") or "start"].split("|")
        return f"Action: {samples[sample % len(samples)]}"

    return ScriptedModel(answer, next_tokens=lambda prompt: {"yes": 0.5, "no": 0.5})


@given(
    seed=st.integers(0, 400),
    rounds=st.integers(1, 4),
    tokens=st.integers(50, 3000),
    world=st.sampled_from(["corridor", "riddle", "essay"]),
)
async def test_a_width_of_one_is_the_ordinary_planner(
    seed: int, rounds: int, tokens: int, world: str
) -> None:
    task, make = {
        "corridor": (CORRIDOR, ForkingCorridor),
        "riddle": (RIDDLE, ForkingRiddle),
        "essay": (ESSAY, Essay),
    }[world]
    limits = Limits(steps=5, tokens=tokens)
    ordinary, beams = babbler(seed), babbler(seed)
    planner = Planner(ordinary, executor(), WeightedAssessor(), Rounds(rounds), limits)
    expected = await planner.run(task, make())
    assert await search(beams, Rounds(rounds), limits).run(task, make()) == expected
    assert beams.requests == ordinary.requests
    assert beams.probes == ordinary.probes


async def test_beams_hold_several_plans_and_the_finished_ones_vote() -> None:
    model = writer(start="a|b|c", a="end 1", b="end 2", c="end 2")
    episode = await search(model, Widths((3,))).run(ESSAY, Essay())
    assert episode.plan == ("b", "end 2")
    assert (episode.success, episode.ended) == (True, "done")
    assert [len(r.candidates) for s in episode.steps for r in s.rounds] == [3, 3]
    assert spent(episode) == episode.usage
    assert (await asked(model))[0] == episode.usage.model_calls == 4


async def test_the_width_is_the_plans_that_stay_alive_after_a_step() -> None:
    model = writer(start="a|b|c|d", a="x", b="y", a_x="end 1", b_y="end 2")
    episode = await search(model, Widths((2, 2, 1))).run(ESSAY, Essay())
    # Two live beams, so one sample each, and one of them stays when the search narrows.
    assert [len(step.rounds[0].candidates) for step in episode.steps] == [2, 2, 2]
    assert episode.plan == ("a", "x", "end 1")


async def test_the_search_widens_by_an_equal_share_of_the_places() -> None:
    model = writer(start="a", a="p|q|r|s", a_p="end 1", a_q="end 2", a_r="end 2", a_s="end 3")
    episode = await search(model, Widths((1, 4))).run(ESSAY, Essay())
    assert [len(step.rounds[0].candidates) for step in episode.steps] == [1, 4, 4]
    assert episode.plan == ("a", "q", "end 2")


async def test_a_complete_plan_keeps_its_place_and_the_search_ends_when_all_are_taken() -> None:
    model = writer(start="end 1|b|b|c", b="end 2", c="end 1")
    episode = await search(model, Widths((4, 3, 1))).run(ESSAY, Essay())
    # "b" leads with two votes; "end 1" holds a place, so two are left for "b" and "c".
    assert [len(step.rounds[0].candidates) for step in episode.steps] == [4, 2]
    assert episode.plan == ("end 1",)
    assert len(episode.steps) == 2
    assert episode.steps[1].action is None
    assert episode.steps[1].failure == "the chosen plan was complete; others went on"
    assert spent(episode) == episode.usage


async def test_a_search_without_a_free_place_is_over() -> None:
    model = writer(start="end 1|b|c", b="x", c="x")
    episode = await search(model, Widths((3, 1))).run(ESSAY, Essay())
    assert episode.plan == ("end 1",)
    assert [len(step.rounds) for step in episode.steps] == [1, 0]
    assert len(model.requests) == 1


async def test_equal_actions_of_one_beam_are_one_plan() -> None:
    model = writer(start="a|a|b", a="end 1", b="end 2")
    episode = await search(model, Widths((3, 3))).run(ESSAY, Essay())
    assert [len(step.rounds[0].candidates) for step in episode.steps] == [3, 2]


async def test_self_checks_weigh_the_votes() -> None:
    model = writer(start="a|b", a="end 1", b="end 2")
    model._next_tokens = lambda prompt: (
        {"yes": 0.9, "no": 0.1}
        if "Proposed: end 2" in prompt.messages[1].content
        else {"yes": 0.2, "no": 0.8}
    )
    episode = await search(model, Widths((2,), verification=2)).run(ESSAY, Essay())
    assert episode.plan == ("b", "end 2")
    assert {c.p_correct for c in episode.steps[1].rounds[0].candidates} == {0.9, 0.2}


@pytest.mark.parametrize("tokens", range(60, 700, 20))
async def test_a_limit_ends_the_search_with_what_is_finished(tokens: int) -> None:
    model = writer(start="end 1|b|c", b="end 2", c="end 2")
    limits = Limits(tokens=tokens)
    episode = await search(model, Widths((3,)), limits).run(ESSAY, Essay())
    assert episode.usage.tokens <= tokens
    assert spent(episode) == episode.usage
    assert (await asked(model))[0] == episode.usage.model_calls
    if len(model.requests) == 0:
        assert (episode.ended, episode.success) == ("limit of tokens", False)
    elif len(model.requests) == 1:  # one plan was complete when the tokens ran out
        assert (episode.ended, episode.plan) == ("done", ("end 1",))


async def test_candidates_before_a_limit_are_used() -> None:
    model = writer(start="a|b", a="end 1\n" + "word " * 60, b="end 2")
    free = await search(model, Widths((2,))).run(ESSAY, Essay())
    limits = Limits(tokens=free.usage.tokens)  # the worst case of the last call does not fit
    episode = await search(model, Widths((2,)), limits).run(ESSAY, Essay())
    assert episode.plan == ("a", "end 1")
    assert [len(step.rounds[0].candidates) for step in episode.steps] == [2, 1]
    assert str(episode.steps[1].failure).startswith("limit of")


async def test_an_environment_without_forks_is_refused_in_one_line() -> None:
    with pytest.raises(InvalidInputError, match=r"needs an environment with fork\(\), which Rid"):
        await search(writer(), FixedAllocator()).run(RIDDLE, Riddle())


async def test_a_planner_without_rounds_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="max_rounds is 0"):
        BeamPlanner(writer(), max_rounds=0)


def beams(*log_probs: float) -> list[Beam]:
    state = Transition(Observation(), done=False)
    return [Beam(Essay(), state, log_prob=log_prob) for log_prob in log_probs]


actions = st.sampled_from(["a", "b", "c"])
candidates = st.builds(
    Candidate,
    text=st.just(""),
    action=st.none() | actions,
    log_prob=st.none() | st.floats(-50, 0),
    p_correct=st.none() | st.floats(0, 1),
    broken_rule=st.none() | st.just("cut off"),
)


@given(st.lists(st.lists(candidates, max_size=5), min_size=1, max_size=3))
def test_extensions_are_distinct_and_backed_by_every_voter(
    found: list[list[Candidate]],
) -> None:
    extensions = ranked(beams(*(-float(i) for i in range(len(found)))), found)
    keys = [(e.beam, e.candidate.action) for e in extensions]
    assert len(set(keys)) == len(keys)
    assert all(e.candidate in found[e.beam] for e in extensions)
    pool = [c for each in found for c in each if c.action is not None]
    voters = [c for c in pool if c.valid] or pool
    weights = [1.0 if c.p_correct is None else c.p_correct for c in voters]
    assert math.isclose(sum(e.votes for e in extensions), sum(weights), abs_tol=1e-9)
    assert [e.votes for e in extensions] == sorted((e.votes for e in extensions), reverse=True)


def test_agreement_comes_before_log_probability_and_that_is_of_the_whole_plan() -> None:
    one = Candidate("", "a", log_prob=-1.0)
    two = replace(one, action="b", log_prob=-9.0)
    assert [e.candidate.action for e in ranked(beams(0.0), [[one, two, two]])] == ["b", "a"]
    order = ranked(beams(-20.0, -5.0), [[one], [two]])
    assert [(e.beam, e.log_prob) for e in order] == [(1, -14.0), (0, -21.0)]
