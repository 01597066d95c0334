"""Recorded draws as a table: what every sample of every arm says of a task, and costs.

In a benchmark of one plan step a task, whoever decides how much to spend decides how many samples
to draw of which kind. The table holds the outcome of every such decision, so that policies are
compared, and learned, without a model. `amp.simulate.build` makes it from a recording,
`amp.simulate.replay` steps through it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from amp.errors import InvalidInputError, did_you_mean
from amp.models.base import ModelCard
from amp.types import Allocation, Candidate, Probe, ProbeKind, Usage


@dataclass(frozen=True, slots=True)
class Arm:
    """An allocation of a single sample.

    Attributes:
        name: unique within a table.
        allocation: beam width 1; sampled, as greedy samples are all the same; verification 1 at
            most, as higher levels make calls of their own.

    Raises:
        InvalidInputError: if the allocation is another.
    """

    name: str
    allocation: Allocation

    def __post_init__(self) -> None:
        for what, value, wanted, fine in (
            ("beam_width", self.allocation.beam_width, "1", self.allocation.beam_width == 1),
            ("temperature", self.allocation.temperature, "above 0", self.allocation.temperature),
            ("verification", self.allocation.verification, "0 or 1", self._verifies_by_rules),
        ):
            if not fine:
                raise InvalidInputError(f"arm {self.name}: {what} is {value}, expected {wanted}")

    @property
    def _verifies_by_rules(self) -> bool:
        return self.allocation.verification <= 1


@dataclass(frozen=True, slots=True)
class RecordedSample:
    """One sample.

    Attributes:
        candidate: what was answered; its tool uses say what the tools took.
        right: what the judge says of its action; to name none is wrong.
        usage: what the model took for it beside its call and that call's prompt: completion tokens
            and seconds.
    """

    candidate: Candidate
    right: bool
    usage: Usage


@dataclass(frozen=True, slots=True)
class ArmSamples:
    """The samples of one arm on one task.

    Attributes:
        prompt_tokens: what every call reads.
        cached: how many of them a call finds in a cache that begins with the first, second, ...
            sample. It belongs to the place, not to the sample that has it.
        samples: in the order in which they are drawn.
    """

    prompt_tokens: int
    cached: tuple[int, ...]
    samples: tuple[RecordedSample, ...]

    def call(self, first: int, samples: int, *, shared_prompt: bool) -> list[Usage]:
        """What the model takes for the next samples, one usage a sample as a ledger is charged.

        Args:
            first: index of the first sample.
            samples: how many.
            shared_prompt: whether it reads the prompt once for all of them.
        """
        return [
            replace(
                self.samples[index].usage,
                model_calls=1,
                prompt_tokens=self.prompt_tokens,
                cached_prompt_tokens=self.cached[index],
            )
            if index == first or not shared_prompt
            else self.samples[index].usage
            for index in range(first, first + samples)
        ]


@dataclass(frozen=True, slots=True)
class TaskSamples:
    """All recorded samples of one task.

    Attributes:
        task: its id; its text is not kept.
        by_arm: by the name of the arm.
        tercile: the third of the benchmark's tasks that it belongs to, 0 the easiest; None if
            nobody says.
        probe: what the model showed before the first round; None if nobody looked.
        probe_usage: what that cost.
    """

    task: str
    by_arm: Mapping[str, ArmSamples]
    tercile: int | None = None
    probe: Probe | None = None
    probe_usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class SampleTable:
    """The table.

    Attributes:
        benchmark: whose tasks they are.
        prompts: version of the prompts.
        card: the base model.
        shared_prompt: whether the samples of one call share its prompt.
        arms: in the order in which they are listed everywhere.
        tasks: in the order of the benchmark.
        probes: what was looked at before the first round of each task.
        seed: the seed that the samples were drawn with, or that of `permuted`.

    Raises:
        InvalidInputError: if there are no tasks or arms, a task or an arm comes twice, or a task
            has not as many samples of an arm as the first task; the message names one.
    """

    benchmark: str
    prompts: str
    card: ModelCard
    shared_prompt: bool
    arms: tuple[Arm, ...]
    tasks: tuple[TaskSamples, ...]
    probes: frozenset[ProbeKind] = frozenset()
    seed: int = 0

    def __post_init__(self) -> None:
        for what, found in (
            ("arm", [arm.name for arm in self.arms]),
            ("allocation", [arm.allocation for arm in self.arms]),
            ("task", [row.task for row in self.tasks]),
        ):
            if not found:
                raise InvalidInputError(
                    f"a table of recorded samples needs at least 1 {what}, found none"
                )
            twice = [one for index, one in enumerate(found) if one in found[:index]]
            if twice:
                raise InvalidInputError(f"{what} {twice[0]} comes twice; leave one out")
        for row in self.tasks:
            self._check(row)

    def _check(self, row: TaskSamples) -> None:
        if odd := sorted(row.by_arm.keys() - {arm.name for arm in self.arms}):
            raise InvalidInputError(f"task {row.task} has samples of arm {odd[0]}, which is none")
        for arm in self.arms:
            cell = row.by_arm.get(arm.name)
            found = 0 if cell is None else len(cell.samples)
            wanted = (
                len(self.tasks[0].by_arm[arm.name].samples) if row is not self.tasks[0] else found
            )
            if found == 0 or found != wanted:
                raise InvalidInputError(
                    f"task {row.task} has {found} samples of arm {arm.name}, expected"
                    f" {wanted or 'at least 1'}; record them, or leave the task or the arm out"
                )

    @property
    def samples(self) -> dict[str, int]:
        """How many samples each task has, by arm."""
        return {name: len(cell.samples) for name, cell in self._ordered(self.tasks[0]).items()}

    def arm(self, name: str) -> Arm:
        """Returns an arm by its name.

        Raises:
            InvalidInputError: if there is none; names the nearest and all.
        """
        known = [arm.name for arm in self.arms]
        if name not in known:
            raise InvalidInputError(
                f"unknown arm {name!r}{did_you_mean(name, known)} (arms: {', '.join(known)})"
            )
        return self.arms[known.index(name)]

    def with_arms(self, *names: str) -> SampleTable:
        """The table of these arms alone, in this order.

        Raises:
            InvalidInputError: for an unknown arm, or none.
        """
        return replace(
            self,
            arms=tuple(self.arm(name) for name in names),
            tasks=tuple(
                replace(row, by_arm={name: row.by_arm[name] for name in names})
                for row in self.tasks
            ),
        )

    def with_tasks(self, wanted: Collection[str]) -> SampleTable:
        """The table of these tasks alone, in the order of the table.

        Raises:
            InvalidInputError: if one is missing, or none is wanted.
        """
        if missing := sorted(set(wanted) - {row.task for row in self.tasks}):
            raise InvalidInputError(f"the table has no task {missing[0]}")
        return replace(self, tasks=tuple(row for row in self.tasks if row.task in set(wanted)))

    def permuted(self, seed: int) -> SampleTable:
        """The table with the samples of each cell in another order: another run of the model.

        The samples are exchangeable, so each order is as likely as the recorded one. Runs of many
        orders are not independent, as they share their samples: an interval has to treat the tasks
        as the units.
        """
        return replace(
            self,
            tasks=tuple(
                replace(
                    row,
                    by_arm={
                        name: replace(
                            cell, samples=_shuffled(cell.samples, f"{seed} {row.task} {name}")
                        )
                        for name, cell in row.by_arm.items()
                    },
                )
                for row in self.tasks
            ),
            seed=seed,
        )

    def _ordered(self, row: TaskSamples) -> dict[str, ArmSamples]:
        return {arm.name: row.by_arm[arm.name] for arm in self.arms}


def merged(first: SampleTable, second: SampleTable) -> SampleTable:
    """The arms of two tables on the same tasks as one table; probes and terciles are the first's.

    Raises:
        InvalidInputError: if they are of different benchmarks, models, prompts, seeds or tasks, or
            share an arm; the message says what differs.
    """
    for what, one, two in (
        ("benchmarks", first.benchmark, second.benchmark),
        ("models", _who(first.card), _who(second.card)),
        ("prompts", first.prompts, second.prompts),
        ("seeds", first.seed, second.seed),
    ):
        if one != two:
            raise InvalidInputError(f"tables of different {what}: {one} and {two}; take one")
    rows = {row.task: row for row in second.tasks}
    if odd := sorted(rows.keys() ^ {row.task for row in first.tasks}):
        which = "second" if odd[0] in rows else "first"
        raise InvalidInputError(
            f"tables of different tasks: {len(odd)} are in one table alone, such as {odd[0]} in the"
            f" {which}; choose the same ones with `with_tasks`"
        )
    return replace(
        first,
        arms=first.arms + second.arms,
        tasks=tuple(
            replace(row, by_arm={**row.by_arm, **rows[row.task].by_arm}) for row in first.tasks
        ),
    )


def _shuffled(samples: tuple[RecordedSample, ...], seed: str) -> tuple[RecordedSample, ...]:
    return tuple(random.Random(seed).sample(samples, len(samples)))


def _who(card: ModelCard) -> str:
    return f"{card.name} ({card.sha256[:8]})" if card.sha256 else card.name
