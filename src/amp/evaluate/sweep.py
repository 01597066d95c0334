"""A study, as `amp eval` reads it: benchmarks, models, allocators and seeds, and their cells."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from amp.allocate import is_policy_path
from amp.assess.base import Group
from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, did_you_mean
from amp.evaluate.config import RunSettings
from amp.types import Limits, ProbeKind

_PINS = ("depth", "temperature", "top_p", "beam_width", "tools", "verification")
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


def _beside(path: Path, info: ValidationInfo) -> Path:
    """Paths are meant from the folder of the study's file."""
    folder = info.context
    assert isinstance(folder, Path)
    return folder / path


def _policy_beside(allocator: str, info: ValidationInfo) -> str:
    path = _beside(Path(allocator), info)
    return str(path) if is_policy_path(path) else allocator


def _named(tables: dict[str, Any]) -> dict[str, Any]:
    for name in tables:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} names a directory: expected letters, digits, . _ + or -")
    return tables


def _distinct(values: list[Any]) -> list[Any]:
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ValueError(f"{twice[0]!r} stands there twice")
    return values


File = Annotated[Path, Field(strict=False), AfterValidator(_beside)]
Seed = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BenchmarkTable(_Table):
    """Tasks, and where answers come from.

    Attributes:
        benchmark: its name; that of the table if left out.
        split: the benchmark's usual one if left out.
        limit: tasks at most.
        level: of a benchmark that has levels.
        step: what a plan step is, where there are several.
        recording: answers are taken from it; the model is never asked. ``{model}`` in the path
            stands for the model.
        record: the model is asked for what this recording lacks. With neither it is always asked.
        orders: whether the seeds of a replay are orders of the samples of seed 0; else the
            recording has to hold samples of every seed.
    """

    benchmark: str | None = None
    split: str | None = None
    limit: AtLeastOne | None = None
    level: str | None = None
    step: str | None = None
    recording: File | None = None
    record: File | None = None
    orders: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.recording is not None and self.record is not None:
            raise ValueError("recording and record exclude each other; leave one out")
        return self


class AllocatorTable(_Table):
    """One way to allocate, with all that `amp run` can set of it.

    Attributes:
        allocator: a name (`amp.allocate.ALLOCATORS`), the file of a trained policy, or
            ``histogram`` or ``shuffled``, which deal out what `of` was allocated.
        method: a published method in its place.
        of: another table here, whose run of the same benchmark, model and seed is dealt out.
        without: groups of features that the assessor does without (`amp.assess.base`).
        only: the only groups that it has.

    The others are fields of `Allocation` to pin, of `RunSettings` and of `Limits` (as options of
    `amp run`), by those names.
    """

    allocator: Annotated[str, AfterValidator(_policy_beside)] | None = None
    method: str | None = None
    of: str | None = None
    depth: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    beam_width: int | None = None
    tools: list[str] | None = None
    verification: int | None = None
    assessor: File | None = None
    probes: list[ProbeKind] = []
    without: list[Group] = []
    only: list[Group] = []
    rounds: AtLeastOne | None = None
    most: AtLeastOne | None = None
    trade_off: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    max_steps: AtLeastOne | None = None
    budget_tokens: AtLeastOne | None = None
    max_dollars: Annotated[float, Field(gt=0.0)] | None = None
    max_seconds: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.allocator is None) == (self.method is None):
            raise ValueError("expected an allocator or a method, and not both")
        if self.without and self.only:
            raise ValueError("without and only exclude each other; leave one out")
        return self

    @property
    def left_out(self) -> frozenset[Group]:
        if self.only:
            return frozenset(get_args(Group)) - frozenset(self.only)
        return frozenset(self.without)


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a study, by the names that it has there."""

    benchmark: str
    model: str
    allocator: str
    seed: int

    @property
    def name(self) -> str:
        """Its directory in that of the study."""
        return f"{self.benchmark}/{slug(self.model)}/{self.allocator}/seed-{self.seed}"


def slug(model: str) -> str:
    """A model's name as that of a directory."""
    return re.sub(r"[^\w.+-]+", "-", model)


