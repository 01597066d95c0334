"""The table environment of pools: samples in orders of chance, and the lattice of how many of each.

A pool has too many samples for a lattice of all their subsets. But samples of an arm are
exchangeable, so what a policy meets is an order of each arm's samples, and in that order a node is
how many of each arm are known. One order of one task is a row; all rows share the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from amp.allocate.router import LIKELY, Known, Router, logit, posterior, text_of, votes_of
from amp.cost import Cost, read_cost
from amp.errors import InvalidInputError
from amp.execute.checks import Check
from amp.mlp import Floats, Ints, Mask
from amp.pools.pool import NO_ANSWER, Pool, PoolArm, PoolTask
from amp.simulate.sample_env import costs_of as table_costs
from amp.simulate.samples import SampleTable
from amp.types import StepContext

MAX_NODES = 20_000
"""Of a lattice; more arms, samples or depth are refused."""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Samples of tasks, each arm's in an order of chance; arrays have shape (rows, arms, samples).

    Attributes:
        pool: whose samples these are.
        task: shape (rows,), index of the task.
        answer: index of the answer within the row, `NO_ANSWER` for none.
        right: whether the sample names a right answer.
        there: whether there is such a sample; those of an arm come first.
        cost: of each sample, its prompt included.
        verdict: 1 where an exact check says right, -1 where it says wrong, else 0.
        p_right: probability that the sample is right by what it looks like; NaN where nothing was
            trained to tell.
        cost_unit: of the costs.
    """

    pool: Pool
    task: Ints
    answer: Ints
    right: Mask
    there: Mask
    cost: Floats
    verdict: Ints
    p_right: Floats
    cost_unit: Cost

    def part(self, rows: Ints) -> Draws:
        """Some rows."""
        fields = ("task", "answer", "right", "there", "cost", "verdict", "p_right")
        return replace(self, **{name: getattr(self, name)[rows] for name in fields})

    def of_tasks(self, tasks: Ints) -> Draws:
        """The rows of some tasks, with a pool of these alone."""
        place = np.full(len(self.pool.tasks), -1, np.intp)
        place[tasks] = np.arange(len(tasks))
        part = self.part(np.flatnonzero(place[self.task] >= 0))
        return replace(part, pool=self.pool.part(tasks), task=place[part.task])

    @property
    def samples(self) -> tuple[int, ...]:
        """The most samples that a task has of each arm."""
        return tuple(self.there.sum(2).max(0).tolist())


