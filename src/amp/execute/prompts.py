"""Prompts for any task: what a planner of your own environment uses unless it brings its own."""

from __future__ import annotations

from dataclasses import replace

from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse

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
        said = text.rpartition(_ACTION)[2].strip().splitlines()
        return said[0].strip() if said else None

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
