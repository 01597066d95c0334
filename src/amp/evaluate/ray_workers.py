"""Work on a Ray cluster: one worker for each CPU, an async actor, which does several items at once.

The one who asks for the work, the driver, keeps the queue and hands out no more than workers are
busy with. Workers send back what they made and what they added to recordings, a batch at a time, so
that the driver alone writes. Of a worker that is lost, the driver hands its items to others,
together with the answers that were recorded for them already: nothing is lost, done twice, or asked
twice.

Not covered: nodes that join after the beginning, and autoscaling by Ray.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import (
    ExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
)
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic

from pydantic import SecretStr

from amp.errors import AmpError, EnvironmentFailedError, InvalidInputError, MissingDependencyError
from amp.evaluate.ray_worker import News, Worker, add_writes
from amp.evaluate.workers import Bench, Do, Item, Made, Opener, Workers
from amp.models.recording_file import RecordingFile, Write
from amp.settings import load_settings

CPUS_OF_A_WORKER = 1
"""What the scheduler of Ray counts a worker as; planning and environments are what takes it."""

_PACKAGE = "adaptive-meta-planning"
_START_SECONDS = 120.0
"""How long to wait for workers to begin, where other programs hold the CPUs."""
_END_SECONDS = 10.0
_KNOCK_SECONDS = 5.0
_AHEAD = 64
"""Items at most that a worker has beside those under way, where they end faster than a reply."""
_PIECE_BYTES = 1 << 20
"""Of a recording; what is larger than a tenth of this lies in Ray's object store."""
_LOSSES = 3
"""Workers that may be lost with one item, before it is taken for what kills them."""
_PROVIDERS = ("AMP_", "OPENAI_", "ANTHROPIC_", "OTEL_")
"""Variables that go to the workers: settings, and what clients of other services read."""

_OF_THE_GATEWAY = ("accounts", "serve")