def draw(
    pool: Pool, orders: int, seed: int, cost: str = "dollars", check: Check | None = None
) -> Draws:
    """Samples of every task in so many orders, tasks in the order of the pool.

    Args:
        pool: the recorded answers.
        orders: rows a task.
        seed: of the orders.
        cost: ``dollars`` or ``tokens``.
        check: of answers, free and exact; None checks nothing.

    Raises:
        InvalidInputError: for another cost, or where samples lack theirs.
    """
    costs = costs_of(pool, cost)
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(len(pool.tasks)), orders)
    there = pool.there[tasks]
    # Samples that do not exist come last, whatever the order.
    order = np.where(there, rng.random(there.shape), 2.0).argsort(-1)
    verdict = np.zeros(pool.answer.shape, np.intp) if check is None else _verdicts(pool, check)

    def taken(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.take_along_axis(array[tasks], order, -1)

    there, answer = taken(pool.there), taken(pool.answer)
    if not (answer != NO_ANSWER).any():
        # Which answers agree is not known, so an arm can only be believed for what it is, and a
        # second sample of it would tell nothing: each arm has one, an answer of its own.
        there[..., 1:] = False
        answer = np.where(there, np.arange(len(pool.arms))[:, None], NO_ANSWER)
    return Draws(
        pool,
        tasks,
        _numbered(answer, rng),
        taken(pool.right) & (answer != NO_ANSWER),
        there,
        taken(costs),
        taken(verdict),
        np.full(there.shape, np.nan),
        read_cost(cost),
    )


def recorded(
    table: SampleTable,
    contexts: Mapping[str, StepContext],
    orders: int,
    seed: int,
    cost: Cost,
) -> Draws:
    """Samples of a recording, as `draw`: its ways to ask are the arms.

    Args:
        table: of one plan step a task, with equally many samples of every arm.
        contexts: the first step of each task, by its id.
        orders: rows a task.
        seed: of the orders.
        cost: in which unit; of a call by how many of the arm came before it.

    Raises:
        InvalidInputError: if plans have several steps, arms unequal samples, or the cost is not
            known.
    """
    if table.max_steps > 1 or len(set(table.samples.values())) > 1:
        raise InvalidInputError(
            f"a table of {table.max_steps} steps and {table.samples} samples, expected one step"
            " and equally many samples of every arm"
        )
    known = table_costs(table).get(cost)
    if known is None:
        raise InvalidInputError(f"the {cost} of {table.card.name} are not known; take another cost")
    pool = _pool_of(table, contexts)
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(len(pool.tasks)), orders)
    order = rng.random((len(tasks), *pool.answer.shape[1:])).argsort(-1)

    def taken(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.take_along_axis(array[tasks], order, -1)

    return Draws(
        pool,
        tasks,
        _numbered(taken(pool.answer), rng),
        taken(pool.right),
        taken(pool.there),
        taken(known.samples) + known.calls[tasks],
        np.zeros(order.shape, np.intp),
        taken(pool.log_prob),
        cost,
    )


def _pool_of(table: SampleTable, contexts: Mapping[str, StepContext]) -> Pool:
    """A table as a pool without costs; its log-probabilities are those of being right."""
    shape = (len(table.tasks), len(table.arms), next(iter(table.samples.values())))
    answer, right = np.full(shape, NO_ANSWER), np.zeros(shape, np.bool_)
    p_right, unknown = np.full(shape, np.nan), np.full(shape, np.nan)
    tasks, answers = [], []
    for at, row in enumerate(table.tasks):
        numbers: dict[str, int] = {}
        for arm, way in enumerate(table.arms):
            for place, sample in enumerate(row.by_arm[way.name].samples):
                one = sample.candidate
                # As in a vote, one that breaks a rule has none.
                if one.action is not None and one.valid:
                    answer[at, arm, place] = numbers.setdefault(one.action, len(numbers))
                right[at, arm, place] = sample.right
                if one.p_right is not None:
                    p_right[at, arm, place] = one.p_right
        text = text_of(contexts[row.task])
        tasks.append(PoolTask(row.task, "", row.task, text, prompt_tokens=len(text) / 4.0))
        answers.append(tuple(numbers))
    return Pool(
        table.benchmark,
        tuple(tasks),
        tuple(PoolArm.of(arm.name) for arm in table.arms),
        tuple(answers),
        answer,
        np.ones(shape, np.bool_),
        right,
        unknown,
        unknown,
        unknown,
        p_right,
        np.zeros(shape[1], np.bool_),
    )


def costs_of(pool: Pool, cost: str) -> Floats:
    """The cost of every sample, 0 where there is none.

    Raises:
        InvalidInputError: for a cost that pools do not have, or where samples lack theirs.
    """
    if cost == "dollars":
        found = pool.dollars
    elif cost == "tokens":
        found = pool.prompt_tokens + pool.completion_tokens
    else:
        raise InvalidInputError(f"unknown cost {cost!r} of a pool (costs: dollars, tokens)")
    lacks = pool.there & ~np.isfinite(found)
    if lacks.any():
        arm = pool.arms[int(lacks.any((0, 2)).argmax())].name
        raise InvalidInputError(
            f"samples of arm {arm} of pool {pool.name} have no {cost}; set unknown_tokens, or"
            " list the other arms as arms"
        )
    return np.where(pool.there, found, 0.0)


def _numbered(answer: Ints, rng: np.random.Generator) -> Ints:
    """The answers of each row numbered anew, by chance.

    Of equally good answers the one with the lowest number leads. The numbers of a pool tell who
    else gave an answer, also of arms that were not asked.
    """
    flat = answer.reshape(len(answer), answer.shape[1] * answer.shape[2])
    given = np.zeros((len(flat), int(flat.max(initial=0)) + 2), np.bool_)
    np.put_along_axis(given, flat + 1, True, 1)
    places = np.where(given[:, 1:], rng.random((len(flat), given.shape[1] - 1)), 2.0)
    number = places.argsort(1).argsort(1)
    found = np.take_along_axis(number, np.maximum(flat, 0), 1)
    return np.where(flat == NO_ANSWER, NO_ANSWER, found).reshape(answer.shape)


def _verdicts(pool: Pool, check: Check) -> Ints:
    verdict = np.zeros(pool.answer.shape, np.intp)
    for index, (task, answers) in enumerate(zip(pool.tasks, pool.answers, strict=True)):
        for number, answer in enumerate(answers):
            said = check(task.question, answer)
            if said is not None:
                verdict[index][pool.answer[index] == number] = 1 if said else -1
    return verdict


@dataclass(frozen=True, slots=True, eq=False)
class CountLattice:
    """Nodes: how many samples of each arm are known.

    Attributes:
        taken: shape (nodes, arms); the first node is 0 of all, and they stand by their sum.
        next: shape (nodes, arms), where one more sample of an arm leads; -1 for nowhere.
    """

    taken: Ints
    next: Ints

    @classmethod
    def of(cls, samples: Sequence[int], depth: int) -> CountLattice:
        """All nodes of at most `depth` samples, and of each arm at most as many as it has.

        Raises:
            InvalidInputError: if there are more than `MAX_NODES`.
        """
        ranges = [range(min(most, depth) + 1) for most in samples]
        nodes: list[tuple[int, ...]] = [()]
        for each in ranges:
            nodes = [(*node, more) for node in nodes for more in each if sum(node) + more <= depth]
            if len(nodes) > MAX_NODES:
                raise InvalidInputError(
                    f"{len(samples)} arms of up to {max(samples)} samples make more than"
                    f" {MAX_NODES} nodes at depth {depth}; take fewer arms or a lower depth"
                )
        nodes.sort(key=lambda node: (sum(node), node))
        index = {node: number for number, node in enumerate(nodes)}
        following = [
            [
                index.get((*node[:arm], node[arm] + 1, *node[arm + 1 :]), -1)
                for arm in range(len(node))
            ]
            for node in nodes
        ]
        return cls(np.array(nodes, np.intp), np.array(following, np.intp))

    @property
    def level(self) -> Ints:
        """Shape (nodes,), samples that are known."""
        return np.asarray(self.taken.sum(1), np.intp)

    def can(self, draws: Draws) -> Mask:
        """Shape (rows, nodes, arms), whether one more sample of an arm can be taken."""
        left = draws.there.sum(2)[:, None, :] > self.taken
        return np.asarray(left & (self.next >= 0))

    def costs(self, draws: Draws) -> Floats:
        """Shape (rows, nodes, arms), what the next sample of each arm costs; 0 if there is none."""
        at = np.minimum(self.taken, draws.cost.shape[2] - 1)
        arms = np.arange(self.taken.shape[1])
        return np.asarray(np.where(self.can(draws), draws.cost[:, arms, at], 0.0))


def known_at(draws: Draws, taken: Ints, begun: Known) -> Known:
    """What is known at nodes, shape (rows, nodes, ...).

    Args:
        draws: the samples.
        taken: shape (nodes, arms), how many of each arm are known.
        begun: what was known of each row before anything was asked.
    """
    votes = votes_of(draws.answer, np.ones(draws.answer.shape), taken)
    usual = np.broadcast_to(begun.chances[:, :, None], draws.p_right.shape)
    p = np.where(np.isnan(draws.p_right), usual, np.clip(draws.p_right, *LIKELY))
    rows, nodes, _, answers = votes.shape
    verdicts = np.zeros((rows, answers))
    for sign in (1, -1):
        row, arm, sample = np.nonzero((draws.verdict == sign) & (draws.answer != NO_ANSWER))
        verdicts[row, draws.answer[row, arm, sample]] = sign

    def spread(array: Floats | Mask) -> Floats:
        return np.broadcast_to(array[:, None], (rows, nodes, array.shape[-1]))

    return Known(
        votes,
        votes_of(draws.answer, logit(p), taken),
        np.broadcast_to(taken.astype(float), (rows, *taken.shape)),
        spread(np.asarray(draws.there.any(2))).astype(np.bool_),
        spread(begun.chances),
        spread(begun.prices),
        spread(verdicts),
    )


def leader_right(draws: Draws, shares: Floats) -> Mask:
    """Whether the leading answer of each node is right, shape (rows, nodes)."""
    rows, _, answers = shares.shape
    right = np.zeros((rows, answers), np.bool_)
    named = (draws.answer != NO_ANSWER) & (draws.answer < answers)
    row, arm, sample = np.nonzero(draws.right & named)
    right[row, draws.answer[row, arm, sample]] = True
    leader = shares.argmax(-1)
    backed = shares.max(-1) > 0.0
    return np.asarray(backed & np.take_along_axis(right, leader, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of each row.

    Attributes:
        right: shape (rows,), whether it ended with the right answer.
        cost: shape (rows,).
        taken: shape (rows, arms), samples of each arm.
    """

    right: Mask
    cost: Floats
    taken: Ints


def follow(router: Router, draws: Draws, begun: Known) -> Outcome:
    """Plays a router on every row, decision by decision, as it would run on live models.

    Args:
        router: the policy.
        draws: the samples, arms in the router's order.
        begun: what is known of each row before anything is asked.
    """
    rows = len(draws.task)
    taken = np.zeros((rows, len(router.arms)), np.intp)
    cost, right = np.zeros(rows), np.zeros(rows, np.bool_)
    going = np.arange(rows)
    for level in range(router.depth + 1):
        now = known_after(draws.part(going), taken[going], begun.rows(going))
        worth = router.worth(now, level)
        worth[:, 1:][taken[going] >= draws.there[going].sum(2)] = -np.inf
        chosen = np.where(np.isfinite(worth).any(1), worth.argmax(1), 0)
        stops = going[chosen == 0]
        right[stops] = _settled(draws.part(going), now, router)[chosen == 0]
        asks, arm = going[chosen > 0], chosen[chosen > 0] - 1
        cost[asks] += draws.cost[asks, arm, taken[asks, arm]]
        taken[asks, arm] += 1
        going = asks
        if not len(going):
            break
    return Outcome(right, cost, taken)


def known_after(draws: Draws, taken: Ints, begun: Known) -> Known:
    """What is known where each row has taken its own number of samples of each arm.

    Args:
        draws: the samples.
        taken: shape (rows, arms).
        begun: what was known of each row before anything was asked.
    """
    first = np.arange(draws.answer.shape[2]) < taken[:, :, None]
    seen = replace(draws, answer=np.where(first, draws.answer, NO_ANSWER))
    all_of_them = np.full((1, taken.shape[1]), draws.answer.shape[2], np.intp)
    known = known_at(seen, all_of_them, begun)
    return replace(known.rows((slice(None), 0)), taken=taken.astype(float))


def _settled(draws: Draws, known: Known, router: Router) -> Mask:
    shares = posterior(known, router.voices)
    return leader_right(draws, shares[:, None])[:, 0]


def joined(pool: Pool, name: str, arms: Sequence[str]) -> Pool:
    """The pool with some arms joined to one: of each task the first of them that it has.

    A pool may ask a model one way on some tasks and another way on others.

    Args:
        pool: the pool.
        name: of the new arm, which stands in the place of the first.
        arms: names of arms, the preferred one first.

    Raises:
        InvalidInputError: if the pool has no such arm.
    """
    these = pool.with_arms(arms)
    first = these.there.any(2).argmax(1)
    fields = (
        *("answer", "there", "right", "prompt_tokens", "completion_tokens", "dollars", "log_prob"),
    )
    at = [known.name for known in pool.arms].index(arms[0])
    kept = [index for index, arm in enumerate(pool.arms) if arm.name not in arms or index == at]
    columns = {}
    for field in fields:
        column = getattr(pool, field).copy()
        column[:, at] = getattr(these, field)[np.arange(len(pool.tasks)), first]
        columns[field] = column[:, kept]
    estimated = pool.estimated.copy()
    estimated[at] = these.estimated.any()
    renamed = [PoolArm.of(name) if index == at else pool.arms[index] for index in kept]
    return replace(pool, arms=tuple(renamed), estimated=estimated[kept], **columns)
