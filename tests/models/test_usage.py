"""What a server says of its cost is taken only where it can be true; never below what it was."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.models.base import Message, Prompt, Request
from amp.models.bill import Came, Stated, believed, number, size
from amp.types import Usage

REQUEST = Request(Prompt((Message("user", "How many eggs are in seven boxes?"),), 50), n=2)
CAME = Came(samples=2, said_bytes=90, thought_bytes=0)
BOUND = 40
HONEST = Stated(prompt=12, cached=4, completion=30, reasoning=10, total=42)

ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, False, "12", "", [], {}, [3], math.nan, math.inf, -math.inf]),
    st.integers(max_value=-1),
    st.integers(min_value=10**8),
    st.floats(max_value=-0.5, allow_nan=False),
    st.just(2.5),
)
"""What is no number of tokens."""


def cost(stated: Stated, came: Came = CAME) -> Usage:
    return believed(stated, came, REQUEST, BOUND, "m")


@given(ODD)
def test_what_is_no_count_is_no_number(value: object) -> None:
    assert number(value) is None


@given(st.integers(0, 10**7))
def test_a_count_is_a_number_however_it_is_written(tokens: int) -> None:
    assert number(tokens) == number(float(tokens)) == tokens


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: ODD | st.just(0) for name in ("prompt", "cached", "completion", "reasoning")
        }
        | {"total": ODD},
    )
)
def test_spoiled_figures_never_lower_a_cost(spoiled: dict[str, Any]) -> None:
    """The honest server's own figures are what was really spent."""
    found = cost(dataclasses.replace(HONEST, **spoiled))
    assert found.prompt_tokens >= 12
    assert found.completion_tokens >= 30
    assert 0 <= found.reasoning_tokens <= found.completion_tokens
    uncached = found.prompt_tokens - found.cached_prompt_tokens
    assert uncached >= 8
    if (found.prompt_tokens, found.completion_tokens) != (12, 30):
        assert found.estimated_calls == 1


@given(st.integers(1, BOUND), st.integers(0, BOUND), st.integers(1, 100), st.integers(0, 100))
def test_what_can_be_true_is_taken_to_the_token(
    prompt: int, cached: int, completion: int, reasoning: int
) -> None:
    cached, reasoning = min(cached, prompt), min(reasoning, completion)
    found = cost(Stated(prompt, cached, completion, reasoning, prompt + completion))
    assert found == Usage(1, prompt, cached, completion, reasoning_tokens=reasoning)


def test_more_cached_than_the_prompt_makes_nothing_cheap() -> None:
    found = cost(dataclasses.replace(HONEST, cached=5000))
    assert (found.prompt_tokens, found.cached_prompt_tokens) == (BOUND, 0)
    assert found.estimated_calls == 1


def test_no_tokens_for_a_text_are_the_cap_of_each_sample() -> None:
    found = cost(dataclasses.replace(HONEST, completion=0, reasoning=0, total=12))
    assert (found.completion_tokens, found.estimated_calls) == (100, 1)


def test_no_tokens_for_no_text_are_no_tokens() -> None:
    found = cost(Stated(12, None, 0, None, 12), Came(1, 0, 0))
    assert found == Usage(1, 12)


def test_thinking_that_is_stated_apart_or_only_in_the_sum_is_paid_for() -> None:
    apart = cost(Stated(12, 0, 30, 80, None))
    in_the_sum = cost(Stated(12, 0, 30, None, 12 + 110))
    assert apart.completion_tokens == in_the_sum.completion_tokens == 110
    assert apart.estimated_calls == in_the_sum.estimated_calls == 1


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_more_than_was_asked_for_is_charged_and_marked(prompt: int, completion: int) -> None:
    """Some servers overrun the cap, or add to the prompt; others lie."""
    found = cost(Stated(prompt, None, completion, None))
    assert found.prompt_tokens >= prompt
    assert found.completion_tokens >= completion
    assert found.estimated_calls == 1 or (prompt <= BOUND and completion <= 100)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "text", "text": "abcd"},
        [{"type": "text", "text": {"value": "abcd"}}],
        [{"type": "thinking", "signature": "s" * 99, "thinking": [{"text": "abcd"}]}],
        [{"type": "tool_use", "name": "f", "input": {"a": "ab", "b": ["cd"]}}],
        "abcd",
    ],
)
def test_every_text_in_parts_of_any_form_counts(content: Any) -> None:
    assert size(content) == 4
