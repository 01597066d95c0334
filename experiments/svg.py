"""Lines and texts of a figure, as parts of an SVG file."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

INK = "#333333"


def line(points: Sequence[tuple[float, float]], colour: str, width: float = 1) -> str:
    """A line through points."""
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    size: int = 13,
    weight: str = "normal",
    colour: str = INK,
) -> str:
    """A line of words."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="{colour}">{escape(words)}</text>'
    )
