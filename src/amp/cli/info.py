"""Commands that look at what is there: benchmarks and their data, models, traces of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amp.benchmarks.download import Survey
from amp.cli.app import INTERRUPTED, Data, Json, app, open_model, run_async
from amp.cli.terminal import new_console, progress, say, say_json, shown_in_line
from amp.errors import InvalidInputError, MissingDependencyError


def benchmarks_view(surveys: Sequence[Survey]) -> Group:
    """One row a benchmark, and beneath them what gets whatever is missing."""
    table = Table(box=None, padding=(0, 2, 1, 0))
    table.add_column("benchmark", no_wrap=True, style="bold cyan")
    table.add_column("package, data", overflow="fold")
    table.add_column("tasks", no_wrap=True)
    table.add_column("levels", justify="right", no_wrap=True)
    table.add_column("difficulty counts", min_width=18)
    for found in surveys:
        table.add_row(
            found.name,
            Text.assemble("package ", _package(found), "\n", _data(found)),
            "\n".join(_sizes(found)),
            str(len(found.levels) or "-"),
            found.counts,
        )
    return Group(table, *(note for found in surveys for note in _notes(found)))


def benchmark_view(found: Survey) -> Group:
    """Everything about one benchmark."""
    easy, middle = found.boundaries
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    rows: dict[str, str | Text] = {
        "package": _package(found),
        "data": _data(found),
        "tasks": f"{', '.join(_sizes(found))} (the first is the usual split)",
        "difficulty": f"{found.counts}; thirds: up to {easy:g}, up to {middle:g}, more",
        "tools": ", ".join(found.tools) or "none",
        "limit": "1 plan step" if found.max_steps == 1 else f"{found.max_steps} plan steps",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    parts: list[RenderableType] = [Text(f"{found.name}: {found.about}", "bold"), table]
    if found.levels:
        levels = Columns([Text(level) for level in found.levels], padding=(0, 2), column_first=True)
        parts += [Text(f"{len(found.levels)} levels:", "dim"), levels]
    return Group(*parts, *_notes(found))


def _package(found: Survey) -> Text:
    return Text("installed", "green") if found.install is None else Text("missing", "yellow")


def _data(found: Survey) -> Text:
    if not found.needs_data:
        return Text("no data needed")
    if found.problem is not None:
        return Text("data damaged", "red")
    return Text("data missing", "yellow") if found.data is None else Text(_short(found.data))


def _sizes(found: Survey) -> Iterator[str]:
    for split, size in found.sizes.items():
        yield f"{split} -" if size is None else f"{split} {size:,}"


def _notes(found: Survey) -> Iterator[Text]:
    """What to do about whatever is missing, a line each, to be copied."""
    if found.install is not None:
        yield Text(f"{found.name}: {found.install}", "yellow")
    if found.problem is not None:
        yield Text(f"{found.name}: {found.problem}", "red")
    elif found.needs_data and found.data is None:
        yield Text(f"{found.name}: {found.get}", "yellow")
    elif absent := [split for split, size in found.sizes.items() if size is None]:
        yield Text(f"{found.name}, for {', '.join(absent)}: {found.get}", "yellow")


def _short(path: Path) -> str:
    """A path as people write it."""
    path = path.resolve()
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


trace_app = typer.Typer(help="Look at what a run did.", no_args_is_help=True)
app.add_typer(trace_app, name="trace")


@app.command()
def benchmarks(
    name: Annotated[str | None, typer.Argument(help="A benchmark, to see all about it.")] = None,
    methods: Annotated[
        bool, typer.Option("--methods", help="List what amp run --method takes.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the benchmarks and what of them is here. Example: amp benchmarks babyai"""
    if methods:
        from amp.methods import METHODS

        for known, method in METHODS.items():
            say(f"{known}: {method.remark}")
        return
    from amp.benchmarks import benchmark_names, shadowed
    from amp.benchmarks.download import survey
    from amp.settings import load_settings

    data = data or load_settings().data
    found, broken = [], {}
    for known in benchmark_names() if name is None else [name]:
        try:
            found.append(survey(known, data))
        except (InvalidInputError, MissingDependencyError) as error:
            if name is not None:
                raise
            broken[known] = str(error)  # of another package: the rest goes on
    if as_json:
        listed = [asdict(one) for one in found]
        listed += [{"name": known, "problem": problem} for known, problem in broken.items()]
        say_json(listed if name is None else listed[0])
    elif name is None:
        new_console().print(benchmarks_view(found))
        lines = [
            f"{known!r} of another package is not used: amp has its own" for known in shadowed()
        ]
        for line in (*broken.values(), *lines):
            new_console(stderr=True).print(Text(line, "red"), soft_wrap=True)
    else:
        new_console().print(benchmark_view(found[0]))


