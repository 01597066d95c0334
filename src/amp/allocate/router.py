"""The router: a policy that chooses which model is asked next and in which way, or to stop.

An arm is a model and a way of asking it. What the router believes is the posterior over the answers
so far, from what each arm is known to get right on tasks like this one (`Descriptors`, read before
anything is asked) and from who agrees with whom. What it does is learned: Q(s, a), what stopping
with the leading answer, or one more sample of an arm and going on as well as it can, is worth here,
less the price (`amp.learn.routing`). The price of the next call is known before it is made, since
the task's length and the price list are, so it is subtracted and not learned.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from amp.allocate.base import Allocator
from amp.cost import Cost
from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints, Mask
from amp.pools.pool import CHARACTERS_PER_TOKEN, NO_ANSWER
from amp.types import Allocation, Complexity, Decision, Evidence, StepContext

ROUTER_VERSION = 1
"""Of `Descriptors` and `basis`; a router saved with another version is refused."""

WITHIN_ARM = 0.7
"""n votes of one arm speak like n ** 0.7 of different arms, since an arm repeats its mistakes."""

LIKELY = (0.01, 0.99)
"""No sample counts as surer than this, to be right or to be wrong."""

_CERTAIN = 30.0
_WORD = re.compile(r"[^\W\d_]+|\d+")
_NUMBERS = 5
"""Descriptors that are no kind and no word."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What is known of a task before anything is asked, as numbers.

    Attributes:
        kinds: that were seen in training. One that was not counts as none of them, so what all
            kinds share decides.
        words: columns for hashed words of the text; 0 reads none.
        center: mean of the first columns in training.
        scale: their standard deviation.
    """

    kinds: tuple[str, ...] = ()
    words: int = 0
    center: tuple[float, ...] = (0.0,) * _NUMBERS
    scale: tuple[float, ...] = (1.0,) * _NUMBERS

    @property
    def width(self) -> int:
        """Columns of what `of` gives."""
        return 1 + _NUMBERS + len(self.kinds) + self.words

    def of(self, kind: str, text: str, tokens: float) -> Floats:
        """The descriptors of a task; the first is 1, for the mean of all tasks.

        Args:
            kind: its exam, domain or benchmark.
            text: its question; may be empty.
            tokens: length of its question.
        """
        row = np.zeros(self.width)
        row[0] = 1.0
        numbers = np.array(numbers_of(text, tokens))
        row[1 : 1 + _NUMBERS] = np.clip((numbers - self.center) / self.scale, -4.0, 4.0)
        if kind in self.kinds:
            row[1 + _NUMBERS + self.kinds.index(kind)] = 1.0
        if self.words:
            found = {zlib.crc32(word.encode()) % self.words for word in _words(text)}
            if found:
                at = 1 + _NUMBERS + len(self.kinds) + np.array(sorted(found))
                row[at] = 3.0 / math.sqrt(len(found))
        return row


def numbers_of(text: str, tokens: float) -> tuple[float, ...]:
    """Logarithms of length, words, different words, numbers, and parts joined by "and"."""
    words = _words(text)
    counts = (
        tokens,
        len(words),
        len(set(words)),
        sum(word[0].isdigit() for word in words),
        words.count("and"),
    )
    return tuple(math.log1p(count) for count in counts)


def nearest(trade_offs: Floats, wanted: float) -> int:
    """Index of the lambda nearest to the one wanted; there are few that were learned at."""
    return int(np.abs(trade_offs - wanted).argmin())


def text_of(context: StepContext) -> str:
    """What descriptors read of a step."""
    return "\n".join(filter(None, [context.task.goal, context.observation.state]))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of many steps, one row each.

    Attributes:
        votes: shape (..., arms, answers), how many samples of each arm name each answer.
        odds: shape (..., arms, answers), the sum over these of the log-odds that they are right.
        taken: shape (..., arms), how many samples of each arm were taken.
        there: shape (..., arms), which arms can be asked at all.
        chances: shape (..., arms), P(right) of a sample of each arm on this task.
        prices: shape (..., arms), what a sample of each arm is expected to cost, over `reference`.
        verdicts: shape (..., answers), 1 where an exact check says right, -1 where it says wrong.
    """

    votes: Floats
    odds: Floats
    taken: Floats
    there: Mask
    chances: Floats
    prices: Floats
    verdicts: Floats

    def rows(self, wanted: Any) -> Known:
        """Those of some steps, by whatever indexes an array."""
        return Known(*(getattr(self, field.name)[wanted] for field in fields(self)))


