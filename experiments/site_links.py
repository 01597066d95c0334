"""A hook of mkdocs: links to files outside docs/ become their names.

They are for readers of the plain Markdown; the site has no such files, and shows examples whole.
"""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Takes the links to examples out of a page."""
    return re.sub(r"\[(`examples/\w+\.py`)\]\([./]*examples/\w+\.py\)", r"\1", markdown)
