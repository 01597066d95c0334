"""What is kept of traffic is what went through; keeping it never holds a call up."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.serve.traffic import writer as module
from amp.serve.traffic.tables import (
    WHOLE_EPISODE,
    Answer,
    Call,
    Labelled,
    Shadowed,
    TrafficFile,
    new_id,
)
from amp.serve.traffic.writer import Keep, Traffic
from amp.usage import Usage

counts = st.integers(0, 2**40)
usages = st.builds(
    Usage,
    st.just(1),
    counts,
    counts,
    counts,
    dollars=st.floats(0, 9),
    seconds=st.floats(0, 9),
    reasoning_tokens=counts,
    estimated_calls=st.integers(0, 1),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def call(**fields: Any) -> Call:
    made: dict[str, Any] = {
        "key": "ann", "episode": "e", "step": 0, "api": "openai", "arm": "cheap", "policy": "rules",
        "why": "short", "kind": "a", "features": {"errors": 1.0}, "expected_tokens": 40,
        "usage": Usage(1, 10, 0, 5, dollars=0.01), "status": 200, "request": "r", "answer": "x",
    }  # fmt: skip
    return Call(**(made | fields))


def shadow(number: int, **fields: Any) -> Shadowed:
    one = Answer(10, 5, 0.02, "x")
    made: dict[str, Any] = {"arm": "cheap", "dear": "dear", "same": True, "paid": 0.02}
    return Shadowed(number, **(made | {"own": one, "reference": one} | fields))


def read(path: Path) -> list[Labelled]:
    file = TrafficFile(path, create=False)
    try:
        return list(file.labelled())
    finally:
        file.close()


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(texts, usages, st.none() | texts, st.sampled_from([True, False, None])),
                min_size=1, max_size=5))  # fmt: skip
def test_what_is_kept_is_read_again(tmp_path_factory: Any, made: list[Any]) -> None:
    path = tmp_path_factory.mktemp("traffic") / "traffic.sqlite"
    traffic, kept = Traffic(path), []
    for at, (text, usage, content, same) in enumerate(made):
        one = call(episode=text, arm=text, usage=usage, asked=content, id=new_id() + (at << 30))
        said = Answer(usage.prompt_tokens, usage.completion_tokens, usage.seconds, text, content)
        held = shadow(one.id, arm=text, same=same, paid=usage.dollars, own=said)
        traffic.call(one)
        traffic.shadow(held)
        kept.append(Labelled(one, held))
    traffic.close()
    assert read(path) == kept
    assert traffic.dropped == 0


async def test_what_is_kept_is_whole_for_every_reader_of_the_file(tmp_path: Path) -> None:
    """Many stop at a NUL: SQLite's own ``length`` does."""
    path, text = tmp_path / "traffic.sqlite", "a\0b"
    traffic = Traffic(path)
    traffic.call(call(episode=text, asked=text, said=text))
    assert await traffic.outcome("ann", text, 0, 1.0, text)
    traffic.close()
    with sqlite3.connect(path) as file:
        for query in (
            "SELECT length(episode), length(asked), length(said) FROM calls",
            "SELECT length(episode), length(note), 3 FROM outcomes",
        ):
            assert file.execute(query).fetchone() == (3, 3, 3)


async def test_an_outcome_is_of_an_episode_of_the_key_alone(tmp_path: Path) -> None:
    """That of a step counts more than that of its episode, and the last word counts."""
    path = tmp_path / "traffic.sqlite"
    traffic = Traffic(path)
    for step in (0, 1):
        traffic.call(call(step=step))
    traffic.call(call(key="bob", episode="other"))
    assert await traffic.outcome("ann", "e", WHOLE_EPISODE, 0.25)
    assert await traffic.outcome("ann", "e", WHOLE_EPISODE, 0.5)
    assert await traffic.outcome("ann", "e", 1, 1.0, "good")
    assert await traffic.outcome("bob", "e", WHOLE_EPISODE, 0.0) is False
    assert await traffic.outcome("ann", "other", WHOLE_EPISODE, 0.0) is False
    assert await traffic.outcome("ann", "e", 2, 0.0) is False
    traffic.close()
    assert [(one.call.step, one.success) for one in read(path)] == [(0, 0.5), (1, 1.0)]
    assert await traffic.outcome("ann", "e", 1, 1.0) is None


def test_nothing_waits_for_a_file_that_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What finds no room is counted; all else is written as soon as it can be."""
    monkeypatch.setattr(module, "_MOST_WAITING", 50)
    path = tmp_path / "traffic.sqlite"
    traffic = Traffic(path)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.perf_counter()
        for _ in range(80):
            traffic.call(call())
        assert time.perf_counter() - began < 5  # and not until it is free
        assert traffic.dropped == 30
        other.execute("COMMIT")
    other.close()
    traffic.close()
    file = TrafficFile(path)
    assert file.counts() == (50, 0, 0)
    file.close()


def test_content_that_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING_BYTES", 1000)
    monkeypatch.setattr(module, "_GATHER_SECONDS", 60.0)
    traffic = Traffic(tmp_path / "traffic.sqlite")
    for _ in range(5):
        traffic.call(call(asked="x" * 400))
    assert traffic.dropped == 3
    traffic.close()


def test_the_old_and_what_is_too_much_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "traffic.sqlite"
    traffic, now = Traffic(path, Keep(content=True)), new_id()
    day = 86_400_000_000 << 10
    for at in range(100):
        one = call(id=now - 40 * day + at if at < 10 else now + at, asked="x" * 4000)
        traffic.call(one)
        traffic.shadow(shadow(one.id))
    traffic.close()
    file = TrafficFile(path)
    file.prune(time.time() - 30 * 86_400, 10**9)
    assert file.counts() == (90, 90, 0)
    file.prune(0.0, 200_000)
    assert file.counts() == (81, 81, 0)
    for _ in range(30):
        file.prune(0.0, 200_000)
    assert 20 < file.counts()[0] < 50
    file.close()


def test_a_shadow_of_a_call_that_is_forgotten_is_none(tmp_path: Path) -> None:
    traffic = Traffic(tmp_path / "traffic.sqlite")
    traffic.shadow(shadow(1))
    traffic.close()
    assert read(tmp_path / "traffic.sqlite") == []


@pytest.mark.parametrize("fault", ["\ud800", 2**70, float("nan")])
def test_no_call_is_too_odd_to_be_written(tmp_path: Path, fault: Any) -> None:
    path = tmp_path / "traffic.sqlite"
    traffic = Traffic(path)
    fields: dict[str, Any] = {"arm": str(fault), "why": str(fault)}
    if isinstance(fault, int):
        fields = {"step": fault, "usage": Usage(1, fault)}
    elif isinstance(fault, float):
        fields = {"usage": Usage(dollars=fault)}
    traffic.call(call(**fields))
    traffic.close()
    file = TrafficFile(path)
    assert file.counts()[0] == 1
    file.close()


def test_another_file_is_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(InvalidInputError, match="holds no traffic of amp"):
        Traffic(path)
