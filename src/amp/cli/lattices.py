"""`amp lattices`: on recorded lattices, policies beside rules, and what each step needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.app import (
    INTERRUPTED,
    Data,
    Json,
    app,
    open_model,
    output_directory,
    output_file,
)
from amp.cli.terminal import json_of, new_console, progress, say, say_json
from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from amp.allocate.base import Allocator
    from amp.learn.config import TrainConfig
    from amp.learn.lattice_study import LatticeStudy
    from amp.report.tables import Table
    from amp.simulate.lattice_recording import Lattice, Survey
    from amp.simulate.lattice_replay import Visit
    from amp.simulate.lattice_states import TaskLattice
    from amp.types import Task

lattices_app = typer.Typer(help="Recorded states of long plans.", no_args_is_help=True)
app.add_typer(lattices_app, name="lattices")


@lattices_app.command("compare")
def compare(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help='A TOML file whose source is "lattice".')
    ],
    out: Annotated[
        Path,
        typer.Option(callback=output_directory, help="Directory for policies and the tables."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Visit with this model what the compared policies come to outside the recorded "
            "states, and keep it in the recording; without it that is told, or refused."
        ),
    ] = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            help="With --model: of training tasks, too, where it would count as lost. What is "
            "learned is learned again, up to three times.",
        ),
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Learn policies on a lattice, tune rules on the same tasks, and compare all on other tasks.

    The table compare of CONFIG says on which; amp record BENCHMARK --lattice records them. With
    --model the same command goes on after an interruption.

    Example: amp lattices compare configs/lattices/babyai.toml --out runs/babyai
    """
    if train and model is None:
        raise InvalidInputError("--train is for states visited with a model; name it (--model)")
    from amp.cli.train import levels_of
    from amp.files import lock_directory
    from amp.models.recording_store import Store

    chosen, recording = _lattice_config(config)
    of_test = chosen.compare.recording or recording
    for path in (recording, of_test):
        Store(path, write=False).close()  # what lacks is told before PyTorch is loaded
    benchmarks = levels_of(chosen, data)

    from amp.cost import COSTS
    from amp.learn.lattice_study import study_lattice
    from amp.learn.lattices import survey_of
    from amp.report.lattice_page import lattice_page
    from amp.simulate.lattice_replay import as_it_is

    with (
        lock_directory(out),
        _stages() as on_stage,
        _visits(model, chosen, survey_of(chosen, benchmarks), on_stage) as visit_in,
    ):
        visits = visit_in(of_test), visit_in(recording) if train else as_it_is
        study = study_lattice(chosen, benchmarks, out, on_stage, *visits)
        found = markdown(study, f"amp lattices compare {config} --out {out}")
        (out / f"{config.stem}.md").write_text(found, encoding="utf-8")
        (out / f"{config.stem}.json").write_text(json_of(study) + "\n", encoding="utf-8")
        unit = COSTS[study.report.cost]
        title = study.report.title.replace("Runs", "Plans", 1)
        page = lattice_page(title, study.plans, unit, chosen.compare.trade_offs[0])
        (out / f"{config.stem}.html").write_text(page, encoding="utf-8")
    if as_json:
        say_json(study)
        return
    from amp.cli.report import shown

    console = new_console()
    for table in tables(study):
        console.print(shown(table, table.title))
        console.print()
    for note in _notes(study):
        console.print(note, style="dim", markup=False)
    say(f"written: {out / config.stem}.md, .json, .html (the plans); learned policies in {out}")


