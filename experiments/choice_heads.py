"""How well a correctness head tells right choices from wrong ones, within levels (spec 2.2).

    python -m experiments.choice_heads babyai recordings/babyai-steps.sqlite
    python -m experiments.choice_heads webshop recordings/webshop.sqlite

BabyAI's heads learn from training seeds and are measured on test seeds; and on the seeds of both,
cross-validated over missions, since the test seeds are few. Levels differ in how often
steps fail, so only pairs of steps of one level count. What the judge says of each step is kept
beside the recording; what is not there is asked for and added, some seconds a step. WebShop's judge
knows of purchases alone, too few to learn from: what single features tell of them is shown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from amp.assess.correctness import group_of
from amp.benchmarks import load_benchmark
from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import context_at, label_steps
from amp.evaluate import EpisodeDataset
from amp.learn.correctness import JudgedCandidate, TrainedCorrectness, judged, train_correctness
from amp.report.stats import Array, weighted_auroc
from amp.report.validity import Estimate, estimate
from amp.types import Episode, ProbeKind

LEVELS = ("GoToLocal", "OpenTwoDoors", "PickupLoc", "PutNextLocalS5N3", "UnlockLocal")
SEEDS = {"train": 14, "test": 7}
MAX_STEPS = 12
WEBSHOP_GOALS = 20
HEAD = "head"

Verdicts = Mapping[str, Sequence[Sequence[bool | None]]]
"""By task, for each step, what the judge says of each candidate: whether it is mistaken."""


@dataclass(frozen=True, slots=True)
class Row:
    """A judged choice, and the level of its mission."""

    level: str
    choice: JudgedCandidate


@dataclass(frozen=True, slots=True)
class Part:
    """Steps, and how risky each is by each score; more is riskier.

    Attributes:
        title: which steps.
        rows: the steps.
        risks: by the name of the score.
    """

    title: str
    rows: Sequence[Row]
    risks: Mapping[str, Sequence[float]]

    def only(self, title: str, chosen: Sequence[int]) -> Part:
        """Some of the steps."""
        rows = [self.rows[index] for index in chosen]
        risks = {name: [risk[index] for index in chosen] for name, risk in self.risks.items()}
        return Part(title, rows, risks)


def episodes_of(recording: Path, benchmark: Benchmark, split: str, limit: int) -> list[Episode]:
    """The recorded episodes of the first tasks of a split."""
    steps = MAX_STEPS if benchmark.name == "babyai" else None
    tasks = benchmark.tasks(split, limit)
    probes: frozenset[ProbeKind] = frozenset({"options"})
    return list(EpisodeDataset.from_recording(recording, benchmark, tasks, probes, steps).episodes)


def choices(level: str, episodes: Iterable[Episode], verdicts: Verdicts) -> list[Row]:
    """The candidates of which the judge can tell."""
    made = []
    for episode in episodes:
        for index, (step, told) in enumerate(
            zip(episode.steps, verdicts[episode.task.id], strict=True)
        ):
            context = context_at(episode, index)
            for candidate, mistaken in zip(step.candidates, told, strict=True):
                if mistaken is not None:
                    made.append(Row(level, judged(context, candidate, right=not mistaken)))
    return made


def judge(episode: Episode, benchmark: Benchmark) -> list[list[bool | None]]:
    """What the judge says of an episode, as `Verdicts` has it."""
    return [list(labels.mistaken) for labels in label_steps(episode, benchmark)]


def verdicts_of(
    path: Path, episodes: Sequence[Episode], benchmark: Benchmark
) -> dict[str, list[list[bool | None]]]:
    """The verdicts in a file of JSON lines, and those that it lacks, which are added to it."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    known = {one["task"]: one["mistaken"] for one in map(json.loads, lines)}
    for episode in episodes:
        if episode.task.id not in known:
            known[episode.task.id] = judge(episode, benchmark)
            with path.open("a", encoding="utf-8") as file:
                one = {"task": episode.task.id, "mistaken": known[episode.task.id]}
                file.write(json.dumps(one) + "\n")
    return known


def within(levels: Sequence[str], risk: Array, failed: Array, weights: Array) -> Array:
    """AUROC over the pairs of a failure and a success of one level, by row of weights."""
    named = np.array(levels)
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for level in sorted(set(levels)):
        mine = named == level
        here = weights[:, mine]
        count = (here * failed[mine]).sum(1) * (here * (1.0 - failed[mine])).sum(1)
        value = weighted_auroc(risk[mine], failed[mine], here)
        won += np.where(count > 0, np.nan_to_num(value) * count, 0.0)
        pairs += count
    with np.errstate(invalid="ignore"):
        return np.asarray(won / pairs)


def is_choice(row: Row) -> bool:
    """Whether there was more than one option."""
    return row.choice.features["options"] > 0.0


def measure(rows: Sequence[Row], risk: Sequence[float], than: Sequence[float] = ()) -> Estimate:
    """The AUROC of a risk within levels, with an interval over missions.

    Args:
        rows: the steps.
        risk: of each to be mistaken.
        than: another risk, for the difference from its AUROC.
    """
    levels = [row.level for row in rows]
    failed = np.array([not row.choice.right for row in rows], float)

    def statistic(weights: Array) -> Array:
        value = within(levels, np.array(risk, float), failed, weights)
        return value - within(levels, np.array(than, float), failed, weights) if than else value

    return estimate([row.choice.task for row in rows], statistic, "no pair within a level")[0]


_ANY_STEP = frozenset({"options", "admissible", "steps", "visits", "tried", "done", "repeats"})
_TRIED = frozenset({"futile", "undoes"})

