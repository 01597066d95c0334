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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.allocate.router import Router, posterior
from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.errors import AmpError
from amp.learn.correctness import judged_samples, train_correctness
from amp.learn.routing import RoutingSettings, begun, learn_from
from amp.mlp import Floats, Ints, Mask
from amp.report.stats import bootstrap_interval, ratio
from amp.shared_budget import SharedBudget
from amp.simulate.build import opening_contexts, rate_samples, table_from_recording, with_p_right
from amp.simulate.pool_draws import CountLattice, known_at, leader_right, recorded
from amp.simulate.samples import Arm, RecordedSample, SampleTable, StepSamples
from amp.types import StepContext

AGENTS = 8
TRAINING = 267
"""Problems to learn on: the first ones, so that a recording that grows changes no figure."""
ARMS = ("program", "chain")
SAMPLES = 4
CAP = 256
"""Tokens of an answer at most: 99 % of those to training problems are shorter."""
BUDGETS = (400, 500, 700, 1000)
"""Tokens an agent."""
ORDERS = 5
SHARED = "shared, by bid"

Contexts = Mapping[str, StepContext]


def load(
    recording: Path, train: Path, benchmark: Benchmark
) -> tuple[tuple[SampleTable, Contexts], tuple[SampleTable, Contexts]]:
    """Test and training problems, their samples rated by heads that have not seen the problem."""
    arms = [Arm(name, benchmark.defaults.arms[name]) for name in ARMS]

    def table(path: Path, split: str, limit: int | None) -> tuple[SampleTable, Contexts]:
        tasks = benchmark.tasks(split, limit)
        found = table_from_recording(path, benchmark, tasks, arms, SAMPLES, incomplete="leave out")
        rows = tuple(row.changed(_capped) for row in found.tasks)
        known = {row.task for row in rows}
        tasks = [task for task in tasks if task.id in known]
        return replace(found, tasks=rows), opening_contexts(benchmark, tasks)

    (test, of_test), (training, of_training) = (
        table(recording, "test", None),
        table(train, "train", TRAINING),
    )
    heads = train_correctness(judged_samples(training, of_training))
    rated = with_p_right(training, heads.held_out.tolist())
    return (rate_samples(test, heads.correctness, of_test), of_test), (rated, of_training)


def _capped(step: StepSamples, _: str) -> StepSamples:
    return replace(
        step,
        by_arm={
            name: replace(arm, samples=tuple(map(_cut, arm.samples)))
            for name, arm in step.by_arm.items()
        },
    )


def _cut(sample: RecordedSample) -> RecordedSample:
    """The sample as it would be if answers were cut off at `CAP` tokens."""
    if sample.usage.completion_tokens <= CAP:
        return sample
    lost = replace(sample.candidate, action=None, p_right=None)
    return RecordedSample(lost, False, replace(sample.usage, completion_tokens=CAP))


