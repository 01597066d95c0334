"""More samples or the tree of thoughts, on recorded answers of GPT-4 to the game of 24.

Run as a module, on a directory with a ``pool.jsonl.gz`` of puzzles, or with ``pools/tot_game24`` in
it (``--data``, else ``AMP_DATA``):

    python -m experiments.game24 --data DIR

An answer that passes the exact check ends a puzzle. Until then the policy draws, again and again,
20 more answers, 20 more chains of thought, or the next step of the tree, or it stops. What it is
said to reach it reaches on puzzles that nothing was learned, tuned or chosen on (10-fold
cross-validation; what a policy is tuned to is measured by another one inside the training folds).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from amp.benchmarks.download import data_directory
from amp.errors import AmpError, InvalidInputError
from amp.mlp import Floats, Ints
from amp.pools import Pool, find_pools, read_pool
from amp.report.stats import bootstrap_interval, ratio
from experiments.game24_search import RECORDED, Found, Rule, Tree, beam, explore
from experiments.game24_sources import Played, Source, learn_orders, play, samples_of
from experiments.game24_trees import read_trees, usage_told

POOL = "pools/tot_game24"
SAMPLED = {"gpt4-io": "io_usage_total", "gpt4-cot": "cot_usage_total"}
"""Arms of samples, and the fields that have the usage of all samples of a puzzle."""
CALL = 20
"""Samples of a call. The prompt is paid once a call, as it was when they were recorded."""
RULES = tuple(Rule(follow=follow) for follow in (1, 2, 3, 5))
TRADE_OFFS = tuple(float(value) for value in np.geomspace(2e-4, 5e-6, 12))
"""P(solved) for a token."""
FOLDS, INNER = 10, 5
BANDS = (1.0, 3.0)
"""Values of the thought that the tree would go on from, that a policy tells apart: no vote says
"likely", not all do, all do.
"""

ENOUGH, MOST = 0.69, 0.6
"""What the tree is known to solve, and the share of its tokens that policies may use."""

Ways = Sequence[Sequence[Source]]
"""Settings to choose from on training puzzles; each has all sources."""


# --------------------------------------------------------------------------- sources


def read(directory: Path) -> Pool:
    """The pool; rows that are not well-formed are left out, and noted.

    Raises:
        InvalidInputError: if there is no such pool, or it has too few good rows.
    """
    inner = directory / POOL
    pool = read_pool(find_pools(inner if inner.is_dir() else directory)[0], keep_good=True)
    if len(pool.tasks) < FOLDS:
        raise InvalidInputError(
            f"pool {pool.name} has {len(pool.tasks)} good rows, expected {FOLDS} or more, since"
            f" policies are learned on {FOLDS - 1} of {FOLDS} parts and tested on the other one"
        )
    return pool


def samples(pool: Pool) -> list[Source]:
    """The arms of samples.

    Raises:
        InvalidInputError: if the usage of a puzzle's samples is not there.
    """
    found = []
    for index, arm in enumerate(pool.arms):
        if arm.name in SAMPLED:
            right = pool.right[:, index][:, pool.there[:, index].all(0)]
            try:
                usage = [task.extra["tot"][SAMPLED[arm.name]] for task in pool.tasks]
                tokens = [used["prompt_tokens"] + used["completion_tokens"] for used in usage]
            except (KeyError, TypeError) as error:
                raise InvalidInputError(
                    f"pool {pool.name}: a task's field tot has no {error} for arm {arm.name}"
                ) from None
            cost = np.array(tokens, float) * CALL / right.shape[1]
            found.append(samples_of(arm.name, right, cost, CALL))
    return found


def whole(trees: Sequence[Tree]) -> Source:
    """The tree as it was recorded, in one draw."""
    found = [beam(tree, RECORDED) for tree in trees]
    failing = np.array([[1.0, float(not one.solved)] for one in found])
    cost = np.array([[one.tokens] for one in found])
    return Source("tree", cost, failing, np.zeros(failing.shape, np.intp))


def by_step(trees: Sequence[Tree], rule: Rule, bands: Sequence[float] = ()) -> Source:
    """The tree depth first: a draw proposes and values first steps, each other one tries the next.

    Args:
        trees: one a puzzle.
        rule: how it goes on.
        bands: values of the thought to be tried next that are told apart.
    """
    draws = 1 + rule.width
    cost = np.zeros((len(trees), draws))
    failing = np.ones((len(trees), draws + 1))
    shown = np.zeros(failing.shape, np.intp)
    for row, tree in enumerate(trees):
        explored = explore(tree, rule)
        for draw, step in enumerate(explored.steps):
            cost[row, draw] = step.tokens
            if step.solved:
                failing[row, draw + 1 :] = 0.0
        shown[row, 1 : 1 + len(explored.values)] = np.digitize(explored.values, bands)
    return Source("thought", cost, failing, shown)


# --------------------------------------------------------------------------- tuning


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a policy is tuned to.

    Attributes:
        success: as cheap as it goes at this success; None for as successful as it goes.
        tokens: at most, on average; None for as many as it takes.
    """

    success: float | None = None
    tokens: float | None = None

    def best(self, reached: Sequence[tuple[float, float]]) -> int:
        """Which of these (success, tokens) is nearest to it."""
        affordable = [
            (index, success, tokens)
            for index, (success, tokens) in enumerate(reached)
            if self.tokens is None or tokens <= self.tokens
        ] or [min(((i, s, t) for i, (s, t) in enumerate(reached)), key=lambda one: one[2])]
        if self.success is not None:
            enough = [one for one in affordable if one[1] >= self.success - 1e-9]
            if enough:
                return min(enough, key=lambda one: one[2])[0]
        return max(affordable, key=lambda one: (one[1], -one[2]))[0]


