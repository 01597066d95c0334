"""`amp export`: saved runs for the tools of others."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from amp.cli.app import app, output_directory
from amp.cli.terminal import say, shown_in_line
from amp.errors import InvalidInputError, MissingDependencyError, did_you_mean
from amp.files import writing

_TARGETS = ("otlp", "inspect")
_LOGS = Path("logs")
_NO_INSPECT = "Inspect logs need inspect_ai; run: pip install 'adaptive-meta-planning[inspect]'"


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    to: Annotated[
        str,
        typer.Option(
            help="otlp sends spans to a collector (otel_endpoint, OTEL_...), inspect writes a log"
            " that inspect view opens."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(callback=output_directory, help="Folder of Inspect logs; logs if left out."),
    ] = None,
    content: Annotated[
        bool, typer.Option("--content", help="Also send texts of tasks, models and tools.")
    ] = False,
) -> None:
    """Export a run to what others look with. Example: amp export runs/gsm8k --to inspect"""
    if to not in _TARGETS:
        raise InvalidInputError(
            f"--to is {to!r}{did_you_mean(to, _TARGETS)} (formats: {', '.join(_TARGETS)})"
        )
    for option, given, fits in (
        ("--out", out is not None, "inspect"),
        ("--content", content, "otlp"),
    ):
        if given and to != fits:
            raise InvalidInputError(f"{option} is for --to {fits}, not for {to}; leave it out")
    if to == "inspect":
        _write(run, out or _LOGS)
    else:
        _send(run, content)


def _write(run: Path, folder: Path) -> None:
    try:
        from amp.report.inspect_log import write_inspect_log
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("inspect_ai"):
            raise
        raise MissingDependencyError(_NO_INSPECT) from None
    with writing(folder):
        file = write_inspect_log(run, folder)
    say(f"written: {shown_in_line(str(file))}  (inspect view --log-dir {folder})")


def _send(run: Path, content: bool) -> None:
    """Sends spans whose times end when the run did."""
    from amp.models.base import ModelCard
    from amp.settings import load_settings
    from amp.telemetry import Telemetry
    from amp.trace import EPISODES, read_episodes, read_manifest

    known = {each.name for each in fields(ModelCard)}
    told = {"name": "unknown"} | (read_manifest(run).get("model") or {})
    card = ModelCard(**{name: value for name, value in told.items() if name in known})
    episodes = list(read_episodes(run))
    total = sum(episode.usage.seconds for episode in episodes)
    now = (run / EPISODES).stat().st_mtime_ns - round(total * 1e9)
    telemetry = Telemetry.named_by(load_settings(), content=content)
    with telemetry.sending() as spans:
        for episode in episodes:
            now = spans.saved(episode, card, now)
    steps = sum(len(episode.steps) for episode in episodes)
    say(f"sent: {len(episodes)} episodes, {steps} steps of {shown_in_line(str(run))}")
