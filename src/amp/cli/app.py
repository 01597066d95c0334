"""The application, and what its commands share: opening a model, running to the end.

The options that several commands have, and how they read together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from amp.errors import InvalidInputError, did_you_mean
from amp.types import ProbeKind

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
    from amp.models.recorded import RecordedModel
    from amp.models.registry import load_model
    from amp.settings import load_settings

    if record is not None and replay is not None:
        raise InvalidInputError("--record and --replay exclude each other; leave one out")
    if replay is not None:
        return RecordedModel(None, replay, mode="replay", prompts=prompts)
    settings = load_settings()
    name = name or settings.model
    key = settings.api_key
    model = load_model(
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


Model = Annotated[
    str | None,
    typer.Option(
        help="Catalog name, gguf file, openai:NAME, anthropic:NAME, transformers:NAME, or random."
    ),
]
Allocator = Annotated[
    str,
    typer.Option(
        help="amp (a trained policy where one comes along, else heuristic), fixed, heuristic, "
        "random, adaptive_consistency, ..., or the file of a policy."
    ),
]
TradeOff = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Weight of success against cost, of a trained policy; 0.85 if left out.",
    ),
]
MeanTokens = Annotated[
    float | None,
    typer.Option(
        min=1.0,
        help="Tokens a task that a trained policy may take on average; in place of --trade-off.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Data = Annotated[Path | None, typer.Option(help="Directory of the benchmarks' data.")]
Depth = Annotated[int | None, typer.Option(help="Pin the reasoning depth.")]
Temperature = Annotated[float | None, typer.Option(help="Pin the temperature.")]
TopP = Annotated[float | None, typer.Option(help="Pin top-p.")]
BeamWidth = Annotated[int | None, typer.Option(help="Pin the beam width.")]
Tool = Annotated[list[str] | None, typer.Option(help="Pin the tools; repeat for several.")]
NoTools = Annotated[bool, typer.Option("--no-tools", help="Pin the tools to none.")]
Verification = Annotated[int | None, typer.Option(help="Pin the verification level.")]
Probe = Annotated[
    list[str] | None,
    typer.Option(help="Look before acting: options, next_token, hidden, perplexity; repeat."),
]
Record = Annotated[
    Path | None, typer.Option(help="Keep all answers in this recording; reuse those it has.")
]
Replay = Annotated[Path | None, typer.Option(help="Take all answers from this recording.")]
BudgetTokens = Annotated[int | None, typer.Option(help="Limit of tokens an episode.")]
MaxSteps = Annotated[int | None, typer.Option(help="Limit of plan steps an episode.")]
MaxSeconds = Annotated[float | None, typer.Option(help="Limit of model time an episode.")]
MaxDollars = Annotated[float | None, typer.Option(help="Limit of dollars an episode.")]


def pinned(
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


def probes_of(names: list[str] | None) -> frozenset[ProbeKind]:
    """What --probe names.

    Raises:
        InvalidInputError: if it names something else.
    """
    known: tuple[ProbeKind, ...] = get_args(ProbeKind)
    for name in names or ():
        if name not in known:
            raise InvalidInputError(
                f"unknown probe {name!r}{did_you_mean(name, known)} (probes: {', '.join(known)})"
            )
    return frozenset(probe for probe in known if probe in (names or ()))
