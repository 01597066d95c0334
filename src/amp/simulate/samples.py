"""Recorded samples as a table: the answer and the cost of every sample of every arm.

An arm is an allocation of one sample. To allocate compute to a plan step is to decide how many
samples to take of which arm, and the table has the result of every such decision. So policies can
be compared, and learned, without a model. A task has one plan step, or several: the next step is
determined by the action that the step before it ended with.

`amp.simulate.build` makes a table from a recording, `amp.simulate.replay` steps through it, and
`amp.simulate.table_env` turns it into arrays of nodes and edges for learning.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

from amp.errors import InvalidInputError, did_you_mean
from amp.models.base import ModelCard
from amp.types import Allocation, Candidate, Probe, ProbeKind, Usage


@dataclass(frozen=True, slots=True)
class Arm:
    """An allocation of a single sample.

    Attributes:
        name: unique within a table.
        allocation: has beam width 1; a temperature above 0, as greedy samples are all equal; and
            verification 0 or 1, as higher levels make further model calls.

    Raises:
        InvalidInputError: if the allocation does not fulfil this.
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
        candidate: the answer; its tool uses have the cost of the tools.
        right: whether the judge accepts its action; False without an action. If the plan ends with
            it, whether the task is solved.
        usage: the model's completion tokens and seconds for it, without the call and its prompt.
        next: name of the plan step that its action leads to; None if the plan ends with it.
    """

    candidate: Candidate
    right: bool
    usage: Usage
    next: str | None = None


@dataclass(frozen=True, slots=True)
class ArmSamples:
    """The samples of one arm on one task.

    Attributes:
        prompt_tokens: length of the prompt, which every call reads.
        cached: for a call that begins with the first, second, ... sample, how many of these tokens
            it finds in the cache. It depends on the position alone, whichever sample is there.
        samples: in the order in which they are drawn.
    """

    prompt_tokens: int
    cached: tuple[int, ...]
    samples: tuple[RecordedSample, ...]

    def call(self, first: int, samples: int, *, shared_prompt: bool) -> list[Usage]:
        """The usage of a call for the next samples, one value per sample, for `Ledger.charge`.

        Args:
            first: index of the first sample.
            samples: how many.
            shared_prompt: whether the model reads the prompt once for all of them.
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
class StepSamples:
    """All recorded samples of one plan step: of a state, and the plan that led there.

    Attributes:
        by_arm: by the name of the arm.
        probe: what was measured before the first round; None if nothing was.
        probe_usage: the cost of that.
        no_action: name of the plan step that follows if no sample has an action; None if the plan
            ends without success then.
    """

    by_arm: Mapping[str, ArmSamples]
    probe: Probe | None = None
    probe_usage: Usage = field(default_factory=Usage)
    no_action: str | None = None


@dataclass(frozen=True, slots=True)
class TaskSamples:
    """All recorded samples of one task: those of its first plan step, and of those that follow.

    Attributes:
        task: its id; its text is not kept.
        by_arm: samples of the first plan step, by the name of the arm.
        tercile: the third of the benchmark's tasks that it belongs to, 0 the easiest; None if
            unknown.
        probe: see `StepSamples`; of the first plan step, as are the next two.
        probe_usage: likewise.
        no_action: likewise.
        later: the plan steps that actions lead to, by name; empty if every action ends the plan.
    """

    task: str
    by_arm: Mapping[str, ArmSamples]
    tercile: int | None = None
    probe: Probe | None = None
    probe_usage: Usage = field(default_factory=Usage)
    no_action: str | None = None
    later: Mapping[str, StepSamples] = field(default_factory=dict)

    @property
    def first(self) -> StepSamples:
        """The first plan step."""
        return StepSamples(self.by_arm, self.probe, self.probe_usage, self.no_action)

    def steps(self) -> dict[str, StepSamples]:
        """All plan steps by name, each before those that it leads to; the first is the task's id.

        Raises:
            InvalidInputError: if an action leads to a step that is missing, a step cannot be
                reached, or steps lead back to themselves.
        """
        steps = {self.task: self.first, **self.later}
        leads_to = {name: next_steps(step) for name, step in steps.items()}
        for name, targets in leads_to.items():
            if unknown := sorted(targets - self.later.keys()):
                raise InvalidInputError(
                    f"step {name} of task {self.task} leads to step {unknown[0]}, which is not"
                    " there; record it, or let the plan end"
                )
        if unreachable := sorted(self.later.keys() - set().union(*leads_to.values())):
            raise InvalidInputError(f"no action of task {self.task} leads to step {unreachable[0]}")
        try:
            order = list(TopologicalSorter(leads_to).static_order())  # last steps first
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise InvalidInputError(
                f"steps of task {self.task} lead back to themselves ({circle}), expected progress"
            ) from None
        return {name: steps[name] for name in reversed(order)}

    def changed(self, change: Callable[[StepSamples, str], StepSamples]) -> TaskSamples:
        """The task with every plan step replaced by `change(step, name)`."""
        first = change(self.first, self.task)
        return replace(
            self,
            by_arm=first.by_arm,
            probe=first.probe,
            probe_usage=first.probe_usage,
            no_action=first.no_action,
            later={name: change(step, name) for name, step in self.later.items()},
        )


def _without_unreachable(row: TaskSamples) -> TaskSamples:
    """The task without plan steps that no action leads to any more."""
    reached, frontier = set[str](), next_steps(row.first)
    while frontier:
        reached |= frontier
        frontier = set().union(*(next_steps(row.later[name]) for name in frontier)) - reached
    return replace(row, later={name: s for name, s in row.later.items() if name in reached})