_HEADS: dict[str, Callable[[str], bool]] = {
    HEAD: lambda name: True,
    "looks alone": lambda name: group_of(name) == "looks",
    "looks of any choice alone": lambda name: name in _ANY_STEP | _TRIED,
    "confidence alone": lambda name: group_of(name) == "tokens",
}
"""Heads, and whether they read a feature."""


def learned(rows: Sequence[Row], reads: Callable[[str], bool]) -> TrainedCorrectness:
    """A head that reads some features alone."""
    return train_correctness(
        [
            replace(row.choice, features={n: v for n, v in row.choice.features.items() if reads(n)})
            for row in rows
        ]
    )


def of_test_seeds(train: Sequence[Row], test: Sequence[Row]) -> dict[str, list[float]]:
    """The risk of each test step, by heads that learned from the training seeds."""
    told = {}
    for name, reads in _HEADS.items():
        head = learned(train, reads).correctness.heads["choice"]
        told[name] = [-head.p_right(row.choice.features) for row in test]
    return told | of_the_choice(test)


def cross_validated(rows: Sequence[Row]) -> dict[str, list[float]]:
    """The risk of each step, by heads that learned without its mission."""
    told = {name: (-learned(rows, reads).held_out).tolist() for name, reads in _HEADS.items()}
    return told | of_the_choice(rows)


def of_the_choice(rows: Sequence[Row]) -> dict[str, list[float]]:
    """What needs no head. Of a step with one option the entropy is 0 and the margin 1."""
    features = [row.choice.features for row in rows]
    return {
        "entropy of the choice": [one.get("option_entropy", 0.0) for one in features],
        "margin of the choice": [-one.get("lead", 1.0) for one in features],
    }


def shown(one: Estimate) -> str:
    """An estimate with its interval."""
    if one.value is None or one.interval is None:
        return "-"
    return f"{one.value:.2f} ({one.interval.low:.2f} to {one.interval.high:.2f})"


def overview(parts: Sequence[Part]) -> Iterable[str]:
    """A table in Markdown: every score, and how far the head is above it."""
    counts = [
        f"{part.title}: {len(part.rows)}, {sum(not row.choice.right for row in part.rows)} mistaken"
        for part in parts
    ]
    yield f"| within levels, AUROC (95 %) | {' | '.join(counts)} |"
    yield "|" + "---|" * (1 + len(parts))
    names = list(parts[0].risks)
    for name in names:
        found = [shown(measure(part.rows, part.risks[name])) for part in parts]
        yield f"| {' | '.join((name, *found))} |"
    for name in names[1:]:
        gains = [
            shown(measure(part.rows, part.risks[HEAD], than=part.risks[name])) for part in parts
        ]
        yield f"| {' | '.join((f'head above {name}', *gains))} |"


def by_level(part: Part) -> Iterable[str]:
    """A table in Markdown: every score on each level, without intervals."""
    yield f"| {part.title} | {' | '.join(LEVELS)} |"
    yield "|" + "---|" * (1 + len(LEVELS))
    mine = [
        part.only(level, [i for i, row in enumerate(part.rows) if row.level == level])
        for level in LEVELS
    ]
    mistaken = [f"{sum(not r.choice.right for r in one.rows)}/{len(one.rows)}" for one in mine]
    yield f"| mistaken steps | {' | '.join(mistaken)} |"
    for name in part.risks:
        found = (measure(one.rows, one.risks[name]).value for one in mine)
        cells = ("-" if value is None else f"{value:.2f}" for value in found)
        yield f"| {name} | {' | '.join(cells)} |"


def babyai(recording: Path, kept: Path) -> None:
    """Prints the tables of BabyAI."""
    rows: dict[str, list[Row]] = {}
    for split, limit in SEEDS.items():
        rows[split] = []
        for level in LEVELS:
            benchmark = load_benchmark("babyai", level=f"BabyAI-{level}-v0")
            episodes = episodes_of(recording, benchmark, split, limit)
            rows[split] += choices(level, episodes, verdicts_of(kept, episodes, benchmark))
    train, test = rows["train"], rows["test"]
    both = [*train, *test]
    parts = []
    for part in (
        Part("test seeds", test, of_test_seeds(train, test)),
        Part("all seeds", both, cross_validated(both)),
    ):
        chosen = [index for index, row in enumerate(part.rows) if is_choice(row)]
        parts += [part, part.only("with a choice", chosen)]
    print("\n".join(overview(parts)), end="\n\n")
    print("\n".join(by_level(parts[2])))


def webshop(recording: Path, kept: Path, data: Path | None) -> None:
    """Prints what single features tell of the purchases."""
    benchmark = load_benchmark("webshop", data=data)
    episodes = episodes_of(recording, benchmark, "dev", WEBSHOP_GOALS)
    rows = choices("small", episodes, verdicts_of(kept, episodes, benchmark))
    bought = [row for row in rows if row.choice.features.get("buys")]
    wrong = sum(not row.choice.right for row in bought)
    print(f"{len(bought)} purchases, {wrong} mistaken")
    for name in ("options_left", "words_missing", "over_limit", "option_entropy", "lead"):
        risk = [row.choice.features[name] * (-1 if name == "lead" else 1) for row in bought]
        print(f"| {name} | {shown(measure(bought, risk))} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", choices=("babyai", "webshop"))
    parser.add_argument("recording", type=Path)
    parser.add_argument("--verdicts", type=Path, help="instead of RECORDING-judged.jsonl")
    parser.add_argument("--data", type=Path, help="directory of the benchmarks' data")
    wanted = parser.parse_args()
    recording: Path = wanted.recording
    kept = wanted.verdicts or recording.with_name(f"{recording.stem}-judged.jsonl")
    if wanted.benchmark == "babyai":
        babyai(recording, kept)
    else:
        webshop(recording, kept, wanted.data)


if __name__ == "__main__":
    main()
