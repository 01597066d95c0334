"""What the default costs and solves in environments that no policy has seen, beside acting at once.

The default is what `amp.Planner(model)` does, and `--allocator auto` on a benchmark of one's own.
Two environments are examples (letters to post in an order, answers to questions), two were
written for this (`experiments.unseen_worlds`). Both sides play the same tasks.

    python -m experiments.unseen recordings/unseen.sqlite
    python -m experiments.unseen recordings/unseen.sqlite --split train --tasks 12 [--doubt 3]
    python -m experiments.unseen FILE --model NAME

Without a model it replays. With one it adds to the file what that lacks, so a run that was
interrupted goes on where it was. The second line is what `doubt` of the default was chosen by.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from examples.learn_on_a_lattice import NAMES, Pile
from examples.own_tool import Question

from amp.allocate import Allocator, EscalatingAllocator, FixedAllocator
from amp.cost import dollars, flops
from amp.environment import Environment
from amp.errors import AmpError, RecordingError
from amp.models.base import LanguageModel, ModelCard
from amp.models.recorded import RecordedModel
from amp.models.registry import load_model, reference_price
from amp.planner import Planner
from amp.report.metrics import wilson
from amp.report.stats import bootstrap_interval, mean_interval, ratio
from amp.settings import load_settings
from amp.types import Episode, Limits, Task, Usage
from experiments.unseen_worlds import Kitchen, Van, kitchen_tasks, van_tasks

SPLITS = ("train", "test")


def letter_tasks(split: str, count: int) -> list[Task]:
    """Two or three letters in the environment of the example."""
    made = []
    for number in range(count):
        chance = random.Random(f"letters {split} {number}")
        order = chance.sample(NAMES, 2 + number % 2)
        goal = f"post to {', then to '.join(order)}"
        made.append(Task(f"letters/{split}/{number}", goal, {"order": order, "windy": False}))
    return made


def sum_tasks(split: str, count: int) -> list[Task]:
    """Sums of two to four numbers of two digits, as open questions."""
    made = []
    for number in range(count):
        chance = random.Random(f"sums {split} {number}")
        parts = [chance.randrange(11, 100) for _ in range(2 + number % 3)]
        told = "The action is the number that replaces the question mark, such as 57."
        goal = f"{' + '.join(map(str, parts))} = ? {told}"
        made.append(Task(f"sums/{split}/{number}", goal, {"answer": str(sum(parts))}))
    return made


@dataclass(frozen=True, slots=True)
class World:
    """An environment with its tasks.

    Attributes:
        tasks: as many of a split as are asked for.
        environment: for one of them.
        steps: most of an episode.
    """

    tasks: Callable[[str, int], Sequence[Task]]
    environment: Callable[[Task], Environment]
    steps: int


WORLDS: Mapping[str, World] = {
    "letters": World(letter_tasks, lambda task: Pile(), 10),
    "sums": World(sum_tasks, lambda task: Question(), 1),
    "van": World(van_tasks, lambda task: Van(), 10),
    "kitchen": World(kitchen_tasks, lambda task: Kitchen(), 8),
}

SIDES: Mapping[str, Allocator | None] = {"act": FixedAllocator(), "default": None}
"""The first is what the other is compared with; None is what a planner takes by itself."""

Played = Mapping[tuple[str, str], Sequence[Episode]]
"""Episodes by world and side, in the order of the tasks."""


async def play(
    model: LanguageModel,
    worlds: Sequence[str],
    split: str,
    count: int,
    sides: Mapping[str, Allocator | None] = SIDES,
) -> Played:
    """Plays both sides on the same tasks; a task that a replay has no answers for is left out."""
    played: dict[tuple[str, str], list[Episode]] = {
        (name, side): [] for name in worlds for side in sides
    }
    tasks = {name: WORLDS[name].tasks(split, count) for name in worlds}
    for number in range(count):
        for name in worlds:
            try:
                episodes = await _both(model, WORLDS[name], tasks[name][number], sides)
            except RecordingError as error:
                print(f"{tasks[name][number].id} is left out: {error}", file=sys.stderr)
                continue
            for side, episode in episodes.items():
                played[name, side].append(episode)
                print(_line(side, episode), file=sys.stderr, flush=True)
    return {key: episodes for key, episodes in played.items() if episodes}


async def _both(
    model: LanguageModel, world: World, task: Task, sides: Mapping[str, Allocator | None]
) -> Mapping[str, Episode]:
    episodes = {}
    for side, allocator in sides.items():
        planner = Planner(model, allocator=allocator, limits=Limits(steps=world.steps))
        episodes[side] = await planner.run(task, world.environment(task))
    return episodes


@dataclass(frozen=True, slots=True)
class Spent:
    """What an episode came to, with every prompt read whole.

    What a cache holds depends on what was asked before, and who plays second finds more in it.
    """

    solved: float
    calls: int
    tokens: int
    flops: float
    dollars: float

    @classmethod
    def of(cls, episode: Episode, card: ModelCard) -> Spent:
        price = reference_price(card)
        priced = replace(
            card,
            dollars_per_million_prompt_tokens=price.prompt,
            dollars_per_million_completion_tokens=price.completion,
        )
        parts: list[Usage] = []
        for step in episode.steps:
            rounds = [each.usage for each in step.rounds]
            parts += [step.usage - sum(rounds, Usage()), *rounds]  # the probe is before the rounds
        whole = [replace(part, cached_prompt_tokens=0) for part in parts]
        return cls(
            float(bool(episode.success)),
            episode.usage.model_calls,
            episode.usage.tokens,
            sum(flops([part], priced) for part in whole),
            sum(dollars(part, priced) for part in whole),
        )


def table(played: Played, card: ModelCard) -> list[str]:
    """A row a world and side, and all tasks together; a task costs the mean over tasks."""
    lines = [
        "| environment | allocator | solved | more than act | calls | tokens | TFLOP"
        " | $ of 1,000 tasks | tokens to act's | TFLOP to act's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    spent = {key: [Spent.of(one, card) for one in episodes] for key, episodes in played.items()}
    names, sides = (list(dict.fromkeys(part)) for part in zip(*played, strict=True))
    base = sides[0]
    for name in (*names, "all"):
        parts = names if name == "all" else [name]
        by_side = {side: [one for part in parts for one in spent[part, side]] for side in sides}
        lines += [_row(name, side, rows, by_side[base]) for side, rows in by_side.items()]
    return lines


def _row(name: str, side: str, rows: Sequence[Spent], base: Sequence[Spent]) -> str:
    n, won = len(rows), sum(row.solved for row in rows)
    solved = wilson(won, n)
    cells = [name, side, f"{won:.0f}/{n} ({solved.low:.2f} to {solved.high:.2f})"]
    numbers = range(n)
    compared = rows is not base
    if compared:
        more = [row.solved - other.solved for row, other in zip(rows, base, strict=True)]
        interval = mean_interval(numbers, more)
        cells.append(f"{sum(more) / n:+.2f} ({interval.low:+.2f} to {interval.high:+.2f})")
    else:
        cells.append("")
    cells += [
        f"{sum(row.calls for row in rows) / n:.1f}",
        f"{sum(row.tokens for row in rows) / n:,.0f}",
        f"{sum(row.flops for row in rows) / n / 1e12:.2f}",
        f"{sum(row.dollars for row in rows) / n * 1000:.3f}",
    ]
    if compared:
        for unit in ("tokens", "flops"):
            columns = [[float(getattr(one, unit)) for one in side] for side in (rows, base)]
            interval = bootstrap_interval(numbers, columns, ratio)
            share = sum(columns[0]) / sum(columns[1])
            cells.append(f"{share:.2f} ({interval.low:.2f} to {interval.high:.2f})")
    else:
        cells += ["", ""]
    return f"| {' | '.join(cells)} |"


def _line(side: str, episode: Episode) -> str:
    done = "; ".join(
        f"{step.action}{'*' * (len(step.rounds) - 1)}"
        + (f" t{t:g}" if (t := step.rounds[0].allocation.temperature) else "")
        for step in episode.steps
        if step.rounds
    )
    return (
        f"{side}: {episode.task.id}, success {episode.success}, {episode.ended},"
        f" {episode.usage.tokens} tokens: {done}"
    )


async def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--tasks", type=int, default=20, help="of each environment")
    parser.add_argument("--world", action="append", choices=list(WORLDS))
    parser.add_argument("--doubt", type=float, help="beside acting at once: the default with this")
    told = parser.parse_args(arguments)
    sides = dict(SIDES)
    if told.doubt is not None:
        sides = {
            "act": SIDES["act"],
            f"doubt {told.doubt:g}": EscalatingAllocator(doubt=told.doubt),
        }
    inner = None if told.model is None else load_model(told.model, threads=load_settings().threads)
    model = RecordedModel(inner, told.recording, "replay" if inner is None else "record")
    try:
        played = await play(model, told.world or list(WORLDS), told.split, told.tasks, sides)
    finally:
        await model.close()
    print("\n".join(table(played, model.card)))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except AmpError as error:
        sys.exit(f"unseen: {error}")
