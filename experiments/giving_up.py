"""What giving up hopeless episodes saves, on recorded episodes of agents (spec 2.3).

Run as a module, on a directory with a ``pool.jsonl.gz`` of ALFWorld episodes, or with
``pools/alfworld_knowagent`` in it (``--data``, else ``AMP_DATA``):

    python -m experiments.giving_up --data DIR [--train DIR] [--out head.safetensors]

The games are split into halves. What is learned and calibrated on one is measured on the other;
with ``--train`` another directory is learned from, but for the games that the tested one has. Runs
of `amp run` serve as well, those to learn from and those to test on:

    python -m experiments.giving_up --train RUN ... --data RUN ... --out head.safetensors
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amp.allocate.giving_up import GROUPS, PLAN_FEATURES, threshold
from amp.allocate.policy_file import save_head
from amp.benchmarks.download import data_directory
from amp.errors import AmpError
from amp.learn.giving_up import fit_head, in_folds, p_fails
from amp.report.metrics import Interval
from amp.report.stats import auroc, bootstrap_interval, ratio, weighted_auroc
from amp.types import StepRecord
from experiments.giving_up_episodes import Recorded, benchmark_of, read_episodes_of

RECALLS = (0.95, 0.90)
STEPS = (1, 2, 3, 5, 8, 12, 16, 20)
"""Numbers of steps done, at which failure is told."""
_FEWEST = 10
"""Successes of an agent below which nothing is learned from it alone."""

Scores = Mapping[str, Sequence[float]]
"""A number for every moment of an episode, by the episode's key; higher is more hopeless."""


def halves(pool: Mapping[str, Recorded], salt: str = "") -> tuple[list[str], list[str]]:
    """Keys of two halves, by chance but always the same; no task in its room is in both."""
    half = in_folds([salt + one.trial.group for one in pool.values()], 2)
    sides: tuple[list[str], list[str]] = ([], [])
    for key, one in pool.items():
        sides[half[salt + one.trial.group]].append(key)
    return sides


# --------------------------------------------------------------------------- rules


def counted(rule: Callable[[Sequence[StepRecord]], float]) -> Callable[[Recorded], list[float]]:
    """A rule that counts something over the steps so far, at every moment of an episode."""
    return lambda one: [rule(one.episode.steps[:done]) for done in range(1, one.steps)]


def most_repeats(steps: Sequence[StepRecord]) -> float:
    """How often the action that was repeated most was repeated."""
    return max(Counter(step.action for step in steps).values()) - 1


def repeats(steps: Sequence[StepRecord]) -> float:
    """How many steps did what had been done before."""
    return len(steps) - len({step.action for step in steps})


RULES: Mapping[str, Callable[[Recorded], list[float]]] = {
    "cut after n steps": counted(len),
    "stop after k repeats of an action": counted(most_repeats),
    "stop after k repeats in all": counted(repeats),
    "stop k steps after anything new": lambda one: [m["since_new"] for m in one.trial.moments],
    "stop after k refusals in a row": lambda one: [
        m.get("refused_in_row", 0.0) for m in one.trial.moments
    ],
}


# --------------------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class Saved:
    """What a rule did to the episodes of a test, one row each.

    Attributes:
        keys: of the episodes.
        after: steps after which each was given up; its length where it was not.
        threshold: of the score.
    """

    keys: tuple[str, ...]
    after: tuple[int, ...]
    threshold: float

    def share(self, pool: Mapping[str, Recorded], what: str) -> tuple[list[str], list[list[float]]]:
        """Tasks, and the two columns whose ratio is a share.

        Args:
            pool: the episodes.
            what: ``kept`` of the successes, or ``saved`` or ``saved of failed``, of the steps.
        """
        rows = []
        for key, after in zip(self.keys, self.after, strict=True):
            one = pool[key]
            if what == "kept" and one.episode.success:
                rows.append((one.trial.group, float(after == one.steps), 1.0))
            if what == "saved" or (what == "saved of failed" and not one.episode.success):
                rows.append((one.trial.group, float(one.steps - after), float(one.steps)))
        return [row[0] for row in rows], [[row[1] for row in rows], [row[2] for row in rows]]


