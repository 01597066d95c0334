"""Killed at any moment, alone or two at once, commands lose nothing, double nothing, and go on.

Each campaign kills a command with SIGKILL at random moments, looks at what is on disk, goes on with
it, and compares the end with that of a command which nobody disturbed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.server import Answer, Question, serving
from tests.faults import forks

from amp.annotations.store import read_annotations
from amp.benchmarks import load_benchmark
from amp.errors import AmpError
from amp.files import Lock
from amp.models import download, scripted
from amp.models.base import Prompt
from amp.models.download import HubFile, PinnedFile, fetch
from amp.models.scripted import ScriptedModel
from amp.trace import EPISODES, RunDirectory
from amp.types import Complexity, Episode, Observation, StepRecord, Task, Usage

TASKS = load_benchmark("gsm8k").tasks("demo")

ITEMS = 24
"""Steps that are rated in a session."""


def answer(prompt: Prompt, sample: int) -> str:
    """Chains are right for most tasks, but not for the first; programs are none."""
    question = prompt.messages[-1].content
    right = next((task.data["answer"] for task in TASKS[1:] if task.goal in question), "0")
    return "no idea" if "Python" in question else f"{sample}. So it is.\n#### {right}"


def labels(prompt: Prompt) -> dict[str, float]:
    """Chooses among actions by chance, the same for the same prompt."""
    rng = random.Random(repr(prompt.messages[-2:]))
    masses = [rng.random() ** 3 for _ in range(9)]
    return {str(label): mass / sum(masses) for label, mass in enumerate(masses, 1)}


@pytest.fixture(scope="module", autouse=True)
def model() -> Iterator[None]:
    """What the children take for the model named random: one that writes."""
    forks.load()
    for slow in ("scipy.stats", "torch.utils.tensorboard.writer", "torch._dynamo", "rich.progress"):
        importlib.import_module(slow)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripted, "random_model", lambda: ScriptedModel(answer, next_tokens=labels))
        yield


class Job(ABC):
    """What is killed: a command in a folder, and what of it is on disk."""

    in_use: str | None = None
    """What the second of two at once is told (a pattern); None if both can work."""

    def prepare(self, folder: Path) -> None:  # noqa: B027 (most need nothing)
        """Puts into a new folder what the command needs."""

    @abstractmethod
    def start(self, folder: Path, name: str) -> int:
        """Begins, or goes on with what the folder holds; returns the process."""

    @abstractmethod
    def kept(self, folder: Path) -> frozenset[object]:
        """What is on disk for good; nothing of it is there twice."""

    def result(self, folder: Path) -> object:
        """What the end is compared by."""
        return self.kept(folder)


def once(found: Sequence[object]) -> frozenset[object]:
    """The set of what was found; fails if something is there twice."""
    twice = [thing for thing, count in Counter(found).items() if count > 1]
    assert not twice
    return frozenset(found)


def lines_of(file: Path) -> list[object]:
    """The whole lines of a file; what was being written when its process was killed is none."""
    return list(file.read_bytes().split(b"\n")[:-1]) if file.exists() else []


class Run(Job):
    """Episodes of a run that also records."""

    in_use = "run is in use by "

    def start(self, folder: Path, name: str) -> int:
        words = "run gsm8k --split demo --model random --record pool.sqlite --out run --resume"
        return forks.start(words.split(), folder, name=name)

    def kept(self, folder: Path) -> frozenset[object]:
        lines = lines_of(folder / "run" / EPISODES)
        once([json.loads(line)["task"]["id"] for line in lines if isinstance(line, bytes)])
        return frozenset(lines)


class Record(Job):
    """Rows of a recording. Two processes may fill it at once."""

    def start(self, folder: Path, name: str) -> int:
        words = "record gsm8k --split demo --model random --samples 3 --to pool.sqlite"
        return forks.start(words.split(), folder, name=name)

    def kept(self, folder: Path) -> frozenset[object]:
        file = folder / "pool.sqlite"
        if not file.exists() or not file.stat().st_size:
            return frozenset()
        rows: list[object] = []
        with closing(sqlite3.connect(file)) as database:
            if database.execute("SELECT 1 FROM sqlite_master").fetchone():
                rows += database.execute("SELECT key, idx, text FROM samples")
                rows += database.execute("SELECT key, log_probs FROM probes")
                rows += database.execute("SELECT key, tokens FROM counts")
            if database.execute(_LATTICE).fetchone():
                rows += database.execute("SELECT key, task, content FROM lattice_tasks")
        return once(rows)


_LATTICE = "SELECT 1 FROM sqlite_master WHERE name = 'lattice_tasks'"


class RecordLattice(Record):
    """Likewise of a lattice, whose tasks are noted when they are done."""

    def start(self, folder: Path, name: str) -> int:
        words = "record babyai --lattice --model random --split train --limit 4 --nodes 25 --jobs 2"
        return forks.start([*words.split(), "--to", "pool.sqlite"], folder, name=name)


class Sweep(Run):
    """Episodes of several runs."""

    in_use = "is in use by "

    def prepare(self, folder: Path) -> None:
        (folder / "sweep.toml").write_text(
            'models = ["random"]\nseeds = [0, 1]\njobs = 2\n'
            '[benchmarks.gsm8k]\nsplit = "demo"\nlimit = 3\n'
            '[allocators.fixed]\nallocator = "fixed"\n'
            '[allocators.adaptive]\nallocator = "heuristic"\n'
        )

    def start(self, folder: Path, name: str) -> int:
        return forks.start(["sweep", "sweep.toml", "--out", "out"], folder, name=name)

    def kept(self, folder: Path) -> frozenset[object]:
        found: set[object] = set()
        for file in sorted(folder.glob(f"out/**/{EPISODES}")):
            lines = lines_of(file)
            once([json.loads(line)["task"]["id"] for line in lines if isinstance(line, bytes)])
            found |= {(file.parent.name, file.parent.parent.name, line) for line in lines}
        return frozenset(found)


class Train(Job):
    """A policy that learns in the planner; its updates are the lines of its metrics."""

    in_use = "out (is in use by |has a (policy|training) already)"

    def prepare(self, folder: Path) -> None:
        (folder / "train.toml").write_text(
            'benchmark = "gsm8k"\nsplit = "demo"\nlimit = 3\nrounds = 2\nsamples = 2\n'
            'features = ["unread"]\n[online]\njobs = 2\n'
            "[ppo]\ndecisions = 60\nepisodes = 8\nhidden = 8\ncheckpoint_every = 1\n"
            "reference_tokens = 400\ncurriculum = false\n"
        )

    def start(self, folder: Path, name: str) -> int:
        words = "train train.toml --online --model random --record pool.sqlite --out out"
        words += " --resume" * (folder / "out" / "checkpoint.safetensors").exists()
        return forks.start(words.split(), folder, name=name)

    def kept(self, folder: Path) -> frozenset[object]:
        # What is behind the checkpoint is made again, and its lines are dropped until then.
        checkpoint = folder / "out" / "checkpoint.safetensors"
        if not checkpoint.exists():
            return frozenset()
        content = checkpoint.read_bytes()
        size = int.from_bytes(content[:8], "little")
        updates = int(json.loads(content[8 : 8 + size])["__metadata__"]["updates"])
        lines = lines_of(folder / "out" / "metrics.jsonl")
        made = once([json.loads(line)["update"] for line in lines if isinstance(line, bytes)])
        assert set(range(1, updates + 1)) <= made
        return frozenset(range(1, updates + 1))

    def result(self, folder: Path) -> object:
        files = ("policy.safetensors", "checkpoint.safetensors")
        hashes = [hashlib.sha256((folder / "out" / file).read_bytes()).digest() for file in files]
        return hashes, len(lines_of(folder / "out" / "metrics.jsonl"))


@dataclass
class Annotate(Job):
    """Ratings of one person or two; two steps forward and one back."""

    run: Path

    def prepare(self, folder: Path) -> None:
        shutil.copytree(self.run, folder / "run")

    def start(self, folder: Path, name: str) -> int:
        (folder / f".stdin{name}").write_text("3\nu\n4\n" * ITEMS + "q\n")
        words = f"annotate run --by ann{name} --out notes.jsonl --limit {ITEMS}"
        return forks.start(words.split(), folder, name=name)

    def kept(self, folder: Path) -> frozenset[object]:
        if not lines_of(folder / "notes.jsonl"):
            return frozenset()
        found = read_annotations(folder / "notes.jsonl")
        assert len(found.bad) <= 1  # what was being written; it stays a line of its own
        places = once([(note.by, note.place) for note in found.good])
        # The last of each may be taken back by the next key.
        last = {note.by: (note.by, note.place) for note in found.good}
        return places - frozenset(last.values())

    def result(self, folder: Path) -> object:
        return len(read_annotations(folder / "notes.jsonl").good)


CONTENT = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(4000))
FILE = PinnedFile(
    *("tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),
    *(HubFile("some/repository", "tiny.gguf"), ()),
)


@dataclass
class Pull(Job):
    """A download in pieces."""

    address: str
    in_use = "tiny.gguf is in use by "

    def start(self, folder: Path, name: str) -> int:
        def pull() -> None:
            download._BLOCK_BYTES = 1 << 12  # in the child only
            try:
                fetch(FILE, Path("models"), lambda done, total: time.sleep(0.005))
            except AmpError as error:
                print(error)
                sys.exit(2)

        server = {"HF_ENDPOINT": self.address, "no_proxy": "127.0.0.1"}
        return forks.start((), folder, server, name=name, main=pull)

    def kept(self, folder: Path) -> frozenset[object]:
        for file in folder.glob("models/tiny.gguf*"):
            if file.suffix in (".gguf", ".part"):
                content = file.read_bytes()
                assert CONTENT.startswith(content)
                return frozenset(range(len(content)))
        return frozenset()

    def result(self, folder: Path) -> object:
        assert (folder / "models" / "tiny.gguf").read_bytes() == CONTENT
        return sorted(file.name for file in (folder / "models").iterdir())


def campaign(job: Job, where: Path, kills: int, writers: int = 1) -> None:
    """Kills a command so many times, in as many folders as that takes."""
    rng = random.Random(repr((type(job).__name__, writers)))
    undisturbed, began = where / "undisturbed", time.monotonic()
    undisturbed.mkdir()
    job.prepare(undisturbed)
    finish(job, undisturbed, writers)
    seconds = time.monotonic() - began
    killed = number = 0
    while killed < kills:
        folder = where / str(number := number + 1)
        folder.mkdir()
        job.prepare(folder)
        kept: frozenset[object] = frozenset()
        while killed < kills:
            children = {job.start(folder, str(name)): str(name) for name in range(writers)}
            time.sleep(rng.random() * seconds)
            ended = [child for child in children if stop(job, folder, child, children[child])]
            now = job.kept(folder)
            assert kept <= now, f"lost {len(kept - now)}"
            kept = now
            if len(ended) == writers:
                break
            killed += writers - len(ended)
        finish(job, folder, writers)
        assert kept <= job.kept(folder)
        assert job.result(folder) == job.result(undisturbed)
        for lock in folder.rglob("*.lock"):  # of a killed process, whose work was done
            Lock(lock, lock).release()
        left = [p.name for p in folder.rglob("*") if p.suffix in (".part", ".lock", ".parts")]
        assert not left
        shutil.rmtree(folder)


def stop(job: Job, folder: Path, child: int, name: str) -> bool:
    """Kills a process; returns whether it had ended by itself, and then in a way that is right."""
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGKILL:
        return False
    out, error = forks.said(folder, name)
    refused = job.in_use is not None and re.search(job.in_use, out + error)
    assert code == 0 or refused, (code, out, error)
    return True


def finish(job: Job, folder: Path, writers: int) -> None:
    """Lets each writer do its work to the end."""
    for name in map(str, range(writers)):
        code = os.waitstatus_to_exitcode(os.waitpid(job.start(folder, name), 0)[1])
        assert code == 0, forks.said(folder, name)


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with more than enough steps to rate."""
    folder = tmp_path_factory.mktemp("rated")
    told = {"config": {"benchmark": "kitchen"}, "model": {}, "tasks": ["tea"]}
    seen = [Observation(f"the kettle is at {degrees} degrees") for degrees in range(ITEMS)]
    steps = tuple(StepRecord(at, (), Complexity(0.5), "wait", Usage()) for at in seen)
    with RunDirectory.create(folder / "run", told) as run:
        run.append(Episode(Task("tea", "make tea"), steps, True, 1.0, Usage(), "done"))
    return run.path