def folds(rows: Ints, number: int, seed: int = 0) -> Iterator[tuple[Ints, Ints]]:
    """Rows to learn from and rows to test on, by chance but always the same."""
    fold = np.random.default_rng(seed).permutation(len(rows)) % number
    return ((rows[fold != part], rows[fold == part]) for part in range(number))


@dataclass(frozen=True, slots=True)
class Curve:
    """What policies reach on puzzles that they were not learned on, by fold and trade-off.

    Attributes:
        rows: of the puzzles of each fold.
        inside: what those learned inside the other folds reach there, mean success and tokens.
        outside: what those learned on all of the other folds reach on the fold.
    """

    rows: tuple[Ints, ...]
    inside: tuple[tuple[tuple[float, float], ...], ...]
    outside: tuple[tuple[Played, ...], ...]

    def tuned(self, wanted: Wanted) -> Played:
        """Each fold played by what the other folds say is nearest to what is wanted."""
        size = sum(len(rows) for rows in self.rows)
        solved, cost = np.empty(size), np.empty(size)
        for rows, reached, played in zip(self.rows, self.inside, self.outside, strict=True):
            best = played[wanted.best(reached)]
            solved[rows], cost[rows] = best.solved, best.cost
        return Played(solved, cost)


def curve(ways: Ways, seed: int = 0) -> Curve:
    """The curve of settings, of which the best is chosen on training puzzles at each trade-off."""
    rows = np.arange(len(ways[0][0].cost))
    parts = list(folds(rows, FOLDS, seed))
    inside, outside = [], []
    for train, test in parts:
        outside.append(learned(ways, train, test))
        within = [learned(ways, *inner) for inner in folds(train, INNER, seed)]
        inside.append(
            tuple(
                (
                    float(np.concatenate([played.solved for played in same]).mean()),
                    float(np.concatenate([played.cost for played in same]).mean()),
                )
                for same in zip(*within, strict=True)
            )
        )
    return Curve(tuple(test for _, test in parts), tuple(inside), tuple(outside))


def learned(ways: Ways, train: Ints, test: Ints) -> tuple[Played, ...]:
    """What policies learned on some puzzles reach on others, by trade-off."""
    orders = [learn_orders([source.part(train) for source in way], TRADE_OFFS) for way in ways]
    found = []
    for same in zip(*orders, strict=True):
        best = max(range(len(ways)), key=lambda way: same[way].worth)
        found.append(play([source.part(test) for source in ways[best]], same[best]))
    return tuple(found)


# --------------------------------------------------------------------------- the report


def fixed(found: Sequence[Found]) -> Played:
    """What a search that nothing was tuned for found, by puzzle."""
    return Played(
        np.array([float(one.solved) for one in found]), np.array([one.tokens for one in found])
    )


def depth_first(tree: Tree, rule: Rule) -> Found:
    """`explore` to its end."""
    steps = explore(tree, rule).steps
    return Found(steps[-1].solved, sum(step.tokens for step in steps))


