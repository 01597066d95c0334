"""Plans as timelines: each step is shown or counted, and what differs between runs is marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.runs import EVIL, evil, run, step

from amp.report.report import make_report
from amp.report.runs import Run
from amp.report.timeline import Usual, timelines
from amp.report.words import brought, in_short
from amp.types import UNAIDED, Allocation, Candidate, Complexity, Episode, StepRecord

ACTIONS = st.lists(st.sampled_from("abc"), min_size=1, max_size=5)


def planned(name: str, plans: Sequence[str], depth: int = 0) -> Run:
    """A run with an episode for each plan, whose letters are its actions."""
    made = run(name, [plan.endswith("a") for plan in plans], 100)
    return replace(made, episodes=tuple(map(acting, made.episodes, plans, [depth] * len(plans))))


def acting(episode: Episode, plan: str, depth: int) -> Episode:
    def one(letter: str) -> StepRecord:
        base = step(100, f"go to {letter}")
        (only,) = base.rounds
        return replace(base, rounds=(replace(only, allocation=Allocation(depth)),))

    return replace(episode, steps=tuple(map(one, plan)))


def rows(html: str) -> list[str]:
    """The steps of a part of a page."""
    return re.findall(r"<li.*?(?=<li|</ol>)", html, re.DOTALL)


@given(st.lists(st.tuples(ACTIONS, ACTIONS), min_size=1, max_size=4), st.data())
def test_every_episode_is_shown_or_counted(
    plans: list[tuple[list[str], list[str]]], data: st.DataObject
) -> None:
    runs = [planned(f"run {at}", ["".join(pair[at]) for pair in plans]) for at in (0, 1)]
    sizes = st.integers(0, 30_000)
    made = timelines(make_report(runs), runs, None, data.draw(sizes), data.draw(sizes))
    html = "".join(made.plans)
    full, lines = html.count(' id="trace-'), html.count('<ol class="timeline lines">')
    total = 2 * len(plans)
    assert len(made.full) == full
    told = re.search(
        r"For size (\d+) are .*, (\d+) with a line a step, (\d+) not at all", made.note
    )
    if told is None:
        assert (full, lines) == (total, 0)
        assert "All are shown" in made.note
    else:
        assert [*map(int, told.groups())] == [full, lines, total - full - lines]
    shown = len(re.findall(r'<section class="?episode', html))
    assert shown == full + lines
    every = sum(len(one) for pair in plans for one in pair)
    assert len(rows(html)) == every or total > full + lines


@given(ACTIONS, ACTIONS, st.integers(0, 1))
@pytest.mark.parametrize("full_bytes", [0, 1_000_000])
def test_steps_are_the_same_where_all_runs_allocate_and_do_the_same(
    full_bytes: int, one: list[str], two: list[str], depth: int
) -> None:
    runs = [planned("one", ["".join(one)]), planned("two", ["".join(two)], depth)]
    made = timelines(make_report(runs), runs, None, full_bytes)
    (html,) = made.plans
    expected = [
        at < min(len(one), len(two)) and one[at] == two[at] and depth == 0
        for way in (one, two)
        for at in range(len(way))
    ]
    assert [bool(re.match('<li class="?same', each)) for each in rows(html)] == expected
    assert made.parting == (not all(expected))
    assert html.startswith('<details class="plan same">') == all(expected)
    told = re.search(r"the runs (.*?)</span>", html)
    assert told is not None
    if one != two:
        at = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
        number = 1 + (min(len(one), len(two)) if at is None else at)
        assert told[1] == f"act differently from step {number} on"
    else:
        assert told[1] == ("allocate differently from step 1 on" if depth else "do the same")


def test_one_run_alone_has_nothing_to_part_from() -> None:
    runs = [planned("one", ["ab", "ba"])]
    made = timelines(make_report(runs), runs)
    assert not made.parting
    assert "the runs" not in "".join(made.plans)


def test_tasks_on_which_runs_differ_in_success_come_before_the_others() -> None:
    runs = [planned("one", ["a", "b", "a", "a"]), planned("two", ["a", "b", "a", "b"])]
    report = replace(make_report(runs), failures=())
    ids = [re.findall(r"<b>(t\d)</b>", plan)[0] for plan in timelines(report, runs).plans]
    assert ids == ["t3", "t0", "t1", "t2"]


@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 2)), min_size=2, max_size=20))
def test_the_largest_feature_is_the_furthest_above_its_mean(values: list[float]) -> None:
    usual = Usual(Complexity(0.0, {"wide": 100 * v, "flat": 7.0}) for v in values)
    top = usual.largest(Complexity(0.0, {"wide": 100 * max(values), "flat": 7.0}))
    assert top.startswith("wide" if len(set(values)) > 1 or 100 * values[0] > 7.0 else "flat")


def test_features_on_any_scale_can_be_the_largest() -> None:
    steps = [Complexity(0.0, {"words": 50.0 + n, "entropy": 0.1 * (n == 9)}) for n in range(10)]
    assert Usual(iter(steps)).largest(steps[9]) == "entropy 0.1, words 59"
    assert Usual(iter(steps[:1])).largest(steps[0]) == "words 50, entropy 0"


def test_what_a_round_brought_counts_votes_and_what_is_of_no_use() -> None:
    candidates = [Candidate("x", action) for action in ("go", "stop", "go", None, "go")]
    candidates.append(replace(candidates[0], broken_rule="no"))
    told = brought(candidates)
    assert told == "go (3 of 6), stop, 1 without an action, 1 against a rule"
    assert brought([Candidate("x", "go", probability=0.5)]) == "go, probability 0.50"
    assert brought([]) == "nothing"


@pytest.mark.parametrize("full_bytes", [0, 1_000_000])
def test_texts_of_others_are_never_markup(full_bytes: int) -> None:
    runs = [evil()]
    html = "".join(timelines(make_report(runs), runs, None, full_bytes).plans)
    assert "<img" not in html
    assert "<script" not in html
    assert html.count(EVIL.replace("<", "&lt;").replace(">", "&gt;")) > 3


def test_an_allocation_in_short_says_what_it_does_without() -> None:
    unaided = Allocation(tools=frozenset({UNAIDED, "memory"}))
    assert in_short(unaided) == "act at once, with memory, without the help of rules"
    assert in_short(Allocation()) == "act at once"
