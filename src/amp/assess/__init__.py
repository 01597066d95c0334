"""Complexity assessment (CAM): how hard a plan step is, from features of the step.

`base` has the protocol and the weighted sum, `neural` the network. `features` puts a step under one
schema: from its words (`text`), from how sure the model is (`uncertainty`), and from what the
rounds so far tell (`evidence`). `correctness` says how probably one candidate is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amp.assess.base import GROUPS, AblatedAssessor, Assessor, Group, WeightedAssessor, ablate
from amp.assess.features import FEATURES, Feature, FeatureVector, observe
from amp.plugins import exported_later

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

__getattr__ = exported_later(
    __name__, {"neural": ("NeuralAssessor", "load_assessor", "save_assessor")}
)
