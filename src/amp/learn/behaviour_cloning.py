"""Supervised pre-training of the RAC (spec 3.4.1): an expert's demonstrations, and imitation.

The expert is the oracle of a table of samples for a trade-off lambda: the best thing to do is to
stop, or to take so many more samples of each arm, whichever earns the most reward. It knows the
verdicts, but averages over the samples that may come next, so it knows how hard a task is and not
how lucky it will be. A decision counts by what it earns over the average alternative: where tasks
that look alike want different things, the one prevails that would cost more to get wrong.

In plans of several steps the expert knows what each decision is worth if all later ones are the
best (`amp.simulate.table_oracle.values`), at some trade-offs of the range.

Imitation is maximum likelihood in latent space: the network learns the distribution under which
these decisions are most probable, so PPO starts from a sensible policy that still explores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from amp.allocate.mlp_policy import EXTRAS, MlpPolicy
from amp.allocate.space import Space, stopped
from amp.errors import InvalidInputError
from amp.learn.networks import LOG_STDS, Networks, encoded, normalisation, one_thread
from amp.mlp import Floats, Ints, Mask
from amp.reward import Reward
from amp.simulate.table_env import TableEnv
from amp.simulate.table_oracle import values
from amp.types import Allocation


@dataclass(frozen=True, slots=True, eq=False)
class Demonstrations:
    """Decisions to imitate, one row each.

    Attributes:
        values: as in `BatchObservation`, with the trade-off for which the decision is good.
        free: likewise.
        latents: the decision, 0 where nothing is free (`latents_of`).
        weights: how much it counts, at least 0.

    Raises:
        InvalidInputError: if there is no example, the rows don't match, or all weights are 0.
    """

    values: Floats
    free: Mask
    latents: Floats
    weights: Floats

    def __post_init__(self) -> None:
        rows = [len(a) for a in (self.values, self.free, self.latents, self.weights)]
        if not rows[0] or len(set(rows)) > 1 or self.free.shape != self.latents.shape:
            raise InvalidInputError(
                f"examples have {rows[0]} rows of values, {rows[1]} of free, {rows[2]} of latents "
                f"and {rows[3]} of weights, expected equally many, at least one"
            )
        if not ((self.weights >= 0).all() and 0 < self.weights.sum() < np.inf):
            raise InvalidInputError("weights of the examples, expected 0 or more, one above 0")
        if not np.isfinite(self.latents).all() or self.latents[~self.free].any():
            raise InvalidInputError("latents of the examples, expected finite ones of free draws")


@dataclass(frozen=True, slots=True)
class ImitationSettings:
    """How the network is trained.

    Attributes:
        hidden: units of each hidden layer.
        epochs: passes over all examples.
        batch_size: examples of a step of Adam.
        learning_rate: of Adam.
        entropy_weight: of a bonus for undecided policies, which keeps room to explore.
        penalty: on the squares of the weights.
        min_log_std: of the Normals, so that neighbouring integers stay in reach.
        seed: of everything random.
    """

    hidden: int = 64
    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 3e-3
    entropy_weight: float = 0.01
    penalty: float = 1e-5
    min_log_std: float = -0.7
    seed: int = 0


def latents_of(space: Space, decisions: Sequence[Allocation | None], free: Mask) -> Floats:
    """Latents of wanted decisions, one row each; None is a stop.

    Raises:
        InvalidInputError: if an allocation lies outside the space.
    """
    rows = [
        stopped(len(space.dims)) if wanted is None else space.latents(wanted)
        for wanted in decisions
    ]
    return np.where(free, np.array(rows, np.float32).reshape(free.shape), np.float32(0.0))


def imitate(
    space: Space,
    features: tuple[str, ...],
    max_rounds: int,
    examples: Demonstrations,
    settings: ImitationSettings = ImitationSettings(),
) -> MlpPolicy:
    """Trains a policy to decide as the examples do; the same seed gives the same policy.

    Args:
        space: of the latents.
        features: names of the values, without `inputs.EXTRAS`.
        max_rounds: rounds a step at most.
        examples: what to imitate; they say how values are normalised, too.
        settings: how.

    Raises:
        InvalidInputError: if the examples don't fit the space or the features, or all wish for the
            same decision.
    """
    _check(space, features, examples)
    mean, std = normalisation(examples.values)
    frame = MlpPolicy.initial(
        space, features, mean=mean, std=std, hidden=settings.hidden, seed=settings.seed
    )
    frame = replace(frame, max_rounds=max_rounds)
    networks = Networks(frame, settings.seed)
    parameters = [*networks.policy.parameters(), networks.log_stds]
    optimiser = torch.optim.AdamW(
        parameters, settings.learning_rate, weight_decay=settings.penalty, fused=True
    )
    inputs = torch.as_tensor(encoded(examples.values, mean, std))
    latents = torch.as_tensor(examples.latents, dtype=torch.float32)
    free = torch.as_tensor(examples.free)
    weights = torch.as_tensor(examples.weights / examples.weights.mean(), dtype=torch.float32)
    rng = np.random.default_rng(settings.seed)
    with one_thread():
        for _ in range(settings.epochs):
            order = torch.as_tensor(rng.permutation(len(inputs)))
            for rows in torch.tensor_split(order, -(-len(inputs) // settings.batch_size)):
                log_probs, entropies = networks.log_probs(inputs[rows], latents[rows], free[rows])
                gain = log_probs + settings.entropy_weight * entropies
                loss = -(weights[rows] * gain).mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                with torch.no_grad():
                    networks.log_stds.clamp_(settings.min_log_std, LOG_STDS[1])
    return networks.export(frame)


def _check(space: Space, features: tuple[str, ...], examples: Demonstrations) -> None:
    for what, array, width in (
        ("values", examples.values, len(features) + len(EXTRAS)),
        ("latents", examples.latents, len(space.dims)),
    ):
        if array.shape[1:] != (width,):
            raise InvalidInputError(
                f"{what} of the examples have the shape {array.shape}, expected {width} columns"
            )
    wanted = examples.latents[examples.weights > 0]
    if not (wanted != wanted[0]).any():
        raise InvalidInputError(
            f"all {len(wanted)} examples wish for the same decision; a fixed allocation does that"
        )


def demonstrate(
    table: TableEnv,
    reward: Reward,
    trade_offs: tuple[float, float],
    episodes: int,
    rng: np.random.Generator,
) -> Demonstrations:
    """Decisions of the oracle on random ways through the tasks.

    Args:
        table: recorded samples, of one plan step a task; or a lattice of any plans.
        reward: what pays.
        trade_offs: lambda is drawn from between these, once an episode.
        episodes: how many; each gives a decision a round.
        rng: all chance.

    Raises:
        InvalidInputError: as `values`, of a lattice.
    """
    if not table.subsets:
        return _in_plans(table, reward, trade_offs, episodes, rng)
    tasks = rng.permutation(np.resize(np.arange(len(table.tasks)), episodes))
    lambdas = rng.uniform(*trade_offs, episodes)
    plays = table.reset(tasks, rng)
    spent, live = np.zeros(episodes), np.arange(episodes)
    rows: list[tuple[Floats | Mask, ...]] = []
    while len(live):
        view = plays.observe(live)
        view.values[:, table.trade_off_column] = lambdas[live]
        worth = _worth(
            table,
            tasks[live],
            plays.node[live] - table.first[tasks[live]],
            spent[live],
            reward,
            lambdas[live],
        )
        worth[~view.free[:, 0], 0] = np.nan  # no stop before the first round
        best = np.nanargmax(worth, 1)
        wanted = [_first_call(table, plan) for plan in best]
        gain = np.nanmax(worth, 1) - np.nanmean(worth, 1)
        rows.append((view.values, view.free, latents_of(table.space, wanted, view.free), gain))
        tried = [_any_call(table, left, rng) for left in plays.left(live)]
        came = plays.step(live, latents_of(table.space, tried, view.free))
        spent[live] += came.cost
        live = live[~came.done]
    values, free, latents, weights = map(np.concatenate, zip(*rows, strict=True))
    return Demonstrations(values, free, latents, weights)


_TRADE_OFFS = 16
"""Lambdas for which the worth of a lattice's decisions is worked out."""


