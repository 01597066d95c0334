"""The command line: one thin function a command.

Exit codes: 0 done; 1 no answer was found; 2 bad input; 3 a package, model or data set is missing;
4 the model failed; 5 the recording does not fit; 130 interrupted (a run can be resumed).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from amp.errors import (
    AmpError,
    InvalidInputError,
    LimitReachedError,
    MissingDependencyError,
    ModelError,
    RecordingError,
)

if TYPE_CHECKING:
    from rich.console import Console

    from amp.models.base import LanguageModel

EXIT_CODES: dict[type[AmpError], int] = {
    InvalidInputError: 2,
    LimitReachedError: 2,
    MissingDependencyError: 3,
    ModelError: 4,
    RecordingError: 5,
}
INTERRUPTED = 130

app = typer.Typer(
    name="amp",
    help="Plan with a language model and give each step the compute that it needs.",
    epilog="Example: amp run babyai --level BabyAI-GoToLocal-v0 --limit 10 --allocator heuristic",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="List, get and remove local models.", no_args_is_help=True)
trace_app = typer.Typer(help="Look at what a run did.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(trace_app, name="trace")

Model = Annotated[
    str | None,
    typer.Option(
        help="Catalog name, gguf file, openai:NAME, anthropic:NAME, transformers:NAME, or chance."
    ),
]
Allocator = Annotated[str, typer.Option(help="fixed, heuristic, random, adaptive_consistency, ...")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Data = Annotated[Path | None, typer.Option(help="Directory of the benchmarks' data.")]
Depth = Annotated[int | None, typer.Option(help="Pin the reasoning depth.")]
Temperature = Annotated[float | None, typer.Option(help="Pin the temperature.")]
TopP = Annotated[float | None, typer.Option(help="Pin top-p.")]
BeamWidth = Annotated[int | None, typer.Option(help="Pin the beam width.")]
Tool = Annotated[list[str] | None, typer.Option(help="Pin the tools; repeat for several.")]
NoTools = Annotated[bool, typer.Option("--no-tools", help="Pin the tools to none.")]
Verification = Annotated[int | None, typer.Option(help="Pin the verification level.")]
Record = Annotated[
    Path | None, typer.Option(help="Keep all answers in this recording; reuse those it has.")
]
Replay = Annotated[Path | None, typer.Option(help="Take all answers from this recording.")]
BudgetTokens = Annotated[int | None, typer.Option(help="Limit of tokens an episode.")]
MaxSteps = Annotated[int | None, typer.Option(help="Limit of plan steps an episode.")]
MaxSeconds = Annotated[float | None, typer.Option(help="Limit of model time an episode.")]
MaxDollars = Annotated[float | None, typer.Option(help="Limit of dollars an episode.")]


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    # Declared for --help alone: `main` takes the flag off, wherever it stands.
    return


@app.command()
def solve(
    question: Annotated[str, typer.Argument(help="A question whose answer is a number.")],
    model: Model = None,
    allocator: Allocator = "heuristic",
    depth: Depth = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    beam_width: BeamWidth = None,
    tool: Tool = None,
    no_tools: NoTools = False,
    verification: Verification = None,
    budget_tokens: BudgetTokens = None,
    seed: int = 0,
    record: Record = None,
    replay: Replay = None,
    as_json: Json = False,
) -> None:
    """Answer one question. Example: amp solve "A box holds 12 eggs. How many in 7 boxes?" """
    from amp import display
    from amp.benchmarks import load_benchmark
    from amp.evaluate.runner import RunSettings, make_planner
    from amp.trace import to_json
    from amp.types import MODEL_ERROR, Limits, StepRecord, Task

    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"question is not UTF-8 at character {error.start}") from None
    if not question.strip():
        raise InvalidInputError("question is empty, expected some text")
    benchmark = load_benchmark("gsm8k")
    wanted = _wanted(depth, temperature, top_p, beam_width, tool, no_tools, verification)
    settings = RunSettings("", seed, allocator, wanted, Limits(tokens=budget_tokens))
    task = Task("question", question, seed=seed)
    table = display.step_table()

    def show(step: StepRecord) -> None:
        display.add_step(table, "", 1, step)

    async def go() -> None:
        language_model = _open_model(model, record, replay, (benchmark.prompts.version,))
        try:
            planner = make_planner(language_model, benchmark, settings)
            episode = await planner.run(task, benchmark.environment(task), on_step=show)
        finally:
            await language_model.close()
        if episode.ended == MODEL_ERROR:
            raise ModelError(episode.steps[-1].failure)
        if as_json:
            print(to_json(episode))
        else:
            _console().print(table)
            print(episode.plan[-1] if episode.plan else "no answer")
        if not episode.plan:
            raise typer.Exit(1)

    _run_async(go())


@app.command()
def run(
    benchmark: Annotated[str, typer.Argument(help="gsm8k or babyai.")],
    split: Annotated[str | None, typer.Option(help="Split; the test split if left out.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Tasks at most.")] = None,
    level: Annotated[str | None, typer.Option(help="Level of a benchmark that has levels.")] = None,
    step: Annotated[str | None, typer.Option(help="What a step is: solution or reasoning.")] = None,
    model: Model = None,
    larger_model: Annotated[
        str | None, typer.Option(help="Model behind --tool larger_model, as --model.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="A published method to plan by: amp benchmarks --methods.")
    ] = None,
    allocator: Allocator = "heuristic",
    depth: Depth = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    beam_width: BeamWidth = None,
    tool: Tool = None,
    no_tools: NoTools = False,
    verification: Verification = None,
    record: Record = None,
    replay: Replay = None,
    budget_tokens: BudgetTokens = None,
    max_steps: MaxSteps = None,
    max_seconds: MaxSeconds = None,
    max_dollars: MaxDollars = None,
    seed: int = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Episodes at a time.")] = 1,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Run a benchmark. Example: amp run gsm8k --limit 20 --allocator fixed"""
    from amp import display
    from amp.benchmarks import load_benchmark
    from amp.evaluate import runner
    from amp.evaluate.metrics import summarise
    from amp.settings import load_settings
    from amp.trace import RunDirectory, to_json
    from amp.types import Limits

    if resume and out is None:
        raise InvalidInputError("--resume needs --out, the directory of the run to go on with")
    chosen = load_benchmark(benchmark, data=data or load_settings().data, level=level, step=step)
    settings = runner.RunSettings(
        split=split or chosen.splits[0],
        seed=seed,
        allocator=allocator,
        wanted=_wanted(depth, temperature, top_p, beam_width, tool, no_tools, verification),
        limits=Limits(max_steps, budget_tokens, max_dollars, max_seconds),
        step=step,
        method=method,
    )
    tasks = list(chosen.tasks(settings.split, limit, seed))
    if not tasks:
        raise InvalidInputError(f"split {settings.split!r} of {benchmark} holds no tasks")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = out or Path("runs") / f"{benchmark}-{method or allocator}-{stamp}"
    console = _console(stderr=True)

    async def go() -> None:
        language_model = _open_model(
            model, record, replay, runner.prompt_versions(chosen, settings)
        )
        larger = None
        try:
            if larger_model is not None:
                larger = _open_model(larger_model, _larger(record), _larger(replay))
            planner = runner.make_planner(language_model, chosen, settings, larger)
            manifest = runner.manifest(language_model, chosen, settings, tasks)
            begin = RunDirectory.resume if resume else RunDirectory.create
            directory = begin(path, manifest)
            title = f"{benchmark} {method or allocator}"
            with display.LiveSteps(console, len(tasks), len(directory.done), title) as live:
                episodes = await runner.run(
                    planner, chosen, tasks, directory, jobs, live.on_step, live.on_episode
                )
        except asyncio.CancelledError:
            console.print(f"interrupted; go on with the same options and --out {path} --resume")
            raise
        finally:
            await language_model.close()
            if larger is not None:
                await larger.close()
        summary = summarise(episodes)
        if as_json:
            rate = {"success_rate": summary.success_rate, "out": str(path)}
            print(json.dumps(json.loads(to_json(summary)) | rate))
        else:
            _console().print(display.summary_table([(title, summary)]))
            print(f"trace: {path}  (amp trace show {path})")

    _run_async(go())


