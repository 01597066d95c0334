"""`amp assess`: train what scores steps and candidates, and examine it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from amp.cli.app import Data, Json, MaxSteps, Probe, app, output_file, probes_of
from amp.cli.terminal import new_console, say, say_json, shown_in_line, tracked
from amp.errors import InvalidInputError, RecordingError, did_you_mean
from amp.files import replace_file

if TYPE_CHECKING:
    from amp.annotations.store import Annotation
    from amp.benchmarks.labels import StepLabels
    from amp.evaluate.record import EpisodeDataset
    from amp.learn.candidates import CandidateDataset
    from amp.report.validity_report import ValidityReport

assess_app = typer.Typer(help="Train and validate the complexity of steps.", no_args_is_help=True)
app.add_typer(assess_app, name="assess")

KINDS = ("neural", "weighted")
HEAD_KINDS = ("logistic", "network")
OF = ("steps", "candidates")

Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Run directories, or recordings (.sqlite).")
]
Split = Annotated[str | None, typer.Option(help="Split of the tasks in a recording.")]
Level = Annotated[
    list[str] | None, typer.Option(help="Level of the tasks in a recording; repeat for several.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Tasks to look for in a recording at most.")]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1, help="Samples of each arm in a recording, to judge candidates; 4 if left out."
    ),
]
ArmNames = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        help="Arms of a recording whose candidates are judged; repeat. Default: all that it has.",
    ),
]
Parser = Annotated[str, typer.Option(help="Structure of text: structural, or dependency (spaCy).")]


@assess_app.command("train")
def train_assessor(
    runs: Runs,
    out: Annotated[Path, typer.Option(callback=output_file, help="File of the assessor.")],
    annotations: Annotated[
        list[Path] | None,
        typer.Option(help="Learn from these annotations; without, from what the judge says."),
    ] = None,
    of: Annotated[
        str,
        typer.Option(
            help="steps: complexity. candidates: heads that say how probably each answer is right."
        ),
    ] = "steps",
    kind: Annotated[
        str | None,
        typer.Option(
            help="neural (the default) or weighted; of candidates, logistic (the default) or "
            "network."
        ),
    ] = None,
    parser: Parser = "structural",
    samples: Samples = None,
    arm: ArmNames = None,
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
    """Train an assessor. Example: amp assess train runs/train --out cam.safetensors

    Heads: amp assess train --of candidates recordings/gsm8k-train.sqlite --out heads.safetensors
    """
    from amp.assess.neural import save_assessor
    from amp.assess.text import find_parser
    from amp.learn.pretrain import train_assessor, training_of

    if of not in OF:
        raise InvalidInputError(f"--of is {of!r}, expected {' or '.join(OF)}")
    kinds = HEAD_KINDS if of == "candidates" else KINDS
    kind = kind or kinds[0]
    if kind not in kinds:
        raise InvalidInputError(
            f"unknown kind {kind!r}{did_you_mean(kind, kinds)} (of {of}: {', '.join(kinds)})"
        )
    if of == "candidates":
        if annotations:
            raise InvalidInputError(
                "--annotations is for complexity; heads learn from the judge, leave it out"
            )
        found = _arm_samples(runs, benchmark, split, limit, samples, arm, data)
        if found is None:
            source = _source(runs, benchmark, split, level, limit, probe, max_steps, data)
            found = _candidates(source, _labels(source))
        _train_heads(found, kind, seed, out, as_json)
        return
    for name, value in (("samples", samples), ("arm", arm)):
        if value:
            raise InvalidInputError(f"--{name} is for heads; add --of candidates or leave it out")
    source = _source(runs, benchmark, split, level, limit, probe, max_steps, data)
    notes = _read(annotations) if annotations else _settled(source, _labels(source))
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


def _train_heads(source: CandidateDataset, kind: str, seed: int, out: Path, as_json: bool) -> None:
    from amp.assess.correctness import Kind, save_correctness
    from amp.learn.correctness import CorrectnessSettings, train_correctness

    settings = CorrectnessSettings(kind=cast("Kind", kind), seed=seed)
    judged = source.judged()
    trained = train_correctness(judged, settings)
    save_correctness(trained.correctness, source.training, out)
    if as_json:
        fits = {way: asdict(fit) for way, fit in trained.fits.items()}
        say_json({"out": str(out), "kind": kind, "ways": fits})
        return
    for way, fit in trained.fits.items():
        say(
            f"{way}: {kind} head of {fit.candidates} candidates from {fit.tasks} tasks, "
            f"{fit.right:.0%} right; Brier {fit.brier:.4f} on tasks left out, "
            f"{fit.constant_brier:.4f} for a constant"
        )
    for way in sorted({one.way for one in judged} - trained.fits.keys()):
        right = sum(one.right for one in judged if one.way == way)
        wrong = sum(one.way == way for one in judged) - right
        say(f"{way}: no head, since {right} right and {wrong} wrong candidates are too few")
    say(f"heads: {out}  (amp run {source.environment} --correctness {out})")


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
    samples: Samples = None,
    arm: ArmNames = None,
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
    """Say how well complexity tells failures, and heads wrong candidates.

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
    outside_labels, inside_labels = _labels(held_out), _labels(inside)
    outside_notes = _settled(held_out, outside_labels)
    inside_notes = _settled(inside, inside_labels)
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

    def candidates() -> tuple[CandidateDataset, CandidateDataset]:
        """Those of the same tasks: of all arms where they were recorded, else of the episodes."""
        outside = _arm_samples(runs, benchmark, split, limit, samples, arm, data)
        if outside is None:
            labelled = (inside, inside_labels), (held_out, outside_labels)
            one, other = (_candidates(*side) for side in labelled)
            return one, other
        if not train:
            return outside.train_test_split()
        arms = _arm_samples(train, benchmark, train_split, limit, samples, arm, data)
        return arms or _candidates(inside, inside_labels), outside

    made = _with_candidates(made, candidates, seed)
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


