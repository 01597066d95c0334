"""What of each benchmark is here: packages, data, tasks. No package is loaded for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.benchmarks.data import find_data
from amp.benchmarks.difficulty import MEASURES
from amp.errors import AmpError, MissingDependencyError


@dataclass(frozen=True, slots=True)
class Survey:
    """What of one benchmark is here.

    Attributes:
        name: a key of `amp.benchmarks.BENCHMARKS`.
        about: what its tasks are, in a few words.
        install: the command that installs the package that is missing; None if none is.
        needs_data: whether it reads data.
        data: the folder of its data; None if it is not there, or not needed.
        get: the command that gets its data; None if it needs none.
        problem: what is wrong with the data that is there; None if nothing is.
        sizes: tasks by split, of the usual level; None where they are not there.
        levels: its levels; empty if it has none.
        counts: what its difficulty counts.
        boundaries: the largest difficulty of the easiest third, and of the middle one.
        tools: the tools that a step can use.
        max_steps: the usual limit of plan steps.
    """

    name: str
    about: str
    install: str | None
    needs_data: bool
    data: Path | None
    get: str | None
    problem: str | None
    sizes: Mapping[str, int | None]
    levels: tuple[str, ...]
    counts: str
    boundaries: tuple[float, float]
    tools: tuple[str, ...]
    max_steps: int


def survey(name: str, data: Path | None = None) -> Survey:
    """Returns what of a benchmark is here; whatever is missing or damaged is a part of the answer.

    Takes milliseconds. Only the first look at an ALFWorld archive or at WebShop's products takes
    seconds, since they are packed anew for reading, once.

    Args:
        name: a key of `amp.benchmarks.BENCHMARKS`.
        data: directory of the benchmarks' data; None to look in the usual places.

    Raises:
        InvalidInputError: if there is no such benchmark.
    """
    benchmark = load_benchmark(name, data=data)
    facts = _FACTS[name]
    folder = _found(facts, data)
    sizes: dict[str, int | None] = dict.fromkeys(benchmark.splits)
    problem: str | None = None
    for split in sizes:
        try:
            sizes[split] = facts.size(benchmark, split, data)
        except MissingDependencyError:
            pass
        except AmpError as error:
            problem = problem or str(error)
    measure = MEASURES[name]
    return Survey(
        name=name,
        about=facts.about,
        install=_missing_extra(name, facts.modules),
        needs_data=facts.find is not None,
        data=folder,
        get=None if facts.find is None else f"amp data get {name}",
        problem=problem,
        sizes=sizes,
        levels=tuple(benchmark.levels),
        counts=measure.counts,
        boundaries=measure.boundaries,
        tools=(*benchmark.tools, *benchmark.environment_tools),
        max_steps=benchmark.max_steps,
    )


def _missing_extra(extra: str, modules: tuple[str, ...]) -> str | None:
    # Looked for, not imported: ALFWorld's packages alone take seconds.
    if all(importlib.util.find_spec(module) for module in modules):
        return None
    return f"pip install 'adaptive-meta-planning[{extra}]'"


# --------------------------------------------------------------------------- the benchmarks


@dataclass(frozen=True, slots=True)
class _Facts:
    about: str
    modules: tuple[str, ...]
    find: Callable[[Path | None], Path] | None
    size: Callable[[Benchmark, str, Path | None], int]


def _found(facts: _Facts, data: Path | None) -> Path | None:
    if facts.find is None:
        return None
    try:
        return facts.find(data)
    except MissingDependencyError:
        return None


def _size(benchmark: Benchmark, split: str, data: Path | None) -> int:
    return len(benchmark.tasks(split))


def _size_of_babyai(benchmark: Benchmark, split: str, data: Path | None) -> int:
    from amp.benchmarks.babyai import SPLITS  # told without minigrid

    return len(SPLITS[split])


def _size_of_alfworld(benchmark: Benchmark, split: str, data: Path | None) -> int:
    from amp.benchmarks.alfworld.games import Games  # told without TextWorld, from the file list

    return len(Games(split, data).ids())


def _find_games(data: Path | None) -> Path:
    from amp.benchmarks.alfworld.games import games_directory

    return games_directory(data)


_FACTS: Mapping[str, _Facts] = {
    "alfworld": _Facts(
        "household tasks as text games", ("alfworld", "textworld"), _find_games, _size_of_alfworld
    ),
    "babyai": _Facts(
        "missions in rooms and mazes, told in words",
        ("gymnasium", "minigrid"),
        None,
        _size_of_babyai,
    ),
    "gsm8k": _Facts("grade school word problems", (), lambda data: find_data("gsm8k", data), _size),
    "webshop": _Facts(
        "shopping by instruction", (), lambda data: find_data("webshop", data), _size
    ),
}
