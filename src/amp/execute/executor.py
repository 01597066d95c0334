"""Carries one allocation out: ExecuteWithResources of spec 3.1, and what was found is evidence."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from amp.execute.base import Prompts, Tool
from amp.execute.choice import ask, draw, entropy_share, labels_for
from amp.execute.meter import Meter
from amp.execute.verify import check_rules, self_check
from amp.models.base import Completion, Message, Prompt
from amp.types import Allocation, Candidate, Evidence, StepContext, ToolUse

_MOST_RESUMES = 8
"""A tool may have the model go on so many times in one candidate; then it stands as it is."""


class Executor:
    """Makes candidates for one plan step with the resources of an allocation.

    A step with listed actions is a choice: after `depth` steps of thought the next-token
    probabilities over the actions' labels are read. Any other step is open: the model writes, tools
    work on what it wrote, and the prompts read the action.

    Attributes:
        prompts: all texts for this kind of task.
        tools: the tools that can run here, by name. Tools of the environment need no entry.
    """

    def __init__(self, prompts: Prompts, tools: Mapping[str, Tool] | None = None) -> None:
        self.prompts = prompts
        self.tools = dict(tools or {})

    async def look(self, context: StepContext, meter: Meter) -> Evidence:
        """Takes a look before the first round, where the look is a part of the work.

        In a choice step that is the probe which acting at once reads, too, so it costs nothing
        extra there. In an open step no first token tells enough to pay for: the evidence is empty,
        and the first round brings it.
        """
        actions = context.actions(frozenset(context.observation.tool_actions))
        if actions is None or len(actions) == 1:
            return Evidence()
        probabilities = await ask(
            meter, self._choice(context, actions, ""), labels_for(len(actions))
        )
        if probabilities is None:
            return Evidence()
        return Evidence(probe_entropy=entropy_share(probabilities))

    async def execute(
        self, context: StepContext, allocation: Allocation, meter: Meter
    ) -> tuple[Candidate, ...]:
        """Returns the candidates of one round, verified as far as allocated.

        Raises:
            LimitReachedError: if no candidate can be had within the limits.
            ModelError: from the model.
        """
        for name in sorted(
            allocation.tools - set(self.tools) - set(context.observation.tool_actions)
        ):
            meter.notes.append(f"no tool {name!r} here")
        actions = context.actions(allocation.tools)
        if actions is None:
            candidates = await self._solve(context, allocation, meter)
        else:
            candidates = await self._choose(context, allocation, actions, meter)
        if allocation.verification >= 1:
            candidates = check_rules(candidates, actions)
        if allocation.verification >= 2:
            candidates = await self_check(candidates, context, self.prompts, meter)
        return candidates

    # ------------------------------------------------------------------ open steps

    async def _solve(
        self, context: StepContext, allocation: Allocation, meter: Meter
    ) -> tuple[Candidate, ...]:
        prompt = self.prompts.solve(context, allocation)
        completions = await meter.generate(
            prompt,
            n=allocation.beam_width,
            temperature=allocation.temperature,
            top_p=allocation.top_p,
        )
        return tuple(
            [await self._settle(context, allocation, prompt, c, meter) for c in completions]
        )

    async def _settle(
        self,
        context: StepContext,
        allocation: Allocation,
        prompt: Prompt,
        completion: Completion,
        meter: Meter,
    ) -> Candidate:
        """Lets the tools work on one answer and reads its action."""
        text, parts, uses = completion.text, [completion], []
        while (use := await self._use_tools(text, allocation, meter)) is not None:
            uses.append(use)
            if use.resume is None or len(uses) > _MOST_RESUMES:
                break
            more = await meter.generate(
                _continued(
                    prompt, use.resume, written=sum(p.usage.completion_tokens for p in parts)
                ),
                temperature=allocation.temperature,
                top_p=allocation.top_p,
            )
            parts.append(more[0])
            text = use.resume + more[0].text
        cut_off = parts[-1].finish_reason != "stop"
        action = self.prompts.read(context, allocation, text, tuple(uses))
        return Candidate(
            text=text,
            action=action,
            log_prob=_sum(tuple(p.log_prob for p in parts)),
            entropy=completion.entropy,
            completion_tokens=sum(p.usage.completion_tokens for p in parts),
            cut_off=cut_off,
            tool_uses=tuple(uses),
            failure=None if action is not None else _why_unread(uses, cut_off),
        )

    async def _use_tools(self, text: str, allocation: Allocation, meter: Meter) -> ToolUse | None:
        for name in sorted(allocation.tools & set(self.tools)):
            if (use := await meter.use(self.tools[name], text)) is not None:
                return use
        return None

    # ------------------------------------------------------------------ choice steps

    async def _choose(
        self, context: StepContext, allocation: Allocation, actions: tuple[str, ...], meter: Meter
    ) -> tuple[Candidate, ...]:
        if len(actions) == 1:
            meter.notes.append("no model call for the only admissible action")
            return (Candidate(text="", action=actions[0], probability=1.0),)
        labels = labels_for(len(actions))
        thoughts = await self._think(context, allocation, actions, meter)
        # Acting at once has one distribution; its beams are draws from it and cost nothing more.
        greedy = allocation.temperature == 0.0
        draws = allocation.beam_width if len(thoughts) == 1 and not greedy else 1
        candidates = []
        for index, thought in enumerate(thoughts):
            text = thought.text.strip() if thought else ""
            probabilities = await ask(meter, self._choice(context, actions, text), labels)
            for number in range(draws):
                candidate = Candidate(text=text, action=None, failure="no listed action was named")
                if probabilities is not None:
                    rng = random.Random(
                        f"{context.task.seed} {context.task.id} {len(context.steps)} "
                        f"{context.evidence.rounds} {index} {number}"
                    )
                    chosen = draw(probabilities, allocation.temperature, allocation.top_p, rng)
                    candidate = Candidate(
                        text=text, action=actions[chosen], probability=probabilities[chosen]
                    )
                if thought is not None:
                    candidate = replace(
                        candidate,
                        log_prob=thought.log_prob,
                        entropy=thought.entropy,
                        completion_tokens=thought.usage.completion_tokens,
                        cut_off=thought.finish_reason != "stop",
                    )
                candidates.append(candidate)
        return tuple(candidates)

    async def _think(
        self, context: StepContext, allocation: Allocation, actions: tuple[str, ...], meter: Meter
    ) -> list[Completion] | list[None]:
        if allocation.depth == 0:
            return [None]
        return await meter.generate(
            self.prompts.think(context, actions, allocation.depth),
            n=allocation.beam_width,
            temperature=allocation.temperature,
            top_p=allocation.top_p,
        )

    def _choice(self, context: StepContext, actions: tuple[str, ...], thought: str) -> Prompt:
        return self.prompts.choose(context, actions, labels_for(len(actions)), thought)


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
