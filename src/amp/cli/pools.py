"""`amp pools`: what recorded answers of many models hold, and their import from other logs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from amp.cli.app import Data, Json, app, output_directory, output_file
from amp.cli.terminal import json_of, new_console, progress, say, say_json, tracked
from amp.settings import load_settings

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from amp.learn.pool_config import PoolStudyConfig
    from amp.pools.pool import Pool
    from amp.pools.summary import Mark, PoolSummary
    from amp.report.curve_pages import CurveReport
    from amp.report.curves import CurveComparison


pools_app = typer.Typer(help="Recorded answers of many models.", no_args_is_help=True)
app.add_typer(pools_app, name="pools")


@pools_app.callback()
def _on_one_thread() -> None:
    """Before numpy is loaded: on several threads it sums in another order.

    The last digits of a router would depend on how many cores the machine has; and matrices of
    this size are slower on many.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


_Path = Annotated[Path, typer.Argument(help="A .jsonl or .jsonl.gz file, or a directory of such.")]
_Prices = Annotated[
    Path | None, typer.Option(help="Prices of models, one line each; they win over AMP's.")
]
_Divisor = Annotated[
    float,
    typer.Option(
        "--chars-per-token", help="What characters are divided by where no tokens are recorded."
    ),
]
_Unknown = Annotated[
    float | None,
    typer.Option(
        min=0, help="Tokens of answers of unknown length; the mean of their arm if left out."
    ),
]
_KeepGood = Annotated[
    bool, typer.Option("--keep-good", help="Leave out faulty rows and list them.")
]


@pools_app.command("info")
def pools_info(
    path: _Path,
    prices: _Prices = None,
    characters_per_token: _Divisor = 4.0,
    unknown_tokens: _Unknown = None,
    keep_good: _KeepGood = False,
    as_json: Json = False,
) -> None:
    """Show how good and how dear each arm is. Example: amp pools info logs/pool.jsonl.gz"""
    from amp.pools.pool_file import find_pools, read_pool
    from amp.pools.summary import summarize_pool

    console = new_console()
    for file in tracked(find_pools(path), "reading"):
        pool = read_pool(
            file,
            prices=prices,
            characters_per_token=characters_per_token,
            unknown_tokens=unknown_tokens,
            keep_good=keep_good,
        )
        summary = summarize_pool(pool)
        if as_json:
            say_json(summary)
        else:
            console.print(_table(summary))
            console.print()


@pools_app.command("import")
def pools_import(
    path: _Path,
    to: Annotated[Path, typer.Option(callback=output_file, help="The .jsonl or .jsonl.gz file.")],
    prices: _Prices = None,
    characters_per_token: _Divisor = 4.0,
    unknown_tokens: _Unknown = None,
    keep_good: _KeepGood = False,
    as_json: Json = False,
) -> None:
    """Check a pool and write it in tokens. Example: amp pools import logs.jsonl --to pool.jsonl"""
    from amp.pools.pool_file import read_pool, require_pool_name, write_pool

    require_pool_name(to)
    pool = read_pool(
        path,
        prices=prices,
        characters_per_token=characters_per_token,
        unknown_tokens=unknown_tokens,
        keep_good=keep_good,
    )
    write_pool(pool, to)
    if as_json:
        counts = {"tasks": len(pool.tasks), "arms": len(pool.arms), "samples": pool.there.sum()}
        say_json({"pool": pool.name, "to": to} | counts | {"notes": pool.notes})
        return
    say(
        f"{to}: {len(pool.tasks):,} tasks, {len(pool.arms)} arms, {pool.there.sum():,} samples"
        f" of {pool.name}"
    )
    for note in pool.notes:
        say(f"  {note}")


_Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A .toml file: which pool, which arms, how.")
]
_Cost = Annotated[
    Literal["dollars", "tokens"] | None,
    typer.Option(help="What is paid; that of the file if left out."),
]


