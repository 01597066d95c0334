"""An HTML page that needs nothing else, and in which no text of others can run.

Texts come from models and environments and are not to be trusted. jinja2 escapes every value that
goes into a template (autoescape); what is HTML already is a `Markup`, which only `figure` and
`fragment` make. Should a text ever get through, the page's policy still lets no script run but two,
by their hashes: plotly, and the one that draws figures from data.
"""

from __future__ import annotations

import gzip
import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amp.report import figures, words
from amp.report.stats import optional
from amp.votes import p_chosen

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.graph_objects import Figure

_TEMPLATES = Path(__file__).parent / "templates"


def page(template: str, title: str, *, draws: bool = True, **values: Any) -> str:
    """A page of a template that extends ``page.html``.

    Args:
        template: name of its file.
        title: as plain text.
        draws: whether it has figures; plotly is in it then, packed.
        values: whatever the template reads.

    Raises:
        MissingDependencyError: if jinja2 is not installed, or plotly where it is needed.
    """
    script = markup((_TEMPLATES / "page.js").read_text(encoding="utf-8"))
    packed, hashes = "", "'none'"
    if draws:
        packed, plotly_hash = _packed_plotly(optional("plotly.offline", "a report as HTML"))
        hashes = f"'{plotly_hash}' '{_hash(script)}'"
    found = environment().get_template(template)
    return (
        found.render(title=title, plotly=packed, script=script, hashes=markup(hashes), **values)
        + "\n"
    )


def fragment(template: str, **values: Any) -> Markup:
    """A part of a page, as HTML that no template escapes again."""
    return markup(environment().get_template(template).render(**values))


@cache
def environment() -> Environment:
    """The templates, which escape what goes into them."""
    jinja2 = optional("jinja2", "a report as HTML")
    made: Environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "allocation": words.allocation,
        "brief": words.brief,
        "brought": words.brought,
        "clip": words.clip,
        "cost": words.cost,
        "facts": words.facts,
        "in_short": words.in_short,
        "p_chosen": p_chosen,
        "probed": words.probed,
    }
    return made


def markup(html: str) -> Markup:
    """Marks a text as HTML, which no template escapes."""
    made: Markup = optional("markupsafe", "a report as HTML").Markup(html)
    return made


def figure(made: Figure, name: str) -> Markup:
    """A figure as data in the page, which ``page.js`` draws when plotly is unpacked.

    Args:
        made: its texts went through `amp.report.figures.label`.
        name: unique in its page.
    """
    margin = {"l": 60, "r": 20}
    made.update_layout(template="plotly_white", colorway=figures.COLOURS, margin=margin)
    # In JSON these characters stand in texts alone, and none of them may end the element.
    data = made.to_json()
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    label = f"Figure: {name.replace('-', ' ')}. The tables have its numbers."
    return markup(
        f'<div class="plotly-graph-div" id="figure-{name}" role="img" aria-label="{label}"></div>'
        f'<script type="application/json" class="drawn" data-in="figure-{name}">{data}</script>'
    )


@cache
def _packed_plotly(offline: Any) -> tuple[str, str]:
    """Plotly in a third of its size, since pages are sent around; and its hash."""
    text = offline.get_plotlyjs()
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode(), _hash(text)


def _hash(script: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
