"""The page and the tables of a run report: complete, the same twice, and safe with any text."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.runs import EVIL, run, step

from amp.benchmarks.base import Difficulty
from amp.benchmarks.gsm8k import GSM8K
from amp.report.html import trace
from amp.report.pages import run_page
from amp.report.report import make_report
from amp.report.runs import Run
from amp.report.tables import markdown, tables_of, write_csv
from amp.types import Episode, Task

RUNS = (
    run("fixed", [True, False, False], 100),
    run("amp", [True, True, False], 80, kind="adaptive"),
)


def own(html: str) -> str:
    """The page without plotly itself."""
    start, end = html.index("<script>"), html.index("</script></head>")
    return html[:start] + html[end:]


def evil() -> Run:
    made = (step(100, EVIL),)
    episodes = [
        Episode(Task(f"{EVIL}{i}", EVIL), made, i == 0, 0.0, made[0].usage, EVIL) for i in range(3)
    ]
    return Run(EVIL, tuple(episodes), benchmark=EVIL, model=EVIL)


def test_a_page_holds_figures_tables_and_links_to_traces() -> None:
    html = run_page(make_report(RUNS), RUNS)
    text = own(html)
    assert html == run_page(make_report(RUNS), RUNS)
    assert "default-src 'none'" in html
    assert text.count("Plotly.newPlot(") == 3
    links = re.findall(r'<a href="#(trace-\d+-\d+)">', text)
    assert len(links) == 3
    assert all(text.count(f'id="{link}"') == 1 for link in links)
    assert "6 of 6 traces" in text


def test_a_page_holds_everything_that_a_result_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    thirds = {"t0": Difficulty(0, 0), "t1": Difficulty(1, 1), "t2": Difficulty(2, 2)}

    monkeypatch.setattr(GSM8K, "difficulty", lambda _, task: thirds[task.id])
    runs = [replace(one, benchmark="gsm8k") for one in (*RUNS, run("wide", [True] * 3, 200))]
    report = make_report(runs)
    names = [table.name for table in tables_of(report)]
    assert names == [
        "runs", "comparisons", "savings", "gains", "areas", "spent", "parts", "unread", "thirds",
        "adaptivity", "calibration", "failures",
    ]  # fmt: skip
    text = own(run_page(report, runs))
    assert text.count("Plotly.newPlot(") == 5
    assert "oracle (of the fixed runs)" in text


@pytest.mark.parametrize("won", [[True], [False] * 2, [True] * 3, [False] * 4, [True, False]])
@pytest.mark.parametrize("tokens", [0, 100])
def test_no_page_says_nan(won: list[bool], tokens: int) -> None:
    runs = [run("one", won, tokens), run("two", won, tokens), run("amp", won, tokens, "adaptive")]
    report = make_report(runs)
    texts = [text for table in tables_of(report) for row in table.texts() for text in row]
    assert not any("nan" in text or text == "inf" for text in texts)
    text = own(run_page(report, runs))
    assert "NaN" not in text
    assert "Infinity" not in text


def test_model_text_is_never_markup() -> None:
    runs = (evil(),)
    text = own(run_page(make_report(runs), runs))
    assert "<img" not in text
    plain = own(run_page(make_report(RUNS), RUNS))
    assert text.count("<script") == plain.count("<script")
    assert "&lt;img src=x" in text


def test_traces_that_do_not_fit_are_left_out_and_said() -> None:
    text = own(run_page(make_report(RUNS), RUNS, trace_bytes=4_000))
    kept = text.count('<details class="episode">')
    assert 0 < kept < 6
    assert f"{kept} of 6 traces" in text
    assert "left out for size" in text
    long = replace(RUNS[0].episodes[0], steps=(step(10, "x" * 9_000),) * 60)
    shown = trace(long, "fixed", "here")
    assert "7,000 characters left out" in shown
    assert "20 further steps are left out" in shown


def test_a_trace_shows_what_a_step_was_given_and_what_came_of_it() -> None:
    shown = trace(RUNS[0].episodes[0], "fixed", "here")
    for text in (
        "Complexity 0.250",
        "entropy 0.5",
        "stood in: agreement for entropy",
        "reason in at most 2 steps; 1 candidate; temperature 0.7, top-p 0.95; tools: python",
        "no verification",
        "probability 0.750",
        "chosen",
        "python in 0.25 s",
        "100 tokens, 1.5 s",
    ):
        assert text in shown, text


def test_markdown_cells_stay_cells() -> None:
    report = make_report((evil(),))
    text = markdown("Runs", report.notes, tables_of(report))
    assert "<img" not in text
    for line in text.splitlines():
        if line.startswith("| ") and "onerror" in line:
            assert r"\|\`=1+1" in line


def test_csv_holds_values_and_no_formula(tmp_path: Path) -> None:
    named = (replace(RUNS[0], name="=1+1"), RUNS[1])
    paths = {path.stem: path for path in write_csv(tables_of(make_report(named)), tmp_path / "csv")}
    with paths["runs"].open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert first["run"] == "'=1+1"
    assert float(first["success"]) == 1 / 3
    assert 0 < float(first["95 % low"]) < 1 / 3 < float(first["95 % high"]) < 1
