"""What it is worth to know how busy the machine is, under a limit of seconds (spec 4.3).

Run as a module, on recordings with four programs and four chains of thought a problem:

    python -m experiments.deadlines recordings/gsm8k-300.sqlite \
        --train recordings/gsm8k-train-500.sqlite --data DIR

How long calls take is the law of `amp.latency.Profile`, fitted to the calls of the first recording.
In a batch of b the machine makes samples for b - 1 other callers all the time, so that a sample
takes longer. A call that is not done at the limit is lost, and the votes so far decide.

The policies know what a call is worth from training problems: by dynamic programming over what was
asked, how far the votes agree and the seconds left, they take the arm and the number of samples, or
stop. One reckons with the seconds of the present batch, one always with those of an idle machine.
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amp.benchmarks import load_benchmark
from amp.errors import AmpError
from amp.latency import Measurement, Profile
from amp.mlp import Floats, Ints
from amp.models.base import ModelCard
from amp.profiling import fit_profile
from amp.report.stats import bootstrap_interval, ratio
from amp.simulate.samples import SampleTable
from experiments.budget_rows import ARMS, SAMPLES, Contexts, Rows, learn, load, rows_of

BATCHES = (1, 2, 3, 4)
LIMITS = (10.0, 20.0, 40.0)
"""Seconds a problem."""
ORDERS, TRAINING_ORDERS = 3, 8
"""Of the samples. With one order a plan learns which samples happened to come first."""
WATTS = 20.0
"""What the two cores are taken to draw while they work: no meter can be read here."""
TICK = 0.5
"""Seconds that plans count in."""
COUNTS = range(1, SAMPLES + 1)
WIDTH = SAMPLES + 1
NODES = WIDTH * WIDTH
PRIOR = 8.0
"""So many tasks count all votes at a node for those of one kind, of which there may be few."""
KNOWS, IDLE = "plans with the batch", "plans with an idle machine"
FITS, FITS_IDLE, AGREE = "fits", "fits idle", "agree"


def calls_of(recording: Path) -> list[Measurement]:
    """The calls of a recording, of as many samples as are made side by side."""
    ask = (
        "SELECT count(*), max(prompt_tokens), min(cached_prompt_tokens), sum(completion_tokens),"
        " max(completion_tokens), sum(seconds) FROM samples GROUP BY key"
    )
    with closing(sqlite3.connect(f"file:{recording}?mode=ro&immutable=1", uri=True)) as file:
        rows = file.execute(ask).fetchall()
    return [Measurement(*row) for row in rows if row[0] <= SAMPLES and row[5] > 0.0]


def usual(calls: Sequence[Measurement]) -> list[Measurement]:
    """The faster half of the calls of each number of samples, by seconds a token.

    While a recording was made the machine did other things, too, by which a call may take ten times
    as long.
    """
    kept: list[Measurement] = []
    for n in {call.n for call in calls}:
        alike = [call for call in calls if call.n == n]
        alike.sort(key=lambda call: call.seconds / (call.completion_tokens + 1))
        kept += alike[: math.ceil(len(alike) / 2)]
    return kept


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """Rows of problems, and how long their calls take in one batch.

    Attributes:
        rows: what comes of the calls.
        seconds: shape (rows, arms, first, count - 1), of a call for so many samples after so many:
            until the longest is done. Infinite where there are not so many.
    """

    rows: Rows
    seconds: Floats

    @classmethod
    def of(cls, rows: Rows, table: SampleTable, law: Profile, batch: int) -> Calls:
        """Works out every call."""
        problems = len(table.tasks)
        cached = np.array(
            [[row.by_arm[name].cached for name in ARMS] for row in table.tasks], float
        )
        cached = np.tile(cached, (len(rows.cost) // problems, 1, 1))
        lengths = rows.cost - rows.prompt[..., None]
        seconds = np.full((*lengths.shape, SAMPLES), np.inf)
        for row, arm, first, more in np.ndindex(seconds.shape):
            if first + more < SAMPLES:
                longest = float(lengths[row, arm, first : first + more + 1].max())
                seconds[row, arm, first, more] = law.seconds(
                    float(rows.prompt[row, arm]),
                    (more + 1) * longest,
                    more + 1,
                    float(cached[row, arm, first]),
                    beside=batch - 1,
                )
        return cls(rows, seconds)


def kind_of(rows: Rows) -> Ints:
    """What a policy sees of the votes at each node, shape (rows, nodes): how far ahead they are."""
    return np.asarray(np.minimum(rows.lead[..., 0] - rows.lead[..., 1], 2))


Policy = Callable[[int, int, float], tuple[int, int] | None]
"""From node, kind and seconds left to an arm and a number of samples, or None to stop."""


def plan(known: Calls, limit: float) -> Policy:
    """The best policy on training problems if calls take there what they take in `known`.

    Backwards over the nodes, by the seconds that are left: a call that takes longer than these
    leaves what was there before.
    """
    rows, kinds = known.rows, kind_of(known.rows)
    ticks = math.floor(limit / TICK) + 1
    value = np.zeros((NODES, 3, ticks))
    best = np.zeros((NODES, 3, ticks), np.intp)
    actions = [(arm, count) for arm in range(len(ARMS)) for count in COUNTS]
    clock = np.arange(ticks)
    for node in sorted(range(NODES), key=lambda one: -sum(divmod(one, WIDTH))):
        taken = divmod(node, WIDTH)
        gains = [np.repeat(rows.right[:, node, None].astype(float), ticks, 1)]
        chosen = [0]
        for number, (arm, count) in enumerate(actions, 1):
            if taken[arm] + count > SAMPLES:
                continue
            after = node + count * (WIDTH if arm == 0 else 1)
            takes = np.ceil(known.seconds[:, arm, taken[arm], count - 1] / TICK).astype(np.intp)
            left = clock - takes[:, None]
            then = value[after, kinds[:, after, None], np.maximum(left, 0)]
            gains.append(np.where(left >= 0, then, rows.right[:, node, None]))
            chosen.append(number)
        everyone = np.array([gain.mean(0) for gain in gains])
        for kind in range(3):
            alike = kinds[:, node] == kind
            sums = np.array([gain[alike].sum(0) for gain in gains])
            means = (sums + PRIOR * everyone) / (alike.sum() + PRIOR)
            means[0] += 1e-9  # of equals, stop
            best[node, kind] = np.array(chosen)[means.argmax(0)]
            value[node, kind] = means.max(0)

    def decide(node: int, kind: int, left: float) -> tuple[int, int] | None:
        number = int(best[node, kind, min(math.floor(left / TICK), ticks - 1)])
        return actions[number - 1] if number else None

    return decide


def at_once(arm: int, count: int) -> Policy:
    """So many samples in one call."""
    return lambda node, kind, left: None if node else (arm, count)


def until_two_agree(node: int, kind: int, left: float) -> tuple[int, int] | None:
    """One program after another until one answer is two votes ahead."""
    return (0, 1) if kind < 2 and node // WIDTH < SAMPLES else None


def narrowed(seconds: Sequence[float], limit: float) -> Policy:
    """As many programs in one call as fit by their expected seconds, by count; at least one.

    This is what `amp.allocate.base.BudgetedAllocator` makes of four programs.
    """
    return at_once(0, max((n for n in COUNTS if seconds[n - 1] <= limit), default=1))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a policy, one entry a row.

    Attributes:
        right: whether the problem was solved within its seconds.
        seconds: that it took.
    """

    right: Sequence[float]
    seconds: Sequence[float]


