"""ReAct: thoughts, actions and observations by turns (Yao et al. 2023, arXiv 2210.03629).

The chat is the transcript: what the model said are its own messages, what it heard the user's. So
the prompt only grows at its end, and a prefix cache holds the rest. A change of any prompt's text
is a new `VERSION`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from amp.execute.choice_step import labels_for, sample_index, shortlist, weigh
from amp.methods.base import BaselinePlanner, Trajectory, candidate_of
from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse

VERSION = "react/1"

UNREAD = "That is no action."

_LONGEST_TRANSCRIPT = 12
"""Turns that the model reads, the last ones; what a context of 4,096 tokens holds."""

_THOUGHT_TOKENS = 64
_TURN_TOKENS = 160

_CHOICE_SYSTEM = (
    "You reach a goal one action at a time. Each turn you read what you observe and the possible "
    "actions. Write one short thought about what the goal still needs, then one of the actions, in "
    "the form: Thought: ... Action: ..."
)
_CHOICE_GOAL = "Goal: water the fern"
_CHOICE_EXAMPLE = (
    (
        "Observation: You see a fern on the shelf. You see a broom.",
        ("walk to the broom", "walk to the fern", "explore"),
        "Thought: The fern needs water, and I see nothing to carry it in, so I look around. "
        "Action: explore",
        2,
    ),
    (
        "Observation: You found a can. You see a can near the sink. You see a fern on the shelf.",
        ("walk to the can", "walk to the fern", "walk to the broom"),
        "Thought: The can holds water, so I go there first. Action: walk to the can",
        0,
    ),
)

_OPEN_SYSTEM = (
    "You solve a task by turns of thought and action. Each turn you write two lines: `Thought:` "
    "with one short step of reasoning, then `Action:` with one of these actions:{actions}\n"
    "After each action you get its observation. Never write the observation yourself."
)
_CALCULATE = "\ncalculate[expression] computes the value of an arithmetic expression"
_FINISH = "\nfinish[answer] gives the answer, as short as possible, and ends the task"
_OPEN_EXAMPLE = (
    (
        "Goal: A farmer fills 6 crates with 15 apples each and keeps 12 apples for herself. How "
        "many apples did she pick?",
        "Thought: The crates hold 6 times 15 apples.\nAction: calculate[6 * 15]",
    ),
    (
        "Observation: 90",
        "Thought: With the 12 that she keeps she picked 90 + 12.\nAction: calculate[90 + 12]",
    ),
    ("Observation: 102", "Thought: She picked 102 apples.\nAction: finish[102]"),
)

_CALL = re.compile(r"Action[ \d]*:\s*`?(calculate|finish)\s*\[([^\[\]\n]*)\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReActTurn:
    """One turn of the transcript: what the model said, and what it observed then."""

    said: str
    heard: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """An action of an open task.

    Attributes:
        name: ``calculate`` or ``finish``.
        argument: what stands in its brackets, never empty.
        said: the model's text up to its end; what follows is the model's own fancy.
    """

    name: str
    argument: str
    said: str


def think(context: StepContext, actions: tuple[str, ...], turns: Sequence[ReActTurn]) -> Prompt:
    """Prompt whose answer is a thought and an action in words, on one line."""
    messages = (*_choice(context, actions, turns), Message("assistant", "Thought:"))
    return Prompt(messages, _THOUGHT_TOKENS, (" (", "\n"), VERSION)


def choose(
    context: StepContext, actions: tuple[str, ...], turns: Sequence[ReActTurn], thought: str
) -> Prompt:
    """Prompt after which the next token is the label of the action that the thought ends in."""
    named = thought if "Action:" in thought else f"{thought} Action:"
    messages = (*_choice(context, actions, turns), Message("assistant", f"Thought: {named} ("))
    return Prompt(messages, 1, (), VERSION)


def solve(context: StepContext, turns: Sequence[ReActTurn], *, calculator: bool) -> Prompt:
    """Prompt whose answer is a turn of an open task: a thought, and a call that `read` finds."""
    actions = f"{_CALCULATE if calculator else ''}{_FINISH}"
    messages = [Message("system", _OPEN_SYSTEM.format(actions=actions))]
    if calculator:
        for asked, said in _OPEN_EXAMPLE:
            messages += [Message("user", asked), Message("assistant", said)]
    state = f"\n{context.observation.state}" if context.observation.state else ""
    messages += _transcript(f"Goal: {context.task.goal}{state}", turns)
    return Prompt(
        (*messages, Message("assistant", "Thought:")), _TURN_TOKENS, ("Observation",), VERSION
    )


def read(text: str) -> ToolCall | None:
    """Reads the first call of a turn; None if there is none or its brackets are empty."""
    match = _CALL.search(text)
    if match is None or not (argument := match[2].strip()):
        return None
    return ToolCall(match[1].lower(), argument, text[: match.end()])


def _choice(
    context: StepContext, actions: tuple[str, ...], turns: Sequence[ReActTurn]
) -> tuple[Message, ...]:
    labels = labels_for(len(actions))
    # Labels of the example are from the same alphabet as those of the step.
    marks = labels_for(3) if labels[0].isdigit() else labels_for(26)[:3]
    messages = [Message("system", _CHOICE_SYSTEM)]
    for asked, offered, said, best in _CHOICE_EXAMPLE:
        messages.append(Message("user", f"{asked}\n{_listed(offered, marks)}\n{_CHOICE_GOAL}"))
        messages.append(Message("assistant", f"{said} ({marks[best]})"))
    goal = f"Goal: {context.task.goal}"
    *earlier, now = _transcript(goal if turns else "Observation:", turns)
    # The goal stands next to the question: a small model loses it behind a long transcript.
    shown = [now.content, context.observation.state, _listed(actions, labels), goal]
    return (*messages, *earlier, Message("user", "\n".join(shown)))


def _transcript(opening: str, turns: Sequence[ReActTurn]) -> list[Message]:
    messages = [Message("user", opening)]
    for turn in turns[-_LONGEST_TRANSCRIPT:]:
        messages.append(Message("assistant", f"Thought: {turn.said}"))
        messages.append(Message("user", f"Observation: {turn.heard}"))
    return messages


def _listed(actions: tuple[str, ...], labels: str) -> str:
    options = [f"- {action} ({label})" for action, label in zip(actions, labels, strict=True)]
    return "\n".join(["Actions:", *options])


_SUM = re.compile(r"\d\s*[-+*/]\s*\(?\d")

MAX_TURNS = 8
"""Turns of an open step; a step without an answer by then has failed."""


class ReActPlanner(BaselinePlanner):
    """Every action is preceded by a thought, and all of it stays in the context.

    Where actions are listed, a turn is a plan step: after the thought the next-token probabilities
    over the actions' labels are read, so that nothing inadmissible reaches the environment.
    Elsewhere the model calls ``calculate[expression]``, which the tool ``calculator`` of the
    executor answers, until it ends the plan step with ``finish[answer]``; the turns are its rounds.
    """

    version = VERSION

    async def _plan(self, run: Trajectory) -> None:
        turns: list[ReActTurn] = []
        while run.open_step():
            actions = run.context.actions(self.allocation.tools)
            if actions is None:
                failure = await self._solve(run, turns)
            else:
                failure = await self._choose(run, actions, turns)
            run.close_step(failure)

    async def _choose(
        self, run: Trajectory, actions: tuple[str, ...], turns: list[ReActTurn]
    ) -> str | None:
        """One turn with listed actions; returns why it has no action, if so."""
        granted = replace(self.allocation, depth=1, beam_width=1, verification=0)
        if len(actions) == 1:
            run.meter.notes.append("no model call for the only admissible action")
            run.note(granted, Candidate(text="", action=actions[0], probability=1.0))
            await run.act(actions[0])
            turns.append(ReActTurn(f"Action: {actions[0]}", run.state.feedback))
            return None
        context = run.context
        actions = await shortlist(run.meter, lambda part: choose(context, part, turns, ""), actions)
        thought = (
            await run.meter.generate(
                think(context, actions, turns),
                temperature=granted.temperature,
                top_p=granted.top_p,
            )
        )[0]
        said = thought.text.strip()
        probabilities = await weigh(
            run.meter, lambda part: choose(context, part, turns, said), actions
        )
        said = said.partition("Action:")[0].strip()
        if probabilities is None:
            candidate = candidate_of(thought, None, "no listed action was named")
            run.note(granted, candidate)
            turns.append(ReActTurn(said, UNREAD))
            return candidate.failure
        rng = random.Random(f"{context.task.seed} {context.task.id} {len(context.steps)}")
        chosen = sample_index(probabilities, granted.temperature, granted.top_p, rng)
        action = actions[chosen]
        run.note(granted, replace(candidate_of(thought, action), probability=probabilities[chosen]))
        await run.act(action)
        turns.append(ReActTurn(f"{said} Action: {action}", run.state.feedback))
        return None

    async def _solve(self, run: Trajectory, turns: list[ReActTurn]) -> str | None:
        """The turns of an open step up to its answer; returns why it has none, if so."""
        calculator = self.executor.tools.get("calculator")
        granted = Allocation(
            depth=1,
            temperature=self.allocation.temperature,
            top_p=self.allocation.top_p,
            tools=frozenset() if calculator is None else frozenset({calculator.name}),
        )
        for _ in range(MAX_TURNS):
            completion = (
                await run.meter.generate(
                    solve(run.context, turns, calculator=calculator is not None),
                    temperature=granted.temperature,
                    top_p=granted.top_p,
                )
            )[0]
            call = read(completion.text)
            if call is None:
                run.note(granted, candidate_of(completion, None))
                turns.append(ReActTurn(completion.text.strip(), UNREAD))
                continue
            if call.name == "finish":
                answer, uses = await self._worked_out(run, call.argument)
                run.note(granted, replace(candidate_of(completion, answer), tool_uses=uses))
                await run.act(answer)
                turns.append(ReActTurn(call.said.strip(), run.state.feedback))
                return None
            candidate = candidate_of(completion, f"calculate[{call.argument}]")
            heard = "no calculator is here"
            if calculator is not None:
                use = await run.meter.use(calculator, f"<<{call.argument.partition('=')[0]}>>")
                heard = "this is no expression"
                if use is not None:
                    candidate = replace(candidate, tool_uses=(use,))
                    heard = use.output or use.error or heard
            run.note(granted, candidate)
            turns.append(ReActTurn(call.said.strip(), heard))
        return f"no answer within {MAX_TURNS} turns"

    async def _worked_out(self, run: Trajectory, answer: str) -> tuple[str, tuple[ToolUse, ...]]:
        """The answer; of a sum such as ``60 + 180`` its value, which is what is meant."""
        calculator = self.executor.tools.get("calculator")
        if calculator is None or not _SUM.search(answer):
            return answer, ()
        use = await run.meter.use(calculator, f"<<{answer}>>")
        if use is None or use.error is not None:
            return answer, ()
        return use.output, (use,)
