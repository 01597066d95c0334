"""What the pages of reports share: one HTML document that fetches nothing, tables, figures.

Every text that goes in is escaped here, as names and model output are not to be trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from amp.errors import MissingDependencyError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURWAY = ("#999999", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em;
       color: #222; background: #fff; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15em 1em .15em 0; text-align: left; }
.note { color: #666; }
"""


def document(title: str, parts: Iterable[str | Figure], style: str = "") -> str:
    """One page of these parts.

    Args:
        title: as plain text.
        parts: HTML, or figures.
        style: rules on top of the common ones.

    Raises:
        MissingDependencyError: if plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingDependencyError(
            "a report as HTML needs plotly; run: pip install 'adaptive-meta-planning[report]'"
        ) from error

    # A figure without an id gets a random one; the same report should be the same page.
    body = "".join(
        part if isinstance(part, str) else _html(part, f"figure-{place}")
        for place, part in enumerate(parts)
    )
    # The policy makes the browser refuse whatever plotly might want to fetch or evaluate.
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none';
 script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<style>{_STYLE}{style}</style><script>{get_plotlyjs()}</script></head>
<body><h1>{escape(title)}</h1>{body}</body></html>
"""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts."""

    def line(tag: str, cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line('th', heads)}{''.join(line('td', row) for row in rows)}</table>"


def label(name: str) -> str:
    """A name for plotly, which reads a little HTML, links among it, in its labels."""
    return escape(name)


def _html(figure: Figure, name: str) -> str:
    figure.update_layout(template="plotly_white", colorway=COLOURWAY, margin={"l": 60, "r": 20})
    # Without its bar of buttons: one of them would send the figure elsewhere.
    config = {"displayModeBar": False, "responsive": True}
    text = figure.to_html(config=config, include_plotlyjs=False, full_html=False, div_id=name)
    return str(text)
