"""Prompts of a step that is a choice among listed actions, as BabyAI and ALFWorld ask it.

Rules and examples come first and are the same for every step of a kind, so that a prefix cache
holds them. A label stands behind its action, and an answer begins with words that lead to it, since
a small model chooses by copying. The words themselves are each benchmark's own, under its version.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from amp.execute.choice_step import labels_for
from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse


class Situation(Protocol):
    """What one step is decided on."""

    @property
    def actions(self) -> tuple[str, ...]:
        """The admissible actions."""
        ...

    def told(self, labels: str) -> str:
        """Returns the user's turn; without labels the actions stand alone."""
        ...

    def lead(self) -> str:
        """Returns what an answer begins with."""
        ...


AnySituation = TypeVar("AnySituation", bound=Situation)


@dataclass(frozen=True, slots=True)
class Example(Generic[AnySituation]):
    """One decision with its right answer.

    Attributes:
        situation: what it is decided on.
        best: which of the actions is right; spread over the list, so that no label is the usual
            one.
        thought: why, in a sentence that ends with the action's own words.
    """

    situation: AnySituation
    best: int
    thought: str

    @property
    def action(self) -> str:
        """The right action."""
        return self.situation.actions[self.best]

    @property
    def other(self) -> str:
        """A wrong action, the one listed behind the right one."""
        actions = self.situation.actions
        return actions[(self.best + 1) % len(actions)]


class ChoicePrompts(ABC, Generic[AnySituation]):
    """Prompts of steps that are choices; `Prompts`.

    Attributes:
        version: name and number of the texts.
        judge: tells the model to judge a proposed action.
        thought_tokens: cap per sentence of thought.
        critique_tokens: cap of a critique, a word and a sentence like those of thought.
        answer_tokens: cap of an action in words.
    """

    version: str
    judge: str
    thought_tokens: int
    critique_tokens: int
    answer_tokens: int

    @abstractmethod
    def situation(self, context: StepContext, actions: tuple[str, ...]) -> AnySituation:
        """Returns what a step is decided on if these are the actions."""

    @abstractmethod
    def rules(self, situation: AnySituation) -> str:
        """Returns the system's turn."""

    @abstractmethod
    def examples(
        self, situation: AnySituation, *, thoughtful: bool
    ) -> Sequence[Example[AnySituation]]:
        """Returns the worked examples, of answers with a thought or without."""

    @abstractmethod
    def actions(self, context: StepContext, tools: frozenset[str]) -> tuple[str, ...]:
        """Returns the admissible actions with these tools allocated."""

    def alternatives(self, context: StepContext, candidate: Candidate) -> tuple[str, ...]:
        """Returns the actions that a candidate chose from."""
        return self.actions(context, frozenset())

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        """Prompt after which the next token is the label of the best action."""
        situation = self.situation(context, actions)
        messages = self._messages(situation, labels, thoughtful=bool(thought))
        return self._prompt(messages, f"{situation.lead()}{_numbered(thought)} (", max_tokens=1)

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        """Prompt whose answer is at most `depth` numbered sentences; the first number is given."""
        situation = self.situation(context, actions)
        messages = self._messages(situation, labels_for(len(actions)), thoughtful=True)
        stop = (f"\n{depth + 1}.", " (", "\n\n")
        lead = f"{situation.lead()}\n1."
        return self._prompt(messages, lead, max_tokens=self.thought_tokens * depth, stop=stop)

    def check(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt after which the next token says whether the candidate's action is right."""
        return self._prompt(self._judging(context, candidate), "Answer:", max_tokens=1)

    def critique(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt whose answer says what is wrong in one sentence, or that it is right, and why.

        It is that of `check`, answered in full, so a prefix cache holds all of it.
        """
        messages = self._judging(context, candidate)
        return self._prompt(messages, "Answer:", max_tokens=self.critique_tokens, stop=("\n",))

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        """Prompt whose answer ends in ``Action:`` and an admissible action in words."""
        situation = self.situation(context, self.actions(context, allocation.tools))
        messages = self._messages(situation, "", thoughtful=allocation.depth > 0)
        lead = f"{situation.lead()}\n1." if allocation.depth else f"{situation.lead()}\nAction:"
        room = self.thought_tokens * allocation.depth + self.answer_tokens
        return self._prompt(messages, lead, max_tokens=room)

    def refine(
        self, context: StepContext, allocation: Allocation, candidate: Candidate, critique: str
    ) -> Prompt:
        """Prompt of a new attempt in words, with the critique as the thought before it."""
        situation = self.situation(context, self.actions(context, allocation.tools))
        messages = self._messages(situation, "", thoughtful=True)
        lead = f"{situation.lead()}{_numbered(critique)}\nAction:"
        return self._prompt(messages, lead, max_tokens=self.answer_tokens)

    def read(
        self, context: StepContext, allocation: Allocation, text: str, uses: tuple[ToolUse, ...]
    ) -> str | None:
        """Reads the admissible action that an answer names after its last ``Action:``.

        Returns:
            The action as listed; None if the words are none of them.
        """
        said = _plain(text.rsplit("Action:", 1)[-1].strip().partition("\n")[0])
        actions = self.actions(context, allocation.tools)
        return next((action for action in actions if _plain(action) == said), None)

    def _prompt(
        self,
        messages: tuple[Message, ...],
        lead: str,
        *,
        max_tokens: int,
        stop: tuple[str, ...] = (),
    ) -> Prompt:
        return Prompt((*messages, Message("assistant", lead)), max_tokens, stop, self.version)

    def _messages(
        self, situation: AnySituation, labels: str, *, thoughtful: bool
    ) -> tuple[Message, ...]:
        """System, examples, and the step; without labels the answers are actions in words."""
        messages = [Message("system", self.rules(situation))]
        for example in self.examples(situation, thoughtful=thoughtful):
            shown = _example_labels(labels, len(example.situation.actions))
            answer = example.situation.lead()
            if thoughtful:
                answer += _numbered(example.thought)
            answer += f" ({shown[example.best]})" if shown else f"\nAction: {example.action}"
            told = example.situation.told(shown)
            messages += [Message("user", told), Message("assistant", answer)]
        return (*messages, Message("user", situation.told(labels)))

    def _judging(self, context: StepContext, candidate: Candidate) -> tuple[Message, ...]:
        """System, judged examples, every other one wrong, and the question."""
        situation = self.situation(context, self.alternatives(context, candidate))
        messages = [Message("system", f"{self.rules(situation)}\n{self.judge}")]
        for number, example in enumerate(self.examples(situation, thoughtful=True)):
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
