"""A run as an Inspect log (extra ``inspect``): what `inspect view` opens.

An episode is a sample: its messages are states and actions, its scores are whether the goal was
reached and how well, and its events are the plan. A step is a span; in it a round says what it was
allocated and why, and then what it called, and at the end stands what was done and what came back.
Of saved runs the times are not known: what was spent inside models and tools is laid end
to end.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from inspect_ai.event import (
    InfoEvent,
    ModelEvent,
    ScoreEvent,
    SpanBeginEvent,
    SpanEndEvent,
    ToolEvent,
)
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score
from inspect_ai.tool import ToolCallError

from amp.trace import EPISODES, read_episodes, read_manifest, settings_of
from amp.types import Complexity, Episode, Round, StepRecord, ToolUse, Usage

SUCCESS, SCORE = "success", "score"
"""Names of the scores of a sample."""

_RIGHT, _WRONG = "C", "I"


def write_inspect_log(run: Path, folder: Path) -> Path:
    """Writes a saved run as a log; writing it again replaces it.

    Args:
        run: its directory.
        folder: where the log goes.

    Returns:
        The file.

    Raises:
        InvalidInputError: if there is no run, or it can't be read.
    """
    manifest, episodes = read_manifest(run), list(read_episodes(run))
    ended = datetime.fromtimestamp((run / EPISODES).stat().st_mtime, UTC)
    log = inspect_log(manifest, episodes, ended)
    stamp = log.eval.created.replace(":", "-")
    file = folder / f"{stamp}_{log.eval.task}_{log.eval.eval_id}.eval"
    folder.mkdir(parents=True, exist_ok=True)
    write_eval_log(log, str(file))
    return file


def inspect_log(
    manifest: Mapping[str, Any], episodes: Sequence[Episode], ended: datetime
) -> EvalLog:
    """The log of a run.

    Args:
        manifest: what the run says of itself.
        episodes: its episodes.
        ended: when it ended.
    """
    config = manifest.get("config", {})
    benchmark = str(config.get("benchmark", "own"))
    model = str((manifest.get("model") or {}).get("name", "unknown"))
    total = sum((episode.usage for episode in episodes), Usage())
    began = ended - timedelta(seconds=total.seconds)
    now, samples = began, []
    for episode in episodes:
        samples.append(_Writer(model, now).sample(episode))
        now += timedelta(seconds=episode.usage.seconds)
    told = settings_of(manifest)
    ids = [episode.task.id for episode in episodes]
    seal = hashlib.sha256(repr((told, ids, total)).encode("utf-8", "replace")).hexdigest()[:22]
    allocator = str(manifest.get("allocator") or config.get("planner", {}).get("method") or "own")
    return EvalLog(
        status="success",
        eval=EvalSpec(
            eval_id=seal,
            run_id=seal,
            task_id=seal,
            created=_text(ended),
            task=benchmark,
            dataset=EvalDataset(name=benchmark, samples=len(ids), sample_ids=ids),
            model=model,
            config=EvalConfig(token_limit=config.get("planner", {}).get("budget_tokens")),
            packages={"adaptive-meta-planning": _version(manifest)},
            metadata=_plain(told),
        ),
        plan=EvalPlan(name="amp", steps=[EvalPlanStep(solver=allocator)]),
        results=_results(episodes),
        stats=EvalStats(
            started_at=_text(began),
            completed_at=_text(ended),
            model_usage=_by_model(model, episodes),
        ),
        samples=samples,
    )


@dataclass(slots=True)
class _Writer:
    """Writes one sample.

    Attributes:
        model: the base model.
        now: where the writing is, in time.
        worked: seconds since the sample began.
    """

    model: str
    now: datetime
    worked: float = 0.0

    def sample(self, episode: Episode) -> EvalSample:
        began, task = self.now, episode.task
        events: list[Any] = []
        for number, step in enumerate(episode.steps, start=1):
            events += self._step(task.id, number, step)
        scores = _scores(episode)
        for name, score in scores.items():
            events.append(ScoreEvent(score=score, scorer=name, **self._when()))
        return EvalSample(
            id=task.id,
            epoch=1,
            uuid=f"{task.id}/{task.seed}",
            input=task.goal,
            target=str(task.data.get("answer", "")),
            messages=list(_messages(episode)),
            output=ModelOutput(
                model=self.model,
                choices=[_choice(episode.plan[-1] if episode.plan else "")],
                usage=_usage(episode.usage),
            ),
            scores=scores,
            metadata={"ended": episode.ended, "seed": task.seed, "usage": asdict(episode.usage)},
            events=events,
            model_usage=_by_model(self.model, [episode]),
            started_at=_text(began),
            completed_at=_text(began + timedelta(seconds=episode.usage.seconds)),
            total_time=episode.usage.seconds,
            working_time=episode.usage.seconds,
        )

    def _step(self, task: str, number: int, step: StepRecord) -> Iterator[Any]:
        """The events of a step: a span, with its rounds and what came before them."""
        span = f"{task}/{number}"
        told = {
            "step": number,
            "action": step.action,
            "feedback": step.feedback,
            "failure": step.failure,
            "usage": asdict(step.usage),
            **_told_of(step.complexity),
        }
        if step.final_complexity is not None:
            told["complexity_after"] = step.final_complexity.score
        yield SpanBeginEvent(
            id=span, span_id=span, name=f"step {number}", type="step", metadata=told, **self._when()
        )
        before = step.usage - sum((each.usage for each in step.rounds), Usage())
        state = step.observation.state or "(nothing is to be seen)"
        if before.model_calls:
            yield self._call(span, state, [], before, None, {"probe": True}, GenerateConfig())
        for place, each in enumerate(step.rounds, start=1):
            yield from self._round(span, state, place, each)
        done = {name: told[name] for name in ("action", "feedback", "failure") if told[name]}
        yield InfoEvent(span_id=span, source="done", data=done, **self._when())
        yield SpanEndEvent(id=span, span_id=span, **self._when())

    def _round(self, span: str, state: str, number: int, made: Round) -> Iterator[Any]:
        allocation = made.allocation
        uses = list(dict.fromkeys(use for each in made.candidates for use in each.tool_uses))
        in_tools = min(sum(use.seconds for use in uses), made.usage.seconds)
        told = _plain(
            {
                "round": number,
                "allocation": asdict(allocation) | {"tools": sorted(allocation.tools)},
                "substitutes": list(made.substitutes),
                "actions": [candidate.action for candidate in made.candidates],
                "tool_calls": made.usage.tool_calls,
                **_told_of(made.complexity),
            }
        )
        config = GenerateConfig(
            temperature=allocation.temperature,
            top_p=allocation.top_p,
            num_choices=allocation.beam_width,
        )
        # Where it shows: beside the call, which has it as metadata, and also where none was needed.
        yield InfoEvent(span_id=span, source=f"round {number}", data=told, **self._when())
        texts = [_choice(each.text, cut_off=each.cut_off) for each in made.candidates]
        if made.usage.model_calls:
            spent = made.usage - Usage(seconds=in_tools)
            yield self._call(span, state, texts, spent, allocation.model, told, config)
        for place, use in enumerate(uses):
            yield self._tool(span, f"{span}/{number}/{place}", use)

    def _call(
        self,
        span: str,
        state: str,
        choices: list[ChatCompletionChoice],
        usage: Usage,
        model: str | None,
        told: dict[str, Any],
        config: GenerateConfig,
    ) -> ModelEvent:
        name, when = model or self.model, self._when()
        self._pass(usage.seconds)
        return ModelEvent(
            span_id=span,
            model=name,
            input=[ChatMessageUser(content=state)],
            tools=[],
            tool_choice="none",
            config=config,
            output=ModelOutput(
                model=name, choices=choices, usage=_usage(usage), time=usage.seconds
            ),
            metadata=_plain(told),
            completed=self.now,
            working_time=usage.seconds,
            **when,
        )

    def _tool(self, span: str, id: str, use: ToolUse) -> ToolEvent:
        when = self._when()
        self._pass(use.seconds)
        error = None if use.error is None else ToolCallError("unknown", use.error)
        return ToolEvent(
            span_id=span,
            id=id,
            function=use.tool,
            arguments={"input": use.input},
            result=use.output,
            error=error,
            completed=self.now,
            working_time=use.seconds,
            metadata={"walls": use.walls} if use.walls else None,
            **when,
        )

    def _when(self) -> dict[str, Any]:
        return {"timestamp": self.now, "working_start": self.worked}

    def _pass(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.worked += seconds


def _messages(episode: Episode) -> Iterator[ChatMessageUser | ChatMessageAssistant]:
    """What was seen and done, as a conversation."""
    yield ChatMessageUser(content=episode.task.goal)
    for step in episode.steps:
        if step.observation.state:
            yield ChatMessageUser(content=step.observation.state)
        yield ChatMessageAssistant(content=step.action or f"(no action: {step.failure})")
        if step.feedback:
            yield ChatMessageUser(content=step.feedback)


def _choice(text: str, *, cut_off: bool = False) -> ChatCompletionChoice:
    return ChatCompletionChoice(
        message=ChatMessageAssistant(content=text), stop_reason="max_tokens" if cut_off else "stop"
    )


def _told_of(complexity: Complexity) -> dict[str, Any]:
    return {"complexity": complexity.score, "features": _plain(complexity.features)}


def _scores(episode: Episode) -> dict[str, Score]:
    found = {SCORE: Score(value=episode.score)}
    if episode.success is None:
        return found
    value = _RIGHT if episode.success else _WRONG
    answer = episode.plan[-1] if episode.plan else None
    return {SUCCESS: Score(value=value, answer=answer, explanation=episode.ended)} | found


def _results(episodes: Sequence[Episode]) -> EvalResults:
    known = [float(episode.success) for episode in episodes if episode.success is not None]
    means = {SUCCESS: known, SCORE: [episode.score for episode in episodes]}
    names = {SUCCESS: "accuracy", SCORE: "mean"}
    return EvalResults(
        total_samples=len(episodes),
        completed_samples=len(episodes),
        scores=[
            EvalScore(
                name=name,
                scorer=name,
                scored_samples=len(values),
                metrics={names[name]: EvalMetric(name=names[name], value=fmean(values))},
            )
            for name, values in means.items()
            if values
        ],
    )


def _by_model(model: str, episodes: Sequence[Episode]) -> dict[str, ModelUsage]:
    """What each model took; of one model alone, all."""
    sums: dict[str, Usage] = {}
    for episode in episodes:
        for name, usage in (episode.by_model or {model: episode.usage}).items():
            sums[name] = sums.get(name, Usage()) + usage
    return {name: _usage(usage) for name, usage in sums.items()}


def _usage(usage: Usage) -> ModelUsage:
    """A usage as Inspect counts it, which leaves cached tokens out of the input."""
    return ModelUsage(
        input_tokens=usage.prompt_tokens - usage.cached_prompt_tokens,
        input_tokens_cache_read=usage.cached_prompt_tokens,
        output_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        total_tokens=usage.tokens,
        total_cost=usage.dollars,
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without numbers that JSON has none for."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _version(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("versions", {}).get("adaptive-meta-planning", "unknown"))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
