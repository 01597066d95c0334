"""What the user sets wins over any preset, and only what exists can be set."""

from __future__ import annotations

from typing import Any

import pytest

from amp.benchmarks import BENCHMARKS, load_benchmark
from amp.benchmarks.presets import PRESETS, preset_for
from amp.errors import InvalidInputError


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_a_preset_of_tools_that_it_has(name: str) -> None:
    benchmark = load_benchmark(name)
    exists = {*benchmark.tools, *benchmark.environment_tools}
    preset = PRESETS[name]
    assert preset.fixed.tools <= preset.space.tools <= exists
    assert preset_for(benchmark, {"depth": None}) == PRESETS[name]


@pytest.mark.parametrize(
    ("name", "value"), [("depth", 3), ("temperature", 0.2), ("beam_width", 5), ("verification", 2)]
)
def test_a_wanted_value_is_the_only_one_left(name: str, value: Any) -> None:
    preset = preset_for(load_benchmark("gsm8k"), {name: value})
    assert getattr(preset.fixed, name) == value
    assert getattr(preset.space, name) == (value, value)


def test_tools_can_be_pinned_and_pinned_to_none() -> None:
    babyai = load_benchmark("babyai")
    assert preset_for(babyai, {"tools": []}).fixed.tools == frozenset()
    assert preset_for(babyai, {"tools": ["path_finder"]}).space.tools == {"path_finder"}
    with pytest.raises(InvalidInputError, match=r"unknown tool 'python' \(tools of babyai"):
        preset_for(babyai, {"tools": ["python"]})


def test_a_value_out_of_range_is_named() -> None:
    with pytest.raises(InvalidInputError, match="allocation beam_width is 0"):
        preset_for(load_benchmark("gsm8k"), {"beam_width": 0})
