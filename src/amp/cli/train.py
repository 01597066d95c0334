"""`amp train`: a policy learns, on a recording or online."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from amp.cli.app import (
    INTERRUPTED,
    Data,
    Json,
    Model,
    Record,
    Replay,
    app,
    output_directory,
    output_file,
)
from amp.cli.policy import cost_curve
from amp.cli.terminal import new_console, progress, say, say_json
from amp.cli.workers import (
    Address,
    LiveSource,
    On,
    benchmark_of,
    check_on,
    live_on,
    spread_on,
)
from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from amp.allocate.policy_file import Origin
    from amp.benchmarks.base import Benchmark
    from amp.cli.workers import Spread
    from amp.learn.config import TrainConfig
    from amp.learn.pipeline import Elsewhere
    from amp.learn.trainer import Metrics
    from amp.models.base import LanguageModel
    from amp.report.curves import IntervalEstimate
    from amp.serve.traffic.pool import By
    from amp.serve.traffic.study import Expected, TrafficStudy


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="TOML file; configs/ has some.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=output_directory, help="Directory of the training, and of the policy."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the config's.")] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            help="What is charged instead: tokens, written (tokens), flops, dollars, seconds."
        ),
    ] = None,
    reference_cost: Annotated[
        float | None, typer.Option(help="What counts as 1, in the unit of the cost.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the one in --out.")] = False,
    online: Annotated[
        bool,
        typer.Option(
            "--online",
            help="Play episodes with a model in place of a recording; the config's table online "
            "says how, max_calls, max_tokens and max_dollars how much at most.",
        ),
    ] = False,
    model: Model = None,
    record: Record = None,
    replay: Replay = None,
    on: On = None,
    address: Address = None,
    from_traffic: Annotated[
        Path | None,
        typer.Option(help="Learn from what amp serve --traffic FILE kept, in place of a CONFIG."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(callback=output_file, help="The .safetensors file, of --from-traffic."),
    ] = None,
    to_pool: Annotated[
        Path | None,
        typer.Option(callback=output_file, help="Write the traffic as a pool (.jsonl.gz), too."),
    ] = None,
    judge: Annotated[
        Literal["shadows", "outcomes"] | None,
        typer.Option(help="By what traffic is judged; outcomes where there are enough of them."),
    ] = None,
    may_lose: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Success that a policy of traffic may lose beside the dear arm."
        ),
    ] = 0.02,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Learn a policy: imitate the oracle of samples or of a lattice, then PPO; or PPO with a model.

    Example: amp train configs/train-gsm8k.toml --out runs/policy

    Online:  amp train configs/train-online.toml --online --model random --out runs/online

    Of the gateway's own traffic: amp train --from-traffic traffic.sqlite --to policy.safetensors
    """
    if from_traffic is not None:
        if config is not None or out is not None:
            raise InvalidInputError("--from-traffic takes no CONFIG and no --out; leave them out")
        _of_traffic(from_traffic, to, to_pool, judge, may_lose, cost, as_json=as_json)
        return
    if config is None or out is None:
        lacks = "CONFIG" if config is None else "--out"
        raise InvalidInputError(f"{lacks} is missing; name it, or a file with --from-traffic")
    # Before numpy is loaded: on several threads it sums in another order, and a router differs.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from amp.allocate.policy_file import load_origin
    from amp.files import lock_directory
    from amp.learn.config import OnlineConfig, load_train_config
    from amp.models.recording_store import Store
    from amp.settings import load_settings

    chosen = load_train_config(config)
    if seed is not None:
        chosen = chosen.replace(ppo=chosen.ppo.replace(seed=seed))
    chosen = _charged(chosen, cost, reference_cost)
    if online and chosen.online is None:
        chosen = chosen.replace(online=OnlineConfig())
    for name, value in (("model", model), ("record", record), ("replay", replay)):
        if value is not None and chosen.online is None:
            raise InvalidInputError(
                f"--{name} is for training online; add --online or leave it out"
            )
    check_on(on, address)
    if on is not None and (chosen.learner != "ppo" or not chosen.learn):
        raise InvalidInputError(
            "--on ray spreads the rollouts of PPO, and here is none; leave it out"
        )
    live, data = chosen.online, data or load_settings().data
    benchmark = benchmark_of(chosen, data)
    if live is None:
        benchmark.tasks(chosen.split, chosen.limit)  # what lacks is told before PyTorch is loaded
        assert chosen.recording is not None  # `load_train_config` sees to it
        Store(chosen.recording, write=False).close()

    from amp.learn.config import CHECKPOINT, POLICY

    if out.joinpath(POLICY).exists() and not resume:
        raise InvalidInputError(f"{out} has a policy already; resume it or choose another --out")
    ended = None
    try:
        with lock_directory(out):
            if chosen.source == "lattice":
                with spread_on(on, address) as spread:
                    _on_lattice(chosen, levels_of(chosen, data), out, resume, spread)
            elif live is None:
                with spread_on(on, address) as spread:
                    _on_recording(chosen, benchmark, out, resume, spread)
            else:
                source = LiveSource(chosen, data, model or live.model, record, replay)
                opened = source.model(benchmark)
                elsewhere = partial(live_on, on, address, source)
                ended = _online(chosen, benchmark, opened, out, resume, elsewhere)
    except KeyboardInterrupt:
        if out.joinpath(CHECKPOINT).exists():
            new_console(stderr=True).print(f"interrupted; go on with --out {out} --resume")
        raise typer.Exit(INTERRUPTED) from None
    origin = load_origin(out / POLICY)
    assert origin is not None  # just saved with it
    if as_json:
        say_json(origin)
    else:
        _show(origin, out, chosen)
    if ended is not None:
        new_console(stderr=True).print(
            f"ended at its limit of {ended}; raise it and go on with --out {out} --resume"
        )


