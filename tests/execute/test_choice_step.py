"""A choice is read from the model's probabilities, and drawing respects them."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amp.cost import Ledger
from amp.errors import InvalidInputError
from amp.execute.choice_step import ask, label_probabilities, labels_for, sample_index
from amp.execute.meter import Meter
from amp.models.base import Capabilities, Message, NextToken, Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Limits, Usage

weights = st.lists(st.floats(0, 1), min_size=1, max_size=12)
PROMPT = Prompt((Message("system", "s"), Message("user", "which?")), 1)


def normal(raw: list[float]) -> list[float]:
    assume(sum(raw) > 1e-6)
    return [w / sum(raw) for w in raw]


@given(st.integers(1, 52))
def test_labels_are_distinct_single_characters(count: int) -> None:
    labels = labels_for(count)
    assert len(labels) == len(set(labels)) == count


@pytest.mark.parametrize("count", [0, 53])
def test_a_number_of_options_without_labels_is_refused(count: int) -> None:
    with pytest.raises(InvalidInputError, match=f"{count} options"):
        labels_for(count)


@given(weights, st.floats(0.05, 2), st.floats(0.01, 1), st.integers())
def test_draws_come_from_the_nucleus(
    raw: list[float], temperature: float, top_p: float, seed: int
) -> None:
    p = normal(raw)
    chosen = sample_index(p, temperature, top_p, random.Random(seed))
    assert p[chosen] > 0.0
    # Whatever is drawn, the options that are likelier hold less than top_p together.
    tempered = [w ** (1 / temperature) if w > 0 else 0.0 for w in p]
    likelier = sum(w for w in tempered if w > tempered[chosen])
    assert likelier < top_p * sum(tempered) * (1 + 1e-9) or likelier == 0.0


@given(weights, st.integers())
def test_greedy_takes_the_likeliest(raw: list[float], seed: int) -> None:
    p = normal(raw)
    assert p[sample_index(p, 0.0, 1.0, random.Random(seed))] == max(p)


def test_tokens_with_white_space_count_for_their_label() -> None:
    told = NextToken({"1": math.log(0.2), " 1": math.log(0.2), "2": math.log(0.1)}, Usage())
    assert label_probabilities(told, "12") == pytest.approx([0.8, 0.2])
    assert label_probabilities(told, "34") is None


async def test_a_model_without_log_probs_is_sampled_and_the_notes_say_so() -> None:
    model = ScriptedModel(["2", "2", "1", "2", "so"], capabilities=Capabilities())
    meter = Meter(model, Ledger(Limits()))
    assert await ask(meter, PROMPT, "12") == pytest.approx([0.25, 0.75])
    assert meter.take_notes() == ("frequencies in 5 samples for next-token probabilities",)
    assert len(model.probes) == 0
