"""What each benchmark is run with unless told otherwise; chosen on training tasks only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from amp.allocate.space import Space
from amp.benchmarks.base import Benchmark
from amp.errors import InvalidInputError, did_you_mean
from amp.execute.tools.larger_model import LargerModelTool
from amp.latency import Lengths
from amp.types import Allocation


@dataclass(frozen=True, slots=True)
class Preset:
    """What a benchmark is run with.

    Attributes:
        fixed: the best fixed allocation that we know.
        space: where adaptive allocations move.
        lengths: typical lengths of its prompts and answers, for telling what will fit the limits;
            those of the shipped recordings.
    """

    fixed: Allocation
    space: Space
    lengths: Lengths


PRESETS: dict[str, Preset] = {
    "gsm8k": Preset(
        fixed=Allocation(
            temperature=0.7, top_p=0.95, beam_width=4, tools=frozenset({"python"}), verification=1
        ),
        # Temperature and top_p are those of the fixed allocation: both draw the same samples. Plans
        # before the programs made them longer and not better, on training problems.
        space=Space(
            depth=(0, 0),
            temperature=(0.7, 0.7),
            top_p=(0.95, 0.95),
            beam_width=(1, 2),
            verification=(1, 1),
            tools=frozenset({"python"}),
        ),
        lengths=Lengths(prompt_tokens=110, answer_tokens=112, thought_tokens=32),
    ),
    "babyai": Preset(
        fixed=Allocation(tools=frozenset({"path_finder"})),
        # One token a step is the least there is. Thoughts and beams on top of it solved 10 of 10
        # development seeds, as without, at three times the tokens: only the rule check is left.
        space=Space(
            depth=(0, 0),
            temperature=(0.0, 0.0),
            beam_width=(1, 1),
            verification=(0, 1),
            tools=frozenset({"path_finder"}),
        ),
        lengths=Lengths(prompt_tokens=835, answer_tokens=1, thought_tokens=18),
    ),
    # In the last two, acting at once is all that was measured; lengths are those of these runs.
    # What ALFWorld leaves to allocate is whether to plan in symbols.
    "alfworld": Preset(
        fixed=Allocation(),
        space=Space(
            depth=(0, 0),
            temperature=(0.0, 0.0),
            beam_width=(1, 1),
            verification=(0, 1),
            tools=frozenset({"symbolic_planner"}),
        ),
        lengths=Lengths(prompt_tokens=1350, answer_tokens=1, thought_tokens=20),
    ),
    "webshop": Preset(
        fixed=Allocation(),
        space=Space(depth=(0, 0), temperature=(0.0, 0.0), beam_width=(1, 1), verification=(0, 1)),
        lengths=Lengths(prompt_tokens=850, answer_tokens=4, thought_tokens=40),
    ),
}


ARMS: dict[str, Allocation] = {
    "program": replace(PRESETS["gsm8k"].fixed, beam_width=1),
    "chain": Allocation(depth=4, temperature=0.7, top_p=0.95, verification=1),
}
"""Ways to ask for a whole solution of GSM8K, one sample each."""


POLICY_SPACES: dict[str, Space] = {
    "gsm8k": Space(
        depth=(4, 4),
        temperature=(0.7, 0.7),
        top_p=(0.95, 0.95),
        beam_width=(1, 4),
        verification=(1, 1),
        tools=frozenset({"python"}),
        depth_with_tools=(0, 0),
    )
}
"""What a policy decides that learns from recorded `ARMS`: which way to ask, and how often."""


def preset_for(benchmark: Benchmark, wanted: dict[str, Any]) -> Preset:
    """The preset of a benchmark with what the user set: an explicit setting always wins.

    Args:
        benchmark: its name finds the preset, its tools are those that can be wanted.
        wanted: fields of `Allocation` by name; None leaves a field as it is.

    Raises:
        InvalidInputError: if a value is out of range or a tool does not exist here.
    """
    exists = {*benchmark.tools, *benchmark.environment_tools, LargerModelTool.name}
    preset = PRESETS[benchmark.name]
    chosen: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    for name, value in wanted.items():
        if value is None:
            continue
        if name == "tools":
            _check_tools(value, exists, benchmark.name)
            chosen[name] = bounds[name] = frozenset(value)
        else:
            chosen[name], bounds[name] = value, (value, value)
    try:
        return Preset(
            replace(preset.fixed, **chosen), replace(preset.space, **bounds), preset.lengths
        )
    except ValueError as error:
        raise InvalidInputError(str(error)) from None


def _check_tools(names: list[str], exists: set[str], benchmark: str) -> None:
    for name in names:
        if name not in exists:
            known = sorted(exists)
            raise InvalidInputError(
                f"unknown tool {name!r}{did_you_mean(name, known)} "
                f"(tools of {benchmark}: {', '.join(known)})"
            )
