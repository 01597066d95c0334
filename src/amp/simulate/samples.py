"""Recorded samples as a table: what every sample of every arm says of a plan step, and costs.

Whoever decides how much to spend on a plan step decides how many samples to take of which arm. The
table holds what comes of every such decision, so that policies are compared, and learned, without a
model. A task has one plan step, or several that the samples' actions lead to: where two
allocations end in the same action, they lead to the same next step.

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
        right: what the judge says of its action; to name none is wrong. Where the plan ends with
            it, whether the task is solved.
        usage: what the model took for it beside its call and that call's prompt: completion tokens
            and seconds.
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
class StepSamples:
    """All recorded samples of one plan step: of a state, and the plan that led there.

    Attributes:
        by_arm: by the name of the arm.
        probe: what the model showed before the first round; None if it was not probed.
        probe_usage: what that cost.
        no_action: name of the plan step that follows where no sample names an action; None if the
            plan ends there, without success.
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
            InvalidInputError: if a step is led to that there is not, none leads to a step, or some
                lead back to themselves.
        """
        known = {self.task: self.first, **self.later}
        leads_to = {name: next_steps(step) for name, step in known.items()}
        for name, targets in leads_to.items():
            if unknown := sorted(targets - self.later.keys()):
                raise InvalidInputError(
                    f"step {name} of task {self.task} leads to step {unknown[0]}, which is not"
                    " there; record it, or let the plan end"
                )
        if lost := sorted(self.later.keys() - set().union(*leads_to.values())):
            raise InvalidInputError(f"no action of task {self.task} leads to step {lost[0]}")
        try:
            # The sorter has what is led to before what leads there.
            order = list(TopologicalSorter(leads_to).static_order())
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise InvalidInputError(
                f"steps of task {self.task} lead back to themselves ({circle}), expected progress"
            ) from None
        return {name: known[name] for name in reversed(order)}

    def changed(self, change: Callable[[StepSamples, str], StepSamples]) -> TaskSamples:
        """The task with every plan step changed, given with its name."""
        first = change(self.first, self.task)
        return replace(
            self,
            by_arm=first.by_arm,
            probe=first.probe,
            probe_usage=first.probe_usage,
            no_action=first.no_action,
            later={name: change(step, name) for name, step in self.later.items()},
        )


def _reached(row: TaskSamples) -> TaskSamples:
    """The task without plan steps that nothing leads to any more."""
    reached, found = set[str](), next_steps(row.first)
    while found:
        reached |= found
        found = set().union(*(next_steps(row.later[name]) for name in found)) - reached
    return replace(row, later={name: s for name, s in row.later.items() if name in reached})


def _longest(steps: Mapping[str, StepSamples]) -> int:
    """How many steps the longest plan has; each step comes before those that it leads to."""
    ahead: dict[str, int] = {}
    for name, step in reversed(list(steps.items())):
        ahead[name] = 1 + max((ahead[target] for target in next_steps(step)), default=0)
    return max(ahead.values())


def next_steps(step: StepSamples) -> set[str]:
    """Names of the plan steps that follow a step, whatever its samples and their vote."""
    named = {sample.next for arm in step.by_arm.values() for sample in arm.samples}
    return {name for name in (*named, step.no_action) if name is not None}


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
        probes: what was probed before the first round of each plan step.
        max_steps: plan steps of a task at most.
        seed: the seed that the samples were drawn with, or that of `permuted`.

    Raises:
        InvalidInputError: if there are no tasks or arms, a task or an arm comes twice, a plan step
            has not as many samples of an arm as the first one, or steps don't follow each other;
            the message names one.
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
            if (longest := _longest(steps)) > self.max_steps:
                raise InvalidInputError(
                    f"task {row.task} has plans of {longest} steps, the table of at most"
                    f" {self.max_steps}; expected no more"
                )

    def _check(self, step: StepSamples, name: str, counts: dict[str, int]) -> None:
        """Refuses a step that lacks samples; the first one sets the count of each arm."""
        if odd := sorted(step.by_arm.keys() - {arm.name for arm in self.arms}):
            raise InvalidInputError(f"{name} has samples of arm {odd[0]}, which is none")
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
        """How many samples each plan step has, by arm."""
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
                _reached(
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
        """The table with the samples of each arm in another order: another run of the model.

        The samples are exchangeable, so each order is as likely as the recorded one. Runs of many
        orders are not independent, as they share their samples: an interval has to treat the tasks
        as the units.
        """

        def permute(step: StepSamples, name: str) -> StepSamples:
            by_arm = {
                arm: replace(found, samples=_shuffled(found.samples, f"{seed} {name} {arm}"))
                for arm, found in step.by_arm.items()
            }
            return replace(step, by_arm=by_arm)

        return replace(self, tasks=tuple(row.changed(permute) for row in self.tasks), seed=seed)


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


def _who(card: ModelCard) -> str:
    return f"{card.name} ({card.sha256[:8]})" if card.sha256 else card.name
