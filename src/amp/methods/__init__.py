"""Other planners on the interfaces of `amp.planner.Planner`, to search more widely or to compare.

`BeamPlanner` spends what an allocator grants; `BASELINES` are published methods under one
allocation.
"""

from __future__ import annotations

from amp.methods.adaplanner import AdaPlanner
from amp.methods.adapt import ADaPTPlanner
from amp.methods.base import AnyPlanner, BaselinePlanner
from amp.methods.beam_search import BeamPlanner
from amp.methods.llm_dp import LLMDPPlanner
from amp.methods.react import ReActPlanner

__all__ = [
    "BASELINES",
    "ADaPTPlanner",
    "AdaPlanner",
    "AnyPlanner",
    "BaselinePlanner",
    "BeamPlanner",
    "LLMDPPlanner",
    "ReActPlanner",
]

BASELINES: dict[
    str, type[ReActPlanner] | type[AdaPlanner] | type[ADaPTPlanner] | type[LLMDPPlanner]
] = {
    "adaplanner": AdaPlanner,
    "adapt": ADaPTPlanner,
    "llm_dp": LLMDPPlanner,
    "react": ReActPlanner,
}