def voices(known: Known) -> Floats:
    """What the arms say for each answer, shape (..., answers, 2 * arms + 1).

    The columns are what `posterior` weighs: by arm its votes, to the power `WITHIN_ARM`, times
    their mean log-odds, then these votes alone, then 1.
    """
    loud = np.power(known.votes, WITHIN_ARM).swapaxes(-1, -2)
    mean = (known.odds / np.maximum(known.votes, 1.0)).swapaxes(-1, -2)
    return np.concatenate([loud * mean, loud, np.ones((*loud.shape[:-1], 1))], -1)


def posterior(known: Known, weights: Floats) -> Floats:
    """The probability that each answer is right, shape (..., answers); 0 for one nobody gave.

    A conditional logit whose score for "none of these" is 0. An answer that an exact check
    approved is certain, one that it refused is out.
    """
    backed = (known.votes.sum(-2) > 0.0) & (known.verdicts >= 0.0)
    scores = voices(known) @ weights + _CERTAIN * (known.verdicts > 0.0)
    scores = np.where(backed, scores, -np.inf)
    top = np.maximum(0.0, scores.max(-1, keepdims=True, initial=-np.inf))
    mass = np.exp(scores - top)
    return np.asarray(mass / (mass.sum(-1, keepdims=True) + np.exp(-top)))


def basis(known: Known, shares: Floats) -> Floats:
    """The features of Q, shape (..., features)."""
    best = np.sort(shares, -1)
    zero = np.zeros(shares.shape[:-1])
    lead = best[..., -1] if shares.shape[-1] else zero
    second = best[..., -2] if shares.shape[-1] > 1 else zero
    dear = np.where(known.there, known.prices, 0.0).max(-1)
    columns = [
        np.ones_like(lead), lead, lead**2, lead**3,
        logit(np.clip(lead, 1e-3, 1.0 - 1e-3)) / 5.0, second, second * lead,
        dear, dear * lead, 1.0 / (0.1 + dear), lead / (0.1 + dear),
    ]  # fmt: skip
    for arm in range(known.taken.shape[-1]):
        there, taken = known.there[..., arm], known.taken[..., arm] / 4.0
        chance = np.where(there, known.chances[..., arm], 0.0)
        fresh = there & (taken == 0.0)
        columns += [taken, fresh, chance, chance * lead]
    return np.stack(np.broadcast_arrays(*columns), -1).astype(np.float32)


def logit(p: Floats) -> Floats:
    """Log-odds of probabilities inside (0, 1)."""
    return np.asarray(np.log(p) - np.log1p(-p))


