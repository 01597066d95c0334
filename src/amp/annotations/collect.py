"""Collects annotations (draws steps, lets a person rate them), and measures their agreement.

A person rates steps in an order that a seed determines. Tasks are mixed, since people who rate the
steps of one plan in a row compare each with the one before it. The steps of one task keep their
order, since the plan so far shows what was done in earlier steps. All people with the same seed get
the same order, so that even those who stop early have rated the same steps, and their agreement can
be measured.

How far annotators agree is Krippendorff's alpha (K. Krippendorff, "Computing Krippendorff's
Alpha-Reliability", 2011): one minus the disagreement that was observed over the disagreement that
chance would bring. 1 is perfect agreement, 0 that of chance, below 0 worse than chance. It takes
any number of annotators, and ratings may be missing.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, zip_longest
from math import fsum
from pathlib import Path
from typing import Literal

from amp.annotations.store import (
    AnnotatedState,
    Annotation,
    Annotations,
    BadLine,
    complexity_of_rating,
    parse_annotations,
    read_text,
    remove_annotations,
    write_annotations,
)
from amp.environment import Observation
from amp.errors import InvalidInputError
from amp.types import Episode


@dataclass(frozen=True, slots=True)
class AnnotationItem:
    """A step to be rated: what was known before its first round, and nothing of its result.

    Attributes:
        task: id of the task.
        step: index of the step in its plan, from 0.
        goal: the goal in words.
        state: the state in words; empty where the goal says everything.
        plan: the actions that were carried out before it.
        options: the actions among which it chooses, those that a tool would list last; empty where
            an action is free text.
    """

    task: str
    step: int
    goal: str
    state: str = ""
    plan: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def place(self) -> AnnotatedState:
        return AnnotatedState(self.task, self.step, self.state)


def annotation_items(episodes: Iterable[Episode], seed: int = 0) -> list[AnnotationItem]:
    """The steps of episodes in the order in which they are to be rated (module docstring).

    Of steps with the same task, index and state only the first is returned.
    """
    plans = [_items(episode) for episode in episodes]
    turns = [index for index, plan in enumerate(plans) for _ in plan]
    random.Random(seed).shuffle(turns)
    remaining = [iter(plan) for plan in plans]
    by_place: dict[AnnotatedState, AnnotationItem] = {}
    for index in turns:
        item = next(remaining[index])
        by_place.setdefault(item.place, item)
    return list(by_place.values())


def reordered(items: Sequence[AnnotationItem], seed: int | str) -> list[AnnotationItem]:
    """The same steps in another order by chance; those of one task stay in turn."""
    remaining: defaultdict[str, deque[AnnotationItem]] = defaultdict(deque)
    for item in items:
        remaining[item.task].append(item)
    turns = [item.task for item in items]
    random.Random(seed).shuffle(turns)
    return [remaining[task].popleft() for task in turns]


def _items(episode: Episode) -> list[AnnotationItem]:
    actions = [step.action for step in episode.steps]
    return [
        AnnotationItem(
            episode.task.id,
            index,
            episode.task.goal,
            step.observation.state,
            tuple(action for action in actions[:index] if action is not None),
            _options(step.observation),
        )
        for index, step in enumerate(episode.steps)
    ]


def _options(observation: Observation) -> tuple[str, ...]:
    lists = (observation.actions or (), *observation.tool_actions.values())
    return tuple(dict.fromkeys(option for options in lists for option in options))


def sample_items(
    items: Sequence[AnnotationItem], strata: Mapping[str, str], count: int, seed: int = 0
) -> list[AnnotationItem]:
    """Draws steps at random, evenly over strata, and in each of them evenly over tasks.

    As far as they last, there are as many steps of each stratum as of any other. Steps of many
    tasks tell more than as many of few, since those of one task are alike.

    Args:
        items: to draw from.
        strata: the stratum of each task, by its id; those without one are a stratum of their own.
        count: how many steps to draw.
        seed: of the draw.

    Returns:
        The drawn steps, in the order of `items`.

    Raises:
        InvalidInputError: if there are fewer steps.
    """
    if len(items) < count:
        raise InvalidInputError(f"cannot draw {count} steps: the runs have {len(items)}")
    chance = random.Random(seed)
    strata_of: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for index, item in enumerate(items):
        strata_of[strata.get(item.task, "")][item.task].append(index)
    waiting = [_in_turn(list(tasks.values()), chance) for tasks in strata_of.values()]
    drawn = _in_turn(waiting, chance, within=False)[:count]
    return [items[index] for index in sorted(drawn)]


def _in_turn(groups: list[list[int]], chance: random.Random, within: bool = True) -> list[int]:
    """One of each group, then a second of each and so on; who comes first is left to chance.

    Args:
        groups: what to take from.
        chance: decides.
        within: whether the order in a group is left to chance, too.
    """
    turns = [chance.sample(group, len(group)) if within else group for group in groups]
    chance.shuffle(turns)
    return [each for turn in zip_longest(*turns) for each in turn if each is not None]


def checked_author(name: str) -> str:
    """The author of a person's annotations.

    Raises:
        InvalidInputError: if the name is no name.
    """
    author = f"person:{name}"
    try:
        Annotation("task", 0, 0.0, author, "goal")
    except ValueError:
        raise InvalidInputError(
            f"name is {name!a}, expected printable characters without a colon"
        ) from None
    return author


class AnnotationSession:
    """A session in which one person rates steps; `rate` writes every rating to disk at once.

    Steps that this person has rated in the file already are left out, but can be undone. Skipped
    steps come again in the next session.

    Args:
        items: the steps, in the order in which they are shown; each place once.
        path: the file of annotations; others' annotations in it stay as they are.
        name: who rates.

    Raises:
        InvalidInputError: if the file cannot be read, or the name is no name.
    """

    def __init__(self, items: Sequence[AnnotationItem], path: Path, name: str) -> None:
        self._path = path
        self._by = checked_author(name)
        existing = parse_annotations(read_text(path)) if path.exists() else Annotations((), ())
        self.bad: tuple[BadLine, ...] = existing.bad
        self.total = len(items)
        by_place = {item.place: item for item in items}
        rated: dict[AnnotatedState, AnnotationItem] = {}
        for annotation in existing.good:
            if annotation.by == self._by and (item := by_place.get(annotation.place)):
                rated.pop(item.place, None)  # of several annotations of a step the last counts
                rated[item.place] = item
        self._rated = list(rated.values())
        self._waiting = deque(item for item in items if item.place not in rated)

    @property
    def current(self) -> AnnotationItem | None:
        """The step to be rated now; None when none is left."""
        return self._waiting[0] if self._waiting else None

    @property
    def position(self) -> int:
        """Number of the current step among all, from 1, after the rated and skipped ones."""
        return self.total - len(self._waiting) + 1

    @property
    def rated(self) -> int:
        """How many of the steps this person has rated, in this session and before."""
        return len(self._rated)

    @property
    def rated_items(self) -> tuple[AnnotationItem, ...]:
        """The steps that this person has rated, in the order in which that was done."""
        return tuple(self._rated)

    def rate(self, rating: int, why: str = "") -> Annotation:
        """Rates the current step from 1 to 5, with a reason if there is one; goes on to the next.

        Raises:
            ValueError: if the rating is out of range, the reason no text, or no step is left.
            InvalidInputError: if the file cannot be written; the step stays the current one.
        """
        if not self._waiting:
            raise ValueError("no step is left to be rated")
        item = self._waiting[0]
        complexity = complexity_of_rating(rating)
        annotation = Annotation(
            item.task, item.step, complexity, self._by, item.goal, item.state, why=why
        )
        write_annotations(self._path, [annotation], append=True)
        self._rated.append(self._waiting.popleft())
        return annotation

    def undo(self) -> AnnotationItem | None:
        """Deletes the last rating, also in the file, and makes its step the current one.

        Returns:
            The step, or None if there is no rating.
        """
        if not self._rated:
            return None
        item = self._rated[-1]
        remove_annotations(self._path, self._by, item.place)
        self._waiting.appendleft(self._rated.pop())
        return item

    def skip(self) -> None:
        """Goes on to the next step without a rating."""
        if self._waiting:
            self._waiting.popleft()


Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far annotators agree.

    Attributes:
        alpha: Krippendorff's alpha, at most 1; None where it is not defined.
        level: how differences count.
        annotators: who annotated, sorted.
        shared_steps: steps that at least two of them annotated, which alpha is from.
    """

    alpha: float | None
    level: Level
    annotators: tuple[str, ...]
    shared_steps: int


