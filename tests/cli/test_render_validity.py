"""A validity report in a terminal: figures stay whole, nothing is hidden that has to be seen."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from amp.cli.render import comparison_table, reliability_table, report_view, score_table
from amp.report.metrics import Interval
from amp.report.validity import Difference, Estimate, Importance, Oriented, reliability
from amp.report.validity_report import Kind, ScoreLine, Stage, ValidityReport


def shown(what: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line(name: str, kind: Kind, value: float | None = 0.7, note: str = "") -> ScoreLine:
    interval = None if value is None else Interval(value - 0.05, value + 0.05)
    estimate = Estimate(value, interval, 40, 0, note)
    correlation = Estimate(-0.3, Interval(-0.4, -0.2), 40)
    return ScoreLine(name, kind, -1 if name == "down" else 1, estimate, correlation)


def test_a_line_of_a_score_says_how_valid_it_is_and_which_way_it_points() -> None:
    text = shown(score_table([line("down", "feature"), line("learned", "scorer", 0.42)]))
    first, second = text.splitlines()[1:3]
    assert first.split() == [
        "down", "(inverted)", "feature", "40", "0.70", "0.65-0.75", "-0.30", "███████░░░",
    ]  # fmt: skip
    assert second.split()[:5] == ["learned", "scorer", "40", "0.42", "0.37-0.47"]


def test_a_short_table_leaves_out_features_alone_and_says_how_many() -> None:
    lines = [line(f"feature{i}", "feature") for i in range(5)]
    lines += [line("constant", "baseline", 0.5), line("weighted", "scorer", 0.4)]
    text = shown(score_table(lines, features=2))
    for name in ("feature0", "feature1", "constant", "weighted"):
        assert name in text
    assert "feature2" not in text
    assert "3 more features are not shown" in text
    assert "not shown" not in shown(score_table(lines))


def test_figures_stay_whole_in_a_narrow_terminal() -> None:
    text = shown(score_table([line("a_feature_with_a_very_long_name" * 2, "feature")]), 80)
    for figure in ("0.70", "0.65-0.75", "-0.30"):
        assert figure in text
    assert "…" not in text


def test_what_is_not_defined_is_said_instead_of_a_figure() -> None:
    note = "not defined: every row is a failure"
    text = shown(score_table([line("x", "feature", None, note)]), 120)
    assert note in text
    assert "░" not in text
    unknown = Difference(Oriented("a"), Oriented("b"), Estimate(None, note=note))
    assert note in shown(comparison_table([unknown]), 120)
    assert "not defined: no row has it" in shown(reliability_table("a", reliability([], [], None)))


def test_a_comparison_shows_its_sign() -> None:
    estimate = Estimate(0.1, Interval(-0.02, 0.2), 40)
    text = shown(comparison_table([Difference(Oriented("a"), Oriented("b", -1), estimate, 0.04)]))
    assert "b (inverted)" in text
    assert "+0.100" in text
    assert "-0.020 to +0.200" in text
    assert "4.0%" in text


def test_a_diagram_marks_the_score_in_the_bar_of_failures() -> None:
    text = shown(reliability_table("learned", reliability([0.0, 1.0] * 8, [True, True] * 8, 0.5)))
    low, high = (row.split()[-1] for row in text.splitlines()[2:4])
    assert low == "┃" + "█" * 29
    assert high == "█" * 29 + "┃"
    assert "Brier score 0.500, that of the base rate 0.250" in text


def test_a_report_shows_all_its_parts_and_obeys_no_name() -> None:
    evil = "[red]x[/red]\x1b[31m"
    stage = Stage(
        "before a round", 20, 40, 12, 80, 0.25, (line(evil, "scorer"),),
        (Difference(Oriented(evil), Oriented("b"), Estimate(0.1)),),
        (Importance("hidden", 0.0625, Interval(0.03, 0.09)),),
        {evil: reliability([0.5], [True], 0.25)},
    )  # fmt: skip
    text = shown(report_view(ValidityReport(evil, "gsm8k", (stage,))), 120)
    assert "\x1b" not in text
    assert text.count("[red]x[/red]\\x1b[31m") == 4
    assert "rows 40, tasks 20, failures 12; training rows 80, base rate 25.0%" in text
    assert "+0.062" in text
