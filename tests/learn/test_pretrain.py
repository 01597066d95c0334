"""Training finds what is there, says how well, and numpy computes what torch learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.fakes.assessors import network

from amp.assess.base import TERMS, WeightedAssessor
from amp.assess.features import FeatureVector
from amp.assess.text import structural
from amp.errors import InvalidInputError
from amp.learn.pretrain import Example, PretrainSettings, train_neural, train_weighted
from amp.types import ProbeKind

QUICK = PretrainSettings(epochs=150, members=3, penalties=(1e-4, 1e-3), directions=2)
NOTHING: frozenset[ProbeKind] = frozenset()


def steps(count: int = 120, seed: int = 0, hidden: bool = True) -> list[Example]:
    """Steps that get harder with uncertainty and easier with indicators, three a task."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        uncertainty, indicators, distance = rng.uniform(0, 1, 3)
        complexity = 0.3 + 0.6 * uncertainty - 0.25 * indicators
        values = {
            "uncertainty": uncertainty,
            "indicators": indicators,
            "distance": distance,
            "words": float(rng.integers(5, 90)),
        }
        state = tuple(rng.normal(size=6)) if hidden else ()
        made.append(Example(f"t{index // 3}", 0, FeatureVector(values), state, complexity, 1.0))
    return made


def test_the_weighted_sum_finds_weights_signs_and_bias() -> None:
    assessor, fit = train_weighted(steps(), NOTHING, structural, QUICK)
    found = (assessor.alpha, assessor.beta, assessor.gamma, assessor.bias)
    assert found == pytest.approx((0.6, -0.25, 0.0, 0.3), abs=1e-6)
    assert assessor.typical is not None
    assert set(assessor.typical) == set(TERMS)
    assert fit.error < 1e-12 < fit.constant_error


def test_a_term_that_is_missing_is_its_mean_in_training() -> None:
    made = [
        replace(
            e,
            observed=FeatureVector({k: v for k, v in e.observed.values.items() if k != "distance"}),
        )
        for e in steps()
    ]
    assessor, _ = train_weighted(made, NOTHING, structural, QUICK)
    assert assessor.gamma == pytest.approx(0.0, abs=1e-6)
    assert assessor.alpha == pytest.approx(0.6, abs=1e-6)


@pytest.mark.slow
def test_the_network_learns_what_is_there_and_nothing_from_noise() -> None:
    _, fit = train_neural(steps(240), NOTHING, structural, QUICK)
    assert fit.error < 0.3 * fit.constant_error
    assert (fit.tasks, fit.examples) == (80, 240)
    rng = np.random.default_rng(1)
    noise = [replace(e, complexity=float(rng.uniform())) for e in steps(240)]
    strict = replace(QUICK, penalties=(1e-4, 1e-1))
    _, fit = train_neural(noise, NOTHING, structural, strict)
    assert fit.penalty == 1e-1
    assert fit.error == pytest.approx(fit.constant_error, rel=0.1)


@pytest.mark.slow
def test_training_twice_is_training_once() -> None:
    one, _ = train_neural(steps(60), NOTHING, structural, QUICK)
    two, _ = train_neural(steps(60), NOTHING, structural, QUICK)
    other, _ = train_neural(steps(60), NOTHING, structural, replace(QUICK, seed=1))
    for a, b, c in zip(one.layers, two.layers, other.layers, strict=True):
        assert (a.weight == b.weight).all()
        assert (a.weight != c.weight).any()


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_numpy_says_what_torch_says_of_any_network(seed: int, scale: float) -> None:
    assessor = network(seed)
    shape = (20, 3 * len(assessor.names))
    x = np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)
    first, second = (
        (torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)) for layer in assessor.layers
    )
    hidden = torch.tanh(torch.from_numpy(x) @ first[0] + first[1])
    logit = hidden @ second[0] + second[1]
    assert assessor.predict(x) == pytest.approx(torch.sigmoid(logit)[:, 0].numpy(), abs=1e-5)


unit = st.floats(0, 1)


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.lists(unit, min_size=3, max_size=3))
def test_numpy_says_what_torch_says_of_any_weighted_sum(
    weights: list[float], values: list[float]
) -> None:
    assume(any(weights[:3]))
    alpha, beta, gamma, bias = weights
    typical = dict.fromkeys(TERMS, 0.5)
    assessor = WeightedAssessor(alpha, beta, gamma, bias=bias, typical=typical)
    told = torch.tensor(weights[:3]) @ torch.tensor(values) + bias
    score = assessor.score(FeatureVector(dict(zip(TERMS, values, strict=True)))).score
    assert score == pytest.approx(float(told.clamp(0, 1)), abs=1e-5)


@pytest.mark.slow
def test_the_average_of_the_members_is_the_network_that_comes_out() -> None:
    """One member alone and the same member three times over say the same."""
    alone, _ = train_neural(steps(60), NOTHING, structural, replace(QUICK, members=1))
    many, _ = train_neural(steps(60), NOTHING, structural, replace(QUICK, members=3))
    units = QUICK.units
    assert many.layers[0].weight.shape[1] == 3 * units
    assert (many.layers[0].weight[:, :units] == alone.layers[0].weight).all()
    assert many.layers[1].weight[:units] == pytest.approx(alone.layers[1].weight / 3)


@pytest.mark.slow
def test_hidden_states_are_projected_by_what_training_steps_show() -> None:
    assessor, _ = train_neural(steps(60), NOTHING, structural, QUICK)
    assert assessor.projection is not None
    assert assessor.names[-2:] == ("hidden_0", "hidden_1")
    without, _ = train_neural(steps(60, hidden=False), NOTHING, structural, QUICK)
    assert without.projection is None
    none, _ = train_neural(steps(60), NOTHING, structural, replace(QUICK, directions=0))
    assert none.projection is None


def test_the_random_generators_of_others_are_left_alone() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    train_neural(steps(30), NOTHING, structural, QUICK)
    assert (torch.random.get_rng_state() == before).all()


@pytest.mark.parametrize("train", [train_weighted, train_neural])
def test_too_few_tasks_are_refused(train: object) -> None:
    with pytest.raises(
        InvalidInputError, match="4 tasks with annotated steps, expected at least 5"
    ):
        train(steps(12), NOTHING, structural, QUICK)  # type: ignore[operator]
