"""Torch and numpy agree, and what was learned runs without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.allocate.test_mlp_policy import FEATURES, SPACE, trained

from amp.allocate import mlp_policy
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.policy_file import load_policy, save_policy
from amp.allocate.space import ActionDistribution
from amp.errors import InvalidInputError
from amp.learn.networks import LOG_STDS, Networks, encoded, entropies, log_probs, normalisation
from amp.mlp import encode

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_log_probabilities_and_entropies_are_those_of_the_policy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (20, len(SPACE.dims))
    locations = rng.normal(0.0, 3.0, shape)
    free = rng.random(shape) < 0.7
    log_stds = rng.uniform(-2.0, 0.5, 5)
    latents = rng.normal(0.0, 3.0, shape)
    latents[:, 6:] = latents[:, 6:] > 0
    latents[:, 0] = rng.random(20) < 0.3
    latents = np.where(free & ~((latents[:, :1] > 0) & (np.arange(shape[1]) > 0)), latents, 0.0)
    given_arrays = (latents, locations, log_stds, free)
    tensors = [torch.as_tensor(array) for array in given_arrays]
    found = log_probs(*tensors).numpy()
    assert found == pytest.approx(mlp_policy.log_probs(*given_arrays), abs=1e-9)
    single = [tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors]
    assert log_probs(*single).numpy() == pytest.approx(found, rel=1e-5, abs=1e-5)
    each = zip(locations.tolist(), free.tolist(), strict=True)
    one_by_one = [
        ActionDistribution(tuple(row), tuple(log_stds)).entropy(tuple(mask)) for row, mask in each
    ]
    assert entropies(*tensors[1:]).numpy() == pytest.approx(one_by_one, abs=1e-9)


def test_the_network_computes_what_the_policy_computes() -> None:
    policy = trained()
    inputs = np.random.default_rng(0).normal(size=(50, 2 * len(policy.mean))).astype(np.float32)
    with torch.no_grad():
        found = Networks(policy, 0).policy(torch.as_tensor(inputs)).numpy()
    assert found == pytest.approx(policy.locations(inputs), abs=1e-5)


def test_an_exported_policy_is_the_one_that_was_put_in(tmp_path: Path) -> None:
    policy = replace(trained(), max_rounds=7)
    exported = Networks(policy, 0).export(policy)
    save_policy(exported, tmp_path / "p.safetensors")
    again = load_policy(tmp_path / "p.safetensors", space=SPACE, features=FEATURES)
    assert isinstance(again, MlpPolicy)
    assert again.max_rounds == 7
    assert again.log_stds == pytest.approx(policy.log_stds)
    for ours, theirs in zip(again.layers, policy.layers, strict=True):
        assert (ours.weight == theirs.weight).all()
        assert (ours.bias == theirs.bias).all()


def test_an_exported_policy_does_not_change_when_training_goes_on() -> None:
    networks = Networks(trained(), 0)
    exported = networks.export(trained())
    before = exported.layers[0].weight.copy()
    with torch.no_grad():
        networks.policy.get_parameter("0.weight").add_(1.0)
    assert (exported.layers[0].weight == before).all()


def test_weights_that_are_not_finite_are_not_exported() -> None:
    networks = Networks(trained(), 0)
    with torch.no_grad():
        networks.policy.get_parameter("2.bias")[0] = torch.nan
    with pytest.raises(InvalidInputError, match="layers.1.bias of the policy is not finite"):
        networks.export(trained())


def test_deviations_stay_within_their_bounds() -> None:
    networks = Networks(replace(trained(), log_stds=(-9.0, 4.0, 0.0, -1.0, 0.2)), 0)
    low, high = LOG_STDS
    assert networks.log_stds.tolist() == pytest.approx([low, high, 0.0, -1.0, 0.2])


@given(st.lists(st.lists(st.none() | st.floats(-99, 99), min_size=3, max_size=3), min_size=1))
def test_many_rows_are_encoded_as_each_of_them(rows: list[list[float | None]]) -> None:
    mean, std = np.array([[0.5, -1.0, 0.0], [2.0, 1.0, 3.0]], np.float32)
    table = np.array([[np.nan if v is None else v for v in row] for row in rows])
    assert (encoded(table, mean, std) == np.array([encode(row, mean, std) for row in rows])).all()


def test_what_is_known_has_mean_0_and_deviation_1_after_normalisation() -> None:
    values = np.random.default_rng(0).normal(5.0, 3.0, (200, 4))
    values[:50, 1] = np.nan
    values[:, 2] = np.nan
    values[:, 3] = 7.0
    mean, std = normalisation(values)
    assert (mean[2:].tolist(), std[2:].tolist()) == ([0.0, 7.0], [1.0, 1.0])
    found = encoded(values, mean, std)
    assert found[:, 0].mean() == pytest.approx(0.0, abs=1e-5)
    assert found[50:, 1].std() == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(InvalidInputError, match="0 rows of values, expected finite values"):
        normalisation(values[:0])
