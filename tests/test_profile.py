"""A profile predicts by its law, is kept in the cache, and says what an allocation costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.laws import CARD, law

from amp.errors import InvalidInputError, MissingDependencyError
from amp.latency import CostModel, Lengths, Measurement, Profile, load_profile
from amp.profiling import fit_profile
from amp.types import Allocation, Usage


def test_between_batches_the_step_is_a_line_and_beyond_them_samples_wait() -> None:
    profile = law(0, 0, 0, 0, [0.1, 0.2, 0.6, 0.8])
    assert [profile.step(n) for n in (1, 2, 3, 4, 6, 8, 16)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 1.6]
    )


numbers = st.floats(0.0, 1.0)


@given(
    st.builds(
        lambda call, prompt, pair, other, rises: law(
            call, prompt, pair, other, [sum(rises[: i + 1]) for i in range(4)]
        ),
        *(numbers, numbers, numbers, numbers),
        st.lists(numbers, min_size=4, max_size=4),
    ),
    *(st.integers(1, 500), st.integers(0, 500), st.integers(1, 6), st.integers(0, 6)),
)
def test_a_call_never_takes_less_the_more_the_machine_does_beside_it(
    profile: Profile, prompt: int, written: int, n: int, beside: int
) -> None:
    alone, busy, busier = (
        profile.seconds(prompt, written, n, beside=others) for others in (0, beside, beside + 1)
    )
    assert alone == profile.seconds(prompt, written, n)
    assert alone <= busy <= busier


def test_what_an_allocation_is_expected_to_take_is_that_of_the_present_load() -> None:
    profile = law(0, 0, 0, 0, [0.1, 0.2, 0.6, 0.8])
    idle = CostModel(CARD, Lengths(0, 10, 10), profile)
    assert idle.expected(Allocation(depth=0)).seconds == pytest.approx(1.0)
    busy = replace(idle, beside=3)
    assert busy.expected(Allocation(depth=0)).seconds == pytest.approx(6.0)


# ------------------------------------------------------------------ on disk


def test_a_profile_reads_back_as_it_was_written(tmp_path: Path) -> None:
    calls = [Measurement(1, 100, 0, 1, 1, 1.1), Measurement(4, 100, 99, 80, 25, 2.7)]
    profile = fit_profile(CARD, calls, threads=3)
    path = profile.save(tmp_path)
    assert "/" not in path.name.removesuffix(".json")
    assert load_profile(CARD, 3, tmp_path) == profile
    assert profile.measurements == tuple(calls)


def test_another_model_or_machine_has_no_profile(tmp_path: Path) -> None:
    fit_profile(CARD, [Measurement(1, 10, 0, 1, 1, 1.0)], threads=3).save(tmp_path)
    for card, threads in ((replace(CARD, sha256="cd" * 32), 3), (CARD, 2)):
        with pytest.raises(MissingDependencyError, match="run: amp profile a/model"):
            load_profile(card, threads, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"measurements": [1]}'])
def test_a_damaged_profile_says_what_to_run(tmp_path: Path, text: str) -> None:
    path = fit_profile(CARD, [Measurement(1, 10, 0, 1, 1, 1.0)], threads=3).save(tmp_path)
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"damaged .*; run: amp profile a/model"):
        load_profile(CARD, 3, tmp_path)


def test_profiles_are_kept_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = fit_profile(CARD, [Measurement(1, 10, 0, 1, 1, 1.0)]).save()
    assert path.parent == tmp_path / "amp" / "profiles"
    assert load_profile(CARD).model == CARD.name


# ------------------------------------------------------------------ what an allocation costs

LENGTHS = Lengths(prompt_tokens=100, answer_tokens=20, thought_tokens=10)
PROFILE = law(0.5, 0.01, 0, 0, [0.1, 0.1, 0.2, 0.4])


def cost(allocation: Allocation, choice: bool = False) -> Usage:
    return CostModel(CARD, LENGTHS, PROFILE).expected(allocation, choice=choice)


def test_beams_share_their_prompt_and_their_time() -> None:
    one, two = cost(Allocation(temperature=0.7)), cost(Allocation(temperature=0.7, beam_width=2))
    assert (one.model_calls, one.prompt_tokens, one.completion_tokens) == (1, 100, 20)
    assert (two.model_calls, two.prompt_tokens, two.completion_tokens) == (1, 100, 40)
    assert one.seconds == two.seconds == pytest.approx(0.5 + 1.0 + 20 * 0.1)
    assert cost(Allocation(beam_width=8)) == cost(Allocation())  # greedy beams are one


def test_thoughts_lengthen_every_answer_of_an_open_step() -> None:
    thinking = cost(Allocation(depth=3, temperature=0.7, beam_width=2))
    assert thinking.completion_tokens == 2 * (3 * 10 + 20)


def test_acting_at_once_in_a_choice_is_one_token_however_many_draws() -> None:
    at_once = cost(Allocation(temperature=0.7, beam_width=4), choice=True)
    assert (at_once.model_calls, at_once.tokens) == (1, 101)
    thinking = cost(Allocation(depth=1, temperature=0.7, beam_width=2), choice=True)
    assert (thinking.model_calls, thinking.completion_tokens) == (3, 2 * 10 + 2)


def test_verification_adds_its_calls_by_level() -> None:
    calls = [cost(Allocation(verification=level)).model_calls for level in range(4)]
    assert calls == [1, 1, 2, 5]
    many = Allocation(temperature=0.7, beam_width=8, verification=2)
    assert cost(many).model_calls == 1 + 3


def test_dollars_come_from_the_card_and_seconds_from_the_profile() -> None:
    paid = replace(
        CARD, dollars_per_million_prompt_tokens=1.0, dollars_per_million_completion_tokens=4.0
    )
    usage = CostModel(paid, LENGTHS).expected(Allocation())
    assert usage.dollars == pytest.approx((100 * 1.0 + 20 * 4.0) / 1e6)
    assert usage.flops == 2 * 1000 * 120
    assert usage.seconds == 0.0
