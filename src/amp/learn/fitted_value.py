"""Fitted value iteration on recorded samples: learns `amp.allocate.value_policy.ValuePolicy`.

A task's samples make a lattice: a node is which of them are known, an edge takes one more.
Backwards from the nodes where all are known, a ridge regression over the nodes of all tasks learns
what stopping and each arm are worth there, given that from the next node on the policy learned so
far decides (Ernst, Geurts and Wehenkel 2005, "Tree-based batch mode reinforcement learning", with a
linear Q and one regression for each number of samples). What is regressed are true returns of the
policy, averaged over the samples that may come, so there is no error of bootstrapping.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.allocate.policy_file import CurvePoint, Origin, save_values
from amp.allocate.value_policy import Answers, Ints, Mask, ValuePolicy, basis, posterior_of
from amp.assess.base import Training
from amp.assess.correctness import save_correctness
from amp.benchmarks.base import Benchmark
from amp.cost import Cost, costing
from amp.errors import InvalidInputError
from amp.learn.config import CORRECTNESS, POLICY, TrainConfig
from amp.learn.dataset import load_samples
from amp.mlp import Floats, content_hash
from amp.models.base import ModelCard
from amp.simulate.costs import costs_of
from amp.simulate.samples import SampleTable

_MAX_SAMPLES = 12
"""Of a task: there are 2 to the power of that many nodes."""


@dataclass(frozen=True, slots=True)
class ValueSettings:
    """How values are learned.

    Attributes:
        cost: what is charged.
        reference_cost: what counts as 1; None for what the dearest arm's samples take together.
        trade_offs: lambdas to learn at.
        ridge: penalty on the squares of the weights.
        quantiles: how many chances of each arm are kept.
    """

    cost: Cost = "flops"
    reference_cost: float | None = None
    trade_offs: tuple[float, ...] = (
        0.5,
        0.6,
        0.7,
        0.75,
        0.8,
        0.85,
        0.9,
        0.925,
        0.95,
        0.97,
        0.98,
        0.99,
    )
    ridge: float = 3.0
    quantiles: int = 6


@dataclass(frozen=True, slots=True, eq=False)
class Lattices:
    """The lattices of all tasks of a table; a node is a number with a bit for each sample.

    Attributes:
        features: shape (tasks, nodes, features).
        right: shape (tasks, nodes), whether the weighted vote is right.
        calls: shape (tasks, arms, samples), cost of a call by how many of the arm are known.
        samples: likewise, of each sample.
        arms: shape (samples,), the arm of each bit.
    """

    features: Floats
    right: Floats
    calls: Floats
    samples: Floats
    arms: Ints

    def part(self, tasks: Ints) -> Lattices:
        """Those of some tasks."""
        return replace(
            self,
            features=self.features[tasks],
            right=self.right[tasks],
            calls=self.calls[tasks],
            samples=self.samples[tasks],
        )

    @property
    def taken(self) -> Ints:
        """Shape (nodes,), how many samples are known."""
        return np.array([bin(node).count("1") for node in range(self.right.shape[1])], np.intp)

    def edges(self, node: int, arm: int) -> tuple[Ints, Floats] | None:
        """Where one more sample of an arm leads, each as likely, and its mean cost, a task each.

        None if all samples of the arm are known.
        """
        mine = np.flatnonzero(self.arms == arm)
        known = [bool(node >> bit & 1) for bit in mine]
        if all(known):
            return None
        left = [place for place, is_known in enumerate(known) if not is_known]
        cost = self.calls[:, arm, sum(known)] + self.samples[:, arm, left].mean(1)
        return np.array([node | 1 << int(mine[place]) for place in left], np.intp), cost


def lattices(table: SampleTable, cost: Cost, chances: Floats) -> Lattices:
    """Works out the lattices of a table of one plan step a task, its samples rated.

    Raises:
        InvalidInputError: if a task has more than 12 samples, arms have unequal numbers of them,
            or the cost is not known.
    """
    counts = set(table.samples.values())
    total = sum(table.samples.values())
    if len(counts) > 1 or total > _MAX_SAMPLES or table.max_steps > 1:
        raise InvalidInputError(
            f"a table of {table.max_steps} steps and {table.samples} samples, expected one step"
            f" and equally many samples of every arm, {_MAX_SAMPLES} together at most"
        )
    costs = costs_of(table).get(cost)
    if costs is None:
        raise InvalidInputError(f"the {cost} of {table.card.name} are not known; take another cost")
    arms = np.repeat(np.arange(len(table.arms)), counts.pop())
    nodes = np.arange(1 << total)
    known = (nodes[:, None] >> np.arange(total) & 1).astype(np.bool_)
    features, right = [], []
    for row in table.tasks:
        samples = [sample for arm in table.arms for sample in row.by_arm[arm.name].samples]
        answers = Answers.of([sample.candidate for sample in samples], arms.tolist())
        features.append(basis(answers, known, chances).astype(np.float32))
        verdicts = np.array([*(sample.right for sample in samples), False])
        right.append(verdicts[_winner(answers, known)])
    return Lattices(np.array(features), np.array(right, float), costs.calls, costs.samples, arms)


def _winner(answers: Answers, known: Mask) -> Ints:
    """A candidate of the leading answer at each node; -1 where there is none."""
    _, leader, voters = posterior_of(answers, known)
    behind = voters & (answers.answer == leader[:, None])
    return np.where(behind.any(1), behind.argmax(1), -1)


def chances_of(table: SampleTable, quantiles: int) -> Floats:
    """P(right) of the samples of each arm, as quantiles; shape (arms, quantiles).

    Raises:
        InvalidInputError: if samples are not rated.
    """
    found = []
    for arm in table.arms:
        rated = [s.candidate.p_right for row in table.tasks for s in row.by_arm[arm.name].samples]
        known = [p for p in rated if p is not None]
        if not known:
            raise InvalidInputError(f"no sample of arm {arm.name} is rated; train heads first")
        found.append(np.quantile(known, (np.arange(quantiles) + 0.5) / quantiles))
    return np.array(found)


def learn_values(
    table: SampleTable, settings: ValueSettings = ValueSettings()
) -> tuple[ValuePolicy, Lattices]:
    """Learns a policy from samples that are rated by heads that did not see their tasks.

    Returns:
        The policy, and the lattices that it was learned on.
    """
    chances = chances_of(table, settings.quantiles)
    made = lattices(table, settings.cost, chances)
    return fit(table, made, chances, settings), made


def fit(
    table: SampleTable, made: Lattices, chances: Floats, settings: ValueSettings
) -> ValuePolicy:
    """Learns a policy on lattices of tasks of a table."""
    reference = settings.reference_cost or float(
        (made.calls[:, :, 0] + made.samples.sum(2)).mean(0).max()
    )
    weights = [
        _backwards(made, trade_off, (1.0 - trade_off) / reference, settings.ridge)
        for trade_off in settings.trade_offs
    ]
    return ValuePolicy(
        {arm.name: arm.allocation for arm in table.arms},
        tuple(table.samples.values()),
        chances,
        np.array(settings.trade_offs),
        np.array(weights),
    )


def _backwards(made: Lattices, gain: float, price: float, ridge: float) -> Floats:
    """Weights of Q by samples known and action, shape (samples + 1, arms + 1, features)."""
    tasks, nodes, width = made.features.shape
    arms, taken = int(made.arms.max()) + 1, made.taken
    value = np.zeros((tasks, nodes))
    weights = np.zeros((int(taken.max()) + 1, arms + 1, width))
    for level in range(int(taken.max()), -1, -1):
        here = np.flatnonzero(taken == level)
        x = made.features[:, here].astype(float)
        returns = np.full((tasks, len(here), arms + 1), -np.inf)
        if level:
            returns[:, :, 0] = gain * made.right[:, here]
        for arm in range(arms):
            for place, node in enumerate(here):
                if (edges := made.edges(int(node), arm)) is not None:
                    to, cost = edges
                    returns[:, place, arm + 1] = value[:, to].mean(1) - price * cost
        expected = np.full_like(returns, -np.inf)
        for action in range(arms + 1):
            can = np.isfinite(returns[0, :, action])
            if can.any():
                weights[level, action] = _ridge(
                    x[:, can].reshape(-1, width), returns[:, can, action].reshape(-1), ridge
                )
                expected[:, can, action] = x[:, can] @ weights[level, action]
        chosen = expected.argmax(2)[:, :, None]
        value[:, here] = np.take_along_axis(returns, chosen, 2)[:, :, 0]
    return weights


def _ridge(x: Floats, y: Floats, ridge: float) -> Floats:
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += ridge
    return np.asarray(np.linalg.solve(gram, x.T @ y))


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What a policy reaches on each task, the mean over all orders of its samples.

    Attributes:
        success: shape (tasks,).
        cost: shape (tasks,), in the unit of the lattices.
    """

    success: Floats
    cost: Floats


