"""Candidates that a judge has looked at, from runs and recordings, and how well heads rate them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Self, get_args

from amp.assess.base import Training
from amp.assess.correctness import Group, Kind, group_of
from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import StepLabels, context_at
from amp.errors import InvalidInputError, RecordingError
from amp.evaluate.record import arms_of, held_out_tasks
from amp.learn.correctness import CorrectnessSettings, JudgedCandidate, judged, train_correctness
from amp.models.base import ModelCard, Prompt
from amp.report.validity import RESAMPLES, Row
from amp.report.validity_report import CONSTANT, Stage, measure_stage
from amp.report.validity_report import Kind as ScoreKind
from amp.simulate.build import opening_contexts, table_from_recording
from amp.simulate.samples import Arm, RecordedSample
from amp.types import Allocation, Candidate, Episode, StepContext, Task
from amp.votes import posterior

SAMPLES = 4
"""Of each arm in a recording, unless another number is asked for."""


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """All candidates of one plan step, each with a judge's verdict.

    Attributes:
        context: the step as it was when the first of them was asked for.
        candidates: in the order in which they came.
        right: of each; None where the judge cannot tell.
    """

    context: StepContext
    candidates: tuple[Candidate, ...]
    right: tuple[bool | None, ...]


def judged_steps(episode: Episode, labels: Iterable[StepLabels]) -> list[JudgedStep]:
    """The steps of an episode that a judge has labelled (`amp.benchmarks.labels.label_steps`)."""
    return [
        JudgedStep(
            context_at(episode, one.step),
            episode.steps[one.step].candidates,
            tuple(None if mistaken is None else not mistaken for mistaken in one.mistaken),
        )
        for one in labels
    ]


def has_arms(benchmark: Benchmark) -> bool:
    """Whether recordings of a benchmark hold samples of several ways to ask, one plan step each."""
    return benchmark.max_steps == 1 and bool(benchmark.defaults.arms)


def _different(
    benchmark: Benchmark, arms: Mapping[str, Allocation], context: StepContext
) -> list[Arm]:
    """The arms without those that ask what one before them asks, since they share their samples."""
    asked: dict[Prompt, Arm] = {}
    for name, allocation in arms.items():
        asked.setdefault(benchmark.prompts.solve(context, allocation), Arm(name, allocation))
    return list(asked.values())


@dataclass(frozen=True, slots=True)
class CandidateDataset:
    """Judged candidates of one benchmark and one model, to train heads on or to examine them.

    Attributes:
        steps: where they were candidates.
        environment: name of the benchmark.
        card: the base model.
    """

    steps: tuple[JudgedStep, ...]
    environment: str
    card: ModelCard

    @classmethod
    def from_recording(
        cls,
        path: Path,
        benchmark: Benchmark,
        tasks: Sequence[Task],
        samples: int = SAMPLES,
        arms: Sequence[str] = (),
    ) -> Self:
        """The samples of the arms of a recording, of each task as many as there are.

        Args:
            path: the recording.
            benchmark: whose tasks they are; one with arms (`has_arms`).
            tasks: those to look for in it.
            samples: how many of each arm; a task that has fewer of one counts without that arm.
            arms: names of those that count; without, all that were recorded.

        Raises:
            InvalidInputError: if there is no arm of a name.
            RecordingError: if it is no recording, or has so many samples of an arm that was named
                of no task, or of no arm at all.
        """
        contexts = opening_contexts(benchmark, tasks)
        drawn: dict[str, list[RecordedSample]] = {task.id: [] for task in tasks}
        table = None
        missing: RecordingError | None = None
        for arm in _different(benchmark, arms_of(benchmark, arms), contexts[tasks[0].id]):
            try:
                table = table_from_recording(
                    path, benchmark, tasks, [arm], samples, incomplete="leave out"
                )
            except RecordingError as error:
                if arms:
                    raise
                missing = error
                continue
            for row in table.tasks:
                drawn[row.task] += row.by_arm[arm.name].samples
        if table is None:
            assert missing is not None
            raise missing
        steps = tuple(
            JudgedStep(contexts[id], tuple(s.candidate for s in of), tuple(s.right for s in of))
            for id, of in drawn.items()
            if of
        )
        return cls(steps, benchmark.name, table.card)

    @classmethod
    def merge(cls, datasets: Sequence[CandidateDataset]) -> Self:
        """Several as one, in their order.

        Raises:
            InvalidInputError: if they are of different benchmarks or models, or share a task.
        """
        first = datasets[0]
        seen: set[str] = set()
        for other in datasets:
            if other.environment != first.environment:
                raise InvalidInputError(
                    f"candidates of {first.environment} and of {other.environment}; take one "
                    "benchmark"
                )
            if (other.card.name, other.card.sha256) != (first.card.name, first.card.sha256):
                raise InvalidInputError(
                    f"candidates of model {first.card.name} and of {other.card.name}; take one "
                    "model"
                )
            if twice := seen.intersection(other.tasks):
                raise InvalidInputError(f"task {min(twice)} comes twice; leave one source out")
            seen.update(other.tasks)
        return cls(tuple(s for d in datasets for s in d.steps), first.environment, first.card)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Ids of the tasks, sorted."""
        return tuple(sorted({step.context.task.id for step in self.steps}))

    @property
    def training(self) -> Training:
        """What goes beside the heads into their file."""
        return Training(self.card.name, self.environment, self.card.sha256, self.tasks)

    def judged(self) -> list[JudgedCandidate]:
        """The candidates that the judge can tell right or wrong, with their features."""
        return [
            judged(step.context, candidate, right=right)
            for step in self.steps
            for candidate, right in zip(step.candidates, step.right, strict=True)
            if right is not None
        ]

    def train_test_split(self) -> tuple[Self, Self]:
        """Two thirds of the tasks to learn from, and a third that is held out.

        Raises:
            InvalidInputError: if there are fewer than three tasks.
        """
        test = held_out_tasks(self.tasks)
        inside = tuple(s for s in self.steps if s.context.task.id not in test)
        outside = tuple(s for s in self.steps if s.context.task.id in test)
        return replace(self, steps=inside), replace(self, steps=outside)


