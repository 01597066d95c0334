"""All texts for BabyAI, frozen. A changed text is a new version; a test holds the two together."""

from __future__ import annotations

from collections.abc import Sequence

from amp.benchmarks.babyai.examples import (
    INDIRECT_EXAMPLES,
    PRIMITIVE_EXAMPLES,
    SUBGOAL_EXAMPLES,
)
from amp.benchmarks.babyai.mission import Situation, situation_of
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.benchmarks.choice_prompts import ChoicePrompts, Example
from amp.types import Candidate, StepContext

VERSION = "babyai/2"

_SYSTEM = """\
You control an agent in rooms with coloured keys, balls, boxes and doors. You read what you see, a \
list of actions and the mission, and choose the one action that brings the mission forward now."""

_SUBGOAL_RULES = """\
- Go to a thing before you pick it up, open it, or put something next to it.
- To put X next to Y: go to X, pick it up, go to Y, put X next to Y.
- "X, then Y" means X first. "Y after you X" means X first. Don't repeat what is done.
- Colour and kind must both fit. An "object" is a thing of any kind. If it is not seen, explore.
- A locked door needs the key of its colour. Drop what you carry before you pick up another."""

_PRIMITIVE_RULES = """\
- The target lies forward and the way is free: go forward, even if it is also left or right.
- The target is only left: turn left. Only right: turn right. Behind: turn.
- The target is 1 step forward: you are there; pick it up or toggle the door if the mission says so.
- The target is not seen: turn right to look around; after 3 turns go forward if the way is free.
- Something else is in the way: turn to the side of the target."""


class BabyAIPrompts(ChoicePrompts[Situation]):
    """Prompts of a step in BabyAI, for subgoals and for primitive actions; `Prompts`.

    An answer begins by naming what the label is asked for ("Target: red ball ("): a small model
    finds it by copying, where it is near chance with numbered lists (measured with 1.5 billion
    parameters). A thought ends with the words of its action for the same reason. For primitive
    actions the beginning is the place of the mission's target and what lies ahead. All of it is
    from the observation's text.
    """

    version = VERSION
    judge = "You judge a proposed action: yes or no, and why."
    thought_tokens = 32  # a sentence of the examples has about 18
    critique_tokens = 40
    answer_tokens = 32  # the longest actions have about 25

    def situation(self, context: StepContext, actions: tuple[str, ...]) -> Situation:
        return situation_of(context, actions)

    def rules(self, situation: Situation) -> str:
        return f"{_SYSTEM}\n{_PRIMITIVE_RULES if situation.primitive else _SUBGOAL_RULES}"

    def examples(self, situation: Situation, *, thoughtful: bool) -> Sequence[Example[Situation]]:
        """Without a thought only those that can be copied: the others make a model copy less."""
        if situation.primitive:
            return PRIMITIVE_EXAMPLES
        return (*SUBGOAL_EXAMPLES, *INDIRECT_EXAMPLES) if thoughtful else SUBGOAL_EXAMPLES

    def actions(self, context: StepContext, tools: frozenset[str]) -> tuple[str, ...]:
        return context.actions(tools) or PRIMITIVES

    def alternatives(self, context: StepContext, candidate: Candidate) -> tuple[str, ...]:
        """Returns the admissible actions of the kind that a candidate chose from."""
        for actions in context.observation.tool_actions.values():
            if candidate.action in actions:
                return actions
        return context.observation.actions or PRIMITIVES
