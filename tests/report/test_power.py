"""What could have been seen: simulated power at the stated difference, and closed forms."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from amp.errors import InvalidInputError, MissingDependencyError
from amp.report.paired import exact_mcnemar
from amp.report.stats import (
    detectable_mean_difference,
    detectable_success_difference,
    saving_deviation,
)


@pytest.mark.parametrize(("tasks", "discordance"), [(60, 0.3), (200, 0.2)])
def test_the_stated_difference_is_seen_in_four_of_five_simulations(
    tasks: int, discordance: float
) -> None:
    difference = detectable_success_difference(tasks, discordance)
    assert difference is not None
    rng = np.random.default_rng(0)
    rates = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    draws = rng.multinomial(tasks, rates, size=4000)
    seen = np.mean([exact_mcnemar(int(won), int(lost)) <= 0.05 for won, lost, _ in draws])
    assert seen == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / 4000))


def test_for_many_tasks_it_is_close_to_the_normal_approximation() -> None:
    # Connor 1987, Biometrics 43:207: n = (1.96 sqrt(psi) + 0.84 sqrt(psi - d^2))^2 / d^2.
    difference = detectable_success_difference(5000, 0.2)
    assert difference is not None
    z_alpha, z_power = stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    needed = (z_alpha * math.sqrt(0.2) + z_power * math.sqrt(0.2 - difference**2)) ** 2
    assert needed / difference**2 == pytest.approx(5000, rel=0.05)


@settings(max_examples=25)
@given(st.integers(30, 400), st.floats(0.2, 1.0))
def test_more_tasks_show_smaller_differences(tasks: int, discordance: float) -> None:
    few = detectable_success_difference(tasks, discordance)
    many = detectable_success_difference(4 * tasks, discordance)
    assert many is not None
    assert 0 < many <= discordance
    assert few is None or many < few


def test_too_few_discordant_tasks_can_show_nothing() -> None:
    # With five discordant tasks the smallest p-value is 2 / 32.
    assert detectable_success_difference(5, 1.0) is None
    assert detectable_success_difference(6, 1.0) is not None


@pytest.mark.parametrize("tasks", [5, 20, 200])
def test_a_mean_difference_has_its_power_by_the_noncentral_t(tasks: int) -> None:
    shift = detectable_mean_difference(tasks, 2.5) * math.sqrt(tasks) / 2.5
    critical = stats.t.ppf(0.975, tasks - 1)
    power = stats.nct.sf(critical, tasks - 1, shift) + stats.nct.cdf(-critical, tasks - 1, shift)
    assert power == pytest.approx(0.8, abs=0.02)


def test_the_deviation_behind_a_saving_tells_how_savings_scatter() -> None:
    rng = np.random.default_rng(1)
    size = rng.lognormal(0, 0.4, (3000, 100))
    first = size * rng.lognormal(0, 0.3, size.shape)
    second = size * rng.lognormal(-0.5, 0.3, size.shape)
    scatter = np.std(1 - second.sum(axis=1) / first.sum(axis=1))
    found = np.mean([saving_deviation(first[i].tolist(), second[i].tolist()) for i in range(200)])
    assert found / math.sqrt(100) == pytest.approx(scatter, rel=0.06)


def test_a_proportional_cost_scatters_not_at_all() -> None:
    assert saving_deviation([1.0, 2.0, 5.0], [0.5, 1.0, 2.5]) == pytest.approx(0.0)


def test_what_cannot_be_planned_is_refused() -> None:
    for tasks, discordance in ((0, 0.2), (9, 0.0), (9, 1.1), (9, math.nan)):
        with pytest.raises(InvalidInputError, match=f"{tasks} tasks and a discordance of"):
            detectable_success_difference(tasks, discordance)
    for power in (0.01, 1.0, math.nan):
        with pytest.raises(InvalidInputError, match=f"power {power}"):
            detectable_success_difference(9, 0.5, power=power)
    for tasks, deviation in ((1, 1.0), (5, -1.0), (5, math.nan)):
        with pytest.raises(InvalidInputError, match=f"{tasks} tasks and a deviation of"):
            detectable_mean_difference(tasks, deviation)
    with pytest.raises(InvalidInputError, match="at least 2 tasks"):
        saving_deviation([1.0], [1.0])


def test_without_scipy_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '.*\[report\]'"):
        detectable_success_difference(50, 0.3)
