"""A session: nothing rated is lost, undo takes back in order, and outcomes are never shown."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.annotations.collect import AnnotationItem, AnnotationSession, annotation_items
from amp.annotations.store import parse_annotations, read_annotations, write_annotations
from amp.errors import InvalidInputError
from amp.types import Complexity, Episode, Observation, StepRecord, Task, Usage

ITEMS = [AnnotationItem("task", step, "goal", f"state {step}") for step in range(4)]


def episode(number: int, steps: int) -> Episode:
    records = tuple(
        StepRecord(Observation(f"state {i}"), (), Complexity(0.0), f"act {i}", Usage())
        for i in range(steps)
    )
    return Episode(Task(f"t/{number}", f"goal {number}"), records, True, 1.0, Usage(), "done")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "annotations.jsonl"


def session(path: Path, name: str = "ann") -> AnnotationSession:
    return AnnotationSession(ITEMS, path, name)


def rated(path: Path) -> list[tuple[int, float]]:
    return [(note.step, note.complexity) for note in parse_annotations(path.read_text()).good]


@given(st.lists(st.integers(0, 5), max_size=5), st.integers())
def test_tasks_are_mixed_and_the_steps_of_one_keep_their_order(
    lengths: list[int], seed: int
) -> None:
    episodes = [episode(number, steps) for number, steps in enumerate(lengths)]
    items = annotation_items(episodes, seed)
    assert annotation_items(episodes, seed) == items
    seen = defaultdict(list)
    for item in items:
        seen[item.task].append(item.step)
        assert item.plan == tuple(f"act {i}" for i in range(item.step))
        assert (item.goal, item.state) == (f"goal {item.task[2:]}", f"state {item.step}")
    assert seen == {f"t/{n}": list(range(steps)) for n, steps in enumerate(lengths) if steps}


def test_another_seed_is_another_order() -> None:
    episodes = [episode(number, 3) for number in range(4)]
    orders = {tuple(annotation_items(episodes, seed)) for seed in range(8)}
    assert len(orders) > 4


def test_a_step_that_occurs_twice_comes_once() -> None:
    assert len(annotation_items([episode(0, 2), episode(0, 3)])) == 3


def test_an_item_tells_nothing_of_what_came_of_the_step() -> None:
    known = annotation_items([episode(0, 3)])
    steps = (*episode(0, 2).steps, dataclasses.replace(episode(0, 3).steps[2], action="other"))
    lost = dataclasses.replace(episode(0, 3), steps=steps, success=False, score=0.0, ended="tokens")
    assert annotation_items([lost]) == known


def test_a_rating_is_on_disk_when_it_is_given(path: Path) -> None:
    running = session(path)
    assert (running.current, running.position, running.total) == (ITEMS[0], 1, 4)
    for number, rating in enumerate((1, 3, 5), start=1):
        note = running.rate(rating)
        assert read_annotations(path).good[-1] == note
        assert (running.rated, running.position) == (number, number + 1)
    assert rated(path) == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert (note.by, note.goal, note.state) == ("person:ann", "goal", "state 2")


@settings(max_examples=60)
@given(keys=st.lists(st.sampled_from("12345us|")))
def test_the_file_holds_what_was_rated_and_not_taken_back(
    keys: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "annotations.jsonl"
    running = session(path)
    expected: list[tuple[int, float]] = []
    for key in keys:
        if key == "|":  # quit and resume
            running = session(path)
        elif key == "s":
            running.skip()
        elif key == "u":
            item = running.undo()
            assert (item is None) == (not expected)
            if item is not None:
                assert item.step == expected.pop()[0]
                assert running.current == item
        elif running.current is not None:
            expected.append((running.current.step, (int(key) - 1) / 4))
            running.rate(int(key))
        assert running.rated == len(expected)
        assert (rated(path) if path.exists() else []) == expected


def test_who_resumes_goes_on_and_can_take_back_what_was_rated_before(path: Path) -> None:
    first = session(path)
    first.rate(2)
    first.skip()
    first.rate(4)
    again = session(path)
    assert (again.current, again.position, again.rated) == (ITEMS[1], 3, 2)
    assert again.undo() == ITEMS[2]
    assert rated(path) == [(0, 0.25)]


def test_others_are_left_alone(path: Path) -> None:
    session(path, "bob").rate(5)
    path.write_text("no annotation\n" + path.read_text())
    mine = session(path)
    assert (mine.current, mine.rated) == (ITEMS[0], 0)
    assert [line.number for line in mine.bad] == [1]
    before = path.read_text()
    mine.rate(1)
    mine.undo()
    assert mine.undo() is None
    assert path.read_text() == before


def test_of_two_ratings_of_one_step_the_later_counts_and_undo_takes_both(path: Path) -> None:
    session(path).rate(1)
    (note,) = read_annotations(path).good
    other = dataclasses.replace(note, step=1, state="state 1")
    write_annotations(path, [note, other, note])
    running = session(path)
    assert running.undo() == ITEMS[0]
    assert rated(path) == [(1, 0.0)]


def test_a_rating_that_cannot_be_given_changes_nothing(path: Path) -> None:
    running = session(path)
    with pytest.raises(ValueError, match="rating is 6"):
        running.rate(6)
    path.mkdir()
    with pytest.raises(InvalidInputError, match="cannot be written"):
        running.rate(3)
    assert (running.current, running.rated) == (ITEMS[0], 0)
    for _ in ITEMS:
        running.skip()
    running.skip()
    assert running.current is None
    with pytest.raises(ValueError, match="no step is left"):
        running.rate(3)


@pytest.mark.parametrize("name", ["", " ann", "person:ann", "a\x1bb", "a\udcff"])
def test_a_name_that_is_none_is_refused(path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="name is "):
        session(path, name)
