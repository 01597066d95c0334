"""The options that several commands have, and how they read together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from amp.errors import InvalidInputError, did_you_mean
from amp.types import LookKind

Model = Annotated[
    str | None,
    typer.Option(
        help="Catalog name, gguf file, openai:NAME, anthropic:NAME, transformers:NAME, or chance."
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
Look = Annotated[
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


def looks_of(names: list[str] | None) -> frozenset[LookKind]:
    """What --look names.

    Raises:
        InvalidInputError: if it names something else.
    """
    known: tuple[LookKind, ...] = get_args(LookKind)
    for name in names or ():
        if name not in known:
            raise InvalidInputError(
                f"unknown look {name!r}{did_you_mean(name, known)} (looks: {', '.join(known)})"
            )
    return frozenset(look for look in known if look in (names or ()))