@dataclass(frozen=True, slots=True, eq=False)
class Router(Allocator):
    """Asks the arm that is worth most, and stops where stopping is worth more.

    Attributes:
        arms: what a sample of each is allocated, by name; no two have the same model and tools.
        samples: most of a step, of each arm.
        depth: most of a step, of all arms together.
        descriptors: how a task is read.
        priors: shape (arms, descriptors), of the logistic P(right) of a sample of each arm.
        voices: shape (2 * arms + 1,), see `posterior`.
        token_prices: shape (arms,), cost of a token of the question.
        sample_prices: shape (arms,), mean cost of the rest of a sample.
        reference: cost that counts as 1.
        trade_offs: lambdas that it was learned at, ascending; shape (t,).
        weights: of Q by lambda, samples taken and action (stop, then the arms); shape
            (t, depth + 1, arms + 1, features).
        trade_off: lambda in [0, 1], the weight of success against cost; that of `trade_offs`
            nearest to it decides.
        cost: in which unit prices are. Where a limit of an episode is in the same, an arm that is
            expected to cost more than is left is not asked.

    Raises:
        InvalidInputError: if shapes do not fit, two arms are the same, or a number is not finite.
    """

    arms: Mapping[str, Allocation]
    samples: tuple[int, ...]
    depth: int
    descriptors: Descriptors
    priors: Floats
    voices: Floats
    token_prices: Floats
    sample_prices: Floats
    reference: float
    trade_offs: Floats
    weights: Floats
    trade_off: float = 0.9
    cost: Cost = "dollars"

    uses_complexity = False

    def __post_init__(self) -> None:
        count = len(self.arms)
        kinds = {(arm.model, arm.tools) for arm in self.arms.values()}
        if not count or len(kinds) < count:
            raise InvalidInputError(
                f"arms are {', '.join(self.arms) or 'none'}, expected some that differ in their"
                " model or tools"
            )
        if not 0.0 <= self.trade_off <= 1.0:
            raise InvalidInputError(f"trade_off is {self.trade_off}, expected 0 to 1")
        if len(self.samples) != count or min(self.samples) < 1 or self.depth < 1:
            raise InvalidInputError(
                f"samples are {self.samples} and depth {self.depth}, expected {count} numbers and"
                " all of at least 1"
            )
        width = basis(self.begin(np.zeros((1, self.descriptors.width)), np.zeros(1)),
                      np.zeros((1, 0))).shape[-1]  # fmt: skip
        for name, shape in (
            ("priors", (count, self.descriptors.width)),
            ("voices", (2 * count + 1,)),
            ("token_prices", (count,)),
            ("sample_prices", (count,)),
            ("weights", (len(self.trade_offs), self.depth + 1, count + 1, width)),
        ):
            array = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise InvalidInputError(
                    f"{name} of the router has the shape {array.shape}, expected {shape} and"
                    " finite numbers"
                )

    def begin(self, described: Floats, tokens: Floats) -> Known:
        """What is known of tasks before anything is asked, one row each.

        Args:
            described: shape (rows, descriptors).
            tokens: shape (rows,), lengths of their questions.
        """
        shape = (len(described), len(self.arms))
        return Known(
            np.zeros((*shape, 0)),
            np.zeros((*shape, 0)),
            np.zeros(shape),
            np.ones(shape, np.bool_),
            chances(described, self.priors),
            (tokens[:, None] * self.token_prices + self.sample_prices) / self.reference,
            np.zeros((len(described), 0)),
        )

    @property
    def nearest(self) -> int:
        """Index of the lambda that decides."""
        return nearest(self.trade_offs, self.trade_off)

    def worth(self, known: Known, taken: int) -> Floats:
        """Q of stopping and of each arm, shape (..., arms + 1), -inf for what can't be done.

        Args:
            known: steps after equally many samples.
            taken: how many.
        """
        weights = self.weights[self.nearest, min(taken, self.depth)]
        worth = basis(known, posterior(known, self.voices)) @ weights.T
        price = (1.0 - float(self.trade_offs[self.nearest])) * known.prices
        left = known.there & (known.taken < np.array(self.samples)) & (taken < self.depth)
        asked = np.where(left, worth[..., 1:] - price, -np.inf)
        stop = worth[..., :1] if taken else np.full_like(worth[..., :1], -np.inf)
        return np.concatenate([stop, asked], -1)

    def bids(self, known: Known, taken: int) -> Floats:
        """The price of success at which one more sample is worth it no more; shape (...).

        In success per unit of cost: the highest price, among those of the trade-offs and between
        two of them, up to which asking is worth more than stopping. 0 where it never is, and where
        nothing is left to ask. It is what an agent bids for a share of a budget, and the same at
        every trade-off of its own.

        Args:
            known: steps after equally many samples.
            taken: how many.
        """
        weights = self.weights[:, min(taken, self.depth)]
        worth = (
            basis(known, posterior(known, self.voices))
            @ np.moveaxis(weights, 1, 2)[(slice(None), *(None,) * (known.taken.ndim - 2))]
        )
        left = known.there & (known.taken < np.array(self.samples)) & (taken < self.depth)
        prices = (1.0 - self.trade_offs) / self.trade_offs
        shape = (-1, *(1,) * (known.taken.ndim - 1))
        asked = worth[..., 1:] / self.trade_offs.reshape(*shape, 1)
        asked = np.where(left, asked - prices.reshape(*shape, 1) * known.prices, -np.inf).max(-1)
        stop = worth[..., 0] / self.trade_offs.reshape(shape) if taken else np.zeros(asked.shape)
        return first_loss(prices[::-1], (asked - stop)[::-1]) / self.reference

    def bid(self, context: StepContext, complexity: Complexity) -> float:
        known, _ = self.known(context)
        return float(self.bids(known, int(known.taken.sum()))[0])

    @property
    def models(self) -> frozenset[str]:
        return frozenset(arm.model for arm in self.arms.values() if arm.model is not None)

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        known, first = self.known(context)
        worth = self.worth(known, int(known.taken.sum()))[0]
        best = int(worth.argmax())
        if best and math.isfinite(worth[best]):
            return Decision(tuple(self.arms.values())[best - 1])
        shares = posterior(known, self.voices)[0]
        return Decision(None, winner=first[int(shares.argmax())] if shares.size else None)

    def known(self, context: StepContext) -> tuple[Known, list[int]]:
        """What is known of a step, as one row; and the first candidate of each answer."""
        text = text_of(context)
        tokens = len(text) / CHARACTERS_PER_TOKEN
        described = self.descriptors.of("", text, tokens)
        begun = self.begin(described[None], np.array([tokens]))
        evidence = context.evidence
        voters = [one.action is not None and one.valid for one in evidence.candidates]
        if not any(voters):  # then those that break a rule vote, as in `amp.votes`
            voters = [one.action is not None for one in evidence.candidates]
        numbers: dict[str | None, int] = {}
        first: list[int] = []
        shape = (len(self.arms), len(evidence.candidates))
        votes, odds, taken = np.zeros(shape), np.zeros(shape), np.zeros(len(self.arms))
        for place, (candidate, arm) in enumerate(
            zip(evidence.candidates, self._arms_of(evidence), strict=True)
        ):
            taken[arm] += 1.0
            if voters[place]:
                answer = numbers.setdefault(candidate.action, len(numbers))
                first += [place] * (answer == len(first))
                p = begun.chances[0, arm] if candidate.p_right is None else candidate.p_right
                votes[arm, answer] += 1.0
                odds[arm, answer] += float(logit(np.clip(p, *LIKELY)))
        there = np.array([arm.model not in context.failed for arm in self.arms.values()])
        left = {"dollars": context.remaining.dollars, "tokens": context.remaining.tokens}
        if (most := left.get(self.cost)) is not None:
            there &= begun.prices[0] * self.reference <= most
        now = replace(
            begun,
            votes=votes[None, :, : len(numbers)],
            odds=odds[None, :, : len(numbers)],
            taken=taken[None],
            there=there[None] if there.any() else begun.there,
            verdicts=np.zeros((1, len(numbers))),
        )
        return now, first

    def _arms_of(self, evidence: Evidence) -> list[int]:
        """The arm of each candidate; where another model stood in, that of the same tools.

        One that no arm can have made, which a router never asks for, counts for the first.
        """
        index = {(arm.model, arm.tools): at for at, arm in enumerate(self.arms.values())}
        by_tools = {arm.tools: at for at, arm in reversed([*enumerate(self.arms.values())])}
        tools = evidence.tools + (frozenset(),) * (len(evidence.candidates) - len(evidence.tools))
        return [
            index.get((one.model, used), index.get((None, used), by_tools.get(used, 0)))
            for one, used in zip(evidence.candidates, tools, strict=True)
        ]

    def with_trade_off(self, trade_off: float) -> Router:
        """The router at another trade-off.

        Raises:
            InvalidInputError: if it is not in [0, 1].
        """
        return replace(self, trade_off=trade_off)

    def with_overrides(self, fields: Mapping[str, Any]) -> Router:
        """Ignores beam width, model and tools, which the router itself decides."""
        own = ("beam_width", "model", "tools")
        kept = {name: value for name, value in fields.items() if name not in own}
        return replace(self, arms={n: replace(arm, **kept) for n, arm in self.arms.items()})