def _in_plans(
    table: TableEnv,
    reward: Reward,
    trade_offs: tuple[float, float],
    episodes: int,
    rng: np.random.Generator,
) -> Demonstrations:
    """Decisions on ways of which half the steps go on as is best, and half by chance."""
    grid = np.linspace(*trade_offs, _TRADE_OFFS)
    known = values(table, reward, grid)
    tasks = rng.permutation(np.resize(np.arange(len(table.tasks)), episodes))
    chosen = rng.integers(len(grid), size=episodes)
    plays, live = table.reset(tasks, rng), np.arange(episodes)
    rows: list[tuple[Floats | Mask, ...]] = []
    while len(live):
        view = plays.observe(live)
        view.values[:, table.trade_off_column] = grid[chosen[live]]
        nodes = plays.node[live]
        stop = np.where(view.free[:, 0], known.stop[nodes, chosen[live]], -np.inf)
        go = known.go[nodes, plays.rounds[live], :, chosen[live]]
        worth = np.column_stack([stop, go])
        able = np.isfinite(worth)
        finite = np.where(able, worth, np.nan)
        decided = [(None, *table.arms)[index] for index in worth.argmax(1)]
        latents = latents_of(table.space, decided, view.free)
        rows.append((view.values, view.free, latents, worth.max(1) - np.nanmean(finite, 1)))
        others = [_one_of(table, possible, rng) for possible in able]
        tried = latents_of(table.space, others, view.free)
        by_chance = rng.random((len(live), 1)) < 0.5
        came = plays.step(live, np.where(by_chance, tried, latents))
        live = live[~came.done]
    columns = map(np.concatenate, zip(*rows, strict=True))
    return Demonstrations(*columns)