def _longest_plan(steps: Mapping[str, StepSamples]) -> int:
    """The number of steps of the longest plan; `steps` is in the order of `TaskSamples.steps`."""
    length: dict[str, int] = {}  # of the longest plan from each step on
    for name, step in reversed(list(steps.items())):
        length[name] = 1 + max((length[target] for target in next_steps(step)), default=0)
    return max(length.values())


def next_steps(step: StepSamples) -> set[str]:
    """Names of all plan steps that can follow a step."""
    named = {sample.next for arm in step.by_arm.values() for sample in arm.samples}
    return {name for name in (*named, step.no_action) if name is not None}


@dataclass(frozen=True, slots=True)
class SampleTable:
    """The table.

    Attributes:
        benchmark: name of the benchmark.
        prompts: version of the prompts.
        card: the base model.
        shared_prompt: whether the samples of one call share its prompt.
        arms: in the order of all lists of arms.
        tasks: in the order of the benchmark.
        probes: what was probed before the first round of each plan step.
        max_steps: most plan steps of a task.
        seed: the seed that the samples were drawn with, or that of `permuted`.

    Raises:
        InvalidInputError: if there are no tasks or arms, a task or an arm is there twice, a plan
            step has another number of samples of an arm than the first one, or the steps of a task
            are not connected as `TaskSamples.steps` requires; the message names one.
    """

    benchmark: str
    prompts: str
    card: ModelCard
    shared_prompt: bool
    arms: tuple[Arm, ...]
    tasks: tuple[TaskSamples, ...]
    probes: frozenset[ProbeKind] = frozenset()
    seed: int = 0
    max_steps: int = 1

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
        counts: dict[str, int] = {}
        for row in self.tasks:
            steps = row.steps()
            for name, step in steps.items():
                self._check(step, f"task {name}" if name == row.task else f"step {name}", counts)
            if (longest := _longest_plan(steps)) > self.max_steps:
                raise InvalidInputError(
                    f"task {row.task} has plans of {longest} steps, the table of at most"
                    f" {self.max_steps}; expected no more"
                )

    def _check(self, step: StepSamples, name: str, counts: dict[str, int]) -> None:
        """Raises an error if samples are missing; the first step sets the count of each arm."""
        if unknown := sorted(step.by_arm.keys() - {arm.name for arm in self.arms}):
            raise InvalidInputError(f"{name} has samples of arm {unknown[0]}, which is none")
        for arm in self.arms:
            found = len(step.by_arm[arm.name].samples) if arm.name in step.by_arm else 0
            expected = counts.setdefault(arm.name, found)
            if found == 0 or found != expected:
                raise InvalidInputError(
                    f"{name} has {found} samples of arm {arm.name}, expected"
                    f" {expected or 'at least 1'}; record them, or leave the task or the arm out"
                )

    @property
    def samples(self) -> dict[str, int]:
        """The number of samples of every plan step, by arm."""
        first = self.tasks[0].by_arm
        return {arm.name: len(first[arm.name].samples) for arm in self.arms}

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
        """The table of these arms alone, in this order, and of the plan steps that they lead to.

        Raises:
            InvalidInputError: for an unknown arm, or none.
        """
        return replace(
            self,
            arms=tuple(self.arm(name) for name in names),
            tasks=tuple(
                _without_unreachable(
                    row.changed(
                        lambda step, _: replace(
                            step, by_arm={name: step.by_arm[name] for name in names}
                        )
                    )
                )
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
        """The table with the samples of each arm in another order, like another run of the model.

        The samples are exchangeable, so each order is as likely as the recorded one. Several orders
        share their samples and so are not independent: an interval has to treat the tasks as the
        units.
        """

        def permute(step: StepSamples, name: str) -> StepSamples:
            by_arm = {
                arm: replace(found, samples=_shuffled(found.samples, f"{seed} {name} {arm}"))
                for arm, found in step.by_arm.items()
            }
            return replace(step, by_arm=by_arm)

        return replace(self, tasks=tuple(row.changed(permute) for row in self.tasks), seed=seed)


def merged(first: SampleTable, second: SampleTable) -> SampleTable:
    """Joins the arms of two tables on the same tasks; probes and terciles are the first's.

    Raises:
        InvalidInputError: if they are of different benchmarks, models, prompts, seeds or tasks, or
            share an arm; the message says what differs.
    """
    for what, one, two in (
        ("benchmarks", first.benchmark, second.benchmark),
        ("models", first.card.called, second.card.called),
        ("prompts", first.prompts, second.prompts),
        ("seeds", first.seed, second.seed),
    ):
        if one != two:
            raise InvalidInputError(f"tables of different {what}: {one} and {two}; take one")
    rows = {row.task: row for row in second.tasks}
    if unpaired := sorted(rows.keys() ^ {row.task for row in first.tasks}):
        which = "second" if unpaired[0] in rows else "first"
        raise InvalidInputError(
            f"tables of different tasks: {len(unpaired)} are in one table alone, such as"
            f" {unpaired[0]} in the {which}; choose the same ones with `with_tasks`"
        )
    return replace(
        first,
        arms=first.arms + second.arms,
        tasks=tuple(_with_arms_of(row, rows[row.task]) for row in first.tasks),
    )


def _with_arms_of(row: TaskSamples, other: TaskSamples) -> TaskSamples:
    if row.later.keys() != other.later.keys():
        raise InvalidInputError(f"tables of different plan steps of task {row.task}; take one")
    steps = {other.task: other.first, **other.later}
    return row.changed(
        lambda step, name: replace(step, by_arm={**step.by_arm, **steps[name].by_arm})
    )


def _shuffled(samples: tuple[RecordedSample, ...], seed: str) -> tuple[RecordedSample, ...]:
    return tuple(random.Random(seed).sample(samples, len(samples)))
