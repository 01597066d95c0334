"""What a run is, and which of its settings would do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amp.allocate import ALLOCATORS, find_allocator
from amp.assess.base import Group
from amp.assess.weighted import TERMS
from amp.errors import InvalidInputError
from amp.methods import BASELINES, Method, find_method
from amp.types import Limits, ProbeKind


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run is; two runs with equal settings on one recording give equal traces.

    Attributes:
        split: split of the benchmark.
        seed: separates repeated runs.
        allocator: name of the allocator, or path of a trained policy's file; ``auto`` for the
            bundled one for the model (`amp.allocate.resolve_auto`). A method brings its own.
            ``histogram`` and ``shuffled`` deal out what another run was allocated.
        wanted: fields of `Allocation` that the user set, by name; they win over any allocator.
        limits: hard limits of an episode.
        step: what a plan step is, where the benchmark offers several; None for its usual one.
        method: name of a published method to plan by (`amp.methods`); None for AMP.
        assessor: file of a trained assessor; None for the weighted sum with its initial weights.
        probes: what is looked at before the first round of a step besides what the assessor wants.
        left_out: groups of features that the assessor has to do without.
        rounds: rounds a step at most, whatever the allocator says; None leaves it to it.
        trade_off: lambda of a trained policy that takes it; None for the policy's own.
        mean_tokens: a task on average, which finds the trade-off on the curve of a trained policy;
            None for the trade-off that is set.
        most: samples a step at most, of the rules that sample until the votes are safe; None for
            the usual number.
        of: directory of the finished run that ``histogram`` and ``shuffled`` deal from.
        orders: whether a replay has the samples of seed 0, in another order with every seed, as in
            `amp.models.recorded`; nothing but a note for who reads the run.
    """

    split: str
    seed: int
    allocator: str
    wanted: Mapping[str, Any]
    limits: Limits
    step: str | None = None
    method: str | None = None
    assessor: Path | None = None
    probes: frozenset[ProbeKind] = frozenset()
    left_out: frozenset[Group] = frozenset()
    rounds: int | None = None
    trade_off: float | None = None
    mean_tokens: float | None = None
    most: int | None = None
    of: Path | None = None
    orders: bool = False

    @property
    def resolved_method(self) -> Method:
        """The method, or AMP with the allocator as one.

        Raises:
            InvalidInputError: if there is no such method.
        """
        if self.method is None:
            return Method("as set", allocator=self.allocator)
        return find_method(self.method)

    @property
    def pins(self) -> dict[str, Any]:
        """The fields of `Allocation` that the user set, as these are."""
        given = {name: value for name, value in self.wanted.items() if value is not None}
        return given | ({"tools": frozenset(given["tools"])} if "tools" in given else {})


def check_effects(settings: RunSettings) -> None:
    """Refuses what would have no effect: a setting that this allocator or planner does not have.

    Raises:
        InvalidInputError: if there is one, which says what it is for, or no such allocator.
    """
    method = settings.resolved_method
    name = method.allocator
    takes = find_allocator(name).takes
    for what, given, fits, owner in (
        ("rounds", settings.rounds, method.planner not in BASELINES, "planners that have rounds"),
        ("trade_off", settings.trade_off, "trade_off" in takes, "trained policies"),
        ("mean_tokens", settings.mean_tokens, "mean_tokens" in takes, "trained policies"),
        ("most", settings.most, "max_samples" in takes, _names_that_take("max_samples")),
        ("of", settings.of, "episodes" in takes, _names_that_take("episodes")),
    ):
        if given is not None and not fits:
            raise InvalidInputError(
                f"{what} is for {owner}, not for {settings.method or name}; leave it out"
            )
    if settings.trade_off is not None and settings.mean_tokens is not None:
        raise InvalidInputError("trade_off and mean_tokens exclude each other; leave one out")
    if "episodes" in takes and settings.of is None:
        raise InvalidInputError(f"allocator {name} needs another run to deal from: of in amp eval")

    if settings.assessor is None and "trade_off" not in takes:  # trained policies read all features
        if settings.left_out and settings.left_out.isdisjoint(TERMS):
            raise InvalidInputError(
                f"the weighted sum reads {', '.join(TERMS)} alone, so to leave out "
                f"{', '.join(sorted(settings.left_out))} changes nothing; name one of these, or a "
                "trained assessor"
            )
        if settings.left_out >= set(TERMS):
            raise InvalidInputError("all terms of the weighted sum are left out; leave it one")


def _names_that_take(option: str) -> str:
    return " and ".join(sorted(name for name, kind in ALLOCATORS.items() if option in kind.takes))
