"""What the user sets wins over the defaults, and only what exists can be set."""

from __future__ import annotations

from typing import Any

import pytest

from amp.benchmarks import BENCHMARKS, load_benchmark
from amp.benchmarks.base import Benchmark, Defaults
from amp.errors import InvalidInputError


def overridden(benchmark: Benchmark, overrides: dict[str, Any]) -> Defaults:
    return benchmark.defaults.overridden(overrides, benchmark)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_defaults_of_tools_that_it_has(name: str) -> None:
    benchmark = load_benchmark(name)
    exists = {*benchmark.tools, *benchmark.environment_tools}
    defaults = benchmark.defaults
    assert defaults.fixed.tools <= defaults.space.tools <= exists
    assert overridden(benchmark, {"depth": None}) == defaults


@pytest.mark.parametrize(
    ("name", "value"), [("depth", 3), ("temperature", 0.2), ("beam_width", 5), ("verification", 2)]
)
def test_a_wanted_value_is_the_only_one_left(name: str, value: Any) -> None:
    defaults = overridden(load_benchmark("gsm8k"), {name: value})
    assert getattr(defaults.fixed, name) == value
    assert getattr(defaults.space, name) == (value, value)


def test_tools_can_be_pinned_and_pinned_to_none() -> None:
    babyai = load_benchmark("babyai")
    assert overridden(babyai, {"tools": []}).fixed.tools == frozenset()
    assert overridden(babyai, {"tools": ["path_finder"]}).space.tools == {"path_finder"}
    with pytest.raises(InvalidInputError, match=r"unknown tool 'python' \(tools of babyai"):
        overridden(babyai, {"tools": ["python"]})


def test_a_value_out_of_range_is_named() -> None:
    with pytest.raises(InvalidInputError, match="allocation beam_width is 0"):
        overridden(load_benchmark("gsm8k"), {"beam_width": 0})