_log = logging.getLogger(__name__)


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connects to a cluster, and gives the package `ray`.

    Args:
        address: ``HOST:PORT`` or ``ray://HOST:PORT``; None for the one that RAY_ADDRESS names, or
            else one of this machine, which ends with the context.

    Raises:
        MissingDependencyError: if Ray is not installed.
        InvalidInputError: if there is no cluster at the address, or it has other versions.
    """
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError:
        raise MissingDependencyError(
            f"--on ray needs ray; run: pip install '{_PACKAGE}[ray]'"
        ) from None
    if ray.is_initialized():  # by who also ends it
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What Ray says of its processes, a page for a lost one, it would write between our own lines.
    printing: Any = import_module("ray._private.worker")
    printing.print_to_stdstream = _said_by_ray
    where = address or os.environ.get("RAY_ADDRESS")
    own = {} if where else {"include_dashboard": False}
    try:
        if where is not None:
            _knock(where)
        ray.init(where, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        if "ray[client]" in str(error):
            raise MissingDependencyError(
                f"--address {where} needs Ray's client; run: pip install"
                f" 'ray[client]=={ray.__version__}'"
            ) from None
        raise InvalidInputError(_unreachable(where, str(error))) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _said_by_ray(data: Mapping[str, Any], **options: Any) -> None:
    _log.debug("Ray: %s", data.get("lines"))


def _knock(address: str) -> None:
    """Makes sure that somebody listens there, since Ray would try for minutes.

    Raises:
        OSError: if nobody does.
        ValueError: if it is no address.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("expected HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()


def _unreachable(address: str | None, why: str) -> str:
    line = " ".join(why.split())
    if "ersion mismatch" in line:
        return f"the Ray cluster at {address} has other versions than this machine: {line[:300]}"
    if address is None:
        return f"Ray does not begin on this machine: {line[:200]}"
    return (
        f"no Ray cluster at {address} ({line[:120]}); begin one (ray start --head) or name another"
        " --address"
    )


@asynccontextmanager
async def on_ray(
    opener: Opener[Bench], jobs: int = 1, address: str | None = None
) -> AsyncIterator[Workers[Bench]]:
    """Workers of a Ray cluster, one for each CPU of its nodes.

    Args:
        opener: opens the bench of each.
        jobs: items at a time of each.
        address: as of `connected`.

    Raises:
        InvalidInputError: if jobs is less than 1, and as `connected`.
        MissingDependencyError: if Ray is not installed.
        AmpError: if a worker cannot open its bench; names its node.
    """
    if jobs < 1:
        raise InvalidInputError(f"jobs is {jobs}, expected at least 1")
    with connected(address) as ray:
        crew = _Crew(ray, opener, jobs)
        try:
            await crew.begin()
            yield crew
        finally:
            await crew.end()


@dataclass(slots=True, eq=False)
class _Hand:
    """A worker as the driver knows it, with the items that it has, by number."""

    node: str
    node_id: str
    actor: Any
    items: dict[int, Any] = field(default_factory=dict)
    is_there: bool = False

    @property
    def named(self) -> str:
        return f"node {self.node} of the Ray cluster"


@dataclass(slots=True, eq=False)
class _Work:
    """What is to be done, and what came of it.

    Attributes:
        items: all of them.
        do: what is done with each, in Ray's store.
        queue: numbers of those that no worker has.
        ended: what was made, or else the error.
        known: what was recorded of an item that has not ended, for who may get it next.
        losses: workers that were lost with an item.
        returned: tells idle workers that the queue was filled again.
    """

    items: Sequence[Any]
    do: Any
    queue: deque[int]
    ended: asyncio.Queue[tuple[Any, Exception | None]]
    known: dict[int, list[tuple[Path, Write]]] = field(default_factory=dict)
    losses: dict[int, int] = field(default_factory=dict)
    returned: asyncio.Event = field(default_factory=asyncio.Event)


class _Crew(Generic[Bench]):
    """The workers of a cluster, as `Workers`."""

    def __init__(self, ray: Any, opener: Opener[Bench], jobs: int) -> None:
        self._ray, self._opener, self._jobs = ray, opener, jobs
        self._hands: list[_Hand] = []
        self._losses = ray.exceptions.RayActorError, ray.exceptions.ActorUnschedulableError

    async def begin(self) -> None:
        """Begins the workers; those for whom there is no room are done without."""
        await self._check_versions()
        for node in self._nodes():
            for _ in range(int(node["Resources"].get("CPU", 0)) // CPUS_OF_A_WORKER):
                hand = _Hand(node["NodeManagerHostname"], node["NodeID"], None)
                self._hire(hand)
                self._hands.append(hand)
        await self._equip(list(self._hands))
        if not self._hands:
            raise AmpError(
                "no worker begins on the Ray cluster: it has no CPUs, others hold them (ray"
                " status), or workers end at once; the warnings above say why"
            )

    async def end(self) -> None:
        """Closes the benches and ends the workers."""
        there = [hand.actor for hand in self._hands if hand.is_there]
        ends = [asyncio.ensure_future(actor.end.remote()) for actor in there]
        if ends:
            await asyncio.wait(ends, timeout=_END_SECONDS)
            for one in ends:
                one.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        for hand in self._hands:
            self._ray.kill(hand.actor)

    async def each(
        self, do: Do[Bench, Item, Made], items: Sequence[Item]
    ) -> AsyncGenerator[Made, None]:
        """As `Workers.each`."""
        ended: asyncio.Queue[tuple[Any, Exception | None]] = asyncio.Queue(2 * _AHEAD)
        work = _Work(items, self._ray.put(do), deque(range(len(items))), ended)
        tending = [asyncio.create_task(self._tend(hand, work)) for hand in self._hands]
        try:
            for _ in items:
                made, error = await ended.get()
                if error is not None:
                    raise error
                yield made
        finally:
            for one in tending:
                one.cancel()
            await asyncio.gather(*tending, return_exceptions=True)
            for hand in self._hands:
                if hand.items and hand.is_there:
                    hand.actor.drop.remote()
                hand.items.clear()

    async def _tend(self, hand: _Hand, work: _Work) -> None:
        """Keeps one worker busy until it is lost for good."""
        room = self._jobs
        while True:
            more = []
            while len(hand.items) < room and work.queue:
                number = work.queue.popleft()
                item = hand.items[number] = work.items[number]
                more.append((number, item, work.known.get(number, ())))
            if not hand.items:
                work.returned.clear()
                await work.returned.wait()
                continue
            try:
                news: News = await hand.actor.trade.remote(work.do, more)
                add_writes([(path, write) for _, path, write in news.writes])
            except self._losses:
                if error := await self._replaced(hand, work):
                    await work.ended.put((None, error))
                if hand not in self._hands:
                    return
                room = self._jobs
                continue
            except Exception as error:
                await work.ended.put((None, error))  # to be raised there
                return
            for of, path, write in news.writes:
                if of is not None:
                    work.known.setdefault(of, []).append((path, write))
            for number, made in news.made:
                del hand.items[number]
                work.known.pop(number, None)
                await work.ended.put((made, None))
            for _, (kind, message) in news.failed:
                if issubclass(kind, MissingDependencyError):
                    message = f"{hand.named}: {message}"
                await work.ended.put((None, _again(kind, message)))
                return
            room = self._jobs + min(len(news.made), _AHEAD)

    async def _replaced(self, hand: _Hand, work: _Work) -> Exception | None:
        """Gives the items of a lost worker back, and begins another one where it was."""
        _log.warning("a worker on node %s is lost; its work is done again", hand.node)
        hand.is_there = False
        for number in list(hand.items)[: self._jobs]:  # those that were under way
            work.losses[number] = work.losses.get(number, 0) + 1
            if work.losses[number] == _LOSSES:
                name = getattr(work.items[number], "id", f"number {number + 1}")
                return EnvironmentFailedError(
                    f"task {name} was under way in {_LOSSES} workers that were lost, the last one"
                    f" on node {hand.node}; leave it out, or see why (Ray's logs there)"
                )
        work.queue.extendleft(reversed(hand.items))
        hand.items.clear()
        work.returned.set()
        self._hire(hand)
        try:
            await self._equip([hand])
        except AmpError as error:
            return error
        if self._hands:
            return None
        return AmpError(
            f"all workers of the Ray cluster are lost, the last one on node {hand.node}; go on with"
            " the same command (amp run: --resume) when it has nodes again"
        )

    # ----------------------------------------------------------------------- beginning

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _on(self, node_id: str) -> Any:
        strategies = self._ray.util.scheduling_strategies
        return strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)

    def _hire(self, hand: _Hand) -> None:
        actor = self._ray.remote(num_cpus=CPUS_OF_A_WORKER, max_concurrency=4)(Worker)
        placed = actor.options(scheduling_strategy=self._on(hand.node_id))
        hand.actor = placed.remote(os.getcwd(), _variables())

    async def _equip(self, hands: Sequence[_Hand]) -> None:
        """Opens the benches of new workers; those that do not begin are let go.

        Raises:
            AmpError: if one cannot open it; names the node.
        """
        with ExitStack() as stack:
            copies = {path: stack.enter_context(_copied(path)) for path in self._opener.recordings}
            opener = self._ray.put(self._opener)
            begun = [asyncio.create_task(self._equipped(hand, opener, copies)) for hand in hands]
            try:
                for hand, one in zip(hands, begun, strict=True):
                    if not await one:
                        self._hands.remove(hand)
                        self._ray.kill(hand.actor)
            finally:
                for one in begun:
                    one.cancel()
                await asyncio.gather(*begun, return_exceptions=True)

    async def _equipped(self, hand: _Hand, opener: Any, copies: Mapping[Path, Path]) -> bool:
        """Opens the bench of a worker; says whether it is there at all."""
        actor = hand.actor
        try:
            async with asyncio.timeout(_START_SECONDS):
                await actor.hello.remote()
            hand.is_there = True
            for path, copy in copies.items():
                with copy.open("rb") as file:
                    while piece := file.read(_PIECE_BYTES):
                        await actor.receive.remote(path, piece)
            failure = await actor.begin.remote(opener, self._jobs)
        except (TimeoutError, *self._losses) as error:
            why = str(error).strip().rpartition("\n")[2] or f"nothing for {_START_SECONDS:g} s"
            _log.warning("no worker begins on node %s, so without it: %s", hand.node, why)
            return False
        if failure is not None:
            kind, message = failure
            raise _again(kind, f"{hand.named}: {message}")
        return True

    async def _check_versions(self) -> None:
        """Makes sure that the nodes have this version of amp.

        Raises:
            InvalidInputError: if one has not; names it.
        """

        def found() -> str:  # goes to the node as it stands here, since amp may lack there
            from importlib import metadata

            try:
                return metadata.version("adaptive-meta-planning")
            except metadata.PackageNotFoundError:
                return ""

        own, ask = found(), self._ray.remote(num_cpus=0)(found)
        nodes = self._nodes()
        asked = [ask.options(scheduling_strategy=self._on(n["NodeID"])).remote() for n in nodes]
        for node, answer in zip(nodes, asked, strict=True):
            if (there := await answer) != own:
                has = f"amp {there}" if there else "no amp"
                raise InvalidInputError(
                    f"node {node['NodeManagerHostname']} of the Ray cluster has {has}, this machine"
                    f" {own}; install {own} there"
                )


def _again(kind: type[Exception], message: str) -> Exception:
    """An error that was raised elsewhere; some have more to say when they are made anew."""
    error = kind.__new__(kind, message)
    error.args = (message,)
    return error


def _variables() -> dict[str, str]:
    """The settings, and what clients of providers read, for workers whose shell was another."""
    settings = load_settings()
    told = {name: value for name, value in os.environ.items() if name.startswith(_PROVIDERS)}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, Path):
            value = value.absolute()
        if value is not None and name not in _OF_THE_GATEWAY:
            told[f"AMP_{name.upper()}"] = str(value)
    return told


@contextmanager
def _copied(recording: Path) -> Iterator[Path]:
    """A copy of a recording that others may be writing, in one file."""
    with tempfile.TemporaryDirectory(prefix="amp-ray-") as folder:
        copy = Path(folder, "copy.sqlite")
        with (
            closing(RecordingFile(recording, write=False)) as file,
            file.use() as connection,
            closing(sqlite3.connect(copy)) as to,
        ):
            connection.backup(to)
        yield copy
