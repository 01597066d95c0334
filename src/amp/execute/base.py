"""What the executor is given: tools, and the prompts for a kind of task.

`PlainPrompts` fit any task, so an environment of your own needs no prompts of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from amp.errors import InvalidInputError
from amp.execute.sandbox import Sandbox
from amp.models.base import LanguageModel, Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse, Usage

LONGEST_ANSWER = 100_000
"""Characters of a model's answer that are read; what it wrote beyond them counts for nothing."""


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """What one use of a tool may take at most.

    Attributes:
        seconds: wall time; a use that takes longer ends with an error.
        output_bytes: length of its output; a longer one is an error, too.
    """

    seconds: float
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Question:
    """A multiple-choice question of a tool to the base model.

    Attributes:
        prompt: after it, the next token is one of the labels.
        labels: one character for each answer that there is.
    """

    prompt: Prompt
    labels: str


class Tool(Protocol):
    """Something outside the base model that helps with a plan step.

    A tool may advise before the model writes, process what the model wrote, or both; it may put
    questions to the model first, or let another model write. Subclass it and override the methods
    that it needs; the others do nothing.

    Attributes:
        name: its name in `Allocation.tools`.
        description: one line about what it does, for people and for prompts.
        schema: JSON schema of the input that it takes from a model's text; by default it takes
            none.
        limits: of one use.
        cost: estimated cost of one use, for allocating; the real cost is charged.
        model: the model that answers in place of the base model in rounds with this tool, charged
            by its own card; None for the base model.
        sandbox: what stands around the programs that it runs; None for a tool that runs none.
    """

    name: str
    description: str
    schema: Mapping[str, Any] = {"not": {}}
    limits: ToolLimits = ToolLimits(seconds=5.0, output_bytes=10_000)
    cost: Usage = Usage(tool_calls=1)
    model: LanguageModel | None = None
    sandbox: Sandbox | None = None

    def within(self, sandbox: Sandbox) -> Tool:
        """Returns the tool as it runs programs in this sandbox; itself if it runs none."""
        return self

    def questions(self, context: StepContext) -> Sequence[Question]:
        """Returns what the base model has to answer before the tool can advise on a step.

        The executor puts the questions to the model, passes the answers to `informed`, and its
        result to `advise`. So the tool keeps no state, one object can serve many episodes at the
        same time, and its advice is recorded for these answers. A question that is repeated in an
        episode gets the same answer and costs nothing.
        """
        return ()

    def informed(
        self, context: StepContext, answers: Sequence[Sequence[float] | None]
    ) -> StepContext:
        """Returns the step with the answers added, for `advise`.

        Args:
            context: the step.
            answers: for each of `questions` the probability of each label, which add up to 1; None
                if the model gave no label.
        """
        return context

    async def advise(self, context: StepContext) -> ToolUse | None:
        """Gives advice on a step before the model writes.

        Returns:
            A use whose output is appended to the state that the model reads; None for no advice.
        """
        return None

    async def use(self, text: str) -> ToolUse | None:
        """Finds a call of this tool in a model's text and runs it.

        Returns:
            The use, or None if the text contains no call. A failure of the tool raises nothing: it
            is a `ToolUse` with `error`.
        """
        return None


@runtime_checkable
class Forgetful(Protocol):
    """Prompts that read less of the plan so far than all of it, and say what."""

    def remembers(self, context: StepContext, tools: frozenset[str]) -> object:
        """What the prompts of this step and of all later ones read of the plan so far.

        Two plans that lead to the same state and of which this is the same may be taken for one.

        Args:
            context: the step.
            tools: those that are allocated in it and later.

        Returns:
            As plain JSON.
        """
        ...