WITH_AGREEMENT, AGREEMENT = "logistic with agreement", "agreement alone"
_ALONE: dict[str, Group] = {"tokens alone": "looks", "looks alone": "tokens"}
"""The heads of an ablation, and the group of features that each does without."""


def candidate_stages(
    train: Sequence[JudgedStep],
    held_out: Sequence[JudgedStep],
    settings: CorrectnessSettings,
    resamples: int = RESAMPLES,
) -> tuple[Stage, ...]:
    """How well heads tell wrong candidates, for each way to ask that both sides have.

    A row is a candidate that names an action; one without is rated 0 by every head, so it would
    only flatter them. Scores are risks, 1 less P(right). Beside both kinds of heads stand those of
    one group of features, and what agreement tells: the share of the candidate's answer in the
    posterior over all candidates of its step (`amp.votes.posterior`), with the same P(right) for
    all of one way to ask, or with what the logistic head says.

    Args:
        train: to learn from; what heads say of these candidates they learned without their tasks.
        held_out: of other tasks; every figure is of these.
        settings: of the training; the kind is both, and nothing is excluded but by the ablation.
        resamples: of the bootstraps.

    Raises:
        InvalidInputError: if there are too few tasks or candidates to train heads.
    """
    inside, outside = sides = _flat(train), _flat(held_out)
    wanted = {kind: replace(settings, kind=kind) for kind in get_args(Kind)}
    known = {group_of(name) for one in inside for name in one.judged.features}
    for name, without in _ALONE.items():
        if known - {without}:
            wanted[name] = replace(settings, exclude=frozenset({without}))
    names: dict[str, ScoreKind] = {}
    for name, chosen in wanted.items():
        names[name] = "baseline" if name in _ALONE else "scorer"
        _rate(name, inside, outside, chosen)
    _count_agreement(inside, outside)
    names[CONSTANT] = "baseline"
    if any(len(step.candidates) > 1 for step in held_out):  # with none beside it, none agrees
        names |= {WITH_AGREEMENT: "scorer", AGREEMENT: "baseline"}
    stages = []
    for way in sorted({one.judged.way for one in inside if LOGISTIC in one.p_right}):
        learned, rows = ([one.row() for one in side if one.counts(way)] for side in sides)
        if learned and rows:
            made = measure_stage(
                f"candidates: {way}", learned, rows, names, (), resamples, settings.seed
            )
            stages.append(made)
    return tuple(stages)


LOGISTIC: Kind = "logistic"


@dataclass(frozen=True, slots=True)
class _Rated:
    """A candidate, and what each score says of it.

    Attributes:
        step: number of its step on its side.
        candidate: without what a rater said of it when it was recorded.
        right: the verdict, if there is one.
        judged: its features; where there is no verdict, as if it was wrong.
        p_right: by name of the score.
    """

    step: int
    candidate: Candidate
    right: bool | None
    judged: JudgedCandidate
    p_right: dict[str, float]

    def counts(self, way: str) -> bool:
        """Whether it is a row of this way to ask."""
        known = self.right is not None and self.candidate.action is not None
        return known and self.judged.way == way

    def row(self) -> Row:
        risks = {name: 1.0 - p for name, p in self.p_right.items()}
        return Row(self.judged.task, not self.right, risks)


def _flat(steps: Sequence[JudgedStep]) -> list[_Rated]:
    return [
        _Rated(number, replace(c, p_right=None), right, judged(s.context, c, right=bool(right)), {})
        for number, s in enumerate(steps)
        for c, right in zip(s.candidates, s.right, strict=True)
    ]


def _rate(
    name: str, inside: list[_Rated], outside: list[_Rated], settings: CorrectnessSettings
) -> None:
    """Trains heads on one side, and notes on both what they say of tasks that they did not see."""
    known = [one for one in inside if one.right is not None]
    trained = train_correctness([one.judged for one in known], settings)
    for one, p in zip(known, trained.held_out.tolist(), strict=True):
        if not math.isnan(p):
            one.p_right[name] = p
    for one in outside:
        head = trained.correctness.heads.get(one.judged.way)
        if head is not None:
            one.p_right[name] = head.p_right(one.judged.features)


def _count_agreement(inside: list[_Rated], outside: list[_Rated]) -> None:
    """Notes what the posterior says, by one P(right) for each way, and by the logistic head."""
    verdicts: dict[str, list[bool]] = {}
    for one in inside:
        if one.right is not None:
            verdicts.setdefault(one.judged.way, []).append(one.right)
    usual = {way: fmean(rights) for way, rights in verdicts.items()}
    for side in (inside, outside):
        for _, group in groupby(side, key=lambda one: one.step):
            together = list(group)
            told = [
                (CONSTANT, AGREEMENT, [usual.get(one.judged.way) for one in together]),
                (LOGISTIC, WITH_AGREEMENT, [one.p_right.get(LOGISTIC) for one in together]),
            ]
            for alone, name, ps in told:
                rated = [
                    replace(one.candidate, p_right=p) for one, p in zip(together, ps, strict=True)
                ]
                shares = posterior(rated).shares
                for one, p in zip(together, ps, strict=True):
                    if p is not None:
                        one.p_right[alone] = p
                        one.p_right[name] = shares.get(one.candidate.action or "", 0.0)
