"""The two HTML pages: the report of runs, with traces, and that of complexity scores.

Texts come from models and environments and are not to be trusted. jinja2 escapes every value that
goes into a template (autoescape); what is HTML already is a `Markup`, which only `page`, `figure`
and `trace` make. A page fetches nothing; a trace holds no script, and what does not fit is left
out, and said.
"""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import label_steps
from amp.report import figures
from amp.report.report import RunReport
from amp.report.runs import Run
from amp.report.stats import optional
from amp.report.tables import Table, tables_of
from amp.report.validity import Difference, Reliability
from amp.report.validity_report import Stage, ValidityReport
from amp.types import (
    PLAN,
    STANDING_PLAN,
    Allocation,
    Candidate,
    Episode,
    Probe,
    Round,
    StepRecord,
    Usage,
)
from amp.votes import p_chosen

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.graph_objects import Figure


_TEMPLATES = Path(__file__).parent / "templates"
_STEPS = 40
_CANDIDATES = 12
_OPTIONS = 5
_CHARACTERS = 2_000
_VERIFICATION = ("no verification", "rules checked", "self-check by the model", "verified, refined")
_VERDICTS = {True: ("good", "success"), False: ("bad", "failure"), None: ("note", "unjudged")}


def page(template: str, title: str, **values: Any) -> str:
    """A page of a template that extends ``page.html``; plotly stands in it packed.

    Args:
        template: name of its file.
        title: as plain text.
        values: whatever the template reads.

    Raises:
        MissingDependencyError: if jinja2 or plotly is not installed.
    """
    packed = _packed_plotly(optional("plotly.offline", "a report as HTML"))
    found = _environment().get_template(template)
    colours = {"good": figures.GREEN, "bad": figures.ORANGE, "chosen": figures.BLUE}
    return found.render(title=title, plotly=packed, colours=colours, **values) + "\n"


@cache
def _packed_plotly(offline: Any) -> str:
    """Plotly in a third of its size, since pages are sent around."""
    return b64encode(gzip.compress(offline.get_plotlyjs().encode(), mtime=0)).decode()


def figure(made: Figure, name: str) -> Markup:
    """A figure as HTML.

    Args:
        made: its texts went through `label`.
        name: unique in its page; a figure without one would get a random one, and the same report
            should be the same page.
    """
    margin = {"l": 60, "r": 20}
    made.update_layout(template="plotly_white", colorway=figures.COLOURS, margin=margin)
    # Without its bar of buttons: one of them would send the figure elsewhere.
    config = {"displayModeBar": False, "responsive": True}
    div = f"figure-{name}"
    html = made.to_html(config=config, include_plotlyjs=False, full_html=False, div_id=div)
    # Drawn by page.html, when plotly is unpacked.
    return _markup(html.replace("<script>", '<script type="text/plain" class="drawn">', 1))


def anchor(run: int, place: int) -> str:
    """Where the trace of a run's episode stands in the page."""
    return f"trace-{run}-{place}"


def trace(episode: Episode, run: str, where: str, judge: Benchmark | None = None) -> Markup:
    """One episode.

    Args:
        episode: the episode.
        run: name of its run.
        where: its anchor.
        judge: its benchmark, to mark right candidates and mistakes; None marks none.
    """
    judged = () if judge is None else label_steps(episode, judge)
    marks = {labels.step: labels.mistaken for labels in judged}
    steps = [
        _shown(step, marks.get(place, ())) for place, step in enumerate(episode.steps[:_STEPS])
    ]
    template = _environment().get_template("trace.html")
    return _markup(
        template.render(
            episode=episode,
            run=run,
            anchor=where,
            verdict=_VERDICTS[episode.success],
            steps=steps,
            steps_left_out=len(episode.steps) - _STEPS,
        )
    )


Judged = list[tuple[Candidate, bool | None]]
"""Candidates, each with whether it was a mistake."""


def _shown(
    step: StepRecord, marks: tuple[bool | None, ...]
) -> tuple[StepRecord, list[tuple[Round, Judged]], int]:
    """A step, its rounds with the candidates that are shown, and how many are not."""
    total = sum(len(made.candidates) for made in step.rounds)
    verdicts = iter([*marks, *([None] * (total - len(marks)))])
    left = _CANDIDATES
    rounds: list[tuple[Round, Judged]] = []
    for made in step.rounds:
        pairs = list(zip(made.candidates, islice(verdicts, len(made.candidates)), strict=True))
        rounds.append((made, pairs[:left]))
        left = max(0, left - len(pairs))
    return step, rounds, total - _CANDIDATES


@cache
def _environment() -> Environment:
    jinja2 = optional("jinja2", "a report as HTML")
    made: Environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "allocation": _allocation,
        "clip": _clip,
        "cost": _cost,
        "facts": _facts,
        "p_chosen": p_chosen,
        "probed": _probed,
    }
    return made


