from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amp.allocate import EntropyThreshold
from amp.types import Allocation, Complexity, Evidence, Observation, StepContext, Task

STEP = StepContext(Task("t", "go"), Observation("here", ("a", "b")))


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_thought_comes_before_a_choice_in_which_the_model_is_unsure(
    entropy: float, threshold: float
) -> None:
    rule = EntropyThreshold(Allocation(), depth=2, threshold=threshold)
    granted = rule.allocate(STEP, Complexity(0.0, {"choice_entropy": entropy})).allocation
    assert granted == Allocation(depth=2 if entropy > threshold else 0)


def test_a_step_is_one_round_and_without_a_listed_choice_it_acts_at_once() -> None:
    rule = EntropyThreshold()
    assert rule.allocate(STEP, Complexity(0.9)).allocation == Allocation()
    after = StepContext(STEP.task, STEP.observation, evidence=Evidence(rounds=1))
    assert rule.allocate(after, Complexity(0.0, {"choice_entropy": 1.0})).stop


def test_what_the_user_sets_holds_for_both() -> None:
    rule = EntropyThreshold().with_overrides({"depth": 3, "temperature": 0.5})
    unsure = rule.allocate(STEP, Complexity(0.0, {"choice_entropy": 1.0})).allocation
    assert unsure == Allocation(depth=3, temperature=0.5)
