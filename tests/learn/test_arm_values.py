"""Values of arms, learned on lattices whose best allocation is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.fakes.trail import ARMS
from tests.learn.trails import NAMES, REWARD

from amp.allocate import AllocatorOptions, make_allocator
from amp.allocate.arm_values import LEAF, ArmValues, Trees
from amp.allocate.policy_file import Origin, load_arm_values, save_arm_values
from amp.cli.policy import ArmValuesView
from amp.errors import InvalidInputError
from amp.learn.arm_values import LearnedValues, ValueSettings, learn_arm_values
from amp.mlp import read_tensors, write_tensors
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import replay_lattice
from amp.simulate.lattice_table import lattice_env

AT_ONE = ValueSettings((0.9,), (0.002,), 2)


@pytest.fixture(scope="module")
def learned(lattice: Lattice) -> LearnedValues:
    return learn_arm_values(lattice_env(lattice, None, NAMES), ARMS, REWARD, AT_ONE)


def test_a_policy_in_a_file_is_the_same_and_is_found_by_its_name(
    tmp_path: Path, learned: LearnedValues, lattice: Lattice
) -> None:
    path = tmp_path / "policy.safetensors"
    save_arm_values(learned.policy, path, Origin("trails", "walker", "", ("a",)))
    again = make_allocator(str(path), AllocatorOptions(trade_off=0.9))
    assert replay_lattice(lattice, again) == replay_lattice(lattice, learned.policy)
    assert not again.uses_complexity
    assert "trade-off 0.9\n  goal_distance" in ArmValuesView.of(load_arm_values(path)).lines
    header, tensors = read_tensors(path, "policy", "amp-policy/1")
    for change, said in (
        ({"version": "0"}, "of version 0, expected 'arm values' of version 1; train it again"),
        ({"plan_state": "0"}, "state of a plan by version 0"),
        ({"features": '["words"]'}, "feature 'words' is none of a plan"),
    ):
        write_tensors(path, {**header, **change}, tensors)
        with pytest.raises(InvalidInputError, match=said):
            load_arm_values(path)
    write_tensors(path, header, {**tensors, "sides": tensors["sides"] * 0.0})
    with pytest.raises(
        InvalidInputError, match="a tree of the policy asks about what is not there"
    ):
        load_arm_values(path)


def test_shapes_that_do_not_fit_are_refused() -> None:
    trees = Trees(
        np.zeros((1, 1), np.intp), np.array([LEAF]), np.zeros(1), np.zeros((1, 2), np.intp),
        np.zeros((1, 2)),
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match=r"worth of the policy has the shape \(1, 2\)"):
        ArmValues(ARMS, NAMES, np.array([0.9]), trees, np.zeros(1, np.intp))
