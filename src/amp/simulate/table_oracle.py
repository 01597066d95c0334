"""The best that can be done on a table, known beforehand, by dynamic programming over its lattice.

`oracle` is the best way through each task, which bounds every policy. `values` is what each
decision at each node is worth if all later ones are the best, which an imitator learns from and
which tells what a step needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints, Mask
from amp.reward import Reward
from amp.simulate.table_env import END, TableEnv


def oracle(table: TableEnv, reward: Reward, trade_off: float) -> tuple[Floats, Floats]:
    """Success and cost of the best way through each task, known beforehand, by exact search.

    By dynamic programming from the ends of plans to their beginnings: the cheapest way to each
    quality of the result, of which the most rewarding one counts. Samples are taken in the order in
    which they are listed, in calls that the space and the rounds allow, so no policy does better
    where `shuffled` is False. A prompt that is read again in a later step is paid for again here,
    so where `TableEnv.readings` are known a plan that comes back to one may cost less than this.
    """
    scores = np.unique(table.score[table.then == END])
    cheapest = np.full((len(table.then), table.max_rounds + 1, len(scores)), np.inf)
    for nodes in levels(table):
        then = table.then[nodes]
        here = np.where(scores == table.score[nodes][:, None], 0.0, np.inf)
        settled = np.where((then == END)[:, None], here, cheapest[then, 0])
        calls = list(_calls(table, nodes))
        can_go_on = np.zeros(len(nodes), np.bool_)
        for _, _, able in calls:
            can_go_on |= able
        now = np.repeat(settled[:, None], table.max_rounds + 1, 1)
        now[can_go_on, 0] = np.inf  # no step is settled before its first round
        for cost, to, able in calls:
            on = cost[:, None, None] + cheapest[to, 1:]
            now[able, :-1] = np.minimum(now[able, :-1], on[able])
        cheapest[nodes] = now
    ways = cheapest[table.first, 0]
    finite = np.isfinite(ways)
    rewards = np.full(ways.shape, -np.inf)
    costs, score = ways[finite], np.broadcast_to(scores, ways.shape)[finite]
    rewards[finite] = reward.of(score, costs, np.full(len(score), trade_off))
    best = rewards.argmax(1)
    return scores[best], ways[np.arange(len(best)), best]


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """What decisions are worth in reward, from the node on, -inf for what cannot be decided.

    Attributes:
        stop: shape (nodes, trade-offs), where a stop can be decided.
        go: shape (nodes, rounds, arms, trade-offs), one more sample of an arm after so many rounds;
            the mean over the samples that may come.
    """

    stop: Floats
    go: Floats


def values(table: TableEnv, reward: Reward, trade_offs: Floats) -> Values:
    """What each decision is worth if all that follow are the best for their trade-off.

    Args:
        table: of calls that take one sample.
        reward: what pays; charged always, so that what is spent already makes no difference.
        trade_offs: lambdas.

    Raises:
        InvalidInputError: if calls take several samples, or the charge is another one.
    """
    if reward.charge != "always" or table.space.beam_width != (1, 1):
        raise InvalidInputError(
            f"charge is {reward.charge} and the beam width {table.space.beam_width}, expected"
            " always and (1, 1): what a decision is worth is known for those alone"
        )
    count, rounds, arms = len(table.then), table.max_rounds, len(table.arms)
    price = (1.0 - trade_offs) / reward.reference_cost
    stop = np.full((count, len(trade_offs)), -np.inf)
    go = np.full((count, rounds, arms, len(trade_offs)), -np.inf)
    come = np.full((count, rounds + 1, len(trade_offs)), -np.inf)
    for nodes in levels(table):
        then = table.then[nodes]
        score = table.score[nodes][:, None]
        counted = (score >= 1.0) * 1.0 if reward.binary else score
        stop[nodes] = np.where((then == END)[:, None], counted * trade_offs, come[then, 0])
        total = np.zeros((len(nodes), rounds, arms, len(trade_offs)))
        known = np.zeros((len(nodes), arms), np.intp)
        for arm in range(arms):
            for sample in range(table.next.shape[-1]):
                to = table.next[nodes, arm, sample]
                there = to != END
                cost = table.read(nodes, np.full(len(nodes), arm))
                cost += table.costs[table.unit].samples[table.cost_rows[nodes], arm, sample]
                worth = come[to, 1:] - cost[:, None, None] * price
                total[there, :, arm] += worth[there]
                known[:, arm] += there
        mean = total / np.maximum(known, 1)[:, None, :, None]
        able = (known > 0) & (table.left[nodes] > 0)[:, table.with_tools.astype(np.intp)]
        go[nodes] = np.where(able[:, None, :, None], mean, -np.inf)
        best = go[nodes].max(2)
        forced = ~able.any(1)
        come[nodes, :-1] = np.maximum(best, stop[nodes][:, None])
        come[nodes, 0] = best[:, 0]
        come[nodes, -1] = stop[nodes]
        come[nodes[forced]] = stop[nodes[forced]][:, None]
    return Values(stop, go)


def levels(table: TableEnv) -> Iterator[Ints]:
    """The nodes, those first that lead nowhere, each after all that it leads to."""
    targets = np.concatenate([table.next.reshape(len(table.then), -1), table.then[:, None]], 1)
    level = np.zeros(len(table.then) + 1, np.intp)  # END, the last one, stays below all
    level[END] = -1
    for node in range(len(table.then))[::-1]:
        level[node] = level[targets[node]].max() + 1
    order = np.argsort(level[:-1], kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(level[order])) + 1)


def _calls(table: TableEnv, nodes: Ints) -> Iterator[tuple[Floats, Ints, Mask]]:
    """Cost and end of calls at some nodes, samples in their listed order, and where they can be."""
    low, high = table.space.beam_width
    for arm, with_tools in enumerate(table.with_tools):
        left = table.left[nodes, int(with_tools)]
        cost, at = table.read(nodes, np.full(len(nodes), arm)), nodes
        for taken in range(1, min(high, int(left.max())) + 1):
            sample = (table.next[at, arm] != END).argmax(-1)
            more = table.costs[table.unit].samples[table.cost_rows[at], arm, sample]
            to = table.next[at, arm, sample]
            there = (taken <= left) & (to != END)
            cost, at = np.where(there, cost + more, cost), np.where(there, to, at)
            yield cost, at, there & ((taken >= low) | (taken == left))
