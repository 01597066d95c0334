"""A recording in use: what it was made with, who may write, one writer a row, and its contents."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from amp.errors import InvalidInputError, RecordingError
from amp.models.base import Capabilities, LanguageModel, ModelCard
from amp.models.recording_file import JsonRow, RecordingFile, read_lattice_tasks, read_lattices
from amp.models.recording_store import Store
from amp.types import ToolUse

T = TypeVar("T")

Mode = Literal["record", "replay", "auto"]


class Recording:
    """A store with a mode.

    Args:
        path: the SQLite file.
        mode: ``replay`` only reads. ``auto`` adds what is missing. ``record`` does, too, and
            moreover accepts that the prompts have a new version: samples of the old one stay in the
            file, unused.

    Attributes:
        store: the file.

    Raises:
        InvalidInputError: if there is no such mode.
        RecordingError: if the file is missing, damaged, or something else.
    """

    def __init__(self, path: str | Path, mode: Mode) -> None:
        if mode not in ("record", "replay", "auto"):
            raise InvalidInputError(f"mode is {mode!r}, expected record, replay or auto")
        self._mode = mode
        self.store = Store(Path(path), write=mode != "replay")
        self._turns: dict[bytes, _Turn] = {}
        self._versions: set[str] = set()
        self._beside: tuple[Recording, ...] = ()

    @property
    def replaying(self) -> bool:
        """Whether nothing is added, so that neither a model nor a tool is ever called."""
        return self._mode == "replay"

    def identify(self, model: LanguageModel | None) -> tuple[ModelCard, Capabilities]:
        """Returns the model that the recording was made with; a new one is made with `model`.

        Raises:
            RecordingError: if it was made with another model, or is new and there is no model.
        """
        if not self.replaying and model is not None and self.store.identity() is None:
            self.store.set_identity(model.card, model.capabilities)
        known = self.store.identity()
        if known is None:
            raise RecordingError(
                f"recording {self.store.path} is empty; record it first (amp run --record)"
            )
        if model is not None:
            made, now = known[0], model.card
            if (made.name, made.sha256) != (now.name, now.sha256):
                raise RecordingError(
                    f"recording {self.store.path} was made with model {made.called},"
                    f" this run uses {now.called}; use that model or another recording"
                )
        return known

    def check_version(self, version: str) -> None:
        """Makes sure that the recording was made with this version of the prompts, or notes it.

        Args:
            version: family and number, such as ``gsm8k/3``; an empty one is never checked.

        Raises:
            RecordingError: if it was made with another version of the same family.
        """
        if not version or version in self._versions:
            return
        family = version.rpartition("/")[0] or version
        known = self.store.versions().get(family)
        if known is not None and known != version and self._mode != "record":
            raise RecordingError(
                f"recording {self.store.path} was made with prompts {known},"
                f" this version uses {version}; record into a new file"
            )
        if known != version and not self.replaying:
            self.store.set_version(family, version)
        self._versions.add(version)

    def has_prompts(self, version: str) -> bool:
        """Whether prompts of this version, such as ``gsm8k/3``, were recorded."""
        return version in self.store.versions().values()

    async def use(
        self, tool_name: str, text: str, run: Callable[[], Awaitable[ToolUse | None]]
    ) -> ToolUse | None:
        """Returns the result of a tool on a text: recorded, or by running it now.

        Args:
            tool_name: the tool; with the text, this is the key.
            text: what the tool is given.
            run: runs the tool; not called if the recording knows the outcome.

        Raises:
            RecordingError: in a replay, if the recording lacks it.
        """
        key = digest(["tool", tool_name, text])
        async with self.turn(key):
            known = self._tool_use(key)
            if known is None and self.replaying:
                raise self.missing(f"run of tool {tool_name}")
            self._keep_tool_use(key, await run() if known is None else known[0])
        return self.present(self._tool_use(key))[0]

    async def advise(
        self, tool_name: str, about: object, run: Callable[[], Awaitable[ToolUse | None]]
    ) -> ToolUse | None:
        """Returns a tool's advice on a situation: recorded, or by calling it now.

        Silence is not kept, since it costs nothing: a tool that has nothing to say is asked again,
        even in a replay.

        Args:
            tool_name: the tool.
            about: all that its advice depends on, as plain JSON; with the tool, this is the key.
            run: asks the tool; not called if the recording knows the advice.

        Raises:
            RecordingError: in a replay, if the tool has advice that the recording lacks.
        """
        key = digest(["advice", tool_name, about])
        async with self.turn(key):
            known = self._tool_use(key)
            advice = await run() if known is None else known[0]
            if advice is None:
                return None
            if known is None and self.replaying:
                raise self.missing(f"advice of tool {tool_name}")
            self._keep_tool_use(key, advice)
        return self.present(self._tool_use(key))[0]

    def share_tools(self, others: Sequence[Recording]) -> None:
        """Has this recording and others of the same run know what tools did with any model's text.

        Each keeps it, so that each can be replayed without the others.
        """
        self._beside = tuple(others)

    def _tool_use(self, key: bytes) -> tuple[ToolUse | None] | None:
        uses = (recording.store.tool_use(key) for recording in (self, *self._beside))
        return next((use for use in uses if use is not None), None)

    def _keep_tool_use(self, key: bytes, use: ToolUse | None) -> None:
        for recording in (self, *self._beside):
            if not recording.replaying and recording.store.tool_use(key) is None:
                recording.store.add_tool_use(key, use)

    @asynccontextmanager
    async def turn(self, key: bytes) -> AsyncIterator[None]:
        """Admits one caller at a time for each key, so that the next finds what is recorded."""
        turn = self._turns.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if turn.waiting == 0:
                del self._turns[key]

    def missing(self, what: str, version: str = "") -> RecordingError:
        """Returns the error of a replay that needs something that is not recorded."""
        of = f" of a prompt of {version}" if version else ""
        return RecordingError(
            f"recording {self.store.path} has no {what}{of}; record it, too (amp run --record)"
        )

    def present(self, value: T | None) -> T:
        """Returns a row that has just been written or seen.

        Raises:
            RecordingError: if it is gone.
        """
        if value is None:
            raise RecordingError(f"recording {self.store.path} lost a row; is it being edited?")
        return value

    def close(self) -> None:
        """Closes the file. Twice is fine."""
        self.store.close()


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


def digest(value: object) -> bytes:
    """Returns the SHA-256 of a value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a recording, in figures.

    Attributes:
        model: what it was made with.
        prompts: versions of the prompts.
        requests: different prompts with their sampling that were answered in words.
        samples: of how many requests there are how many samples, by the number of samples.
        probes: prompts of which the next token's probabilities were read, to choose or to look.
        hidden: those among the probes with a hidden state.
        scores: texts whose probability was read.
        tool_runs: runs of tools.
        prompt_tokens: tokens of all these prompts, once a request.
        completion_tokens: tokens written, over all samples and probes.
        file_bytes: size of the file, with what is not merged into it yet.
        lattices: of each that it has, in words: whose tasks, and how many states were visited.
    """

    model: ModelCard
    prompts: tuple[str, ...]
    requests: int
    samples: dict[int, int]
    probes: int
    hidden: int
    scores: int
    tool_runs: int
    prompt_tokens: int
    completion_tokens: int
    file_bytes: int
    lattices: tuple[str, ...] = ()


def contents(path: Path) -> Contents:
    """Counts the contents of a recording.

    Raises:
        RecordingError: if it is missing, damaged, no recording, or empty.
    """
    store = Store(path, write=False)
    try:
        identity, sizes, versions = store.identity(), store.sizes(), store.versions()
    finally:
        store.close()
    if identity is None:
        raise RecordingError(f"recording {path} is empty; fill it with amp record")
    with closing(RecordingFile(path, write=False)) as file, file.use() as connection:
        ask = connection.execute
        samples = dict(ask(_SAMPLES_BY_REQUEST).fetchall())
        (hidden,) = ask("SELECT count(hidden) FROM probes").fetchone()
        read, written = ask(_TOKENS).fetchone()
    log = path.with_name(f"{path.name}-wal")
    return Contents(
        model=identity[0],
        prompts=tuple(sorted(versions.values())),
        requests=sum(samples.values()),
        samples=samples,
        probes=sizes["probes"],
        hidden=hidden,
        scores=sizes["scores"],
        tool_runs=sizes["tool_uses"],
        prompt_tokens=read,
        completion_tokens=written,
        file_bytes=sum(file.stat().st_size for file in (path, log) if file.exists()),
        lattices=tuple(_lattice(path, key, told) for key, told in read_lattices(path).items()),
    )


def request_keys(path: Path) -> frozenset[bytes]:
    """The keys of all requests that were answered in words (`amp.models.recorded.request_key`).

    Raises:
        RecordingError: if the recording is missing, damaged, or something else.
    """
    with closing(RecordingFile(path, write=False)) as file, file.use() as connection:
        return frozenset(key for (key,) in connection.execute("SELECT DISTINCT key FROM samples"))


def _lattice(path: Path, key: bytes, told: JsonRow) -> str:
    rows = read_lattice_tasks(path, key).values()
    states = sum(len(row["states"]) for row in rows)
    arms = ", ".join(told["arms"])
    return f"{told['benchmark']}, {len(rows):,} tasks, {states:,} states ({arms})"


_SAMPLES_BY_REQUEST = (
    "SELECT n, count(*) FROM (SELECT count(*) AS n FROM samples GROUP BY key) GROUP BY n ORDER BY n"
)
# Every sample's row has the prompt of the call that would begin with it.
_TOKENS = (
    "SELECT coalesce(sum(read), 0), coalesce(sum(written), 0) FROM ("
    "SELECT max(prompt_tokens) AS read, sum(completion_tokens) AS written FROM samples GROUP BY key"
    " UNION ALL SELECT prompt_tokens, completion_tokens FROM probes"
    " UNION ALL SELECT prompt_tokens, 0 FROM scores)"
)
