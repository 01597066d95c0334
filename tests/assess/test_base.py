"""Features that are left out are missing, wherever they would have been read."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.assess.test_weighted import TYPICAL, contexts

from amp.assess.base import (
    GROUPS,
    TERMS,
    AblatedAssessor,
    Group,
    WeightedAssessor,
    ablate,
    group_of,
)
from amp.assess.features import FEATURES
from amp.assess.neural import NeuralAssessor
from amp.mlp import Layer
from amp.types import StepContext

groups = st.frozensets(st.sampled_from(get_args(Group)), max_size=5)
NAMES = ("uncertainty", "indicators", "distance", "words", "agreement")


def network() -> NeuralAssessor:
    rng, n = np.random.default_rng(0), len(NAMES)
    layers = (
        Layer(rng.normal(size=(3 * n, 4)).astype(np.float32), np.zeros(4, np.float32)),
        Layer(rng.normal(size=(4, 1)).astype(np.float32), np.zeros(1, np.float32)),
    )
    return NeuralAssessor(NAMES, np.zeros(n, np.float32), np.ones(n, np.float32), layers)


def test_every_feature_is_in_one_group() -> None:
    counted = Counter(name for names in GROUPS.values() for name in names)
    assert counted == Counter(feature.name for feature in FEATURES)
    assert group_of("hidden_3") == "hidden"


@given(contexts, groups)
def test_no_feature_of_an_excluded_group_is_known(
    at: StepContext, exclude: frozenset[Group]
) -> None:
    for inner in (WeightedAssessor(), network()):
        features = AblatedAssessor(inner, exclude).assess(at).features
        assert {group_of(name) for name in features}.isdisjoint(exclude)


@given(contexts)
def test_nothing_exclude_changes_nothing(at: StepContext) -> None:
    for inner in (WeightedAssessor(), WeightedAssessor(typical=TYPICAL), network()):
        assert AblatedAssessor(inner, frozenset()).assess(at) == inner.assess(at)


@given(contexts)
def test_one_term_alone_is_the_score(at: StepContext) -> None:
    for term in TERMS:
        exclude = frozenset(get_args(Group)) - {term}
        got = AblatedAssessor(WeightedAssessor(), exclude).assess(at)
        assert got.score == pytest.approx(got.features.get(term, 0.5))


@given(contexts)
def test_a_learned_sum_has_what_is_typical_in_the_place_of_a_term(at: StepContext) -> None:
    learned = WeightedAssessor(0.2, 0.2, 0.2, typical=TYPICAL)
    without = AblatedAssessor(learned, frozenset({"distance"})).assess(at).score
    rest = learned.assess(at)
    change = 0.2 * (rest.features["distance"] - TYPICAL["distance"])
    assert rest.score == pytest.approx(without + change)


def test_nobody_looks_for_what_is_exclude() -> None:
    inner = WeightedAssessor(probes=frozenset({"options", "hidden"}))
    assert AblatedAssessor(inner, frozenset({"uncertainty"})).probes == {"hidden"}
    assert AblatedAssessor(inner, frozenset({"hidden"})).probes == {"options"}


@given(contexts, groups)
def test_assessing_is_scoring_what_was_observed_and_ablation_acts_between(
    at: StepContext, exclude: frozenset[Group]
) -> None:
    for inner in (WeightedAssessor(), network()):
        features = inner.observe(at)
        assert inner.score(features) == inner.assess(at)
        ablated = ablate(features, exclude)
        assert inner.score(ablated) == AblatedAssessor(inner, exclude).assess(at)
        assert ablated.substituted <= ablated.values.keys() <= features.values.keys()


def test_only_a_network_can_be_trained_as_one() -> None:
    neural = network()
    assert neural.network is neural
    assert WeightedAssessor().network is None
