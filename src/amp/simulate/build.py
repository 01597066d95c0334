"""Builds a `SampleTable` from a recording, by running the real planner on it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from amp.allocate.stopping import UntilAgreement
from amp.assess.base import Rater, WeightedAssessor
from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import label_steps
from amp.errors import InvalidInputError, RecordingError
from amp.execute.executor import Executor
from amp.execute.tools import RecordedTool
from amp.models.recorded import RecordedModel
from amp.planner import Planner
from amp.simulate.samples import Arm, ArmSamples, RecordedSample, SampleTable, TaskSamples
from amp.types import (
    Candidate,
    Episode,
    Limits,
    ProbeKind,
    Round,
    StepContext,
    StepRecord,
    Task,
    Usage,
)


def table_from_recording(
    path: Path,
    benchmark: Benchmark,
    tasks: Sequence[Task],
    arms: Sequence[Arm],
    samples: int,
    probes: frozenset[ProbeKind] = frozenset(),
    incomplete: Literal["refuse", "leave out"] = "refuse",
) -> SampleTable:
    """The samples of a recording, exactly those that a planner would see.

    Args:
        path: the recording.
        benchmark: whose tasks they are; one of one plan step a task.
        tasks: those to look for in it, all with one seed.
        arms: each has a prompt of its own.
        samples: how many of each.
        probes: what is looked at before the first round; has to be in the recording.
        incomplete: what becomes of tasks that have the samples of some arms and lack those of
            others. Tasks that have none are not in the recording and left out in any case.

    Raises:
        RecordingError: if it is no recording, was made with other prompts, or lacks samples; the
            message says which arm of which task, and how many tasks.
        InvalidInputError: if the benchmark has several steps, the tasks several seeds, two arms
            share a prompt, a sample took more than one call, or no right answer is known.
    """
    if benchmark.max_steps != 1:
        raise InvalidInputError(
            f"tables of samples are of tasks of one plan step, those of {benchmark.name} have up to"
            f" {benchmark.max_steps}; choose another benchmark or step"
        )
    if len(seeds := {task.seed for task in tasks}) != 1:
        raise InvalidInputError(f"tasks have {len(seeds)} different seeds, expected 1")
    _check_prompts(benchmark, tasks[0], arms)
    model = RecordedModel(None, path, mode="replay", prompts=(benchmark.prompts.version,))
    rows, lacking = asyncio.run(_rows(model, benchmark, tasks, arms, samples, probes))
    if lacking and incomplete == "refuse":
        task, arm = next(iter(lacking.items()))
        raise RecordingError(
            f"recording {path} has not {samples} samples of arm {arm} for {len(lacking)} of"
            f" {len(lacking) + len(rows)} tasks, such as {task}; record them, or leave these tasks"
            " or this arm out"
        )
    if not rows:
        wanted = [arm.name for arm in arms] + [f"the probe {probe}" for probe in sorted(probes)]
        raise RecordingError(
            f"recording {path} has {samples} samples of {', '.join(wanted)} for none of these tasks"
            f" of {benchmark.name}; record them, or ask for less"
        )
    return SampleTable(
        benchmark=benchmark.name,
        prompts=benchmark.prompts.version,
        card=model.card,
        shared_prompt=model.capabilities.parallel_samples,
        arms=tuple(arms),
        tasks=tuple(rows),
        probes=probes,
        seed=seeds.pop(),
    )


def rate_samples(
    table: SampleTable, rater: Rater, contexts: Mapping[str, StepContext]
) -> SampleTable:
    """The table with every sample rated, as the planner rates candidates before they vote.

    Args:
        table: the samples, of one plan step a task.
        rater: says how probably each is right.
        contexts: the first step of each task, by its id.
    """
    return _with_candidates(
        table, lambda row, one: rater.rate(contexts[row.task], [one.candidate])[0]
    )


def with_p_right(table: SampleTable, p_right: Iterable[float]) -> SampleTable:
    """The table with these probabilities of its samples, task by task and arm by arm.

    NaN stands for one that is not known. A sample without an action is right with probability 0,
    whatever is given.
    """
    given = iter(p_right)

    def rated(row: TaskSamples, sample: RecordedSample) -> Candidate:
        p, candidate = next(given), sample.candidate
        known = 0.0 if candidate.action is None else p
        return replace(candidate, p_right=None if math.isnan(known) else known)

    return _with_candidates(table, rated)


def _with_candidates(
    table: SampleTable, change: Callable[[TaskSamples, RecordedSample], Candidate]
) -> SampleTable:
    def changed(row: TaskSamples) -> TaskSamples:
        by_arm = {
            arm.name: replace(
                row.by_arm[arm.name],
                samples=tuple(
                    replace(sample, candidate=change(row, sample))
                    for sample in row.by_arm[arm.name].samples
                ),
            )
            for arm in table.arms
        }
        return replace(row, by_arm=by_arm)

    return replace(table, tasks=tuple(changed(row) for row in table.tasks))


def opening_contexts(benchmark: Benchmark, tasks: Sequence[Task]) -> dict[str, StepContext]:
    """The first step of each task as an assessor sees it before anything is asked, by task id."""
    return {task.id: StepContext(task, benchmark.environment(task).reset(task)) for task in tasks}


async def _rows(
    model: RecordedModel,
    benchmark: Benchmark,
    tasks: Sequence[Task],
    arms: Sequence[Arm],
    samples: int,
    probes: frozenset[ProbeKind],
) -> tuple[list[TaskSamples], dict[str, str]]:
    """The complete rows, and by task the first arm that an incomplete one lacks."""
    tools = {name: RecordedTool(tool, model.recording) for name, tool in benchmark.tools.items()}
    executor = Executor(benchmark.prompts, tools, benchmark.defaults.plausibility)
    rows: list[TaskSamples] = []
    lacking: dict[str, str] = {}
    try:
        for task in tasks:
            row = TaskSamples(task.id, {}, benchmark.difficulty(task).tercile)
            missing: list[str] = []
            for arm in arms:
                # Looked at once; a second planner would only find the same again.
                planner = _planner(
                    model, executor, arm, samples, frozenset() if row.by_arm else probes
                )
                try:
                    episode = await planner.run(task, benchmark.environment(task))
                except RecordingError:
                    missing.append(arm.name)
                    continue
                (step,) = episode.steps
                if not row.by_arm:
                    row = replace(row, probe=step.probe, probe_usage=_probe_of(step))
                row = replace(
                    row, by_arm={**row.by_arm, arm.name: _arm_samples(episode, arm, benchmark)}
                )
            if not missing:
                rows.append(row)
            elif row.by_arm:
                lacking[task.id] = missing[0]
    finally:
        await model.close()
    return rows, lacking


def _planner(
    model: RecordedModel, executor: Executor, arm: Arm, samples: int, probes: frozenset[ProbeKind]
) -> Planner:
    """One that draws the samples of an arm one a round, so that each round's usage is its own."""
    return Planner(
        model,
        executor,
        WeightedAssessor(probes=probes),
        UntilAgreement((arm.allocation,) * samples, agree=samples + 1),
        Limits(steps=1),
        max_rounds=samples,
    )


