"""The sigmoid policy is spec 3.3 to the letter, pure, and honest about its probabilities."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import RIDDLE, context

from amp.allocate.base import AllocationEnv
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.rules import HeuristicAllocator
from amp.allocate.space import REALS, Line, Space, sigmoid
from amp.errors import InvalidInputError
from amp.types import STOP, Candidate, Complexity, Evidence, Limits, StepContext, Task, Usage

SPACE = Space(verification=(0, 3), tools=frozenset({"python", "calculator"}))
POLICY = SigmoidPolicy.initial(SPACE)
scores = st.floats(0, 1)
numbers = st.floats(-50, 50)


def after(rounds: int, task: Task = RIDDLE) -> StepContext:
    evidence = Evidence(tuple(Candidate("", str(i)) for i in range(rounds)), rounds)
    return StepContext(task, context().observation, evidence=evidence)


@st.composite
def policies(draw: st.DrawFn) -> SigmoidPolicy:
    lines = tuple(Line(draw(numbers), draw(numbers)) for _ in SPACE.dims)
    stds = draw(st.tuples(*(st.floats(-3, 1) for _ in REALS)))
    return SigmoidPolicy(space=SPACE, lines=lines, log_stds=stds)


@given(policies(), scores, st.integers(0, 9), st.integers(0, 4))
def test_a_decision_carries_the_latents_and_the_log_probability_of_what_it_does(
    policy: SigmoidPolicy, score: float, seed: int, rounds: int
) -> None:
    at, complexity = after(rounds, replace(RIDDLE, seed=seed)), Complexity(score)
    decision = policy.allocate(at, complexity)
    assert decision == policy.allocate(at, complexity)
    mask, distribution = policy.mask(at), policy.distribution(at, complexity)
    assert len(decision.latents) == len(SPACE.dims)
    assert decision.log_prob == distribution.log_prob(decision.latents, mask.free)
    assert decision.stop is bool(decision.latents[0])
    if decision.allocation is not None:
        assert decision.allocation == mask.space.allocation(decision.latents)


@given(policies(), scores)
def test_without_chance_a_decision_is_the_map_of_the_specification(
    policy: SigmoidPolicy, score: float
) -> None:
    decision = replace(policy, deterministic=True).allocate(context(), Complexity(score))
    assert decision.allocation is not None
    assert (decision.log_prob, decision.latents) == (0.0, ())
    share = {
        name: sigmoid(line.w * score + line.b)
        for name, line in zip(SPACE.dims, policy.lines, strict=True)
    }
    assert decision.allocation.depth == round(4 * share["depth"])
    assert decision.allocation.temperature == pytest.approx(1.0 - share["temperature"])
    assert decision.allocation.top_p == pytest.approx(1.0 - 0.1 * share["top_p"])
    assert decision.allocation.beam_width == round(1 + 3 * share["beam_width"])
    assert decision.allocation.verification == round(3 * share["verification"])
    lines = zip(SPACE.tool_names, policy.lines[-len(SPACE.tools) :], strict=True)
    assert decision.allocation.tools == {name for name, line in lines if line(score) >= 0.0}


@given(scores, st.booleans())
def test_the_first_round_is_bought_and_the_last_one_ends_the_step(
    score: float, deterministic: bool
) -> None:
    policy = replace(POLICY, deterministic=deterministic, max_rounds=3)
    assert not policy.allocate(after(0), Complexity(score)).stop
    last = policy.allocate(after(3), Complexity(score))
    assert last.stop
    assert last.log_prob == 0.0
    assert (
        policy.distribution(after(3), Complexity(score)).entropy(policy.mask(after(3)).free) == 0.0
    )


def test_a_stop_is_a_draw_between_the_first_and_the_last_round() -> None:
    complexity = Complexity(0.5)
    decisions = [
        POLICY.allocate(after(1, replace(RIDDLE, seed=i)), complexity) for i in range(2000)
    ]
    p_stop = sigmoid(POLICY.lines[0](0.5))
    stops = [decision for decision in decisions if decision.stop]
    assert len(stops) / 2000 == pytest.approx(p_stop, abs=4 * math.sqrt(0.25 / 2000))
    for decision in stops:
        assert decision.log_prob == pytest.approx(math.log(p_stop))
    assert replace(POLICY, deterministic=True).allocate(after(1), Complexity(0.1)) == STOP
    assert not replace(POLICY, deterministic=True).allocate(after(1), Complexity(0.9)).stop


@given(scores)
def test_the_initial_policy_begins_where_the_rule_made_by_hand_stands(score: float) -> None:
    space = replace(SPACE, temperature_step=0.1, top_p_step=0.01)
    policy = replace(SigmoidPolicy.initial(space), deterministic=True)
    ours = policy.allocate(context(), Complexity(score)).allocation
    hands = HeuristicAllocator(space).allocate(context(), Complexity(score)).allocation
    assert ours == hands


@given(scores, st.integers(0, 500))
def test_nothing_masked_or_beyond_the_budget_is_ever_allocated(score: float, seed: int) -> None:
    here = AllocationEnv(Usage(completion_tokens=100), {"python": Usage(completion_tokens=300)})
    policy = replace(POLICY, env=here)
    at = replace(context(replace(RIDDLE, seed=seed)), remaining=Limits(tokens=250))
    decision = policy.allocate(at, Complexity(score))
    assert decision.allocation is not None
    assert decision.allocation.beam_width <= 2
    assert not decision.allocation.tools


def test_draws_differ_between_tasks_steps_rounds_and_seeds() -> None:
    contexts = [after(0), after(0, Task("other", "g")), after(0, replace(RIDDLE, seed=1)), after(1)]
    never = SigmoidPolicy(
        space=SPACE, lines=(Line(0.0, -99.0), *POLICY.lines[1:]), log_stds=POLICY.log_stds
    )
    drawn = [never.allocate(at, Complexity(0.4)).latents for at in contexts]
    drawn.append(replace(never, seed=1).allocate(after(0), Complexity(0.4)).latents)
    assert len(set(drawn)) == len(drawn)


def test_a_decision_leaves_the_global_random_numbers_alone() -> None:
    state = random.getstate()
    POLICY.allocate(context(), Complexity(0.4))
    assert random.getstate() == state


@pytest.mark.parametrize("score", [1e308, -1e308])
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_score_that_cannot_be_mapped_is_refused(score: float, deterministic: bool) -> None:
    policy = replace(POLICY, deterministic=deterministic)
    with pytest.raises(InvalidInputError, match=r"complexity score is .*, expected a finite"):
        policy.allocate(context(), Complexity(score))


def test_parameters_that_do_not_fit_are_named() -> None:
    with pytest.raises(InvalidInputError, match="has 7 lines, expected 8: stop, depth, temp"):
        replace(POLICY, lines=POLICY.lines[1:])
    with pytest.raises(InvalidInputError, match=r"line of stop is Line\(w=nan"):
        replace(POLICY, lines=(Line(math.nan, 0.0), *POLICY.lines[1:]))
    with pytest.raises(InvalidInputError, match="expected 5 numbers from -20 to 5"):
        replace(POLICY, log_stds=(0.0, math.nan, 0.0, 0.0, 0.0))
    with pytest.raises(InvalidInputError, match="max_rounds is 0, expected at least 1"):
        replace(POLICY, max_rounds=0)
