"""Views in a terminal: a run while it goes on, its summary, traces, and complexity scores."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from amp.cli.terminal import progress, shown, shown_in_line
from amp.files import replace_file
from amp.types import Allocation, Episode, StepRecord, Task
from amp.votes import p_chosen

if TYPE_CHECKING:
    from amp.report.metrics import Interval, Summary
    from amp.report.validity import Bin, Difference, Importance, Reliability
    from amp.report.validity_report import ScoreLine, Stage, ValidityReport

_ROWS_SHOWN = 14
_WRITTEN_SHOWN = 400
_ACTION_SHOWN = 160
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


ALLOCATION_LEGEND = Text(
    "d depth, t temperature, p top_p, b samples, v verification, then the tools", "dim"
)
"""What the codes of `allocation_text` stand for; stands once below the tables that have them."""


def allocation_text(allocation: Allocation) -> str:
    """An allocation in a few characters: ``d4 t0.7 p0.95 b2 v1 python``."""
    parts = [
        f"d{allocation.depth}",
        f"t{allocation.temperature:.2g}",
        f"p{allocation.top_p:.2g}",
        f"b{allocation.beam_width}",
        f"v{allocation.verification}",
        *sorted(allocation.tools),
        *filter(None, (allocation.model,)),
    ]
    return " ".join(parts)


def step_table(title: str | None = None, *, of_tasks: bool = False) -> Table:
    """An empty table of steps, to be filled by `add_step`.

    Args:
        title: above it.
        of_tasks: whether it has the steps of several tasks, with a column of their ids.
    """
    table = Table(title=title, title_justify="left", expand=True, box=None, padding=(0, 1, 0, 0))
    if of_tasks:
        table.add_column("task", style="dim")
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("complexity\nbefore", no_wrap=True)
    # What is not wrapped above and below stays whole; these two share the rest of the width.
    table.add_column("allocation,\nby round", min_width=14, overflow="fold")
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("action", min_width=14, overflow="fold")
    return table


def add_step(table: Table, number: int, step: StepRecord, task_id: str | None = None) -> None:
    """Adds one step: a row a round, the last of them with what the step came to.

    Args:
        table: from `step_table`.
        number: of the step.
        step: what is shown.
        task_id: in a table of tasks; each of its rows has one line of the action.
    """
    done = shown_in_line((step.failure if step.action is None else step.action) or "")
    style = "red" if step.action is None else ""
    action: RenderableType = _OneLine(done, style)
    if task_id is None:
        cut = len(done) > _ACTION_SHOWN
        action = Text(done[:_ACTION_SHOWN] + "…" if cut else done, style)
        if (p := p_chosen(step)) is not None:
            action.append(f"  P(right) {p:.2f}", "dim")
    ids = () if task_id is None else (_OneLine(shown_in_line(task_id), keep_end=True),)
    came_to = f"{step.usage.tokens:,}", f"{step.usage.seconds:.1f}", action
    rounds = [
        (complexity_bar(r.complexity.score), allocation_text(r.allocation)) for r in step.rounds
    ]
    rounds = rounds or [(complexity_bar(step.complexity.score), "-")]
    for index, (bar, allocation) in enumerate(rounds):
        begin = (*ids, str(number)) if index == 0 else ("",) * (len(ids) + 1)
        table.add_row(*begin, bar, allocation, *(came_to if index == len(rounds) - 1 else ()))


def complexity_bar(score: float) -> Text:
    """A complexity in [0, 1] as a bar and a figure."""
    filled = round(max(0.0, min(1.0, score)) * 6)
    colour = "green" if score < 0.34 else "yellow" if score < 0.67 else "red"
    return Text("█" * filled + "░" * (6 - filled) + f" {score:.2f}", colour)


class _OneLine:
    """A text in as much of one line as there is room for; tells how wide it is, to a table."""

    def __init__(self, text: str, style: str = "", *, keep_end: bool = False) -> None:
        self._text, self._style, self._keep_end = text, style, keep_end

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, cell_len(self._text)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text, width = self._text, options.max_width
        if cell_len(text) > width and self._keep_end:
            end = text[-width:]
            while cell_len(end) >= width:
                end = end[1:]
            text = f"…{end}"
        yield Text(text, self._style, no_wrap=True, overflow="ellipsis")


class _Now:
    """A text as it is whenever the screen is drawn."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shown(self._text()), "dim")