@app.command()
def demo(
    model: Model = None,
    svg: Annotated[Path | None, typer.Option(help="Save what is shown as a picture.")] = None,
    as_json: Json = False,
) -> None:
    """Watch a local model plan: once with a fixed allocation, once adaptively."""
    from rich.console import Console

    from amp import display
    from amp.demo import run_demo
    from amp.models import catalog
    from amp.settings import load_settings

    name = model or load_settings().model
    if name in catalog.MODELS and name not in {m.name for m in catalog.installed()}:
        catalog.pull(name)
    console = Console(stderr=as_json, record=svg is not None)
    outcome = _run_async(run_demo(lambda: _open_model(name), console))
    if svg is not None:
        display.save_picture(console, svg, "amp demo")
    if as_json:
        print(json.dumps(outcome))


@app.command()
def profile(
    model: Annotated[str | None, typer.Argument(help="As --model elsewhere.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure less, in seconds.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how fast a model is on this machine. Example: amp profile smollm2-135m --quick"""
    from rich.progress import Progress
    from rich.table import Table

    from amp.measure import QUICK, Plan, fit, measure
    from amp.settings import load_settings
    from amp.trace import to_json

    async def go() -> None:
        language_model = _open_model(model)
        try:
            with Progress(console=_console(stderr=True), transient=True) as bar:
                task = bar.add_task("measuring", total=None)
                measurements = await measure(
                    language_model,
                    QUICK if quick else Plan(),
                    lambda done, total, what: bar.update(
                        task, completed=done, total=total, description=what
                    ),
                )
            found = fit(language_model.card, measurements, load_settings().threads)
        finally:
            await language_model.close()
        path = found.save()
        if as_json:
            print(json.dumps(json.loads(to_json(found)) | {"file": str(path)}))
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
        _console().print(table)
        print(f"fitted to {len(measurements)} measurements, error {found.error:.0%}")
        print(f"profile: {path}")

    _run_async(go())


@app.command()
def benchmarks(
    name: Annotated[str | None, typer.Argument(help="A benchmark, to see its levels.")] = None,
    methods: Annotated[bool, typer.Option("--methods", help="List the methods of run.")] = False,
) -> None:
    """List the benchmarks, or the levels of one. Example: amp benchmarks babyai"""
    from amp.benchmarks import BENCHMARKS, load_benchmark

    if methods:
        from amp.evaluate.baselines import METHODS

        for known, method in METHODS.items():
            print(f"{known}: {method.remark}")
        return
    if name is None:
        for known in sorted(BENCHMARKS):
            print(f"{known}: splits {', '.join(load_benchmark(known).splits)}")
        return
    chosen = load_benchmark(name)
    for line in chosen.levels or chosen.splits:
        print(line)


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the models of the catalog and which of them are here."""
    from rich.table import Table

    from amp.models import catalog

    here = {model.name for model in catalog.installed()}
    if as_json:
        print(json.dumps([{"name": n, "installed": n in here} for n in catalog.MODELS]))
        return
    table = Table(box=None)
    for column in ("name", "parameters", "size", "licence", "good for", "here"):
        table.add_column(column)
    for model in catalog.MODELS.values():
        table.add_row(
            model.name,
            f"{model.parameters / 1e9:.2f} B",
            f"{model.file.size_bytes / 1e6:,.0f} MB",
            model.licence,
            model.remark,
            "yes" if model.name in here else f"amp models pull {model.name}",
        )
    _console().print(table)


@models_app.command("pull")
def models_pull(name: str) -> None:
    """Get a model; go on where an earlier try stopped. Example: amp models pull smollm2-135m"""
    from amp.models import catalog

    print(catalog.pull(name))


@models_app.command("rm")
def models_rm(name: str) -> None:
    """Remove a model from this machine."""
    from amp.models import catalog

    print(f"freed {catalog.remove(name) / 1e6:,.0f} MB")


@trace_app.command("show")
def trace_show(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Run directory or episodes.jsonl.")],
    task: Annotated[str | None, typer.Option(help="Only the episode of this task.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every candidate.")] = False,
    as_json: Json = False,
) -> None:
    """Show the episodes of a run. Example: amp trace show runs/gsm8k --full"""
    from amp import display
    from amp.evaluate.metrics import summarise
    from amp.trace import read_episodes, to_json

    episodes = [e for e in read_episodes(path) if task is None or e.task.id == task]
    if not episodes:
        what = "no episodes" if task is None else f"no episode of task {task!r}"
        raise InvalidInputError(f"{path} holds {what}")
    if as_json:
        for episode in episodes:
            print(to_json(episode))
        return
    console = _console()
    for episode in episodes:
        console.print(display.episode_view(episode, full))
    console.print(display.summary_table([(str(path), summarise(episodes))]))


@trace_app.command("compare")
def trace_compare(
    first: Annotated[Path, typer.Argument(help="Run directory that is compared with.")],
    second: Annotated[Path, typer.Argument(help="Run directory on the same tasks.")],
    as_json: Json = False,
) -> None:
    """Compare two runs task by task. Example: amp trace compare runs/fixed runs/adaptive"""
    from amp.evaluate.compare import compare
    from amp.trace import read_episodes, to_json

    result = compare(list(read_episodes(first)), list(read_episodes(second)))
    if as_json:
        print(to_json(result))
        return
    print(
        f"{result.tasks} tasks: {second} solved {result.won} that {first} did not, and lost "
        f"{result.lost} (exact McNemar p = {result.p_value:.2f})"
    )
    for name, saving in result.savings.items():
        low, high = saving.interval.low, saving.interval.high
        print(f"saved {saving.share:.0%} of {name} (paired bootstrap {low:.0%} to {high:.0%})")


def _wanted(
    depth: int | None,
    temperature: float | None,
    top_p: float | None,
    beam_width: int | None,
    tools: list[str] | None,
    no_tools: bool,
    verification: int | None,
) -> dict[str, Any]:
    if tools and no_tools:
        raise InvalidInputError(f"--tool {tools[0]} and --no-tools exclude each other")
    return {
        "depth": depth,
        "temperature": temperature,
        "top_p": top_p,
        "beam_width": beam_width,
        "tools": [] if no_tools else tools or None,
        "verification": verification,
    }


def _larger(recording: Path | None) -> Path | None:
    """The larger model has a recording of its own beside that of the base model."""
    return recording and recording.with_stem(f"{recording.stem}-larger")


def _open_model(
    name: str | None,
    record: Path | None = None,
    replay: Path | None = None,
    prompts: tuple[str, ...] = (),
) -> LanguageModel:
    """Opens the model that was asked for, behind a recording if one was asked for."""
    from amp.models.load import load
    from amp.models.recorded import RecordedModel
    from amp.settings import load_settings

    if record is not None and replay is not None:
        raise InvalidInputError("--record and --replay exclude each other; leave one out")
    if replay is not None:
        return RecordedModel(None, replay, mode="replay", prompts=prompts)
    settings = load_settings()
    name = name or settings.model
    key = settings.api_key
    model = load(
        name,
        base_url=settings.base_url,
        api_key=None if key is None else key.get_secret_value(),
        prefix=settings.prefix,
        thinking=settings.thinking,
        threads=settings.threads,
        context_tokens=settings.context_tokens,
        prices=settings.prices,
    )
    if record is None:
        return model
    return RecordedModel(model, record, mode="record", prompts=prompts)


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


Result = TypeVar("Result")


def _run_async(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def main() -> None:
    """Runs the command line; an error that a person can put right is one line, no traceback."""
    debug = "--debug" in sys.argv
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
    except AmpError as error:
        if debug:
            raise
        _fail(str(error), EXIT_CODES.get(type(error), 2))


def _fail(message: str, code: int) -> NoReturn:
    print(f"amp: {message}", file=sys.stderr)
    sys.exit(code)
