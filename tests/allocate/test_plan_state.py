"""What a step sees of its plan, and that ways alike in what is remembered look the same."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.files import ROOT

from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.plan_state import OF_THE_WAY, PLAN_STATE, RECENT, memory, plan_state
from amp.allocate.policy import ByArm, arm_space
from amp.allocate.policy_file import load_policy, save_policy
from amp.allocate.rules import plan_arms
from amp.errors import InvalidInputError
from amp.mlp import read_tensors, write_tensors
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Evidence,
    Limits,
    Observation,
    Probe,
    Round,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

ARMS = plan_arms(Allocation())
NAMES = tuple(PLAN_STATE)
places = st.builds(
    Observation,
    st.sampled_from(["here", "there", "yonder"]),
    st.sampled_from([("go", "stay"), ("go",), None]),
    distance=st.sampled_from([None, math.nan, 0.5, 0.25]),
)


def step(at: Observation, arm: str, action: str | None, sure: float | None) -> StepRecord:
    candidate = Candidate("", action, probability=sure, plan=("go",) if "plan" in arm else ())
    usage = Usage(model_calls=int(at.actions != ("go",)))
    made = Round(Complexity(0.0), ARMS[arm], 0.0, (candidate,), usage)
    return StepRecord(at, (made,), Complexity(0.0), action, usage)


records = st.builds(
    step, places, st.sampled_from(list(ARMS)), st.sampled_from(["go", "stay", None]),
    st.sampled_from([None, 0.5, 1.0]),
)  # fmt: skip
plans = st.lists(records, max_size=8).map(tuple)


@settings(max_examples=40)
@given(plans, plans, places, records, st.booleans())
def test_ways_that_are_remembered_alike_look_the_same_now_and_later(
    one: tuple[StepRecord, ...],
    other: tuple[StepRecord, ...],
    here: Observation,
    further: StepRecord,
    ends: bool,
) -> None:
    other = other + one[-RECENT - 1 :]  # so that a quarter is remembered alike
    if memory(one) != memory(other):
        return
    for a, b in ((one, other), ((*one, further), (*other, further))):
        assert memory(a) == memory(b)
        found, again = (
            plan_state(StepContext(Task("t", "go"), here, steps, standing_plan=("go",) * ends))
            for steps in (a, b)
        )
        for each in (found, again):
            each.pop("steps_done")
        assert found == again


@settings(max_examples=25)
@given(plans, places, st.none() | st.integers(0, 9))
def test_what_is_told_is_finite_and_named(
    steps: tuple[StepRecord, ...], here: Observation, left: int | None
) -> None:
    evidence = Evidence(probe=Probe(options={"go": 1.0, "stay": 0.0}))
    context = StepContext(Task("t", "go"), here, steps, evidence, Limits(steps=left))
    found = plan_state(context)
    assert found.keys() <= PLAN_STATE.keys()
    assert all(map(math.isfinite, found.values()))
    assert ("steps_left" in found) == (left is not None)
    assert found["options_margin"] == 1.0
    if not steps:
        assert OF_THE_WAY & found.keys() == {"plans"}


def test_circles_progress_and_the_age_of_a_plan_are_seen() -> None:
    near, far = (Observation(f"at {d}", ("go", "stay"), distance=d) for d in (0.2, 0.8))
    circle = tuple(step(at, "act", "go", 0.4) for at in (far, near) * 2)
    found = plan_state(StepContext(Task("t", "go"), far, circle))
    assert found["repeated_lately"] == 0.5
    assert found["new_lately"] == 2 / 5
    assert found["nearer"] == pytest.approx(-0.6)
    assert (found["nearer_lately"], found["sure"]) == (0.0, 0.4)
    stays = plan_state(StepContext(Task("t", "go"), far, (step(far, "act", "stay", 1.0),)))
    assert stays["unchanged"] == stays["unchanged_lately"] == 1.0
    plan = (step(far, "plan 4", "go", None), step(near, "follow", "go", None))
    aged = plan_state(StepContext(Task("t", "go"), far, plan, standing_plan=("go", "go")))
    assert (aged["plan_age"], aged["plan_left"]) == (math.log1p(1), math.log1p(2))
    broken = plan_state(StepContext(Task("t", "go"), far, plan[:1]))
    assert (broken["plan_broken"], broken["plans"]) == (1.0, 1.0)
    assert "plan_age" not in broken


def test_a_policy_of_another_version_is_refused_in_one_line_and_old_ones_open(
    tmp_path: Path,
) -> None:
    path = tmp_path / "policy.safetensors"
    made = MlpPolicy.initial(arm_space(ARMS), NAMES, hidden=4)
    save_policy(made, path, arms=ARMS)
    again = load_policy(path)
    assert again.network is not None
    assert again.network.features == NAMES
    header, tensors = read_tensors(path, "policy", "amp-policy/1")
    write_tensors(path, {**header, "plan_state": "0"}, tensors)
    with pytest.raises(InvalidInputError, match="state of a plan by version 0, this is version 1"):
        load_policy(path)
    assert load_policy(ROOT / "recordings" / "policies" / "learned-0.safetensors").network


def test_a_policy_that_reads_plans_alone_is_told_no_complexity() -> None:
    made = MlpPolicy.initial(arm_space(ARMS), NAMES, hidden=4)
    assert not ByArm(made, ARMS).uses_complexity
    reads = MlpPolicy.initial(arm_space(ARMS), (*NAMES, "words"), hidden=4)
    assert ByArm(reads, ARMS).uses_complexity