class LiveSteps:
    """Shows a run while it runs; a context manager. Quiet on a console that is no terminal."""

    def __init__(self, console: Console, total: int, done: int = 0, title: str = "") -> None:
        self._rows: deque[tuple[str, int, StepRecord]] = deque(maxlen=_ROWS_SHOWN)
        self._numbers: dict[str, int] = {}
        self._written = ""
        self._progress = progress(
            *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()), console=console
        )
        self._bar = self._progress.add_task(title or "tasks", total=total, completed=done)
        self._live = (
            Live(self._render(), console=console, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> LiveSteps:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def on_step(self, task: Task, step: StepRecord) -> None:
        self._written = ""
        number = self._numbers[task.id] = self._numbers.get(task.id, 0) + 1
        self._rows.append((task.id, number, step))
        self._refresh()

    def on_episode(self, episode: Episode) -> None:
        self._progress.advance(self._bar)
        self._refresh()

    def on_text(self, piece: str) -> None:
        """Shows the end of what is being written; from any thread."""
        self._written = (self._written + piece)[-_WRITTEN_SHOWN:]

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._render())

    def _render(self) -> Group:
        table = step_table(of_tasks=True)
        for task_id, number, step in self._rows:
            add_step(table, number, step, task_id)
        now = _Now(lambda: self._written)
        return Group(table, ALLOCATION_LEGEND, now, self._progress)


def summary_table(summaries: Sequence[tuple[str, Summary]], title: str | None = None) -> Table:
    """One row a run: success with its 95 % interval, mean cost an episode, failure rates."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("run", min_width=12)
    for name in ("success", "95 % CI", "tokens", "written", "seconds", "cut off", "unread"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, summary in summaries:
        n, usage, interval = summary.episodes, summary.usage, summary.success_interval
        table.add_row(
            _OneLine(shown_in_line(name), keep_end=True),
            f"{summary.successes}/{n}",
            f"{interval.low:.2f}-{interval.high:.2f}",
            f"{usage.tokens / n:,.0f}",
            f"{usage.completion_tokens / n:,.0f}",
            f"{usage.seconds / n:.1f}",
            _rate(summary.cut_off_rate),
            _rate(summary.unread_rate),
        )
    return table


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def episode_line(episode: Episode) -> Text:
    """One episode in one line: verdict, cost, goal."""
    mark = {True: ("✔", "green"), False: ("✘", "red"), None: ("?", "dim")}[episode.success]
    rounds = sum(len(step.rounds) for step in episode.steps)
    return Text.assemble(
        mark,
        f" {episode.usage.tokens:>6,} tokens {episode.usage.seconds:>5.1f} s ",
        f"{_counted(len(episode.steps), 'step'):>8} {_counted(rounds, 'round'):>9}  ",
        (shown_in_line(episode.task.goal), "italic"),
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def episode_view(episode: Episode, full: bool = False) -> Group:
    """One episode: its steps, and with `full` all candidates of every round."""
    verdict = {True: ("success", "green"), False: ("failure", "red"), None: ("unjudged", "dim")}
    head = Text.assemble(
        (f"{shown_in_line(episode.task.id)}  ", "bold"),
        verdict[episode.success],
        f"  ended: {shown_in_line(episode.ended)}  {episode.usage.tokens:,} tokens",
        f"  {episode.usage.seconds:.1f} s",
    )
    goal = Text(shown(episode.task.goal), "italic")
    table = step_table()
    parts: list[Text | Table] = [head, goal, table]
    for number, step in enumerate(episode.steps, start=1):
        add_step(table, number, step)
        if full:
            parts.extend(_round_texts(number, step))
    return Group(*parts, Text())


def _round_texts(number: int, step: StepRecord) -> list[Text]:
    texts = []
    for index, executed in enumerate(step.rounds, start=1):
        found = executed.complexity.features
        features = " ".join(f"{name} {value:.2f}" for name, value in found.items() if value)
        if zeros := sum(not value for value in found.values()):
            features += f", {zeros} others at 0"
        stood_in = "; ".join((*executed.complexity.substitutes, *executed.substitutes))
        texts.append(Text(f"\nstep {number} round {index}  {shown_in_line(features)}", "bold"))
        if stood_in:
            texts.append(Text(f"  stood in: {shown_in_line(stood_in)}", "yellow"))
        for candidate in executed.candidates:
            said = candidate.action if candidate.action is not None else candidate.failure
            line = Text(f"  -> {shown(str(said))}", "cyan" if candidate.valid else "red")
            if candidate.p_right is not None:
                line.append(f"  P(right) {candidate.p_right:.2f}", "dim")
            if candidate.model is not None:
                line.append(f"  by {shown_in_line(candidate.model)}", "dim")
            if candidate.plan:
                line.append(f"  then {shown_in_line('; '.join(candidate.plan))}", "dim")
            texts.append(line)
            texts.extend(Text(f"     {shown(line)}", "dim") for line in candidate.text.split("\n"))
    return texts


def save_picture(console: Console, path: Path, title: str) -> None:
    """Saves what a recording console has shown as an SVG that fetches nothing, fonts included."""
    picture = console.export_svg(title=title)
    replace_file(path, _FONT_FACE.sub("", picture).encode())


_STYLES = {"scorer": "bold cyan", "baseline": "yellow", "feature": ""}
_BAR_CELLS = 10
_DIAGRAM_CELLS = 30


def report_view(report: ValidityReport, features: int | None = None) -> Group:
    """The whole report, stage by stage.

    Args:
        report: what to show.
        features: how many features a table shows at most, best first; None shows all. Scorers and
            baselines are always shown.
    """
    title = (
        f"Complexity scores of {shown_in_line(report.model)} on {shown_in_line(report.benchmark)}"
    )
    parts: list[RenderableType] = [Text(title, "bold")]
    for stage in (*report.stages, *report.candidates):
        parts += [Text(), _head(stage), score_table(stage.lines, features)]
        if stage.comparisons:
            parts += [Text(), comparison_table(stage.comparisons)]
        for name, result in stage.reliability.items():
            parts += [Text(), reliability_table(name, result)]
        if stage.importances:
            parts += [Text(), importance_table(stage.importances)]
    if report.candidates_note:
        parts += [Text(), Text(shown_in_line(report.candidates_note), "dim")]
    return Group(*parts)


def score_table(lines: Sequence[ScoreLine], features: int | None = None) -> Table:
    """AUROC of each score with its interval, and its rank correlation, in the order given."""
    numbers = ("rows", "AUROC", "95 % CI", "rank corr.")
    table = _table(("score", "kind"), numbers, "")
    shown, left_out = 0, 0
    for line in lines:
        if line.kind == "feature":
            if features is not None and shown >= features:
                left_out += 1
                continue
            shown += 1
        inverted = " (inverted)" if line.direction == -1 else ""
        table.add_row(
            Text(shown_in_line(line.name) + inverted, _STYLES[line.kind]),
            line.kind,
            str(line.auroc.rows),
            _figure(line.auroc.value),
            _range(line.auroc.interval),
            _figure(line.correlation.value, "+.2f"),
            Text.assemble(_validity_bar(line.auroc.value), (line.auroc.note, "dim")),
        )
    if left_out:
        table.caption = f"{left_out} more features are not shown"
    return table


def comparison_table(comparisons: Sequence[Difference]) -> Table:
    """By how much scores tell failures better than others."""
    table = _table(("score", "against"), ("AUROC gained", "95 % CI", "no gain in"), "")
    for one in comparisons:
        inverted = " (inverted)" if one.second.direction == -1 else ""
        table.add_row(
            Text(shown_in_line(one.first.name)),
            Text(shown_in_line(one.second.name) + inverted),
            _figure(one.estimate.value, "+.3f"),
            _range(one.estimate.interval, "+.3f"),
            _figure(one.not_above, ".1%"),
            Text(one.estimate.note, "dim"),
        )
    return table


def reliability_table(name: str, result: Reliability) -> RenderableType:
    """The failure rate of each bin beside its score, and the figures over all bins."""
    head = Text(f"calibration of {shown_in_line(name)}", "bold")
    if not result.bins:
        return Group(head, Text(result.note, "dim"))
    table = _table((), ("rows", "score", "failed", "95 % CI"), "failed █, score ┃")
    for b in result.bins:
        rates = (f"{b.score:.2f}", f"{b.failure_rate:.2f}", _range(b.interval))
        table.add_row(str(b.rows), *rates, _diagram(b))
    foot = (
        f"calibration error {_figure(result.calibration_error, '.3f')}, "
        f"Brier score {_figure(result.brier, '.3f')}, "
        f"that of the base rate {_figure(result.constant_brier, '.3f')}"
    )
    return Group(head, table, Text(foot))


def importance_table(importances: Sequence[Importance]) -> Table:
    """What each feature or group of features contributes to a scorer."""
    table = _table(("feature",), ("AUROC lost when shuffled", "95 % of shuffles"), "")
    for one in importances:
        table.add_row(
            Text(shown_in_line(one.group)),
            _figure(one.drop, "+.3f"),
            _range(one.interval, "+.3f"),
            Text(one.note, "dim"),
        )
    return table


def _head(stage: Stage) -> Text:
    base_rate = "unknown" if stage.base_rate is None else f"{stage.base_rate:.1%}"
    return Text.assemble(
        (shown_in_line(stage.name), "bold"),
        f"  held out: rows {stage.rows}, tasks {stage.tasks}, failures {stage.failures};"
        f" training rows {stage.train_rows}, base rate {base_rate}",
    )


def _table(left: Sequence[str], right: Sequence[str], last: str) -> Table:
    """Where a terminal is narrow, names and notes are folded, and figures stay whole."""
    table = Table(box=None, padding=(0, 1, 0, 0), caption_justify="left")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(last, overflow="fold")
    return table


def _validity_bar(share: float | None) -> Text:
    """An AUROC as a bar; red where the score points the wrong way or nowhere."""
    if share is None:
        return Text()
    filled = round(share * _BAR_CELLS)
    bar = "█" * filled + "░" * (_BAR_CELLS - filled) + " "
    return Text(bar, "green" if share > 0.5 else "red")


def _diagram(b: Bin) -> Text:
    """The failure rate as a bar, with a mark where it would end if the score were calibrated."""
    filled = round(b.failure_rate * _DIAGRAM_CELLS)
    cells = ["█"] * filled + ["░"] * (_DIAGRAM_CELLS - filled)
    place = min(_DIAGRAM_CELLS - 1, int(b.score * _DIAGRAM_CELLS))
    before, after = "".join(cells[:place]), "".join(cells[place + 1 :])
    return Text.assemble((before, "red"), ("┃", "bold cyan"), (after, "red"))


def _range(interval: Interval | None, form: str = ".2f") -> str:
    if interval is None:
        return "-"
    between = " to " if form.startswith("+") else "-"
    return f"{interval.low:{form}}{between}{interval.high:{form}}"


def _figure(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else f"{value:{form}}"
