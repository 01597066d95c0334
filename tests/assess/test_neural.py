"""The network and the projection of hidden states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.assess.test_weighted import contexts
from tests.fakes.assessors import NAMES, network
from tests.fakes.worlds import RIDDLE, context

from amp.assess.features import FeatureVector
from amp.assess.neural import NeuralAssessor, Projection, transformed
from amp.errors import InvalidInputError
from amp.mlp import Layer
from amp.types import Candidate, Evidence, Probe, StepContext

STATES = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
PROJECTION = Projection.fit(STATES, 2)
NETWORK = network(projection=PROJECTION)


@given(contexts)
def test_any_step_has_a_complexity_between_0_and_1(at: StepContext) -> None:
    complexity = NETWORK.assess(at)
    assert 0.0 <= complexity.score <= 1.0
    assert np.isfinite(list(complexity.features.values())).all()


@given(st.sets(st.sampled_from(NAMES)), st.integers(0, 3))
def test_a_missing_feature_is_its_mean_with_a_flag_and_a_substitute_has_a_place_of_its_own(
    missing: set[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = {name: float(rng.uniform(0, 1)) for name in NAMES}
    known = {name: value for name, value in values.items() if name not in missing}
    n = len(NETWORK.names)
    measured, substitutes, flags = NETWORK.encode(FeatureVector(known)).reshape(3, n)
    for index, name in enumerate(NAMES):
        assert flags[index] == (name in missing)
        assert (measured[index] == 0.0) >= (name in missing)
    assert not substitutes.any()
    whole, _, _ = NETWORK.encode(FeatureVector(values)).reshape(3, n)
    mixed = NETWORK.encode(FeatureVector(values, frozenset(missing))).reshape(3, n)
    assert (mixed[0] + mixed[1] == whole).all()
    for index, name in enumerate(NAMES):
        assert mixed[0 if name in missing else 1, index] == 0.0
    assert (mixed[2, : len(NAMES)] == 0.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_feature_and_its_absence_can_change_the_score(name: str) -> None:
    values = dict.fromkeys(NAMES, 0.5)
    at = FeatureVector(values)

    def score(observed: FeatureVector) -> float:
        return float(NETWORK.predict(NETWORK.encode(observed)[None])[0])

    assert score(FeatureVector({**values, name: 0.9})) != score(at)
    assert score(FeatureVector({k: v for k, v in values.items() if k != name})) != score(at)


def test_the_hidden_state_is_read_where_there_is_one() -> None:
    seen = replace(
        context(RIDDLE), evidence=Evidence(probe=Probe(hidden=tuple(STATES[0].tolist())))
    )
    with_state, without = NETWORK.assess(seen), NETWORK.assess(context(RIDDLE))
    assert {"hidden_0", "hidden_1"} <= set(with_state.features)
    assert not {"hidden_0", "hidden_1"} & set(without.features)
    assert with_state.score != without.score


def test_counts_go_in_as_logarithms_and_shares_as_they_are() -> None:
    assert transformed("words", 9.0) == pytest.approx(np.log(10))
    assert transformed("log_prob", -9.0) == pytest.approx(-np.log(10))
    assert transformed("agreement", 0.7) == 0.7
    assert transformed("words", None) is None


def test_a_model_that_tells_nothing_is_assessed_by_what_its_answers_show() -> None:
    told = Evidence((Candidate("", "a", log_prob=-3.0, entropy=0.2), Candidate("", "b")), 1)
    silent = replace(told, candidates=(Candidate("", "a"), Candidate("", "b")))
    complexity = NETWORK.assess(replace(context(RIDDLE), evidence=silent))
    assert complexity.substitutes
    assert complexity.features["agreement"] == 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"names": ("nonsense", *NETWORK.names[1:])}, "'nonsense'"),
        ({"mean": NETWORK.mean[:-1]}, "mean and std"),
        ({"std": 0 * NETWORK.std}, "mean and std"),
        ({"layers": NETWORK.layers[:1]}, "ends in 8 numbers"),
        ({"layers": ()}, "expected 1"),
        ({"layers": (NETWORK.layers[0], Layer(np.ones((7, 1)), np.ones(1)))}, "layer 1"),
        ({"mean": NETWORK.mean * np.nan}, "not finite"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(change: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        replace(NETWORK, **change)  # type: ignore[arg-type]


def test_a_deeper_network_is_the_same_formula() -> None:
    middle = Layer(np.eye(8, dtype=np.float32), np.zeros(8, np.float32))
    deep: NeuralAssessor = replace(NETWORK, layers=(NETWORK.layers[0], middle, NETWORK.layers[1]))
    x = np.random.default_rng(0).normal(size=(3, 3 * len(NETWORK.names))).astype(np.float32)
    hidden = np.tanh(np.tanh(x @ NETWORK.layers[0].weight + NETWORK.layers[0].bias))
    logit = hidden @ NETWORK.layers[1].weight + NETWORK.layers[1].bias
    assert deep.predict(x) == pytest.approx(1 / (1 + np.exp(-logit[:, 0])))


# --------------------------------------------------------------------------- a projection keeps wha


@given(st.integers(3, 30), st.integers(2, 40), st.integers(0, 100))
def test_coordinates_of_the_training_states_have_mean_0_and_variance_1(
    states: int, units: int, seed: int
) -> None:
    table = np.random.default_rng(seed).normal(3.0, 2.0, (states, units))
    k = min(2, states - 1, units - 1)
    projection = Projection.fit(table, k)
    coordinates = np.array([list(projection(row.tolist()).values()) for row in table])
    assert coordinates.mean(0) == pytest.approx(0, abs=1e-3)
    assert coordinates.std(0) == pytest.approx(1, abs=1e-3)


def test_the_direction_of_most_variance_comes_first() -> None:
    rng = np.random.default_rng(0)
    cause = rng.normal(size=200)
    table = np.column_stack([cause, cause, cause, rng.normal(size=200)])
    table += 0.01 * rng.normal(size=table.shape)
    first = [Projection.fit(table, 1)(row.tolist())["hidden_0"] for row in table]
    assert abs(np.corrcoef(first, cause)[0, 1]) > 0.99


def test_a_state_that_is_missing_or_not_finite_has_no_coordinates() -> None:
    projection = Projection.fit(np.random.default_rng(0).normal(size=(5, 3)), 2)
    assert projection(()) == {}
    assert projection((0.0, float("nan"), 0.0)) == {}


def test_the_state_of_another_model_is_refused() -> None:
    projection = Projection.fit(np.random.default_rng(0).normal(size=(5, 3)), 2)
    with pytest.raises(InvalidInputError, match="of 4 units, expected 3"):
        projection((0.0,) * 4)


@pytest.mark.parametrize("k", [0, 5, 3])
def test_more_directions_than_the_states_can_tell_are_refused(k: int) -> None:
    with pytest.raises(InvalidInputError, match=f"{k} directions"):
        Projection.fit(np.ones((5, 3)), k)


def test_what_is_not_finite_or_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not finite"):
        Projection.fit(np.full((5, 4), np.nan), 2)
    with pytest.raises(InvalidInputError, match="expected \\(units,\\)"):
        Projection(np.ones(3), np.ones((4, 2)))
    with pytest.raises(InvalidInputError, match="not finite"):
        Projection(np.ones(3), np.full((3, 2), np.inf))
