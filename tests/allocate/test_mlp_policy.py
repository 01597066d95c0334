"""The policy network: it sees what is known, marks what is not, and begins near the sigmoids."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import RIDDLE, context

from amp.allocate.base import AllocationEnv
from amp.allocate.mlp_policy import EXTRAS, MlpPolicy, observe
from amp.allocate.policy import SigmoidPolicy
from amp.allocate.space import Space
from amp.errors import InvalidInputError
from amp.mlp import Layer, encode
from amp.types import Candidate, Complexity, Evidence, Limits, StepContext

SPACE = Space(verification=(0, 3), tools=frozenset({"python", "calculator"}))
FEATURES = ("entropy", "distance")
POLICY = MlpPolicy.initial(SPACE, FEATURES, hidden=32)
scores = st.floats(0, 1)


def trained(seed: int = 1) -> MlpPolicy:
    """A policy in which every input has a say."""
    rng = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> Layer:
        weight = rng.normal(0.0, 0.5, (inputs, outputs)).astype(np.float32)
        return Layer(weight, rng.normal(0.0, 0.5, outputs).astype(np.float32))

    values = len(FEATURES) + len(EXTRAS)
    return replace(
        POLICY,
        mean=rng.normal(0.0, 0.2, values).astype(np.float32),
        std=rng.uniform(0.5, 2.0, values).astype(np.float32),
        layers=(layer(2 * values, 32), layer(32, 32), layer(32, len(SPACE.dims))),
    )


def voted(*actions: str | None, rounds: int = 1) -> StepContext:
    evidence = Evidence(tuple(Candidate("", action) for action in actions), rounds)
    return replace(context(), evidence=evidence)


def observed(
    at: StepContext, complexity: Complexity, share: float = 1.0
) -> dict[str, float | None]:
    values = observe(FEATURES, at, complexity, 0.3, share)
    return dict(zip((*FEATURES, *EXTRAS), values, strict=True))


def test_the_network_sees_features_score_trade_off_budget_and_votes() -> None:
    seen = observed(voted("a", "a", "b", None), Complexity(0.4, {"entropy": 0.7, "x": 9.0}), 0.25)
    assert seen == {
        "entropy": 0.7,
        "distance": None,
        "score": 0.4,
        "trade_off": 0.3,
        "budget_share": 0.25,
        "rounds": math.log(2),
        "candidates": math.log(5),
        "tooled": 0.0,
        "agreement": 0.5,
        "margin": 0.25,
    }


def test_before_a_round_agreement_is_missing_and_not_zero() -> None:
    fresh = observed(context(), Complexity(0.4))
    assert fresh["agreement"] is fresh["margin"] is None
    silent = observed(voted(None, None), Complexity(0.4))
    assert silent["agreement"] == silent["margin"] == 0.0


@given(st.lists(st.none() | st.floats(-9, 9), min_size=1, max_size=9))
def test_a_missing_value_is_the_mean_with_its_flag_up(values: list[float | None]) -> None:
    mean, std = np.full(len(values), 0.5), np.full(len(values), 2.0)
    encoded = encode(values, mean, std).tolist()
    assert encoded[len(values) :] == [float(value is None) for value in values]
    assert encoded[: len(values)] == [
        0.0 if value is None else (value - 0.5) / 2.0 for value in values
    ]


@given(st.floats(-1e300, 1e300))
def test_an_outlier_is_cut_and_the_decision_stays_finite(value: float) -> None:
    heads = trained().distribution(context(), Complexity(0.5, {"entropy": value}))
    assert all(map(math.isfinite, heads.locations))
    assert abs(encode([value], np.zeros(1), np.ones(1))[0]) == min(10.0, abs(value))


@given(scores, st.integers(0, 99), st.booleans())
def test_a_decision_carries_its_latents_and_their_log_probability(
    score: float, seed: int, voted_once: bool
) -> None:
    policy = trained()
    at = replace(voted("a", "b") if voted_once else context(), task=replace(RIDDLE, seed=seed))
    complexity = Complexity(score, {"entropy": 0.2})
    decision = policy.allocate(at, complexity)
    assert decision == policy.allocate(at, complexity)
    now = policy.mask(at)
    assert decision.log_prob == policy.distribution(at, complexity).log_prob(
        decision.latents, now.free
    )
    if decision.allocation is not None:
        assert decision.allocation == now.space.allocation(decision.latents)


@pytest.mark.parametrize("mean_and_std", [(0.0, 1.0), (0.3, 0.1)])
@given(score=scores)
def test_the_initial_network_begins_near_the_initial_sigmoids(
    mean_and_std: tuple[float, float], score: float
) -> None:
    mean, std = (np.full(len(FEATURES) + len(EXTRAS), value) for value in mean_and_std)
    policy = MlpPolicy.initial(SPACE, FEATURES, mean=mean, std=std, hidden=32)
    ours = policy.distribution(context(), Complexity(score))
    sigmoids = SigmoidPolicy.initial(SPACE).distribution(context(), Complexity(score))
    assert ours.log_stds == sigmoids.log_stds
    # tanh(tanh(x)) of |x| <= 0.6 is off by less than 0.11; the heads are 8 times as steep.
    assert ours.locations == pytest.approx(sigmoids.locations, abs=8 * 0.11)
    if abs(score - 0.4) > 1e-6:
        assert np.sign(ours.locations).tolist() == np.sign(sigmoids.locations).tolist()


def test_the_network_is_two_hidden_layers_of_tanh() -> None:
    policy = trained()
    inputs = policy.inputs(voted("a", "b"), Complexity(0.5, {"entropy": 0.2}))
    values = inputs.tolist()
    for number, layer in enumerate(policy.layers):
        columns = layer.weight.T.tolist()
        sums = [
            math.fsum(value * weight for value, weight in zip(values, column, strict=True)) + bias
            for column, bias in zip(columns, layer.bias.tolist(), strict=True)
        ]
        values = sums if number == 2 else [math.tanh(value) for value in sums]
    assert policy.locations(inputs).tolist() == pytest.approx(values, abs=1e-5)


def test_many_inputs_have_the_locations_of_each() -> None:
    policy = trained()
    inputs = np.random.default_rng(0).normal(size=(50, 2 * len(policy.mean))).astype(np.float32)
    single = np.array([policy.locations(row) for row in inputs])
    assert policy.locations(inputs) == pytest.approx(single, abs=1e-5)


@pytest.mark.parametrize(
    ("what", "at", "complexity", "changes"),
    [
        ("a feature", context(), Complexity(0.5, {"entropy": 0.9}), {}),
        ("the score", context(), Complexity(0.6), {}),
        ("the trade-off", context(), Complexity(0.5), {"trade_off": 0.9}),
        (
            "the budget",
            replace(context(), remaining=Limits(tokens=10)),
            Complexity(0.5),
            {"env": AllocationEnv(limits=Limits(tokens=1000))},
        ),
        ("a round", voted("a"), Complexity(0.5), {}),
    ],
)
def test_the_decision_depends_on(
    what: str, at: StepContext, complexity: Complexity, changes: dict[str, object]
) -> None:
    policy = trained()
    before = policy.distribution(context(), Complexity(0.5))
    after = replace(policy, **changes).distribution(at, complexity)  # type: ignore[arg-type]
    assert before.locations != after.locations, what


def test_agreement_and_disagreement_look_different() -> None:
    heads = [
        trained().distribution(voted(*votes), Complexity(0.5)) for votes in ("aaaa", "aabb", "aabc")
    ]
    assert len({head.locations for head in heads}) == 3


@pytest.mark.parametrize(
    ("complexity", "name"),
    [
        (Complexity(0.5, {"entropy": math.nan}), "entropy"),
        (Complexity(0.5, {"distance": math.inf}), "distance"),
    ],
)
def test_what_is_not_finite_is_named(complexity: Complexity, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"complexity {name} is (nan|inf), expected"):
        POLICY.allocate(context(), complexity)


def test_parameters_that_do_not_fit_are_named() -> None:
    first, second, output = POLICY.layers
    nan = Layer(first.weight, first.bias * np.nan)
    thin = Layer(first.weight[1:], first.bias)
    with pytest.raises(InvalidInputError, match=r"layers.0.weight .* shape \(19, 32\), expected"):
        replace(POLICY, layers=(thin, second, output))
    with pytest.raises(InvalidInputError, match="layers.0.bias of the policy is not finite"):
        replace(POLICY, layers=(nan, second, output))
    with pytest.raises(
        InvalidInputError, match=r"mean .* shape \(10,\), expected \(9,\) for 1 feat"
    ):
        replace(POLICY, features=("entropy",))
    with pytest.raises(
        InvalidInputError, match=r"expected \(32, 6\) for 2 features and 6 dimensions"
    ):
        replace(POLICY, space=Space())
    with pytest.raises(InvalidInputError, match="std of the policy has a value that is not more"):
        replace(POLICY, std=POLICY.std * 0)
    with pytest.raises(InvalidInputError, match="trade_off is 1.5, expected 0 to 1"):
        replace(POLICY, trade_off=1.5)
