"""Ways in which eight agents can share one budget of tokens, and the table that compares them.

`experiments.shared_budgets` plays them on problems of one step, `experiments.shared_plans` on
missions of many. All schemes make a call only if all that it can cost is left.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from amp.mlp import Floats
from amp.shared_budget import SharedBudget

AGENTS = 8
SHARED = "shared, by bid"
HEADS = ("tokens an agent", "scheme", "trade-off", "success", "spent", "shared is ahead by")


class Agent(Protocol):
    """One that is at a recorded task."""

    @property
    def bid(self) -> float:
        """The price of success up to which going on is worth it."""
        ...

    def floor(self) -> float:
        """What is kept for its first call."""
        ...

    def bound(self, arm: int) -> float:
        """The most that a call of the arm can cost here."""
        ...

    def wants(self, t: int, left: float) -> int:
        """The arm that its policy asks at a trade-off, of those that fit; -1 for none."""
        ...

    def ask(self, arm: int) -> float:
        """Makes a call; returns what that cost."""
        ...


Scheme = Callable[[Sequence[Agent], float, int], float]
"""Plays agents with a budget at a trade-off, an index; returns what was spent."""


def by_bid(agents: Sequence[Agent], total: float, t: int) -> float:
    """The highest bid goes first; each agent keeps its floor."""
    names = {str(index): agent for index, agent in enumerate(agents)}
    floors = {name: min(agent.floor(), total / len(agents)) for name, agent in names.items()}
    budget = SharedBudget(total, floors, unit="tokens")
    while True:
        wants = {name: agent.wants(t, budget.free(name)) for name, agent in names.items()}
        bids = {name: agent.bid for name, agent in names.items() if wants[name] >= 0}
        if not bids:
            return sum(budget.spent.values())
        name = max(bids, key=lambda one: budget.rank(one, bids[one]))
        agent, arm = names[name], wants[name]
        turn = budget.hold(name, agent.bound(arm))
        assert turn is not None  # it wants only what is free
        turn.cost = agent.ask(arm)
        budget.settle(name, turn)
        budget.waive(name)


def equal_split(agents: Sequence[Agent], total: float, t: int) -> float:
    """Each has its part for itself."""
    return sum(alone(agent, total / len(agents), t) for agent in agents)


def by_turns(agents: Sequence[Agent], total: float, t: int) -> float:
    """First come, first served: who has made its call asks again behind all others."""
    queue, spent = deque(agents), 0.0
    while queue:
        agent = queue.popleft()
        arm = agent.wants(t, total - spent)
        if arm >= 0:
            spent += agent.ask(arm)
            queue.append(agent)
    return spent


def one_after_another(agents: Sequence[Agent], total: float, t: int) -> float:
    """First come, first served: who came first takes all that it wants."""
    spent = 0.0
    for agent in agents:
        spent += alone(agent, total - spent, t)
    return spent


def single(curve: Floats) -> Scheme:
    """One agent with the whole budget, task after task, at the trade-off that it can afford.

    Before each it keeps a first call for every later task, and takes the highest trade-off whose
    mean cost, `curve`, is no more than what is left for each.
    """

    def play(agents: Sequence[Agent], total: float, _: int) -> float:
        spent = 0.0
        for done, agent in enumerate(agents):
            later = agents[done + 1 :]
            mean = (total - spent) / (1 + len(later))
            t = int(np.flatnonzero(curve <= mean).max(initial=0))
            kept = sum(other.floor() for other in later)
            spent += alone(agent, max(0.0, total - spent - kept), t)
        return spent

    return play


def alone(agent: Agent, most: float, t: int) -> float:
    """One agent with a budget of its own."""
    spent = 0.0
    while (arm := agent.wants(t, most - spent)) >= 0:
        spent += agent.ask(arm)
    return spent


def mean_cost(agents: Sequence[Agent], t: int) -> float:
    """What an agent spends at a trade-off without a limit."""
    return sum(alone(agent, math.inf, t) for agent in agents) / len(agents)


TUNED: Mapping[str, Scheme] = {
    SHARED: by_bid,
    "equal split": equal_split,
    "first come, by turns": by_turns,
    "first come, one after another": one_after_another,
}
"""Schemes that are told a trade-off."""

Interval = tuple[float, float, float]
"""A value, and the ends of its interval."""


def head() -> list[str]:
    """The first lines of the table."""
    return [f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS)]


def table_row(
    budget: float,
    name: str,
    trade_off: float | None,
    success: Interval,
    spent: float,
    ahead: Interval,
) -> str:
    """A scheme's line of the table; `trade_off` is None where it takes none."""
    cells = (
        f"{budget:g}",
        name,
        "" if trade_off is None else f"{trade_off:g}",
        "{:.3f} ({:.2f}-{:.2f})".format(*success),
        f"{spent:.0f}",
        "" if name == SHARED else "{:+.3f} ({:+.3f} to {:+.3f})".format(*ahead),
    )
    return f"| {' | '.join(cells)} |"
