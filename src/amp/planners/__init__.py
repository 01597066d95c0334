"""Other planners on the interfaces of `amp.planner.Planner`, to search more widely or to compare.

`BeamPlanner` spends what an allocator grants; `BASELINES` are published methods under one
allocation.
"""

from __future__ import annotations

from amp.planners.adaplanner import AdaPlanner
from amp.planners.adapt import ADaPTPlanner
from amp.planners.base import AnyPlanner, BaselinePlanner
from amp.planners.beam import BeamPlanner
from amp.planners.react import ReActPlanner

__all__ = [
    "BASELINES",
    "ADaPTPlanner",
    "AdaPlanner",
    "AnyPlanner",
    "BaselinePlanner",
    "BeamPlanner",
    "ReActPlanner",
]

BASELINES: dict[str, type[ReActPlanner] | type[AdaPlanner] | type[ADaPTPlanner]] = {
    "adaplanner": AdaPlanner,
    "adapt": ADaPTPlanner,
    "react": ReActPlanner,
}
