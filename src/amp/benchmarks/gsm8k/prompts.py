"""Every text that a model reads on GSM8K. A change of any of them is a new `VERSION`.

The texts are frozen: recordings depend on them to the letter.

A small coder model sets the tone: it solves most with a zero-shot program, since a terse worked
example makes it forget to set `answer`, and longer ones gain too little for the prompt tokens that
they add; a chain of thought it keeps short and ends in the right form only after one worked
example.
"""

from __future__ import annotations

import re
from dataclasses import replace

from amp.benchmarks.gsm8k.environment import StepKind, final_answer, read_answer
from amp.benchmarks.gsm8k.numbers import normalise
from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, StepContext, ToolUse

VERSION = "gsm8k/1"

_PROGRAM_SYSTEM = "You are a careful solver of math word problems."
_PROGRAM = (
    "Write a short Python program that solves the problem and stores the result, a number, in the "
    "variable `answer`.{plan} Give only the program."
)
_PLAN = (
    " Begin the program with a plan: at most {depth} short comment lines, one reasoning step each."
)
_PROGRAM_TOKENS = 320
# Asked for a plan, a small model writes pages of prose before the program; begun for it, the code
# comes first, and the plan is in its comments.
_PROGRAM_BEGIN = "```python\n"
# Ends the answer behind the program. The opening fence does not match: a language follows it.
_PROGRAM_END = "\n```\n"

_DIRECT_SYSTEM = (
    "You solve math word problems. Give the answer at once, without any explanation, as one line "
    "`#### N`, where N is a bare number."
)
_DIRECT_TOKENS = 16

_CHAIN_SYSTEM = (
    "You solve math word problems. Reason in at most {depth} short numbered steps, one line each. "
    "Then give the answer as a last line `#### N`, where N is a bare number."
)
_CALCULATOR = " Write every calculation as <<expression=value>>."
_CHAIN_TOKENS = 256
_TOKENS_A_STEP = 32
# A chain that is written piece by piece keeps one system message, so that its prompt stays cached.
_LONGEST_CHAIN = 8

_EXAMPLE = (
    "A bakery bakes 3 trays of 12 rolls each and sells 20 of the rolls. The rolls that are left "
    "are packed into bags of 4. How many bags are there?"
)
_EXAMPLE_ANSWER = "#### 4"
# The worked example reasons in as many steps as the depth allows, three at most.
_EXAMPLE_CHAINS = {
    1: ("The rolls left are 3 * 12 - 20 = 16, which fill 16 / 4 = 4 bags.",),
    2: (
        "The bakery bakes 3 * 12 = 36 rolls and has 36 - 20 = 16 left.",
        "These fill 16 / 4 = 4 bags.",
    ),
    3: (
        "The bakery bakes 3 * 12 = 36 rolls.",
        "After selling 20 rolls, 36 - 20 = 16 rolls are left.",
        "These fill 16 / 4 = 4 bags.",
    ),
}
_EQUATION = re.compile(r"(\d[\d */+-]*\d) = (\d+)")

_CHECK_SYSTEM = "You check answers to math word problems. Answer with yes or no only."
# The solution itself is not shown: a small model that reads one believes it, right or wrong.
_CHECK = "{goal}\n\nProposed answer: {answer}\n\nIs this answer right?"
_CHECK_PREFIX = "Answer (yes or no): "

_CRITIQUE_SYSTEM = "You look for mistakes in solutions of math word problems."
_CRITIQUE = (
    "{goal}\n\nProposed solution:\n{solution}\n\n{result}\n\nSay in one or two sentences what is "
    'wrong with the solution, or only "nothing".'
)
_CRITIQUE_TOKENS = 80
# An empty message is an error to some servers.
_NO_ANSWER = "(no answer)"
# Without the question at its end a small model writes a letter of apology.
_REFINE = "A check of this says: {critique}\n\nTry again.\n\n{question}"

_PIECE_TOKENS = 96
_LINE_NUMBER = re.compile(r"\A\d+[.)]\s+")

_CHOICE_SYSTEM = "You solve math word problems by choosing the best option."
_TOKENS_A_THOUGHT = 40


