"""`amp train`: a policy learns, on a recording or online."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.app import (
    INTERRUPTED,
    Data,
    Json,
    Model,
    Record,
    Replay,
    app,
    open_model,
    output_directory,
)
from amp.cli.policy import cost_curve
from amp.cli.terminal import new_console, progress, say_json
from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from amp.allocate.policy_file import Origin
    from amp.benchmarks.base import Benchmark
    from amp.learn.config import TrainConfig
    from amp.learn.trainer import Metrics
    from amp.models.base import LanguageModel


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file; configs/ has some.")],
    out: Annotated[
        Path,
        typer.Option(
            callback=output_directory, help="Directory of the training, and of the policy."
        ),
    ],
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
            help="Play episodes with a model in place of a recording; the config's table [online] "
            "says how, max_calls, max_tokens and max_dollars how much at most.",
        ),
    ] = False,
    model: Model = None,
    record: Record = None,
    replay: Replay = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Learn a policy: imitate the oracle of a recording, then PPO; or PPO with a model.

    Example: amp train configs/train-gsm8k.toml --out runs/policy

    Online:  amp train configs/train-online.toml --online --model random --out runs/online
    """
    from amp.allocate.policy_file import load_origin
    from amp.benchmarks import load_benchmark
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
    live = chosen.online
    benchmark = load_benchmark(
        chosen.benchmark,
        data=data or load_settings().data,
        level=None if live is None else live.level,
        step=None if live is None else live.step,
    )
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
            if live is None:
                _on_recording(chosen, benchmark, out, resume)
            else:
                prompts = (benchmark.prompts.version,)
                opened = open_model(model or live.model, record, replay, prompts)
                ended = _online(chosen, benchmark, opened, out, resume)
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


def _on_recording(config: TrainConfig, benchmark: Benchmark, out: Path, resume: bool) -> None:
    if config.learner == "router":
        from amp.learn.routing import train_router

        train_router(config, benchmark, out)
        return
    from amp.learn.dataset import load_dataset
    from amp.learn.pipeline import train_policy

    with _bars() as bars:
        tabled = bars.add_task("tasks worked out", total=None)
        dataset = load_dataset(config, benchmark, lambda task: bars.advance(tabled))
        bars.update(tabled, total=len(dataset.table.tasks))
        train_policy(config, dataset, out, resume=resume, on_update=_notes(bars, config))


def _online(
    config: TrainConfig, benchmark: Benchmark, model: LanguageModel, out: Path, resume: bool
) -> str | None:
    from amp.learn.pipeline import train_online

    with _bars() as bars:
        on_update = _notes(bars, config)
        return train_online(config, benchmark, model, out, resume=resume, on_update=on_update)


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
    elif config.learn:
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
