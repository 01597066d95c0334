"""What a study of a pool found, as Markdown and as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from amp.report.curves import ChosenSetting, CurveComparison, IntervalEstimate
from amp.report.figures import COLOURS, GREY


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting, as it is shown.

    Attributes:
        name: of the setting.
        training_success: on the tasks that settings are chosen on.
        training_cost: likewise.
        success: on test tasks.
        cost: likewise.
    """

    name: str
    training_success: float
    training_cost: float
    success: float
    cost: float


@dataclass(frozen=True, slots=True)
class PartReport:
    """What was found on some of the tasks.

    Attributes:
        name: of the part.
        training: how many tasks settings are chosen on.
        test: how many others.
        groups: of test tasks, which intervals are over.
        choices: settings that training tasks choose to be as good as each goal.
        goals: the learned curve beside each goal.
        versus: the learned curve beside the others at the same costs; empty for parts.
    """

    name: str
    training: int
    test: int
    groups: int
    choices: tuple[ChosenSetting, ...]
    goals: tuple[CurveComparison, ...]
    versus: tuple[CurveComparison, ...] = ()


@dataclass(frozen=True, slots=True)
class CurveReport:
    """All that is shown of a study.

    Attributes:
        pool: name of the pool.
        unit: of costs as they are shown.
        scale: what one of them is as a cost.
        orders: of the samples of each test task.
        seeds: of the orders of training and test tasks, and of the router.
        costs: at which curves are compared.
        curves: settings by policy, the learned one first.
        reached: success of each policy on test tasks at these costs.
        bounds: what no policy can reach, by name.
        parts: all tasks, then parts of them.
    """

    pool: str
    unit: str
    scale: float
    orders: int
    seeds: tuple[int, ...]
    costs: tuple[float, ...]
    curves: Mapping[str, tuple[Shown, ...]]
    reached: Mapping[str, tuple[float, ...]]
    bounds: Mapping[str, tuple[Shown, ...]]
    parts: tuple[PartReport, ...]


def markdown(report: CurveReport) -> str:
    """The tables of a report."""
    whole, learned = report.parts[0], next(iter(report.curves))
    places = [f"{cost / report.scale:,.0f} {report.unit}" for cost in report.costs]
    others = [name for name in report.curves if name != learned]
    orders = "one order" if report.orders == 1 else f"{report.orders} orders"
    return "\n".join(
        [
            f"{report.pool}: learned and tuned on {whole.training:,} tasks, tested on"
            f" {whole.test:,} others in {whole.groups:,} groups, {orders} of the samples of each;"
            f" seeds {', '.join(map(str, report.seeds))}. Costs are of a task in {report.unit};"
            " intervals of 95 % by groups of tasks.",
            "",
            "Success on test tasks at a cost:",
            "",
            *_table(
                ["policy", *places],
                [
                    [name, *(f"{success:.3f}" for success in row)]
                    for name, row in report.reached.items()
                ],
            ),
            "",
            "What the learned policy gains at equal cost, in points of success:",
            "",
            *_table(
                ["against", *places, "mean"],
                [[name, *(points(row.gain) for row in _of(whole.versus, name))] for name in others],
            ),
            "",
            "Its cost by that of the other at equal success:",
            "",
            *_table(
                ["against", *places, "mean"],
                [[name, *(times(row.ratio) for row in _of(whole.versus, name))] for name in others],
            ),
            "",
            "To be as good as one arm, on its test success (equal success) and its test cost"
            " (equal cost):",
            "",
            *_table(
                _OF_GOALS,
                [_goal(report, part, row) for part in report.parts for row in part.goals],
            ),
            "",
            "The cheapest setting of each policy that is as good as that on all training tasks,"
            " beside it on test tasks:",
            "",
            *_table(
                _OF_CHOICES,
                [_choice(report, part, row) for part in report.parts for row in part.choices],
            ),
            "",
        ]
    )


_OF_GOALS = (
    *("tasks", "n", "goal", "success", "cost"),
    *("gain at equal cost", "cost at equal success"),
)
_OF_CHOICES = (
    *("tasks", "goal", "policy", "setting", "success", "cost", "gain", "cost by the goal's"),
)


