"""All texts for ALFWorld, frozen: a changed text is a new version. A test holds them together."""

from __future__ import annotations

from collections.abc import Sequence

from amp.benchmarks.alfworld.examples import EXAMPLES, Situation, situation_of
from amp.benchmarks.choice_prompts import ChoicePrompts, Example
from amp.execute.choice_step import labels_for
from amp.models.base import Message, Prompt
from amp.types import StepContext

VERSION = "alfworld/2"

_SYSTEM = """\
You play a household game in words. You read what you did, a list of actions and the goal, and \
choose the one action that brings the goal forward now.
- What is in or on a place is seen only there. Open what is closed.
- Something that was not found: go to a place where it usually is and that is not marked yet.
- You can hold one thing. Take it before you clean, heat, cool, look at or move it.
- With the thing in your hand, clean it at a sinkbasin, heat it at a microwave, cool it at a fridge.
- To put a thing in or on a place, go there and move it there. Leave there what is in its place.
- To look at a thing under a lamp: take it, go to the lamp, use the lamp."""

_HOUSEHOLD = "You know where things are kept in a household."


class ALFWorldPrompts(ChoicePrompts[Situation]):
    """Prompts of a step in ALFWorld; `Prompts`.

    The list of actions, which is long and different at every step, comes last, with the goal right
    behind it. An answer begins with what is held and which parts of the goal are open, the next one
    last. All of it follows from the goal's words and the observation's text. Of the actions done,
    the last eight are told, and how many are left out.
    """

    version = VERSION
    judge = "You judge a proposed action: yes or no, and why."
    thought_tokens = 32  # a sentence of the examples has about 20
    critique_tokens = 40
    answer_tokens = 24

    def situation(self, context: StepContext, actions: tuple[str, ...]) -> Situation:
        return situation_of(context, actions)

    def rules(self, situation: Situation) -> str:
        return _SYSTEM

    def examples(self, situation: Situation, *, thoughtful: bool) -> Sequence[Example[Situation]]:
        return EXAMPLES

    def actions(self, context: StepContext, tools: frozenset[str]) -> tuple[str, ...]:
        return context.observation.actions or ()


def where(thing: str, kinds: Sequence[str]) -> Prompt:
    """Prompt after which the next token is the label of the kind of place where a thing is.

    What a model answers makes a belief (`amp.benchmarks.alfworld.planning.belief_by_kind`); the
    labels are those of `labels_for`.
    """
    marked = zip(kinds, labels_for(len(kinds)), strict=True)
    listed = "\n".join(f"- {kind} ({label})" for kind, label in marked)
    question = f"Places:\n{listed}\nAt which of these would you look for a {thing} first?"
    messages = (Message("system", _HOUSEHOLD), Message("user", question))
    lead = Message("assistant", f"A {thing} is most likely at the place (")
    return Prompt((*messages, lead), 1, version=VERSION)
