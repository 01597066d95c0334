"""What giving up a hopeless problem saves when samples are taken until two agree (spec 2.3).

Run as a module, on a recording with four programs and four chains of thought a problem:

    python -m experiments.giving_up_samples recordings/gsm8k-train-500.sqlite --data DIR

Giving up after a sample is a stop here: the vote so far is the answer. Heads are learned on one
half of the problems and used on the other, and the other way round. P(right) of each sample is told
by heads that were trained without its problem.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from amp.allocate.base import Allocator
from amp.allocate.giving_up import ROUND_FEATURES, GivingUp, threshold
from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.errors import AmpError
from amp.learn.correctness import judged_samples, train_correctness
from amp.learn.giving_up import fit_head, in_folds, trials_of
from amp.report.stats import bootstrap_interval, ratio
from amp.simulate.build import opening_contexts, table_from_recording, with_p_right
from amp.simulate.policies import TWO_AGREE, by_turns, until
from amp.simulate.replay import replay_allocator
from amp.simulate.samples import Arm, SampleTable
from amp.types import Episode

RECALLS = (0.95, 0.90)
ORDERS = {
    "programs and chains": by_turns("program", "chain", TWO_AGREE),
    "programs": ["program"] * 4,
}
HEADS: Mapping[str, Sequence[str]] = {
    "all": ROUND_FEATURES,
    "without P(right)": tuple(name for name in ROUND_FEATURES if "right" not in name),
    "P(leader right) alone": ("leader_right",),
}
"""What each head reads."""
CUT = "cut after k samples"

Outcome = list[tuple[Episode, Episode]]
"""Episodes by the rule and, on the same samples, by the rule that gives up."""


def load_samples(recording: Path, benchmark: Benchmark, limit: int) -> SampleTable:
    """The complete ones of the first problems of a recording, each sample with its P(right)."""
    tasks = benchmark.tasks("train", limit)
    arms = [Arm(name, benchmark.defaults.arms[name]) for name in ("program", "chain")]
    table = table_from_recording(recording, benchmark, tasks, arms, 4, incomplete="leave out")
    judged = judged_samples(table, opening_contexts(benchmark, tasks))
    return with_p_right(table, train_correctness(judged).held_out.tolist())


def outcomes(
    tables: Sequence[SampleTable], order: Sequence[str], features: Sequence[str] | None
) -> dict[float, Outcome]:
    """What every problem came to, without giving up and at each recall, until two agree.

    Args:
        tables: the samples, in one order each.
        order: the arms in turn.
        features: that the head reads; None to cut after k samples, the same number everywhere.
    """
    inner = until(tables[0], order, 2)
    plain = [replay_allocator(table, inner) for table in tables]
    half = in_folds([row.task for row in tables[0].tasks], 2)
    found: dict[float, Outcome] = {recall: [] for recall in RECALLS}
    for tested in (0, 1):
        learned = [e for run in plain for e in run if half[e.task.id] != tested]
        trials = trials_of(learned, "rounds")
        head = fit_head(trials, "rounds", features=features) if features else None
        lengths = [float(len(trial.moments)) for trial in trials if not trial.failed]
        wanted = [row.task for row in tables[0].tasks if half[row.task] == tested]
        for recall in RECALLS:
            if head is not None:
                allocator: Allocator = GivingUp(inner, head, recall)
            else:
                allocator = until(tables[0], order[: int(threshold(lengths, recall)) + 1], 2)
            for table, run in zip(tables, plain, strict=True):
                given = replay_allocator(table.with_tasks(wanted), allocator)
                before = (e for e in run if half[e.task.id] == tested)
                found[recall] += zip(before, given, strict=True)
    return found


def lines(rule: str, name: str, found: Mapping[float, Outcome]) -> Iterable[str]:
    """A row of the table for each recall; intervals resample problems."""
    for recall, pairs in found.items():
        tasks = [before.task.id for before, _ in pairs]
        won = [float(bool(before.success)) for before, _ in pairs]
        stayed = [
            w * float(_rounds(after) == _rounds(before))
            for w, (before, after) in zip(won, pairs, strict=True)
        ]
        gained = [float(bool(after.success)) - w for w, (_, after) in zip(won, pairs, strict=True)]
        written = [float(before.usage.completion_tokens) for before, _ in pairs]
        spared = [
            w - after.usage.completion_tokens for w, (_, after) in zip(written, pairs, strict=True)
        ]
        ones = [1.0] * len(pairs)
        cells = [
            *(rule, name, f"{recall:.2f}"),
            f"{sum(won) / len(won):.1%}",
            _share(tasks, stayed, won),
            _share(tasks, gained, ones, sign="+"),
            _share(tasks, spared, written),
        ]
        yield f"| {' | '.join(cells)} |"


def _rounds(episode: Episode) -> int:
    return len(episode.steps[0].rounds)


def _share(
    tasks: Sequence[str], part: Sequence[float], whole: Sequence[float], sign: str = ""
) -> str:
    sure = bootstrap_interval(tasks, (part, whole), ratio)
    return f"{sum(part) / sum(whole):{sign}.1%} ({sure.low:.1%} to {sure.high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--data", type=Path, help="directory of the problems; AMP_DATA if left out")
    parser.add_argument("--limit", type=int, default=500, help="training problems at most")
    parser.add_argument("--orders", type=int, default=5, help="of the samples of a problem")
    wanted = parser.parse_args()
    try:
        benchmark = load_benchmark("gsm8k", data=wanted.data)
        samples = load_samples(wanted.recording, benchmark, wanted.limit)
        tables = [samples.permuted(seed) for seed in range(wanted.orders)]
        print(f"{len(samples.tasks)} problems, {wanted.orders} orders of their samples")
        print("| until two agree | reads | recall asked | success | kept | gained | tokens saved |")
        print("|---|---|---|---|---|---|---|")
        for rule, order in ORDERS.items():
            for name, features in (*HEADS.items(), (CUT, None)):
                found = outcomes(tables, order, features)
                print("\n".join(lines(rule, name, found)), flush=True)
    except AmpError as error:
        sys.exit(f"amp: {error}")


if __name__ == "__main__":
    main()
