"""The application, and what its commands share: opening a model, running to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console

    from amp.models.base import LanguageModel

INTERRUPTED = 130

app = typer.Typer(
    name="amp",
    help="Plan with a language model and give each step the compute that it needs.",
    epilog="Example: amp run babyai --level BabyAI-GoToLocal-v0 --limit 10 --allocator heuristic",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    # Declared for --help alone: `main` takes the flag off, wherever it stands.
    return


def larger_recording(recording: Path | None) -> Path | None:
    """The larger model has a recording of its own beside that of the base model."""
    return recording and recording.with_stem(f"{recording.stem}-larger")


def open_model(
    name: str | None,
    record: Path | None = None,
    replay: Path | None = None,
    prompts: tuple[str, ...] = (),
    hidden_states: bool = False,
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
        hidden_states=hidden_states,
    )
    if record is None:
        return model
    return RecordedModel(model, record, mode="record", prompts=prompts)


def new_console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


Result = TypeVar("Result")


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
