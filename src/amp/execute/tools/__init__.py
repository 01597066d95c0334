"""Tools that work on what a model wrote. `TOOLS` is the only registry; one file a tool."""

from __future__ import annotations

from amp.execute.tools.calculator import CalculatorTool
from amp.execute.tools.python import PythonTool

__all__ = ["TOOLS", "CalculatorTool", "PythonTool"]

TOOLS: dict[str, type[CalculatorTool] | type[PythonTool]] = {
    "calculator": CalculatorTool,
    "python": PythonTool,
}
