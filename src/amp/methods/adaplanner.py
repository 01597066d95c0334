"""AdaPlanner-style: a whole plan first, refined when it fails (Sun et al. 2023, 2305.16653).

Not covered: the skills that the paper keeps from solved tasks, and refinement within a step by
asking the model to fill in what an observation left open. A change of any prompt's text is a new
`VERSION`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from amp.errors import InvalidInputError
from amp.execute.base import Tool
from amp.execute.choice_step import ask
from amp.execute.executor import Executor
from amp.execute.open_step import written
from amp.methods.base import BaselinePlanner, Trajectory, candidate_of
from amp.models.base import LanguageModel, Message, Prompt
from amp.types import Allocation, Candidate, Limits, StepContext

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
_EXPECT = re.compile(r"expect(?:ed)?\s*:", re.IGNORECASE)
_SEPARATOR = re.compile(r"(?:[-|;,]|=>)\Z")


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One line of a plan: an action and what should be observed after it; empty if it says none."""

    action: str
    expected: str = ""


def plan_prompt(context: StepContext, actions: Sequence[str], trouble: str) -> Prompt:
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
    """Reads the answer to `plan_prompt`, without its first number; empty if no action is found."""
    steps = []
    for line in f"1.{text}".splitlines():
        if (match := _STEP.match(line)) is None:
            continue
        action, *expected = _EXPECT.split(match[1], maxsplit=1)
        if expected:
            action = _SEPARATOR.sub("", action.rstrip())
        action = action.strip().strip(" .*`|")
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


_OUT_OF_REFINEMENTS = "limit of refinements"

# What an environment says of an action that came to nothing.
_FAILED = re.compile(
    r"\b(?:could not|couldn't|did not|didn't|cannot|can't|nothing (?:happen|new)|gave up|fail)",
    re.IGNORECASE,
)


class AdaPlanner(BaselinePlanner):
    """Writes a whole plan, carries it out, and rewrites what is left when an assertion fails.

    Where actions are listed, a plan is a list of actions, each with what should be observed after
    it. It is refined when the next action is not admissible, the environment says that an action
    failed, the model finds that it did not come out as expected, or the plan is over before the
    task is. Elsewhere a plan is a Python program with assertions, which the tool ``python`` of the
    executor runs, and an error or a failed assertion is what it is refined with.

    Attributes:
        max_refinements: new plans after the first one of an episode (of a step, for programs).
    """

    version = VERSION

    def __init__(
        self,
        model: LanguageModel,
        executor: Executor,
        allocation: Allocation = Allocation(),
        limits: Limits = Limits(steps=100),
        max_refinements: int = 3,
    ) -> None:
        if max_refinements < 0:
            raise InvalidInputError(f"max_refinements is {max_refinements}, expected at least 0")
        super().__init__(model, executor, allocation, limits)
        self.max_refinements = max_refinements

    async def _plan(self, run: Trajectory) -> str | None:
        if run.context.actions(self.allocation.tools) is not None:
            return await self._carry_out(run)
        python = self.executor.tools.get("python")
        if python is None:
            raise InvalidInputError(
                "adaplanner solves tasks without listed actions by programs; "
                "give the executor the tool 'python'"
            )
        while run.open_step():
            action, failure = await self._program(run, python)
            if action is None:
                run.close_step(failure)
                return _OUT_OF_REFINEMENTS
            await run.act(action)
            run.close_step()
        return None

    # ------------------------------------------------------------------ listed actions

    async def _carry_out(self, run: Trajectory) -> str | None:
        plan: tuple[PlannedStep, ...] = ()
        trouble, plans = "", 0
        while run.open_step():
            actions = run.context.actions(self.allocation.tools) or ()
            while (action := _grounded(plan, actions)) is None:
                if plan:
                    trouble = f"{plan[0].action!r} is not possible now"
                if plans > self.max_refinements:
                    run.close_step(trouble)
                    return _OUT_OF_REFINEMENTS
                plan, plans = await self._write(run, actions, trouble), plans + 1
                trouble = trouble if plan else "no plan could be read"
            step, *rest = plan
            run.note(self._granted, Candidate(text=step.action, action=action))
            await run.act(action)
            plan, trouble = tuple(rest), ""
            if not run.state.done:
                trouble = await self._violation(run, step)
                if trouble:
                    plan = ()
                elif not plan:
                    trouble = "all of it was carried out, and the goal is not reached yet"
            run.close_step()
        return None

    async def _write(
        self, run: Trajectory, actions: Sequence[str], trouble: str
    ) -> tuple[PlannedStep, ...]:
        drawn = await run.meter.generate(
            plan_prompt(run.context, actions, trouble),
            temperature=self.allocation.temperature,
            top_p=self.allocation.top_p,
        )
        plan = read_plan(drawn[0].text)
        action = _grounded(plan, actions)
        run.note(
            self._granted,
            candidate_of(drawn[0], action, "the plan begins with no possible action"),
        )
        return plan

    async def _violation(self, run: Trajectory, step: PlannedStep) -> str:
        """Describes what is wrong with the result of a step; empty if it is as expected."""
        feedback = run.state.feedback
        if _FAILED.search(feedback):
            return feedback
        expected = _plain(step.expected)
        observed = _plain(f"{feedback} {run.state.observation.state}")
        if not expected or f" {expected} " in f" {observed} ":
            return ""
        answer = await ask(run.meter, holds(run.context, step, feedback), ("yes", "no"))
        if answer is None or answer[0] >= answer[1]:
            return ""
        return f"after {step.action!r} you expected {step.expected!r}, but: {feedback}"

    # ------------------------------------------------------------------ programs

    async def _program(self, run: Trajectory, python: Tool) -> tuple[str | None, str]:
        """The answer of the first program that runs, or None; and what was wrong at the end.

        A program that comes back as it was ends it: it would fail again.
        """
        granted = replace(self._granted, tools=frozenset({python.name}))
        failed = trouble = ""
        for _ in range(self.max_refinements + 1):
            answers = await written(
                run.meter,
                program(run.context, failed, trouble),
                temperature=granted.temperature,
                top_p=granted.top_p,
            )
            text = f"{REPAIR_BEGIN if trouble else ''}{answers[0].text}"
            again = _bare(text) == _bare(failed)
            use = await run.meter.use(python, text)
            failed, trouble, answer = text, "no program could be read", None
            if use is not None:
                answer = use.output.strip() or None
                trouble = use.error or "the result is empty"
            candidate = candidate_of(answers[0], answer, trouble)
            uses = () if use is None else (use,)
            run.note(granted, replace(candidate, tool_uses=uses))
            if answer is not None:
                return answer, ""
            if again:
                break
        return None, trouble

    @property
    def _granted(self) -> Allocation:
        return replace(self.allocation, depth=0, beam_width=1, verification=0)


def _bare(program: str) -> str:
    return program.replace(REPAIR_BEGIN, "").strip()


def _grounded(plan: Sequence[PlannedStep], actions: Sequence[str]) -> str | None:
    """The admissible action that the plan's next step names, or begins the name of; else None."""
    if not plan or not (named := _plain(plan[0].action)):
        return None
    exact = (action for action in actions if _plain(action) == named)
    longer = (action for action in actions if _plain(action).startswith(f"{named} "))
    return next(exact, next(longer, None))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))
