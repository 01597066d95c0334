"""All texts for BabyAI. A changed text is a new version; a test holds the two together."""

from __future__ import annotations

import re

from amp.benchmarks.babyai.examples import PRIMITIVE_EXAMPLES, SUBGOAL_EXAMPLES, Example
from amp.benchmarks.babyai.focus import ahead_in, target_in
from amp.benchmarks.babyai.world import PRIMITIVES
from amp.execute.choice import labels_for
from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse

VERSION = "babyai/1"

_HISTORY = 6
"""Steps of the partial plan that the model reads, the last ones."""

_SYSTEM = """\
You control an agent in rooms with coloured keys, balls, boxes and doors. You read what you see, a \
list of actions and the mission, and choose the one action that brings the mission forward now."""

_SUBGOAL_RULES = """\
- Go to a thing before you pick it up, open it, or put something next to it.
- To put X next to Y: go to X, pick it up, go to Y, put X next to Y.
- "X, then Y" means X first. "Y after you X" means X first. Don't repeat what is done.
- Colour and kind must both fit. An "object" is a thing of any kind.
- A locked door needs the key of its colour. If nothing listed helps, explore."""

_PRIMITIVE_RULES = """\
- The target lies forward and the way is free: go forward, even if it is also left or right.
- The target is only left: turn left. Only right: turn right. Behind: turn.
- The target is 1 step forward: you are there; pick it up or toggle the door if the mission says so.
- The target is not seen: turn right to look around; after 3 turns go forward if the way is free.
- Something else is in the way: turn to the side of the target."""

_THOUGHT_TOKENS = 32
"""Cap per sentence of thought; those of the examples have about 18 tokens."""

_ANSWER_TOKENS = 32
"""Cap of an action in words; the longest have about 25 tokens."""