@trace_app.command("show")
def trace_show(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Run directory or episodes.jsonl.")],
    task: Annotated[str | None, typer.Option(help="Only the episode of this task.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every candidate.")] = False,
    as_json: Json = False,
) -> None:
    """Show the episodes of a run. Example: amp trace show runs/gsm8k --full"""
    from amp.cli import render
    from amp.report.metrics import summarise
    from amp.trace import read_episodes

    episodes = [e for e in read_episodes(path) if task is None or e.task.id == task]
    if not episodes:
        what = "no episodes" if task is None else f"no episode of task {task!r}"
        raise InvalidInputError(f"{path} holds {what}")
    if as_json:
        for episode in episodes:
            say_json(episode)
        return
    console = new_console()
    for episode in episodes:
        console.print(render.episode_view(episode, full))
    console.print(render.ALLOCATION_LEGEND, "")
    summary = summarise(episodes)
    console.print(render.summary_table([(str(path), summary)]))
    for note in summary.notes:
        say(note)
    rounds = [one for e in episodes for step in e.steps for one in step.rounds]
    uses = [use for one in rounds for c in one.candidates for use in c.tool_uses]
    for walls in sorted({use.walls for use in uses} - {""}):
        say(f"programs ran in sandbox {shown_in_line(walls)}")


