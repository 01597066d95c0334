"""A step whose action is free text: the model writes, tools work on it, the prompts read it.

How deep native thinking goes: the mapping from reasoning steps to a budget of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from amp.execute.base import Prompts, Tool
from amp.execute.meter import Meter
from amp.models.base import Completion, Message, Prompt
from amp.models.chat import MIN_TOKENS
from amp.types import Allocation, Candidate, StepContext, ToolUse

TOKENS_A_REASONING_STEP = MIN_TOKENS
"""The smallest budget that every API takes; native reasoning is wordier than steps in an answer."""


def thinking_tokens(allocation: Allocation, meter: Meter) -> int:
    """Budget of native thinking for an allocation, which the meter's notes then state.

    `depth` steps are ``depth * TOKENS_A_REASONING_STEP`` tokens where the model has a thinking
    budget; how a back end passes them on (as tokens, or as an effort) stands in
    `amp.models.chat`.

    Returns:
        Tokens; 0 at depth 0, and where the model has no such budget and is asked for its reasoning
        in words.
    """
    if allocation.depth == 0 or not meter.capabilities.thinking_budget:
        return 0
    tokens = allocation.depth * TOKENS_A_REASONING_STEP
    meter.notes.append(f"{tokens} tokens of native thinking for {allocation.depth} reasoning steps")
    return tokens


_MAX_RESUMES = 8
"""A tool may have the model go on so many times in one candidate; then it stands as it is."""


@dataclass(frozen=True, slots=True)
class OpenStep:
    """One round of an open step.

    Attributes:
        prompts: the texts.
        context: the step.
        allocation: what it may spend.
        tools: the allocated tools that exist here, by name.
        meter: the way to the model.
    """

    prompts: Prompts
    context: StepContext
    allocation: Allocation
    tools: Mapping[str, Tool]
    meter: Meter

    async def attempt(self) -> tuple[Candidate, ...]:
        """Returns `beam_width` candidates on one prompt."""
        thinking = thinking_tokens(self.allocation, self.meter)
        allocation = replace(self.allocation, depth=0) if thinking else self.allocation
        prompt = self.prompts.solve(self.context, allocation)
        return await self._candidates(prompt, allocation, allocation.beam_width, thinking)

    async def retry(self, candidate: Candidate, critique: str) -> Candidate:
        """Returns one new attempt in the light of a critique."""
        thinking = thinking_tokens(self.allocation, self.meter)
        allocation = replace(self.allocation, depth=0) if thinking else self.allocation
        prompt = self.prompts.refine(self.context, allocation, candidate, critique)
        return (await self._candidates(prompt, allocation, 1, thinking))[0]

    async def _candidates(
        self, prompt: Prompt, allocation: Allocation, n: int, thinking: int
    ) -> tuple[Candidate, ...]:
        completions = await self.meter.generate(
            prompt,
            n=n,
            temperature=allocation.temperature,
            top_p=allocation.top_p,
            thinking_tokens=thinking,
        )
        return tuple([await self._settle(prompt, allocation, c) for c in completions])

    async def _settle(
        self, prompt: Prompt, allocation: Allocation, completion: Completion
    ) -> Candidate:
        """Lets the tools work on one answer and reads its action."""
        text, parts, uses = completion.text, [completion], []
        while (use := await self._use_tools(text)) is not None:
            uses.append(use)
            if use.resume is None or len(uses) > _MAX_RESUMES:
                break
            more = await self.meter.generate(
                _continued(
                    prompt, use.resume, written=sum(p.usage.completion_tokens for p in parts)
                ),
                temperature=allocation.temperature,
                top_p=allocation.top_p,
            )
            parts.append(more[0])
            text = use.resume + more[0].text
        cut_off = parts[-1].finish_reason != "stop"
        action = self.prompts.read(self.context, allocation, text, tuple(uses))
        return Candidate(
            text=text,
            action=action,
            log_prob=_sum(tuple(p.log_prob for p in parts)),
            entropy=completion.entropy,
            first_entropy=completion.entropies[0] if completion.entropies else None,
            completion_tokens=sum(p.usage.completion_tokens for p in parts),
            cut_off=cut_off,
            tool_uses=tuple(uses),
            failure=None if action is not None else _why_unread(uses, cut_off),
        )

    async def _use_tools(self, text: str) -> ToolUse | None:
        for name in sorted(self.tools):
            if (use := await self.meter.use(self.tools[name], text)) is not None:
                return use
        return None


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


def _why_unread(uses: list[ToolUse], cut_off: bool) -> str:
    for use in reversed(uses):
        if use.error is not None:
            return f"{use.tool}: {use.error}"
    return "answer cut off" if cut_off else "no answer could be read"