def _labels(source: EpisodeDataset) -> list[tuple[StepLabels, ...]]:
    """What the judge says of every episode."""
    from amp.benchmarks.labels import label_steps

    return [label_steps(e, source.benchmark) for e in tracked(source.episodes, "judging")]


def _settled(source: EpisodeDataset, labels: Sequence[tuple[StepLabels, ...]]) -> list[Annotation]:
    from amp.benchmarks.labels import settling

    judged = zip(source.episodes, labels, strict=True)
    return [note for episode, one in judged for note in settling(episode, one)]


def _candidates(
    source: EpisodeDataset, labels: Sequence[tuple[StepLabels, ...]]
) -> CandidateDataset:
    """The candidates of episodes."""
    from amp.learn.candidates import CandidateDataset, judged_steps

    judged = zip(source.episodes, labels, strict=True)
    steps = [step for episode, one in judged for step in judged_steps(episode, one)]
    return CandidateDataset(tuple(steps), source.benchmark.name, source.card)


def _arm_samples(
    paths: list[Path],
    benchmark: str | None,
    split: str | None,
    limit: int | None,
    samples: int | None,
    arms: list[str] | None,
    data: Path | None,
) -> CandidateDataset | None:
    """The samples of all arms; None unless all are recordings of a benchmark that has arms."""
    from amp.benchmarks import load_benchmark
    from amp.evaluate.record import benchmark_of
    from amp.learn.candidates import SAMPLES, CandidateDataset, has_arms
    from amp.settings import load_settings

    if any(path.suffix != ".sqlite" for path in paths):
        return None
    data = data or load_settings().data
    datasets = []
    for path in paths:
        chosen = load_benchmark(benchmark or benchmark_of(path), data=data)
        if not has_arms(chosen):
            return None
        tasks = chosen.tasks(split or chosen.splits[0], limit)
        datasets.append(
            CandidateDataset.from_recording(path, chosen, tasks, samples or SAMPLES, arms or ())
        )
    return CandidateDataset.merge(datasets)


def _with_candidates(
    report: ValidityReport,
    candidates: Callable[[], tuple[CandidateDataset, CandidateDataset]],
    seed: int,
) -> ValidityReport:
    """The report with what heads tell of candidates, or why there is nothing to tell."""
    from amp.learn.candidates import candidate_stages
    from amp.learn.correctness import CorrectnessSettings

    try:
        inside, outside = candidates()
        settings = CorrectnessSettings(seed=seed)
        stages = candidate_stages(inside.steps, outside.steps, settings)
    except (InvalidInputError, RecordingError) as error:
        return replace(report, candidates_note=f"candidates are not examined: {error}")
    return replace(report, candidates=stages)


def _read(paths: list[Path]) -> list[Annotation]:
    from amp.annotations.store import read_annotations

    notes: list[Annotation] = []
    for path in paths:
        read = read_annotations(path)
        notes += read.good
        for bad in read.bad:
            say(f"{path} line {bad.number}: {shown_in_line(bad.reason)}", error=True)
    return notes