JOBS: dict[str, Callable[[], Job]] = {
    "run": Run,
    "record": Record,
    "lattice": RecordLattice,
    "sweep": Sweep,
    "train": Train,
}


@pytest.mark.parametrize("writers", [1, 2])
@pytest.mark.parametrize("name", JOBS)
def test_a_killed_command_goes_on(name: str, writers: int, tmp_path: Path, thorough: bool) -> None:
    campaign(JOBS[name](), tmp_path, 20 if thorough else 1, writers)


@pytest.mark.parametrize("writers", [1, 2])
def test_killed_annotators_go_on(writers: int, rated: Path, tmp_path: Path, thorough: bool) -> None:
    campaign(Annotate(rated), tmp_path, 20 if thorough else 2, writers)


@pytest.mark.parametrize("writers", [1, 2])
def test_a_killed_download_goes_on(writers: int, tmp_path: Path, thorough: bool) -> None:
    def respond(question: Question) -> Answer:
        if question.method == "HEAD":
            return Answer(200, headers={"X-Linked-Etag": FILE.sha256})
        wanted = question.headers.get("Range", "")
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if begin >= len(CONTENT):
            return Answer(416)
        return Answer(206 if wanted else 200, CONTENT[begin:])

    with serving(respond) as address:
        campaign(Pull(address), tmp_path, 20 if thorough else 2, writers)