def give_up(
    pool: Mapping[str, Recorded],
    survived: Sequence[float],
    scores: Scores,
    recall: float,
    confidence: float | None = None,
) -> Saved:
    """Gives the scored episodes up at the threshold that the survivors of the training set."""
    limit = threshold(survived, recall, confidence)
    after = []
    for key, told in scores.items():
        moments = (done for done, score in enumerate(told, start=1) if score > limit)
        after.append(next(moments, pool[key].steps))
    return Saved(tuple(scores), tuple(after), limit)


def by_rule(
    pool: Mapping[str, Recorded], train: Sequence[str], test: Sequence[str], name: str
) -> tuple[list[float], Scores]:
    """Survivors of the training episodes and scores of the test episodes, of a rule."""
    rule = RULES[name]
    won = [pool[key] for key in train if pool[key].episode.success]
    survived = [max(rule(one), default=0.0) for one in won]
    return survived, {key: rule(pool[key]) for key in test}


def by_head(
    pool: Mapping[str, Recorded],
    train: Sequence[str],
    test: Sequence[str],
    features: Sequence[str] = PLAN_FEATURES,
) -> tuple[Sequence[float], Scores]:
    """The same of a head that is learned."""
    head = fit_head([pool[key].trial for key in train], features=features)
    return head.survived, {key: p_fails(head, pool[key].trial) for key in test}


def told_at(
    pool: Mapping[str, Recorded], scores: Scores, done: int
) -> tuple[int, float | None, Interval]:
    """Episodes longer than so many steps, and the AUROC of their scores then, with 95 %."""
    there = [key for key, told in scores.items() if len(told) >= done]
    failed = [not pool[key].episode.success for key in there]
    now = [scores[key][done - 1] for key in there]
    if len(set(failed)) < 2:
        return len(there), None, Interval(math.nan, math.nan)
    groups, member = np.unique([pool[key].trial.group for key in there], return_inverse=True)
    even = [1 / len(groups)] * len(groups)
    drawn = np.random.default_rng(0).multinomial(len(groups), even, 1000).astype(float)
    resampled = weighted_auroc(np.array(now), np.array(failed, float), drawn[:, member])
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return len(there), auroc(now, failed), Interval(float(low), float(high))


# --------------------------------------------------------------------------- tables


def main_table(
    pool: Mapping[str, Recorded], train: Sequence[str], test: Sequence[str]
) -> Iterable[str]:
    """The head against the rules: successes kept and steps saved on the test episodes."""
    yield "| rule | recall asked | threshold | successes kept | steps saved | of failed episodes |"
    yield "|---|---|---|---|---|---|"
    learned = by_head(pool, train, test)
    for recall in RECALLS:
        ours = give_up(pool, *learned, recall)
        yield _line(pool, "p_fail", f"{recall:.2f}", ours)
        for name in RULES:
            rule = give_up(pool, *by_rule(pool, train, test, name), recall)
            yield _line(pool, name, f"{recall:.2f}", rule)
        sure = give_up(pool, *learned, recall, 0.95)
        yield _line(pool, "p_fail", f"{recall:.2f}, surely", sure)
    yield ""
    for recall in RECALLS:
        ours = give_up(pool, *learned, recall)
        cut = give_up(pool, *by_rule(pool, train, test, "cut after n steps"), recall)
        gained, interval = gain(pool, ours, cut)
        yield (
            f"At {recall:.2f}, p_fail saves {gained:+.1%} ({_span(interval)}) more of the failed"
            " episodes' steps than cut after n steps."
        )