def follow(policy: Policy, calls: Calls, limit: float) -> Outcome:
    """Plays a policy on every row; a call that is not done at the limit is lost."""
    kinds, right, took = kind_of(calls.rows), [], []
    for row in range(len(calls.rows.cost)):
        taken, left = [0, 0], limit
        while True:
            node = taken[0] * WIDTH + taken[1]
            asked = policy(node, int(kinds[row, node]), left)
            if asked is None:
                break
            arm, count = asked
            seconds = float(calls.seconds[row, arm, taken[arm], count - 1])
            if seconds > left:
                left = 0.0
                break
            taken[arm] += count
            left -= seconds
        right.append(float(calls.rows.right[row, node]))
        took.append(limit - left)
    return Outcome(right, took)


def policies(known: Mapping[int, Calls], batch: int, limit: float) -> dict[str, Policy]:
    """What is compared in a batch; all is chosen on training problems."""

    def expected(calls: Calls) -> list[float]:
        return [float(calls.seconds[:, 0, 0, count - 1].mean()) for count in COUNTS]

    return {
        KNOWS: plan(known[batch], limit),
        IDLE: plan(known[1], limit),
        FITS: narrowed(expected(known[batch]), limit),
        FITS_IDLE: narrowed(expected(known[1]), limit),
        AGREE: until_two_agree,
    }


