"""Whatever is lost on the way, each item ends once, and what was recorded is asked no more."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.ray import FakeRay, Loss
from typer.testing import CliRunner

from amp.cli.app import app
from amp.errors import (
    AmpError,
    EnvironmentFailedError,
    InvalidInputError,
    LimitReachedError,
    MissingDependencyError,
)
from amp.evaluate import ray_worker, ray_workers
from amp.evaluate.ray_workers import on_ray
from amp.evaluate.workers import Opener, Places
from amp.models.base import Completion, Message, Prompt, Request
from amp.models.recorded import RecordedModel
from amp.models.recording_file import RecordingFile
from amp.models.scripted import ScriptedModel

ASKED: Counter[str] = Counter()
"""How often the model was asked each question, in all workers."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the fake share this process with the tests, and need not gather."""
    monkeypatch.setattr(RecordingFile, "on_write", None)
    monkeypatch.setattr(ray_worker, "_GATHER_SECONDS", 0.0)


@contextlib.asynccontextmanager
async def one_more(places: Places) -> AsyncIterator[int]:
    yield 1


async def add(bench: int, item: int) -> int:
    await asyncio.sleep(0.0)
    return bench + item


async def work(ray: FakeRay, items: Sequence[int], jobs: int = 2) -> list[int]:
    sys.modules["ray"] = ray  # type: ignore[assignment]
    try:
        async with on_ray(Opener(one_more), jobs) as workers:
            return [made async for made in workers.each(add, items)]
    finally:
        del sys.modules["ray"]


@settings(max_examples=25)
@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), min_size=1),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(("before", "after"))), max_size=2),
    st.integers(0, 40),
    st.integers(1, 4),
)
def test_each_item_ends_once_whoever_is_lost(
    cpus: dict[str, int], losses: list[tuple[int, Loss]], count: int, jobs: int
) -> None:
    none: Loss = ""
    trades = [loss for waits, kind in losses for loss in (*[none] * waits, kind)]
    made = asyncio.run(work(FakeRay(cpus, iter(trades)), range(count), jobs))
    assert sorted(made) == [item + 1 for item in range(count)]


async def test_a_node_that_is_gone_is_done_without() -> None:
    ray = FakeRay({"a": 1, "b": 2})

    def dies() -> Iterator[Loss]:
        for _ in range(3):
            yield ""
        ray.living.discard("b")

    ray.losses = dies()
    assert sorted(await work(ray, range(30))) == list(range(1, 31))
    assert sum(actor.node == "b" for actor in ray.actors) > 2  # tried again, and given up


async def test_when_all_are_gone_it_says_so() -> None:
    ray = FakeRay({"a": 1})

    def dies() -> Iterator[Loss]:
        ray.living.clear()
        yield "before"

    ray.losses = dies()
    with pytest.raises(AmpError, match="all workers .* lost, the last one on node a"):
        await work(ray, range(3))


async def test_an_item_that_ends_every_worker_is_named() -> None:
    ray = FakeRay({"a": 1}, iter(["before"] * 9))
    with pytest.raises(EnvironmentFailedError, match="task number 1 was under way in 3 workers"):
        await work(ray, range(2), jobs=1)


async def fails(bench: int, item: int) -> int:
    if item == 3:
        raise LimitReachedError("steps", "no more steps")
    return item


async def breaks(bench: int, item: int) -> int:
    raise ZeroDivisionError(f"item {item}")


async def test_errors_come_as_they_are_and_what_has_ended_before_them() -> None:
    sys.modules["ray"] = FakeRay({"a": 1})  # type: ignore[assignment]
    try:
        async with on_ray(Opener(one_more)) as workers:
            seen = []
            with pytest.raises(LimitReachedError, match="no more steps"):
                async for made in workers.each(fails, range(6)):
                    seen.append(made)  # noqa: PERF401 -- what came before the error is the point
            assert {0, 1, 2} <= set(seen) <= {0, 1, 2, 4, 5}
            with pytest.raises(RuntimeError, match="ZeroDivisionError: item 0"):
                _ = [made async for made in workers.each(breaks, range(2))]
            # What was left of either does not come out here.
            assert [made async for made in workers.each(add, [10, 20])] == [11, 21]
    finally:
        del sys.modules["ray"]


def says(question: str) -> Request:
    return Request(Prompt((Message("user", question),), 20), temperature=0.5)