class GSM8KPrompts:
    """Prompts of GSM8K, for whole solutions or for one piece of reasoning after the other.

    Args:
        step: what one plan step is; see `amp.benchmarks.gsm8k.GSM8K`.
    """

    def __init__(self, step: StepKind = "solution") -> None:
        self._step = step

    @property
    def version(self) -> str:
        return VERSION

    def solve(self, context: StepContext, allocation: Allocation) -> Prompt:
        """Asks for a program if the tool ``python`` is allocated, else for a chain of thought.

        A chain has at most `depth` steps; with depth 0 the answer comes at once. A program begins
        with at most `depth` lines of plan. Where a plan step is a piece of reasoning, the answer
        goes on with what is written already: by at most `depth` lines, by the final answer with
        depth 0, and a program computes the final answer from there.
        """
        if "python" in allocation.tools:
            return self._program(context, allocation.depth)
        if allocation.depth == 0:
            return self._direct(context)
        if self._step == "reasoning":
            return self._piece(context, allocation)
        depth = allocation.depth
        messages = _chain_messages(context, depth, "calculator" in allocation.tools)
        return Prompt(messages, _CHAIN_TOKENS + _TOKENS_A_STEP * depth, version=VERSION)

    def read(
        self, context: StepContext, allocation: Allocation, text: str, uses: tuple[ToolUse, ...]
    ) -> str | None:
        """Reads the final answer as a number such as ``72`` or ``0.5``; equal ones are equal text.

        The output of a program counts, and nothing else if a program failed; without a program
        ``#### N`` or what `read_answer` finds in plain words. A piece of reasoning without a final
        answer is an action itself, in one spelling of white space; one with it is only ``#### N``,
        so that pieces that end alike agree.
        """
        programs = [use for use in uses if use.tool == "python"]
        computed = "python" in allocation.tools
        at_once = allocation.depth == 0 and not computed
        if programs:
            answer = normalise(programs[-1].output) if programs[-1].error is None else None
        elif at_once:
            answer = read_answer(f"#### {text}")  # the prompt ends in the mark
        elif self._step == "solution":
            answer = read_answer(text)
        else:
            answer = final_answer(text)
        if self._step == "solution":
            return answer
        if answer is not None:
            return f"#### {answer}"
        return None if computed or at_once else _piece_of_reasoning(context, text)

    def think(self, context: StepContext, actions: tuple[str, ...], depth: int) -> Prompt:
        question = f"Which one is best? Think in at most {depth} short steps."
        return _choice(context, actions, "-" * len(actions), "", question, None, depth)

    def choose(
        self, context: StepContext, actions: tuple[str, ...], labels: str, thought: str
    ) -> Prompt:
        question = "Reply with the label of the best one."
        return _choice(context, actions, labels, thought, question, "Answer: ", 0)

    def check(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Asks whether the candidate's answer, or piece of reasoning, is right."""
        question = _CHECK.format(goal=_goal(context), answer=candidate.action)
        messages = _messages(_CHECK_SYSTEM, question, _CHECK_PREFIX)
        return Prompt(messages, 1, version=VERSION)

    def critique(self, context: StepContext, candidate: Candidate) -> Prompt:
        """Asks what is wrong with a whole solution, or piece of reasoning, and with its result."""
        result = f"Its result: {candidate.action or 'none'}"
        if candidate.broken_rule is not None:
            result += f"\nA check found: {candidate.broken_rule}"
        question = _CRITIQUE.format(
            goal=_goal(context), solution=candidate.text.strip(), result=result
        )
        messages = _messages(_CRITIQUE_SYSTEM, question)
        return Prompt(messages, _CRITIQUE_TOKENS, version=VERSION)

    def refine(
        self, context: StepContext, allocation: Allocation, candidate: Candidate, critique: str
    ) -> Prompt:
        """Asks the question of `solve` again, after the first answer and the critique of it.

        The chat goes on from the first answer, so that a prefix cache holds all up to there.
        """
        solve = self.solve(context, allocation)
        asked = solve.messages[:-1] if solve.messages[-1].role == "assistant" else solve.messages
        begun = solve.messages[len(asked) :]
        first = "".join(message.content for message in begun) + candidate.text
        told = Message("assistant", first.strip() or _NO_ANSWER)
        again = _REFINE.format(critique=critique, question=asked[-1].content)
        return replace(solve, messages=(*asked, told, Message("user", again), *begun))

    def _program(self, context: StepContext, depth: int) -> Prompt:
        request = _PROGRAM.format(plan=_PLAN.format(depth=depth) if depth else "")
        question = f"{_goal(context)}\n\n{request}"
        messages = _messages(_PROGRAM_SYSTEM, question, _PROGRAM_BEGIN if depth else None)
        max_tokens = _PROGRAM_TOKENS + _TOKENS_A_STEP * depth
        return Prompt(messages, max_tokens, (_PROGRAM_END,), VERSION)

    def _direct(self, context: StepContext) -> Prompt:
        if context.observation.state:
            chain = _chain_messages(context, _LONGEST_CHAIN, calculator=False)
            messages = (*chain, Message("assistant", f"{context.observation.state}\n#### "))
        else:
            messages = (
                *_messages(_DIRECT_SYSTEM, _EXAMPLE, _EXAMPLE_ANSWER),
                Message("user", context.task.goal),
                Message("assistant", "#### "),
            )
        return Prompt(messages, _DIRECT_TOKENS, ("\n",), VERSION)

    def _piece(self, context: StepContext, allocation: Allocation) -> Prompt:
        written = context.observation.state
        first = _next_number(context)
        prefix = f"{written}\n{first}." if written else f"{first}."
        chain = _chain_messages(context, _LONGEST_CHAIN, "calculator" in allocation.tools)
        # A final answer behind the last line is part of the piece; the line after it is not.
        return Prompt(
            (*chain, Message("assistant", prefix)),
            _PIECE_TOKENS * allocation.depth,
            (f"\n{first + allocation.depth}.",),
            VERSION,
        )


def _goal(context: StepContext) -> str:
    """The problem, and the reasoning that is written already."""
    state = context.observation.state
    return f"{context.task.goal}\n\nReasoning so far:\n{state}" if state else context.task.goal


def _messages(system: str, user: str, assistant: str | None = None) -> tuple[Message, ...]:
    messages = (Message("system", system), Message("user", user))
    return messages if assistant is None else (*messages, Message("assistant", assistant))


def _chain_messages(context: StepContext, depth: int, calculator: bool) -> tuple[Message, ...]:
    system = _CHAIN_SYSTEM.format(depth=depth) + (_CALCULATOR if calculator else "")
    steps = _EXAMPLE_CHAINS[min(depth, max(_EXAMPLE_CHAINS))]
    lines = [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
    if calculator:
        lines = [_EQUATION.sub(_annotated, line) for line in lines]
    example = "\n".join([*lines, _EXAMPLE_ANSWER])
    return (*_messages(system, _EXAMPLE, example), Message("user", context.task.goal))


def _annotated(equation: re.Match[str]) -> str:
    return f"<<{equation[1].replace(' ', '')}={equation[2]}>>"


def _next_number(context: StepContext) -> int:
    return len(context.observation.state.splitlines()) + 1


def _piece_of_reasoning(context: StepContext, text: str) -> str | None:
    """The lines of a piece, numbered on from the state; None if there are none."""
    stripped = (" ".join(line.split()) for line in text.splitlines())
    lines = [_LINE_NUMBER.sub("", line, count=1) for line in stripped if line]
    first = _next_number(context)
    return "\n".join(f"{first + i}. {line}" for i, line in enumerate(lines) if line) or None


def _choice(
    context: StepContext,
    actions: tuple[str, ...],
    labels: str,
    thought: str,
    question: str,
    prefix: str | None,
    depth: int,
) -> Prompt:
    parts = [context.task.goal]
    if context.observation.state:
        parts.append(f"So far:\n{context.observation.state}")
    options = zip(labels, actions, strict=True)
    parts.append("\n".join(f"{label} {action}" for label, action in options))
    if thought:
        parts.append(f"You considered: {thought}")
    messages = _messages(_CHOICE_SYSTEM, "\n\n".join([*parts, question]), prefix)
    return Prompt(messages, max(1, _TOKENS_A_THOUGHT * depth), version=VERSION)
