"""What a pool holds: success and price of its arms, what an oracle reaches, and what is luck."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from amp.mlp import Floats, Mask
from amp.pools.pool import NO_ANSWER, Pool

_FEW = 10
_SEEN = 5


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """An arm on the tasks that it has samples of. Rates are means over tasks; NaN if undefined.

    Attributes:
        name: of the arm.
        tasks: with a sample of it.
        samples: of it in all.
        single: of its samples, how many are right.
        vote: how often the most frequent answer is right; ties are shared, samples without an
            answer do not vote, and where no sample has one, one of them is drawn.
        any_right: how often some sample is right.
        luck: how often the right answer of another task of the same kind is among its answers: what
            `any_right` would be if the answers had nothing to do with the task.
        agreement: how often two samples of a task have the same answer.
        completion_tokens: mean of a sample.
        dollars: mean of a sample.
        estimated: whether completion tokens are estimates.
    """

    name: str
    tasks: int
    samples: int
    single: float
    vote: float
    any_right: float
    luck: float
    agreement: float
    completion_tokens: float
    dollars: float
    estimated: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """What a way to choose among arms reaches: success and mean dollars per task."""

    success: float
    dollars: float


@dataclass(frozen=True, slots=True)
class AnswerSpace:
    """Tasks of kinds with so few right answers that guessing pays.

    Attributes:
        tasks: how many are of such a kind.
        answers: mean number of different right answers in their kinds.
        single: how often a guess is right that is drawn from these evenly.
        any_right: how often one of as many guesses as the largest arm has samples.
        guesses: how many those are.
    """

    tasks: int
    answers: float
    single: float
    any_right: float
    guesses: int


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """A pool in figures.

    Attributes:
        name: of the pool.
        tasks: how many.
        kinds: how many.
        groups: how many.
        training: tasks in the half to train on.
        samples: of all arms.
        arms: each arm.
        oracle: who knows all: the cheapest right sample of a task, or its cheapest sample if none
            is right.
        split_half: for each task the arm that was best on every other sample of it, the cheapest of
            equals, scored on the rest; None if most arms have no two samples of a task.
        answer_space: where guessing pays; None if nowhere.
        notes: `Pool.notes`.
    """

    name: str
    tasks: int
    kinds: int
    groups: int
    training: int
    samples: int
    arms: tuple[ArmSummary, ...]
    oracle: Mark
    split_half: Mark | None
    answer_space: AnswerSpace | None
    notes: tuple[str, ...]


def summarize_pool(pool: Pool) -> PoolSummary:
    """Works out the figures of a pool."""
    golds = _golds_by_kind(pool)
    return PoolSummary(
        name=pool.name,
        tasks=len(pool.tasks),
        kinds=len({task.kind for task in pool.tasks}),
        groups=len({task.group for task in pool.tasks}),
        training=len(pool.halves()[0]),
        samples=int(pool.there.sum()),
        arms=tuple(_arm(pool, arm, golds) for arm in range(len(pool.arms))),
        oracle=_oracle(pool),
        split_half=_split_half(pool),
        answer_space=_answer_space(pool, golds),
        notes=pool.notes,
    )


def _golds_by_kind(pool: Pool) -> dict[str, Counter[str]]:
    golds: dict[str, Counter[str]] = defaultdict(Counter)
    for task in pool.tasks:
        if task.gold is not None:
            golds[task.kind][task.gold] += 1
    return golds


def _arm(pool: Pool, arm: int, golds: dict[str, Counter[str]]) -> ArmSummary:
    has = pool.there[:, arm].any(axis=1)
    there, right = pool.there[has, arm], pool.right[has, arm]
    answer = np.where(there, pool.answer[has, arm], NO_ANSWER)
    answered = answer != NO_ANSWER
    # Of each sample: how many have its answer, itself included.
    same = (answer[:, :, None] == answer[:, None, :]) & answered[:, :, None]
    votes = same.sum(axis=2)
    winners = there & (votes == votes.max(axis=1, keepdims=True, initial=0))
    number = answered.sum(axis=1)
    pairs = (number * (number - 1)).astype(float)
    agreeing = votes.sum(axis=1) - number
    single = right.sum(axis=1) / there.sum(axis=1)
    vote = (right & winners).sum(axis=1) / winners.sum(axis=1)
    return ArmSummary(
        name=pool.arms[arm].name,
        tasks=int(has.sum()),
        samples=int(there.sum()),
        single=_mean(single),
        vote=_mean(vote),
        any_right=_mean(right.max(axis=1)),
        luck=_luck(pool, arm, golds),
        agreement=_mean(agreeing[pairs > 0] / pairs[pairs > 0]),
        completion_tokens=_mean(pool.completion_tokens[:, arm][pool.there[:, arm]]),
        dollars=_mean(pool.dollars[:, arm][pool.there[:, arm]]),
        estimated=bool(pool.estimated[arm]),
    )


def _mean(values: Floats | Mask) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _luck(pool: Pool, arm: int, golds: dict[str, Counter[str]]) -> float:
    """See `ArmSummary.luck`; over tasks with a gold whose kind has another one."""
    shares = []
    for index in np.flatnonzero(pool.there[:, arm].any(axis=1)).tolist():
        task = pool.tasks[index]
        others = golds[task.kind].total() - 1
        if task.gold is None or others < 1:
            continue
        given = {pool.answers[index][a] for a in pool.answer[index, arm] if a != NO_ANSWER}
        hits = sum(golds[task.kind][text] for text in given) - (task.gold in given)
        shares.append(hits / others)
    return _mean(np.array(shares))


def _oracle(pool: Pool) -> Mark:
    """See `PoolSummary.oracle`; what has no price is taken only where nothing else is right."""
    cost = np.where(pool.there, np.nan_to_num(pool.dollars, nan=np.inf), np.inf)
    right = pool.right.max(axis=(1, 2))
    of_right = np.where(pool.right, cost, np.inf).min(axis=(1, 2))
    paid = np.where(right, of_right, cost.min(axis=(1, 2)))
    return Mark(_mean(right), _mean(paid[np.isfinite(paid)]))


def _split_half(pool: Pool) -> Mark | None:
    """See `PoolSummary.split_half`."""
    odd = np.arange(pool.there.shape[2]) % 2 == 1
    priced = ~np.isnan(pool.dollars)
    first, rest = pool.there & priced & ~odd, pool.there & priced & odd
    usable = rest.sum(axis=2) > 0
    if 2 * usable.sum() < (pool.there.sum(axis=2) > 0).sum():
        return None
    success = np.where(usable, _shares(pool.right, first), -1.0)
    best = success == success.max(axis=1, keepdims=True)
    arm = np.where(best, _shares(pool.dollars, first), np.inf).argmin(axis=1)
    rows = np.flatnonzero(usable.sum(axis=1))
    place = rows, arm[rows]
    return Mark(_mean(_shares(pool.right, rest)[place]), _mean(_shares(pool.dollars, rest)[place]))


def _shares(values: Floats | Mask, where: Mask) -> Floats:
    """Mean over the samples of each task and arm that are in a mask; 0 if none is."""
    number = np.maximum(where.sum(axis=2), 1)
    shares: Floats = np.where(where, values, 0.0).sum(axis=2) / number
    return shares


def _answer_space(pool: Pool, golds: dict[str, Counter[str]]) -> AnswerSpace | None:
    """Kinds with 2 to `_FEW` right answers that had `_SEEN` tasks each, so that few are unseen."""
    sizes = {kind: len(count) for kind, count in golds.items()}
    few = {
        kind: size
        for kind, size in sizes.items()
        if 2 <= size <= _FEW and golds[kind].total() >= _SEEN * size
    }
    spaces = np.array([few[task.kind] for task in pool.tasks if task.kind in few], dtype=float)
    if not len(spaces):
        return None
    guesses = pool.there.shape[2]
    return AnswerSpace(
        tasks=len(spaces),
        answers=_mean(spaces),
        single=_mean(1 / spaces),
        any_right=_mean(1 - (1 - 1 / spaces) ** guesses),
        guesses=guesses,
    )
