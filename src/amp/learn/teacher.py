"""What a policy imitates before PPO: the Lagrangian oracle of a table of draws (spec 3.4.1).

For a trade-off lambda the best thing to do is to stop, or to draw so many more samples of each arm,
whichever earns the most reward. The teacher knows the verdicts; it averages over the samples that
may come next, so it knows how hard a task is and not how lucky it will be. A decision counts by
what it earns over the average alternative: where tasks that look alike want different things, the
one prevails that would cost more to get wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from amp.allocate.batch import Mask
from amp.cost import Reward
from amp.learn.imitate import Examples, latents_of
from amp.learn.simulator import Ints
from amp.learn.tables import Table
from amp.network import Floats
from amp.types import Allocation


def lessons(
    table: Table,
    reward: Reward,
    trade_offs: tuple[float, float],
    episodes: int,
    rng: np.random.Generator,
) -> Examples:
    """Decisions of the oracle on random ways through the tasks.

    Args:
        table: the recorded draws.
        reward: what pays.
        trade_offs: lambda is drawn from between these, once an episode.
        episodes: how many; each gives a decision a round.
        rng: all chance.
    """
    tasks = rng.permutation(np.resize(np.arange(len(table.tasks)), episodes))
    lambdas = rng.uniform(*trade_offs, episodes)
    plays = table.begin(tasks, rng)
    spent, live = np.zeros(episodes), np.arange(episodes)
    rows: list[tuple[Floats | Mask, ...]] = []
    while len(live):
        view = plays.view(live)
        view.values[:, table.trade_off_column] = lambdas[live]
        worth = _worth(table, tasks[live], plays.subset[live], spent[live], reward, lambdas[live])
        worth[~view.free[:, 0], 0] = np.nan  # no stop before the first round
        best = np.nanargmax(worth, 1)
        wanted = [_first_call(table, plan) for plan in best]
        gain = np.nanmax(worth, 1) - np.nanmean(worth, 1)
        rows.append((view.values, view.free, latents_of(table.space, wanted, view.free), gain))
        tried = [_any_call(table, left, rng) for left in plays.left(live)]
        came = plays.step(live, latents_of(table.space, tried, view.free))
        spent[live] += came.tokens
        live = live[~came.done]
    values, free, latents, weights = map(np.concatenate, zip(*rows, strict=True))
    return Examples(values, free, latents, weights)


def _worth(
    table: Table, tasks: Ints, subsets: Ints, spent: Floats, reward: Reward, lambdas: Floats
) -> Floats:
    """Mean reward of every plan, shape (rows, plans), NaN where samples are lacking.

    A plan is how many more samples of each arm, in one call an arm, as a number with one digit an
    arm in base (samples + 1), the first arm's the lowest. Plan 0 stops.
    """
    base, arms = table.most_samples + 1, len(table.arms)
    every = np.arange(table.right.shape[1])
    bits = every[:, None] >> np.arange(arms * table.most_samples) & 1
    counts = bits.reshape(len(every), arms, -1).sum(-1)
    written = table.completion_tokens.reshape(len(table.tasks), -1) @ bits.T
    worth = np.full((len(tasks), base**arms), np.nan)
    for row, (task, subset) in enumerate(zip(tasks, subsets, strict=True)):
        further = every[every & subset == subset]
        more = counts[further] - counts[subset]
        tokens = written[task, further] - written[task, subset]
        tokens = tokens + (more > 0) @ table.prompt_tokens[task]
        earned = reward.of(
            table.right[task, further].astype(float), spent[row] + tokens, lambdas[row]
        )
        plans = more @ base ** np.arange(arms)
        number = np.bincount(plans, minlength=base**arms)
        known = number > 0
        worth[row, known] = np.bincount(plans, earned, base**arms)[known] / number[known]
    return worth


def _first_call(table: Table, plan: int) -> Allocation | None:
    for arm in table.arms:
        plan, samples = divmod(plan, table.most_samples + 1)
        if samples:
            return replace(arm, beam_width=samples)
    return None


def _any_call(table: Table, left: Ints, rng: np.random.Generator) -> Allocation:
    arms = [arm for arm in table.arms if left[int(bool(arm.tools))]]
    arm = arms[rng.integers(len(arms))]
    return replace(arm, beam_width=int(rng.integers(1, left[int(bool(arm.tools))] + 1)))
