"""All texts for ALFWorld, frozen: a changed text is a new version. A test holds them together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from amp.benchmarks.alfworld.examples import EXAMPLES, Situation, situation_of
from amp.execute.choice_step import labels_for
from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse

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

_JUDGE = "You judge a proposed action: yes or no, and why."

_THOUGHT_TOKENS = 32
"""Cap per sentence of thought; those of the examples have about 20 tokens."""

_CRITIQUE_TOKENS = 40
"""Cap of a critique, a word and a sentence like those of thought."""

_ANSWER_TOKENS = 24
"""Cap of an action in words."""


class ALFWorldPrompts:
    """Prompts of a step in ALFWorld; `Prompts`.

    Rules and examples come first and are the same for every step, so that a prefix cache holds
    them; the list of actions, which is long and different at every step, comes last, with the goal
    right behind it. A label stands behind its action, and the answer begins with what is held and
    which parts of the goal are open, the next one last: a small model chooses by copying. All of it
    follows from the goal's words and the observation's text. Of the actions done, the last eight
    are told, and how many are left out.
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
        situation = situation_of(context, context.observation.actions or ())
        messages = _messages(situation, "", thoughtful=allocation.depth > 0)
        lead = f"{situation.lead()}\n1." if allocation.depth else f"{situation.lead()}\nAction:"
        room = _THOUGHT_TOKENS * allocation.depth + _ANSWER_TOKENS
        return _prompt(messages, lead, max_tokens=room)

    def refine(
        self, context: StepContext, allocation: Allocation, candidate: Candidate, critique: str
    ) -> Prompt:
        """Prompt of a new attempt in words, with the critique as the thought before it."""
        situation = situation_of(context, context.observation.actions or ())
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
        actions = context.observation.actions or ()
        return next((action for action in actions if _plain(action) == said), None)


def where(thing: str, kinds: Sequence[str]) -> Prompt:
    """Prompt after which the next token is the label of the kind of place where a thing is.

    What a model answers makes a belief (`amp.benchmarks.alfworld.planning.belief_by_kind`); the
    labels are those of `labels_for`.
    """
    marked = zip(kinds, labels_for(len(kinds)), strict=True)
    listed = "\n".join(f"- {kind} ({label})" for kind, label in marked)
    question = f"Places:\n{listed}\nAt which of these would you look for a {thing} first?"
    messages = (Message("system", _HOUSEHOLD), Message("user", question))
    return _prompt(messages, f"A {thing} is most likely at the place (", max_tokens=1)


def _prompt(
    messages: tuple[Message, ...], lead: str, *, max_tokens: int, stop: tuple[str, ...] = ()
) -> Prompt:
    return Prompt((*messages, Message("assistant", lead)), max_tokens, stop, VERSION)


def _messages(situation: Situation, labels: str, *, thoughtful: bool) -> tuple[Message, ...]:
    """System, examples, and the step; without labels the answers are actions in words."""
    messages = [Message("system", _SYSTEM)]
    for example in EXAMPLES:
        shown = _example_labels(labels, len(example.situation.actions))
        answer = example.situation.lead()
        if thoughtful:
            answer += _numbered(example.thought)
        answer += f" ({shown[example.best]})" if shown else f"\nAction: {example.action}"
        messages += [Message("user", example.situation.told(shown)), Message("assistant", answer)]
    return (*messages, Message("user", situation.told(labels)))


def _judging(context: StepContext, candidate: Candidate) -> tuple[Message, ...]:
    """System, judged examples, every other one wrong, and the question."""
    situation = situation_of(context, context.observation.actions or ())
    messages = [Message("system", f"{_SYSTEM}\n{_JUDGE}")]
    for number, example in enumerate(EXAMPLES):
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


def _numbered(thought: str) -> str:
    """A thought as it stands in an answer; empty for none."""
    return f"\n1. {thought.strip().rstrip('.')}" if thought else ""


def _example_labels(labels: str, count: int) -> str:
    """Labels of the same alphabet as the step's, so that the examples stay the same text."""
    if not labels:
        return ""
    return labels_for(count) if labels[0].isdigit() else labels_for(26)[:count]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()
