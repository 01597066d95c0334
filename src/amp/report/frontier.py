"""The performance-efficiency curve: the success that is possible at each cost (spec 2.6).

A point is a policy's mean cost and success rate. Choosing one of two policies by a coin for each
task gives a point on the straight line between theirs, so all mixtures of policies are possible,
too. The best that is possible is therefore not the staircase of the Pareto-optimal points
(`pareto_front`) but the concave line above them (`hull`). An adaptive policy is worth something
only if it lies above that line of the fixed ones; below it a coin does as well.
`performance_curve` measures how far runs lie above it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import nan
from typing import Literal

from amp.errors import InvalidInputError
from amp.report.metrics import Interval
from amp.report.runs import Run, tasks_of
from amp.report.stats import Array, bootstrap_interval, mean_interval
from amp.types import Episode

_ROUNDING = 1e-12  # a gain below it is none


@dataclass(frozen=True, slots=True)
class Point:
    """Cost and success of a policy, both means over the same tasks.

    Attributes:
        cost: 0 or more, in one unit for all points: tokens, FLOPs, dollars, seconds.
        success: success rate in [0, 1].
        name: of the policy.

    Raises:
        InvalidInputError: if cost or success is out of range.
    """

    cost: float
    success: float
    name: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.cost < math.inf:
            raise InvalidInputError(f"cost of {self._what} is {self.cost}, expected 0 or more")
        if not 0.0 <= self.success <= 1.0:
            raise InvalidInputError(f"success of {self._what} is {self.success}, expected 0 to 1")

    @property
    def _what(self) -> str:
        return self.name or "a point"


def pareto_front(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other beats in cost or success without losing in the other.

    Returns:
        In ascending order of cost and of success; the first of equal ones.

    Raises:
        InvalidInputError: if there are no points.
    """
    if not points:
        raise InvalidInputError("a curve needs at least 1 point, found none")
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.success)):
        if not front or point.success > front[-1].success:
            front.append(point)
    return tuple(front)


