"""Tools: what helps with a plan step besides the base model; one file a tool.

`TOOLS` holds those that need no argument; other packages add theirs by the entry points
"amp.tools", each a callable without arguments that returns a `Tool`. `LargerModelTool` needs a
model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from amp.errors import InvalidInputError, did_you_mean
from amp.execute.base import Tool
from amp.execute.tools.calculator import CalculatorTool
from amp.execute.tools.python import PythonTool
from amp.execute.tools.simple import LargerModelTool, MemoryTool
from amp.execute.tools.symbolic_planner import SymbolicPlannerTool
from amp.plugins import make_plugin, plugin_names

__all__ = [
    "TOOLS",
    "CalculatorTool",
    "LargerModelTool",
    "MemoryTool",
    "PythonTool",
    "SymbolicPlannerTool",
    "load_tool",
    "plugin_tools",
]

TOOLS: Mapping[str, Callable[[], Tool]] = {
    "calculator": CalculatorTool,
    "python": PythonTool,
    "symbolic_planner": SymbolicPlannerTool,
    "memory": MemoryTool,
}


def load_tool(name: str) -> Tool:
    """Makes a tool by its name.

    Args:
        name: of `TOOLS`, or of `plugin_tools`.

    Raises:
        InvalidInputError: if there is none, the message names the nearest and all; or if another
            package's cannot be made or has another name.
        MissingDependencyError: if another package's cannot be imported.
    """
    if name in TOOLS:
        return TOOLS[name]()
    plugins = plugin_tools()
    if name not in plugins:
        names = sorted((*TOOLS, *plugins))
        raise InvalidInputError(
            f"unknown tool {name!r}{did_you_mean(name, names)} (tools: {', '.join(names)})"
        )
    tool: Tool = make_plugin("amp.tools", name, Tool)
    if tool.name != name:
        raise InvalidInputError(
            f"{name!r} of amp.tools calls itself {tool.name!r}, expected the name of its entry"
            " point"
        )
    return tool


def plugin_tools() -> tuple[str, ...]:
    """Names of the tools that installed packages register."""
    return plugin_names("amp.tools", (*TOOLS, LargerModelTool.name))