def measure_agreement(annotations: Iterable[Annotation], rules: bool = False) -> Agreement:
    """Measures how far annotators agree on the order of steps by complexity.

    Steps are the same where task, index and state are. Of several annotations of one step by one
    annotator the last counts.

    Args:
        annotations: of any number of annotators.
        rules: whether rules count as annotators, beside the people.
    """
    units: defaultdict[AnnotatedState, dict[str, float]] = defaultdict(dict)
    annotators = set()
    for annotation in annotations:
        if rules or annotation.by.startswith("person:"):
            annotators.add(annotation.by)
            units[annotation.place][annotation.by] = annotation.complexity
    shared = [list(unit.values()) for unit in units.values() if len(unit) > 1]
    alpha = krippendorff_alpha(shared, "ordinal")
    return Agreement(alpha, "ordinal", tuple(sorted(annotators)), len(shared))


def krippendorff_alpha(units: Iterable[Sequence[float]], level: Level = "ordinal") -> float | None:
    """Krippendorff's alpha of ratings (module docstring).

    Args:
        units: for each unit the ratings that it got, without the missing ones. Who gave which is
            of no matter to alpha.
        level: ``nominal``: ratings are equal or not; ``ordinal``: their ranks count;
            ``interval``: their differences count.

    Returns:
        Alpha, at most 1; None where no unit has two ratings or all ratings are equal, since then
        there is no disagreement to be had by chance.
    """
    paired = [unit for unit in units if len(unit) > 1]
    counts = Counter(value for unit in paired for value in unit)
    difference = _DIFFERENCES[level](counts)
    observed = fsum(
        difference(one, other) / (len(unit) - 1)
        for unit in paired
        for one, other in combinations(unit, 2)
    )
    expected = fsum(
        counts[one] * counts[other] * difference(one, other)
        for one, other in combinations(counts, 2)
    )
    if expected == 0:
        return None
    return 1 - (counts.total() - 1) * observed / expected


Difference = Callable[[float, float], float]
"""The squared difference of two values; 0 for equal ones."""


def _nominal(counts: Mapping[float, int]) -> Difference:
    return lambda one, other: float(one != other)


def _ordinal(counts: Mapping[float, int]) -> Difference:
    """Squared number of ratings from the one value to the other, those at the ends by half."""
    values = sorted(counts)
    below = accumulate((counts[value] for value in values), initial=0)
    rank = {value: before + counts[value] / 2 for value, before in zip(values, below, strict=False)}
    return lambda one, other: (rank[one] - rank[other]) ** 2


def _interval(counts: Mapping[float, int]) -> Difference:
    return lambda one, other: (one - other) ** 2


_DIFFERENCES: Mapping[Level, Callable[[Mapping[float, int]], Difference]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
}