@trace_app.command("compare")
def trace_compare(
    first: Annotated[Path, typer.Argument(help="Run directory that is compared with.")],
    second: Annotated[Path, typer.Argument(help="Run directory on the same tasks.")],
    cost: Annotated[
        str | None,
        typer.Option(help="tokens, written, flops, dollars or seconds; some of them if left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two runs task by task. Example: amp trace compare runs/fixed runs/adaptive"""
    from amp.cost import COSTS, read_cost
    from amp.report.paired import MEASURED, compare
    from amp.report.report import measure_of
    from amp.report.runs import read_run
    from amp.trace import read_episodes

    measures = MEASURED
    if cost is not None:
        runs = [read_run(path, str(path)) for path in (first, second)]
        measures = (measure_of(runs, read_cost(cost)),)
    result = compare(*map(list, map(read_episodes, (first, second))), costs=measures)
    if as_json:
        say_json(result)
        return
    say(
        f"{result.tasks} tasks, {result.pairs} pairs: {second} solved {result.won} that {first} "
        f"did not, and lost {result.lost} ({result.test} p = {result.p_value:.2f})"
    )
    for name, saving in result.savings.items():
        sure = "no interval: one task"
        if (interval := saving.interval) is not None:
            sure = f"paired bootstrap {interval.low:.0%} to {interval.high:.0%}"
        say(f"saved {saving.share:.0%} of {COSTS[name]} ({sure})")
    for measure in measures:
        if measure.note:
            say(measure.note)


models_app = typer.Typer(help="List, get and remove local models.", no_args_is_help=True)
app.add_typer(models_app, name="models")


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the models of the catalog and which are here. Example: amp models list"""
    from rich.table import Table

    from amp.models import catalog
    from amp.models.registry import plugin_models
    from amp.plugins import load_plugin

    here = {model.name for model in catalog.installed()}
    broken = {}
    for name in plugin_models():
        try:
            load_plugin("amp.models", name)
        except (InvalidInputError, MissingDependencyError) as error:
            broken[name] = str(error)  # the rest goes on
    brought = [name for name in plugin_models() if name not in broken]
    if as_json:
        found: list[dict[str, object]] = [
            {"name": n, "installed": n in here} for n in catalog.MODELS
        ]
        found += [{"name": name, "installed": True} for name in brought]
        found += [{"name": name, "problem": problem} for name, problem in broken.items()]
        say_json(found)
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in ("name", "parameters", "size", "licence", "here"):
        table.add_column(column, no_wrap=True)  # above all the name, to be typed
    table.add_column("good for", min_width=12)
    for model in catalog.MODELS.values():
        table.add_row(
            model.name,
            f"{model.parameters / 1e9:.2f} B",
            f"{model.file.size_bytes / 1e6:,.0f} MB",
            model.licence,
            "yes" if model.name in here else "no",
            model.remark,
        )
    for name in brought:
        table.add_row(name, "-", "-", "-", "yes", "of another package")
    new_console().print(table)
    for name in catalog.MODELS:
        if name not in here:
            say(f"amp models pull {name}")
    for line in broken.values():
        new_console(stderr=True).print(Text(line, "red"), soft_wrap=True)


@models_app.command("pull")
def models_pull(name: str) -> None:
    """Get a model; go on where an earlier try stopped. Example: amp models pull smollm2-135m"""
    from amp.models import catalog

    say(catalog.pull(name))


@models_app.command("rm")
def models_rm(name: str) -> None:
    """Remove a model from this machine. Example: amp models rm smollm2-135m"""
    from amp.models import catalog

    say(f"freed {catalog.remove(name) / 1e6:,.0f} MB")


@app.command()
def profile(
    model: Annotated[str | None, typer.Argument(help="As --model elsewhere.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure less, in seconds.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how fast a model is on this machine. Example: amp profile smollm2-135m --quick"""
    from rich.progress import BarColumn, TimeRemainingColumn
    from rich.table import Table

    from amp.files import require_output_file
    from amp.latency import profile_file
    from amp.profiling import QUICK, Plan, fit_profile, measure
    from amp.settings import load_settings

    async def go() -> None:
        language_model = open_model(model)
        try:
            require_output_file(profile_file(language_model.card, load_settings().threads))
            with progress(BarColumn(), TimeRemainingColumn(), transient=True) as bar:
                task = bar.add_task("measuring", total=None)
                measurements = await measure(
                    language_model,
                    QUICK if quick else Plan(),
                    lambda done, total, what: bar.update(
                        task, completed=done, total=total, description=what
                    ),
                )
            found = fit_profile(language_model.card, measurements, load_settings().threads)
        finally:
            await language_model.close()
        path = found.save()
        if as_json:
            say_json(asdict(found) | {"file": path})
            return

        def rate(tokens: int, seconds: float) -> str:
            return f"{tokens / seconds:,.1f}" if seconds > 0.0 else "-"

        contexts, written = (128, 512, 2048), 100
        table = Table("tokens a second", title=f"{found.model} on {found.machine}", box=None)
        for context in contexts:
            table.add_column(f"after {context:,}", justify="right")
        table.add_row("reading", *(rate(c, found.seconds(c, 0)) for c in contexts))
        for n in found.batches:
            total = n * written
            rates = (rate(total, found.seconds(c, total, n, c)) for c in contexts)
            table.add_row(f"writing, {n} at a time", *rates)
        new_console().print(table)
        say(f"fitted to {len(measurements)} measurements, error {found.error:.0%}")
        say(f"profile: {path}")

    run_async(go())


data_app = typer.Typer(help="Get the benchmarks' data.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("get")
def data_get(
    name: Annotated[
        str, typer.Argument(help="alfworld, gsm8k, webshop, or one of another package.")
    ],
    data: Data = None,
) -> None:
    """Get a benchmark's data from its own project. Example: amp data get alfworld"""
    from rich.progress import BarColumn, DownloadColumn, TransferSpeedColumn

    from amp.benchmarks.download import get_data
    from amp.settings import load_settings

    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with progress(*columns, transient=True) as bar:

        def advance(done: int, total: int) -> None:
            task = (
                bar.task_ids[0] if bar.tasks else bar.add_task(name, total=None)
            )  # once something comes
            bar.update(task, completed=done, total=total or None)

        try:
            folder = get_data(name, data or load_settings().data, advance)
        except KeyboardInterrupt:  # what has come is kept
            raise typer.Exit(INTERRUPTED) from None
    say(folder)
