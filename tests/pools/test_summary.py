"""Figures of a pool: what must hold for any, and a pool small enough to work out by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.files import DATA
from tests.fakes.pools import rows, sample, write_prices, write_rows

from amp.pools import find_pools, read_pool
from amp.pools.summary import PoolSummary, summarize_pool


def summary_of(folder: Path, lines: list[Any]) -> PoolSummary:
    return summarize_pool(read_pool(write_rows(folder, lines), prices=write_prices(folder)))


@st.composite
def letters(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Tasks whose answers are letters, some of them left out."""
    lines = []
    for number in range(draw(st.integers(1, 5))):
        gold = draw(st.sampled_from("ABC"))
        given_answers = st.lists(st.none() | st.sampled_from("ABCD"), min_size=1, max_size=4)
        arms = draw(st.dictionaries(st.sampled_from(["small", "large"]), given_answers, min_size=1))
        samples = {
            arm: [sample(answer, int(answer == gold)) for answer in answers]
            for arm, answers in arms.items()
        }
        kind = draw(st.sampled_from("xy"))
        lines.append({"id": number, "kind": kind, "gold": gold, "arms": samples})
    return lines


@settings(max_examples=30)
@given(letters())
def test_rates_are_in_order(lines: list[Any]) -> None:
    with TemporaryDirectory() as name:
        summary = summary_of(Path(name), lines)
    for arm in summary.arms:
        assert 0 <= arm.single <= arm.any_right <= summary.oracle.success * len(lines) / arm.tasks
        assert 0 <= arm.vote <= arm.any_right
        assert math.isnan(arm.agreement) or 0 <= arm.agreement <= 1
        assert math.isnan(arm.luck) or 0 <= arm.luck <= 1
        if arm.samples == arm.tasks:
            assert arm.vote == pytest.approx(arm.single)
            assert arm.any_right == pytest.approx(arm.single)
    assert sum(arm.samples for arm in summary.arms) == summary.samples


def test_a_small_pool_worked_out_by_hand(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, rows())
    assert (summary.tasks, summary.kinds, summary.groups, summary.samples) == (4, 2, 3, 18)
    short, long, large = summary.arms
    # 18 18 17, 54 54 -, A B C, B; gold 18, 56, B, A.
    assert short.single == pytest.approx((2 / 3 + 0 + 1 / 3 + 0) / 4)
    assert short.vote == pytest.approx((1 + 0 + 1 / 3 + 0) / 4)
    assert short.any_right == pytest.approx(2 / 4)
    assert short.agreement == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert short.luck == pytest.approx((0 + 0 + 1 + 1) / 4)  # another's gold: A in A B C, B in B
    assert (long.tasks, long.vote, long.any_right) == (2, 0.75, 1.0)
    assert (large.single, large.completion_tokens) == (0.75, 10.0)
    assert summary.oracle.success == 1.0
    cheapest = 7.75 + 20, 77.5 + 200, 20 + 20, 300 + 200
    assert summary.oracle.dollars == pytest.approx(sum(cheapest) / 4 / 1e6)
    # Short is right in 1 of samples 1 and 3 of sums/1, long in sample 1 of choices/1.
    assert summary.split_half is not None
    assert summary.split_half.success == pytest.approx((1 + 0 + 1) / 3)


def test_the_split_half_oracle_is_scored_on_samples_that_it_did_not_choose_by(
    tmp_path: Path,
) -> None:
    arms = {
        "small": [sample("A", 1), sample("B", 0), sample("A", 1), sample("A", 1)],
        "large": [sample("B", 0), sample("A", 1), sample("A", 1), sample("A", 1)],
    }
    summary = summary_of(tmp_path, [{"id": 1, "gold": "A", "arms": arms}])
    assert summary.split_half is not None
    assert summary.split_half.success == 0.5  # the small one: right in 1 and 3, half of 2 and 4
    assert summary.split_half.dollars == pytest.approx(20 / 1e6)


def test_guessing_pays_where_right_answers_are_few(tmp_path: Path) -> None:
    lines = [
        {"id": n, "gold": "AB"[n % 2], "arms": {"small": [sample("A", int(n % 2 == 0))] * 2}}
        for n in range(10)
    ]
    space = summary_of(tmp_path, lines).answer_space
    assert space is not None
    assert (space.tasks, space.answers, space.single, space.any_right) == (10, 2.0, 0.5, 0.75)
    assert summary_of(tmp_path, lines[:6]).answer_space is None  # more answers may be unseen


def test_where_no_sample_has_an_answer_a_vote_is_one_of_them(tmp_path: Path) -> None:
    lines = [{"id": 1, "arms": {"small": [sample(None, 1), sample(None, 0)]}}]
    (arm,) = summary_of(tmp_path, lines).arms
    assert (arm.vote, arm.any_right) == (0.5, 1.0)
    assert math.isnan(arm.agreement)


def test_arms_of_one_sample_have_no_split_half_oracle(tmp_path: Path) -> None:
    lines = [{"id": 1, "arms": {"small": [sample("A", 1)], "large": [sample("A", 1)]}}]
    assert summary_of(tmp_path, lines).split_half is None


@pytest.mark.data("pools")
@pytest.mark.slow
def test_the_real_pools_have_the_rates_that_their_makers_counted() -> None:
    row = re.compile(
        r"^ +(?P<arm>\S+) +n= *\d+ samples +\S+ single (\S+) majority (\S+) any (\S+)", re.MULTILINE
    )
    compared = 0
    for path in find_pools(DATA / "pools"):
        arms = {arm.name: arm for arm in summarize_pool(read_pool(path, keep_good=True)).arms}
        # Theirs are of whole sets, of which each pool has three quarters.
        tolerance = 0.05 if "game24" in str(path) else 0.03
        for single, vote, any_right in (
            ((arms[arm].single, single), (arms[arm].vote, vote), (arms[arm].any_right, any_right))
            for arm, single, vote, any_right in row.findall(
                (path.parent / "README.txt").read_text()
            )
        ):
            compared += 1
            for ours, theirs in (single, any_right):
                assert ours == pytest.approx(float(theirs), abs=tolerance), path
            # Answers that are not recorded cannot vote; theirs then count as wrong.
            assert vote[0] == pytest.approx(float(vote[1]) or single[0], abs=tolerance), path
    assert compared == 99
