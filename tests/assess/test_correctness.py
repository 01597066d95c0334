"""Laws of P(right) of one candidate, and of the figures that it is told from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.assess.correctness import (
    TOKENS,
    Correctness,
    Head,
    candidate_features,
    group_of,
    way_of,
)
from amp.errors import InvalidInputError
from amp.mlp import Layer
from amp.tokens import WINDOW, TokenFigures
from amp.types import Candidate, Evidence, Observation, Probe, StepContext, Task, ToolUse

CONTEXT = StepContext(Task("t", "Tom has 3 apples and 4 pears. How many has he?"), Observation(""))
LOG_PROBS = st.lists(st.floats(-20.0, 0.0), min_size=1, max_size=60)
ANY = st.floats(allow_nan=True, allow_infinity=True) | st.none()


def head(*names: str, weight: float = 1.0) -> Head:
    n = len(names)
    weights = np.concatenate((np.full(n, weight), np.zeros(n)))[:, None]
    return Head(names, np.zeros(n), np.ones(n), (Layer(weights, np.zeros(1)),))


@given(LOG_PROBS)
def test_figures_of_tokens_are_those_of_a_plain_reading(log_probs: list[float]) -> None:
    figures = TokenFigures.of(log_probs, [0.5] * len(log_probs))
    assert figures is not None
    size = min(WINDOW, len(log_probs))
    windows = [log_probs[i : i + size] for i in range(len(log_probs) - size + 1)]
    assert figures.window == pytest.approx(min(sum(w) / size for w in windows), abs=1e-9)
    assert figures.tail == pytest.approx(sum(log_probs[-size:]) / size)
    assert (figures.least, figures.first, figures.highest) == (min(log_probs), log_probs[0], 0.5)
    assert figures.doubtful == sum(math.exp(p) < 0.8 for p in log_probs)
    assert figures.unlikely == sum(math.exp(p) < 0.5 for p in log_probs)


def test_a_model_that_tells_nothing_has_no_figures() -> None:
    assert TokenFigures.of([]) is None
    assert TokenFigures.of([], [0.1, 0.7]) == TokenFigures(highest=0.7)


@given(ANY, ANY, ANY, ANY, st.integers(0, 9))
def test_what_is_no_finite_number_is_absent_and_never_a_zero(
    total: float | None, entropy: float | None, least: float | None, look: float | None, n: int
) -> None:
    known = {} if look is None else {"negative": look}
    candidate = Candidate(
        "7", "7", log_prob=total, entropy=entropy, completion_tokens=n,
        tokens=TokenFigures(least=least), looks=known,
    )  # fmt: skip
    features = candidate_features(CONTEXT, candidate)
    assert all(math.isfinite(value) for value in features.values())
    for name, value in (("entropy", entropy), ("least", least), ("negative", look)):
        assert (name in features) == (value is not None and math.isfinite(value))
    rated = Correctness({"text": head("log_prob", "entropy", "least", "negative")})
    (one,) = rated.rate(CONTEXT, [candidate])
    assert one.p_right is not None
    assert 0.0 <= one.p_right <= 1.0


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf, 0.1])
def test_one_value_that_cannot_be_makes_no_figure_of_it(bad: float) -> None:
    assert TokenFigures.of([-0.5, bad, -0.1], [0.2]) == TokenFigures(highest=0.2)
    if bad != 0.1:
        told = TokenFigures.of([-0.5], [0.2, bad])
        assert told is not None
        assert (told.least, told.highest) == (-0.5, None)


def test_a_feature_moves_p_right_by_its_weight() -> None:
    rater = Correctness({"text": head("negative", weight=-2.0)})
    plain, odd = (replace(Candidate("x", "1"), looks={"negative": v}) for v in (0.0, 1.0))
    before, after = rater.rate(CONTEXT, [plain, odd])
    assert before.p_right == pytest.approx(0.5)
    assert after.p_right == pytest.approx(1.0 / (1.0 + math.exp(2.0)))


def test_no_action_is_never_right_and_an_unknown_way_is_not_rated() -> None:
    rater = Correctness({"python": head("negative")})
    none, text = rater.rate(CONTEXT, [Candidate("x", None), Candidate("x", "1")])
    assert (none.p_right, text.p_right) == (0.0, None)


def test_the_way_is_told_by_the_tools_that_ran() -> None:
    ran = Candidate("x", "1", tool_uses=(ToolUse("python", "1", "1"),))
    assert way_of(CONTEXT, ran) == "python"
    assert way_of(CONTEXT, Candidate("x", "1")) == "text"
    choice = replace(CONTEXT, observation=Observation("", actions=("a", "b")))
    assert way_of(choice, Candidate("", "a", probability=0.4)) == "choice"


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6))
def test_a_choice_is_told_by_its_place_among_the_options(weights: list[float]) -> None:
    shares = [weight / math.fsum(weights) for weight in weights]
    options = {str(number): share for number, share in enumerate(shares)}
    context = replace(CONTEXT, evidence=Evidence(probe=Probe(options=options)))
    told = [candidate_features(context, Candidate("", action)) for action in options]
    best = max(range(len(shares)), key=shares.__getitem__)
    assert told[best]["rank"] == 0.0
    assert told[best]["lead"] >= 0.0
    for one, share in zip(told, shares, strict=True):
        assert one["rank"] == math.log1p(sum(other > share for other in shares))
        assert (one["lead"] >= 0.0) == (one["rank"] == 0.0)
        assert 0.0 <= one["option_entropy"] <= 1.0


@pytest.mark.parametrize("options", [{}, {"a": 0.9, "b": 0.9}, {"a": math.nan, "b": 0.5}, {"b": 1}])
def test_options_that_are_no_distribution_or_lack_the_action_tell_nothing(
    options: dict[str, float],
) -> None:
    context = replace(CONTEXT, evidence=Evidence(probe=Probe(options=options)))
    told = candidate_features(context, Candidate("", "a"))
    assert not {"rank", "lead", "option_entropy"} & told.keys()


def test_features_of_tokens_and_looks_are_told_apart() -> None:
    assert {group_of(name) for name in TOKENS} == {"tokens"}
    assert group_of("negative") == group_of("unused") == "looks"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"std": np.zeros(1)}, "std > 0"),
        ({"mean": np.zeros(2)}, "expected 1 numbers"),
        ({"layers": ()}, "expected 1"),
        ({"layers": (Layer(np.zeros((3, 1)), np.zeros(1)),)}, r"expected \(2, 1\)"),
        ({"layers": (Layer(np.full((2, 1), np.nan), np.zeros(1)),)}, "not finite"),
        ({"layers": (Layer(np.full((2, 1), 3e38), np.zeros(1)),)}, "a weight of 3e.38, expected"),
    ],
)
def test_a_head_that_does_not_fit_together_is_refused(broken: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        replace(head("negative"), **broken)  # type: ignore[arg-type]


def test_correctness_needs_a_head() -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        Correctness({})