def _charged(config: TrainConfig, cost: str | None, reference: float | None) -> TrainConfig:
    """The config with another cost, or another reference budget."""
    from amp.cost import read_cost
    from amp.settings import checked

    unit = config.ppo.cost if cost is None else read_cost(cost)
    if unit != config.ppo.cost and reference is None:
        raise InvalidInputError(
            f"--cost is {unit}, but the config's reference_cost is in {config.ppo.cost}; add"
            " --reference-cost, about what the best fixed allocation takes (amp simulate --cost)"
        )
    changes = {"cost": unit} | ({} if reference is None else {"reference_cost": reference})
    return config.replace(ppo=checked(type(config.ppo), config.ppo.model_dump() | changes, "ppo"))


def _bars() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    return progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def levels_of(config: TrainConfig, data: Path | None) -> list[Benchmark]:
    """The benchmark of a configuration, once for each level of its lattice."""
    from amp.benchmarks import load_benchmark
    from amp.settings import load_settings

    folder = data or load_settings().data
    levels = config.lattice.levels or (None,)
    return [load_benchmark(config.benchmark, data=folder, level=level) for level in levels]


def _on_lattice(
    config: TrainConfig, benchmarks: list[Benchmark], out: Path, resume: bool, spread: Spread
) -> None:
    from amp.learn.lattices import train_on_lattice

    with _bars() as bars:
        notes = _notes(bars, config) if config.learner == "ppo" else lambda metrics: None
        train_on_lattice(config, benchmarks, out, resume=resume, on_update=notes, spread=spread)


def _on_recording(
    config: TrainConfig, benchmark: Benchmark, out: Path, resume: bool, spread: Spread
) -> None:
    if config.learner == "router":
        from amp.learn.router_training import train_router

        train_router(config, benchmark, out)
        return
    from amp.learn.dataset import load_dataset
    from amp.learn.pipeline import train_policy

    with _bars() as bars:
        tabled = bars.add_task("tasks worked out", total=None)
        dataset = load_dataset(config, benchmark, lambda task: bars.advance(tabled))
        bars.update(tabled, total=len(dataset.table.tasks))
        notes = _notes(bars, config)
        train_policy(config, dataset, out, resume=resume, on_update=notes, spread=spread)


def _online(
    config: TrainConfig,
    benchmark: Benchmark,
    model: LanguageModel,
    out: Path,
    resume: bool,
    elsewhere: Elsewhere,
) -> str | None:
    from amp.learn.pipeline import train_online

    with _bars() as bars:
        on_update = _notes(bars, config)
        return train_online(
            *(config, benchmark, model, out),
            resume=resume,
            on_update=on_update,
            elsewhere=elsewhere,
        )


def _notes(bars: Progress, config: TrainConfig) -> Callable[[Metrics], None]:
    """Shows the metrics of each update on a bar of its own."""
    from amp.cost import COSTS
    from amp.report.tables import figure

    learned = bars.add_task("decisions learned from", total=config.ppo.decisions)
    unit = COSTS[config.ppo.cost]

    def note(metrics: Metrics) -> None:
        spent = metrics.get("spent_model_calls")
        calls = "" if spent is None else f", {spent:.0f} calls"
        bars.update(
            learned,
            completed=int(metrics["decisions"] or 0),
            description=f"PPO: success {metrics['success']:.2f},"
            f" {figure(metrics['cost'] or 0.0)} {unit}{calls}",
        )

    return note


def _show(origin: Origin, out: Path, config: TrainConfig) -> None:
    from amp.learn.config import CORRECTNESS, POLICY

    if config.learner == "ppo":
        from amp.learn.trainer import ASSESSOR, METRICS, has_tensorboard

    console = new_console()
    if origin.curve:
        console.print(cost_curve(origin))
    if config.learner == "router":
        console.print(f"heads: {out / CORRECTNESS}  (run the policy with them)", soft_wrap=True)
    elif config.learn and config.learner == "ppo":
        events = (
            "event files for TensorBoard"
            if has_tensorboard()
            else "no event files: TensorBoard is not installed"
        )
        console.print(f"metrics: {out / METRICS}, and {events}", soft_wrap=True)
    if config.assessor is not None:
        console.print(f"assessor: {out / ASSESSOR}  (run the policy with it)", soft_wrap=True)
    path = out / POLICY
    console.print(f"policy: {path}  (amp policy show {path})", soft_wrap=True)


