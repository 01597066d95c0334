"""What a training configuration says of a lattice: how it was recorded, and what to compare on it.

It is the table ``[lattice]`` of a configuration whose ``source`` is ``lattice``, and the table
``[compare]`` of `amp lattices compare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from amp.allocate.plan_state import PLAN_STATE
from amp.settings import Config, FilePath
from amp.types import ProbeKind

Count = Annotated[int, Field(ge=1)]
TradeOff = Annotated[float, Field(ge=0.0, le=1.0)]
PlanLearner = Literal["values", "ppo"]

OF_LATTICES: Mapping[str, Any] = {
    "arms": (),
    "samples": 1,
    "rounds": 1,
    "features": tuple(PLAN_STATE),
}
"""What a configuration has where it names nothing else; no arms stand for all of the lattice."""

OF_PLANS: Mapping[str, Any] = {"gamma": 0.99, "gae_lambda": 0.95}
"""Preset of PPO for plans of many steps, where what comes later is worth a little less."""


class LatticeConfig(Config):
    """How a lattice was recorded (`amp record --lattice`), as far as its states depend on it.

    Attributes:
        levels: of a benchmark that has levels; the tasks of all of them are taken together.
        max_steps: plan steps of an episode at most; None for the benchmark's.
        main: the arm whose states came first, if one did.
        probes: what was measured before each step; every policy pays for it.
    """

    levels: tuple[str, ...] = ()
    max_steps: Count | None = None
    main: str | None = None
    probes: tuple[ProbeKind, ...] = ()

    @field_validator("probes")
    @classmethod
    def _known(cls, value: tuple[ProbeKind, ...]) -> tuple[ProbeKind, ...]:
        return tuple(kind for kind in get_args(ProbeKind) if kind in value)


class CompareConfig(Config):
    """On which tasks policies are compared, and which.

    Attributes:
        recording: with the lattice of the test tasks; None for that of the training tasks.
        split: of the test tasks. Those that are training tasks are left out.
        limit: test tasks of each level at most.
        learners: what is learned on the training tasks.
        seeds: how often each is learned, and how many seeds controls have.
        trade_offs: at which policies are compared, and rules tuned.
    """

    recording: FilePath | None = None
    split: str = "test"
    limit: Count | None = None
    learners: Annotated[tuple[PlanLearner, ...], Field(min_length=1)] = ("values", "ppo")
    seeds: Count = 3
    trade_offs: Annotated[tuple[TradeOff, ...], Field(min_length=1)] = (0.9,)
