"""Draws success against cost from the tables of `amp simulate --markdown`, as one SVG file.

    python -m experiments.success_figure docs/tables/gsm8k.md docs/success.svg

Left, the compute of the model; right, the tokens it writes. The line is the best mixture of fixed
allocations with plain votes at each cost: what one has without assessing and allocating.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.svg import INK, line, text

WIDTH, HEIGHT = 960, 430
TOP, BOTTOM, LEFT, GAP, PANEL = 92, 60, 62, 60, 404
LOW, HIGH = 0.40, 0.90
"""Of the axis of success, which does not begin at 0."""
PALE = "#dddddd"


@dataclass(frozen=True)
class Policy:
    """A row of a table: what a policy reaches, and what it costs a task.

    Attributes:
        kind: as in the table; ``plain`` for a fixed allocation whose votes are plain.
        name: of the policy.
        success: share of the tasks.
        written: tokens.
        teraflops: of the model.
    """

    kind: str
    name: str
    success: float
    written: float
    teraflops: float


@dataclass(frozen=True)
class Series:
    """Policies that are drawn alike."""

    label: str
    colour: str
    shape: str
    has: Callable[[Policy], bool]


SERIES = (
    Series(
        "fixed, plain votes; their best mixtures", "#8a8f98", "dot", lambda p: p.kind == "plain"
    ),
    Series("fixed, votes weighed", "#4c78a8", "dot", lambda p: p.kind == "fixed"),
    Series("rules, votes weighed", "#4c78a8", "square", lambda p: p.kind == "rule"),
    Series("AMP", "#d95f02", "dot", lambda p: p.name.startswith("router")),
    Series("oracle", "#1b7f5c", "diamond", lambda p: p.kind == "oracle"),
)


def read(page: str) -> list[Policy]:
    """The rows of a page's first table, and the fixed allocations of its table of plain votes."""
    weighed, plain = page.split("\n## Plain votes\n")
    found = [replace(row, kind="plain") for row in _rows(plain) if row.kind == "fixed"]
    kinds = {"fixed", "rule", "adaptive", "oracle"}
    return found + [row for row in _rows(weighed) if row.kind in kinds]


def _rows(page: str) -> Iterator[Policy]:
    """The rows that say what a policy reaches."""
    for row in page.splitlines():
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        if len(cells) == _COLUMNS and cells[0] != "kind" and not cells[0].startswith("---"):
            success, written = float(cells[2].split()[0]), float(cells[3])
            yield Policy(cells[0], cells[1], success, written, float(cells[_FLOPS]) / 1e12)


_COLUMNS, _FLOPS = 11, 5
"""Columns of a table of policies, and which of them is the compute."""


def front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The upper concave hull from the cheapest point to the best: the best mixtures by cost."""
    hull: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if hull and y <= hull[-1][1]:
            continue
        while len(hull) > 1 and _left_of(hull[-2], (x, y), hull[-1]):
            hull.pop()
        hull.append((x, y))
    return hull


def _left_of(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether c lies on or below the line from a to b."""
    return (c[1] - a[1]) * (b[0] - a[0]) <= (b[1] - a[1]) * (c[0] - a[0])


def draw(policies: Sequence[Policy]) -> str:
    """The picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 24, "Success against cost on GSM8K", size=16, weight="bold"),
        text(
            LEFT,
            44,
            "first 300 test problems, Qwen2.5-Coder-1.5B, ten orders of recorded samples; "
            "a point has a 95 % interval of about ±0.05",
            colour="#666666",
        ),
        *_legend(),
        *_panel(policies, LEFT, 4, 1, "teraflops a task", lambda p: p.teraflops),
        *_panel(
            policies, LEFT + PANEL + GAP, 1000, 200, "written tokens a task", lambda p: p.written
        ),
        text(16, TOP - 14, "success"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend() -> list[str]:
    parts, x = list[str](), float(LEFT)
    for series in SERIES:
        parts += [_mark(series, x + 5, 62), text(x + 15, 66, series.label)]
        x += 30 + 6.6 * len(series.label)
    return parts


def _panel(
    policies: Sequence[Policy],
    left: float,
    largest: int,
    tick: int,
    title: str,
    cost: Callable[[Policy], float],
) -> list[str]:
    def x(value: float) -> float:
        return left + PANEL * value / largest

    def y(success: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (HIGH - success) / (HIGH - LOW)

    parts = []
    for step in range(6):
        level = LOW + step * 0.1
        parts.append(line([(left, y(level)), (left + PANEL, y(level))], PALE))
        parts.append(text(left - 8, y(level) + 4, f"{level:.1f}", anchor="end"))
    for value in range(0, largest + 1, tick):
        parts.append(line([(x(value), y(LOW)), (x(value), y(LOW) + 5)], INK))
        parts.append(text(x(value), y(LOW) + 20, f"{value:,}", anchor="middle"))
    parts.append(line([(left, y(LOW)), (left + PANEL, y(LOW))], INK))
    parts.append(text(left + PANEL / 2, HEIGHT - 14, title, anchor="middle"))
    hull = front((cost(p), p.success) for p in policies if p.kind == "plain")
    best = [(x(c), y(s)) for c, s in [*hull, (largest, hull[-1][1])]]
    parts.append(line(best, SERIES[0].colour, width=2))
    for series in SERIES:
        chosen = sorted((cost(p), p.success) for p in policies if series.has(p))
        if series.label == "AMP":
            parts.append(line([(x(c), y(s)) for c, s in chosen], series.colour, width=2))
        parts += [_mark(series, x(c), y(s)) for c, s in chosen]
    return parts


def _mark(series: Series, x: float, y: float) -> str:
    if series.shape == "dot":
        radius = 5 if series.colour == "#d95f02" else 3.5
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{series.colour}"/>'
    if series.shape == "square":
        return (
            f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="none" '
            f'stroke="{series.colour}" stroke-width="1.5"/>'
        )
    corners = f"{x:.1f},{y - 7:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 7:.1f} {x - 6:.1f},{y:.1f}"
    return f'<polygon points="{corners}" fill="{series.colour}"/>'


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(draw(read(source.read_text(encoding="utf-8"))), encoding="utf-8")
