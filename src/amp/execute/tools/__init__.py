"""Tools: what helps with a plan step besides the base model; one file a tool.

`TOOLS` is the only registry, of those that need no argument. `LargerModelTool` needs a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from amp.execute.base import Tool
from amp.execute.tools.calculator import CalculatorTool
from amp.execute.tools.larger_model import LargerModelTool
from amp.execute.tools.memory import MemoryTool
from amp.execute.tools.python import PythonTool
from amp.execute.tools.symbolic_planner import SymbolicPlannerTool

__all__ = [
    "TOOLS",
    "CalculatorTool",
    "LargerModelTool",
    "MemoryTool",
    "PythonTool",
    "SymbolicPlannerTool",
]

TOOLS: Mapping[str, Callable[[], Tool]] = {
    "calculator": CalculatorTool,
    "python": PythonTool,
    "symbolic_planner": SymbolicPlannerTool,
    "memory": MemoryTool,
}
