"""Eight agents that share one budget of tokens, on recorded problems of GSM8K (spec 4.3).

Run as a module, on recordings with four programs and four chains of thought a problem:

    python -m experiments.shared_budgets recordings/gsm8k-300.sqlite \
        --train recordings/gsm8k-train-500.sqlite --data DIR

Each agent has one problem. All schemes draw the same samples, let them vote alike, and make a call
only if all that it can cost is left; an answer is cut off at `CAP` tokens. What a scheme has to be
told (a trade-off of the router) is chosen on training problems, each played by a router that
learned from the other half of them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.allocate.router import Router
from amp.benchmarks import load_benchmark
from amp.errors import AmpError
from amp.mlp import Floats
from amp.report.stats import bootstrap_interval, ratio
from amp.shared_budget import SharedBudget
from amp.simulate.samples import SampleTable
from experiments.budget_rows import (
    Agent,
    Contexts,
    Rows,
    Scheme,
    learn,
    load,
    rows_of,
)
from experiments.published_planners import blend_asc, portfolio

AGENTS = 8
BUDGETS = (400, 500, 700, 1000)
"""Tokens an agent."""
ORDERS = 5
SHARED = "shared, by bid"


# --------------------------------------------------------------------------- schemes


def by_bid(agents: Sequence[Agent], total: float, t: int) -> float:
    """The highest bid goes first; an agent's floor is one answer."""
    names = {str(index): agent for index, agent in enumerate(agents)}
    floors = {name: agent.floor() for name, agent in names.items()}
    budget = SharedBudget(total, floors, unit="tokens")
    while True:
        wants = {name: agent.wants(t, budget.free(name)) for name, agent in names.items()}
        bids = {
            name: float(agent.rows.bid[agent.row, agent.node])
            for name, agent in names.items()
            if wants[name] >= 0
        }
        if not bids:
            return sum(budget.spent.values())
        name = max(bids, key=lambda one: budget.rank(one, bids[one]))
        agent, arm = names[name], wants[name]
        now = budget.hold(name, agent.rows.bound(agent.row, arm))
        assert now is not None  # it wants only what is free
        now.cost = agent.ask(arm)
        budget.settle(name, now)
        budget.waive(name)


def equal_split(agents: Sequence[Agent], total: float, t: int) -> float:
    """Each has its part for itself."""
    return sum(_alone(agent, total / len(agents), t) for agent in agents)


def by_turns(agents: Sequence[Agent], total: float, t: int) -> float:
    """First come, first served: who has its answer asks again behind all others."""
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
        spent += _alone(agent, total - spent, t)
    return spent


def _alone(agent: Agent, most: float, t: int) -> float:
    spent = 0.0
    while (arm := agent.wants(t, most - spent)) >= 0:
        spent += agent.ask(arm)
    return spent


def single(curve: Floats) -> Scheme:
    """One agent with the whole budget, problem after problem, at the trade-off that it can afford.

    Before each it keeps one answer for every later problem, and takes the highest trade-off whose
    mean cost, `curve`, is no more than what is left for each.
    """

    def play(agents: Sequence[Agent], total: float, _: int) -> float:
        spent = 0.0
        for done, agent in enumerate(agents):
            later = agents[done + 1 :]
            mean = (total - spent) / (1 + len(later))
            t = int(np.flatnonzero(curve <= mean).max(initial=0))
            kept = sum(other.floor() for other in later)
            spent += _alone(agent, total - spent - kept, t)
        return spent

    return play


# --------------------------------------------------------------------------- the study


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a scheme: one entry a group and order.

    Attributes:
        group: number of the group.
        right: solved problems.
        spent: tokens.
        trade_off: at which it was played; None where it takes none.
    """

    group: Sequence[int]
    right: Sequence[int]
    spent: Sequence[float]
    trade_off: float | None = None

    @property
    def success(self) -> float:
        """Share of solved problems."""
        return sum(self.right) / (AGENTS * len(self.right))


def groups_of(rows: Rows, orders: int) -> list[tuple[int, list[int]]]:
    """Groups of problems that stand side by side, in each order: a number, and rows."""
    problems = len(rows.cost) // orders
    return [
        (group, [order * problems + group * AGENTS + agent for agent in range(AGENTS)])
        for order in range(orders)
        for group in range(problems // AGENTS)
    ]


def play(scheme: Scheme, rows: Rows, orders: int, budget: float, t: int) -> Played:
    """Plays all groups with a budget, in tokens an agent, at a trade-off's index."""
    numbers, right, spent = [], [], []
    for number, members in groups_of(rows, orders):
        agents = [Agent.at(rows, row) for row in members]
        cost = scheme(agents, budget * AGENTS, t)
        assert cost <= budget * AGENTS + 1e-6
        numbers.append(number)
        right.append(sum(agent.right for agent in agents))
        spent.append(cost)
    return Played(numbers, right, spent)