class Prompts(Protocol):
    """All texts for one kind of task, in one module, under one version.

    A changed prompt is a new version: recordings made with another version are refused.
    """

    @property
    def version(self) -> str:
        """Name and number, such as ``gsm8k/3``."""
        ...

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        """Prompt of an open-ended step: the answer states the action in free text.

        `allocation.depth` is the number of reasoning steps to request, `allocation.tools` the tools
        to explain.
        """
        ...

    def read(
        self, context: StepContext, allocation: Allocation, text: str, uses: tuple[ToolUse, ...]
    ) -> str | None:
        """Reads the action from an answer to `solve` and from the tools' results on it.

        Equal meanings have to give equal strings, since votes are counted by equality.

        Returns:
            The action, or None if the answer states none.
        """
        ...

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        """Prompt to reason about a choice in at most `depth` short steps."""
        ...

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        """Prompt after which the next token is the label (one character) of the best action.

        `labels[i]` is the label of `actions[i]`. `thought` is the answer to `think`; empty at depth
        0.
        """
        ...

    def check(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt after which the next token is "yes" or "no": is this candidate right?"""
        ...

    def critique(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt for a short statement of what is wrong with a candidate (verification 3).

        `candidate.broken_rule` is the rule that it breaks, if any.
        """
        ...

    def refine(
        self, context: StepContext, allocation: Allocation, candidate: Candidate, critique: str
    ) -> Prompt:
        """Prompt for a new attempt at an open step, given a critique (verification 3).

        Its answer is read by `read`, like that of `solve`. A choice step has no such prompt: there
        the critique becomes the `thought` of `choose`.
        """
        ...


Plausibility = Callable[[StepContext, Candidate], Mapping[str, float]]
"""What a candidate looks like against what the step asks, as numbers by name (`Candidate.looks`).

It makes no model calls and may not know the right answer. A name is left out where its number can't
be told.
"""


def looks_of(
    plausibility: Plausibility, context: StepContext, candidate: Candidate
) -> dict[str, float]:
    """What a candidate looks like, without what is None or no finite number.

    Raises:
        InvalidInputError: if it is told by something else than numbers.
    """
    told: Mapping[str, object] = plausibility(context, candidate)  # who knows what others return
    looks = {}
    for name, value in told.items():
        if value is None:
            continue
        if not isinstance(value, int | float):
            raise InvalidInputError(
                f"plausibility says {name!r} is {value!r}, expected a number, or no such name where"
                " it can't be told"
            )
        if math.isfinite(value):
            looks[name] = float(value)
    return looks


def no_looks(context: StepContext, candidate: Candidate) -> Mapping[str, float]:
    """The `Plausibility` of answers of which nothing is known."""
    return {}


_SYSTEM = "You carry a task out step by step. Keep to the point."
_ACTION = "Action:"
_TOKENS_TO_ACT = 80
_TOKENS_A_THOUGHT = 40
_TOKENS_OF_CRITIQUE = 80


class PlainPrompts:
    """Goal, history, state, and a question, in plain words.

    An open step is answered by a line that begins with ``Action:``, or by the whole answer if it
    holds none. The prompt of a choice ends in ``Action: ``, so that the label is the next token.
    """

    version = "plain/1"

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        steps = allocation.depth
        think = f"Think in at most {steps} short steps. Then write" if steps else "Write only"
        ask = f'{think} the next action on a line that begins with "{_ACTION}".'
        return _prompt(context, ask, None, _TOKENS_TO_ACT + _TOKENS_A_THOUGHT * steps)

    def read(
        self, context: StepContext, allocation: Allocation, text: str, uses: tuple[ToolUse, ...]
    ) -> str | None:
        if uses and uses[-1].resume is None and uses[-1].error is None:
            return uses[-1].output
        lines = text.rpartition(_ACTION)[2].strip().splitlines()
        return lines[0].strip() if lines else None

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        ask = f"{_listed(actions)}\nWhich one is best? Think in at most {depth} short steps."
        return _prompt(context, ask, None, _TOKENS_A_THOUGHT * depth)

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        considered = f"You considered: {thought}\n" if thought else ""
        ask = f"{considered}{_listed(actions, labels)}\nReply with the label of the best action."
        return _prompt(context, ask, f"{_ACTION} ", 1)

    def check(self, context: StepContext, candidate: Candidate) -> Prompt:
        ask = f"Proposed: {candidate.action}\nIs this the right next step? Reply yes or no."
        return _prompt(context, ask, "Answer: ", 1)

    def critique(self, context: StepContext, candidate: Candidate) -> Prompt:
        rule = f"\nA check found: {candidate.broken_rule}" if candidate.broken_rule else ""
        ask = (
            f"Proposed: {candidate.text or candidate.action}{rule}\n"
            'What is wrong with it? Say it in one or two sentences, or say "nothing".'
        )
        return _prompt(context, ask, None, _TOKENS_OF_CRITIQUE)

    def refine(
        self, context: StepContext, allocation: Allocation, candidate: Candidate, critique: str
    ) -> Prompt:
        solve = self.solve(context, allocation)
        question = solve.messages[-1].content
        tried = f"Tried: {candidate.text or candidate.action}\nCritique: {critique}\nTry again."
        again = Message("user", f"{question}\n{tried}")
        return replace(solve, messages=(*solve.messages[:-1], again))


def _prompt(context: StepContext, ask: str, prefix: str | None, max_tokens: int) -> Prompt:
    lines = [f"Goal: {context.task.goal}"]
    lines += [
        f"Done: {step.action or 'nothing'}. {step.feedback}".rstrip() for step in context.steps
    ]
    if context.observation.state:
        lines.append(f"State: {context.observation.state}")
    messages = [Message("system", _SYSTEM), Message("user", "\n".join([*lines, ask]))]
    if prefix is not None:
        messages.append(Message("assistant", prefix))
    return Prompt(tuple(messages), max_tokens, version=PlainPrompts.version)


def _listed(actions: tuple[str, ...], labels: str | None = None) -> str:
    marks = [f"{label}. " for label in labels] if labels else ["- "] * len(actions)
    return "\n".join(f"{mark}{action}" for mark, action in zip(marks, actions, strict=True))
