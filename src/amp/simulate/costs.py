"""What calls and samples of a table cost, in every unit, as arrays.

A sequential policy reads its prompt again with every call, and finds it in the cache: in dollars
and FLOPs a call's prompt depends on how many samples of the arm came before. What a sample costs
does not. So the cost of an episode is a sum over the edges of its way through the table, and equals
what the planner's ledger would be charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amp.cost import COSTS, Cost, Costing, charged, costing
from amp.errors import InvalidInputError
from amp.mlp import Floats
from amp.models.base import ModelCard
from amp.simulate.samples import ArmSamples, RecordedSample, SampleTable
from amp.types import Usage


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Costs in one unit, each array of shape (rows, arms, samples).

    Attributes:
        calls: what a call reads, by the number of samples that were taken of the arm before.
        samples: what each sample adds.
    """

    calls: Floats
    samples: Floats

    def rows(self, kept: npt.NDArray[np.intp]) -> Costs:
        """Those of some rows."""
        return Costs(self.calls[kept], self.samples[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Prompts of which only the next token is read: a planner reads each once in an episode.

    Attributes:
        read: shape (nodes, arms, samples, readings), which of its task's an edge reads that were
            not read before in its plan step; -1 for none.
        costs: by unit, what each of a task costs, shape (tasks, readings).
    """

    read: npt.NDArray[np.intp]
    costs: Mapping[Cost, Floats]

    def part(self, nodes: npt.NDArray[np.intp], tasks: npt.NDArray[np.intp]) -> Readings:
        """Those of some nodes and tasks."""
        return Readings(self.read[nodes], {unit: c[tasks] for unit, c in self.costs.items()})

    def none_paid(self, episodes: int) -> npt.NDArray[np.bool_]:
        """Which readings episodes have paid for, before their beginning."""
        return np.zeros((episodes, next(iter(self.costs.values())).shape[1]), np.bool_)

    def paid_before(
        self,
        paid: npt.NDArray[np.bool_],
        episodes: npt.NDArray[np.intp],
        tasks: npt.NDArray[np.intp],
        edges: tuple[npt.NDArray[np.intp], ...],
        unit: Cost,
    ) -> Floats:
        """What these edges would have charged a second time; notes what they read.

        Args:
            paid: of all episodes; is changed.
            episodes: index of each edge's.
            tasks: likewise of its task.
            edges: node, arm and sample of each.
            unit: of the cost.
        """
        read = self.read[edges]
        there = read >= 0
        again = paid[episodes[:, None], read] & there
        saved = (self.costs[unit][tasks[:, None], read] * again).sum(1)
        paid[np.broadcast_to(episodes[:, None], read.shape)[there], read[there]] = True
        return np.asarray(saved)


def costs_of(table: SampleTable) -> dict[Cost, Costs]:
    """What samples cost, a row a plan step in the order of the table, in all units that are known.

    Dollars are those of `amp.cost.costing`, at a reference price where the model has none.

    Args:
        table: of samples that share the prompt of their call; equally many of every arm.
    """
    measures: dict[Cost, Costing] = {}
    for unit in COSTS:
        with suppress(InvalidInputError):  # not known of this model
            measures[unit] = costing(unit, table.card)
    steps = [step for row in table.tasks for step in row.steps().values()]
    arms = [[_of_arm(step.by_arm[arm.name], table.card) for arm in table.arms] for step in steps]
    found: dict[Cost, Costs] = {}
    for unit, measure in measures.items():
        pairs = [
            [[(measure.of(call), measure.of(whole)) for call, whole in arm] for arm in step]
            for step in arms
        ]
        calls, whole = np.moveaxis(np.array(pairs, float), -1, 0)
        found[unit] = Costs(calls, whole - calls)
    return found


def _of_arm(arm: ArmSamples, card: ModelCard) -> list[tuple[Usage, Usage]]:
    """At each place, the usage of a call without its sample, and with it.

    The tokens of a sample attend to the prompt, too, so that its FLOPs are those beyond the call's.
    """
    found = []
    for cached, sample in zip(arm.cached, arm.samples, strict=True):
        call = Usage(1, prompt_tokens=arm.prompt_tokens, cached_prompt_tokens=cached)
        found.append((charged(card, [call]), charged(card, [call, _with_tools(sample)])))
    return found


def _with_tools(sample: RecordedSample) -> Usage:
    return sample.usage + Usage(seconds=sum(use.seconds for use in sample.candidate.tool_uses))