def hull(points: Sequence[Point]) -> tuple[Point, ...]:
    """Corners of the concave line above the front (the non-decreasing convex hull of RouterBench).

    It is undefined left of the first corner, and constant right of the last one.
    """
    corners: list[Point] = []
    for point in pareto_front(points):
        while len(corners) > 1 and not _turns_down(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    return tuple(corners)


def success_at(points: Sequence[Point], cost: float) -> float | None:
    """The best success of mixtures of the points at this mean cost or less; None below all."""
    corners = hull(points)
    if math.isnan(cost):
        raise InvalidInputError("cost is nan, expected a number")
    right = bisect_right(corners, cost, key=lambda corner: corner.cost)
    if right in (0, len(corners)):
        return corners[-1].success if right else None
    one, two = corners[right - 1], corners[right]
    share = (cost - one.cost) / (two.cost - one.cost)
    return (1 - share) * one.success + share * two.success


def cost_at(points: Sequence[Point], success: float) -> float | None:
    """The least mean cost at which mixtures of the points succeed at least this often.

    Returns:
        None above the success of the best point, which no mixture reaches.

    Raises:
        InvalidInputError: if there are no points, or the success is no rate.
    """
    corners = hull(points)
    if not 0.0 <= success <= 1.0:
        raise InvalidInputError(f"success is {success}, expected 0 to 1")
    right = bisect_left(corners, success, key=lambda corner: corner.success)
    if right in (0, len(corners)):
        return None if right else corners[0].cost
    one, two = corners[right - 1], corners[right]
    share = (success - one.success) / (two.success - one.success)
    return (1 - share) * one.cost + share * two.cost


def average_success(points: Sequence[Point], low: float, high: float) -> float:
    """Mean height of the hull over a range of costs, in [0, 1].

    AIQ of RouterBench (Hu et al. 2024, arXiv 2403.12031): the area under the non-decreasing convex
    hull by the width of the range (the code published with it divides by `high`). The hull goes on
    level to the right of its last point. Figures of two methods compare on one range only.

    Args:
        points: of one method.
        low: where the range starts, at least the cost of the cheapest point; a point of cost 0 and
            success 0, to do nothing, lets all methods start alike.
        high: where it ends, above low.

    Raises:
        InvalidInputError: if there are no points, or the range is empty or starts left of them.
    """
    corners = hull(points)
    if not corners[0].cost <= low < high < math.inf:
        raise InvalidInputError(
            f"costs from {low:g} to {high:g}: expected a range that starts at"
            f" {corners[0].cost:g} or more, where the cheapest point is"
        )
    stops = [low, *(c.cost for c in corners if low < c.cost < high), high]
    heights = [success_at(points, stop) or 0.0 for stop in stops]
    area = sum(
        (b - a) * (left + right) / 2
        for (a, left), (b, right) in pairwise(zip(stops, heights, strict=True))
    )
    return area / (high - low)


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Area that the points dominate, down to a reference point (Zitzler and Thiele 1999).

    Of the points alone, without mixtures: the area under the staircase.

    Args:
        points: of one method.
        reference: dearest cost and least success that count; the figure means nothing without it.

    Returns:
        In units of cost, as success has none.
    """
    volume, reached = 0.0, reference.success
    for point in pareto_front(points):
        if point.cost < reference.cost and point.success > reached:
            volume += (reference.cost - point.cost) * (point.success - reached)
            reached = point.success
    return volume


def cost_share(policy: Point, fixed: Sequence[Point], oracle: Sequence[Point]) -> float | None:
    """Share of the oracle's saving that a policy realises at its own success.

    (fixed - policy) / (fixed - oracle), where fixed and oracle are the least costs at which
    mixtures of their points succeed at least as often as the policy does.

    Args:
        policy: the policy to evaluate.
        fixed: the policies that do not adapt.
        oracle: points of the oracle, one for each weight of cost or budget.

    Returns:
        1 for the oracle, 0 on the fixed hull, negative below it; None if fixed policies or the
        oracle do not reach that success, or the oracle saves nothing there.
    """
    dearest, cheapest = cost_at(fixed, policy.success), cost_at(oracle, policy.success)
    if dearest is None or cheapest is None or dearest - cheapest <= _ROUNDING * dearest:
        return None
    return (dearest - policy.cost) / (dearest - cheapest)


def _turns_down(one: Point, two: Point, three: Point) -> bool:
    """Whether the line through three points in order of cost bends downwards at the second."""
    rise, next_rise = two.success - one.success, three.success - two.success
    return rise * (three.cost - two.cost) > next_rise * (two.cost - one.cost)


Front = Literal["redrawn", "kept"]
"""How the bootstrap interval of a gain over the front treats the front.

``redrawn`` computes the front again from every resample of the tasks, so that the interval includes
its uncertainty. ``kept`` takes the mixture of the two fixed runs that form the front at this cost
in all resamples: the interval is that of the gain over these two. With few fixed runs the first is
better; with dozens, of which a resampled front picks the luckiest, the second is.
"""

_RESAMPLES = 1_000
_MARGIN = 1.1
_NOTHING = Point(0.0, 0.0, "to do nothing")


@dataclass(frozen=True, slots=True)
class Gain:
    """A run that is not fixed, or the oracle, against mixtures of fixed runs at its own cost.

    Attributes:
        name: of the run.
        front: success of the fixed front there; None if nothing fixed is so cheap.
        gain: success of the run less that.
        interval: of the gain; None with a note.
        share: of the oracle's gain; None if that is 0, or one of the two gains is None.
        saving_share: of the oracle's saving, at the success of the run (`cost_share`).
        note: why a value is missing.
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
    """Size of the area below the hull of some runs, over a common range of costs.

    Attributes:
        name: which runs.
        average_success: AIQ, the mean height of their hull from cost 0, at which nothing is done.
        hypervolume: share that they dominate of the box from cost 0 and full success to the limit
            and no success.
    """

    name: str
    average_success: float
    hypervolume: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Success against cost.

    Attributes:
        front: corners of the fixed runs' hull, cheapest first.
        limit: cost of the reference point, a little above that of the most expensive run.
        gains: one for each run that is not fixed, the oracle last; empty without fixed ones.
        areas: of the fixed runs, and of these with each adaptive one.
    """

    front: tuple[Point, ...]
    limit: float
    gains: tuple[Gain, ...]
    areas: tuple[Area, ...]


def performance_curve(
    runs: Sequence[Run],
    oracle: Run | None,
    cost_of: Callable[[Episode], float],
    front: Front = "redrawn",
) -> Curve | None:
    """The curve of runs; None if none of them cost anything.

    Args:
        runs: on the same tasks.
        oracle: of the fixed ones; None without it.
        cost_of: cost of an episode.
        front: how the interval of a gain treats the front.
    """
    fixed = [run for run in runs if run.kind == "fixed"]
    others = [run for run in runs if run.kind != "fixed"]
    points = [_point(run, cost_of) for run in fixed]
    reached = [_point(run, cost_of) for run in others]
    dearest = max(point.cost for point in (*points, *reached))
    if dearest == 0:
        return None
    limit = _MARGIN * dearest
    groups = {"fixed runs": points} if fixed else {}
    groups |= {
        f"{point.name} with the fixed runs" if fixed else point.name: [*points, point]
        for run, point in zip(others, reached, strict=True)
        if run.kind == "adaptive"
    }
    return Curve(
        front=hull(points) if fixed else (),
        limit=limit,
        gains=_gains(others, fixed, points, oracle, cost_of, front) if fixed else (),
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
    others: Sequence[Run],
    fixed: Sequence[Run],
    points: Sequence[Point],
    oracle: Run | None,
    cost_of: Callable[[Episode], float],
    front: Front,
) -> tuple[Gain, ...]:
    runs = [*others, *([] if oracle is None else [oracle])]
    reached = [_point(run, cost_of) for run in runs]
    pairs = zip(runs, reached, strict=True)
    gains = [_gain(run, fixed, points, point, cost_of, front) for run, point in pairs]
    if oracle is None:
        return tuple(gains)
    oracle_gain = gains[-1].gain or 0.0
    return tuple(
        replace(
            gain,
            share=None
            if gain.gain is None or oracle_gain <= _ROUNDING
            else gain.gain / oracle_gain,
            saving_share=cost_share(point, points, reached[-1:]),
        )
        for gain, point in zip(gains, reached, strict=True)
    )


def _gain(
    run: Run,
    fixed: Sequence[Run],
    points: Sequence[Point],
    point: Point,
    cost_of: Callable[[Episode], float],
    front: Front,
) -> Gain:
    front_success = success_at(points, point.cost)
    if front_success is None:
        return Gain(run.name, None, None, None, "cheaper than any fixed run")
    interval, note = None, ""
    try:
        if front == "kept":
            interval = _interval_with_front_kept(run, fixed, points, point.cost)
        else:
            interval = _interval_with_front_redrawn(run, fixed, cost_of)
    except InvalidInputError as error:
        note = str(error)
    return Gain(run.name, front_success, point.success - front_success, interval, note)


def _interval_with_front_redrawn(
    run: Run, fixed: Sequence[Run], cost_of: Callable[[Episode], float]
) -> Interval:
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

    return bootstrap_interval(tasks, columns, gained, _RESAMPLES)


def _interval_with_front_kept(
    run: Run, fixed: Sequence[Run], points: Sequence[Point], cost: float
) -> Interval:
    solved = {
        of_run.name: {(e.task.id, e.task.seed): e.success is True for e in of_run.episodes}
        for of_run in fixed
    }
    mixture = [(solved[name], share) for name, share in _mixture(hull(points), cost).items()]
    gaps = [
        (e.success is True) - sum(share * of[e.task.id, e.task.seed] for of, share in mixture)
        for e in run.episodes
    ]
    return mean_interval(tasks_of(run.episodes), gaps)


def _mixture(corners: Sequence[Point], cost: float) -> dict[str, float]:
    """Shares of the corners of a hull in the mixture of this cost; beyond the last, it alone."""
    right = bisect_right(corners, cost, key=lambda corner: corner.cost)
    if right == len(corners):
        return {corners[-1].name: 1.0}
    one, two = corners[right - 1], corners[right]
    share = (cost - one.cost) / (two.cost - one.cost)
    return {one.name: 1 - share, two.name: share}