def gain(pool: Mapping[str, Recorded], ours: Saved, other: Saved) -> tuple[float, Interval]:
    """Share of failed episodes' steps that one saves beyond the other, by task."""
    tasks, (mine, steps) = ours.share(pool, "saved of failed")
    _, (theirs, _) = other.share(pool, "saved of failed")
    more = [a - b for a, b in zip(mine, theirs, strict=True)]
    return sum(more) / sum(steps), bootstrap_interval(tasks, (more, steps), ratio)


def _line(pool: Mapping[str, Recorded], name: str, recall: str, saved: Saved) -> str:
    cells = [name, recall, f"{saved.threshold:.4g}"]
    for what in ("kept", "saved", "saved of failed"):
        tasks, columns = saved.share(pool, what)
        interval = bootstrap_interval(tasks, columns, ratio)
        count = f"{sum(columns[0]):.0f}/{sum(columns[1]):.0f}, " if what == "kept" else ""
        cells.append(f"{count}{sum(columns[0]) / sum(columns[1]):.1%} ({_span(interval)})")
    return f"| {' | '.join(cells)} |"


def ablation_table(
    pool: Mapping[str, Recorded], train: Sequence[str], test: Sequence[str]
) -> Iterable[str]:
    """What each group of features is worth: AUROC after so many steps, and steps saved."""
    ends = "".join(f" saved of failed at {recall:.2f} |" for recall in RECALLS)
    yield f"| features | {' | '.join(f'after {done}' for done in STEPS)} |{ends}"
    yield "|---|" + "---|" * (len(STEPS) + len(RECALLS))
    sets = {"all": PLAN_FEATURES}
    for group, names in GROUPS.items():
        sets[f"without {group}"] = tuple(name for name in PLAN_FEATURES if name not in names)
    sets |= {f"{group} alone": names for group, names in GROUPS.items()}
    for name, features in sets.items():
        learned = by_head(pool, train, test, features)
        told = [told_at(pool, learned[1], done) for done in STEPS]
        if name == "all":
            yield f"| episodes | {' | '.join(str(count) for count, *_ in told)} |" + " |" * len(
                RECALLS
            )
        cells = ["-" if value is None else f"{value:.2f}" for _, value, _ in told]
        if name == "all":
            cells = [
                cell if cell == "-" else f"{cell} ({sure.low:.2f}-{sure.high:.2f})"
                for cell, (*_, sure) in zip(cells, told, strict=True)
            ]
        cells += [_point(pool, give_up(pool, *learned, recall)) for recall in RECALLS]
        yield f"| {name} | {' | '.join(cells)} |"


def transfer_table(
    pool: Mapping[str, Recorded], train: Sequence[str], test: Sequence[str]
) -> Iterable[str]:
    """Heads learned from one agent's episodes, on the other's of other games."""
    yield "| learned from | tested on | recall asked | successes kept | saved | of failed ones |"
    yield "|---|---|---|---|---|---|"
    agents = sorted({one.agent for one in pool.values()})
    for teacher in agents:
        taught = [key for key in train if pool[key].agent == teacher]
        if sum(bool(pool[key].episode.success) for key in taught) < _FEWEST:
            continue
        for other in agents:
            tested = [key for key in test if pool[key].agent == other]
            if not any(pool[key].episode.success for key in tested):
                continue
            learned = by_head(pool, taught, tested)
            for recall in RECALLS:
                line = _line(pool, "", f"{recall:.2f}", give_up(pool, *learned, recall))
                cells = line.split(" | ")
                yield f"| {teacher} | {other} | {' | '.join([cells[1], *cells[3:]])}"


def splits_table(pool: Mapping[str, Recorded], count: int) -> Iterable[str]:
    """Means over other halves: what does not depend on the luck of one."""
    yield f"| mean of {count} halves | recall asked | successes kept | saved of failed episodes |"
    yield "|---|---|---|---|"
    sides = [halves(pool, f"{number} ") for number in range(count)]
    learned = [by_head(pool, *side) for side in sides]
    cut = [by_rule(pool, *side, "cut after n steps") for side in sides]
    for recall in RECALLS:
        for name, every in (("p_fail", learned), ("cut after n steps", cut)):
            done = [give_up(pool, *each, recall) for each in every]
            kept, saved = (
                np.mean([_share(one, pool, what) for one in done])
                for what in ("kept", "saved of failed")
            )
            yield f"| {name} | {recall:.2f} | {kept:.1%} | {saved:.1%} |"


