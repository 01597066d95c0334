"""Where the work of a command is done: options, and the workers that they name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from amp.cli.app import open_model
from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from amp.benchmarks.base import Benchmark
    from amp.evaluate.workers import Opener, Places, Workers
    from amp.learn.config import TrainConfig
    from amp.learn.live_rollout import LiveBench
    from amp.learn.pipeline import MakeBench
    from amp.learn.rollout import EnvRollouts, Rollouts
    from amp.models.base import LanguageModel

    Spread = Callable[[EnvRollouts], Rollouts]

Bench = TypeVar("Bench")

On = Annotated[
    Literal["ray"] | None,
    typer.Option(
        help="Work on a Ray cluster, with one worker for each CPU and --jobs in each (extra ray)."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of the cluster: HOST:PORT or ray://HOST:PORT; RAY_ADDRESS or here if left out."
    ),
]


def check_on(on: str | None, address: str | None) -> None:
    """Makes sure that an address is of something."""
    if address is not None and on is None:
        raise InvalidInputError(f"--address {address} is that of a Ray cluster; add --on ray")


def cluster_of(on: str | None, address: str | None) -> AbstractContextManager[Any]:
    """Connects once for the workers of many trials, for as long as the context lasts."""
    if on is None:
        return nullcontext()
    from amp.evaluate.ray_workers import connected

    return connected(address)


@asynccontextmanager
async def workers_on(
    on: str | None, address: str | None, jobs: int, opener: Opener[Bench]
) -> AsyncIterator[Workers[Bench] | None]:
    """The workers of a command; None where the command does its work itself."""
    if on is None:
        yield None
        return
    from amp.evaluate.ray_workers import on_ray

    async with on_ray(opener, jobs, address) as workers:
        yield workers


# --------------------------------------------------------------------------- of a training


@contextmanager
def spread_on(on: str | None, address: str | None) -> Iterator[Spread]:
    """Gives the rollouts of a training to workers, if they are to be made elsewhere."""
    if on is None:
        yield lambda rollouts: rollouts
        return
    from amp.learn.rollout import SpreadRollouts, rollouts_opener

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        def spread(rollouts: EnvRollouts) -> Rollouts:
            begun = workers_on(on, address, 1, rollouts_opener(rollouts))
            workers = runner.run(stack.enter_async_context(begun))
            assert workers is not None  # somewhere else is named
            return SpreadRollouts(rollouts.env, rollouts.reward, workers, runner.run)

        try:
            yield spread
        finally:
            runner.run(stack.aclose())


def benchmark_of(config: TrainConfig, data: Path | None) -> Benchmark:
    """The benchmark of a training."""
    from amp.benchmarks import load_benchmark

    live = config.online
    level, step = (None, None) if live is None else (live.level, live.step)
    return load_benchmark(config.benchmark, data=data, level=level, step=step)


@dataclass(frozen=True, slots=True)
class LiveSource:
    """Where the episodes of a training online come from, in words that any process understands."""

    config: TrainConfig
    data: Path | None
    name: str | None
    record: Path | None
    replay: Path | None

    def model(self, benchmark: Benchmark, places: Places | None = None) -> LanguageModel:
        """Opens the model, with the recording at its place."""
        record, replay = (
            path and (places or {}).get(path, path) for path in (self.record, self.replay)
        )
        return open_model(self.name, record, replay, (benchmark.prompts.version,))

    @asynccontextmanager
    async def bench(self, make: MakeBench, places: Places) -> AsyncIterator[LiveBench]:
        """What playing an episode takes, opened in a worker elsewhere."""
        benchmark = benchmark_of(self.config, self.data)
        model = self.model(benchmark, places)
        try:
            yield make(benchmark, model)
        finally:
            await model.close()


def live_on(
    on: str | None, address: str | None, source: LiveSource, make: MakeBench
) -> AbstractAsyncContextManager[Workers[LiveBench] | None]:
    """The workers of a training online; None where its episodes are played in this process."""
    from amp.evaluate.workers import Opener

    assert source.config.online is not None  # or it would not be one
    files = [path for path in (source.record, source.replay) if path is not None]
    opener = Opener(partial(source.bench, make), tuple(files))
    return workers_on(on, address, source.config.online.jobs, opener)
