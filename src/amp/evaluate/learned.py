"""A learned policy from its file, if it may be compared with others on a table of draws."""

from __future__ import annotations

from pathlib import Path

from amp.allocate.mlp import MlpPolicy
from amp.allocate.weights import Origin, load_origin, load_policy
from amp.errors import InvalidInputError
from amp.evaluate.draws import Draws
from amp.evaluate.presets import ARMS, POLICY_SPACES


def learned(path: Path, test: Draws) -> MlpPolicy:
    """Reads a policy that was learned for these draws, and on none of their tasks.

    Args:
        path: the file.
        test: what it is to be tested on, of a benchmark in `POLICY_SPACES`.

    Raises:
        InvalidInputError: if there is no such policy, it takes no trade-off, does not say where it
            was learned, was learned elsewhere or on a task of the table, or asks for what the table
            has not.
    """
    policy = load_policy(path, space=POLICY_SPACES[test.benchmark])
    if not isinstance(policy, MlpPolicy):
        raise InvalidInputError(f"policy {path} takes no trade-off; name one of amp train")
    origin = load_origin(path)
    if origin is None:
        raise InvalidInputError(
            f"policy {path} does not say where it was learned, so it may know the test tasks; let"
            " amp train finish it"
        )
    if origin.assessor:
        raise InvalidInputError(
            f"policy {path} was learned with an assessor of its own, which a table has not; compare"
            " runs of amp run --assessor with amp report"
        )
    _check_origin(path, origin, test)
    for name, allocation in ARMS.items():
        if allocation not in (arm.allocation for arm in test.arms):
            raise InvalidInputError(
                f"policy {path} may ask for a {name}, of which the table has none; name the way"
                f" {name}, too"
            )
    samples = min(test.samples.values())
    if policy.most_samples is None or policy.most_samples > samples:
        raise InvalidInputError(
            f"policy {path} may ask for {policy.most_samples or 'any number of'} samples of each"
            f" way, the table has {samples}; take more"
        )
    return policy


def _check_origin(path: Path, origin: Origin, test: Draws) -> None:
    if origin.benchmark != test.benchmark:
        raise InvalidInputError(
            f"policy {path} was learned on {origin.benchmark}, the test tasks are of"
            f" {test.benchmark}; learn one there"
        )
    card = test.card
    same = origin.sha256 == card.sha256 if card.sha256 else origin.model == card.name
    if not same:
        weights = " of other weights" if origin.model == card.name else ""
        raise InvalidInputError(
            f"policy {path} was learned with {origin.model}{weights}, the test samples are of"
            f" {card.name}; learn one on samples of that"
        )
    seen = {row.task for row in test.tasks}.intersection(origin.tasks)
    if seen:
        raise InvalidInputError(
            f"policy {path} was learned on task {min(seen)} of the test; learn it on others"
        )
