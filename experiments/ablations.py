"""Compares ways to learn a policy by cross-validation on training problems (spec 2.7).

Run as a module, the config that the others are compared with first:

    python -m experiments.ablations runs/ablations.jsonl configs/train-gsm8k.toml configs/learning/*

Each config learns on two thirds of its tasks and is measured on the rest, three times. What is done
stands in the file and is not done again; the table is of all that the file has.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from amp.allocate.mlp_policy import MlpPolicy
from amp.assess.neural import NeuralAssessor, load_assessor
from amp.benchmarks import load_benchmark
from amp.learn.config import TrainConfig, load_train_config
from amp.learn.dataset import load_dataset
from amp.learn.pipeline import served, train_policy
from amp.learn.trainer import ASSESSOR
from amp.report.frontier import Point, hull
from amp.report.stats import bootstrap_interval, holm, ratio, sign_flip_test
from amp.simulate.table_env import TableEnv

Floats = npt.NDArray[np.float64]

FOLDS = 3
TRADE_OFFS = (0.7, 0.85, 0.95)
ORDERS = 20
"""Of the samples of a task, in which a policy is measured; the same ones for all."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A policy on the tasks that it was not learned on.

    Attributes:
        config: name of its file, without the ending.
        decisions: that it learned from.
        seed: of the learning.
        fold: which third was held out.
        tasks: their ids.
        success: by trade-off, of each task: mean over the orders.
        tokens: likewise.
    """

    config: str
    decisions: int
    seed: int
    fold: int
    tasks: tuple[str, ...]
    success: tuple[tuple[float, ...], ...]
    tokens: tuple[tuple[float, ...], ...]


def measure(
    *,
    name: str,
    config: TrainConfig,
    fold: int,
    table: TableEnv,
    policy: MlpPolicy,
    assessor: NeuralAssessor | None,
) -> Measured:
    """Plays the tasks of a table; the assessor is the one that learned with the policy."""
    count = len(table.tasks)
    success, tokens = [], []
    for trade_off in TRADE_OFFS:
        came = served(policy, table, trade_off, ORDERS, assessor, seed=fold)
        success.append(tuple(came.success.reshape(count, ORDERS).mean(1).tolist()))
        tokens.append(tuple(came.cost.reshape(count, ORDERS).mean(1).tolist()))
    settings = config.ppo
    return Measured(
        *(name, settings.decisions, settings.seed, fold, table.tasks),
        *(tuple(success), tuple(tokens)),
    )


def cross_validated(name: str, config: TrainConfig, folds: Sequence[int]) -> Iterable[Measured]:
    """Learns and measures a config, fold by fold."""
    dataset = load_dataset(config, load_benchmark(config.benchmark))
    table = dataset.table
    order = np.random.default_rng(0).permutation(len(table.tasks))
    for fold in folds:
        others = np.sort(order[np.arange(len(order)) % FOLDS != fold])
        with tempfile.TemporaryDirectory() as directory:
            kept = Path(directory) / "training"
            policy = train_policy(config, replace(dataset, table=table.part(others)), kept)
            learned = load_assessor(kept / ASSESSOR)[0] if config.end_to_end else None
        yield measure(
            name=name,
            config=config,
            fold=fold,
            table=table.part(np.sort(order[fold::FOLDS])),
            policy=policy,
            assessor=None if learned is None else learned.network,
        )


def fixed(table: TableEnv) -> tuple[Floats, Floats]:
    """Success and tokens of every fixed allocation, shape (allocations, tasks), in all orders."""
    samples, arms = table.max_samples, len(table.arms)
    subsets = np.arange(1, table.right.shape[1])
    bits = subsets[:, None] >> np.arange(arms * samples) & 1
    counts = bits.reshape(len(subsets), arms, samples).sum(-1)
    costs = table.costs["tokens"]
    written = costs.samples.reshape(len(table.tasks), -1) @ bits.T
    tokens = written + costs.calls[..., 0] @ (counts > 0).T
    plans, plan = np.unique(counts, axis=0, return_inverse=True)
    share = (plan.reshape(-1) == np.arange(len(plans))[:, None]).astype(float)
    share /= share.sum(1, keepdims=True)
    return share @ table.right[:, subsets].T, share @ tokens.T


def above_front(success: Floats, tokens: Floats, table: TableEnv) -> Floats:
    """By task, success less that of the mixture of fixed allocations at the same mean tokens."""
    right, spent = fixed(table)
    means = zip(spent.mean(1), right.mean(1), range(len(right)), strict=True)
    front = hull([Point(cost, reached, str(plan)) for cost, reached, plan in means])
    corners = np.array([right[int(point.name)] for point in front])
    at = np.interp(tokens.mean(), [point.cost for point in front], np.arange(len(front)))
    low, share = int(at), at % 1.0
    mixed = (1 - share) * corners[low] + share * corners[min(low + 1, len(front) - 1)]
    return np.asarray(success - mixed)


def rows(done: Sequence[Measured], names: Sequence[str], table: TableEnv) -> Iterable[str]:
    """The table in Markdown: every config of which all folds are there, against the first one."""
    gaps: dict[str, Floats] = {}
    shown: dict[str, list[str]] = {}
    for name in names:
        mine = [one for one in done if one.config == name]
        by_task = _by_task(mine)
        if set(by_task) != set(table.tasks):
            continue
        figures = np.array([by_task[task] for task in table.tasks])  # tasks, what, trade-offs
        columns = range(len(TRADE_OFFS))
        shown[name] = [
            f"{figures[:, 0, c].mean():.3f} @ {figures[:, 1, c].mean():.0f}" for c in columns
        ]
        gaps[name] = np.mean(
            [above_front(figures[:, 0, c], figures[:, 1, c], table) for c in columns], axis=0
        )
    base = names[0]
    others = [name for name in gaps if name != base]
    adjusted = holm([sign_flip_test((gaps[name] - gaps[base]).tolist()) for name in others])
    for name, p_value in (base, None), *zip(others, adjusted, strict=True):
        cells = [name, *shown[name], f"{gaps[name].mean():+.3f}"]
        if p_value is not None:
            differences = (gaps[name] - gaps[base]).tolist()
            sure = bootstrap_interval(table.tasks, (differences, [1.0] * len(differences)), ratio)
            cells += [
                f"{np.mean(differences):+.3f} ({sure.low:+.3f} to {sure.high:+.3f})",
                f"{p_value:.2f}",
            ]
        yield f"| {' | '.join(cells)} |"


def _by_task(measured: Sequence[Measured]) -> Mapping[str, Floats]:
    """Success and tokens of each task at every trade-off, means over the seeds."""
    found: dict[str, list[Floats]] = {}
    for one in measured:
        figures = np.array([one.success, one.tokens]).transpose(2, 0, 1)
        for task, mine in zip(one.tasks, figures, strict=True):
            found.setdefault(task, []).append(mine)
    return {task: np.mean(several, axis=0) for task, several in found.items()}


def read(path: Path) -> list[Measured]:
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [Measured(**json.loads(line)) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="JSON lines of what is measured")
    parser.add_argument("configs", type=Path, nargs="+", help="TOML files, the base first")
    parser.add_argument("--recording", type=Path, help="instead of theirs")
    parser.add_argument("--decisions", type=int, help="to learn from, instead of theirs")
    parser.add_argument("--seeds", type=int, default=1, help="policies of each config and fold")
    wanted = parser.parse_args()
    configs = {path.stem: _changed(load_train_config(path), wanted) for path in wanted.configs}
    done = read(wanted.out)
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(wanted.seeds):
        for name, config in configs.items():
            seeded = config.replace(ppo=config.ppo.replace(seed=seed))
            known = {one.fold for one in done if (one.config, one.seed) == (name, seed)}
            missing = [fold for fold in range(FOLDS) if fold not in known]
            for one in cross_validated(name, seeded, missing) if missing else ():
                done.append(one)
                with wanted.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(one)) + "\n")
    base = next(iter(configs.values()))
    table = load_dataset(base, load_benchmark(base.benchmark)).table
    header = ("config", *(f"trade-off {one:g}" for one in TRADE_OFFS), "above the front")
    print(f"| {' | '.join((*header, 'against the first', 'p (Holm)'))} |")
    print("|" + "---|" * (len(header) + 2))
    print("\n".join(rows(done, list(configs), table)))


def _changed(config: TrainConfig, wanted: argparse.Namespace) -> TrainConfig:
    ppo = config.ppo.replace(**({"decisions": wanted.decisions} if wanted.decisions else {}))
    recording = wanted.recording or config.recording
    return config.replace(ppo=ppo, recording=recording)


if __name__ == "__main__":
    main()
