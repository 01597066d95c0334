"""`amp demo`: plans the same problems twice, with the best fixed allocation and adaptively."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amp.cli.app import Json, Model, app, open_model, output_file, run_async
from amp.cli.terminal import new_console, say_json, shown_in_line
from amp.errors import InvalidInputError, ModelError
from amp.evaluate.config import PlannerConfig

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from amp.models.base import (
        Capabilities,
        Completion,
        LanguageModel,
        LogProbs,
        ModelCard,
        NextToken,
        Prompt,
        Request,
    )
    from amp.types import Episode, Task

ALLOCATORS = {"fixed": "fixed", "auto": "adaptive"}
"""The two allocators of the demo, with what it calls them."""

_GOAL_SHOWN = 27
_MINUTES = 3
"""About how long it takes with the default model on two cores that have nothing else to do."""


@app.command()
def demo(
    model: Model = None,
    svg: Annotated[
        Path | None, typer.Option(callback=output_file, help="Save what is shown as a picture.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Watch a local model plan, once fixed and once adaptively. Example: amp demo --svg demo.svg"""
    from amp.benchmarks import load_benchmark
    from amp.cli import render
    from amp.evaluate.assembly import Assembly
    from amp.models import catalog
    from amp.models.llamacpp_server import require_library
    from amp.settings import load_settings

    Assembly.of(PlannerConfig(), load_benchmark("gsm8k")).walls(is_replay=False)  # before a fetch
    name = model or load_settings().model
    if name in catalog.MODELS:
        require_library()  # before a fetch, too
    console = new_console(stderr=as_json, record=svg is not None)
    console.print(announcement(name))
    if name in catalog.MODELS and name not in {m.name for m in catalog.installed()}:
        catalog.pull(name)
    outcome = run_async(run_demo(lambda: open_model(name), console))
    if svg is not None:
        render.save_picture(console, svg, "amp demo")
    if as_json:
        say_json(outcome)


def announcement(name: str) -> str:
    """What is going to happen, and what it takes: said before anything is fetched or run.

    Raises:
        InvalidInputError: if there is no room for the model.
    """
    from amp.models import catalog

    text = f"Six word problems, planned twice with {name}."
    if (known := catalog.MODELS.get(name)) is None:
        return text
    size = known.file.size_bytes
    if name in {m.name for m in catalog.installed()}:
        text += " The model is on this machine."
    else:
        folder = catalog.directory()
        while not folder.exists():
            folder = folder.parent
        if (free := shutil.disk_usage(folder).free) < size:
            raise InvalidInputError(
                f"model {name} takes {size / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB"
                " left; make room, or name another folder with AMP_MODELS"
            )
        text += f" First the model is fetched, once: {size / 1e9:.1f} GB."
    if name == catalog.DEFAULT:
        text += f" Then about {_MINUTES} minutes on two free cores."
    return text


async def run_demo(open_model: Callable[[], LanguageModel], console: Console) -> dict[str, Any]:
    """Plans six word problems, twice; prints a comparison.

    Args:
        open_model: opens the model; called once an allocator, so that neither profits from what the
            other left in the prefix cache.
        console: where people watch.

    Returns:
        Success, tokens and seconds of both, for machines.

    Raises:
        ModelError: as soon as the model fails.
    """
    from amp.benchmarks import load_benchmark
    from amp.cli.render import summary_table
    from amp.report.metrics import summarise

    tasks = load_benchmark("gsm8k").tasks("demo")
    runs: dict[str, list[Episode]] = {}
    for allocator, title in ALLOCATORS.items():
        how = "the same four samples for each" if allocator == "fixed" else "what each one needs"
        console.print()
        console.print(f"{title}: {how}", style="bold")
        model = open_model()
        try:
            runs[title] = await _plan(model, allocator, tasks, console)
        finally:
            await model.close()
    console.print()
    console.print(_given(runs))
    summaries = {title: summarise(episodes) for title, episodes in runs.items()}
    console.print()
    console.print(summary_table(list(summaries.items()), title="mean of a problem"))
    fixed, adaptive = summaries["fixed"], summaries["adaptive"]
    saved = {
        name: _saved(getattr(fixed.usage, name), getattr(adaptive.usage, name))
        for name in ("tokens", "completion_tokens", "seconds")
    }
    console.print()
    console.print(
        f"Adaptive allocation wrote {_change(saved['completion_tokens'])} tokens, took "
        f"{_change(saved['tokens'])} in all and {_change(saved['seconds'])} seconds, and solved "
        f"{adaptive.successes} of {adaptive.episodes} problems; fixed solved {fixed.successes}."
    )
    return {"saved": saved} | {
        title: {
            "success": f"{s.successes}/{s.episodes}",
            "tokens": s.usage.tokens,
            "completion_tokens": s.usage.completion_tokens,
            "seconds": s.usage.seconds,
        }
        for title, s in summaries.items()
    }


