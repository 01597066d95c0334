"""The page of a report: complete, the same twice, fetching nothing, and safe with any name."""

from __future__ import annotations

import re
import sys

import pytest

from amp.errors import MissingDependencyError
from amp.report.calibration import reliability
from amp.report.metrics import Interval
from amp.report.pages import validity_page
from amp.report.validity import Difference, Estimate, Importance, Oriented
from amp.report.validity_report import ScoreLine, Stage, ValidityReport

EVIL = "<img src=x onerror=alert(1)></script><a href='http://evil.example'>"


def report(name: str = "learned", feature: str = "entropy") -> ValidityReport:
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


def own(html: str) -> str:
    """The page without plotly itself."""
    start, end = html.index("<script>"), html.index("</script></head>")
    return html[:start] + html[end:]


def test_a_page_holds_every_figure_and_says_what_is_not_defined() -> None:
    text = own(validity_page(report()))
    # Of the first stage three figures, of the empty one its AUROCs alone.
    assert text.count("Plotly.newPlot(") == 4
    for shown in (
        '"x":[0.625]',
        '"array":[0.125]',
        '"arrayminus":[0.125]',
        '"x":[0.125,0.875]',
        '"x":[0.0625]',
        '"ticktext":["entropy (inverted)","learned"]',
        "<td>entropy (inverted)</td>",
        "absent: not defined: no row has it",
        "entropy: one task",
        "absent: not defined: x",
        "<td>12.5%</td>",
        "<td>wild</td><td>-</td><td>-</td><td>-</td>",
        "rows 40, tasks 20, failures 12",
        "base rate 25.0%",
        "base rate unknown",
    ):
        assert shown in text, shown


def test_a_page_fetches_nothing_and_is_the_same_twice() -> None:
    html = validity_page(report())
    assert html == validity_page(report())
    assert "default-src 'none'" in html
    assert not re.search(r"<(script|img|iframe)[^>]*\ssrc=|<link", own(html))
    assert len(html) > 1_000_000


def test_names_are_text_and_never_markup() -> None:
    text = own(validity_page(report(EVIL, EVIL + "2")))
    assert "<img" not in text
    assert "<a href" not in text
    # In the data of a figure, too, since plotly makes links of what its labels hold.
    assert r"\u003ca" not in text
    assert text.count("</script>") == own(validity_page(report())).count("</script>")
    assert "&lt;img src=x" in text


def test_a_missing_plotly_is_one_line_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'adaptive-meta-planning\[rep"):
        validity_page(report())
