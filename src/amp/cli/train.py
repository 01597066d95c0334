"""What learns: `amp train` a policy, on a recording or online; `amp assess` an assessor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.app import (
    INTERRUPTED,
    Data,
    Json,
    MaxSteps,
    Model,
    Probe,
    Record,
    Replay,
    app,
    open_model,
    output_directory,
    output_file,
    probes_of,
)
from amp.cli.policy import cost_curve
from amp.cli.terminal import new_console, progress, say, say_json, shown_in_line, tracked
from amp.errors import InvalidInputError, did_you_mean
from amp.files import replace_file

if TYPE_CHECKING:
    from rich.progress import Progress

    from amp.allocate.policy_file import Origin
    from amp.annotations.store import Annotation
    from amp.benchmarks.base import Benchmark
    from amp.evaluate.record import EpisodeDataset
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

    from amp.learn.trainer import CHECKPOINT, POLICY

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
    from amp.learn.pipeline import load_dataset, train_policy

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
    from amp.learn.trainer import ASSESSOR, METRICS, POLICY, has_tensorboard

    console = new_console()
    if origin.curve:
        console.print(cost_curve(origin))
    if config.learn:
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


assess_app = typer.Typer(help="Train and validate the complexity of steps.", no_args_is_help=True)
app.add_typer(assess_app, name="assess")

KINDS = ("neural", "weighted")

Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Run directories, or recordings (.sqlite).")
]
Split = Annotated[str | None, typer.Option(help="Split of the tasks in a recording.")]
Level = Annotated[
    list[str] | None, typer.Option(help="Level of the tasks in a recording; repeat for several.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Tasks to look for in a recording at most.")]
Parser = Annotated[str, typer.Option(help="Structure of text: structural, or dependency (spaCy).")]


@assess_app.command("train")
def train_assessor(
    runs: Runs,
    out: Annotated[Path, typer.Option(callback=output_file, help="File of the assessor.")],
    annotations: Annotated[
        list[Path] | None,
        typer.Option(help="Learn from these annotations; without, from what the judge says."),
    ] = None,
    kind: Annotated[str, typer.Option(help="neural or weighted.")] = "neural",
    parser: Parser = "structural",
    benchmark: Annotated[str | None, typer.Option(help="Benchmark of a recording.")] = None,
    split: Split = "train",
    level: Level = None,
    limit: Limit = None,
    probe: Probe = None,
    max_steps: MaxSteps = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Train an assessor. Example: amp assess train runs/train --out cam.safetensors"""
    from amp.assess.neural import save_assessor
    from amp.assess.text import find_parser
    from amp.learn.pretrain import train_assessor, training_of

    if kind not in KINDS:
        raise InvalidInputError(f"unknown kind {kind!r}{did_you_mean(kind, KINDS)}")
    source = _source(runs, benchmark, split, level, limit, probe, max_steps, data)
    notes = _read(annotations) if annotations else _judged(source)
    made = train_assessor(kind, source.episodes, notes, find_parser(parser), seed)
    save_assessor(made.assessor, training_of(source.card, source.benchmark.name, notes), out)
    fit = made.fit
    if as_json:
        say_json({"out": str(out), "kind": kind} | asdict(fit))
        return
    say(
        f"{kind} assessor of {fit.examples} examples from {fit.tasks} tasks: squared error "
        f"{fit.error:.4f} on tasks left out, {fit.constant_error:.4f} for a constant; {out}"
    )