# --------------------------------------------------------------------------- what can come of it


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All that can come of each problem, in each order of its samples.

    A node is how many samples of each arm are known: ``programs * (SAMPLES + 1) + chains``.

    Attributes:
        cost: shape (rows, arms, samples), of each sample in a call of its own.
        prompt: shape (rows, arms), the part of it that several samples of one call share.
        asks: shape (trade-offs, rows, nodes, arms), the arms that are worth more than stopping, the
            best first; -1 for none.
        bid: shape (rows, nodes), `Router.bids`.
        right: shape (rows, nodes), whether the leading answer is right.
        lead: shape (rows, nodes, 2), votes for the answer with the most, and with the second most.
        trade_offs: of the router.
    """

    cost: Floats
    prompt: Floats
    asks: Ints
    bid: Floats
    right: Mask
    lead: Ints
    trade_offs: Floats

    def bound(self, row: int, arm: int) -> float:
        """The most that a call for one sample can cost."""
        return float(self.prompt[row, arm]) + CAP


def rows_of(table: SampleTable, contexts: Contexts, router: Router, orders: int) -> Rows:
    """Plays nothing, but works out every node; rows are the problems, `orders` times."""
    draws = recorded(table, contexts, orders, 1, "tokens")
    by_order = np.arange(len(draws.task)).reshape(-1, orders).T.ravel()
    draws = draws.part(by_order)
    lattice = CountLattice.of((SAMPLES,) * len(ARMS), router.depth)
    numbers = lattice.taken @ np.array([SAMPLES + 1, 1])
    order = numbers.argsort()
    taken, level = lattice.taken[order], lattice.level[order]
    known = known_at(draws, taken, begun(router, draws.pool, draws))
    right = leader_right(draws, posterior(known, router.voices))
    bid = np.zeros(right.shape)
    asks = np.full((len(router.trade_offs), *right.shape, len(ARMS)), -1)
    for at, depth in enumerate(level.tolist()):
        here = known.rows((slice(None), at))
        bid[:, at] = router.bids(here, depth)
        for t, trade_off in enumerate(router.trade_offs.tolist()):
            worth = router.with_trade_off(trade_off).worth(here, depth)
            best = worth[:, 1:].argsort(1)[:, ::-1]
            gains = np.take_along_axis(worth[:, 1:], best, 1)
            asks[t, :, at] = np.where((gains > worth[:, :1]) & np.isfinite(gains), best, -1)
    votes = np.sort(known.votes.sum(2), -1)[..., ::-1]
    votes = np.concatenate([votes, np.zeros((*votes.shape[:2], 2))], -1)[..., :2]
    tokens = np.array(
        [[row.by_arm[name].prompt_tokens for name in ARMS] for row in table.tasks], float
    )[draws.task]
    return Rows(draws.cost, tokens, asks, bid, right, votes.astype(np.intp), router.trade_offs)


def learn(table: SampleTable, contexts: Contexts, orders: int = 4) -> Router:
    """A router for tokens, learned on all problems of a table."""
    draws = recorded(table, contexts, orders, 0, "tokens")
    settings = RoutingSettings(depth=len(ARMS) * SAMPLES, samples=SAMPLES, orders=orders)
    return learn_from(draws, {arm.name: arm.allocation for arm in table.arms}, settings)


# --------------------------------------------------------------------------- schemes


@dataclass(slots=True)
class Agent:
    """An agent at its problem."""

    rows: Rows
    row: int
    taken: list[int]

    @classmethod
    def at(cls, rows: Rows, row: int) -> Agent:
        """One that has asked nothing."""
        return cls(rows, row, [0] * len(ARMS))

    @property
    def node(self) -> int:
        return self.taken[0] * (SAMPLES + 1) + self.taken[1]

    @property
    def right(self) -> bool:
        return bool(self.rows.right[self.row, self.node])

    def floor(self) -> float:
        """What one answer can cost at most, asked for in the cheaper way."""
        return min(self.rows.bound(self.row, arm) for arm in range(len(ARMS)))

    def wants(self, t: int, left: float) -> int:
        """The arm that its router asks at a trade-off, of those that fit; -1 for none."""
        for arm in self.rows.asks[t, self.row, self.node].tolist():
            if arm >= 0 and self.rows.bound(self.row, arm) <= left:
                return int(arm)
        return -1

    def ask(self, arm: int, samples: int = 1) -> float:
        """Takes the next samples of an arm in one call; returns what that cost."""
        first = self.taken[arm]
        self.taken[arm] += samples
        cost = self.rows.cost[self.row, arm, first : first + samples].sum()
        return float(cost - (samples - 1) * self.rows.prompt[self.row, arm])


Scheme = Callable[[Sequence[Agent], float, int], float]
"""Plays agents with a budget at a trade-off, an index; returns what was spent."""


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
            if agent.taken[arm] < SAMPLES and agent.rows.bound(agent.row, arm) <= total - spent
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
