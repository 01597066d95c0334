"""Published planners of one budget for many questions, as far as recorded problems can play them.

Both are schemes of `experiments.shared_budgets`; their docstrings say what is simplified.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from amp.mlp import Floats, Ints, Mask
from experiments.budget_rows import ARMS, CAP, SAMPLES, Agent, Rows, Scheme


def blend_asc(agents: Sequence[Agent], total: float, _: int) -> float:
    """Blend-ASC (arXiv 2511.12309), as far as its descriptions go: programs, then chains.

    The next sample goes to the question that is least settled, by a rank that is at first that of
    Adaptive-Consistency (P(the leader is ahead of the second), a beta posterior), and at last that
    of PPR-1v1 (the density of that posterior where both are even). Simplified: the weight passes
    from one to the other in proportion to what is spent, and the budget is of tokens, not samples.
    """
    spent = 0.0
    while True:
        left = [
            (agent, arm)
            for agent in agents
            for arm in [int(agent.taken[0] >= SAMPLES)]
            if agent.taken[arm] < SAMPLES and agent.bound(arm) <= total - spent
        ]
        if not left:
            return spent
        votes = np.array([agent.rows.lead[agent.row, agent.node] for agent, _ in left])
        ahead = [_BEHIND[first, second] for first, second in votes.tolist()]
        even = [_EVEN[first, second] for first, second in votes.tolist()]
        share = spent / total
        rank = (1.0 - share) * _ranks(ahead) + share * _ranks(even)
        agent, arm = left[int(rank.argmax())]
        spent += agent.ask(arm)


def _ranks(values: Sequence[float]) -> Floats:
    """From 0 for the lowest; equal values have equal ranks."""
    return np.searchsorted(np.unique(np.round(values, 9)), np.round(values, 9)).astype(float)


def _binomial_tail(first: int, second: int) -> float:
    """P(X <= 1/2) where X is Beta(first + 1, second + 1), by the sum of a binomial."""
    n = first + second + 1
    return float(sum(math.comb(n, k) for k in range(first + 1, n + 1)) / 2**n)


_VOTES = [(a, b) for a in range(2 * SAMPLES + 1) for b in range(2 * SAMPLES + 1)]
_BEHIND = {(a, b): _binomial_tail(a, b) for a, b in _VOTES}
_EVEN = {(a, b): (a + b + 1) * math.comb(a + b, a) / 2.0 ** (a + b) for a, b in _VOTES}


def portfolio(known: Rows, rollouts: int = 32) -> Scheme:
    """Monte Carlo portfolio planning (MCPP, arXiv 2605.06110), for problems that no check settles.

    The action is an arm and a number of samples for every open question; the one is taken that,
    followed by the best of the same again and again, solves most in simulations, which draw on
    training problems that stand alike. After the outcomes it plans anew. Simplified: what the paper
    verifies counts as settled here when the leader is two votes ahead, and all open questions have
    the same portfolio.

    Args:
        known: rows of training problems.
        rollouts: of each pair of an action and what follows it.
    """
    actions = [(arm, count) for arm in range(len(ARMS)) for count in (1, SAMPLES)]
    settled = (known.lead[..., 0] - known.lead[..., 1]) >= 2
    alike: dict[tuple[int, int], Ints] = {}
    for node in range(known.lead.shape[1]):
        for first in range(2 * SAMPLES + 1):
            found = np.flatnonzero((known.lead[:, node, 0] == first) & ~settled[:, node])
            alike[node, first] = found if len(found) else np.arange(len(known.cost))
    paid = np.concatenate([np.zeros((*known.prompt.shape, 1)), known.cost.cumsum(2)], 2)

    def step(row: Ints, taken: Ints, arm: int, count: int, open_ones: Mask) -> tuple[Ints, Floats]:
        """Where the samples lead, and what they cost, question by question."""
        after = np.minimum(taken[..., arm] + count, SAMPLES)
        more = np.where(open_ones, after - taken[..., arm], 0)
        cost = paid[row, arm, taken[..., arm] + more] - paid[row, arm, taken[..., arm]]
        moved = taken.copy()
        moved[..., arm] += more
        return moved, cost - np.maximum(more - 1, 0) * known.prompt[row, arm]

    def simulated(row: Ints, begun: Ints, left: float, pair: Sequence[tuple[int, int]]) -> float:
        taken, money = begun, np.full(len(row), left)
        for turn in range(1 + SAMPLES):
            node = taken @ np.array([SAMPLES + 1, 1])
            arm, count = pair[min(turn, 1)]
            moved, cost = step(row, taken, arm, count, ~settled[row, node])
            fits = (cost.sum(1) <= money) & (cost.sum(1) > 0)
            if not fits.any():
                break
            taken = np.where(fits[:, None, None], moved, taken)
            money = money - np.where(fits, cost.sum(1), 0.0)
        return float(known.right[row, taken @ np.array([SAMPLES + 1, 1])].sum(1).mean())

    def play(agents: Sequence[Agent], total: float, _: int) -> float:
        spent, rng = 0.0, np.random.default_rng(agents[0].row)
        while True:
            waiting = [one for one in agents if _is_open(one)]
            if not waiting:
                return spent
            draws = [alike[one.node, int(one.rows.lead[one.row, one.node, 0])] for one in waiting]
            row = np.stack([rng.choice(draw, rollouts) for draw in draws], 1)
            taken = np.broadcast_to([one.taken for one in waiting], (*row.shape, len(ARMS)))
            pairs = [(now, then) for now in actions for then in actions]
            worth = [simulated(row, taken, total - spent, pair) for pair in pairs]
            arm, count = pairs[int(np.argmax(worth))][0]
            before = spent
            for one in waiting:
                room = (total - spent - one.rows.prompt[one.row, arm]) // CAP
                granted = int(min(count, SAMPLES - one.taken[arm], room))
                if granted > 0:
                    spent += one.ask(arm, granted)
            if spent == before:
                return spent

    return play


def _is_open(agent: Agent) -> bool:
    first, second = agent.rows.lead[agent.row, agent.node].tolist()
    return first - second < 2 and sum(agent.taken) < len(ARMS) * SAMPLES
