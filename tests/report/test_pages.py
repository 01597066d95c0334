"""The pages of reports: complete, the same twice, fetching nothing, and safe with any text."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from tests.fakes.runs import evil, run, step

from amp.benchmarks.base import Difficulty
from amp.benchmarks.gsm8k import GSM8K
from amp.errors import MissingDependencyError
from amp.report import figures
from amp.report.metrics import Interval
from amp.report.pages import run_page, validity_page
from amp.report.report import make_report
from amp.report.tables import tables_of
from amp.report.timeline import timeline
from amp.report.validity import Difference, Estimate, Importance, Oriented, reliability
from amp.report.validity_report import ScoreLine, Stage, ValidityReport
from amp.types import Allocation
from amp.votes import p_chosen

RUNS = (
    run("fixed", [True, False, False], 100),
    run("amp", [True, True, False], 80, kind="adaptive"),
)


DRAWN = '<script type="application/json" class="drawn"'


def own(html: str) -> str:
    """The page without plotly itself."""
    start = html.index('<script type="text/plain" id="plotly">')
    end = html.index("</script>\n</head>")
    return html[:start] + html[end:]


def test_a_page_holds_figures_tables_and_links_to_traces() -> None:
    html = run_page(make_report(RUNS), RUNS)
    text = own(html)
    assert html == run_page(make_report(RUNS), RUNS)
    assert "default-src 'none'" in html
    assert text.count(DRAWN) == 3
    links = re.findall(r'<a href="#(trace-\d+-\d+)">', text)
    assert len(links) == 3
    assert all(text.count(f'id="{link}"') == 1 for link in links)
    assert "Episodes: 6, " in text
    assert "All are shown with their texts." in text


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
    assert text.count(DRAWN) == 5
    assert "oracle (of the fixed runs)" in text


def test_a_page_of_many_runs_groups_rules_and_names_the_front_alone() -> None:
    fixed = [run(f"fixed {n}", [True] * n + [False] * (9 - n), 100 * n) for n in range(1, 9)]
    dear = run("dear", [True] + [False] * 8, 700)
    rules = [run(f"rule {n}", [True] * n + [False] * (9 - n), 90 * n, "rule") for n in range(1, 6)]
    text = own(run_page(make_report([*fixed, dear, *rules]), [*fixed, dear, *rules]))
    (curve,) = re.findall(r'data-in="figure-curve">(.*?)</script>', text, re.DOTALL)
    assert curve.count('"showlegend":true') == 3  # fixed runs, rules, and the oracle
    named = re.findall(r'"text":"([^"]*)"', curve)
    assert "fixed 8" in named
    assert "dear" not in named


def test_a_page_opens_with_its_conclusion() -> None:
    won, lost = [True] * 32 + [False] * 8, [False] * 32 + [True] * 8
    told = {}
    for name, outcomes, tokens in (("better", won, 50), ("like", lost, 100), ("dear", lost, 300)):
        runs = run("fixed", lost, 100), run(name, outcomes, tokens, kind="adaptive")
        report = make_report(runs)
        told[name] = report.conclusion
        body = own(run_page(report, runs)).partition("<h1>")[2]
        opening = body[body.index("</h1>") :][: len(told[name]) + 60]
        assert told[name].replace("'", "&#39;") in opening
    assert told["better"].startswith("better solved 60.0 points more than fixed (95 %: +")
    assert "; it spent 50% fewer tokens (95 %" in told["better"]
    assert told["like"].startswith(
        "No difference in success was found between like and fixed (+0.0"
    )
    assert "it spent 200% more tokens" in told["dear"]
    assert told["like"].endswith("; it spent as many tokens.")
    alone = make_report([run("one", [True, False], 100)])
    assert alone.conclusion.startswith("one solved 50% of 2 tasks at 100 tokens each")


def test_no_column_is_empty_and_every_cell_says_what_it_is() -> None:
    text = own(run_page(make_report(RUNS), RUNS))
    for rows in re.findall(r"<table>(.*?)</table>", text, re.DOTALL):
        heads = re.findall(r"<th>(.*?)</th>", rows)
        cells = re.findall(r'<td data-head="(.*?)">(.*?)</td>', rows)
        assert [head for head, _ in cells[: len(heads)]] == heads
        for place, head in enumerate(heads[1:], start=1):
            column = {content for _, content in cells[place :: len(heads)]}
            assert column - {"", "-", "0.00000"}, head


def test_pages_and_figures_have_one_palette() -> None:
    text = own(run_page(make_report(RUNS), RUNS)) + own(validity_page(validity_report()))
    layouts = re.findall(rf"{DRAWN}[^>]*>(.*?)</script>", text, re.DOTALL)
    assert layouts
    for one in layouts:
        drawn = json.loads(one)
        del drawn["layout"]["template"]
        used = set(re.findall(r"#[0-9a-f]{6}", json.dumps(drawn)))
        assert used <= set(figures.COLOURS) | {figures.GREY}


def test_the_style_names_its_colours_once_for_light_and_once_for_dark() -> None:
    (css,) = re.findall(r"<style>(.*?)</style>", own(run_page(make_report(RUNS), RUNS)), re.DOTALL)
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    names = [set(re.findall(r"--(\w+): #", one)) for one in (light, dark)]
    assert names[0] == names[1] > {"ink", "paper"}
    assert not re.search(r"#[0-9a-f]{3}", re.sub(r":root \{.*?\}", "", css, flags=re.DOTALL))
    used = set(re.findall(r"var\(--(\w+)\)", css))
    assert used <= names[0] | {"c", "rows"}


def test_a_page_runs_no_script_but_those_that_its_policy_names() -> None:
    html = run_page(make_report(RUNS), RUNS)
    (allowed,) = re.findall(r"script-src ([^;]*);", html)
    (script,) = re.findall(r"<script>(.*?)</script>", own(html), re.DOTALL)
    (packed,) = re.findall(r'id="plotly">(.*?)</script>', html, re.DOTALL)
    scripts = script.encode(), gzip.decompress(b64decode(packed))
    hashes = [b64encode(hashlib.sha256(one).digest()).decode() for one in scripts]
    assert {f"'sha256-{one}'" for one in hashes} == set(allowed.split())


@pytest.mark.slow
def test_a_page_of_a_thousand_episodes_is_small() -> None:
    won = [n % 3 > 0 for n in range(500)]
    runs = [run("fixed", won, 100), run("amp", won, 80, kind="adaptive")]
    many = [
        replace(one, episodes=tuple(replace(e, steps=e.steps * 20) for e in one.episodes))
        for one in runs
    ]
    html = run_page(make_report(many), many)
    assert "Episodes: 1,000, " in html
    assert len(html.encode()) < 6_000_000


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


def test_what_is_too_long_is_left_out_and_said() -> None:
    long = replace(RUNS[0].episodes[0], steps=(step(10, "x" * 9_000),) * 60)
    shown = timeline(long, "fixed", "here")
    assert "7,000 characters left out" in shown
    assert "20 further steps are left out" in shown


def test_a_trace_shows_what_a_step_was_given_and_what_came_of_it() -> None:
    shown = timeline(RUNS[0].episodes[0], "fixed", "here")
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


def test_a_trace_shows_how_probably_candidates_and_the_action_are_right() -> None:
    episode = RUNS[0].episodes[0]
    plan = episode.steps[0]
    made = plan.rounds[0]
    rated = tuple(replace(one, p_right=0.625) for one in made.candidates)
    step = replace(plan, rounds=(replace(made, candidates=rated), *plan.rounds[1:]))
    shown = timeline(replace(episode, steps=(step,)), "fixed", "here")
    assert "P(right) 0.625" in shown
    assert f"its action is right with P {p_chosen(step):.3f}" in shown
    assert "right with P" not in timeline(episode, "fixed", "here")


def test_a_trace_shows_plans_and_where_they_are_followed() -> None:
    episode = RUNS[0].episodes[0]
    first = episode.steps[0]
    made = first.rounds[0]
    planned = tuple(replace(one, plan=("go on", "stop")) for one in made.candidates)
    plan = replace(made, allocation=Allocation(depth=4, tools=frozenset({"plan"})))
    follow = replace(made, allocation=Allocation(tools=frozenset({"standing_plan"})))
    step = replace(first, rounds=(replace(plan, candidates=planned), follow))
    shown = timeline(replace(episode, steps=(step,)), "fixed", "here")
    assert "plan at most 4 actions" in shown
    assert "then go on; stop" in shown
    assert "follow the standing plan" in shown


LINK = "<img src=x onerror=alert(1)></script><a href='http://evil.example'>"


def validity_report(name: str = "learned", feature: str = "entropy") -> ValidityReport:
    half = Estimate(0.625, Interval(0.5, 0.75), 40)
    unknown = Estimate(None, note="not defined: no row has it")
    full = Stage(
        name="before a round",
        tasks=20,
        rows=40,
        failures=12,
        train_rows=80,
        base_rate=0.25,
        lines=(
            ScoreLine(name, "scorer", 1, half, half),
            ScoreLine(feature, "feature", -1, Estimate(0.4375, None, 40, 0, "one task"), half),
            ScoreLine("absent", "feature", None, unknown, unknown),
        ),
        comparisons=(
            Difference(Oriented(name), Oriented(feature, -1), half, 0.125),
            Difference(Oriented(name), Oriented("absent"), unknown),
        ),
        importances=(
            Importance(feature, 0.0625, Interval(0.03, 0.09)),
            Importance("absent", None, note="not defined: x"),
        ),
        reliability={
            name: reliability([0.125, 0.875] * 20, [False, True] * 20, 0.25),
            "wild": reliability([3.0], [True], 0.25),
        },
    )
    empty = Stage("after one candidate", 0, 0, 0, 0, None, ())
    return ValidityReport(name, "gsm8k", (full, empty))


def test_a_page_holds_every_figure_and_says_what_is_not_defined() -> None:
    text = own(validity_page(validity_report()))
    # Of the first stage three figures, of the empty one its AUROCs alone.
    assert text.count(DRAWN) == 4
    for shown in (
        '"x":[0.625]',
        '"array":[0.125]',
        '"arrayminus":[0.125]',
        '"x":[0.125,0.875]',
        '"x":[0.0625]',
        '"ticktext":["entropy (inverted)","learned"]',
        ">entropy (inverted)</td>",
        "absent: not defined: no row has it",
        "entropy: one task",
        "absent: not defined: x",
        ">12.5%</td>",
        "rows 40, tasks 20, failures 12",
        "base rate 25.0%",
        "base rate unknown",
    ):
        assert shown in text, shown


def test_a_page_fetches_nothing_and_is_the_same_twice() -> None:
    html = validity_page(validity_report())
    assert html == validity_page(validity_report())
    assert "default-src 'none'" in html
    assert not re.search(r"<(script|img|iframe)[^>]*\ssrc=|<link", own(html))
    assert len(html) > 1_000_000


def test_names_are_text_and_never_markup() -> None:
    text = own(validity_page(validity_report(LINK, LINK + "2")))
    assert "<img" not in text
    assert "<a href" not in text
    # In the data of a figure, too, since plotly makes links of what its labels hold.
    assert r"\u003ca" not in text
    assert text.count("</script>") == own(validity_page(validity_report())).count("</script>")
    assert "&lt;img src=x" in text


def test_a_missing_plotly_is_one_line_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'adaptive-meta-planning\[rep"):
        validity_page(validity_report())
