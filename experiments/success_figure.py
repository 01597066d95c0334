"""Draws success against cost from the table of `amp simulate --markdown`, as one SVG file.

    python -m experiments.success_figure docs/tables/gsm8k.md docs/success.svg

Left, all tokens at the model; right, the written ones alone. The line is the best mixture of fixed
allocations at each cost: what adaptive allocation has to beat.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 960, 430
TOP, BOTTOM, LEFT, GAP, PANEL = 92, 60, 62, 60, 404
LOW, HIGH = 0.40, 0.80
"""Of the axis of success, which does not begin at 0."""
INK, PALE = "#333333", "#dddddd"


@dataclass(frozen=True)
class Policy:
    """A row of the table: what a policy reaches, and what it costs a task."""

    kind: str
    name: str
    success: float
    written: float
    tokens: float


@dataclass(frozen=True)
class Series:
    """Policies that are drawn alike."""

    label: str
    colour: str
    shape: str
    has: Callable[[Policy], bool]


SERIES = (
    Series(
        "fixed allocations, and their best mixtures", "#8a8f98", "dot", lambda p: p.kind == "fixed"
    ),
    Series("rules on votes", "#4c78a8", "square", lambda p: p.kind == "rule"),
    Series("AMP heuristic", "#7b4fa3", "diamond", lambda p: p.name == "heuristic"),
    Series(
        "AMP learned, four trade-offs", "#d95f02", "dot", lambda p: p.name.startswith("learned")
    ),
    Series("oracle", "#1b7f5c", "diamond", lambda p: p.kind == "oracle"),
)


def read(page: str) -> list[Policy]:
    """The rows of the first table of a page, without controls and ablations of the learner."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("| ")
    ]
    kinds = {"fixed", "rule", "adaptive", "oracle"}
    return [
        Policy(row[0], row[1], float(row[2].split()[0]), float(row[3]), float(row[4]))
        for row in rows
        if row[0] in kinds and not row[1].startswith(("imitation", "ppo"))
    ]


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
        _text(LEFT, 24, "Success against cost on GSM8K", size=16, weight="bold"),
        _text(
            LEFT,
            44,
            "first 125 test problems, Qwen2.5-Coder-1.5B, ten orders of recorded samples; "
            "a point has a 95 % interval of about ±0.08",
            colour="#666666",
        ),
        *_legend(),
        *_panel(
            policies, LEFT, 1600, 400, "all tokens a task, prompts included", lambda p: p.tokens
        ),
        *_panel(
            policies, LEFT + PANEL + GAP, 800, 200, "written tokens a task", lambda p: p.written
        ),
        _text(16, TOP - 14, "success"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend() -> list[str]:
    parts, x = list[str](), float(LEFT)
    for series in SERIES:
        parts += [_mark(series, x + 5, 62), _text(x + 15, 66, series.label)]
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
    for step in range(5):
        level = LOW + step * 0.1
        parts.append(_line([(left, y(level)), (left + PANEL, y(level))], PALE))
        parts.append(_text(left - 8, y(level) + 4, f"{level:.1f}", anchor="end"))
    for value in range(0, largest + 1, tick):
        parts.append(_line([(x(value), y(LOW)), (x(value), y(LOW) + 5)], INK))
        parts.append(_text(x(value), y(LOW) + 20, f"{value:,}", anchor="middle"))
    parts.append(_line([(left, y(LOW)), (left + PANEL, y(LOW))], INK))
    parts.append(_text(left + PANEL / 2, HEIGHT - 14, title, anchor="middle"))
    hull = front((cost(p), p.success) for p in policies if p.kind == "fixed")
    best = [(x(c), y(s)) for c, s in [*hull, (largest, hull[-1][1])]]
    parts.append(_line(best, SERIES[0].colour, width=2))
    for series in SERIES:
        chosen = sorted((cost(p), p.success) for p in policies if series.has(p))
        if series.label.startswith("AMP learned"):
            parts.append(_line([(x(c), y(s)) for c, s in chosen], series.colour, width=2))
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


def _line(points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> str:
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    size: int = 13,
    weight: str = "normal",
    colour: str = INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="{colour}">{escape(text)}</text>'
    )


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(draw(read(source.read_text(encoding="utf-8"))), encoding="utf-8")
