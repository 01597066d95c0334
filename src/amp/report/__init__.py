"""Reports on runs: figures, intervals, comparisons, tables and pages.

Everything here reads `Run`s, be they of the planner or of recorded samples. `make_report` measures
them; `Run.to_frame` gives the episodes to whoever measures something else.

`runs` and `metrics` measure one run, `paired`, `frontier`, `adaptivity`, `ablations` and, by kind
of task, `groups` compare several, with `stats` for how sure that is, and `report` puts all
together; `validity` and `validity_report` do so for complexity scores, `agreement` for people's
ratings of steps, `curves` for policies of pools.
`tables`, `overview`, `figures` and `curve_pages` show it, `pages` as HTML, of which `html_page` is
the frame, `timeline` the plans and `words` the phrases, `lattice_page` those on lattices, and
`inspect_log` writes it for other tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amp.plugins import exported_later

if TYPE_CHECKING:
    from amp.report.metrics import Interval, Summary, summarise, wilson
    from amp.report.pages import run_page, validity_page
    from amp.report.paired import Comparison, compare
    from amp.report.report import OF_RUNS, OF_SAMPLES, Analysis, RunReport, make_report
    from amp.report.runs import Run, comparable, read_runs
    from amp.report.tables import Table, tables_of
    from amp.report.validity_report import ValidityReport, make_validity_report

__all__ = [
    "OF_RUNS",
    "OF_SAMPLES",
    "Analysis",
    "Comparison",
    "Interval",
    "Run",
    "RunReport",
    "Summary",
    "Table",
    "ValidityReport",
    "comparable",
    "compare",
    "make_report",
    "make_validity_report",
    "read_runs",
    "run_page",
    "summarise",
    "tables_of",
    "validity_page",
    "wilson",
]

__getattr__ = exported_later(
    __name__,
    {
        "metrics": ("Interval", "Summary", "summarise", "wilson"),
        "pages": ("run_page", "validity_page"),
        "paired": ("Comparison", "compare"),
        "report": ("OF_RUNS", "OF_SAMPLES", "Analysis", "RunReport", "make_report"),
        "runs": ("Run", "comparable", "read_runs"),
        "tables": ("Table", "tables_of"),
        "validity_report": ("ValidityReport", "make_validity_report"),
    },
)