def answers(prompt: Prompt, sample: int) -> str:
    question = prompt.messages[-1].content
    ASKED[question] += 1
    return f"{question}! {ASKED[question]}"


@contextlib.asynccontextmanager
async def recorded(path: Path, places: Places) -> AsyncIterator[RecordedModel]:
    model = RecordedModel(ScriptedModel(answers), places.get(path, path), "record")
    try:
        yield model
    finally:
        await model.close()


async def converse(bench: RecordedModel, name: str) -> str:
    """Two calls one after the other."""
    said: list[Completion] = []
    for number in range(2):
        said += await bench.generate(says(f"{name} {number}"))
        await asyncio.sleep(0.02)
    return " ".join(one.text for one in said)


async def test_of_a_lost_item_nothing_is_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ASKED.clear()
    monkeypatch.setattr(ray_worker, "_PULSE_SECONDS", 0.005)
    path = tmp_path / "pool.sqlite"
    # The first reply has what was recorded up to then; the worker is lost with the second.
    monkeypatch.setitem(sys.modules, "ray", FakeRay({"a": 1}, iter(["", "before"])))
    async with recorded(path, {}) as kept:
        async with on_ray(Opener(partial(recorded, path), (path,))) as workers:
            made = [one async for one in workers.each(converse, ["x", "y"])]
        assert made == ["x 0! 1 x 1! 1", "y 0! 1 y 1! 1"]
        assert ASKED["x 0"] == 1  # came back before the loss, and went to the next worker
        there = [await kept.generate(says(f"{name} {n}")) for name in "xy" for n in range(2)]
    assert [one[0].text for one in there] == ["x 0! 1", "x 1! 1", "y 0! 1", "y 1! 1"]
    assert set(ASKED.values()) == {1}


@contextlib.asynccontextmanager
async def without_data(places: Places) -> AsyncIterator[int]:
    if not places:
        raise MissingDependencyError("the data of gsm8k are missing; run: amp data get gsm8k")
    yield 0


async def test_a_worker_that_lacks_something_is_named_by_its_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay({"spare": 1}))
    with pytest.raises(MissingDependencyError, match="^node spare of the Ray cluster: the data"):
        async with on_ray(Opener(without_data)):
            pass


async def lacks(bench: int, item: int) -> int:
    raise MissingDependencyError("no games")


async def test_so_is_one_that_finds_out_with_the_first_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay({"spare": 1}))
    async with on_ray(Opener(one_more)) as workers:
        with pytest.raises(MissingDependencyError, match="^node spare of the Ray cluster: no gam"):
            _ = [made async for made in workers.each(lacks, range(3))]


async def test_another_amp_on_a_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay({"old": 1}, version="0.0.9"))
    with pytest.raises(InvalidInputError, match=r"node old .* has amp 0\.0\.9, this machine"):
        async with on_ray(Opener(one_more)):
            pass


async def test_without_cpus_nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay({"head": 0}))
    with pytest.raises(AmpError, match="no worker begins"):
        async with on_ray(Opener(one_more)):
            pass


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = CliRunner().invoke(app, ["run", "gsm8k", "--model", "random", "--on", "ray"])
    assert isinstance(done.exception, MissingDependencyError)
    assert str(done.exception).endswith("pip install 'adaptive-meta-planning[ray]'")


def test_without_rays_client_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(address: str, **options: object) -> None:
        raise ValueError("Ray Client requires pip package `ray[client]`. If you installed the")

    minimal = SimpleNamespace(is_initialized=lambda: False, init=refuses, __version__="2.60.0")
    monkeypatch.setitem(sys.modules, "ray", minimal)
    monkeypatch.setitem(sys.modules, "ray._private.worker", SimpleNamespace())
    monkeypatch.setattr(ray_workers, "_knock", lambda address: None)
    with (
        pytest.raises(
            MissingDependencyError, match=r"ray://head:1 needs .* 'ray\[client\]==2.60.0'"
        ),
        ray_workers.connected("ray://head:1"),
    ):
        pass


def test_an_address_alone_is_refused() -> None:
    done = CliRunner().invoke(app, ["run", "gsm8k", "--address", "head:6379"])
    assert isinstance(done.exception, InvalidInputError)
    assert "add --on ray" in str(done.exception)
