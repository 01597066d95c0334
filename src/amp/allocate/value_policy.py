"""The policy that stops by value: what more is one more sample of each way to ask worth here?

It has learned Q(s, a), what is to be expected of stopping now, or of one more sample of an arm and
of going on from there as well as it can, less what that costs (fitted value iteration,
`amp.learn.fitted_value`). Q is linear in features of the votes: few numbers, which few hundred
tasks are enough for. Arms are any allocations that differ in their tools
or in their model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from amp.allocate.base import Allocator
from amp.errors import InvalidInputError
from amp.mlp import Floats
from amp.types import STOP, Allocation, Candidate, Complexity, Decision, Evidence, StepContext
from amp.votes import COINCIDENCE

Ints = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

BASIS_VERSION = 1
"""Of `basis`; a policy saved with another version is refused."""

_LEAST = 1e-4
_UNKNOWN = 0.5
_LOG_Q = math.log(COINCIDENCE)
_SCALE = 8.0
"""Samples that count as 1, so that features are of one size."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The candidates of one step as arrays, one value each.

    Attributes:
        answer: index of what they answer, equal where they agree; -1 for no action.
        valid: whether they break no rule.
        p_right: in (0, 1); where it is not known the mean of the others, or 1/2.
        arm: index of the arm that they are of.
    """

    answer: Ints
    valid: Mask
    p_right: Floats
    arm: Ints

    @classmethod
    def of(cls, candidates: Sequence[Candidate], arms: Sequence[int]) -> Answers:
        """Those of some candidates, each with the index of its arm."""
        numbers: dict[str, int] = {}
        answer = [
            -1 if one.action is None else numbers.setdefault(one.action, len(numbers))
            for one in candidates
        ]
        known = [one.p_right for one in candidates if one.p_right is not None]
        usual = math.fsum(known) / len(known) if known else _UNKNOWN
        p = np.array([usual if one.p_right is None else one.p_right for one in candidates], float)
        return cls(
            np.array(answer, np.intp),
            np.array([one.valid for one in candidates], np.bool_),
            np.clip(p, _LEAST, 1.0 - _LEAST),
            np.array(arms, np.intp),
        )


def basis(answers: Answers, known: Mask, chances: Floats) -> Floats:
    """The features of a step, shape (rows, features), with these of its candidates known.

    The posterior over the answers is that of `amp.votes`. What one more sample of an arm is
    expected to gain is the mean over `chances`, shifted half way to how right this step's
    candidates of the arm look, or all of them where it has none.

    Args:
        answers: all candidates.
        known: shape (rows, candidates), which of them are known.
        chances: shape (arms, n), P(right) of samples of each arm in training, of equal weight.
    """
    arms = np.arange(len(chances))
    of_arm = (answers.arm[:, None] == arms).astype(float)
    shares, leader, voters = posterior_of(answers, known)
    rows, one = np.arange(len(known)), np.ones(len(known))
    lead = shares[rows, leader] if shares.shape[1] else np.zeros(len(known))
    others = shares.copy()
    if shares.shape[1]:
        others[rows, leader] = 0.0
    second = others.max(1, initial=0.0)
    behind = (voters & (answers.answer == leader[:, None])) @ of_arm
    taken = known.astype(float) @ of_arm
    ways, n = (behind > 0.0).sum(1) > 1, taken.sum(1) / _SCALE
    total = np.maximum(known.sum(1), 1)
    looks = np.where(known, answers.p_right, 0.0)
    mean = np.where(known.any(1), looks.sum(1) / total, chances.mean())
    columns = [
        one, lead, lead**2, lead**3, _logit(np.clip(lead, 1e-3, 1.0 - 1e-3)) / 5.0,
        second, second**2, n, n**2, lead * n, second * lead, ways, ways * lead,
    ]  # fmt: skip
    for arm in arms:
        count, votes = taken[:, arm], behind[:, arm]
        own = np.where(count > 0.0, (looks @ of_arm[:, arm]) / np.maximum(count, 1.0), mean)
        gain = gain_of(shares, lead, chances[arm], own)
        none = count == 0.0
        columns += [
            count / _SCALE, votes / _SCALE, lead * votes / _SCALE, none, none * lead,
            gain, np.sqrt(gain), gain * n,
        ]  # fmt: skip
    return np.column_stack(columns).astype(float)


def posterior_of(answers: Answers, known: Mask) -> tuple[Floats, Ints, Mask]:
    """The posterior of `amp.votes` over the answers, with these of the candidates known.

    Returns:
        Shares of the answers, shape (rows, answers); the leading one; and who votes, shape (rows,
        candidates).
    """
    named = known & (answers.answer >= 0)
    voters = named & answers.valid
    voters = np.where(voters.any(1, keepdims=True), voters, named)
    count = int(answers.answer.max(initial=-1)) + 1
    says = (answers.answer[:, None] == np.arange(count)).astype(float)
    there = voters @ says > 0.0
    voice = _logit(answers.p_right) - _LOG_Q
    scores = np.where(there, (voters * voice) @ says + _LOG_Q, -np.inf)
    top = np.maximum(0.0, scores.max(1, initial=0.0))[:, None]
    weights = np.exp(scores - top)
    shares = weights / (weights.sum(1, keepdims=True) + np.exp(-top))
    if not count:
        return shares, np.zeros(len(known), np.intp), voters
    # Among equal shares that of the candidate who was there first leads.
    backed = np.where(voters, shares[:, answers.answer].round(12), -1.0)
    return shares, np.maximum(0, answers.answer[backed.argmax(1)]), voters


def gain_of(shares: Floats, lead: Floats, chances: Floats, own: Floats) -> Floats:
    """`amp.votes.Posterior.gain`, the mean over chances shifted half way to `own`, one a row."""
    logits = _logit(np.clip(chances, _LEAST, 1.0 - _LEAST))
    shifted = logits + 0.5 * (_logit(np.clip(own, 1e-3, 1.0 - 1e-3))[:, None] - logits.mean())
    p = (1.0 / (1.0 + np.exp(-shifted)))[:, None, :]  # (rows, 1, chances)
    odds = np.exp(shifted)[:, None, :]
    best = np.sort(shares, 1)[:, ::-1]
    first = lead[:, None]
    second = best[:, 1:2] if shares.shape[1] > 1 else np.zeros_like(first)
    rivals = np.where(shares == first, second, first)[:, :, None]
    share = shares[:, :, None]
    says = share * p + (1.0 - share) * (1.0 - p) * COINCIDENCE * (share > 0.0)
    raised = share * odds / COINCIDENCE
    expected = (says * np.maximum(raised, rivals) / (1.0 - share + raised)).sum(1)
    fresh = np.maximum(0.0, 1.0 - shares.sum(1))[:, None] * odds[:, 0]
    new = np.maximum(0.0, 1.0 - says.sum(1))
    expected += new * np.maximum(fresh, first) / (1.0 + fresh)
    return np.asarray(np.maximum(0.0, expected - first).mean(1))


def _logit(p: Floats) -> Floats:
    return np.asarray(np.log(p) - np.log1p(-p))


@dataclass(frozen=True, slots=True, eq=False)
class ValuePolicy(Allocator):
    """Takes the sample of the arm that is worth most, and stops where stopping is worth more.

    Attributes:
        arms: allocations of one sample each, by name; no two have the same tools and model. One
            that names no model counts all samples with its tools that no other arm claims.
        samples: most of a step, of each arm.
        chances: shape (arms, n), P(right) of samples of each arm in training.
        trade_offs: lambdas that it was learned at, ascending; shape (t,).
        weights: of Q in the reward of each lambda, by samples taken and action (stop, then the
            arms); shape (t, samples + 1, arms + 1, features).
        trade_off: lambda in [0, 1], the weight of success against cost; that of `trade_offs`
            nearest to it decides.

    Raises:
        InvalidInputError: if shapes do not fit, two arms have the same tools and model, or a
            number is not finite.
    """

    arms: Mapping[str, Allocation]
    samples: tuple[int, ...]
    chances: Floats
    trade_offs: Floats
    weights: Floats
    trade_off: float = 0.9

    uses_complexity = False

    def __post_init__(self) -> None:
        count = len(self.arms)
        if not count or len(self._index) < count:
            raise InvalidInputError(
                f"arms are {', '.join(self.arms) or 'none'}, expected some that differ in their"
                " tools or model"
            )
        if len(self.samples) != count or min(self.samples) < 1:
            raise InvalidInputError(f"samples are {self.samples}, expected {count} of at least 1")
        if not 0.0 <= self.trade_off <= 1.0:
            raise InvalidInputError(f"trade_off is {self.trade_off}, expected 0 to 1")
        if self.chances.ndim != 2 or len(self.chances) != count:
            raise InvalidInputError(f"chances of the policy have the shape {self.chances.shape}")
        expected = (len(self.trade_offs), sum(self.samples) + 1, count + 1, self._width)
        if self.weights.shape != expected:
            raise InvalidInputError(
                f"weights of the policy have the shape {self.weights.shape}, expected {expected}"
            )
        if not all(np.isfinite(a).all() for a in (self.chances, self.trade_offs, self.weights)):
            raise InvalidInputError("a number of the policy is not finite")

    @property
    def _width(self) -> int:
        nobody = Answers.of((), ())
        return int(basis(nobody, np.zeros((1, 0), np.bool_), self.chances).shape[1])

    @property
    def models(self) -> frozenset[str]:
        return frozenset(arm.model for arm in self.arms.values() if arm.model is not None)

    @property
    def _index(self) -> dict[tuple[frozenset[str], str | None], int]:
        """The arms' numbers by what tells them apart."""
        return {(arm.tools, arm.model): number for number, arm in enumerate(self.arms.values())}

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        worth = self.worth(context.evidence, context.failed)
        best = int(worth.argmax())
        if not math.isfinite(worth[best]) or best == 0:
            return STOP
        return Decision(tuple(self.arms.values())[best - 1])

    @property
    def nearest(self) -> int:
        """Index of the lambda that decides."""
        return int(np.abs(self.trade_offs - self.trade_off).argmin())

    def worth(self, evidence: Evidence, failed: frozenset[str] = frozenset()) -> Floats:
        """Q of stopping and of one more sample of each arm, -inf for what can't be done.

        Args:
            evidence: what is known of the step.
            failed: models that are asked no more. Where these are the models of all arms, the
                planner has others answer in their place.
        """
        candidates = evidence.candidates
        tools = evidence.tools + (frozenset(),) * (len(candidates) - len(evidence.tools))
        index = self._index
        arms = [
            index.get((found, one.model), index.get((found, None), -1))
            for found, one in zip(tools, candidates, strict=True)
        ]
        answers = Answers.of(candidates, arms)
        known = np.ones((1, len(candidates)), np.bool_)
        features = basis(answers, known, self.chances)[0]
        level = min(len(candidates), self.weights.shape[1] - 1)
        worth: Floats = self.weights[self.nearest, level] @ features
        usable = [arm.model not in failed for arm in self.arms.values()]
        can = [
            len(candidates) > 0,
            *(
                arms.count(arm) < most and (usable[arm] or not any(usable))
                for arm, most in enumerate(self.samples)
            ),
        ]
        return np.where(can, worth, -np.inf)

    def with_trade_off(self, trade_off: float) -> ValuePolicy:
        """The policy at another trade-off.

        Raises:
            InvalidInputError: if it is not in [0, 1].
        """
        return replace(self, trade_off=trade_off)

    def with_overrides(self, fields: Mapping[str, Any]) -> ValuePolicy:
        """Ignores beam width and tools, which the policy itself decides."""
        kept = {
            name: value for name, value in fields.items() if name not in ("beam_width", "tools")
        }
        return replace(self, arms={n: replace(arm, **kept) for n, arm in self.arms.items()})
