"""The performance-efficiency curve of runs: the fixed front, and what adaptive runs add to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan

from amp.errors import InvalidInputError
from amp.evaluate.curves import (
    Point,
    average_success,
    cost_share,
    hull,
    hypervolume,
    success_at,
)
from amp.evaluate.metrics import Interval
from amp.evaluate.runs import Run, tasks_of
from amp.evaluate.statistics import Array, bootstrap_interval
from amp.types import Episode

_RESAMPLES = 1_000
_MARGIN = 1.1
_ROUNDING = 1e-12  # a gain below it is none
_NOTHING = Point(0.0, 0.0, "to do nothing")


@dataclass(frozen=True, slots=True)
class Gain:
    """An adaptive run, or the oracle, against what mixtures of fixed runs reach at its own cost.

    Attributes:
        name: of the run.
        front: success of the fixed front there; None if nothing fixed is so cheap.
        gain: success of the run less that.
        interval: of the gain, the front drawn anew with the tasks; None with a note.
        share: of the oracle's gain; None if that is nothing, or one of both is not known.
        saving_share: of what the oracle saves, at the success of the run (`curves.cost_share`).
        note: why something is missing.
    """

    name: str
    front: float | None
    gain: float | None
    interval: Interval | None
    note: str = ""
    share: float | None = None
    saving_share: float | None = None


@dataclass(frozen=True, slots=True)
class Area:
    """Size of what some runs make possible, over the same range of costs.

    Attributes:
        name: which runs.
        average_success: AIQ, the mean height of their hull from cost 0, at which nothing is done.
        hypervolume: share of the box from the reference point (the limit, no success) to cost 0
            and full success that the runs dominate.
    """

    name: str
    average_success: float
    hypervolume: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Success against cost.

    Attributes:
        front: corners of the fixed runs' hull, cheapest first.
        limit: cost of the reference point, somewhat beyond the dearest run, so that it counts, too.
        gains: one an adaptive run, the oracle last; empty without fixed ones.
        areas: of the fixed runs, and of these with each adaptive one.
    """

    front: tuple[Point, ...]
    limit: float
    gains: tuple[Gain, ...]
    areas: tuple[Area, ...]


def draw_curve(
    runs: Sequence[Run], oracle: Run | None, cost_of: Callable[[Episode], float]
) -> Curve | None:
    """The curve of runs; None if none of them cost anything.

    Args:
        runs: on the same tasks.
        oracle: of the fixed ones; None without it.
        cost_of: cost of an episode.
    """
    fixed = [run for run in runs if not run.adaptive]
    adaptive = [run for run in runs if run.adaptive]
    front = [_point(run, cost_of) for run in fixed]
    reached = [_point(run, cost_of) for run in adaptive]
    dearest = max(point.cost for point in (*front, *reached))
    if dearest == 0:
        return None
    limit = _MARGIN * dearest
    groups = {"fixed runs": front} if fixed else {}
    groups |= {
        f"{point.name} with the fixed runs" if fixed else point.name: [*front, point]
        for point in reached
    }
    return Curve(
        front=hull(front) if fixed else (),
        limit=limit,
        gains=_gains(adaptive, fixed, front, oracle, cost_of) if fixed else (),
        areas=tuple(
            Area(
                name,
                average_success([_NOTHING, *group], 0.0, limit),
                hypervolume([_NOTHING, *group], Point(limit, 0.0)) / limit,
            )
            for name, group in groups.items()
        ),
    )


def _point(run: Run, cost_of: Callable[[Episode], float]) -> Point:
    costs = [cost_of(episode) for episode in run.episodes]
    solved = sum(episode.success is True for episode in run.episodes)
    return Point(sum(costs) / len(costs), solved / len(costs), run.name)


def _gains(
    adaptive: Sequence[Run],
    fixed: Sequence[Run],
    front: Sequence[Point],
    oracle: Run | None,
    cost_of: Callable[[Episode], float],
) -> tuple[Gain, ...]:
    runs = [*adaptive, *([] if oracle is None else [oracle])]
    reached = [_point(run, cost_of) for run in runs]
    gains = [
        _gain(run, fixed, front, point, cost_of) for run, point in zip(runs, reached, strict=True)
    ]
    if oracle is None:
        return tuple(gains)
    most = gains[-1].gain or 0.0
    return tuple(
        replace(
            gain,
            share=gain.gain / most if gain.gain is not None and most > _ROUNDING else None,
            saving_share=cost_share(point, front, reached[-1:]),
        )
        for gain, point in zip(gains, reached, strict=True)
    )


def _gain(
    run: Run,
    fixed: Sequence[Run],
    front: Sequence[Point],
    point: Point,
    cost_of: Callable[[Episode], float],
) -> Gain:
    there = success_at(front, point.cost)
    if there is None:
        return Gain(run.name, None, None, None, "cheaper than any fixed run")
    episodes = [sorted(r.episodes, key=lambda e: (e.task.id, e.task.seed)) for r in (run, *fixed)]
    tasks = tasks_of(episodes[0])
    columns = [[1.0] * len(tasks)]
    for of_run in episodes:
        columns += [[cost_of(e) for e in of_run], [float(e.success is True) for e in of_run]]

    def gained(totals: Array) -> Array:
        means = totals[..., 1:] / totals[..., :1]
        values = []
        for cost, success, *others in means.reshape(-1, means.shape[-1]).tolist():
            mixed = [Point(c, min(1.0, s)) for c, s in zip(others[::2], others[1::2], strict=True)]
            reached = success_at(mixed, cost)
            values.append(nan if reached is None else success - reached)
        # Of the shape that the totals have, which is one row for the data and many for resamples.
        return totals[..., 0] * 0.0 + (values if totals.ndim > 1 else values[0])

    interval, note = None, ""
    try:
        interval = bootstrap_interval(tasks, columns, gained, _RESAMPLES)
    except InvalidInputError as error:
        note = str(error)
    return Gain(run.name, there, point.success - there, interval, note)
