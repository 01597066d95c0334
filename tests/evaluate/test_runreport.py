"""What a report says: known figures, and right intervals or a clear word where there is nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.evaluate.reported import episode, run, step

from amp.errors import InvalidInputError
from amp.evaluate.runreport import make_report
from amp.evaluate.runs import Run
from amp.trace import to_json
from amp.types import Episode, Task, Usage

CHEAP = run("cheap", [True] * 4 + [False] * 6, 100)
DEAR = run("dear", [True] * 8 + [False] * 2, 300)
CLEVER = run("clever", [True] * 7 + [False] * 3, 200, adaptive=True)


def test_an_adaptive_run_is_held_against_the_front_at_its_own_cost() -> None:
    curve = make_report([CHEAP, DEAR, CLEVER]).curve
    assert curve is not None
    (gain,) = curve.gains
    assert gain.front == pytest.approx(0.6)  # half-way between 0.4 and 0.8
    assert gain.gain == pytest.approx(0.1)
    assert gain.interval is not None
    assert gain.interval.low <= 0.1 <= gain.interval.high
    # From (0, 0) by (100, 0.4) and (300, 0.8) to 330, by hand.
    fixed, with_it = curve.areas
    assert fixed.average_success == pytest.approx((20 + 120 + 24) / 330)
    assert fixed.hypervolume == pytest.approx((230 * 0.4 + 30 * 0.4) / 330)
    assert with_it.average_success > fixed.average_success


def test_nothing_fixed_is_so_cheap() -> None:
    curve = make_report([DEAR, replace(CHEAP, adaptive=True)]).curve
    assert curve is not None
    assert curve.gains[0].gain is None
    assert curve.gains[0].note == "cheaper than any fixed run"


def test_comparisons_count_and_are_corrected_as_one_family() -> None:
    report = make_report([CHEAP, DEAR, CLEVER], reference="dear")
    assert [one.name for one in report.comparisons] == ["cheap", "clever"]
    cheap = report.comparisons[0]
    assert (cheap.won, cheap.lost, cheap.tasks) == (0, 4, 10)
    assert cheap.p_value == pytest.approx(0.125)
    assert cheap.saving is not None
    assert cheap.saving.share == pytest.approx(2 / 3)
    assert report.family == 4
    assert cheap.holm == pytest.approx(2 * 0.125)  # third of 0.002, 0.002, 0.125 and 1
    assert cheap.saving_holm == pytest.approx(min(1.0, 4 * cheap.saving.p_value))
    assert cheap.detectable is None or 0 < cheap.detectable <= 0.4


def test_parts_tell_the_look_from_candidates_and_tools() -> None:
    verified = Episode(Task("t", "g"), (step(100, verification=2),), True, 1.0, Usage(), "done")
    (line,) = make_report([Run("one", (verified,))]).lines
    parts = {part.name: (part.tokens, part.seconds) for part in line.parts}
    assert parts == {
        "looks": (20, 0.5), "verified candidates": (80, 0.75), "tools": (0, 0.25)
    }  # fmt: skip


def test_the_dearest_failures_come_first() -> None:
    report = make_report([CHEAP, DEAR])
    assert [one.run for one in report.failures] == ["dear"] * 2 + ["cheap"] * 6
    assert report.failures[0].place == 8


@pytest.mark.parametrize("won", [True, False])
def test_all_alike_have_an_interval_and_no_difference(won: bool) -> None:
    report = make_report([run("one", [won] * 9, 100), run("two", [won] * 9, 100)])
    interval = report.lines[0].success_interval
    assert interval is not None
    assert (interval.high == 1.0 and interval.low > 0.6) if won else interval.high < 0.4
    assert report.comparisons[0].p_value == 1.0
    assert report.comparisons[0].detectable is None
    json.loads(to_json(report))


def test_one_task_has_no_interval_over_tasks_and_says_so() -> None:
    report = make_report([run("one", [True], 100), run("two", [False], 50, adaptive=True)])
    assert report.lines[0].cost_interval is None
    assert report.lines[0].success_interval is not None  # Wilson's, of one
    assert any(note.startswith("one task") for note in report.notes)
    seeds = Run("seeds", tuple(episode("t", True, 10, seed) for seed in range(3)))
    assert make_report([seeds]).lines[0].success_interval is None


def test_seeds_of_a_task_count_by_task_and_tell_its_failure_rate() -> None:
    def policy(name: str, adaptive: bool) -> Run:
        episodes = [
            episode(f"t{task}", seed >= task % 4, 100 + 50 * (task % 4) * adaptive, seed)
            for task in range(12)
            for seed in range(3)
        ]
        return Run(name, tuple(episodes), adaptive)

    report = make_report([policy("fixed", False), policy("amp", True)])
    assert report.comparisons[0].test == "sign flips over tasks"
    assert report.lines[0].seeds == 3
    tokens = next(one for one in report.adapted if one.amount == "tokens")
    assert tokens.spearman.value == pytest.approx(1.0)
    assert "3 seeds of fixed" in tokens.against


def test_episodes_without_steps_are_reported_as_far_as_they_tell() -> None:
    bare = tuple(
        Episode(Task(f"t{i}", ""), (), i > 2, 0.0, Usage(1, 10 + i), "done") for i in range(9)
    )
    report = make_report([Run("one", bare, adaptive=False), Run("two", bare)])
    assert report.lines[0].parts == ()
    assert report.comparisons[0].won == 0


def test_what_a_reader_has_to_know_is_said() -> None:
    half = replace(run("half", [True] * 3, 10), planned=5)
    unjudged = replace(half.episodes[0], success=None, ended="model error")
    notes = make_report([replace(half, episodes=(unjudged, *half.episodes[1:]))]).notes
    assert "half: 3 of 5 episodes are counted here" in notes
    assert any("without a verdict" in note for note in notes)
    assert any("model error" in note for note in notes)


def test_nothing_spent_draws_no_curve_and_bad_names_are_refused() -> None:
    report = make_report([CHEAP, DEAR], cost="dollars")
    assert report.curve is None
    assert report.comparisons[0].saving is None
    with pytest.raises(InvalidInputError, match="reference 'deer' is none of the runs"):
        make_report([CHEAP, DEAR], reference="deer")
