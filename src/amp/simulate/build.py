"""Builds a `SampleTable` from a recording, by running the real planner on it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from amp.allocate.rules import UntilAgreement
from amp.assess.base import WeightedAssessor
from amp.benchmarks.base import Benchmark
from amp.benchmarks.labels import label_steps
from amp.errors import InvalidInputError, RecordingError
from amp.execute.executor import Executor
from amp.execute.tools import RecordedTool
from amp.models.recorded import RecordedModel
from amp.planner import Planner
from amp.simulate.samples import Arm, ArmSamples, RecordedSample, SampleTable, TaskSamples
from amp.types import Episode, Limits, ProbeKind, Round, StepContext, StepRecord, Task, Usage


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