def first_loss(prices: Floats, gains: Floats) -> Floats:
    """Where gains, shape (prices, ...), first fall to 0 as prices rise; linear between two."""
    gains = np.where(np.isfinite(gains), gains, -1.0)
    ahead = np.logical_and.accumulate(gains > 0.0, 0).sum(0)  # how many prices are worth it
    last, after = np.maximum(ahead - 1, 0), np.minimum(ahead, len(prices) - 1)
    won, lost = (np.take_along_axis(gains, at[None], 0)[0] for at in (last, after))
    share = np.where(after > last, won / np.maximum(won - lost, 1e-12), 0.0)
    found = prices[last] + share * (prices[after] - prices[last])
    return np.asarray(np.where(ahead > 0, found, 0.0))


def chances(described: Floats, priors: Floats) -> Floats:
    """P(right) of a sample of each arm, shape (rows, arms), kept off 0 and 1."""
    logits = np.clip(described @ priors.T, -30.0, 30.0)
    return np.asarray(np.clip(1.0 / (1.0 + np.exp(-logits)), *LIKELY))


def votes_of(answer: Ints, weight: Floats, taken: Ints) -> Floats:
    """Votes after the first so many samples of each arm, shape (rows, nodes, arms, answers).

    Args:
        answer: shape (rows, arms, samples), index of the answer, `NO_ANSWER` for none.
        weight: likewise, of each vote.
        taken: shape (nodes, arms), how many of each arm are known.
    """
    count = max(1, int(answer.max(initial=NO_ANSWER)) + 1)
    says = (answer[..., None] == np.arange(count)) * weight[..., None].astype(np.float32)
    before = np.zeros((*says.shape[:2], 1, count), np.float32)
    after = np.concatenate([before, says.cumsum(2)], 2)
    return np.stack([after[:, arm, taken[:, arm]] for arm in range(taken.shape[1])], 2)
