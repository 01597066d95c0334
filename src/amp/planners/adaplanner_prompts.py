"""Every text of the AdaPlanner-style planner. A change of any of them is a new `VERSION`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from amp.models.base import Message, Prompt
from amp.types import StepContext

VERSION = "adaplanner/2"

LONGEST_PLAN = 8
"""Steps of a plan that are kept; what follows waits for the next refinement."""

_TOKENS_A_STEP = 28
_HISTORY = 8

_PLAN_SYSTEM = (
    "You write plans. A plan is a numbered list of actions that lead to the goal, at most "
    f"{LONGEST_PLAN}, each with what you expect to observe after it, in the form: "
    "1. action | expect: observation. Begin with one of the actions that are possible now; later "
    "ones become possible on the way. Write only what the goal needs."
)
_PLAN_EXAMPLES = (
    (
        "You see a broom. You see a lamp near the door.\n"
        "Possible now:\n- walk to the broom\n- walk to the lamp\n- explore\n"
        "Goal: walk to the letter",
        "Goal: walk to the letter\n"
        "1. explore | expect: you find a letter\n"
        "2. walk to the letter | expect: you stand at the letter",
    ),
    (
        "You see a broom. You see a fern on the shelf. You see a can near the sink.\n"
        "Possible now:\n- walk to the broom\n- walk to the fern\n- walk to the can\n- explore\n"
        "Goal: water the fern",
        "Goal: water the fern\n"
        "1. walk to the can | expect: you stand at the can\n"
        "2. take the can | expect: you hold the can\n"
        "3. walk to the fern | expect: you stand at the fern\n"
        "4. water the fern | expect: the fern is wet",
    ),
)
_REFINE = "Your plan did not work out: {trouble}. Write a new plan for what is left to do."

_HOLDS_SYSTEM = (
    "You compare what was expected after an action with what was observed. Answer with yes or no "
    "only."
)
_HOLDS_PREFIX = "Answer (yes or no): "

_PROGRAM_SYSTEM = "You are a careful solver of math word problems."
_PROGRAM = (
    "Write a short Python program that solves the problem and stores the result, a number, in the "
    "variable `answer`. After the calculation add one or two `assert` lines that check what must "
    "be true of the values, such as their sign or their sum; never compare with a number that you "
    "worked out yourself. Give only the program."
)
_REPAIR = (
    "Running it failed: {trouble}\nFind out whether the calculation or the assertion is wrong, and "
    "write the whole program again, put right."
)
_PROGRAM_TOKENS = 320
_PROGRAM_END = "\n```\n"

_STEP = re.compile(r"^\s*\d+[.)]\s*(.+)$")
_EXPECT = re.compile(r"\s*(?:\||[-;,]|=>)?\s*expect(?:ed)?\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One line of a plan: an action and what should be observed after it; empty if it says none."""

    action: str
    expected: str = ""


def plan(context: StepContext, actions: Sequence[str], trouble: str) -> Prompt:
    """Prompt whose answer is a plan from here on; `trouble` says why the last one failed, if so."""
    done = [step for step in context.steps if step.action is not None][-_HISTORY:]
    lines = [f"Done: {step.action}. {step.feedback}".rstrip() for step in done]
    if trouble:
        lines.append(_REFINE.format(trouble=trouble.rstrip(".")))
    lines += [context.observation.state, "Possible now:", *(f"- {action}" for action in actions)]
    goal = f"Goal: {context.task.goal}"
    messages = [Message("system", _PLAN_SYSTEM)]
    for asked, answer in _PLAN_EXAMPLES:
        messages += [Message("user", asked), Message("assistant", answer)]
    messages += [
        Message("user", "\n".join(line for line in (*lines, goal) if line)),
        # Restated next to the plan: a small model that read it long before plans what it sees.
        Message("assistant", f"{goal}\n1."),
    ]
    stop = (f"\n{LONGEST_PLAN + 1}.", "\n\n")
    return Prompt(tuple(messages), _TOKENS_A_STEP * LONGEST_PLAN, stop, VERSION)


def read_plan(text: str) -> tuple[PlannedStep, ...]:
    """Reads the answer to `plan`, whose first number is given; empty if no line holds an action."""
    steps = []
    for line in f"1.{text}".splitlines():
        if (match := _STEP.match(line)) is None:
            continue
        action, *expected = _EXPECT.split(match[1], maxsplit=1)
        action = action.strip(" .*`|")
        if action:
            steps.append(PlannedStep(action, expected[0].strip() if expected else ""))
    return tuple(steps[:LONGEST_PLAN])


def holds(context: StepContext, step: PlannedStep, feedback: str) -> Prompt:
    """Prompt after which the next token says "yes" or "no": was it observed as expected?"""
    asked = (
        f"Action: {step.action}\nExpected: {step.expected}\nObserved: {feedback}\n"
        f"{context.observation.state}\n\nDid it happen as expected?"
    )
    messages = (
        Message("system", _HOLDS_SYSTEM),
        Message("user", asked),
        Message("assistant", _HOLDS_PREFIX),
    )
    return Prompt(messages, 1, (), VERSION)


REPAIR_BEGIN = "```python\n"
"""What the answer to a failed program begins with."""


def program(context: StepContext, failed: str, trouble: str) -> Prompt:
    """Prompt whose answer is a program; `failed` is the one before and `trouble` its error."""
    state = f"\n{context.observation.state}" if context.observation.state else ""
    messages = [
        Message("system", _PROGRAM_SYSTEM),
        Message("user", f"{context.task.goal}{state}\n\n{_PROGRAM}"),
    ]
    if trouble:
        messages += [
            Message("assistant", failed or "(no program)"),
            Message("user", _REPAIR.format(trouble=trouble)),
            # Told of an error, a small model explains it; begun for it, it writes a program.
            Message("assistant", REPAIR_BEGIN),
        ]
    return Prompt(tuple(messages), _PROGRAM_TOKENS, (_PROGRAM_END,), VERSION)
