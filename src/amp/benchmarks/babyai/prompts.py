"""All texts for BabyAI, frozen. A changed text is a new version; a test holds the two together."""

from __future__ import annotations

import re

from amp.benchmarks.babyai.examples import (
    INDIRECT_EXAMPLES,
    PRIMITIVE_EXAMPLES,
    SUBGOAL_EXAMPLES,
    Example,
)
from amp.benchmarks.babyai.mission import Situation, situation_of
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.execute.choice_step import labels_for
from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse

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

_JUDGE = "You judge a proposed action: yes or no, and why."

_THOUGHT_TOKENS = 32
"""Cap per sentence of thought; those of the examples have about 18 tokens."""

_CRITIQUE_TOKENS = 40
"""Cap of a critique, a word and a sentence like those of thought."""

_ANSWER_TOKENS = 32
"""Cap of an action in words; the longest have about 25 tokens."""


class BabyAIPrompts:
    """Prompts of a step in BabyAI, for subgoals and for primitive actions; `Prompts`.

    Rules and examples come first and are the same for every step of a kind, so that a prefix cache
    holds them. A label stands behind its action, and the answer begins by naming what the label is
    asked for ("Target: red ball ("): a small model finds it by copying, where it is near chance
    with numbered lists (measured with 1.5 billion parameters). A thought ends with the words of
    its action for the same reason. For primitive actions the beginning is the place of the
    mission's target and what lies ahead. All of it is from the observation's text.
    """

    version = VERSION

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        """Prompt after which the next token is the label of the best action."""
        situation = situation_of(context, actions)
        messages = _messages(situation, labels, thoughtful=bool(thought))
        return _prompt(messages, f"{situation.lead()}{_numbered(thought)} (", max_tokens=1)

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        """Prompt whose answer is at most `depth` numbered sentences; the first number is given."""
        situation = situation_of(context, actions)
        messages = _messages(situation, labels_for(len(actions)), thoughtful=True)
        stop = (f"\n{depth + 1}.", " (", "\n\n")
        lead = f"{situation.lead()}\n1."
        return _prompt(messages, lead, max_tokens=_THOUGHT_TOKENS * depth, stop=stop)

    def check(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt after which the next token says whether the candidate's action is right."""
        return _prompt(_judging(context, candidate), "Answer:", max_tokens=1)

    def critique(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt whose answer says what is wrong in one sentence, or that it is right, and why.

        It is that of `check`, answered in full, so a prefix cache holds all of it.
        """
        messages = _judging(context, candidate)
        return _prompt(messages, "Answer:", max_tokens=_CRITIQUE_TOKENS, stop=("\n",))

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        """Prompt whose answer ends in ``Action:`` and an admissible action in words."""
        situation = situation_of(context, _actions(context, allocation))
        messages = _messages(situation, "", thoughtful=allocation.depth > 0)
        lead = f"{situation.lead()}\n1." if allocation.depth else f"{situation.lead()}\nAction:"
        room = _THOUGHT_TOKENS * allocation.depth + _ANSWER_TOKENS
        return _prompt(messages, lead, max_tokens=room)

    def refine(
        self, context: StepContext, allocation: Allocation, candidate: Candidate, critique: str
    ) -> Prompt:
        """Prompt of a new attempt in words, with the critique as the thought before it."""
        situation = situation_of(context, _actions(context, allocation))
        messages = _messages(situation, "", thoughtful=True)
        lead = f"{situation.lead()}{_numbered(critique)}\nAction:"
        return _prompt(messages, lead, max_tokens=_ANSWER_TOKENS)

    def read(
        self, context: StepContext, allocation: Allocation, text: str, uses: tuple[ToolUse, ...]
    ) -> str | None:
        """Reads the admissible action that an answer names after its last ``Action:``.

        Returns:
            The action as listed; None if the words are none of them.
        """
        said = _plain(text.rsplit("Action:", 1)[-1].strip().partition("\n")[0])
        actions = _actions(context, allocation)
        return next((action for action in actions if _plain(action) == said), None)


def _prompt(
    messages: tuple[Message, ...], lead: str, *, max_tokens: int, stop: tuple[str, ...] = ()
) -> Prompt:
    return Prompt((*messages, Message("assistant", lead)), max_tokens, stop, VERSION)


def _messages(situation: Situation, labels: str, *, thoughtful: bool) -> tuple[Message, ...]:
    """System, examples, and the step; without labels the answers are actions in words."""
    messages = [Message("system", f"{_SYSTEM}\n{_rules(situation)}")]
    for example in _examples(situation, thoughtful=thoughtful):
        shown = _example_labels(labels, len(example.situation.actions))
        answer = example.situation.lead()
        if thoughtful:
            answer += _numbered(example.thought)
        answer += f" ({shown[example.best]})" if shown else f"\nAction: {example.action}"
        messages += [Message("user", example.situation.told(shown)), Message("assistant", answer)]
    return (*messages, Message("user", situation.told(labels)))


def _judging(context: StepContext, candidate: Candidate) -> tuple[Message, ...]:
    """System, judged examples, every other one wrong, and the question."""
    situation = situation_of(context, _around(context, candidate))
    messages = [Message("system", f"{_SYSTEM}\n{_rules(situation)}\n{_JUDGE}")]
    for number, example in enumerate(_examples(situation, thoughtful=True)):
        right = number % 2 == 0
        question = _question(example.situation, example.action if right else example.other)
        answer = f"Answer: {'yes' if right else 'no'}. {example.thought}."
        messages += [Message("user", question), Message("assistant", answer)]
    question = _question(situation, candidate.action or "none")
    if candidate.broken_rule is not None:
        question += f"\nRule check: {candidate.broken_rule}"
    return (*messages, Message("user", question))


def _question(situation: Situation, action: str) -> str:
    told, lead = situation.told(""), situation.lead()
    return f"{told}\n{lead}\nProposed action: {action}\nIs it the right action now?"


def _actions(context: StepContext, allocation: Allocation) -> tuple[str, ...]:
    return context.actions(allocation.tools) or PRIMITIVES


def _around(context: StepContext, candidate: Candidate) -> tuple[str, ...]:
    """The admissible actions of the kind that the candidate chose from."""
    for actions in context.observation.tool_actions.values():
        if candidate.action in actions:
            return actions
    return context.observation.actions or PRIMITIVES


def _numbered(thought: str) -> str:
    """A thought as it stands in an answer; empty for none."""
    return f"\n1. {thought.strip().rstrip('.')}" if thought else ""


def _example_labels(labels: str, count: int) -> str:
    """Labels of the same alphabet as the step's, so that the examples stay the same text."""
    if not labels:
        return ""
    digits = labels[0].isdigit()
    return labels_for(count) if digits else labels_for(26)[:count]


def _rules(situation: Situation) -> str:
    return _PRIMITIVE_RULES if situation.primitive else _SUBGOAL_RULES


def _examples(situation: Situation, *, thoughtful: bool) -> tuple[Example, ...]:
    """Without a thought only those that can be copied: the others make a small model copy less."""
    if situation.primitive:
        return PRIMITIVE_EXAMPLES
    return (*SUBGOAL_EXAMPLES, *INDIRECT_EXAMPLES) if thoughtful else SUBGOAL_EXAMPLES


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()
