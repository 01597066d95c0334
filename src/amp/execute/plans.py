"""Plans of several actions: written in one call, then followed without any.

A round with the tool `PLAN` has the model write the next actions, one a line, at most
`Allocation.depth` of them. The first one becomes the step's action, the others `Candidate.plan`. A
round with the tool `STANDING_PLAN` takes the next action of that plan as long as it is admissible.

The plan is in the environment's words. How they are asked for and read is a benchmark's own
(`PlanPrompts`); `PlainPlans` fit any task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from amp.execute.meter import Meter
from amp.models.base import Completion, Message, Prompt
from amp.types import (
    PLAN,
    STANDING_PLAN,
    UNAIDED,
    WITHHELD,
    Allocation,
    Candidate,
    Observation,
    StepContext,
    TokenFigures,
    standing_plan,
)

PLAN_TOOLS: Mapping[str, str] = {
    PLAN: "has the model write the next actions, as many as the depth says, in one call",
    STANDING_PLAN: "takes the next action of the plan that an earlier step wrote, without a call",
}
"""Names of tools that every benchmark has, and what they do; the executor itself is these tools."""

_NUMBER = re.compile(r"\s*(?:\d+[.)]|[-*])?\s*")


class PlanPrompts(Protocol):
    """How plans are asked for and read in one kind of task.

    Its texts have a version of their own, so that they leave those of `Prompts` as they are.
    """

    @property
    def version(self) -> str:
        """Name and number, such as ``babyai-plan/1``."""
        ...

    def ask(self, context: StepContext, actions: tuple[str, ...] | None, count: int) -> Prompt:
        """Prompt whose answer is a numbered list of at most `count` actions, one a line.

        Args:
            context: the step.
            actions: the admissible actions; None where an action is free text.
            count: how many, at least 1.
        """
        ...

    def read(self, line: str) -> str | None:
        """Reads a line of a plan, without its number; None for one that is no action at all."""
        ...

    def following(
        self, context: StepContext, plan: tuple[str, ...], actions: tuple[str, ...] | None
    ) -> tuple[str, ...]:
        """Where a plan goes on in a step.

        Args:
            context: the step.
            plan: what is left of the plan.
            actions: the admissible actions; None where an action is free text.

        Returns:
            An admissible action, and the plan that is left after it. Empty if there is none.
        """
        ...


class PlainPlans:
    """Goal, history and state, and a list to go on with; a plan is followed to the letter."""

    version = "plain-plan/1"

    def ask(self, context: StepContext, actions: tuple[str, ...] | None, count: int) -> Prompt:
        lines = [f"Goal: {context.task.goal}"]
        lines += [
            f"Done: {step.action or 'nothing'}. {step.feedback}".rstrip() for step in context.steps
        ]
        if context.observation.state:
            lines.append(f"State: {context.observation.state}")
        if actions is not None:
            lines += ["Possible now:", *(f"- {action}" for action in actions)]
        lines.append("Write the actions from now on as a numbered list, each in the words above.")
        messages = (
            Message("system", "You plan a task step by step. Write actions and nothing else."),
            Message("user", "\n".join(lines)),
        )
        return numbered_list(messages, count, tokens_an_action=24, version=self.version)

    def read(self, line: str) -> str | None:
        return line.strip() or None

    def following(
        self, context: StepContext, plan: tuple[str, ...], actions: tuple[str, ...] | None
    ) -> tuple[str, ...]:
        return plan if plan and (actions is None or plan[0] in actions) else ()


def numbered_list(
    messages: tuple[Message, ...],
    count: int,
    *,
    tokens_an_action: int,
    version: str,
    lead: str = "",
) -> Prompt:
    """Prompt of a plan: its first number is given, and one more number than wanted ends it.

    So the texts are the same however many actions are wanted, and a shorter plan is the beginning
    of a longer one.
    """
    return Prompt(
        (*messages, Message("assistant", f"{lead}1.")),
        max_tokens=tokens_an_action * count,
        stop=(f"\n{count + 1}.", "\n\n"),
        version=version,
    )


async def write_plans(
    context: StepContext,
    allocation: Allocation,
    actions: tuple[str, ...] | None,
    prompt: Prompt,
    prompts: PlanPrompts,
    meter: Meter,
) -> tuple[Candidate, ...]:
    """Returns `beam_width` candidates, each with a plan, from one call.

    Raises:
        LimitReachedError: if not one plan fits the limits.
        ModelError: from the model.
    """
    answers = await meter.generate(
        prompt,
        n=allocation.beam_width,
        temperature=allocation.temperature,
        top_p=allocation.top_p,
    )
    return tuple(_planned(context, allocation.depth, actions, one, prompts) for one in answers)


def plan_in(text: str, count: int, prompts: PlanPrompts, *, cut_off: bool = False) -> list[str]:
    """The actions of a numbered list, `count` at most; a line that can't be read ends it.

    Args:
        text: the answer, behind the first number.
        count: how many at most.
        prompts: reads the lines.
        cut_off: whether the token cap ended it: then its last line is a part of one.
    """
    lines = text.strip().splitlines()
    if cut_off:
        lines = lines[:-1]
    plan: list[str] = []
    for line in lines[:count]:
        action = prompts.read(_NUMBER.sub("", line, count=1))
        if action is None:
            break
        plan.append(action)
    return plan


def planned(context: StepContext, prompts: PlanPrompts) -> tuple[str, ...]:
    """What `StepContext.standing_plan` is to be: the next action, then what is left of the plan.

    The actions are those of the environment with and without its tools, since the plan says itself
    which ones it means; it does not go back to what is listed with `UNAIDED` alone.
    """
    plan = standing_plan(context.steps)
    if not plan:
        return ()
    return prompts.following(context, plan, _all_actions(context.observation))


def _all_actions(observation: Observation) -> tuple[str, ...] | None:
    if observation.actions is None:
        return None
    tools = observation.tool_actions.items()
    with_tools = (action for tool, listed in tools if tool != UNAIDED for action in listed)
    return tuple(dict.fromkeys((*observation.actions, *with_tools)))


def _planned(
    context: StepContext,
    count: int,
    actions: tuple[str, ...] | None,
    answer: Completion,
    prompts: PlanPrompts,
) -> Candidate:
    plan = plan_in(answer.text, count, prompts, cut_off=answer.cut_off)
    following = prompts.following(context, tuple(plan), actions)
    failure = None
    if not following and answer.finish_reason == "filtered":
        failure = WITHHELD
    elif not following:
        failure = "the plan begins with no admissible action" if plan else "no plan could be read"
    return Candidate(
        text=answer.text,
        action=following[0] if following else None,
        log_prob=answer.log_prob,
        entropy=answer.entropy,
        first_entropy=answer.entropies[0] if answer.entropies else None,
        tokens=TokenFigures.of(answer.log_probs, answer.entropies),
        completion_tokens=answer.usage.completion_tokens,
        cut_off=answer.cut_off,
        failure=failure,
        plan=following[1:],
    )
