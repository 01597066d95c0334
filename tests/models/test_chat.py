from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from amp.models.base import Message, Prompt
from amp.models.chat import as_messages, base_seed, upper_bound, without_prefix

ASKED = Prompt((Message("system", "s"), Message("user", "u"), Message("assistant", "So: ")), 8)


def test_a_prefix_goes_as_it_is_where_the_server_continues_it() -> None:
    assert as_messages(ASKED, prefix=True)[-1] == {"role": "assistant", "content": "So: "}


def test_elsewhere_the_last_user_message_asks_to_continue_it() -> None:
    messages = as_messages(ASKED, prefix=False)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[-1]["content"].startswith("u\n\n")
    assert "So: " in messages[-1]["content"]


def test_without_a_user_message_there_is_one_for_it() -> None:
    prompt = Prompt((Message("system", "s"), Message("assistant", "So: ")), 8)
    assert [m["role"] for m in as_messages(prompt, prefix=False)] == ["system", "user"]


def test_a_repeated_prefix_is_removed() -> None:
    assert without_prefix("So: yes", ASKED) == "yes"
    assert without_prefix("yes", ASKED) == "yes"
    assert without_prefix("So: yes", Prompt(ASKED.messages[:2], 8)) == "So: yes"


@given(st.integers(), st.integers(0, 10_000))
def test_no_sample_gets_the_seed_that_means_at_random(seed: int, index: int) -> None:
    assert 0 <= base_seed(seed) + index < 2**32 - 1


def test_neighbouring_seeds_are_far_apart() -> None:
    seeds = sorted(base_seed(seed) for seed in range(100))
    assert min(b - a for a, b in itertools.pairwise(seeds)) > 256


def test_the_bound_counts_bytes() -> None:
    assert upper_bound([{"role": "user", "content": "日本"}]) >= 6