async def _plan(
    model: LanguageModel, allocator: str, tasks: Sequence[Task], console: Console
) -> list[Episode]:
    from amp.benchmarks import load_benchmark
    from amp.cli.render import LiveSteps, episode_line
    from amp.evaluate.assembly import build_planner
    from amp.evaluate.run import run_episodes
    from amp.types import MODEL_ERROR

    benchmark = load_benchmark("gsm8k")
    episodes: list[Episode] = []
    with LiveSteps(console, len(tasks)) as live:
        # A terminal shows all that is written; elsewhere the first problem has to do.
        heard = _Heard(model, live.on_text if console.is_terminal else _printed(console))
        planner = build_planner(PlannerConfig(allocator=allocator), heard, benchmark)
        async for episode in run_episodes(planner, benchmark, tasks, on_step=live.on_step):
            if episode.ended == MODEL_ERROR:
                raise ModelError(episode.steps[-1].failure)
            episodes.append(episode)
            live.on_episode(episode)
            if not console.is_terminal:
                heard.on_text = None
            console.print(episode_line(episode), no_wrap=True, overflow="ellipsis")
    return episodes


def _printed(console: Console) -> Callable[[str], None]:
    return lambda piece: console.print(piece, end="", soft_wrap=True)


class _Heard:
    """A model whose first samples are heard while they are written."""

    def __init__(self, model: LanguageModel, on_text: Callable[[str], None]) -> None:
        self._model = model
        self.on_text: Callable[[str], None] | None = on_text

    @property
    def card(self) -> ModelCard:
        return self._model.card

    @property
    def capabilities(self) -> Capabilities:
        return self._model.capabilities

    async def generate(self, request: Request) -> list[Completion]:
        made = await self._model.generate(replace(request, on_text=self.on_text))
        if self.on_text is not None:
            self.on_text("\n")
        return made

    async def score(self, prompt: Prompt, continuations: Sequence[str]) -> list[LogProbs]:
        return await self._model.score(prompt, continuations)

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        return await self._model.next_token(prompt, hidden=hidden)

    async def count_tokens(self, prompt: Prompt) -> int:
        return await self._model.count_tokens(prompt)

    async def close(self) -> None:
        await self._model.close()


def _given(runs: dict[str, list[Episode]]) -> Table:
    """What each problem was given in both runs, the easiest first."""
    from rich.table import Table
    from rich.text import Text

    from amp.cli.render import complexity_bar

    table = Table(box=None, padding=(0, 1, 0, 0), title="what each problem was given")
    table.title_justify = "left"
    table.add_column("complexity\nthat decided", no_wrap=True)
    for title in runs:
        table.add_column(f"{title}:\nsamples", justify="right", no_wrap=True)
        table.add_column("\nwritten", justify="right", no_wrap=True)
        table.add_column("")
    table.add_column("\nproblem")
    pairs = zip(*runs.values(), strict=True)
    for pair in sorted(pairs, key=lambda pair: _decisive_score(pair[-1])):
        cells: list[str | Text] = [complexity_bar(_decisive_score(pair[-1]))]
        for episode in pair:
            rounds = [len(r.candidates) for step in episode.steps for r in step.rounds]
            mark = Text("✔", "green") if episode.success else Text("✘", "red")
            written = f"{episode.usage.completion_tokens:,}"
            cells += [" + ".join(map(str, rounds)) or "-", written, mark]
        goal = shorten(shown_in_line(pair[0].task.goal), _GOAL_SHOWN, placeholder="…")
        table.add_row(*cells, Text(goal, "italic"))
    return table


def _decisive_score(episode: Episode) -> float:
    """The highest complexity that a step was allocated by; later rounds know the answers so far."""
    return max((step.complexity.score for step in episode.steps), default=0.0)


def _saved(before: float, after: float) -> float | None:
    """The share that was saved; None where there was nothing to save."""
    return 1 - after / before if before else None


def _change(saved: float | None) -> str:
    if saved is None:
        return "as many"
    return f"{abs(saved):.0%} {'fewer' if saved >= 0 else 'more'}"