class BabyAIPrompts:
    """Prompts of a step in BabyAI, for subgoals and for primitive actions; `Prompts`.

    Rules and examples come first and are the same for every step of a kind, so that a prefix cache
    holds them. A label stands behind its action, and the answer begins by restating what the label
    is asked for ("go to the red ball ("): a small model finds it by copying, where it is near
    chance with numbered lists (measured with 1.5 billion parameters). For primitive actions the
    restatement is the place of the mission's target and what lies ahead, both from the
    observation's text.
    """

    version = VERSION

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        """Prompt after which the next token is the label of the best action."""
        messages = _messages(context, actions, labels, thoughtful=bool(thought))
        lead = _lead(context.task.goal, _history(context), context.observation.state, actions)
        if thought:
            lead = f"{lead}\n1. {thought.strip().rstrip('.')}"
        return _prompt(messages, f"{lead} (", max_tokens=1)

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        """Prompt whose answer is at most `depth` numbered sentences; the first number is given."""
        messages = _messages(context, actions, labels_for(len(actions)), thoughtful=True)
        lead = _lead(context.task.goal, _history(context), context.observation.state, actions)
        stop = (f"\n{depth + 1}.", " (", "\n\n")
        return _prompt(messages, f"{lead}\n1.", max_tokens=_THOUGHT_TOKENS * depth, stop=stop)

    def check(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Prompt after which the next token says whether the candidate's action is right."""
        action = candidate.action or ""
        kind = PRIMITIVES if action in PRIMITIVES else (action,)
        messages = [Message("system", f"{_SYSTEM}\n{_rules(kind)}\nYou judge actions: yes or no.")]
        for number, example in enumerate(_examples(kind)):
            right = number % 2 == 0
            shift = 0 if right else 1
            shown = example.actions[(example.best + shift) % len(example.actions)]
            question = _question(example.mission, example.history, example.state, shown)
            verdict = "yes" if right else "no"
            messages += [Message("user", question), Message("assistant", f"Answer: {verdict}")]
        question = _question(
            context.task.goal, _history(context), context.observation.state, action
        )
        return _prompt((*messages, Message("user", question)), "Answer:", max_tokens=1)

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        """Prompt whose answer ends in ``Action:`` and an admissible action in words."""
        actions = context.actions(allocation.tools) or PRIMITIVES
        messages = _messages(context, actions, "", thoughtful=allocation.depth > 0)
        lead = _lead(context.task.goal, _history(context), context.observation.state, actions)
        return _prompt(
            messages,
            f"{lead}\n1." if allocation.depth else f"{lead}\nAction:",
            max_tokens=_THOUGHT_TOKENS * allocation.depth + _ANSWER_TOKENS,
        )

    def read(
        self, context: StepContext, allocation: Allocation, text: str, uses: tuple[ToolUse, ...]
    ) -> str | None:
        """Reads the admissible action that an answer names after its last ``Action:``.

        Returns:
            The action as listed; None if the words are none of them.
        """
        actions = context.actions(allocation.tools) or PRIMITIVES
        said = _plain(text.rsplit("Action:", 1)[-1].strip().partition("\n")[0])
        return next((action for action in actions if _plain(action) == said), None)


def _prompt(
    messages: tuple[Message, ...], lead: str, *, max_tokens: int, stop: tuple[str, ...] = ()
) -> Prompt:
    return Prompt((*messages, Message("assistant", lead)), max_tokens, stop, VERSION)


def _messages(
    context: StepContext, actions: tuple[str, ...], labels: str, *, thoughtful: bool
) -> tuple[Message, ...]:
    """System, examples, and the step; without labels the answers are actions in words."""
    messages = [Message("system", f"{_SYSTEM}\n{_rules(actions)}")]
    for example in _examples(actions):
        shown = _example_labels(labels, len(example.actions))
        best = example.actions[example.best]
        answer = _lead(example.mission, example.history, example.state, example.actions)
        if thoughtful:
            sentences = enumerate(example.thought, start=1)
            answer += "".join(f"\n{number}. {sentence}" for number, sentence in sentences)
        answer += f" ({shown[example.best]})" if shown else f"\nAction: {best}"
        step = _step(example.mission, example.history, example.state, example.actions, shown)
        messages += [Message("user", step), Message("assistant", answer)]
    state = context.observation.state
    step = _step(context.task.goal, _history(context), state, actions, labels)
    return (*messages, Message("user", step))


def _step(
    mission: str,
    history: tuple[tuple[str, str], ...],
    state: str,
    actions: tuple[str, ...],
    labels: str,
) -> str:
    marks = [f" ({label})" for label in labels] or [""] * len(actions)
    listed = [f"- {action}{mark}" for action, mark in zip(actions, marks, strict=True)]
    if _are_primitive(actions):
        return "\n".join([*_carried(state), "Actions:", *listed, f"Mission: {mission}"])
    return "\n".join(
        [*_without_walls(state), "Actions:", *listed, *_done(history), f"Mission: {mission}"]
    )


def _lead(
    mission: str,
    history: tuple[tuple[str, str], ...],
    state: str,
    actions: tuple[str, ...],
) -> str:
    """What the answer begins with: the mission, or where its target is and what lies ahead."""
    if not _are_primitive(actions):
        return f"Mission: {mission}"
    target = target_in(mission, state)
    turns = len(history) - max(
        (i for i, (action, _) in enumerate(history, 1) if not action.startswith("turn")), default=0
    )
    looked = f", {turns} turns made" if target == "not seen" else ""
    return f"Ahead: {ahead_in(state)}. Target: {target}{looked}"


def _question(mission: str, history: tuple[tuple[str, str], ...], state: str, action: str) -> str:
    lines = [*_without_walls(state), *_done(history), f"Mission: {mission}"]
    return "\n".join([*lines, f"Proposed action: {action}", "Is it the right action now?"])


def _done(history: tuple[tuple[str, str], ...]) -> list[str]:
    return ["Done:", *(f"- {feedback}" for _, feedback in history)] if history else []


def _history(context: StepContext) -> tuple[tuple[str, str], ...]:
    done = [(step.action, step.feedback) for step in context.steps if step.action is not None]
    return tuple(done[-_HISTORY:])


def _example_labels(labels: str, count: int) -> str:
    """Labels of the same alphabet as the step's, so that the examples stay the same text."""
    if not labels:
        return ""
    digits = labels[0].isdigit()
    return labels_for(count) if digits else labels_for(26)[:count]


def _are_primitive(actions: tuple[str, ...]) -> bool:
    return set(actions) <= set(PRIMITIVES)


def _rules(actions: tuple[str, ...]) -> str:
    return _PRIMITIVE_RULES if _are_primitive(actions) else _SUBGOAL_RULES


def _examples(actions: tuple[str, ...]) -> tuple[Example, ...]:
    return PRIMITIVE_EXAMPLES if _are_primitive(actions) else SUBGOAL_EXAMPLES


def _carried(state: str) -> list[str]:
    return [line for line in state.splitlines() if line.startswith("You carry")]


def _without_walls(state: str) -> list[str]:
    """Who chooses subgoals need not know of walls; the path finder does."""
    return [line for line in state.splitlines() if " a wall " not in line]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()
