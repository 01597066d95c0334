"""What every subset of the samples of a task shows, and is worth.

What an assessor says of a step depends on which samples were drawn, not on their order, but for the
features in `ORDERED`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from amp.allocate.batch import Mask
from amp.allocate.inputs import EXTRAS, observe
from amp.assess.base import Assessor
from amp.assess.neural import NeuralAssessor
from amp.evaluate.draws import Draws, TaskDraws
from amp.execute.search import vote
from amp.network import Floats, Layer
from amp.types import Complexity, Evidence, StepContext

ORDERED = frozenset({"divergence"})
"""Features that tell the order of the samples."""


@dataclass(frozen=True, slots=True, eq=False)
class Subsets:
    """Of one task; a subset is a number with a bit for each sample, as in `tables.Table`.

    Attributes:
        shown: shape (subsets, features + `inputs.EXTRAS`), NaN where one is missing.
        assessed: shape (subsets, inputs), what `NeuralAssessor.encode` makes of each; of width 0
            where another assessor is asked.
        right: shape (subsets,), whether the vote is right.
    """

    shown: Floats
    assessed: Floats
    right: Mask


def subsets(
    row: TaskDraws,
    draws: Draws,
    features: tuple[str, ...],
    assessor: Assessor,
    context: StepContext,
) -> Subsets:
    """Works out all subsets of the samples of a task.

    Args:
        row: the task.
        draws: the table that it is of.
        features: names of the features that are shown.
        assessor: says how complex the step is.
        context: the step before anything is drawn.
    """
    samples = [
        (draw, bool(arm.allocation.tools))
        for arm in draws.arms
        for draw in row.cells[arm.name].draws
    ]
    count = 1 << len(samples)
    width = 3 * len(assessor.names) if isinstance(assessor, NeuralAssessor) else 0
    made = Subsets(
        np.empty((count, len(features) + len(EXTRAS))),
        np.empty((count, width), np.float32),
        np.zeros(count, np.bool_),
    )
    for subset in range(count):
        known = [sample for bit, sample in enumerate(samples) if subset >> bit & 1]
        candidates = tuple(draw.candidate for draw, _ in known)
        with_tools = sum(tools for _, tools in known)
        evidence = Evidence(candidates, rounds=int(bool(known)), with_tools=with_tools)
        now = replace(context, evidence=evidence)
        complexity, made.assessed[subset] = _assess(assessor, now)
        made.shown[subset] = np.array(
            observe(features, now, complexity, trade_off=0.0, budget_share=1.0), float
        )
        winner = vote(candidates)
        made.right[subset] = winner is not None and known[candidates.index(winner)][0].right
    return made


def _assess(assessor: Assessor, context: StepContext) -> tuple[Complexity, Floats]:
    """What `Assessor.assess` says, and the inputs of the network that says it, if one does."""
    if not isinstance(assessor, NeuralAssessor):
        return assessor.assess(context), np.empty(0, np.float32)
    observed = assessor.observe(context)
    inputs = assessor.encode(observed)
    score = float(assessor.predict(inputs[None])[0])
    return Complexity(score, dict(observed.values), observed.substitutes), inputs


def without(assessor: NeuralAssessor, names: Collection[str]) -> NeuralAssessor:
    """The assessor to which these features are missing for good: it does not read them any more.

    It says of every step what the whole one says where they cannot be had.
    """
    count = len(assessor.names)
    kept = [index for index, name in enumerate(assessor.names) if name not in names]
    gone = sorted(set(range(count)) - set(kept))
    first, *others = assessor.layers
    missing = first.weight[[2 * count + index for index in gone]].sum(0)
    rows = [block * count + index for block in range(3) for index in kept]
    return replace(
        assessor,
        names=tuple(assessor.names[index] for index in kept),
        mean=assessor.mean[kept],
        std=assessor.std[kept],
        layers=(Layer(first.weight[rows], first.bias + missing), *others),
    )