def points(estimate: IntervalEstimate) -> str:
    """A difference of success in points."""
    value, low, high = (100.0 * v for v in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def times(estimate: IntervalEstimate) -> str:
    """A ratio of costs."""
    low, high = _times(estimate.low), _times(estimate.high)
    return f"{_times(estimate.value)} ({low} to {high})"


def _times(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "never"


def _of(rows: Iterable[CurveComparison], name: str) -> list[CurveComparison]:
    return [row for row in rows if row.against == name]


def _goal(report: CurveReport, part: PartReport, row: CurveComparison) -> list[str]:
    assert row.cost is not None  # a goal is one place
    assert row.success is not None
    return [
        part.name,
        f"{part.test:,}",
        row.against,
        f"{row.success:.3f}",
        f"{row.cost / report.scale:,.0f}",
        points(row.gain),
        times(row.ratio),
    ]


def _choice(report: CurveReport, part: PartReport, row: ChosenSetting) -> list[str]:
    return [
        part.name,
        row.goal,
        row.curve,
        row.setting + ("" if row.reached else " (nearest)"),
        f"{row.success:.3f}",
        f"{row.cost / report.scale:,.0f}",
        points(row.gain),
        times(row.ratio),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    ]


_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 760, 440, 60, 40, 210, 56
_INK, _PALE = "#333333", "#dddddd"


def picture(report: CurveReport) -> str:
    """Success against cost on test tasks as SVG; costs are on a logarithmic axis."""
    lines = {**report.curves, **report.bounds}
    every = [one for shown in lines.values() for one in shown if one.cost > 0.0]
    low, high = (math.log10(pick(one.cost for one in every)) for pick in (min, max))
    bottom = max(0.0, math.floor(10 * min(one.success for one in every)) / 10)
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(cost: float, success: float) -> tuple[float, float]:
        x = _LEFT + across * (math.log10(cost) - low) / max(high - low, 1e-9)
        return x, _TOP + down * (1.0 - (success - bottom) / max(1.0 - bottom, 1e-9))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, f"{report.pool}: success against cost, test tasks"),
    ]
    for tenth in range(round(10 * bottom), 11):
        _, y = at(10**low, tenth / 10)
        parts.append(_line([(_LEFT, y), (_LEFT + across, y)], _PALE))
        parts.append(_text(_LEFT - 8, y + 4, f"{tenth / 10:.1f}", "end"))
    for power in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 2, 5):
            cost = digit * 10.0**power
            if low <= math.log10(cost) <= high:
                x, y = at(cost, bottom)
                parts.append(_line([(x, y), (x, y + 5)], _INK))
                parts.append(_text(x, y + 20, _amount(cost / report.scale), "middle"))
    parts.append(
        _text(_LEFT + across / 2, _HEIGHT - 12, f"{report.unit} a task, logarithmic", "middle")
    )
    for number, (name, shown) in enumerate(lines.items()):
        bound = name in report.bounds
        colour = GREY if bound else COLOURS[number % len(COLOURS)]
        places = [at(one.cost, one.success) for one in _best(shown)]
        parts.append(_line(places, colour, 3 if number == 0 else 1.5, dashed=bound))
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if number == 0 else 2.5}" fill="{colour}"/>'
            for x, y in places
        ]
        y = _TOP + 20 * number
        parts.append(_line([(_WIDTH - 195, y), (_WIDTH - 170, y)], colour, 3, dashed=bound))
        parts.append(_text(_WIDTH - 162, y + 4, name))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _amount(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 1.0 else f"{cost:.1g}"


def _best(shown: Sequence[Shown]) -> list[Shown]:
    """The settings that no cheaper one reaches, the cheapest first."""
    found: list[Shown] = []
    for one in sorted(shown, key=lambda each: each.cost):
        if one.cost > 0.0 and (not found or one.success > found[-1].success):
            found.append(one)
    return found


def _line(
    places: Iterable[tuple[float, float]], colour: str, width: float = 1, dashed: bool = False
) -> str:
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(text)}</text>'
    )
