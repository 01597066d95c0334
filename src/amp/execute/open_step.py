"""A step whose action is free text: the model writes, tools work on it, the prompts read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from amp.errors import LimitReachedError, RecordingError
from amp.execute.base import Prompts, Tool
from amp.execute.meter import Meter
from amp.execute.program import ends_before_program, is_fence
from amp.models.base import Completion, Message, Prompt
from amp.types import WITHHELD, Allocation, Candidate, StepContext, TokenFigures, ToolUse

_MAX_RESUMES = 8
"""A tool may have the model go on so many times in one candidate; then it stands as it is."""


@dataclass(frozen=True, slots=True)
class OpenStep:
    """One round of an open step.

    Attributes:
        prompts: the texts.
        context: the step.
        allocation: what it may spend; its depth is that of reasoning in words.
        thinking_tokens: budget of native thinking.
        tools: the allocated tools that exist here, by name.
        meter: the way to the model.
    """

    prompts: Prompts
    context: StepContext
    allocation: Allocation
    thinking_tokens: int
    tools: Mapping[str, Tool]
    meter: Meter

    async def attempt(self, prompt: Prompt) -> tuple[Candidate, ...]:
        """Returns `beam_width` candidates on the step's prompt."""
        return await self._candidates(prompt, self.allocation.beam_width)

    async def retry(self, candidate: Candidate, critique: str) -> Candidate:
        """Returns one new attempt in the light of a critique."""
        prompt = self.prompts.refine(self.context, self.allocation, candidate, critique)
        return (await self._candidates(prompt, 1))[0]

    async def _candidates(self, prompt: Prompt, n: int) -> tuple[Candidate, ...]:
        completions = await written(
            self.meter,
            prompt,
            n=n,
            temperature=self.allocation.temperature,
            top_p=self.allocation.top_p,
            thinking_tokens=self.thinking_tokens,
        )
        return tuple([await self._settle(prompt, completion) for completion in completions])

    async def _settle(self, prompt: Prompt, completion: Completion) -> Candidate:
        """Lets the tools work on one answer and reads its action."""
        text, parts, uses = completion.text, [completion], []
        while (use := await self._use_tools(text)) is not None:
            uses.append(use)
            if use.resume is None or len(uses) > _MAX_RESUMES:
                break
            written = sum(part.usage.completion_tokens for part in parts)
            more = await self.meter.generate(
                _continued(prompt, use.resume, written),
                temperature=self.allocation.temperature,
                top_p=self.allocation.top_p,
            )
            parts.append(more[0])
            text = use.resume + more[0].text
        action = self.prompts.read(self.context, self.allocation, text, tuple(uses))
        return Candidate(
            text=text,
            action=action,
            log_prob=_sum(tuple(p.log_prob for p in parts)),
            entropy=completion.entropy,
            first_entropy=completion.entropies[0] if completion.entropies else None,
            tokens=TokenFigures.of(completion.log_probs, completion.entropies),
            completion_tokens=sum(p.usage.completion_tokens for p in parts),
            cut_off=parts[-1].cut_off,
            tool_uses=tuple(uses),
            failure=None if action is not None else _why_unread(uses, parts[-1]),
        )

    async def _use_tools(self, text: str) -> ToolUse | None:
        for name in sorted(self.tools):
            if (use := await self.meter.use(self.tools[name], text)) is not None:
                return use
        return None


async def written(
    meter: Meter,
    prompt: Prompt,
    *,
    n: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    thinking_tokens: int = 0,
) -> list[Completion]:
    """Returns answers to a prompt; what a fence as stop string ended too early is asked for again.

    The fence that ends an answer behind its program matches an opening fence as well if no language
    follows it, and the fence behind a block of definitions. An answer that was ended there holds no
    program. It is asked for once more without that stop string, and stands as it is where the
    limits or the recording do not allow that, or where that brought no program earlier in the
    episode (`Meter.writes_programs`).
    """
    answers = await meter.generate(
        prompt, n=n, temperature=temperature, top_p=top_p, thinking_tokens=thinking_tokens
    )
    longer = replace(prompt, stop=tuple(stop for stop in prompt.stop if not is_fence(stop)))
    ended = [
        index
        for index, answer in enumerate(answers)
        if longer != prompt
        and meter.writes_programs
        and answer.finish_reason == "stop"
        and answer.usage.completion_tokens  # what says nothing would say nothing again
        and ends_before_program(answer.text)
    ]
    if not ended:
        return answers
    try:
        again = await meter.generate(
            longer,
            n=len(ended),
            temperature=temperature,
            top_p=top_p,
            thinking_tokens=thinking_tokens,
        )
    except (LimitReachedError, RecordingError):
        meter.notes.append("answers without a program that their stop string ended too early")
        return answers
    meter.notes.append("a second answer, without the stop string that ended the first too early")
    meter.writes_programs = not all(ends_before_program(answer.text) for answer in again)
    for index, answer in zip(ended, again, strict=False):  # the limits may allow fewer
        answers[index] = replace(answer, usage=answers[index].usage + answer.usage)
    return answers


def _continued(prompt: Prompt, text: str, written: int) -> Prompt:
    """The prompt with `text` as the beginning of the answer, and what is left of its cap."""
    messages = prompt.messages
    prefix = ""
    if messages[-1].role == "assistant":
        prefix, messages = messages[-1].content, messages[:-1]
    return replace(
        prompt,
        messages=(*messages, Message("assistant", prefix + text)),
        max_tokens=max(16, prompt.max_tokens - written),
    )


def _sum(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _why_unread(uses: list[ToolUse], last: Completion) -> str:
    if last.finish_reason == "filtered":
        return WITHHELD
    for use in reversed(uses):
        if use.error is not None:
            return f"{use.tool}: {use.error}"
    return "answer cut off" if last.cut_off else "no answer could be read"