HEADS = (
    *("limit", "batch", KNOWS, IDLE, "gain", "one call, as fits", "as fits an idle machine"),
    *("gain", "program until 2 ahead", "gain", "seconds", "joules"),
)
"""A gain is that of the first policy over the one before it."""


def line_of(
    limit: float, batch: int, found: Mapping[str, Outcome], problems: int, watts: float
) -> str:
    """A row of a Markdown table."""
    first = found[KNOWS]
    tasks = [row % problems for row in range(len(first.right))]
    ones = [1.0] * len(tasks)

    def gain(than: str) -> str:
        by = [a - b for a, b in zip(first.right, found[than].right, strict=True)]
        if not any(by):
            return "0"
        ends = bootstrap_interval(tasks, (by, ones), ratio)
        return f"{sum(by) / len(by):+.3f} ({ends.low:+.3f} to {ends.high:+.3f})"

    success = {name: f"{sum(one.right) / len(one.right):.3f}" for name, one in found.items()}
    within = bootstrap_interval(tasks, (first.right, ones), ratio)
    seconds = sum(first.seconds) / len(first.seconds)
    cells = (
        *(f"{limit:g}", f"{batch}", f"{success[KNOWS]} ({within.low:.2f}-{within.high:.2f})"),
        *(success[IDLE], gain(IDLE), success[FITS], success[FITS_IDLE], gain(FITS_IDLE)),
        *(success[AGREE], gain(AGREE), f"{seconds:.1f}", f"{watts * seconds / batch:.0f}"),
    )
    return f"| {' | '.join(cells)} |"


def world(rows: Rows, table: SampleTable, law: Profile) -> dict[int, Calls]:
    """The calls in every batch."""
    return {batch: Calls.of(rows, table, law, batch) for batch in BATCHES}


def study(
    test: tuple[SampleTable, Contexts],
    training: tuple[SampleTable, Contexts],
    law: Profile,
    watts: float = WATTS,
) -> Iterator[str]:
    """The table, line by line."""
    router = learn(*training, orders=2)  # it only weighs the votes here
    known = world(rows_of(*training, router, TRAINING_ORDERS), training[0], law)
    tested = world(rows_of(*test, router, ORDERS), test[0], law)
    yield f"| {' | '.join(HEADS)} |"
    yield "|" + "---|" * len(HEADS)
    for limit in LIMITS:
        for batch in BATCHES:
            found = {
                name: follow(policy, tested[batch], limit)
                for name, policy in policies(known, batch, limit).items()
            }
            yield line_of(limit, batch, found, len(test[0].tasks), watts)


def main(arguments: Sequence[str]) -> None:
    """Prints the law and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--watts", type=float, default=WATTS)
    given = parser.parse_args(arguments)
    benchmark = load_benchmark("gsm8k", data=given.data)
    test, training = load(given.recording, given.train, benchmark)
    law = law_of(given.recording, test[0].card)
    print(told(law))
    for line in study(test, training, law, given.watts):
        print(line, flush=True)


def law_of(recording: Path, card: ModelCard) -> Profile:
    """The law of the calls of a recording."""
    return fit_profile(card, usual(calls_of(recording)))


def told(law: Profile) -> str:
    """The law in a line."""
    steps = ", ".join(f"{law.step(n):.3f}" for n in BATCHES)
    return (
        f"{len(law.measurements)} calls: {law.call_seconds:.2f} s a call,"
        f" {1000 * law.prompt_token_seconds:.0f} ms a prompt token, {steps} s a step with 1 to 4"
        f" samples side by side; error {100 * law.error:.0f} %"
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except AmpError as error:
        sys.exit(str(error))
