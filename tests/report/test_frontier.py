"""Curves: laws of fronts and hulls, areas against a fine grid, and known shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from amp.errors import InvalidInputError
from amp.report.frontier import (
    Point,
    average_success,
    cost_at,
    cost_share,
    hull,
    hypervolume,
    pareto_front,
    success_at,
)

# A coarse grid, so that ties and straight lines are common.
point = st.builds(
    lambda cost, success: Point(float(cost), success / 8), st.integers(0, 8), st.integers(0, 8)
)
points = st.lists(point, min_size=1, max_size=12)


def beaten(one: Point, other: Point) -> bool:
    no_worse = other.cost <= one.cost and other.success >= one.success
    return no_worse and (other.cost, other.success) != (one.cost, one.success)


def best_pair(given: list[Point], cost: float) -> float | None:
    """What mixing two of them can have at a cost, by trying all pairs."""
    found = [p.success for p in given if p.cost <= cost]
    for one in given:
        for two in given:
            if one.cost <= cost < two.cost:
                share = (cost - one.cost) / (two.cost - one.cost)
                found.append((1 - share) * one.success + share * two.success)
    return max(found, default=None)


@given(points)
def test_the_front_holds_exactly_what_nothing_beats(given: list[Point]) -> None:
    expected = {(p.cost, p.success) for p in given if not any(beaten(p, q) for q in given)}
    front = [(p.cost, p.success) for p in pareto_front(given)]
    assert front == sorted(expected)


@given(points, st.floats(0, 10))
def test_what_can_be_had_at_a_cost_is_the_best_mixture_of_two(
    given: list[Point], cost: float
) -> None:
    expected = best_pair(given, cost)
    found = success_at(given, cost)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


@given(points, st.floats(0, 1))
def test_the_least_cost_of_a_success_is_where_that_success_can_first_be_had(
    given: list[Point], success: float
) -> None:
    cost = cost_at(given, success)
    if cost is None:
        assert success > max(p.success for p in given)
        return
    reached = success_at(given, cost + 1e-9)
    assert reached is not None
    assert reached >= success - 1e-9
    less = success_at(given, cost - 1e-6)
    assert less is None or less < success


def test_the_hull_has_the_corners_that_scipy_finds() -> None:
    rng = np.random.default_rng(0)
    cloud = np.column_stack([rng.uniform(1, 9, 60), rng.uniform(0, 1, 60)])
    corners = {tuple(cloud[index]) for index in ConvexHull(cloud).vertices}
    found = [(p.cost, p.success) for p in hull([Point(c, s) for c, s in cloud.tolist()])]
    assert set(found) <= corners
    best = max(corners, key=lambda corner: corner[1])
    assert found[0] == min(corners)
    assert found[-1] == best
    slopes = np.diff([s for _, s in found]) / np.diff([c for c, _ in found])
    assert (np.diff(slopes) < 0).all()
    assert (slopes > 0).all()


def test_points_on_one_line_are_no_corners() -> None:
    assert [p.cost for p in hull([Point(c, c / 4) for c in (0.0, 1.0, 2.0, 4.0)])] == [0.0, 4.0]


@given(points, st.floats(0.1, 5))
def test_the_average_success_is_the_mean_height_of_the_hull(
    given: list[Point], width: float
) -> None:
    low = min(p.cost for p in given) + 0.3
    costs = low + (np.arange(4000) + 0.5) / 4000 * width
    corners = hull(given)
    heights = np.interp(costs, [p.cost for p in corners], [p.success for p in corners])
    found = average_success(given, low, low + width)
    assert found == pytest.approx(float(np.mean(heights)), abs=1e-3)


def test_the_average_success_of_a_known_curve() -> None:
    curve = [Point(0, 0), Point(1, 0.5), Point(3, 0.7), Point(2, 0.1)]
    # A triangle of 0.25, a trapezium of 1.2, and a rectangle of 0.7 beyond the last point.
    assert average_success(curve, 0, 4) == pytest.approx((0.25 + 1.2 + 0.7) / 4)


@given(points, point)
def test_the_hypervolume_counts_the_cells_that_a_point_dominates(
    given: list[Point], reference: Point
) -> None:
    cells = sum(
        any(p.cost <= cost and p.success * 8 >= level + 1 for p in given)
        for cost in range(int(reference.cost))
        for level in range(int(reference.success * 8), 8)
    )
    assert hypervolume(given, reference) == pytest.approx(cells / 8)


def test_a_coin_between_two_fixed_policies_gains_nothing() -> None:
    fixed = [Point(1, 0.4), Point(4, 0.8)]
    oracle = [Point(1, 0.8)]
    for share in (0.25, 1.0):
        mixed = Point(1 + 3 * share, 0.4 + 0.4 * share)
        assert cost_share(mixed, fixed, oracle) == pytest.approx(0.0)


def test_the_oracle_realises_all_of_its_gain_and_half_way_is_half() -> None:
    fixed, oracle = [Point(1, 0.4), Point(4, 0.8)], Point(2, 0.8)
    assert cost_share(oracle, fixed, [oracle]) == pytest.approx(1.0)
    half = Point(3, 0.8)
    assert cost_share(half, fixed, [oracle]) == pytest.approx(0.5)
    assert cost_share(Point(5, 0.8), fixed, [oracle]) == pytest.approx(-0.5)


def test_where_there_is_nothing_to_gain_there_is_no_share() -> None:
    fixed = [Point(1, 0.4), Point(4, 0.8)]
    assert cost_share(Point(2, 0.8), fixed, fixed) is None
    assert cost_share(Point(2, 0.9), fixed, [Point(2, 1.0)]) is None
    assert cost_share(Point(2, 0.8), fixed, [Point(1, 0.5)]) is None


def test_bad_points_and_ranges_are_refused_with_what_was_found() -> None:
    with pytest.raises(InvalidInputError, match="cost of dear is nan"):
        Point(math.nan, 0.5, "dear")
    with pytest.raises(InvalidInputError, match=r"success of a point is 1\.5"):
        Point(1.0, 1.5)
    with pytest.raises(InvalidInputError, match="at least 1 point"):
        pareto_front([])
    with pytest.raises(InvalidInputError, match="starts at 2 or more"):
        average_success([Point(2, 0.5)], 1, 3)
    with pytest.raises(InvalidInputError, match="costs from 3 to 3"):
        average_success([Point(2, 0.5)], 3, 3)
    with pytest.raises(InvalidInputError, match="cost is nan"):
        success_at([Point(2, 0.5)], math.nan)
    with pytest.raises(InvalidInputError, match="success is nan"):
        cost_at([Point(2, 0.5)], math.nan)
