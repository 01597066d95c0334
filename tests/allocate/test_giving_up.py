"""Giving up: what the threshold promises, what behaviour tells, and how an episode ends by it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from tests.fakes.methods import ForkingCorridor, executor
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle, context
from tests.simulate.test_plans import plan_table
from tests.simulate.test_table_env import CHAIN

from amp.allocate import ALLOCATORS, AllocatorOptions, FixedAllocator, GivingUp
from amp.allocate.base import Allocator
from amp.allocate.giving_up import (
    PLAN_FEATURES,
    ROUND_FEATURES,
    FailureHead,
    When,
    of_plan,
    of_rounds,
    threshold,
)
from amp.allocate.policy_file import load_head, save_head
from amp.allocate.stopping import UntilAgreement
from amp.assess.base import WeightedAssessor
from amp.errors import InvalidInputError
from amp.methods.beam_search import BeamPlanner
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.report.metrics import summarise
from amp.simulate.replay import replay_allocator
from amp.trace import episode_from_json, to_json
from amp.types import (
    GIVEN_UP,
    Allocation,
    Candidate,
    Complexity,
    Decision,
    Evidence,
    Limits,
    Observation,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

few = settings(max_examples=20)  # a law a second is too much for the quick tests
probabilities = st.lists(st.floats(0.0, 1.0), max_size=60)
recalls = st.floats(0.0, 1.0)
confidences = st.one_of(st.none(), st.sampled_from((0.5, 0.9, 0.95)))
words = st.sampled_from(("walk", "wait", "take cup 1", "Nothing happens.", "You see a cup 1.", ""))
MISSION = Task("mission", "put a cup in the sink")


def head(when: When, feature: str, survived: tuple[float, ...] = (0.5,) * 40) -> FailureHead:
    """p_fail is over 0.99 where the feature is over 0.6, and under 0.01 where it is under 0.4."""
    return FailureHead(when, (feature,), (0.5,), (0.1,), (5.0,), 0.0, survived)


def at(steps: list[tuple[str | None, str]], evidence: Evidence = Evidence()) -> StepContext:
    """A plan of actions and answers; the state is the answer before."""
    states = ["a room", *(answer for _, answer in steps)]
    records = tuple(
        StepRecord(Observation(state), (), Complexity(0.0), action, Usage(), feedback=answer)
        for state, (action, answer) in zip(states, steps, strict=False)
    )
    return StepContext(MISSION, Observation(states[-1]), records, evidence)


# --------------------------------------------------------------------------- the threshold


@few
@given(survived=probabilities, recall=recalls, confidence=confidences)
def test_the_training_successes_keep_their_recall(
    survived: list[float], recall: float, confidence: float | None
) -> None:
    limit = threshold(survived, recall, confidence)
    stay = sum(value <= limit for value in survived)
    assert stay >= recall * len(survived) - 1e-6


@few
@given(survived=probabilities, pair=st.tuples(recalls, recalls), confidence=confidences)
def test_a_higher_recall_never_lowers_the_threshold(
    survived: list[float], pair: tuple[float, float], confidence: float | None
) -> None:
    low, high = sorted(pair)
    assert threshold(survived, low, confidence) <= threshold(survived, high, confidence)


@few
@given(survived=probabilities.filter(bool), recall=recalls)
def test_any_one_of_exchangeable_successes_stays_with_the_recall(
    survived: list[float], recall: float
) -> None:
    stays = [
        value <= threshold(survived[:index] + survived[index + 1 :], recall)
        for index, value in enumerate(survived)
    ]
    assert sum(stays) >= recall * len(survived) - 1e-6


@pytest.mark.parametrize(("n", "recall"), [(30, 0.9), (115, 0.95), (400, 0.95), (3000, 0.9)])
def test_a_sure_threshold_keeps_the_fewest_whose_exact_lower_bound_is_the_recall(
    n: int, recall: float
) -> None:
    kept = int(threshold(list(range(1, n + 1)), recall, 0.95))
    low, lower = (
        binomtest(k, n, alternative="greater").proportion_ci(0.95, "exact").low
        for k in (kept, kept - 1)
    )
    assert lower < recall <= low


def test_too_few_successes_for_a_recall_give_nothing_up() -> None:
    assert threshold([0.1] * 18, 0.95) == math.inf
    assert threshold([0.1] * 19, 0.95) == 0.1
    assert threshold([0.1] * 58, 0.95, 0.95) == math.inf
    assert threshold([0.1] * 59, 0.95, 0.95) == 0.1
    assert threshold([], 0.0) == math.inf


@pytest.mark.parametrize("recall", [-0.1, 1.1, math.nan])
def test_what_is_no_share_is_refused(recall: float) -> None:
    with pytest.raises(InvalidInputError, match=r"^recall is .*, expected 0 to 1$"):
        GivingUp(FixedAllocator(), None, recall)


# --------------------------------------------------------------------------- the wrapper

CONTEXTS = st.builds(
    lambda steps, rounds: at(steps, Evidence((Candidate("", "a"),) * rounds, rounds)),
    st.lists(st.tuples(words, words), max_size=6),
    st.integers(0, 2),
)


@pytest.mark.parametrize("name", ["escalating", "heuristic"])
@few
@given(where=CONTEXTS)
def test_without_a_head_or_with_a_recall_of_one_it_is_the_inner_allocator(
    name: str, where: StepContext
) -> None:
    inner = ALLOCATORS[name].make(AllocatorOptions())
    expected = inner.allocate(where, Complexity(0.5))
    for wrapped in (
        GivingUp(inner),
        GivingUp(inner, head("steps", "repeated_here"), recall=1.0),
        GivingUp(inner, head("rounds", "leading"), recall=1.0, confidence=0.9),
    ):
        assert wrapped.allocate(where, Complexity(0.5)) == expected
        assert wrapped.uses_complexity == inner.uses_complexity


@few
@given(where=CONTEXTS, survived=probabilities, recall=recalls)
def test_only_what_looks_hopeless_is_given_up(
    where: StepContext, survived: list[float], recall: float
) -> None:
    hopeless = head("steps", "repeated_here", tuple(sorted(survived)))
    decision = GivingUp(FixedAllocator(), hopeless, recall).allocate(where, Complexity(0.0))
    p_fail = hopeless.p_fail(where)
    above = p_fail is not None and p_fail > hopeless.threshold(recall)
    assert bool(decision.give_up) == above
    if above:
        assert decision.give_up.startswith(f"p_fail is {p_fail:.4f}, more than ")


def test_overrides_and_limits_reach_the_inner_allocator() -> None:
    wrapped: Allocator = GivingUp(FixedAllocator(), head("rounds", "leading"))
    wrapped = wrapped.with_overrides({"depth": 3})
    assert wrapped.allocate(context(), Complexity(0.0)).allocation == Allocation(depth=3)


def test_a_decision_cannot_give_up_and_go_on() -> None:
    with pytest.raises(ValueError, match="expected one of the two"):
        Decision(Allocation(), give_up="no")


# --------------------------------------------------------------------------- behaviour


@few
@given(steps=st.lists(st.tuples(st.one_of(st.none(), words), words), min_size=1, max_size=12))
def test_shares_are_shares_and_counts_are_at_most_the_steps(
    steps: list[tuple[str | None, str]],
) -> None:
    found = of_plan(at(steps))
    assert set(found) <= set(PLAN_FEATURES)
    assert ("refused" in found) == any(answer for _, answer in steps)
    counts = {"refused_in_row", "since_new", "kinds", "since_kind", "since_goal", "goal_distinct"}
    for name, value in found.items():
        most = len(steps) if name in {*counts, "goal_refused"} else 1.0
        assert name == "log_steps" or 0.0 <= value <= most, name


def test_a_plan_that_goes_in_circles_looks_more_hopeless_by_every_sign() -> None:
    works = at([("go to shelf 1", "You see a cup 1."), ("take cup 1", "You pick up the cup 1.")])
    circles = at([("take cup 1", "Nothing happens.")] * 4)
    good, bad = of_plan(works), of_plan(circles)
    assert (good["refused"], good["repeated_here"], good["since_new"]) == (0.0, 0.0, 0)
    assert (good["goal_done"], good["goal_seen"], good["kinds"]) == (1 / 3, 1 / 3, 2)
    assert (bad["refused"], bad["refused_in_row"], bad["refused_again"]) == (1.0, 4, 0.75)
    assert (bad["repeated_lately"], bad["repeated_here"], bad["since_new"]) == (0.75, 0.5, 4)
    assert (bad["goal_done"], bad["goal_refused"], bad["goal_refused_last"]) == (0.0, 4, 1.0)


def test_what_the_environment_does_not_tell_is_left_out() -> None:
    silent = of_plan(at([("walk", ""), ("walk", "")]))
    assert not {name for name in silent if name.startswith("refused")}
    nameless = replace(at([("walk", "You moved.")]), task=Task("t", "a of the"))
    assert not {name for name in of_plan(nameless) if "goal" in name}
    assert of_plan(at([])) == {} == of_rounds(Evidence())


def test_rounds_tell_votes_figures_and_how_right_the_leader_is() -> None:
    candidates = (
        *(Candidate("", "8", -1.0, 0.2, p_right=0.9), Candidate("", "8", -3.0, 0.4, p_right=0.8)),
        *(Candidate("", "9", math.nan), Candidate("", None)),
    )
    found = of_rounds(Evidence(candidates, 4))
    assert set(found) <= set(ROUND_FEATURES)
    assert (found["leading"], found["margin"], found["unread"]) == (0.5, 0.25, 0.25)
    assert "log_prob" not in found  # no mean with NaN says anything
    assert found["leader_right"] > 0.9


@few
@given(
    values=st.dictionaries(st.sampled_from(PLAN_FEATURES), st.floats(-1e9, 1e9)),
    weights=st.lists(st.floats(-5, 5), min_size=17, max_size=17),
)
def test_p_fail_is_a_probability_and_one_feature_moves_it_by_its_weight(
    values: dict[str, float], weights: list[float]
) -> None:
    n = len(PLAN_FEATURES)
    told = FailureHead("steps", PLAN_FEATURES, (0.0,) * n, (1.0,) * n, tuple(weights), 0.5, ())
    assert 0.0 <= told.p_fail_of(values) <= 1.0
    raised = told.p_fail_of({PLAN_FEATURES[0]: 1.0})
    assert raised == pytest.approx(1 / (1 + math.exp(-weights[0] - 0.5)))


# --------------------------------------------------------------------------- episodes


def lazy() -> ScriptedModel:
    return ScriptedModel(["wait"], next_tokens=lambda prompt: {"1": 1.0})


async def test_an_episode_that_is_given_up_ends_at_once_with_its_record() -> None:
    allocator = GivingUp(FixedAllocator(), head("steps", "repeated_here"), 0.9)
    planner = Planner(lazy(), allocator=allocator, limits=Limits(steps=20))
    episode = await planner.run(CORRIDOR, Corridor())
    assert (episode.ended, episode.success, episode.score) == (GIVEN_UP, False, 0.0)
    assert episode.plan == ("wait",) * 3  # two of three had been done before
    last = episode.steps[-1]
    assert last.action is None
    assert last.stop is not None
    assert last.stop.give_up
    assert last.failure == f"given up: {last.stop.give_up}"
    assert sum((s.usage for s in episode.steps), Usage()) == episode.usage
    assert episode_from_json(to_json(episode)) == episode
    kept = await Planner(lazy(), limits=Limits(steps=20)).run(CORRIDOR, Corridor())
    assert (kept.ended, len(kept.steps)) == ("limit of steps", 20)
    summary = summarise([episode, kept])
    assert (summary.given_up, summary.limited) == (1, 2)
    assert any("1 of 2 episodes (50%) were given up" in note for note in summary.notes)


async def test_in_a_task_of_one_step_giving_up_is_a_stop() -> None:
    rounds = UntilAgreement((Allocation(temperature=1.0),) * 4, agree=4)
    model = ScriptedModel(["Action: 8"])
    hopeless = GivingUp(rounds, head("rounds", "leading"), 0.9)
    episode = await Planner(model, allocator=hopeless).run(RIDDLE, Riddle())
    assert (episode.ended, episode.success, episode.plan) == ("done", True, ("8",))
    (step,) = episode.steps
    assert len(step.rounds) == 1
    assert step.failure is not None
    assert step.failure.startswith("given up: p_fail is ")


async def test_beams_are_given_up_together() -> None:
    allocator = GivingUp(FixedAllocator(), head("steps", "repeated_here"), 0.9)
    beams = BeamPlanner(lazy(), executor(), WeightedAssessor(), allocator, Limits(steps=20))
    episode = await beams.run(CORRIDOR, ForkingCorridor())
    assert (episode.ended, episode.success, len(episode.steps)) == (GIVEN_UP, False, 4)


def test_a_replay_on_a_table_gives_up_as_the_planner_does() -> None:
    everything = GivingUp(FixedAllocator(CHAIN), head("rounds", "log_candidates", (0.0,) * 40), 0.9)
    table = next(made for seed in range(99) if (made := plan_table(seed)).tasks[0].later)
    ended: set[tuple[str, bool | None]] = set()
    for episode in replay_allocator(table, everything):
        (step,) = episode.steps
        assert len(step.rounds) == 1
        assert step.failure is not None
        assert step.failure.startswith("given up: ")
        ended.add((episode.ended, episode.success))
    assert (GIVEN_UP, False) in ended


# --------------------------------------------------------------------------- files


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = replace(head("rounds", "leading", (0.1, 0.25)), benchmark="gsm8k")
    save_head(made, tmp_path / "head.safetensors")
    assert load_head(tmp_path / "head.safetensors") == made


def test_heads_for_something_else_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "head.safetensors"
    save_head(head("steps", "repeated_here"), path)
    monkeypatch.setattr("amp.allocate.policy_file.BEHAVIOUR_VERSION", 2)
    with pytest.raises(InvalidInputError, match="of version 1, this is version 2; train it again"):
        load_head(path)
    with pytest.raises(InvalidInputError, match="there is no head"):
        load_head(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"when": "later"}, "when is 'later', expected steps or rounds"),
        ({"features": ("moon",)}, "unknown feature of steps: moon"),
        ({"features": ("leading",)}, "unknown feature of steps: leading"),
        ({"weights": ()}, "expected 1 finite numbers"),
        ({"mean": (math.nan,)}, "expected 1 finite numbers"),
        ({"std": (0.0,)}, "expected numbers above 0"),
        ({"survived": (0.5, 0.1)}, "not in order"),
    ],
)
def test_heads_that_make_no_sense_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        replace(head("steps", "repeated_here"), **change)  # type: ignore[arg-type]  # on purpose
