"""AdaPlanner-style: a whole plan first, refined when it fails (Sun et al. 2023, 2305.16653).

Not covered: the skills that the paper keeps from solved tasks, and refinement within a step by
asking the model to fill in what an observation left open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from amp.errors import InvalidInputError
from amp.execute.base import Tool
from amp.execute.choice import ask
from amp.execute.executor import Executor
from amp.models.base import LanguageModel
from amp.planners import adaplanner_prompts as prompts
from amp.planners.adaplanner_prompts import PlannedStep
from amp.planners.base import BaselinePlanner, Trajectory, candidate_of
from amp.types import Allocation, Candidate, Limits

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
        most_refinements: new plans after the first one of an episode (of a step, for programs).
    """

    version = prompts.VERSION

    def __init__(
        self,
        model: LanguageModel,
        executor: Executor,
        allocation: Allocation = Allocation(),
        limits: Limits = Limits(steps=100),
        most_refinements: int = 3,
    ) -> None:
        if most_refinements < 0:
            raise InvalidInputError(f"most_refinements is {most_refinements}, expected at least 0")
        super().__init__(model, executor, allocation, limits)
        self.most_refinements = most_refinements

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
            run.act(action)
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
                if plans > self.most_refinements:
                    run.close_step(trouble)
                    return _OUT_OF_REFINEMENTS
                plan, plans = await self._write(run, actions, trouble), plans + 1
                trouble = trouble if plan else "no plan could be read"
            step, *rest = plan
            run.note(self._granted, Candidate(text=step.action, action=action))
            run.act(action)
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
        written = await run.meter.generate(
            prompts.plan(run.context, actions, trouble),
            temperature=self.allocation.temperature,
            top_p=self.allocation.top_p,
        )
        plan = prompts.read_plan(written[0].text)
        action = _grounded(plan, actions)
        run.note(
            self._granted,
            candidate_of(written[0], action, "the plan begins with no possible action"),
        )
        return plan

    async def _violation(self, run: Trajectory, step: PlannedStep) -> str:
        """Says what is wrong with what came of a step; empty if it is as expected."""
        feedback = run.state.feedback
        if _FAILED.search(feedback):
            return feedback
        expected = _plain(step.expected)
        observed = _plain(f"{feedback} {run.state.observation.state}")
        if not expected or f" {expected} " in f" {observed} ":
            return ""
        answer = await ask(run.meter, prompts.holds(run.context, step, feedback), ("yes", "no"))
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
        for _ in range(self.most_refinements + 1):
            written = await run.meter.generate(
                prompts.program(run.context, failed, trouble),
                temperature=granted.temperature,
                top_p=granted.top_p,
            )
            text = f"{prompts.REPAIR_BEGIN if trouble else ''}{written[0].text}"
            again = _bare(text) == _bare(failed)
            use = await run.meter.use(python, text)
            failed, trouble, answer = text, "no program could be read", None
            if use is not None:
                answer = use.output.strip() or None
                trouble = use.error or "the result is empty"
            candidate = candidate_of(written[0], answer, trouble)
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
    return program.replace(prompts.REPAIR_BEGIN, "").strip()


def _grounded(plan: Sequence[PlannedStep], actions: Sequence[str]) -> str | None:
    """The admissible action that the plan's next step names, or begins the name of; else None."""
    if not plan or not (named := _plain(plan[0].action)):
        return None
    exact = (action for action in actions if _plain(action) == named)
    longer = (action for action in actions if _plain(action).startswith(f"{named} "))
    return next(exact, next(longer, None))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))