def _arm_samples(episode: Episode, arm: Arm, benchmark: Benchmark) -> ArmSamples:
    task, rounds = episode.task.id, episode.steps[0].rounds
    for executed in rounds:
        uses = len(executed.candidates[0].tool_uses)
        if executed.usage.model_calls != 1 or executed.usage.tool_calls != uses:
            raise InvalidInputError(
                f"a sample of arm {arm.name} on task {task} took {executed.usage.model_calls} model"
                f" calls and {executed.usage.tool_calls} tool calls, expected 1 and {uses}: tools"
                " that advise or resume an answer are not for a table of recorded samples"
            )
    (judged,) = label_steps(episode, benchmark)
    prompts = {executed.usage.prompt_tokens for executed in rounds}
    if len(prompts) != 1:
        raise InvalidInputError(
            f"the prompt of arm {arm.name} on task {task} has {prompts} tokens, expected one length"
        )
    return ArmSamples(
        prompts.pop(),
        tuple(executed.usage.cached_prompt_tokens for executed in rounds),
        tuple(
            _recorded_sample(task, executed, wrong)
            for executed, wrong in zip(rounds, judged.mistaken, strict=True)
        ),
    )


def _recorded_sample(task: str, executed: Round, wrong: bool | None) -> RecordedSample:
    if wrong is None:
        raise InvalidInputError(f"task {task} has no known answer to judge by; leave it out")
    (candidate,) = executed.candidates
    return RecordedSample(
        candidate,
        not wrong,
        Usage(
            completion_tokens=executed.usage.completion_tokens,
            reasoning_tokens=executed.usage.reasoning_tokens,
            seconds=executed.usage.seconds - sum(use.seconds for use in candidate.tool_uses),
        ),
    )


def _probe_of(step: StepRecord) -> Usage:
    return step.usage - sum((executed.usage for executed in step.rounds), Usage())


def _check_prompts(benchmark: Benchmark, task: Task, arms: Sequence[Arm]) -> None:
    """Samples are numbered by their prompt, so two arms on one prompt would share theirs."""
    context = StepContext(task, benchmark.environment(task).reset(task))
    asked = [benchmark.prompts.solve(context, arm.allocation) for arm in arms]
    for index, prompt in enumerate(asked):
        if prompt in asked[:index]:
            raise InvalidInputError(
                f"arms {arms[asked.index(prompt)].name} and {arms[index].name} ask the same prompt;"
                " leave one out"
            )