def play(made: Lattices, actions: Ints) -> Served:
    """Follows decisions exactly, over all orders of the samples at once.

    Args:
        made: the lattices.
        actions: shape (tasks, nodes): 0 to stop, k for a sample of arm k - 1.
    """
    tasks, nodes, _ = made.features.shape
    success, cost = np.zeros((tasks, nodes)), np.zeros((tasks, nodes))
    for node in np.argsort(-made.taken, kind="stable"):
        success[:, node] = made.right[:, node]
        for arm in range(int(made.arms.max()) + 1):
            rows = actions[:, node] == arm + 1
            if not rows.any():
                continue
            edges = made.edges(int(node), arm)
            if edges is None:
                raise InvalidInputError(f"arm {arm} is taken more often than it has samples")
            to, each = edges
            success[rows, node] = success[np.ix_(rows, to)].mean(1)
            cost[rows, node] = each[rows] + cost[np.ix_(rows, to)].mean(1)
    return Served(success[:, 0], cost[:, 0])


def decisions(policy: ValuePolicy, made: Lattices) -> Ints:
    """What a policy decides at every node, for `play`; shape (tasks, nodes)."""
    weights, taken = policy.weights[policy.nearest], made.taken
    worth = np.einsum("tnf,naf->tna", made.features.astype(float), weights[taken])
    for arm in range(len(policy.arms)):
        gone = [made.edges(node, arm) is None for node in range(len(taken))]
        worth[:, gone, arm + 1] = -np.inf
    worth[:, 0, 0] = -np.inf
    return np.asarray(worth.argmax(2))


