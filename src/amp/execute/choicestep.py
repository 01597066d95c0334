"""A step whose admissible actions are listed: thoughts, then a choice from probabilities."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from amp.execute.base import Prompts
from amp.execute.choice import ask, ask_thinking, draw, labels_for
from amp.execute.meter import Meter
from amp.execute.thinking import thinking_tokens
from amp.models.base import Completion, Prompt
from amp.types import Allocation, Candidate, StepContext


@dataclass(frozen=True, slots=True)
class ChoiceStep:
    """One round of a choice step.

    Attributes:
        prompts: the texts.
        context: the step.
        allocation: what it may spend.
        actions: the admissible actions, two at least.
        meter: the way to the model.
    """

    prompts: Prompts
    context: StepContext
    allocation: Allocation
    actions: tuple[str, ...]
    meter: Meter

    async def attempt(self) -> tuple[Candidate, ...]:
        """Returns `beam_width` candidates: draws after one thought each, or from one distribution.

        Greedy draws from one distribution are all the same, so there is one of them.
        """
        if thinking := thinking_tokens(self.allocation, self.meter):
            return await self._choose_thinking(thinking)
        thoughts = await self._think()
        greedy = self.allocation.temperature == 0.0
        draws = self.allocation.beam_width if thoughts == [None] and not greedy else 1
        candidates: list[Candidate] = []
        for index, thought in enumerate(thoughts):
            text = thought.text.strip() if thought else ""
            chosen = await self._choose(text, f"{index}", draws)
            candidates += [_after(thought, candidate) for candidate in chosen]
        return tuple(candidates)

    async def retry(self, candidate: Candidate, critique: str) -> Candidate:
        """Returns the choice that is made with the critique as its thought."""
        return (await self._choose(critique, "retry", draws=1))[0]

    async def _think(self) -> list[Completion] | list[None]:
        if self.allocation.depth == 0:
            return [None]
        return await self.meter.generate(
            self.prompts.think(self.context, self.actions, self.allocation.depth),
            n=self.allocation.beam_width,
            temperature=self.allocation.temperature,
            top_p=self.allocation.top_p,
        )

    async def _choose(self, thought: str, name: str, draws: int) -> list[Candidate]:
        """Draws from the distribution over the actions after a thought."""
        probabilities = await ask(self.meter, self._prompt(thought), labels_for(len(self.actions)))
        if probabilities is None:
            return [_unnamed(thought)] * draws
        context, allocation = self.context, self.allocation
        candidates = []
        for number in range(draws):
            rng = random.Random(
                f"{context.task.seed} {context.task.id} {len(context.steps)} "
                f"{context.evidence.rounds} {name} {number}"
            )
            chosen = draw(probabilities, allocation.temperature, allocation.top_p, rng)
            candidates.append(
                Candidate(
                    text=thought, action=self.actions[chosen], probability=probabilities[chosen]
                )
            )
        return candidates

    async def _choose_thinking(self, thinking: int) -> tuple[Candidate, ...]:
        """Draws labels after native thinking; what was thought is not told."""
        answers = await ask_thinking(
            self.meter,
            self._prompt(""),
            labels_for(len(self.actions)),
            n=self.allocation.beam_width,
            temperature=self.allocation.temperature,
            thinking_tokens=thinking,
        )
        return tuple(
            _after(answer, _unnamed(""))
            if index is None
            else _after(answer, Candidate(text="", action=self.actions[index]))
            for answer, index in answers
        )

    def _prompt(self, thought: str) -> Prompt:
        labels = labels_for(len(self.actions))
        return self.prompts.choose(self.context, self.actions, labels, thought)


def _unnamed(thought: str) -> Candidate:
    return Candidate(text=thought, action=None, failure="no listed action was named")


def _after(thought: Completion | None, candidate: Candidate) -> Candidate:
    """The candidate with the figures of the text that was written before the choice."""
    if thought is None:
        return candidate
    return replace(
        candidate,
        log_prob=thought.log_prob,
        entropy=thought.entropy,
        completion_tokens=thought.usage.completion_tokens,
        cut_off=thought.finish_reason != "stop",
    )
