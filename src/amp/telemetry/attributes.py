"""What spans say: names and values, as plain dictionaries.

Names are those of the semantic conventions for generative AI, v0.1.0, where there is one; all else
is under ``amp.``. Beside them stands what a backend reads by that name alone:

| beside it | is | for |
|---|---|---|
| gen_ai.system | gen_ai.provider.name | backends of before 2025 |
| gen_ai.usage.cache_creation.input_tokens | gen_ai.usage.cache_write.input_tokens | Phoenix |
| llm.token_count.completion_details.reasoning | gen_ai.usage.reasoning.output_tokens | Phoenix |
| openinference.span.kind | of plan steps and rounds, which they do not know | Phoenix, MLflow |

Tokens stand under ``gen_ai.usage`` on calls of models alone, since backends add them up; what holds
calls says its sum under ``amp.usage``. Texts of tasks, models and tools, and errors in words, are
content, which is said only where it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence

from amp.execute.observing import Execution, ModelCall, ToolRun
from amp.models.base import Message, ModelCard, Request
from amp.models.chat import effort
from amp.types import (
    FAULTS,
    Allocation,
    Complexity,
    Episode,
    Limits,
    Probe,
    Round,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

Value = str | bool | int | float | Sequence[str]
Attributes = dict[str, Value]
Bid = Callable[[StepContext, Complexity], float]
"""As `amp.allocate.base.Allocator.bid`."""

AGENT = "amp"
"""``gen_ai.agent.name``."""

_CHAIN = {"openinference.span.kind": "CHAIN"}
_PLAIN_ID = re.compile(r"[\w./:#@+-]{1,64}")
_LIMITED = ("steps", "tokens", "dollars", "seconds")
_COUNTS = (
    *("model_calls", "prompt_tokens", "cached_prompt_tokens", "completion_tokens"),
    *("reasoning_tokens", "estimated_calls", "tool_calls"),
)
_AMOUNTS = ("dollars", "seconds")


def of_task(task: Task, *, content: bool) -> Attributes:
    """Of the span of an episode, as soon as it begins."""
    said: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": AGENT,
        "amp.task.id": _id_of(task),
        "amp.task.seed": task.seed,
    }
    if content:
        said["gen_ai.input.messages"] = _messages([Message("user", task.goal)])
    return said


def of_episode(episode: Episode, *, content: bool) -> Attributes:
    """Of the same span, at its end."""
    said: Attributes = {
        "amp.ended": episode.ended,
        "amp.score": episode.score,
        "amp.steps": len(episode.steps),
        **of_usage(episode.usage),
    }
    if episode.success is not None:
        said["amp.success"] = episode.success
    if episode.ended in FAULTS:
        said["error.type"] = episode.ended.replace(" ", "_")
    if content:
        said["gen_ai.output.messages"] = _answers(["\n".join(episode.plan)], [])
    return said


def of_step(
    number: int, step: StepRecord, spent: Usage, limits: Limits | None, *, content: bool
) -> Attributes:
    """Of the span of a plan step.

    Args:
        number: of the step, from 1.
        step: the step.
        spent: what the steps before it took.
        limits: of the episode, where they are known.
        content: whether texts are said.
    """
    said: Attributes = {
        "gen_ai.operation.name": "plan",
        "gen_ai.agent.name": AGENT,
        **_CHAIN,
        "amp.step": number,
        "amp.rounds": len(step.rounds),
        "amp.acted": step.action is not None,
        **of_complexity(step.complexity),
        **of_usage(step.usage),
        **({} if limits is None else _left(limits, spent, number - 1)),
        **({} if step.probe is None else _of_probe(step.probe)),
    }
    if step.rounds:
        said |= of_allocation(step.rounds[-1].allocation)
        said["amp.candidates"] = sum(len(each.candidates) for each in step.rounds)
    if step.final_complexity is not None:
        said["amp.complexity.after"] = step.final_complexity.score
    if step.stop is not None:
        said["amp.stop.log_prob"] = step.stop.log_prob
        said["amp.gave_up"] = bool(step.stop.give_up)
    if step.action is None:
        said["error.type"] = "no_action"
    if content:
        told = {
            "amp.state": step.observation.state,
            "amp.action": step.action,
            "amp.feedback": step.feedback,
            "amp.failure": step.failure,
        }
        said |= {name: text for name, text in told.items() if text}
    return said


def of_execution(
    number: int, execution: Execution, made: Round | None, bid: Bid | None = None
) -> Attributes:
    """Of the span of a round.

    Args:
        number: of the round in its step, from 1.
        execution: of its allocation.
        made: its record; None if it has none, since it failed.
        bid: what a round is worth per unit of cost; None where nobody tells.
    """
    said: Attributes = {**_CHAIN, "amp.round": number, **of_allocation(execution.allocation)}
    if execution.context is not None:
        said |= _left(execution.context.remaining, Usage(), 0)
        if bid is not None and made is not None:
            worth = bid(execution.context, made.complexity)
            said |= _finite({"amp.expected.gain_per_cost": worth})
    if execution.error:
        said["error.type"] = execution.error
    if made is not None:
        said |= of_complexity(made.complexity) | of_usage(made.usage)
        said["amp.allocation.log_prob"] = made.log_prob
        said["amp.candidates"] = len(made.candidates)
        said["amp.candidates.valid"] = sum(each.valid for each in made.candidates)
        said["amp.substitutes"] = len(made.substitutes)
        rated = [each.p_right for each in made.candidates if each.p_right is not None]
        if rated:
            said["amp.p_right"] = max(rated)
    return said


def of_call(call: ModelCall, *, content: bool) -> Attributes:
    """Of the span of a call of a model."""
    provider = provider_of(call.card)
    said: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.system": provider,
        "gen_ai.request.model": call.card.name,
        **of_chat(call.usage),
    }
    if call.prompt is not None:
        said["gen_ai.request.max_tokens"] = call.prompt.max_tokens
        if call.prompt.stop:
            said["gen_ai.request.stop_sequences"] = call.prompt.stop
        if call.prompt.version:
            name, _, version = call.prompt.version.partition("/")
            said |= {"gen_ai.prompt.name": name, "gen_ai.prompt.version": version}
    if call.request is not None:
        said |= _of_request(call.request, is_local=is_local(call.card))
    elif call.prompt is not None:
        said["amp.probe"] = True
    if call.finish_reasons:
        said["gen_ai.response.finish_reasons"] = call.finish_reasons
    if call.error:
        said["error.type"] = call.error
    if content:
        if call.prompt is not None:
            told = [each for each in call.prompt.messages if each.role != "system"]
            said["gen_ai.input.messages"] = _messages(told)
            system = [each.content for each in call.prompt.messages if each.role == "system"]
            said["gen_ai.system_instructions"] = json.dumps([_part(text) for text in system])
        if call.texts:
            said["gen_ai.output.messages"] = _answers(call.texts, call.finish_reasons)
    return said


def of_tool(call: ToolRun, *, content: bool) -> Attributes:
    """Of the span of a run of a tool."""
    said: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.use.tool,
        "gen_ai.tool.type": "function",
        "amp.tool.seconds": call.use.seconds,
    }
    if call.use.walls:
        said["amp.tool.walls"] = call.use.walls
    if call.use.error is not None:
        said["error.type"] = "tool_error"
    if content:
        said["gen_ai.tool.call.arguments"] = json.dumps({"input": call.use.input})
        said["gen_ai.tool.call.result"] = call.use.output or call.use.error or ""
    return said


def of_chat(usage: Usage, written: int = 0) -> Attributes:
    """The usage of one call of a model.

    Args:
        usage: what it was charged with.
        written: tokens of its prompt that the provider wrote into a cache.
    """
    said: Attributes = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_prompt_tokens,
        "amp.dollars": usage.dollars,
        "amp.model_calls": usage.model_calls,
        "amp.estimated": usage.estimated_calls > 0,
    }
    if written:
        said["gen_ai.usage.cache_write.input_tokens"] = written
        said["gen_ai.usage.cache_creation.input_tokens"] = written
    if usage.reasoning_tokens:
        said["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
        said["llm.token_count.completion_details.reasoning"] = usage.reasoning_tokens
    return said


def of_usage(usage: Usage) -> Attributes:
    """What all calls inside a span took together."""
    names = (*_COUNTS, *_AMOUNTS)
    return {f"amp.usage.{name}": getattr(usage, name) for name in names}


def of_allocation(allocation: Allocation) -> Attributes:
    """R(C)."""
    said: Attributes = {
        "amp.allocation.depth": allocation.depth,
        "amp.allocation.temperature": allocation.temperature,
        "amp.allocation.top_p": allocation.top_p,
        "amp.allocation.beam_width": allocation.beam_width,
        "amp.allocation.tools": sorted(allocation.tools),
        "amp.allocation.verification": allocation.verification,
    }
    if allocation.model is not None:
        said["amp.allocation.model"] = allocation.model
    return said


def of_complexity(complexity: Complexity) -> Attributes:
    """C(s, p), and what it came from."""
    features = {f"amp.feature.{name}": value for name, value in complexity.features.items()}
    return {"amp.complexity": complexity.score, **_finite(features)}


def is_local(card: ModelCard) -> bool:
    """Whether a model runs on this machine, where it costs no dollars."""
    return card.dollars_per_million_prompt_tokens == 0.0


def provider_of(card: ModelCard) -> str:
    """Whose API a model speaks, as far as its card tells."""
    if is_local(card):
        return "local"
    return "anthropic" if card.name.startswith("claude") else "openai"


def _of_request(request: Request, *, is_local: bool) -> Attributes:
    said: Attributes = {
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
        "gen_ai.request.seed": request.seed,
    }
    if request.n != 1:
        said["gen_ai.request.choice.count"] = request.n
    if request.thinking_tokens:
        said["amp.request.thinking_tokens"] = request.thinking_tokens
        if not is_local:
            said["gen_ai.request.reasoning.level"] = effort(request.thinking_tokens)
    return said


def _of_probe(probe: Probe) -> Attributes:
    return _finite({"amp.probe.entropy": probe.entropy, "amp.probe.perplexity": probe.perplexity})


def _finite(values: Mapping[str, float | None]) -> Attributes:
    """The numbers that every backend can keep."""
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


def _left(limits: Limits, spent: Usage, steps: int) -> Attributes:
    """What the limits still allowed when a step began."""
    used: Mapping[str, float] = {
        "steps": steps,
        "tokens": spent.tokens,
        "dollars": spent.dollars,
        "seconds": spent.seconds,
    }
    limited = {name: getattr(limits, name) for name in _LIMITED}
    return {
        f"amp.budget.left.{name}": max(0, limit - used[name])
        for name, limit in limited.items()
        if limit is not None
    }


def _id_of(task: Task) -> str:
    """The id of a task; a hash where it may be words of the goal."""
    if _PLAIN_ID.fullmatch(task.id) and task.id not in task.goal:
        return task.id
    return hashlib.sha256(task.id.encode("utf-8", "replace")).hexdigest()[:16]


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text}


def _messages(messages: Sequence[Message]) -> str:
    told = [{"role": each.role, "parts": [_part(each.content)]} for each in messages]
    return json.dumps(told, ensure_ascii=False)


def _answers(texts: Sequence[str], finish_reasons: Sequence[str]) -> str:
    reasons = [*finish_reasons, *["stop"] * (len(texts) - len(finish_reasons))]
    told = [
        {"role": "assistant", "parts": [_part(text)], "finish_reason": reason}
        for text, reason in zip(texts, reasons, strict=True)
    ]
    return json.dumps(told, ensure_ascii=False)
