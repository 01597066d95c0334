"""Complexity assessment (CAM): how hard a plan step is, from features of the step."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from amp.assess.base import GROUPS, AblatedAssessor, Assessor, Group, WeightedAssessor, ablate
from amp.assess.features import FEATURES, Feature, FeatureVector, observe

if TYPE_CHECKING:
    from amp.assess.neural import NeuralAssessor, load_assessor, save_assessor

__all__ = [
    "FEATURES",
    "GROUPS",
    "AblatedAssessor",
    "Assessor",
    "Feature",
    "FeatureVector",
    "Group",
    "NeuralAssessor",
    "WeightedAssessor",
    "ablate",
    "load_assessor",
    "observe",
    "save_assessor",
]

_WITH_NUMPY = ("NeuralAssessor", "load_assessor", "save_assessor")


def __getattr__(name: str) -> Any:
    """Exports what needs numpy without importing it yet."""
    if name not in _WITH_NUMPY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.neural"), name)
