"""A worker on a Ray cluster: an async actor that opens a bench, and does several items at once.

What it makes, and what it adds to its copies of recordings, goes back to the driver
(`amp.evaluate.ray_workers`) a batch at a time.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, closing, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amp.errors import AmpError, MissingDependencyError
from amp.evaluate.workers import Do, Opener
from amp.models.recording_file import RecordingFile, Write

_GATHER_SECONDS = 0.1
"""What ends within this time goes back together, since a call of an actor costs over a millisecond;
meanwhile the worker has more to do."""
_PULSE_SECONDS = 1.0
"""After this time new samples go back although no item has ended."""

_at_work_on: ContextVar[int | None] = ContextVar("at_work_on", default=None)

Failure = tuple[type[Exception], str]


@dataclass(frozen=True, slots=True)
class News:
    """What came of work since the last time.

    Attributes:
        made: by number of the item.
        failed: likewise, why not.
        writes: what was added to recordings: number of the item or None, path, and statement.
    """

    made: list[tuple[int, Any]]
    failed: list[tuple[int, Failure]]
    writes: list[tuple[int | None, Path, Write]]


@dataclass(slots=True, eq=False)
class _Desk:
    """What is under way for one call of `Workers.each`, and what there is to tell of it."""

    news: News = field(default_factory=lambda: News([], [], []))
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: set[asyncio.Task[None]] = field(default_factory=set)


class Worker:
    """An actor of Ray: opens a bench, and works on the items that it is given.

    Args:
        folder: where the driver works; relative paths are from there, if this machine has it.
        variables: of the environment.
    """

    def __init__(self, folder: str, variables: Mapping[str, str]) -> None:
        os.environ.update(variables)
        with suppress(OSError):
            os.chdir(folder)
        self._scratch = tempfile.TemporaryDirectory(prefix="amp-ray-")
        self._places: dict[Path, Path] = {}
        self._stack = AsyncExitStack()
        self._desk = _Desk()

    async def hello(self) -> None:
        """Answers as soon as there is somebody who can."""

    async def receive(self, recording: Path, piece: bytes) -> None:
        """Takes the next piece of a recording."""
        place = Path(self._scratch.name, f"{len(self._places)}.sqlite")
        with self._places.setdefault(recording, place).open("ab") as file:
            file.write(piece)

    async def begin(self, opener: Opener[Any], jobs: int) -> Failure | None:
        """Opens the bench; says why it cannot."""
        RecordingFile.on_write = self._note
        self._free = asyncio.Semaphore(jobs)
        try:
            self._bench = await self._stack.enter_async_context(opener.open(self._places))
        except AmpError as error:
            return self._told(error)
        except ImportError as error:
            return MissingDependencyError, f"this needs {error.name}, which is not installed"
        return None

    async def trade(
        self, do: Do[Any, Any, Any], items: Sequence[tuple[int, Any, Sequence[tuple[Path, Write]]]]
    ) -> News:
        """Takes more items, each with what of it was recorded before; gives what there is."""
        desk = self._desk
        for number, item, writes in items:
            add_writes([(self._places[path], write) for path, write in writes])
            task = asyncio.create_task(self._work(desk, do, number, item))
            desk.under_way.add(task)
            task.add_done_callback(desk.under_way.discard)
        while not (desk.has_ended.is_set() or desk.news.writes):
            with suppress(TimeoutError):
                await asyncio.wait_for(desk.has_ended.wait(), _PULSE_SECONDS)
        if desk.under_way:
            await asyncio.wait(tuple(desk.under_way), timeout=_GATHER_SECONDS)
        desk.has_ended.clear()
        news, desk.news = desk.news, News([], [], [])
        return news

    async def drop(self) -> None:
        """Ends what is under way, and tells nothing of it to who asks for other work."""
        desk, self._desk = self._desk, _Desk()
        for task in desk.under_way:
            task.cancel()
        await asyncio.gather(*desk.under_way, return_exceptions=True)
        desk.has_ended.set()

    async def end(self) -> None:
        """Closes the bench."""
        await self.drop()
        await self._stack.aclose()
        self._scratch.cleanup()

    async def _work(self, desk: _Desk, do: Do[Any, Any, Any], number: int, item: Any) -> None:
        async with self._free:
            _at_work_on.set(number)
            try:
                made = await do(self._bench, item)
                desk.news.made.append((number, made))
            except AmpError as error:
                desk.news.failed.append((number, self._told(error)))
            except Exception:  # a mistake of ours, or of a plugin; told there with its traceback
                desk.news.failed.append((number, (RuntimeError, traceback.format_exc())))
            desk.has_ended.set()

    def _note(self, path: Path, write: Write) -> None:
        for recording, place in self._places.items():
            if path == place:
                self._desk.news.writes.append((_at_work_on.get(), recording, write))

    def _told(self, error: AmpError) -> Failure:
        """An error, in the names of the driver's files."""
        message = str(error)
        for recording, place in self._places.items():
            message = message.replace(str(place), str(recording))
        return type(error), message


def add_writes(writes: Sequence[tuple[Path, Write]]) -> None:
    """Adds to recordings what was added to copies of them; what is there already stays."""
    for path in dict.fromkeys(path for path, _ in writes):
        with closing(RecordingFile(path, write=True)) as file, file.transaction() as connection:
            for to, (statement, values) in writes:
                if to == path:
                    connection.execute(statement, values)