def policies(pool: Pool, shared: bool) -> Iterator[tuple[str, Played]]:
    """Every row of a table: its name, and what it reaches on each puzzle.

    Args:
        pool: the puzzles.
        shared: see `experiments.game24_trees.read_trees`.
    """
    trees, drawn = read_trees(pool, shared), samples(pool)
    allowed = Wanted(tokens=MOST * float(np.mean([tree.tokens for tree in trees])))
    yield "tree as recorded", fixed([beam(tree, RECORDED) for tree in trees])
    for width in (3, 1):
        narrow = fixed([beam(tree, (width,) * len(RECORDED)) for tree in trees])
        yield f"tree, {width} kept a step", narrow
    yield "tree, depth first", fixed([depth_first(tree, Rule()) for tree in trees])
    yield "samples, as many as help", curve([drawn]).tuned(Wanted())
    cascade = curve([[*drawn, whole(trees)]])
    yield f"samples, else the whole tree: {ENOUGH:g} solved", cascade.tuned(Wanted(ENOUGH))
    yield f"samples, else the whole tree: {MOST:.0%} of the tokens", cascade.tuned(allowed)
    steps = curve([[*drawn, by_step(trees, rule)] for rule in RULES])
    yield f"samples or the next thought: {ENOUGH:g} solved", steps.tuned(Wanted(ENOUGH))
    yield f"samples or the next thought: {MOST:.0%} of the tokens", steps.tuned(allowed)
    seen = curve([[*drawn, by_step(trees, rule, BANDS)] for rule in RULES])
    yield f"the same, sees the thought's value: {ENOUGH:g} solved", seen.tuned(Wanted(ENOUGH))


def table(pool: Pool, shared: bool) -> Iterator[str]:
    """The rows of `policies`, with 95 % intervals that resample puzzles."""
    yield "| policy: what it is tuned to | solved | more than the tree | tokens | of the tree's |"
    yield "|---|---|---|---|---|"
    puzzles = [task.id for task in pool.tasks]
    ones = [1.0] * len(puzzles)
    recorded = np.array([tree.tokens for tree in read_trees(pool)])
    tree = None
    for name, played in policies(pool, shared):
        tree = played.solved if tree is None else tree
        solved = _mean(puzzles, played.solved, ones, "{:.3f}")
        more = _mean(puzzles, played.solved - tree, ones, "{:+.3f}")
        share = _mean(puzzles, played.cost, recorded, "{:.0%}")
        yield f"| {name} | {solved} | {more} | {played.cost.mean():,.0f} | {share} |"


def _mean(puzzles: Sequence[str], values: Floats, over: Sequence[float] | Floats, form: str) -> str:
    columns = (values.tolist(), list(over))
    interval = bootstrap_interval(puzzles, columns, ratio)
    shown = [
        form.format(x) for x in (sum(columns[0]) / sum(columns[1]), interval.low, interval.high)
    ]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def failing_path(pool: Pool) -> str:
    """What the policy learned on all puzzles draws, one after another, where everything fails."""
    trees = read_trees(pool)
    sources = [*samples(pool), by_step(trees, Rule())]
    order = learn_orders(sources, [TRADE_OFFS[-1]])[0]
    node, path = [0] * len(sources), []
    while chosen := int(order.choice[(*node, 0)]):
        node[chosen - 1] += 1
        path.append(sources[chosen - 1].name)
    runs = [(name, len(list(same))) for name, same in groupby(path)]
    return ", ".join(f"{count} x {name}" for name, count in runs)


def report(pool: Pool) -> Iterator[str]:
    """The tables, and what is needed to read them."""
    yield f"{len(pool.tasks)} puzzles."
    yield from (note for note in pool.notes if note.startswith("left out"))
    told, usage = usage_told(pool)
    fit = 1 - ((told - usage) ** 2).sum(0) / ((usage - usage.mean(0)) ** 2).sum(0)
    yield (
        f"Variance of usage that the prices of calls explain: {fit[0]:.2f} of prompts,"
        f" {fit[1]:.2f} of completions."
    )
    some = np.prod([source.failing[:, -1] for source in samples(pool)], 0)
    ever = np.array([beam(tree).solved for tree in read_trees(pool)]) | (some == 0.0)
    yield f"Solved by any recorded sample or tree: {ever.mean():.3f}."
    yield f"Drawn where everything fails: {failing_path(pool)}."
    yield "\nAs recorded: a value that an earlier puzzle asked for is free\n"
    yield from table(pool, shared=True)
    yield "\nEach puzzle pays for all of its values; shares are of the tree's recorded tokens\n"
    yield from table(pool, shared=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="directory of the pool; AMP_DATA if left out")
    try:
        for line in report(read(parser.parse_args().data or data_directory().path)):
            print(line, flush=True)
    except AmpError as error:
        sys.exit(f"amp: {error}")


if __name__ == "__main__":
    main()