def _of_traffic(
    path: Path,
    to: Path | None,
    to_pool: Path | None,
    judge: By | None,
    may_lose: float,
    cost: str | None,
    *,
    as_json: bool,
) -> None:
    """Learns from what the gateway kept."""
    # Before numpy is loaded, as for `amp pools`: on several threads it sums in another order.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from amp.allocate.policy_file import Origin, save_router
    from amp.pools.pool_file import require_pool_name, write_pool
    from amp.serve.traffic.pool import pool_of
    from amp.serve.traffic.study import study_traffic
    from amp.serve.traffic.tables import TrafficFile

    if to is None and to_pool is None:
        raise InvalidInputError("--to is missing, expected the name of a .safetensors file")
    if to_pool is not None:
        require_pool_name(to_pool)
    file = TrafficFile(path, create=False)
    try:
        rows = list(file.labelled())
        counts = file.counts()
    finally:
        file.close()
    traffic = pool_of(rows, path.stem, by=judge)
    if to_pool is not None:
        write_pool(pool_of(rows, path.stem, by=judge, questions=True).pool, to_pool)
    with progress(transient=True) as bars:
        task = bars.add_task("reading", total=None)
        study = study_traffic(traffic, cost, lambda stage: bars.update(task, description=stage))
    pool, chosen = traffic.pool, study.chosen(may_lose)
    if not as_json:
        _show_traffic(study, counts, may_lose)
    if to is not None:
        if chosen is None:
            raise InvalidInputError(
                f"no trade-off is known to lose at most {100 * may_lose:g} points beside"
                f" {pool.arms[-1].name}, so no policy is written; gather more {traffic.by}, or"
                " allow more with --may-lose"
            )
        models = ", ".join(sorted({arm.model for arm in pool.arms}))
        tasks = tuple(task.id for task in pool.tasks)
        unit, at = study.router.cost, chosen.point.trade_off
        origin = Origin(pool.name, models, "", tasks, study.curve, cost=unit, trade_off=at)
        save_router(study.router, to, origin)
    if as_json:
        told = {"calls": counts[0], "judged_by": traffic.by, "judged": len(pool.tasks), "to": to}
        found = {"arms": study.arms, "expected": study.expected, "chosen": chosen}
        say_json(told | found)
        return
    if to_pool is not None:
        say(f"pool: {to_pool}  (amp pools info {to_pool})")
    if to is not None:
        say(f'policy: {to}  (in a route of amp.toml: policy = "{to}")')


def _show_traffic(study: TrafficStudy, counts: tuple[int, int, int], may_lose: float) -> None:
    from rich.table import Table

    from amp.serve.traffic.study import SURE

    console, pool, dear = new_console(), study.traffic.pool, study.arms[-1]
    chosen = study.chosen(may_lose)
    episodes = len({task.group for task in pool.tasks})
    say(
        f"{counts[0]:,} calls, {counts[1]:,} shadows, {counts[2]:,} outcomes; learned from"
        f" {len(pool.tasks):,} {study.traffic.by} in {episodes:,} episodes"
    )
    for note in pool.notes:
        say(f"note: {note}")
    does = f"the same as {dear.name}" if study.traffic.by == "shadows" else "good"
    for title, first, rows in (
        ("each arm, if it answered all of these calls; in brackets 95 % intervals", "arm",
         study.arms),
        ("the policy, on calls that it was not learned from", "trade-off", _unlike(study, chosen)),
    ):  # fmt: skip
        table = Table(title=title, title_justify="left", box=None)
        table.add_column(first)
        for name in ("judged", f"{does}, %", "loses up to", f"saves {study.router.cost}, %"):
            table.add_column(name, justify="right")
        for row in rows:
            mark = " *" if row == chosen else ""
            success, saves = _percent(row.success), _percent(row.saves)
            lost = f"{100 * row.loses + 0.0:.1f}"
            table.add_row(row.name + mark, f"{row.judged:,}", success, lost, saves)
        console.print(table)
    say(
        f"* where it runs unless x-amp-trade-off says otherwise: the cheapest that loses at most"
        f" {100 * may_lose:g} points beside {dear.name}, with {100 * SURE:g} % probability"
    )


def _unlike(study: TrafficStudy, chosen: Expected | None) -> list[Expected]:
    """The settings of a policy, without those that choose as the one before does."""
    rows: list[Expected] = []
    for row in study.expected:
        alike = rows and (row.success, row.saves) == (rows[-1].success, rows[-1].saves)
        if not alike or row == chosen:
            rows.append(row)
    return rows


def _percent(share: IntervalEstimate) -> str:
    value, low, high = (round(100.0 * each, 1) + 0.0 for each in astuple(share))  # no -0.0
    return f"{value:.1f} ({low:.1f} to {high:.1f})"