@lattices_app.command("ablate")
def ablate(
    sweep: Annotated[
        Path, typer.Argument(metavar="SWEEP", help="A TOML file that says what is left out.")
    ],
    out: Annotated[Path, typer.Option(callback=output_directory, help="Directory for the table.")],
    of: Annotated[
        Path | None, typer.Option(metavar="CONFIG", help="In place of the one that SWEEP names.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Learn with one thing changed at a time, and without one level at a time; compare all.

    Everything is learned on the training tasks of the configuration that SWEEP names, and played on
    its test tasks. Example: amp lattices ablate configs/lattices/ablations.toml --out runs/a
    """
    from amp.cli.train import levels_of
    from amp.files import lock_directory
    from amp.learn.lattice_ablations import AblationConfig
    from amp.learn.lattice_ablations import ablate as ablated
    from amp.models.recording_store import Store
    from amp.report.ablations import ablations_table
    from amp.report.tables import markdown_rows
    from amp.settings import load_toml

    wanted = load_toml(AblationConfig, sweep)
    config = of or wanted.of
    chosen, recording = _lattice_config(config)
    name = f"{config.stem}-{sweep.stem}"
    for path in (recording, chosen.compare.recording or recording):
        Store(path, write=False).close()  # what lacks is told before PyTorch is loaded
    with lock_directory(out), _stages() as on_stage:
        loaded = [(one, levels_of(one, data)) for one, _ in map(_lattice_config, wanted.others)]
        found = ablated(wanted, chosen, levels_of(chosen, data), loaded, on_stage)
        table = ablations_table(found)
        told = "" if of is None else f"--of {of} "
        command = f"    amp lattices ablate {sweep} {told}--out {out}"
        lines = [f"# {table.title}: {chosen.benchmark}, {found.model}", "", command, ""]
        lines += [*markdown_rows(table), "", table.note, "", "## What trees ask", "", "```"]
        for row in found.rows:
            lines += [f"{row.name}:", *(f"  {line}" for line in row.asks)] if row.asks else []
        page = "\n".join([*lines, "```", ""])
        (out / f"{name}.md").write_text(page, encoding="utf-8")
        (out / f"{name}.json").write_text(json_of(found) + "\n", encoding="utf-8")
    if as_json:
        say_json(found)
        return
    from amp.cli.report import shown

    new_console().print(shown(table, table.title))
    say(f"written: {out / name}.md, .json")


@lattices_app.command("label")
def label(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help='A TOML file whose source is "lattice".')
    ],
    out: Annotated[
        Path, typer.Option(callback=output_file, help="File of annotations; its lines are kept.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Of the tasks; that of the table compare.")
    ] = None,
    trade_off: Annotated[
        float | None, typer.Option(min=0, max=1, help="The first one of the table compare.")
    ] = None,
    data: Data = None,
) -> None:
    """Annotate steps by what they needed: the arm that the oracle of a lattice takes there.

    Arms are ranked by cost, from 0 for the cheapest to 1. Example: amp lattices label
    configs/lattices/babyai.toml --out needed.jsonl
    """
    from amp.annotations.store import add_annotations
    from amp.cli.train import levels_of
    from amp.cost import costing
    from amp.learn.lattices import read_lattice
    from amp.simulate.lattice_replay import needed_labels

    chosen, recording = _lattice_config(config)
    told = chosen.compare
    split = split or told.split
    limit = chosen.limit if split == chosen.split else told.limit
    benchmarks = levels_of(chosen, data)
    lattice = read_lattice(chosen, benchmarks, told.recording or recording, split, limit)
    lam = told.trade_offs[0] if trade_off is None else trade_off
    cost_of = costing(chosen.ppo.cost, lattice.card).of
    labels = needed_labels(lattice, chosen.ppo.reward, lam, cost_of)
    added = add_annotations(out, labels)
    say(
        f"added to {out}: {added} annotations of {len(lattice.tasks)} tasks, by what pays at a"
        f" trade-off of {lam:g} in {chosen.ppo.cost}; tasks left out: {len(lattice.left_out)}"
    )


def _lattice_config(config: Path) -> tuple[TrainConfig, Path]:
    """A configuration whose source is a lattice, and its recording."""
    from amp.learn.config import load_train_config

    chosen = load_train_config(config)
    if chosen.source != "lattice" or chosen.recording is None:
        raise InvalidInputError(
            f'{config}: source is {chosen.source!r}, expected "lattice" and a recording that has'
            " one (amp record --lattice)"
        )
    return chosen, chosen.recording


def tables(study: LatticeStudy) -> list[Table]:
    """What is shown of a study: policies, by third of difficulty, costs, pairs, adaptivity."""
    from amp.report.groups import gains_by_group, groups_table, task_groups
    from amp.report.overview import adaptivity, costs, duels, overview
    from amp.report.report import measure_of

    measure = measure_of(study.runs, study.report.cost)
    groups = gains_by_group(study.runs, task_groups(study.runs), measure.of)

    made = [
        overview(study.report),
        groups_table(groups, study.report.unit),
        costs(study.runs),
        duels(study.report),
        adaptivity([(one.run, one.steps, one.correlation) for one in study.adaptivity]),
    ]
    return [table for table in made if table.rows]


def markdown(study: LatticeStudy, command: str) -> str:
    """The tables as a page."""
    from amp.report.tables import markdown_rows

    lines = [f"# {study.report.title}", "", f"    {command}", ""]
    for table in tables(study):
        lines += [f"## {table.title}", "", *markdown_rows(table), ""]
        if table.name == "groups":
            lines += [table.note, ""]
    if study.questions:
        lines += ["## The values that were learned", "", "```", *study.questions, "```", ""]
    return "\n".join([*lines, *(f"- {note}" for note in _notes(study)), ""])


def _notes(study: LatticeStudy) -> list[str]:
    report, first = study.report, study.report.lines[0]
    told = [
        f"learned and tuned on {len(study.training)} tasks, tested on {first.tasks} others; seeds:"
        f" {first.seeds}; reference: {report.reference}"
    ]
    return [*told, *filter(None, [report.price]), *study.notes]


@contextmanager
def _visits(
    name: str | None, config: TrainConfig, survey: Survey, on_stage: Callable[[str], None]
) -> Iterator[Callable[[Path], Visit]]:
    """Gives, for a recording, what visits with a model; without one nothing is visited."""
    from amp.learn.lattices import as_charged
    from amp.models.recorded import RecordedModel
    from amp.simulate.lattice_recording import visit_played
    from amp.simulate.lattice_replay import as_it_is, visit_policy

    if name is None:
        yield lambda path: as_it_is
        return
    opened: dict[Path, RecordedModel] = {}
    model = open_model(name, hidden_states="hidden" in survey.arms.probes)

    def visit_in(path: Path) -> Visit:
        if path not in opened:
            opened[path] = RecordedModel(model, path, "auto", prompts=survey.prompts)

        async def visited(task: Task, allocator: Allocator) -> TaskLattice:
            on_stage(f"visiting what policies come to: {task.id}")
            return await visit_played(opened[path], path, survey, task, allocator)

        def visit(lattice: Lattice, allocator: Allocator, seed: int) -> Lattice:
            found = runner.run(visit_policy(lattice, allocator, seed, visited))
            return found if found is lattice else as_charged(config, found)

        return visit

    # The work between visits is not asynchronous, and the model stays open in one loop.
    with asyncio.Runner() as runner:
        try:
            yield visit_in
        except KeyboardInterrupt:
            new_console(stderr=True).print("interrupted; go on with the same command")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            for recorded in opened.values():
                recorded.recording.close()
            runner.run(model.close())


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    """Shows what is done now."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = new_console(stderr=True)
    with progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("beginning", total=None)
        yield lambda stage: bar.update(task, description=stage)