@assess_app.command("report")
def report_assessors(
    runs: Runs,
    train: Annotated[
        list[Path] | None,
        typer.Option(
            help="Runs or recordings of other tasks to learn from; without, a third of the tasks "
            "is held out and the others are learned from."
        ),
    ] = None,
    assessor: Annotated[
        list[Path] | None,
        typer.Option(help="Examine these; without, both kinds are trained on --train."),
    ] = None,
    parser: Parser = "structural",
    benchmark: Annotated[str | None, typer.Option(help="Benchmark of a recording.")] = None,
    split: Split = None,
    train_split: Annotated[
        str, typer.Option(help="Split of the tasks in a recording of --train.")
    ] = "train",
    level: Level = None,
    limit: Limit = None,
    probe: Probe = None,
    max_steps: MaxSteps = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    html: Annotated[
        Path | None, typer.Option(callback=output_file, help="Write a page with figures, too.")
    ] = None,
    features: Annotated[
        int | None, typer.Option(min=0, help="Features that a table shows at most.")
    ] = 12,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say how well complexity tells failures.

    Example: amp assess report recordings/gsm8k.sqlite --train recordings/gsm8k-train.sqlite
    """
    from amp.assess.text import find_parser
    from amp.report.validity_report import make_validity_report

    held_out = _source(runs, benchmark, split, level, limit, probe, max_steps, data)
    if train:
        inside = _source(train, benchmark, train_split, level, limit, probe, max_steps, data)
        if shared := {e.task.id for e in inside.episodes} & {e.task.id for e in held_out.episodes}:
            raise InvalidInputError(
                f"{len(shared)} of these tasks are in --train, too, such as {min(shared)}; "
                "report on others"
            )
    else:
        inside, held_out = held_out.train_test_split()
    outside_notes, inside_notes = _judged(held_out), _judged(inside)
    if assessor:
        from amp.assess.neural import load_assessor

        assessors = {}
        for path in assessor:
            loaded, training = load_assessor(
                path, model=held_out.card, environment=held_out.benchmark.name
            )
            if seen := {e.task.id for e in held_out.episodes} & set(training.tasks):
                raise InvalidInputError(
                    f"{path} was trained on {len(seen)} of these tasks, such as {min(seen)}; "
                    "report on others"
                )
            assessors[path.stem] = loaded
    else:
        from amp.learn.pretrain import train_assessor

        assessors = {
            kind: train_assessor(
                kind, inside.episodes, inside_notes, find_parser(parser), seed
            ).assessor
            for kind in KINDS
        }
    made = make_validity_report(
        held_out.card.name,
        held_out.benchmark.name,
        (inside.episodes, inside_notes),
        (held_out.episodes, outside_notes),
        assessors,
    )
    if html is not None:
        from amp.report.pages import validity_page

        replace_file(html, validity_page(made).encode())
    if as_json:
        say_json(made)
        return
    from amp.cli.render import report_view

    new_console().print(report_view(made, features))
    if html is not None:
        say(f"page: {html}")


def _source(
    paths: list[Path],
    benchmark: str | None,
    split: str | None,
    level: list[str] | None,
    limit: int | None,
    probe: list[str] | None,
    max_steps: int | None,
    data: Path | None,
) -> EpisodeDataset:
    """The episodes of runs and recordings; a progress bar, since a recording is planned again."""
    from amp.benchmarks import load_benchmark
    from amp.evaluate.record import EpisodeDataset, benchmark_of
    from amp.settings import load_settings

    data = data or load_settings().data
    probes = probes_of(probe)
    datasets = []
    for path in paths:
        if path.suffix != ".sqlite":
            datasets.append(EpisodeDataset.from_run(path, data))
            continue
        levels: list[str | None] = [*level] if level else [None]
        for one in levels:
            chosen = load_benchmark(benchmark or benchmark_of(path), data=data, level=one)
            tasks = tracked(
                chosen.tasks(split or chosen.splits[0], limit),
                " ".join(filter(None, [path.name, one])),
            )
            datasets.append(EpisodeDataset.from_recording(path, chosen, tasks, probes, max_steps))
    return EpisodeDataset.merge(datasets)


def _judged(source: EpisodeDataset) -> list[Annotation]:
    from amp.report.validity_report import judge_episodes

    episodes = tracked(source.episodes, "judging")
    return [note for episode in episodes for note in judge_episodes([episode], source.benchmark)]


def _read(paths: list[Path]) -> list[Annotation]:
    from amp.annotations.store import read_annotations

    notes: list[Annotation] = []
    for path in paths:
        read = read_annotations(path)
        notes += read.good
        for bad in read.bad:
            say(f"{path} line {bad.number}: {shown_in_line(bad.reason)}", error=True)
    return notes
