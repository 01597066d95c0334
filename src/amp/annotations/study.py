"""A study: several people rate the same steps at the same time, each blind to what others say.

The file of annotations is the state, and is read anew for each request; so a study goes on after a
kill, and beside the terminal. A change names the step that its author sees. Where another step is
the current one by now, as in a second tab or when a request comes twice, nothing is changed.

Agreement is told as one figure. If it followed each rating at once, one could take a rating back,
give another one, and read from the figure what others said. So it counts for each person only steps
whose ratings can't be taken back any more: all but the last `UNDO`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from amp.annotations.collect import AnnotationItem, AnnotationSession, measure_agreement
from amp.annotations.store import (
    SCALE,
    AnnotatedState,
    Annotation,
    parse_annotations,
    rating_of,
    read_text,
)
from amp.errors import InvalidInputError

UNDO = 5
"""Ratings that a person can take back."""

MAX_WHY = 2_000
"""Characters of a reason."""

NOBODY = -1
"""In place of the index of a step where none is left."""


@dataclass(frozen=True, slots=True)
class StudyView:
    """What one person sees.

    Attributes:
        name: who.
        at: index of the current step in the study; `NOBODY` if none is left.
        step: that step; None if none is left.
        total: how many steps there are.
        rated: how many of them this person has rated.
        can_undo: whether the last rating can be taken back.
        raters: how many steps each person of the study has rated, by name.
        alpha: agreement on the steps that count for this person; None where it is not defined.
        shared_steps: how many these are.
        said: what came of the last change, in words; empty if nothing was changed.
        undone: rating that was taken back; 0 if none was.
        why: reason that was taken back with it.
    """

    name: str
    at: int
    step: AnnotationItem | None
    total: int
    rated: int
    can_undo: bool
    raters: dict[str, int]
    alpha: float | None
    shared_steps: int
    said: str = ""
    undone: int = 0
    why: str = ""


@dataclass(slots=True)
class _Rater:
    """What the file does not say of a person.

    Attributes:
        order: indices of the steps in the order in which they come.
        settled: how many ratings can't be taken back; only grows.
    """

    order: list[int]
    settled: int = 0

    def move(self, index: int, place: int) -> None:
        """Has a step come first (0), or last (the number of steps)."""
        self.order.remove(index)
        self.order.insert(place, index)


@dataclass(frozen=True, slots=True)
class _Now:
    """The state of the study for one person, as the file has it."""

    rater: _Rater
    session: AnnotationSession
    annotations: Sequence[Annotation]
    at: int


class Study:
    """Steps, people who rate them, and the file that takes their ratings; for several threads.

    Args:
        items: the steps, in the order in which they are shown; each place once.
        path: the file of annotations; it may hold others, which stay.
        names: of the people.

    Raises:
        InvalidInputError: if there are no steps, a name is no name or is there twice, or the file
            cannot be read.
    """

    def __init__(self, items: Sequence[AnnotationItem], path: Path, names: Sequence[str]) -> None:
        if not items:
            raise InvalidInputError("a study has no steps, expected at least 1")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or not names:
            found = f"name {repeated[0]!a} is there twice" if repeated else "a study has no names"
            raise InvalidInputError(f"{found}, expected one name for each person")
        self._items, self._path = tuple(items), path
        self._index = {item.place: index for index, item in enumerate(items)}
        self._raters = {name: _Rater(list(range(len(items)))) for name in names}
        self._turn = Lock()
        for name in names:
            AnnotationSession((), path, name)  # says what is wrong with a name or the file

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._raters)

    def view(self, name: str) -> StudyView:
        """What a person sees now."""
        with self._turn:
            return self._view(name)

    def rate(self, name: str, at: int, rating: int, why: str = "") -> StudyView:
        """Rates a step, if it is the current one, and goes on to the next.

        Raises:
            ValueError: if the rating is none of `SCALE`, or the reason no text or too long.
            InvalidInputError: if the file cannot be read or written.
        """
        if rating not in SCALE:
            raise ValueError(f"rating is {rating!r:.60}, expected {min(SCALE)} to {max(SCALE)}")
        if len(why) > MAX_WHY:
            raise ValueError(f"why has {len(why)} characters, expected at most {MAX_WHY}")

        def rated(now: _Now) -> str:
            now.session.rate(rating, why.strip())
            return f"rated {rating}"

        return self._changed(name, at, rated)

    def skip(self, name: str, at: int) -> StudyView:
        """Puts a step, if it is the current one, behind all others."""

        def skipped(now: _Now) -> str:
            now.rater.move(now.at, len(self._items))
            return "skipped; it comes again at the end"

        return self._changed(name, at, skipped)

    def undo(self, name: str, at: int) -> StudyView:
        """Takes back the last rating, if the current step is this one (`NOBODY` for none).

        Raises:
            InvalidInputError: if the file cannot be read or written.
        """
        with self._turn:
            now = self._now(name)
            if now.at != at:
                return self._view(name, _ELSEWHERE)
            if now.session.rated <= now.rater.settled:
                return self._view(name, "there is no rating that can be taken back")
            place = now.session.rated_items[-1].place
            lost = [a for a in now.annotations if (a.by, a.place) == (f"person:{name}", place)][-1]
            now.session.undo()
            now.rater.move(self._index[place], 0)
            rating = rating_of(lost.complexity)
            return self._view(name, f"taken back: {rating or 'a rating'}", rating or 0, lost.why)

    def _changed(self, name: str, at: int, change: Callable[[_Now], str]) -> StudyView:
        with self._turn:
            now = self._now(name)
            if now.at != at or at == NOBODY:
                return self._view(name, _ELSEWHERE)
            return self._view(name, change(now))

    def _now(self, name: str) -> _Now:
        rater = self._raters[name]
        items = [self._items[index] for index in rater.order]
        session = AnnotationSession(items, self._path, name)
        rater.settled = max(rater.settled, session.rated - UNDO)
        annotations = parse_annotations(read_text(self._path)).good if self._path.exists() else ()
        at = NOBODY if session.current is None else self._index[session.current.place]
        return _Now(rater, session, annotations, at)

    def _view(self, name: str, said: str = "", undone: int = 0, why: str = "") -> StudyView:
        now = self._now(name)
        places: defaultdict[str, set[AnnotatedState]] = defaultdict(set)
        for annotation in now.annotations:
            if annotation.place in self._index:
                places[annotation.by].add(annotation.place)
        settled = {item.place for item in now.session.rated_items[: now.rater.settled]}
        found = measure_agreement(a for a in now.annotations if a.place in settled)
        return StudyView(
            name=name,
            at=now.at,
            step=now.session.current,
            total=len(self._items),
            rated=now.session.rated,
            can_undo=now.session.rated > now.rater.settled,
            raters={each: len(places[f"person:{each}"]) for each in self._raters},
            alpha=found.alpha,
            shared_steps=found.shared_steps,
            said=said,
            undone=undone,
            why=why,
        )


_ELSEWHERE = "nothing was changed: this step was dealt with elsewhere, perhaps in another tab"