def train_values(config: TrainConfig, benchmark: Benchmark, directory: Path) -> ValuePolicy:
    """Learns the policy of a config and keeps it in a directory, its heads beside it.

    Args:
        config: how; its `learner` is ``value``.
        benchmark: that of the config.
        directory: where ``policy.safetensors`` and ``correctness.safetensors`` are written.

    Raises:
        InvalidInputError: if the config rates no samples, and as `load_samples`.
        RecordingError: if the recording is none or lacks samples.
    """
    if config.correctness is None:
        raise InvalidInputError(
            "correctness is missing, expected logistic or network: values are learned on votes"
            " that heads weigh"
        )
    found = load_samples(config, benchmark)
    table, card = found.table, found.table.card
    settings = ValueSettings(config.ppo.cost, config.ppo.reference_cost, ridge=config.ridge)
    policy, made = learn_values(table, settings)
    heads = directory / CORRECTNESS
    tasks = tuple(row.task for row in table.tasks)
    assert found.correctness is not None
    trained_on = Training(card.name, config.benchmark, card.sha256, tasks)
    save_correctness(found.correctness, trained_on, heads)
    origin = Origin(
        config.benchmark,
        card.name,
        card.sha256,
        tasks,
        _curve(policy, table, made),
        correctness=content_hash(heads),
        cost=settings.cost,
        price=_price(card),
    )
    save_values(policy, directory / POLICY, origin)
    return policy


def _price(card: ModelCard) -> str:
    with suppress(InvalidInputError):  # no price is known
        return costing("dollars", card).note
    return ""


def _curve(policy: ValuePolicy, table: SampleTable, made: Lattices) -> tuple[CurvePoint, ...]:
    """What the policy takes and reaches on its training tasks, by trade-off."""
    costs = costs_of(table)
    units = {
        unit: replace(made, calls=costs[unit].calls, samples=costs[unit].samples)
        for unit in ("tokens", "dollars")
        if unit in costs
    }
    points = []
    for trade_off in policy.trade_offs.tolist():
        chosen = decisions(policy.with_trade_off(trade_off), made)
        came = {unit: play(lattice, chosen) for unit, lattice in units.items()}
        dollars = float(came["dollars"].cost.mean()) if "dollars" in came else None
        tokens = came["tokens"]
        points.append(
            CurvePoint(trade_off, float(tokens.cost.mean()), float(tokens.success.mean()), dollars)
        )
    return tuple(points)