def _markup(html: str) -> Markup:
    """Marks a text as HTML, which no template escapes."""
    made: Markup = optional("markupsafe", "a report as HTML").Markup(html)
    return made


# --------------------------------------------------------------------------- what filters say


def _probed(probe: Probe) -> str:
    parts = []
    if probe.entropy is not None:
        parts.append(f"entropy of the next token {probe.entropy:.3f} nats")
    if probe.perplexity is not None:
        parts.append(f"perplexity of the context {probe.perplexity:.2f}")
    if probe.hidden:
        parts.append(f"a hidden state of {len(probe.hidden)} numbers")
    likely = sorted(probe.options.items(), key=lambda option: -option[1])[:_OPTIONS]
    return "; ".join([*parts, *(f"{_clip(action)} {chance:.1%}" for action, chance in likely)])


def _facts(candidate: Candidate) -> str:
    facts = [f"{candidate.completion_tokens} tokens"]
    if candidate.model is not None:
        facts.append(f"by {candidate.model}")
    if candidate.probability is not None:
        facts.append(f"probability {candidate.probability:.3f}")
    if candidate.log_prob is not None:
        facts.append(f"log-probability {candidate.log_prob:.2f}")
    if candidate.p_correct is not None:
        facts.append(f"self-check {candidate.p_correct:.3f}")
    if candidate.p_right is not None:
        facts.append(f"P(right) {candidate.p_right:.3f}")
    if candidate.cut_off:
        facts.append("cut off")
    if candidate.refined_from is not None:
        facts.append(f"refined from {_clip(candidate.refined_from)}")
    if candidate.plan:
        facts.append(f"then {_clip('; '.join(candidate.plan))}")
    return "; ".join(facts)


def _allocation(allocation: Allocation) -> str:
    """An allocation in words."""
    depth, width = allocation.depth, allocation.beam_width
    tools = ", ".join(sorted(allocation.tools))
    how = "act at once" if depth == 0 else f"reason in at most {depth} steps"
    if STANDING_PLAN in allocation.tools:
        how = "follow the standing plan"
    elif PLAN in allocation.tools:
        how = f"plan at most {depth} actions"
    return "; ".join(
        [
            how,
            "1 candidate" if width == 1 else f"{width} candidates",
            f"temperature {allocation.temperature:.2g}, top-p {allocation.top_p:.2g}",
            f"tools: {tools}" if tools else "no tools",
            *([] if allocation.model is None else [f"answered by {allocation.model}"]),
            _VERIFICATION[allocation.verification],
        ]
    )


def _cost(usage: Usage) -> str:
    dollars = f", {usage.dollars:.5f} dollars" if usage.dollars else ""
    return f"{usage.tokens:,} tokens, {usage.seconds:.1f} s{dollars}"


def _clip(text: str) -> str:
    """A text with its end left out where it is too long."""
    if len(text) <= _CHARACTERS:
        return text
    return f"{text[:_CHARACTERS]}… [{len(text) - _CHARACTERS:,} characters left out]"


_TRACE_BYTES = 1_500_000
_NOTHING = ("", "-", "0.00000")
"""What a cell holds that says nothing; the last are dollars of a local model."""
Place = tuple[int, int]
"""A run and one of its episodes, each by its index."""


def run_page(
    report: RunReport,
    runs: Sequence[Run],
    judge: Benchmark | None = None,
    trace_bytes: int = _TRACE_BYTES,
) -> str:
    """The report of runs as an HTML document.

    Args:
        report: what `make_report` made of the runs.
        runs: the runs, for their traces.
        judge: marks the candidates of the dearest failures (a simulator takes its time); None
            marks none.
        trace_bytes: what all traces together may take.

    Raises:
        MissingDependencyError: if jinja2 or plotly is not installed.
    """
    traces, note = _traces(report, runs, judge, trace_bytes)
    first = report.lines[0]
    seeds = f" with {first.seeds} seeds each" if first.seeds > 1 else ""
    return page(
        "run_report.html",
        report.title,
        report=report,
        conclusion=report.conclusion,
        summary=f"{len(report.lines)} runs of {first.tasks} tasks{seeds}; compared with "
        f"{report.reference}. Intervals are 95 %.",
        curve=None if report.curve is None else figure(figures.curve(report), "curve"),
        tables=[_table(table, report, runs, traces) for table in tables_of(report)],
        traces=list(traces.values()),
        traces_note=note,
    )


