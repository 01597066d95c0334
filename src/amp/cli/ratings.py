"""`amp annotations`: bringing annotations in and out, comparing them, and making them by rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.annotate import (
    Among,
    Out,
    Runs,
    Sample,
    Seed,
    agreement_text,
    items_of_runs,
    places_of,
    report_bad_lines,
)
from amp.cli.app import Data, Json, app, output_directory, output_file
from amp.cli.terminal import new_console, say, say_json
from amp.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from amp.annotations.store import Annotation

annotations_app = typer.Typer(help="Annotations of step complexity.", no_args_is_help=True)
app.add_typer(annotations_app, name="annotations")


@annotations_app.command("import")
def annotations_import(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines, or Label Studio's JSON.")],
    out: Out = Path("annotations.jsonl"),
) -> None:
    """Import annotations; columns task, step, rating (1-5) or complexity (0-1), by, why, goal.

    Example: amp annotations import ratings.csv --out annotations.jsonl
    """
    from amp.annotations.exchange import import_annotations
    from amp.annotations.store import add_annotations

    found = import_annotations(file)
    report_bad_lines(file, found.bad)
    added = add_annotations(out, found.good)
    say(
        f"added to {out}: {added}; there already: {len(found.good) - added}; "
        f"lines left out: {len(found.bad)}"
    )


Table = Annotated[
    Path, typer.Option(callback=output_file, help="NAME.csv, or NAME.json for Label Studio.")
]


@annotations_app.command("export")
def annotations_export(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of annotations.")],
    out: Table,
    among: Among = None,
) -> None:
    """Export annotations as CSV, or as tasks of Label Studio.

    Example: amp annotations export annotations.jsonl --out ratings.csv
    """
    from amp.annotations.exchange import (
        annotations_to_csv,
        for_label_studio,
        items_of,
        label_studio_tasks,
    )

    annotations = list(dict.fromkeys(_read(files)))
    if among is not None:
        places = places_of(among)
        annotations = [each for each in annotations if each.place in places]
    if _is_csv(out):
        kept, text = annotations, annotations_to_csv(annotations)
    else:
        kept = [annotation for annotation in annotations if for_label_studio(annotation)]
        text = label_studio_tasks(items_of(kept), kept)
    _write(out, text)
    left_out = len(annotations) - len(kept)
    reason = f"; left out, as they are no person's ratings from 1 to 5: {left_out}"
    say(f"written to {out}: {len(kept)} annotations{reason if left_out else ''}")


@annotations_app.command("tasks")
def annotations_tasks(
    run: Runs,
    out: Table,
    sample: Sample = None,
    seed: Seed = 0,
    among: Among = None,
) -> None:
    """Write steps to be rated elsewhere: a CSV to be filled in, or tasks of Label Studio.

    Beside NAME.json is NAME.xml, the labeling configuration of the project; amp annotations import
    reads what comes back.

    Example: amp annotations tasks runs/gsm8k --sample 60 --out tasks.json
    """
    from amp.annotations.exchange import LABEL_STUDIO_CONFIG, items_to_csv, label_studio_tasks

    items = items_of_runs(run, sample, seed, among)
    if _is_csv(out):
        _write(out, items_to_csv(items))
    else:
        _write(out, label_studio_tasks(items))
        _write(out.with_suffix(".xml"), LABEL_STUDIO_CONFIG)
    say(f"written to {out}: {len(items)} steps")


@annotations_app.command("sheets")
def annotations_sheets(
    run: Runs,
    by: Annotated[list[str], typer.Option(help="Name of a person; repeat for each.")],
    out: Annotated[
        Path, typer.Option(callback=output_directory, help="Directory; one in it for each person.")
    ],
    sample: Sample = None,
    seed: Seed = 0,
    among: Among = None,
) -> None:
    """Write the same steps for several people, each in an order by chance, with instructions.

    What comes back is read by amp annotations import and report.

    Example: amp annotations sheets runs/gsm8k --by ann --by ben --sample 60 --out sheets
    """
    from amp.annotations.collect import checked_author, reordered
    from amp.annotations.exchange import instructions, items_to_csv

    for name in by:
        checked_author(name)
        if name in (".", "..") or Path(name).name != name or by.count(name) > 1:
            raise InvalidInputError(
                f"--by is {name!a}, expected a name for each that can be a file's"
            )
    items = items_of_runs(run, sample, seed, among)
    for name in by:
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "steps.csv", items_to_csv(reordered(items, f"{seed} {name}"), name))
        _write(folder / "instructions.md", instructions("steps.csv", "ratings.csv"))
        say(f"written to {folder}: steps.csv with {len(items)} steps, and instructions.md")


def _is_csv(out: Path) -> bool:
    if out.suffix not in (".csv", ".json"):
        raise InvalidInputError(f"--out is {out}, expected NAME.csv, or NAME.json for Label Studio")
    return out.suffix == ".csv"


def _write(path: Path, text: str) -> None:
    from amp.files import replace_file

    replace_file(path, text.encode())


def _read(files: list[Path]) -> list[Annotation]:
    from amp.annotations.store import read_annotations

    annotations: list[Annotation] = []
    for file in files:
        found = read_annotations(file)
        report_bad_lines(file, found.bad)
        annotations.extend(found.good)
    return annotations


@annotations_app.command("agreement")
def annotations_agreement(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of annotations.")],
    rules: Annotated[bool, typer.Option("--rules", help="Count rules as annotators, too.")] = False,
    as_json: Json = False,
) -> None:
    """Tell how far annotators agree. Example: amp annotations agreement annotations.jsonl"""
    from amp.annotations.collect import measure_agreement

    result = measure_agreement(_read(files), rules=rules)
    if as_json:
        say_json(result)
    else:
        say(agreement_text(result))


@annotations_app.command("report")
def annotations_report(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Annotations of people, and of rules.")
    ],
    against: Annotated[
        str | None, typer.Option(help="Of the rules, hold only this one to all others: rule:NAME.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    as_json: Json = False,
) -> None:
    """Tell how far raters agree with each other and with rules, with intervals over tasks.

    Files are JSON lines, CSV or Label Studio's JSON; what a rule says of the steps is one more
    (amp lattices label, amp annotations scores and outcomes).

    Example: amp annotations report annotations.jsonl needed.csv
    """
    from amp.annotations.exchange import import_annotations
    from amp.report.agreement import agreement_report, agreement_tables

    annotations: list[Annotation] = []
    for file in files:
        found = import_annotations(file)
        report_bad_lines(file, found.bad)
        annotations.extend(found.good)
    report = agreement_report(annotations, against, seed=seed)
    if as_json:
        say_json(report)
        return
    from amp.cli.report import shown

    for name, rated in report.rated.items():
        say(f"{name} rated {rated} steps")
    alpha = report.alpha
    if alpha.value is None:
        say(f"Krippendorff's alpha: {alpha.note}")
    else:
        sure = alpha.interval
        between = f"95 % CI {sure.low:.2f} to {sure.high:.2f}" if sure else alpha.note
        say(f"Krippendorff's alpha {alpha.value:.2f} (ordinal; {between}; {alpha.rows} steps)")
    console = new_console()
    for table in agreement_tables(report):
        console.print()
        console.print(shown(table, table.title))
        console.print(table.note, style="dim", markup=False)


@annotations_app.command("solutions")
def annotations_solutions(
    out: Out,
    split: Annotated[str, typer.Option(help="train or dev.")] = "train",
    limit: Annotated[int | None, typer.Option(min=1, help="Problems at most.")] = None,
    data: Data = None,
) -> None:
    """Annotate GSM8K's human solutions by what is still to be done in them.

    Example: amp annotations solutions --limit 500 --out solutions.jsonl
    """
    from amp.annotations.store import add_annotations
    from amp.benchmarks.gsm8k.problems import read_solutions, solution_annotations
    from amp.settings import load_settings

    problems = read_solutions(split, data or load_settings().data)[:limit]
    added = add_annotations(out, [a for p in problems for a in solution_annotations(split, p)])
    say(f"added to {out}: {added} annotations of {len(problems)} problems")


@annotations_app.command("outcomes")
def annotations_outcomes(
    run: Annotated[Path, typer.Argument(help="Run directory whose steps are judged.")],
    out: Out,
    rule: Annotated[str, typer.Option(help="failure_rate, cheapest or settling.")] = "settling",
    data: Data = None,
) -> None:
    """Annotate a run's steps by what would have come of each candidate.

    Example: amp annotations outcomes runs/gsm8k --rule cheapest --out cheapest.jsonl
    """
    from amp.annotations.store import add_annotations
    from amp.benchmarks.labels import RULES, label_steps
    from amp.evaluate.record import EpisodeDataset
    from amp.settings import load_settings

    if rule not in RULES:
        raise InvalidInputError(
            f"unknown rule {rule!r}{did_you_mean(rule, list(RULES))} (rules: {', '.join(RULES)})"
        )
    source = EpisodeDataset.from_run(run, data or load_settings().data)
    judged = [(e, label_steps(e, source.benchmark)) for e in source.episodes]
    added = add_annotations(out, [a for e, o in judged for a in RULES[rule](e, o)])
    say(f"added to {out}: {added} annotations of {len(judged)} episodes")


@annotations_app.command("scores")
def annotations_scores(
    run: Runs,
    out: Out,
    score: Annotated[
        list[str] | None,
        typer.Option(help="complexity, or a feature; repeat. Default: complexity and words."),
    ] = None,
) -> None:
    """Annotate runs' steps by what was known before their first round, as rules.

    Example: amp annotations scores runs/babyai --score choice_entropy --out scores.jsonl
    """
    from amp.annotations.store import add_annotations
    from amp.benchmarks.labels import COMPLEXITY, scored
    from amp.trace import read_episodes

    names = score or [COMPLEXITY, "words"]
    episodes = [episode for one in run for episode in read_episodes(one)]
    found = [annotation for episode in episodes for annotation in scored(episode, names)]
    if not found:
        raise InvalidInputError(
            f"no step of {', '.join(map(str, run))} has {' or '.join(names)} in its trace"
        )
    added = add_annotations(out, found)
    say(f"added to {out}: {added} annotations of {len(episodes)} episodes, by {', '.join(names)}")