@pools_app.command("train")
def pools_train(
    config: _Config,
    to: Annotated[Path, typer.Option(callback=output_file, help="The .safetensors file.")],
    cost: _Cost = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Learn whom to ask, how and how often, on the training half of a pool.

    The file is for amp run --allocator FILE, with a --model for each model of its arms;
    amp policy show FILE shows these.

    Example: amp pools train configs/pools/mcq_effort.toml --to router.safetensors
    """
    study, pool = _studied(config, cost, data)

    from amp.allocate.policy_file import Origin, save_router
    from amp.learn.routing import CURVE_ORDERS, CURVE_UNITS, curve, learn_router
    from amp.simulate.pool_draws import draw

    training = pool.part(pool.halves()[0])
    with _stages() as on_stage:
        router = learn_router(training, study.routing, study.exact, on_stage, study.allocation)
        on_stage("the curve")
        by_unit = {u: draw(training, CURVE_ORDERS, 1, u, study.exact) for u in CURVE_UNITS}
        points = curve(router, by_unit)
    models = ", ".join(sorted(router.models))
    tasks = tuple(task.id for task in training.tasks)
    save_router(router, to, Origin(pool.name, models, "", tasks, points, cost=study.routing.cost))
    if as_json:
        say_json({"to": to, "pool": pool.name, "tasks": len(training.tasks), "arms": router.arms})
        return
    say(f"{to}: {len(router.arms)} arms, learned on {len(training.tasks):,} tasks of {pool.name}")
    say(f"amp pools compare {config} says what it is worth on the others")
    greedy = [name for name, arm in router.arms.items() if arm.temperature == 0.0]
    if greedy and max(router.samples) > 1:
        say(
            f"live, {', '.join(greedy)} would answer at temperature 0, so that a second sample is a"
            f' copy of the first; [ask."{greedy[0]}"] in {config} says how it is asked'
        )


@pools_app.command("compare")
def pools_compare(
    config: _Config,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=output_directory, help="Directory for the tables, the picture and JSON."
        ),
    ] = None,
    transfer: Annotated[
        bool,
        typer.Option(
            "--transfer", help="Learn on the pools of the configurations beside CONFIG instead."
        ),
    ] = False,
    cost: _Cost = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Learn on half of a pool and compare with tuned rules on the other half.

    Says first whether a router pays. Seconds for some hundred tasks, minutes for thousands.

    Example: amp pools compare configs/pools/mcq_effort.toml --out runs/mcq
    """
    study, pool = _studied(config, cost, data)

    from amp.learn.pool_study import compare_study, study_pool
    from amp.learn.pool_transfer import Source, study_transfer
    from amp.report.curve_pages import markdown, picture

    with _stages() as on_stage:
        if transfer:
            on_stage("reading the other pools")
            files = sorted(config.resolve().parent.glob("*.toml"))
            every = {pool.name: Source(study, pool)} | {
                other.name: Source(one, other)
                for one, other in (_studied(file, cost, data) for file in reversed(files))
                if other.name != pool.name
            }
            target, *sources = every.values()
            found = study_transfer(target, sources, on_stage)
        else:
            found = study_pool(study, pool, on_stage)
        on_stage("comparing")
        report = compare_study(found)
    name = config.stem + ("_transfer" if transfer else "")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        command = f"amp pools compare {config}{' --transfer' if transfer else ''}"
        page = (
            f"# {report.pool}{', learned on other pools' if transfer else ''}\n\n"
            f"    {command}\n\n![Success against cost]({name}.svg)\n\n{markdown(report)}"
        )
        (out / f"{name}.md").write_text(page, encoding="utf-8")
        (out / f"{name}.svg").write_text(picture(report), encoding="utf-8")
        (out / f"{name}.json").write_text(json_of(report) + "\n", encoding="utf-8")
    if as_json:
        say_json(report)
        return
    console = new_console()
    for part in _compared(report):
        console.print(part)
        console.print()
    if out is None:
        say("--out DIR keeps all tables, at each cost and with their intervals, and a picture")
    else:
        say(f"written: {out / name}.md (all tables, with their intervals), .svg, .json")


def _studied(
    path: Path, cost: Literal["dollars", "tokens"] | None, data: Path | None
) -> tuple[PoolStudyConfig, Pool]:
    """The configuration, at another cost if one is given, and its pool."""
    from dataclasses import replace

    from amp.learn.pool_config import load_pool_study, load_studied_pool

    config = load_pool_study(path)
    if cost is not None and cost != config.routing.cost:
        config = config.replace(routing=replace(config.routing, cost=cost))
    return config, load_studied_pool(config, data or load_settings().data)


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    """Shows what is done now."""
    from rich.progress import TimeElapsedColumn

    with progress(TimeElapsedColumn(), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda stage: bar.update(task, description=stage)


def _compared(report: CurveReport) -> Iterator[RenderableType]:
    """What a study found, in the width of a terminal; the page of `markdown` has the rest."""
    from rich.text import Text

    from amp.report.curve_pages import points, times

    whole, (_, *rules) = report.parts[0], report.curves
    means = {row.against: row for row in whole.versus if row.cost is None}
    yield Text(_verdict([means[rule] for rule in rules]), "bold")
    yield Text(
        f"{report.pool}: learned and tuned on {whole.training:,} tasks, tested on {whole.test:,}"
        f" others. Costs are of a task in {report.unit}; in brackets 95 % intervals."
    )
    places = (f"{cost / report.scale:,.0f}" for cost in report.costs)
    table = _of_columns("success at a cost", "policy", *places)
    for name, row in report.reached.items():
        table.add_row(name, *(f"{success:.3f}" for success in row))
    yield table
    table = _of_columns(
        "the router beside each rule, mean over these costs",
        *("rule", "points at equal cost", "cost at equal success"),
    )
    for name, versus in means.items():
        table.add_row(name, points(versus.gain), times(versus.ratio))
    yield table
    for part in report.parts:
        for goal in part.goals:
            table = _of_columns(
                f"{part.name}: what training tasks choose to be as good as {goal.against}"
                f" ({goal.success:.3f} for {(goal.cost or 0.0) / report.scale:,.0f})",
                *("policy", "success", "cost", "of its cost", "setting"),
            )
            for choice in part.choices:
                if choice.goal == goal.against:
                    table.add_row(
                        choice.curve,
                        f"{choice.success:.3f}",
                        f"{choice.cost / report.scale:,.0f}",
                        f"{choice.ratio.value:.2f}",
                        choice.setting + ("" if choice.reached else " (nearest)"),
                    )
            yield table


def _of_columns(title: str, first: str, *others: str) -> Table:
    """A table of names and numbers; a setting is a text."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in others:
        if name == "setting":
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def _verdict(means: Sequence[CurveComparison]) -> str:
    """Whether a router pays, beside the rule that comes closest to it."""
    from amp.report.curve_pages import points

    closest = min(means, key=lambda row: row.gain.value)
    told = f"{points(closest.gain)} points of success at equal cost"
    if closest.gain.low > 0.0:
        return f"A router pays: {told} beside {closest.against}, the best rule."
    if closest.gain.high < 0.0:
        return f"Use a rule: the router has {told} beside {closest.against}."
    return f"A simpler rule is as good: the router has {told} beside {closest.against}."


def _table(summary: PoolSummary) -> Table:
    from rich.table import Table

    kinds = "" if summary.kinds == 1 else f" of {summary.kinds} kinds"
    title = (
        f"{summary.name}: {summary.tasks:,} tasks{kinds} in {summary.groups:,} groups,"
        f" {summary.training:,} of them to train on; {summary.samples:,} samples"
    )
    table = Table(
        title=title,
        title_justify="left",
        caption="\n".join(_caption(summary)),
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("arm", overflow="fold")
    for name in ("tasks", "n", "single", "vote", "any", "luck", "agree", "tokens", "µ$"):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in summary.arms:
        rates = arm.single, arm.vote, arm.any_right, arm.luck, arm.agreement
        table.add_row(
            arm.name,
            str(arm.tasks),
            f"{arm.samples / max(arm.tasks, 1):.3g}",
            *("-" if math.isnan(rate) else f"{100 * rate:.1f}" for rate in rates),
            _amount(arm.completion_tokens, "~" if arm.estimated else ""),
            _amount(arm.dollars * 1e6),
        )
    return table


def _caption(summary: PoolSummary) -> list[str]:
    lines = [
        "n: samples of a task. In percent: single and vote: right; any: one of the n is; luck: one"
        " of them is another task's right answer; agree: two have the same answer. Of a sample:"
        " tokens (~ estimates) and millionths of a dollar.",
        f"oracle, the cheapest right sample of a task: {_mark(summary.oracle)}",
    ]
    if summary.split_half is not None:
        lines.append(
            "split-half oracle, a task's best arm on half of its samples, scored on the rest: "
            + _mark(summary.split_half)
        )
    space = summary.answer_space
    if space is not None:
        lines.append(
            f"guessing: {space.tasks:,} tasks are of kinds with few right answers (mean"
            f" {space.answers:.1f}); an even guess is right in {100 * space.single:.1f} %, one of"
            f" {space.guesses} in {100 * space.any_right:.1f} %"
        )
    return [*lines, *(f"note: {note}" for note in summary.notes)]


def _mark(mark: Mark) -> str:
    return f"{100 * mark.success:.1f} % for {_amount(mark.dollars * 1e6)} µ$"


def _amount(amount: float, mark: str = "") -> str:
    if math.isnan(amount):
        return "-"
    return f"{mark}{amount:,.0f}" if amount >= 100 else f"{mark}{amount:.3g}"
