"""Tools that work on what a model wrote. `TOOLS` is the only registry; one file a tool."""

from __future__ import annotations

from amp.errors import InvalidInputError, did_you_mean
from amp.execute.base import Tool
from amp.execute.tools.calculator import CalculatorTool
from amp.execute.tools.python import PythonTool

__all__ = ["TOOLS", "CalculatorTool", "PythonTool", "make_tool"]

TOOLS: dict[str, type[CalculatorTool] | type[PythonTool]] = {
    "calculator": CalculatorTool,
    "python": PythonTool,
}


def make_tool(name: str) -> Tool:
    """Returns the tool of that name with its default limits.

    Raises:
        InvalidInputError: if there is no such tool; names the nearest one.
    """
    if name not in TOOLS:
        known = tuple(sorted(TOOLS))
        raise InvalidInputError(
            f"unknown tool {name!r}{did_you_mean(name, known)} (all tools: {', '.join(known)})"
        )
    return TOOLS[name]()
