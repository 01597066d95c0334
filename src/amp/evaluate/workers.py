"""Many pieces of work, done somewhere: in this process (`Here`), or on a Ray cluster.

Work is a function of a bench, which is what it takes (a benchmark, a model, a planner), and of one
item, such as a task. Whoever has work asks `Workers` for it and need not know where they are. On
Ray (`amp.evaluate.ray_workers`) every worker opens a bench of its own with the same `Opener`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from amp.errors import InvalidInputError

Bench = TypeVar("Bench")
Item = TypeVar("Item")
Made = TypeVar("Made")
Bench_co = TypeVar("Bench_co", covariant=True)

Do = Callable[[Bench, Item], Awaitable[Made]]
"""One piece of work. On Ray it is pickled, and so are its items and what it makes."""


Places = Mapping[Path, Path]
"""Where files lie that are called by another path."""


@dataclass(frozen=True, slots=True)
class Opener(Generic[Bench]):
    """Opens a bench, here or in another process, to which it is pickled.

    Attributes:
        open: opens it for as long as the context lasts; it is told where each of the recordings
            lies, or nothing where they are at their own paths.
        recordings: files that go with it to other machines; what is added to them there comes back.
    """

    open: Callable[[Places], AbstractAsyncContextManager[Bench]]
    recordings: tuple[Path, ...] = ()


class Workers(Protocol[Bench_co]):
    """Whoever works through many items."""

    def each(
        self, do: Do[Bench_co, Item, Made], items: Sequence[Item]
    ) -> AsyncGenerator[Made, None]:
        """Does something with each item, and yields what came of it, in the order of the endings.

        Closing the iterator ends what is under way.

        Raises:
            AmpError: the first error of any item; what has ended is yielded before it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Here(Generic[Bench]):
    """Works in this process, at several items at a time.

    Attributes:
        bench: what it takes.
        jobs: items at a time.

    Raises:
        InvalidInputError: if jobs is less than 1.
    """

    bench: Bench
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise InvalidInputError(f"jobs is {self.jobs}, expected at least 1")

    async def each(
        self, do: Do[Bench, Item, Made], items: Sequence[Item]
    ) -> AsyncGenerator[Made, None]:
        """As `Workers.each`."""
        waiting = iter(items)
        running: list[asyncio.Future[Made]] = []
        try:
            while True:
                while len(running) < self.jobs and (item := next(waiting, _NONE)) is not _NONE:
                    running.append(asyncio.ensure_future(do(self.bench, item)))
                if not running:
                    return
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                while ended := [one for one in running if one.done()]:
                    finished = min(ended, key=_has_failed)  # an error loses nothing that has ended
                    running.remove(finished)
                    yield finished.result()
        finally:
            for unfinished in running:
                unfinished.cancel()
            await asyncio.gather(*running, return_exceptions=True)


_NONE: Any = object()


def _has_failed(one: asyncio.Future[Made]) -> bool:
    return one.cancelled() or one.exception() is not None