TUNED: Mapping[str, Scheme] = {
    SHARED: by_bid,
    "equal split": equal_split,
    "first come, by turns": by_turns,
    "first come, one after another": one_after_another,
}
"""Schemes that are told a trade-off."""


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """What is learned on training problems.

    Attributes:
        router: learned on all of them.
        halves: rows of each half of them, by a router that learned from the other half.
        known: rows of all of them by the router.
        orders: of the rows.
    """

    router: Router
    halves: tuple[Rows, Rows]
    known: Rows
    orders: int

    @classmethod
    def of(cls, table: SampleTable, contexts: Contexts, orders: int = 4) -> Training:
        """Learns three routers."""
        ids = [row.task for row in table.tasks]
        parts = [table.with_tasks(ids[half::2]) for half in (0, 1)]
        halves = [
            rows_of(mine, contexts, learn(other, contexts, 2), orders)
            for mine, other in (parts, parts[::-1])
        ]
        router = learn(table, contexts)
        return cls(router, (halves[0], halves[1]), rows_of(table, contexts, router, orders), orders)

    def best(self, scheme: Scheme, budget: float) -> int:
        """The index of the trade-off at which a scheme solves most of the training problems."""
        solved = [
            sum(play(scheme, half, self.orders, budget, t).success for half in self.halves)
            for t in range(len(self.router.trade_offs))
        ]
        return int(np.argmax(solved))

    def curve(self) -> Floats:
        """The mean cost of a problem at each trade-off, without a limit."""

        def cost(half: Rows, t: int) -> float:
            agents = [Agent.at(half, row) for row in range(len(half.cost))]
            return sum(_alone(agent, math.inf, t) for agent in agents) / len(agents)

        trade_offs = range(len(self.router.trade_offs))
        return np.array([sum(cost(half, t) for half in self.halves) / 2 for t in trade_offs])


def compare(
    rows: Rows, orders: int, learned: Training, budget: float, curve: Floats
) -> dict[str, Played]:
    """Every scheme with a budget, in tokens an agent; `curve` is that of the training."""
    found = {}
    for name, scheme in TUNED.items():
        t = learned.best(scheme, budget)
        played = play(scheme, rows, orders, budget, t)
        found[name] = replace(played, trade_off=float(rows.trade_offs[t]))
    others = {
        "Blend-ASC": blend_asc,
        "MCPP": portfolio(learned.known),
        "one agent, all problems": single(curve),
    }
    return found | {name: play(one, rows, orders, budget, 0) for name, one in others.items()}


HEADS = ("tokens an agent", "scheme", "trade-off", "success", "spent", "shared is ahead by")


def lines(budget: float, found: Mapping[str, Played]) -> list[str]:
    """The rows of a Markdown table."""
    made = []
    for name, one in found.items():
        ones = [float(AGENTS)] * len(one.right)
        within = bootstrap_interval(one.group, (one.right, ones), ratio)
        ahead = ""
        if name != SHARED:
            gain = np.array(found[SHARED].right, float) - np.array(one.right)
            by = bootstrap_interval(one.group, (gain.tolist(), ones), ratio)
            ahead = f"{gain.sum() / sum(ones):+.3f} ({by.low:+.3f} to {by.high:+.3f})"
        trade_off = "" if one.trade_off is None else f"{one.trade_off:g}"
        spent = sum(one.spent) / sum(ones)
        success = f"{one.success:.3f} ({within.low:.2f}-{within.high:.2f})"
        cells = (f"{budget:g}", name, trade_off, success, f"{spent:.0f}", ahead)
        made.append(f"| {' | '.join(cells)} |")
    return made


def study(
    test: tuple[SampleTable, Contexts],
    training: tuple[SampleTable, Contexts],
    orders: int = ORDERS,
    budgets: Sequence[float] = BUDGETS,
) -> Iterator[str]:
    """The table, line by line."""
    learned = Training.of(*training)
    rows, curve = rows_of(*test, learned.router, orders), learned.curve()
    yield f"| {' | '.join(HEADS)} |"
    yield "|" + "---|" * len(HEADS)
    for budget in budgets:
        yield from lines(budget, compare(rows, orders, learned, budget, curve))


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args(arguments)
    benchmark = load_benchmark("gsm8k", data=given.data)
    test, training = load(given.recording, given.train, benchmark)
    groups = len(test[0].tasks) // AGENTS
    print(f"{groups} groups of {AGENTS} problems, {ORDERS} orders of their samples")
    for line in study(test, training):
        print(line, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except AmpError as error:
        sys.exit(str(error))
