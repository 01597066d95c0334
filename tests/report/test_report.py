"""What a report says: known figures, and right intervals or a clear word where there is nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from tests.fakes.runs import episode, run, step

from amp import report as package
from amp.cost import Cost
from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.report import frontier
from amp.report.frontier import performance_curve
from amp.report.metrics import Interval
from amp.report.paired import comparisons
from amp.report.report import make_report
from amp.report.runs import Kind, Run
from amp.trace import to_json
from amp.types import Complexity, Episode, Task, Usage

CHEAP = run("cheap", [True] * 4 + [False] * 6, 100)
DEAR = run("dear", [True] * 8 + [False] * 2, 300)
CLEVER = run("clever", [True] * 7 + [False] * 3, 200, kind="adaptive")


def test_an_adaptive_run_is_held_against_the_front_at_its_own_cost() -> None:
    curve = make_report([CHEAP, DEAR, CLEVER]).curve
    assert curve is not None
    gain, oracle = curve.gains
    assert gain.front == pytest.approx(0.6)  # half-way between 0.4 and 0.8
    assert gain.gain == pytest.approx(0.1)
    assert gain.interval is not None
    assert gain.interval.low <= 0.1 <= gain.interval.high
    # The oracle takes the cheap run where it succeeds or none does, the dear one on four tasks.
    assert oracle.front == pytest.approx(0.4 + 0.8 * 0.2)
    assert gain.share == pytest.approx(0.1 / 0.24)
    # The front succeeds so often for 250 tokens, and the oracle costs 180.
    assert gain.saving_share == pytest.approx((250 - 200) / (250 - 180))
    assert oracle.share == oracle.saving_share == 1.0
    # From (0, 0) by (100, 0.4) and (300, 0.8) to 330, by hand.
    fixed, with_it = curve.areas
    assert fixed.average_success == pytest.approx((20 + 120 + 24) / 330)
    assert fixed.hypervolume == pytest.approx((230 * 0.4 + 30 * 0.4) / 330)
    assert with_it.average_success > fixed.average_success


def test_nothing_fixed_is_so_cheap() -> None:
    curve = make_report([DEAR, replace(CHEAP, kind="adaptive")]).curve
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


def test_the_oracle_is_the_cheapest_fixed_run_that_succeeds_task_by_task() -> None:
    report = make_report([CHEAP, DEAR, CLEVER])
    assert report.oracle is not None
    assert report.oracle.kind == "oracle"
    assert report.oracle.cost == pytest.approx((6 * 100 + 4 * 300) / 10)
    assert report.oracle.summary.successes == 8
    assert make_report([CHEAP, CLEVER]).oracle is None


def test_without_a_wish_runs_are_held_against_the_best_fixed_one_and_it_is_said() -> None:
    report = make_report([CLEVER, CHEAP, DEAR])
    assert report.reference == "dear"
    assert any("favours it" in note for note in report.notes)
    equal = replace(
        CHEAP, name="equal", episodes=run("equal", [True] * 4 + [False] * 6, 90).episodes
    )
    assert make_report([CHEAP, equal]).reference == "equal"
    assert make_report([CLEVER, CHEAP]).reference == "cheap"
    wished = make_report([CLEVER, CHEAP, DEAR], reference="cheap")
    assert not any("favours it" in note for note in wished.notes)


def test_identical_runs_differ_by_nothing_and_the_oracle_gains_nothing() -> None:
    report = make_report(
        [CHEAP, replace(CHEAP, name="two"), replace(CHEAP, name="three", kind="adaptive")]
    )
    for one in report.comparisons:
        assert (one.won, one.lost, one.p_value, one.holm, one.detectable) == (0, 0, 1.0, 1.0, None)
        assert one.saving is not None
        assert (one.saving.share, one.saving.p_value) == (0.0, 1.0)
        assert one.saving.interval == Interval(0.0, 0.0)
    assert report.curve is not None
    assert [gain.gain for gain in report.curve.gains] == [0.0, 0.0]
    assert [gain.share for gain in report.curve.gains] == [None, None]


def test_complexity_that_is_the_failure_rate_is_calibrated() -> None:
    def told(task: int, score: float, won: bool) -> Episode:
        made = step(100)
        before = replace(made.rounds[0], complexity=Complexity(score))
        return replace(
            episode(f"t{task}", won, 100), steps=(replace(made, rounds=(before, before)),)
        )

    # Of those at 0.25 a quarter fails, of those at 0.75 three quarters.
    episodes = [told(i, 0.25, i % 4 > 0) for i in range(40)]
    episodes += [told(i, 0.75, i % 4 == 0) for i in range(40, 80)]
    (found,) = make_report([Run("amp", tuple(episodes))]).calibrations
    assert found.score == pytest.approx(0.5)
    assert found.failure_rate == pytest.approx(0.5)
    assert [(b.score, b.failure_rate) for b in found.reliability.bins] == [
        (0.25, 0.25),
        (0.75, 0.75),
    ]
    assert found.reliability.calibration_error == pytest.approx(0.0)
    assert found.reliability.brier == pytest.approx(3 / 16)
    assert found.reliability.constant_brier == pytest.approx(1 / 4)
    # Pairs of a failure and a success: 9/16 are in order, 6/16 are ties.
    assert found.auroc.value == pytest.approx(9 / 16 + 6 / 32)
    assert make_report([CHEAP]).calibrations == ()


def test_the_interval_of_a_gain_over_the_front_covers_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frontier, "_RESAMPLES", 200)
    rng, data_sets, tasks, held = np.random.default_rng(8), 200, 40, 0

    def drawn(name: str, rate: float, cost: float, kind: Kind = "fixed") -> Run:
        episodes = [
            bare(f"t{i}", bool(rng.random() < rate), int(cost * rng.lognormal(0, 0.2)))
            for i in range(tasks)
        ]
        return Run(name, tuple(episodes), kind)

    # All costs are drawn alike, so the middle one lies half-way: 0.6 of front, 0.1 gained.
    for _ in range(data_sets):
        runs = [drawn("a", 0.3, 1000), drawn("b", 0.9, 3000), drawn("c", 0.7, 2000, "adaptive")]
        curve = performance_curve(runs, None, lambda e: float(e.usage.tokens))
        assert curve is not None
        interval = curve.gains[0].interval
        assert interval is not None
        held += interval.low <= 0.1 <= interval.high
    assert abs(held / data_sets - 0.95) <= 3 * math.sqrt(0.95 * 0.05 / data_sets)


@pytest.mark.slow
def test_in_null_comparisons_with_the_best_fixed_run_hardly_any_wins() -> None:
    rng, families, false = np.random.default_rng(9), 200, 0
    for _ in range(families):
        rates = rng.beta(2, 1, 40)
        won = rng.random((4, 40)) < rates
        runs = [
            Run(
                f"r{i}",
                tuple(bare(f"t{t}", bool(w), 0) for t, w in enumerate(row)),
                "adaptive" if i > 1 else "fixed",
            )
            for i, row in enumerate(won)
        ]
        best = max(runs[:2], key=lambda run: sum(e.success is True for e in run.episodes))
        rows, family = comparisons(best, runs[2:], lambda e: 0.0)
        assert family == 2
        false += any((row.holm or 0.0) <= 0.05 and row.difference > 0 for row in rows)
    assert false / families <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / families)


def bare(task: str, won: bool, tokens: int) -> Episode:
    return Episode(Task(task, ""), (), won, 0.0, Usage(prompt_tokens=tokens), "done")


def test_parts_tell_the_look_from_candidates_and_tools() -> None:
    verified = Episode(Task("t", "g"), (step(100, verification=2),), True, 1.0, Usage(), "done")
    (line,) = make_report([Run("one", (verified,))]).lines
    parts = {part.name: (part.tokens, part.seconds) for part in line.parts}
    assert parts == {
        "probes": (20, 0.5), "verified candidates": (80, 0.75), "tools": (0, 0.25)
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
    report = make_report([run("one", [True], 100), run("two", [False], 50, kind="adaptive")])
    assert report.lines[0].cost_interval is None
    assert report.lines[0].success_interval is not None  # Wilson's, of one
    assert any(note.startswith("one task") for note in report.notes)
    seeds = Run("seeds", tuple(episode("t", True, 10, seed) for seed in range(3)))
    assert make_report([seeds]).lines[0].success_interval is None


def test_seeds_of_a_task_count_by_task_and_tell_its_failure_rate() -> None:
    def policy(name: str, kind: Kind) -> Run:
        more = 50 * (kind == "adaptive")
        episodes = [
            episode(f"t{task}", seed >= task % 4, 100 + more * (task % 4), seed)
            for task in range(12)
            for seed in range(3)
        ]
        return Run(name, tuple(episodes), kind)

    report = make_report([policy("fixed", "fixed"), policy("amp", "adaptive")])
    assert report.comparisons[0].test == "sign flips over tasks"
    assert report.lines[0].seeds == 3
    tokens = next(one for one in report.adapted if one.amount == "tokens")
    assert tokens.spearman.value == pytest.approx(1.0)
    assert "3 seeds of fixed" in tokens.against


def test_episodes_without_steps_are_reported_as_far_as_they_tell() -> None:
    bare = tuple(
        Episode(Task(f"t{i}", ""), (), i > 2, 0.0, Usage(1, 10 + i), "done") for i in range(9)
    )
    report = make_report([Run("one", bare, "fixed"), Run("two", bare)])
    assert report.lines[0].parts == ()
    assert report.comparisons[0].won == 0


def test_what_a_reader_has_to_know_is_said() -> None:
    half = replace(run("half", [True] * 3, 10), planned=5)
    unjudged = replace(half.episodes[0], success=None, ended="model error")
    notes = make_report([replace(half, episodes=(unjudged, *half.episodes[1:]))]).notes
    assert "half: 3 of 5 episodes are counted here" in notes
    assert any("without a verdict" in note for note in notes)
    assert any("model error" in note for note in notes)


def test_different_limits_are_said() -> None:
    short = replace(DEAR, settings={"limits": {"steps": 12, "tokens": None}})
    notes = make_report([CHEAP, short]).notes
    assert "the runs had different limits (cheap: none; dear: 12 steps)" in notes
    assert not any("limits" in note for note in make_report([CHEAP, DEAR]).notes)


def test_nothing_spent_draws_no_curve_and_bad_names_are_refused() -> None:
    report = make_report([CHEAP, DEAR], cost="written")
    assert report.curve is None
    assert report.comparisons[0].saving is None
    with pytest.raises(InvalidInputError, match="reference 'deer' is none of the runs"):
        make_report([CHEAP, DEAR], reference="deer")


def test_the_package_exports_what_it_says_and_nothing_else() -> None:
    for name in package.__all__:
        assert getattr(package, name).__module__.startswith("amp.report."), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


LOCAL = ModelCard("local", parameters=1_500_000_000)
HOSTED = replace(
    LOCAL,
    dollars_per_million_prompt_tokens=2.0,
    dollars_per_million_cached_tokens=0.2,
    dollars_per_million_completion_tokens=8.0,
)


def test_another_unit_changes_costs_and_never_successes() -> None:
    runs = [replace(one, card=LOCAL) for one in (CHEAP, DEAR, CLEVER)]
    tokens, dollars = make_report(runs), make_report(runs, cost="dollars")
    assert tokens.price == ""
    assert "at the price of Ministral 3B (Mistral" in dollars.price
    assert dollars.price in dollars.notes
    for one, other in zip(tokens.lines, dollars.lines, strict=True):
        assert one.summary.success_rate == other.summary.success_rate
        assert other.cost == pytest.approx(one.cost * 0.1 / 1e6)  # they only read
    for told, again in zip(tokens.comparisons, dollars.comparisons, strict=True):
        assert (told.won, told.lost, told.p_value) == (again.won, again.lost, again.p_value)
        assert told.saving is not None
        assert again.saving is not None
        assert told.saving.share == pytest.approx(again.saving.share)


@pytest.mark.parametrize(
    ("cards", "cost", "said"),
    [
        ((HOSTED, LOCAL), "dollars", "cheap and dear can't be compared in dollars: .* different"),
        ((HOSTED, replace(HOSTED, dollars_per_million_cached_tokens=1.0)), "dollars", "different"),
        ((None, None), "dollars", "dollars of run cheap are not known: it does not say"),
        ((None, None), "flops", "FLOPs of run cheap are not known"),
        ((replace(LOCAL, parameters=None),) * 2, "dollars", "no reference price is known"),
        ((replace(LOCAL, parameters=None),) * 2, "flops", "FLOPs of model local are not known"),
        (
            (replace(HOSTED, dollars_per_million_prompt_tokens=None),) * 2,
            "dollars",
            "no price is known for model local, so it can't be compared in dollars",
        ),
    ],
)
def test_what_cannot_be_known_of_both_sides_alike_is_refused(
    cards: tuple[ModelCard | None, ModelCard | None], cost: Cost, said: str
) -> None:
    runs = [replace(one, card=card) for one, card in zip((CHEAP, DEAR), cards, strict=True)]
    with pytest.raises(InvalidInputError, match=said) as caught:
        make_report(runs, cost=cost)
    assert "\n" not in str(caught.value)
    make_report(runs)  # tokens are always known


def test_a_second_model_has_no_share_in_a_reference_price() -> None:
    run_of_two = replace(CHEAP, card=LOCAL, larger_model="qwen2.5-7b")
    with pytest.raises(InvalidInputError, match=r"and qwen2.5-7b answered, too"):
        make_report([run_of_two], cost="dollars")