def _table(
    table: Table, report: RunReport, runs: Sequence[Run], traces: dict[Place, Markup]
) -> dict[str, Any]:
    """A table with its figures; the tasks of failures are linked to their traces."""
    table = _filled(table)
    rows: list[list[Any]] = [list(texts) for texts in table.texts()]
    if table.name == "failures":
        places = {run.name: place for place, run in enumerate(runs)}
        for failure, cells in zip(report.failures, rows, strict=True):
            key = (places[failure.run], failure.place)
            if key in traces:
                task = table.heads.index("task")
                cells[task] = (cells[task], anchor(*key))
    shown: list[Markup] = []
    if table.name == "parts":
        shown = [figure(figures.parts(report), "parts")]
    elif table.name == "thirds":
        shown = [
            figure(figures.by_third(report, success=True), "success-by-third"),
            figure(figures.by_third(report, success=False), "cost-by-third"),
        ]
    elif table.name == "calibration":
        shown = [figure(figures.calibration(report), "calibration")]
    return {
        "title": table.title,
        "heads": table.heads,
        "rows": rows,
        "note": table.note,
        "figures": shown,
    }


def _filled(table: Table) -> Table:
    """The table without columns in which no row says anything; the first always stays."""
    rows = list(table.texts())
    kept = tuple(
        column
        for place, column in enumerate(table.columns)
        if place == 0 or any(row[place] not in _NOTHING for row in rows)
    )
    return replace(table, columns=kept)


def _traces(
    report: RunReport, runs: Sequence[Run], judge: Benchmark | None, max_bytes: int
) -> tuple[dict[Place, Markup], str]:
    """Traces by their place: the dearest failures, then all runs by turns while they fit."""
    names = {run.name: place for place, run in enumerate(runs)}
    failed = [(names[failure.run], failure.place) for failure in report.failures]
    by_turns = zip_longest(
        *([(run, place) for place in range(len(runs[run].episodes))] for run in range(len(runs)))
    )
    requested = failed + [key for keys in by_turns for key in keys if key is not None]
    made: dict[Place, Markup] = {}
    left = max_bytes
    for run, place in dict.fromkeys(requested):
        episode = runs[run].episodes[place]
        if not episode.steps:
            continue
        marked = judge if (run, place) in failed else None
        text = trace(episode, runs[run].name, anchor(run, place), marked)
        if (size := len(text.encode())) > left:
            break
        left -= size
        made[run, place] = text
    total = sum(bool(episode.steps) for run in runs for episode in run.episodes)
    note = f"{len(made):,} of {total:,} traces, the dearest failures first."
    if judge is not None:
        note += " In these, candidates are marked as right or as mistakes."
    if len(made) < total:
        note += (
            " The others are left out for size; amp trace show RUN --task TASK --full shows one."
        )
    return made, note


def validity_page(report: ValidityReport) -> str:
    """The report on complexity scores as an HTML document.

    Raises:
        MissingDependencyError: if jinja2 or plotly is not installed.
    """
    return page(
        "validity_report.html",
        f"Complexity scores of {report.model} on {report.benchmark}",
        stages=[
            _stage(place, stage) for place, stage in enumerate((*report.stages, *report.candidates))
        ],
        note=report.candidates_note,
    )


def _stage(place: int, stage: Stage) -> dict[str, Any]:
    calibrated, contributing = bool(stage.reliability), bool(stage.importances)
    return {
        "name": stage.name,
        "rows": stage.rows,
        "tasks": stage.tasks,
        "failures": stage.failures,
        "train_rows": stage.train_rows,
        "base_rate": "unknown" if stage.base_rate is None else f"{stage.base_rate:.1%}",
        "aurocs": figure(figures.aurocs(stage), f"aurocs-{place}"),
        "score_notes": [(line.name, line.auroc.note) for line in stage.lines if line.auroc.note],
        "comparisons": [_comparison(one) for one in stage.comparisons],
        "diagram": figure(figures.reliability_diagram(stage), f"calibration-{place}")
        if calibrated
        else None,
        "calibrations": [_calibration(name, one) for name, one in stage.reliability.items()],
        "drops": figure(figures.importance_bars(stage), f"features-{place}")
        if contributing
        else None,
        "drop_notes": [(one.group, one.note) for one in stage.importances if one.note],
    }


def _comparison(one: Difference) -> list[str]:
    interval = one.estimate.interval
    return [
        one.first.name,
        one.second.name + (" (inverted)" if one.second.direction == -1 else ""),
        "-" if one.estimate.value is None else f"{one.estimate.value:+.3f}",
        "-" if interval is None else f"{interval.low:+.3f} to {interval.high:+.3f}",
        "-" if one.not_above is None else f"{one.not_above:.1%}",
        one.estimate.note,
    ]


def _calibration(name: str, one: Reliability) -> list[str]:
    numbers = (one.calibration_error, one.brier, one.constant_brier)
    return [name, *("-" if value is None else f"{value:.3f}" for value in numbers), one.note]
