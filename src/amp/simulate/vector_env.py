"""The protocol of an environment to train on: many episodes at once, each a row of arrays.

An environment knows tasks and what comes of every allocation. It decides nothing and rewards
nothing: it tells what a decision cost, and at the end whether the task is solved. `TableEnv` is one
on recorded samples; tests have others in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from amp.allocate.distributions import TOOLS_FROM
from amp.allocate.mlp_policy import Mask
from amp.allocate.space import FALLING, REALS, Space
from amp.mlp import Floats

Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class BatchObservation:
    """What is known before a decision, one row an episode.

    Attributes:
        values: shape (rows, features + `EXTRAS`), NaN where one is missing. The column of the
            trade-off may hold anything: whoever trains draws it.
        free: shape (rows, dimensions), what the policy may decide, as `Options.free`.
        assessed: shape (rows, 3 * features of the assessor), what `NeuralAssessor.encode` makes of
            the step; of use where an assessor learns, and then the score among the values is not.
    """

    values: Floats
    free: Mask
    assessed: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """What came of a decision, one value a row.

    Attributes:
        tokens: that it cost.
        success: quality of the result in [0, 1] where the episode is done, else 0.
        done: whether the episode is over: the last step is settled, or a limit reached.
    """

    tokens: Floats
    success: Floats
    done: Mask


class VectorEpisodes(Protocol):
    """Episodes under way."""

    def observe(self, rows: Ints) -> BatchObservation:
        """What is known now in these rows, none of which is done.

        A decision that leaves no choice (a stop that is forced) is not asked for: the environment
        takes it by itself.
        """
        ...

    def step(self, rows: Ints, latents: Floats) -> StepResult:
        """Carries out one decision in each of these rows, as drawn before the maps of spec 3.3."""
        ...


class VectorEnv(Protocol):
    """Tasks to train on.

    Attributes:
        space: where allocations move.
        max_rounds: rounds a plan step at most.
        max_samples: of one arm, with tools or without, at most; None for any number.
        features: names of the complexity's features that an observation begins with.
        difficulties: one number a task, its failure rate, say; for the curriculum.
    """

    @property
    def space(self) -> Space: ...
    @property
    def max_rounds(self) -> int: ...
    @property
    def max_samples(self) -> int | None: ...
    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def difficulties(self) -> Floats: ...

    def reset(self, tasks: Ints, rng: np.random.Generator) -> VectorEpisodes:
        """Begins one episode for each task, named by its index; all chance is of the generator."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Allocations:
    """Many allocations: one array a resource, one value a row.

    Attributes:
        tools: shape (rows, tools), in the order of `Space.tool_names`.
    """

    depth: Ints
    temperature: Floats
    top_p: Floats
    beam_width: Ints
    verification: Ints
    tools: Mask


def allocations(space: Space, latents: Floats, max_beams: Ints | None = None) -> Allocations:
    """`Space.allocation` of many rows of latents that don't stop.

    Args:
        space: bounds and grids.
        latents: shape (rows, dimensions).
        max_beams: the upper bound of the beam width in each row, where a budget lowers it.
    """
    drawn = dict(zip(REALS, np.asarray(latents[:, 1:], np.float64).T, strict=False))
    tools = latents[:, TOOLS_FROM:] > 0

    def mapped(name: str) -> Floats:
        low, high = getattr(space, name)
        if name == "depth":
            low, high = np.array([space.depth, space.depths(True)])[tools.any(1).astype(int)].T
        if name == "beam_width" and max_beams is not None:
            high = np.maximum(low, np.minimum(high, max_beams))
        share = 1.0 / (1.0 + np.exp(-np.clip(drawn[name], -500.0, 500.0)))
        value = high - (high - low) * share if name in FALLING else low + (high - low) * share
        step = getattr(space, f"{name}_step", None)
        if step is not None:
            value = np.round(np.rint(value / step) * step, 10)
        return np.asarray(np.clip(value, low, high))

    depth, beam_width, verification = (
        np.rint(mapped(name)).astype(np.intp) for name in ("depth", "beam_width", "verification")
    )
    return Allocations(
        depth, mapped("temperature"), mapped("top_p"), beam_width, verification, tools
    )