def lost(
    pool: Mapping[str, Recorded], train: Sequence[str], test: Sequence[str], recall: float
) -> Iterable[str]:
    """The successes that are given up, most hopeless first."""
    _, scores = learned = by_head(pool, train, test)
    saved = give_up(pool, *learned, recall)
    given_up = [
        (key, after)
        for key, after in zip(saved.keys, saved.after, strict=True)
        if pool[key].episode.success and after < pool[key].steps
    ]
    given_up.sort(key=lambda one: -max(scores[one[0]]))
    for key, after in given_up:
        one = pool[key]
        yield (
            f"{one.episode.task.goal} ({one.agent}): given up after {after} of {one.steps} steps at"
            f" p_fail {scores[key][after - 1]:.3f}"
        )
        for number, step in enumerate(one.episode.steps, start=1):
            mark = "  <- given up" if number == after else ""
            yield f"    {number:>2} {step.action} | {step.feedback[:70]}{mark}"


def _point(pool: Mapping[str, Recorded], saved: Saved) -> str:
    return f"{_share(saved, pool, 'saved of failed'):.1%} (kept {_share(saved, pool, 'kept'):.1%})"


def _share(saved: Saved, pool: Mapping[str, Recorded], what: str) -> float:
    _, (part, whole) = saved.share(pool, what)
    return sum(part) / sum(whole)


def _span(interval: Interval) -> str:
    return f"{interval.low:.1%} to {interval.high:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", help="directory of the pool, or runs; AMP_DATA if left out"
    )
    parser.add_argument(
        "--train",
        type=Path,
        nargs="+",
        help="learn from all of this pool or of these runs, test on all of --data",
    )
    parser.add_argument("--out", type=Path, help="keep the head that was learned")
    parser.add_argument("--splits", type=int, default=20, help="other halves to try")
    parser.add_argument("--lost", type=float, help="show the successes given up at this recall")
    wanted = parser.parse_args()
    try:
        _report(wanted)
    except AmpError as error:
        sys.exit(f"amp: {error}")


def _report(wanted: argparse.Namespace) -> None:
    pool = read_episodes_of(wanted.data or [data_directory().path])
    train, test = halves(pool)
    if wanted.train is not None:
        others = read_episodes_of(wanted.train)
        tested = {one.trial.group for one in pool.values()}
        test = list(pool)
        known = {f"trained {k}": one for k, one in others.items() if one.trial.group not in tested}
        train, pool = list(known), {**pool, **known}
    if wanted.out is not None:
        benchmark = benchmark_of(wanted.train or wanted.data or ())
        trials = [pool[key].trial for key in train]
        save_head(fit_head(trials, benchmark=benchmark), wanted.out)
    if wanted.lost is not None:
        print("\n".join(lost(pool, train, test, wanted.lost)))
        return
    for name, keys in (("learned from", train), ("tested on", test)):
        won = sum(bool(pool[key].episode.success) for key in keys)
        groups = len({pool[key].trial.group for key in keys})
        steps = sum(pool[key].steps for key in keys)
        print(f"{name}: {len(keys)} episodes of {groups} tasks, {won} succeeded, {steps} steps")
    tables = [main_table, ablation_table]
    if len({one.agent for one in pool.values()}) > 1:
        tables.append(transfer_table)
    for table in tables:
        print("", *table(pool, train, test), sep="\n")
    if wanted.train is None and wanted.splits:
        print("", *splits_table(pool, wanted.splits), sep="\n")


if __name__ == "__main__":
    main()