class Study(_Table):
    """All of it.

    Attributes:
        seeds: of the runs.
        models: names as for ``amp run --model``.
        jobs: episodes at a time within a run.
        benchmarks: by the name of the table.
        allocators: by the name of the table, which is what reports call them.
    """

    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)] = [0]
    models: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]
    jobs: AtLeastOne = 1
    benchmarks: Annotated[dict[str, BenchmarkTable], Field(min_length=1), AfterValidator(_named)]
    allocators: Annotated[dict[str, AllocatorTable], Field(min_length=1), AfterValidator(_named)]

    @model_validator(mode="after")
    def _dealt_from_others(self) -> Self:
        own = [name for name, table in self.allocators.items() if table.of is None]
        for name, table in self.allocators.items():
            if table.of is not None and table.of not in own:
                raise ValueError(
                    f"allocators.{name}.of is {table.of!r}{did_you_mean(table.of, own)} "
                    f"(it deals from one of: {', '.join(own)})"
                )
        return self

    def cells(self) -> list[Cell]:
        """Every run, by benchmark and model; those that deal from others come last."""
        last = sorted(self.allocators, key=lambda name: self.allocators[name].of is not None)
        return [
            Cell(benchmark, model, allocator, seed)
            for benchmark in self.benchmarks
            for model in self.models
            for allocator in last
            for seed in self.seeds
        ]

    def benchmark(self, name: str, data: Path | None) -> Benchmark:
        """The benchmark of a table.

        Raises:
            InvalidInputError: if it or its level is unknown.
            MissingDependencyError: if a package is missing.
        """
        table = self.benchmarks[name]
        return load_benchmark(
            table.benchmark or name, data=data, level=table.level, step=table.step
        )

    def recording(self, cell: Cell) -> Path | None:
        """Where the answers of a cell are kept or come from; None if they are not recorded."""
        table = self.benchmarks[cell.benchmark]
        path = table.recording or table.record
        return path and Path(str(path).replace("{model}", slug(cell.model)))

    def settings(self, cell: Cell, split: str, out: Path) -> RunSettings:
        """What the run of a cell is.

        Args:
            cell: which.
            split: the benchmark's usual one.
            out: directory of the study.
        """
        benchmark, table = self.benchmarks[cell.benchmark], self.allocators[cell.allocator]
        other = None if table.of is None else replace(cell, allocator=table.of)
        return RunSettings(
            split=benchmark.split or split,
            seed=cell.seed,
            allocator=table.allocator or "fixed",
            wanted={name: getattr(table, name) for name in _PINS},
            limits=Limits(
                table.max_steps, table.budget_tokens, table.max_dollars, table.max_seconds
            ),
            step=benchmark.step,
            method=table.method,
            assessor=table.assessor,
            probes=frozenset(table.probes),
            left_out=table.left_out,
            rounds=table.rounds,
            trade_off=table.trade_off,
            most=table.most,
            of=None if other is None else out / other.name,
            orders=benchmark.recording is not None and benchmark.orders,
        )


def read_study(path: Path) -> Study:
    """Reads a study from a TOML file.

    Raises:
        InvalidInputError: if there is no such file, it is no TOML, has a key that is none, or a
            value that does not fit; the message names the file and the key.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInputError(f"study {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"study {path} is no TOML: {error}") from None
    try:
        return Study.model_validate(values, context=path.parent)
    except ValidationError as error:
        raise InvalidInputError(f"study {path}: {_told(error.errors()[0])}") from None


def _told(error: ErrorDetails) -> str:
    """The first thing wrong, in one line."""
    place = [str(part) for part in error["loc"]]
    where = ".".join(place)
    if error["type"] == "extra_forbidden":
        tables: dict[str, type[_Table]] = {
            "benchmarks": BenchmarkTable,
            "allocators": AllocatorTable,
        }
        keys = sorted(tables.get(place[0], Study).model_fields)
        return f"{where} is no key{did_you_mean(place[-1], keys)} (keys: {', '.join(keys)})"
    if error["type"] == "missing":
        return f"{where} is missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where} is {error['input']!r}: {message}"
