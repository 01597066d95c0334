"""Eight agents that share one budget of tokens, on recorded problems of GSM8K (spec 4.3).

Run as a module, on recordings with four programs and four chains of thought a problem:

    python -m experiments.shared_budgets recordings/gsm8k-300.sqlite \
        --train recordings/gsm8k-train-500.sqlite --data DIR

Each agent has one problem. All schemes (`experiments.budget_schemes`) draw the same samples and let
them vote alike; an answer is cut off at `CAP` tokens. What a scheme has to be told (a trade-off of
the router) is chosen on training problems, each played by a router that learned from the other half
of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.allocate.router import Router
from amp.benchmarks import load_benchmark
from amp.errors import AmpError
from amp.mlp import Floats
from amp.report.stats import bootstrap_interval, ratio
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
from experiments.budget_schemes import AGENTS, SHARED, TUNED, head, mean_cost, single, table_row
from experiments.published_planners import blend_asc, portfolio

BUDGETS = (400, 500, 700, 1000)
"""Tokens an agent."""
ORDERS = 5


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
            return mean_cost([Agent.at(half, row) for row in range(len(half.cost))], t)

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
    others: dict[str, Scheme] = {
        "Blend-ASC": blend_asc,
        "MCPP": portfolio(learned.known),
        "one agent, all problems": single(curve),
    }
    return found | {name: play(one, rows, orders, budget, 0) for name, one in others.items()}


def lines(budget: float, found: Mapping[str, Played]) -> Iterator[str]:
    """The rows of a Markdown table."""
    for name, one in found.items():
        ones = [float(AGENTS)] * len(one.right)
        within = bootstrap_interval(one.group, (one.right, ones), ratio)
        gain = np.array(found[SHARED].right, float) - np.array(one.right)
        by = bootstrap_interval(one.group, (gain.tolist(), ones), ratio)
        yield table_row(
            budget,
            name,
            one.trade_off,
            (one.success, within.low, within.high),
            sum(one.spent) / sum(ones),
            (gain.sum() / sum(ones), by.low, by.high),
        )


def study(
    test: tuple[SampleTable, Contexts],
    training: tuple[SampleTable, Contexts],
    orders: int = ORDERS,
    budgets: Sequence[float] = BUDGETS,
) -> Iterator[str]:
    """The table, line by line."""
    learned = Training.of(*training)
    rows, curve = rows_of(*test, learned.router, orders), learned.curve()
    yield from head()
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
