"""A projection keeps what varies most, on the scale of the training states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.assess.neural import Projection
from amp.errors import InvalidInputError


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
