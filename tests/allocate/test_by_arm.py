"""Bits that stand for arms."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.allocate import AllocatorOptions, make_allocator
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy import MAX_ARMS, ByArm, SigmoidPolicy, arm_codes, arm_space
from amp.allocate.policy_file import load_arms, save_policy
from amp.allocate.rules import plan_arms
from amp.allocate.space import Space
from amp.errors import InvalidInputError
from amp.types import Allocation, Complexity, Observation, StepContext, Task

ARMS = plan_arms(Allocation(tools=frozenset({"map"})))


@given(st.integers(2, MAX_ARMS))
def test_every_set_of_bits_is_an_arm_and_every_arm_has_one_that_names_it_alone(count: int) -> None:
    arms = {f"arm {number}": Allocation(depth=number) for number in range(count)}
    codes = arm_codes(arms)
    assert len(codes) == 2 ** (count - 1)
    assert list(codes.values())[:count] == list(arms)
    assert {bit for code in codes for bit in code} == arm_space(arms).tools
    for code, arm in codes.items():
        first = min((int(bit.split()[0]) for bit in code), default=count - 1)
        assert arm == f"arm {first}"


def test_whatever_a_policy_draws_is_an_arm() -> None:
    context, drawn = StepContext(Task("t", "t"), Observation()), set()
    for seed in range(200):
        inner = SigmoidPolicy.initial(arm_space(ARMS))
        lines = tuple(type(one)(0.0, random.Random(seed).gauss(0, 3)) for one in inner.lines)
        policy = type(inner)(space=inner.space, lines=lines, log_stds=inner.log_stds, seed=seed)
        decision = ByArm(policy, ARMS).allocate(context, Complexity(0.5))
        assert decision.latents
        drawn.add(decision.allocation)
    assert drawn == {*ARMS.values()}


def test_a_policy_of_other_arms_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="expected bits of the arms act, follow, think 1"):
        ByArm(SigmoidPolicy.initial(Space()), ARMS)
    with pytest.raises(InvalidInputError, match="1 arms to choose from, expected 2 to 8"):
        arm_space({"act": Allocation()})


def test_a_file_has_its_arms(tmp_path: Path) -> None:
    policy, path = MlpPolicy.initial(arm_space(ARMS), ("distance",)), tmp_path / "p.safetensors"
    save_policy(policy, path, arms=ARMS)
    made = make_allocator(str(path), AllocatorOptions(trade_off=0.3))
    assert isinstance(made, ByArm)
    assert made.arms == ARMS
    assert made.policy.network is not None
    assert made.policy.network.trade_off == 0.3
    save_policy(policy, path)
    assert load_arms(path) is None
