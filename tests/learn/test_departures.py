"""Departures from a rule, learned on lattices whose best allocation is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.trail import ARMS
from tests.learn.trails import NAMES, REWARD, earned, share

from amp.allocate import AllocatorOptions, make_allocator
from amp.allocate.arm_values import ArmValues
from amp.allocate.plan_state import PLAN_STATE, base_rules
from amp.allocate.policy_file import load_arm_values, save_arm_values
from amp.errors import InvalidInputError
from amp.learn.departures import (
    Departures,
    SearchSettings,
    _Grown,
    _Known,
    _Search,
    search_departures,
)
from amp.mlp import read_tensors, write_tensors
from amp.reward import Reward
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import replay_lattice
from amp.simulate.lattice_table import lattice_env

AT_ONE = SearchSettings((0.9,))


@pytest.fixture(scope="module")
def learned(lattice: Lattice) -> Departures:
    return search_departures(lattice_env(lattice, None, NAMES), ARMS, REWARD, AT_ONE)


@pytest.mark.parametrize("name", sorted(base_rules(ARMS)))
def test_a_policy_with_a_base_earns_no_less_where_it_learned(lattice: Lattice, name: str) -> None:
    rule = base_rules(ARMS)[name]
    env = lattice_env(lattice, None, tuple(PLAN_STATE), base=rule)
    found = search_departures(env, ARMS, REWARD, AT_ONE, name)
    assert found.policy.base == name
    before, after = (earned(replay_lattice(lattice, one), 0.9) for one in (rule, found.policy))
    assert after >= before - 1e-9
    assert share(lattice, found.policy, 0.9) >= 0.95


def test_without_questions_it_is_the_best_of_its_base_and_the_arms(lattice: Lattice) -> None:
    rules, none = base_rules(ARMS), replace(AT_ONE, questions=0)
    for name in ("think in every step", "act in every step"):
        env = lattice_env(lattice, None, NAMES, base=rules[name])
        found = search_departures(env, ARMS, REWARD, none, name)
        assert found.questions == (0,)
        thinks = replay_lattice(lattice, rules["think in every step"])
        assert replay_lattice(lattice, found.policy) == thinks
        dear = search_departures(env, ARMS, Reward(1.0), none, name)  # nothing is worth its tokens
        assert {e.ended for e in replay_lattice(lattice, dear.policy)} == {"given up"}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_a_search_tells_what_the_policy_then_earns(lattice: Lattice, seed: int) -> None:
    """The returns that departures are chosen by are those of whole plans, played by the policy."""
    rng = np.random.default_rng(seed)
    env = lattice_env(lattice, None, NAMES, base=base_rules(ARMS)["think in every step"])
    search = _Search(_Known.of(env, len(ARMS), REWARD, 0.9), AT_ONE)
    first = search._begin[0]
    later = [search._asked[at] for at in rng.integers(0, len(search._asked), 3)]
    taken = [first, *later]
    trees = _Grown(len(ARMS) + 2)
    root = trees.add(search, taken)
    gives_up = search.gives_up in {one.decision for one in taken}
    policy = ArmValues(
        ARMS, NAMES, np.array([0.9]), trees.arrays([[root]]), np.array([int(gives_up)]),
        base="think in every step",
    )  # fmt: skip
    walks = search.known.walks
    told = walks.come(search.known.decided(taken)[None])[0, walks.first]
    came = [REWARD.of(e.score, float(e.usage.tokens), 0.9) for e in replay_lattice(lattice, policy)]
    assert told == pytest.approx(came)


def test_a_policy_with_a_base_is_kept_with_it(tmp_path: Path, lattice: Lattice) -> None:
    name, path = "trajectory signals: think, 1 of 5", tmp_path / "policy.safetensors"
    env = lattice_env(lattice, None, NAMES, base=base_rules(ARMS)[name])
    found = search_departures(env, ARMS, REWARD, AT_ONE, name)
    save_arm_values(found.policy, path)
    again = make_allocator(str(path), AllocatorOptions(trade_off=0.9))
    assert replay_lattice(lattice, again) == replay_lattice(lattice, found.policy)
    header, tensors = read_tensors(path, "policy", "amp-policy/1")
    write_tensors(path, {**header, "base": "dance"}, tensors)
    with pytest.raises(InvalidInputError, match="the rule 'dance', which is none of its arms act,"):
        load_arm_values(path)