def _one_of(table: TableEnv, able: Mask, rng: np.random.Generator) -> Allocation | None:
    """A decision of chance among those that are possible; None is a stop."""
    return (None, *table.arms)[int(rng.choice(np.flatnonzero(able)))]


def _worth(
    table: TableEnv, tasks: Ints, subsets: Ints, spent: Floats, reward: Reward, lambdas: Floats
) -> Floats:
    """Mean reward of every plan, shape (rows, plans), NaN where samples are lacking.

    A plan is how many more samples of each arm, in one call an arm, as a number with one digit an
    arm in base (samples + 1), the first arm's the lowest. Plan 0 stops.
    """
    base, arms = table.max_samples + 1, len(table.arms)
    right = table.right
    every = np.arange(right.shape[1])
    bits = every[:, None] >> np.arange(arms * table.max_samples) & 1
    counts = bits.reshape(len(every), arms, -1).sum(-1)
    taken = table.costs[table.unit].samples.reshape(len(table.tasks), -1) @ bits.T
    worth = np.full((len(tasks), base**arms), np.nan)
    for row, (task, subset) in enumerate(zip(tasks, subsets, strict=True)):
        further = every[every & subset == subset]
        more = counts[further] - counts[subset]
        read = table.read(table.first[task] + subset, np.arange(arms))
        cost = taken[task, further] - taken[task, subset] + (more > 0) @ read
        earned = reward.of(right[task, further].astype(float), spent[row] + cost, lambdas[row])
        plans = more @ base ** np.arange(arms)
        number = np.bincount(plans, minlength=base**arms)
        known = number > 0
        worth[row, known] = np.bincount(plans, earned, base**arms)[known] / number[known]
    return worth


def _first_call(table: TableEnv, plan: int) -> Allocation | None:
    for arm in table.arms:
        plan, samples = divmod(plan, table.max_samples + 1)
        if samples:
            return replace(arm, beam_width=samples)
    return None


def _any_call(table: TableEnv, left: Ints, rng: np.random.Generator) -> Allocation:
    arms = [arm for arm in table.arms if left[int(bool(arm.tools))]]
    arm = arms[rng.integers(len(arms))]
    return replace(arm, beam_width=int(rng.integers(1, left[int(bool(arm.tools))] + 1)))
