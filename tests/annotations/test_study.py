"""A study: each person's ratings go on as if alone, and nobody learns what others say of a step."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.annotations.collect import AnnotationItem, AnnotationSession
from amp.annotations.store import parse_annotations, read_annotations
from amp.annotations.study import MAX_WHY, NOBODY, UNDO, Study
from amp.errors import InvalidInputError

NAMES = ("ann", "ben")
ITEMS = [AnnotationItem("task", step, "goal", f"state {step}") for step in range(9)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "annotations.jsonl"


def said(path: Path, name: str) -> dict[int, tuple[float, str]]:
    text = path.read_text() if path.exists() else ""
    notes = [note for note in parse_annotations(text).good if note.by == f"person:{name}"]
    assert len({note.step for note in notes}) == len(notes)  # nothing is there twice
    return {note.step: (note.complexity, note.why) for note in notes}


KEYS = st.tuples(st.sampled_from(NAMES), st.sampled_from("12345us|o"))


@settings(max_examples=60, deadline=None)
@given(keys=st.lists(KEYS, max_size=40))
def test_each_ones_ratings_are_those_that_were_given_and_not_taken_back(
    keys: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "annotations.jsonl"
    study = Study(ITEMS, path, NAMES)
    expected: defaultdict[str, list[tuple[int, float, str]]] = defaultdict(list)
    for name, key in keys:
        mine = expected[name]
        at = study.view(name).at
        if key == "|":  # all of it is in the file
            study = Study(ITEMS, path, NAMES)
        elif key == "o":  # a tab that shows what is no longer so
            other = NOBODY if at != NOBODY else 0
            for view in (study.rate(name, other, 1), study.undo(name, other)):
                assert view.said.startswith("nothing was changed")
        elif key == "s":
            view = study.skip(name, at)
            assert view.at == at or len(mine) < len(ITEMS) - 1
        elif key == "u":
            can = study.view(name).can_undo
            view = study.undo(name, at)
            if can:
                step, complexity, why = mine.pop()
                assert (view.at, view.undone, view.why) == (step, int(4 * complexity) + 1, why)
            else:
                assert (view.at, view.undone) == (at, 0)
        elif at != NOBODY:
            study.rate(name, at, int(key), f" {key} \n")
            mine.append((at, (int(key) - 1) / 4, key))
        view = study.view(name)
        assert (view.rated, view.at == NOBODY) == (len(mine), len(mine) == len(ITEMS))
        for each in NAMES:
            assert said(path, each) == {step: (c, why) for step, c, why in expected[each]}
            assert view.raters[each] == len(expected[each])


def test_no_more_than_the_last_ratings_can_be_taken_back(path: Path) -> None:
    study = Study(ITEMS, path, NAMES)
    for at in range(8):
        study.rate("ann", at, 3)
    for at in range(8, 8 - UNDO, -1):
        assert study.undo("ann", at).at == at - 1
    assert not study.view("ann").can_undo
    assert "no rating that can be taken back" in study.undo("ann", 8 - UNDO).said
    assert len(said(path, "ann")) == 8 - UNDO


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_nobody_learns_what_others_say_of_a_step_that_one_can_still_rate(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two others who differ there only: all that ann sees, whatever she does, is the same."""
    ours = data.draw(st.lists(st.sampled_from("12345us"), max_size=25), label="keys of ann")
    chance = data.draw(st.randoms(use_true_random=False))
    ratings = [chance.randint(1, 5) for _ in ITEMS]
    seen: list[list[object]] = []
    known = _settled_by(ours)
    for number in range(2):
        path = tmp_path_factory.mktemp("s") / "annotations.jsonl"
        others = AnnotationSession(ITEMS, path, "ben")
        for at, rating in enumerate(ratings):
            others.rate(rating if number == 0 or at in known else 6 - rating, f"because {number}")
        study = Study(ITEMS, path, NAMES)
        seen.append([study.view("ann")])
        for key in ours:
            at = study.view("ann").at
            if key == "u":
                seen[-1].append(study.undo("ann", at))
            elif key == "s":
                seen[-1].append(study.skip("ann", at))
            else:
                seen[-1].append(study.rate("ann", at, int(key)))
    assert seen[0] == seen[1]


def _settled_by(keys: list[str]) -> set[int]:
    """Steps whose ratings can't be taken back after these keys."""
    order, rated, settled = list(range(len(ITEMS))), list[int](), 0
    for key in keys:
        waiting = [at for at in order if at not in rated]
        if key == "u" and len(rated) > settled:
            order.remove(rated[-1])
            order.insert(0, rated.pop())
        elif key == "s" and waiting:
            order.remove(waiting[0])
            order.append(waiting[0])
        elif key in "12345" and waiting:
            rated.append(waiting[0])
        settled = max(settled, len(rated) - UNDO)
    return set(rated[:settled])


def test_agreement_is_told_on_steps_that_both_rated(path: Path) -> None:
    study = Study(ITEMS, path, NAMES)
    chance = random.Random(0)
    ratings = [chance.randint(1, 5) for _ in ITEMS]
    for name in NAMES:
        for at, rating in enumerate(ratings):
            assert study.view(name).shared_steps == (0 if name == "ann" else max(0, at - UNDO))
            study.rate(name, at, rating)
    assert (study.view("ann").alpha, study.view("ann").shared_steps) == (1.0, len(ITEMS) - UNDO)


def test_who_has_rated_elsewhere_goes_on_here(path: Path) -> None:
    study = Study(ITEMS, path, NAMES)
    assert study.view("ann").at == 0
    terminal = AnnotationSession(ITEMS, path, "ann")
    terminal.rate(2)
    assert study.rate("ann", 0, 5).said.startswith("nothing was changed")
    assert study.view("ann").at == 1
    assert said(path, "ann") == {0: (0.25, "")}


def test_a_rating_that_cannot_be_given_changes_nothing(path: Path) -> None:
    study = Study(ITEMS, path, NAMES)
    for rating, why, reason in (
        (0, "", "rating is 0, expected 1 to 5"),
        (6, "", "rating is 6"),
        (1, "x" * (MAX_WHY + 1), "why has 2001 characters"),
        (1, "\ud800", "why is not UTF-8"),
    ):
        with pytest.raises(ValueError, match=reason):
            study.rate("ann", 0, rating, why)
    assert (study.view("ann").at, study.view("ann").rated) == (0, 0)
    study.rate("ann", 0, 1, "x" * MAX_WHY)
    assert read_annotations(path).good[0].why == "x" * MAX_WHY
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidInputError, match="cannot be read"):
        study.rate("ann", 1, 1)


@pytest.mark.parametrize(
    ("names", "reason"),
    [((), "no names"), (("ann", "ann"), "'ann' is there twice"), (("a:b",), "name is 'a:b'")],
)
def test_names_are_checked(path: Path, names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        Study(ITEMS, path, names)
    with pytest.raises(InvalidInputError, match="no steps"):
        Study([], path, NAMES)
