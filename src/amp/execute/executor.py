"""Carries one allocation out: ExecuteWithResources of spec 3.1, and the probes before it.

A probe measures the model's uncertainty about a step before its first round, for the CAM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from weakref import WeakKeyDictionary

from amp.errors import ModelError
from amp.execute.base import Plausibility, Prompts, Question, Tool, looks_of, no_looks
from amp.execute.checks import Check, refine, rules_of, self_check
from amp.execute.choice_step import (
    MAX_CHOICES,
    ChoiceStep,
    ask,
    at_once,
    labels_for,
    shortlist,
    weigh,
)
from amp.execute.meter import Meter
from amp.execute.observing import executing
from amp.execute.open_step import OpenStep
from amp.execute.plans import PLAN_TOOLS, PlainPlans, PlanPrompts, planned, write_plans
from amp.models.base import Message, Prompt, entropy, normalised, perplexity
from amp.models.chat import MIN_TOKENS
from amp.types import (
    PLAN,
    STANDING_PLAN,
    UNAIDED,
    Allocation,
    Candidate,
    Probe,
    ProbeKind,
    StepContext,
    ToolUse,
)

_NEUTRAL = Prompt(
    (Message("system", "You repeat what you are told."), Message("user", "What is the task?")),
    max_tokens=1,
    version="look/1",
)


async def probe_step(
    prompt: Prompt,
    actions: tuple[str, ...] | None,
    context: StepContext,
    kinds: frozenset[ProbeKind],
    meter: Meter,
    prompts: Prompts,
) -> Probe | None:
    """Makes the model calls of `Executor.probe`.

    Args:
        prompt: the step's prompt at depth 0.
        actions: the admissible actions; None in an open step.
        context: the step.
        kinds: what to measure.
        meter: makes and counts the calls.
        prompts: the texts of a choice.
    """
    next_token: float | None = None
    options: Mapping[str, float] = {}
    hidden: tuple[float, ...] = ()
    no_choice = actions is not None and len(actions) < 2
    if "hidden" in kinds and not no_choice:
        hidden = await _hidden(prompt, meter)
    if actions is None and "next_token" in kinds:
        next_token = await _entropy(prompt, meter)
    if actions is not None and not no_choice and "options" in kinds:
        shares = await weigh(meter, at_once(prompts, context), actions)
        options = {} if shares is None else dict(zip(actions, shares, strict=True))
    surprise = await _perplexity(context, meter) if "perplexity" in kinds else None
    probe = Probe(next_token, options, surprise, hidden)
    return None if probe == Probe() else probe


async def _entropy(prompt: Prompt, meter: Meter) -> float | None:
    if not meter.capabilities.log_probs:
        meter.notes.append("no next-token entropy: the model gives no log-probabilities")
        return None
    token = await meter.next_token(prompt)
    try:
        return entropy(normalised(list(token.log_probs.values())))
    except ValueError as error:
        meter.notes.append(f"no next-token entropy: {error}")
        return None


async def _hidden(prompt: Prompt, meter: Meter) -> tuple[float, ...]:
    if not meter.capabilities.hidden_states:
        meter.notes.append("no hidden state: the model gives none")
        return ()
    return (await meter.next_token(prompt, hidden=True)).hidden or ()


async def _perplexity(context: StepContext, meter: Meter) -> float | None:
    """Perplexity of the goal and the state as an answer of the model to a neutral question."""
    if not meter.capabilities.scoring:
        meter.notes.append("no perplexity of the context: the model scores no text")
        return None
    text = "\n".join(filter(None, [context.task.goal, context.observation.state]))
    try:
        return perplexity((await meter.score(_NEUTRAL, text)).log_probs)
    except (ModelError, ValueError) as error:
        meter.notes.append(f"no perplexity of the context: {error}")
        return None


TOKENS_A_REASONING_STEP = MIN_TOKENS
"""Native thinking tokens for each step of depth: the smallest budget that every API accepts."""

_TEMPLATE_TOKENS = 16
"""More than any chat template adds to a message."""


class Executor:
    """Makes candidates for one plan step with the resources of an allocation.

    A step with listed actions is a choice step: after `depth` steps of reasoning the next-token
    probabilities over the actions' labels are read. Any other step is open: the model writes, tools
    process what it wrote, and `Prompts.read` extracts the action. Before either, the allocated
    tools may give advice, which is appended to the state that the model reads. With the tool `PLAN`
    the model writes several actions instead, and with `STANDING_PLAN` it is not asked
    (`amp.execute.plans`).

    Attributes:
        prompts: all texts for this kind of task.
        tools: the tools that can run here, by name. Tools of the environment need no entry.
        plausibility: what candidates look like; by default nothing is told.
        check: tells from the goal and an action whether the action is right; what it finds wrong
            breaks a rule (verification 1). By default nothing is told.
        plans: how plans of several actions are asked for and read; by default plain ones.
    """

    def __init__(
        self,
        prompts: Prompts,
        tools: Mapping[str, Tool] | None = None,
        plausibility: Plausibility = no_looks,
        check: Check | None = None,
        plans: PlanPrompts | None = None,
    ) -> None:
        self.prompts = prompts
        self.tools = dict(tools or {})
        self.plausibility = plausibility
        self.check = check
        self.plans = plans or PlainPlans()
        self._answers: WeakKeyDictionary[Meter, dict[Question, list[float] | None]]
        self._answers = WeakKeyDictionary()  # there is one meter for each episode

    async def probe(
        self, context: StepContext, kinds: frozenset[ProbeKind], meter: Meter
    ) -> Probe | None:
        """Measures what the model would do at a step, before its first round.

        In a choice step these are the probabilities of the actions without reasoning. A first round
        of depth 0 uses the same ones, so they cost nothing extra. In an open step it is the
        distribution of the first token on the prompt of depth 0 with all tools, which a round on
        that prompt finds in the prefix cache. What the model does not provide is missing from the
        result, and noted in `Meter.notes`.

        Returns:
            The measurements of these kinds that the model provides; None if there are none.

        Raises:
            LimitReachedError: if a call does not fit the limits.
            ModelError: from the model.
        """
        if not kinds:
            return None
        actions = context.offered
        if actions == ():
            return None
        direct = Allocation(tools=frozenset(self.tools))
        context, prompt = await fit_history(
            context, lambda step: step_prompt(self.prompts, step, direct, actions), 1, 0, meter
        )
        return await probe_step(prompt, actions, context, kinds, meter, self.prompts)

    def planned(self, context: StepContext) -> tuple[str, ...]:
        """Returns what `StepContext.standing_plan` is to be at a step; it makes no model call."""
        return planned(context, self.plans)

    async def execute(
        self, context: StepContext, allocation: Allocation, meter: Meter
    ) -> tuple[Candidate, ...]:
        """Returns the candidates of one round, verified as far as allocated.

        Raises:
            LimitReachedError: if the limits do not allow a single candidate.
            ModelError: from the model.
        """
        with executing(context, allocation):
            return await self._execute(context, allocation, meter)

    async def _execute(
        self, context: StepContext, allocation: Allocation, meter: Meter
    ) -> tuple[Candidate, ...]:
        context = replace(context, tools=allocation.tools)
        actions = context.actions(allocation.tools)
        if actions is not None and not actions:
            return (Candidate(text="", action=None, failure="no action is admissible"),)
        if STANDING_PLAN in allocation.tools:
            if following := self.planned(context):
                return (self._looked(context, _followed(following)),)
            meter.notes.append("no standing plan to follow: acted as without one")
        if actions is not None and len(actions) == 1:
            meter.notes.append("no model call for the only admissible action")
            only = Candidate(text="", action=actions[0], probability=1.0)
            return (self._looked(context, only),)
        tools = self._allocated(context, allocation, meter)
        advice = await self._advice(context, tools, meter)
        context = _with_advice(context, advice)
        several = len(meter.models) > 1
        meter = meter.answering(allocation.model)
        for tool in tools.values():
            if tool.model is not None:
                meter = meter.on(tool.model)
        plans = PLAN in allocation.tools and allocation.depth > 0
        thinking = 0 if plans else _thinking_tokens(allocation, meter)
        # A plan and native thinking take the place of the reasoning that the prompt would ask for.
        in_words = replace(allocation, depth=0) if thinking or plans else allocation
        reasons = allocation.depth > 0 and not plans
        if actions is not None and reasons and len(actions) > MAX_CHOICES:
            direct, listed = replace(allocation, depth=0), actions
            context, _ = await fit_history(
                context, lambda step: step_prompt(self.prompts, step, direct, listed), 1, 0, meter
            )
            actions = await shortlist(meter, at_once(self.prompts, context), actions)
        context, prompt = await fit_history(
            context,
            lambda step: (
                self.plans.ask(step, actions, allocation.depth)
                if plans
                else step_prompt(self.prompts, step, in_words, actions)
            ),
            allocation.beam_width,
            thinking,
            meter,
        )
        if actions is None:
            step: OpenStep | ChoiceStep = OpenStep(
                self.prompts, context, in_words, thinking, tools, meter
            )
        else:
            step = ChoiceStep(self.prompts, context, in_words, thinking, actions, meter)
        if plans:
            candidates = await write_plans(context, allocation, actions, prompt, self.plans, meter)
        else:
            candidates = await step.attempt(prompt)
        rules = rules_of(context, actions, self.check)
        if allocation.verification >= 1:
            candidates = rules(candidates)
        if allocation.verification >= 2:
            candidates = await self_check(candidates, context, self.prompts, meter)
        if allocation.verification >= 3:
            candidates = await refine(candidates, context, rules, step, self.prompts, meter)
        return tuple(
            replace(
                self._looked(context, c),
                tool_uses=advice + c.tool_uses,
                model=meter.model.card.name if several else None,
            )
            for c in candidates
        )

    def _looked(self, context: StepContext, candidate: Candidate) -> Candidate:
        return replace(candidate, looks=looks_of(self.plausibility, context, candidate))

    async def advise(
        self, context: StepContext, allocation: Allocation, meter: Meter
    ) -> tuple[ToolUse, ...]:
        """Returns the advice of the allocated tools on a step; the model chooses nothing.

        A tool with `questions` has them answered by the base model first. Failures are noted in
        `Meter.notes`.

        Raises:
            LimitReachedError: if a tool's question does not fit the limits.
            ModelError: from the model.
        """
        return await self._advice(context, self._allocated(context, allocation, meter), meter)

    def _allocated(
        self, context: StepContext, allocation: Allocation, meter: Meter
    ) -> dict[str, Tool]:
        """The allocated tools that run here, in the order of their names."""
        here = {*self.tools, *context.observation.tool_actions, *PLAN_TOOLS, UNAIDED}
        elsewhere = allocation.tools - here
        meter.notes += [f"no tool {name!r} here" for name in sorted(elsewhere)]
        return {name: self.tools[name] for name in sorted(allocation.tools & set(self.tools))}

    async def _advice(
        self, context: StepContext, tools: Mapping[str, Tool], meter: Meter
    ) -> tuple[ToolUse, ...]:
        advice: list[ToolUse] = []
        for tool in tools.values():
            answers = [await self._answer(q, tool, meter) for q in tool.questions(context)]
            use = await meter.advise(tool, tool.informed(context, answers))
            if use is not None and use.error is not None:
                meter.notes.append(f"no advice of {use.tool}: {use.error}")
            elif use is not None:
                advice.append(use)
        return tuple(advice)

    async def _answer(self, question: Question, tool: Tool, meter: Meter) -> list[float] | None:
        """The model's answer to a question of a tool, which stays the same during an episode."""
        answers = self._answers.setdefault(meter, {})
        if question not in answers:
            base = meter.answering(None)
            answers[question] = await ask(base, question.prompt, question.labels)
        if answers[question] is None:
            meter.notes.append(f"the model has no answer to a question of {tool.name}")
        return answers[question]


def step_prompt(
    prompts: Prompts, context: StepContext, allocation: Allocation, actions: tuple[str, ...] | None
) -> Prompt:
    """The first prompt of a round: to answer an open step, to reason about a choice, or to choose.

    Args:
        prompts: the texts.
        context: the step.
        allocation: its depth is the number of reasoning steps in words.
        actions: the admissible actions; None in an open step.
    """
    if actions is None:
        return prompts.solve(context, allocation)
    if allocation.depth > 0:
        return prompts.think(context, actions, allocation.depth)
    shown = actions[:MAX_CHOICES]  # more than that are chosen among in parts
    return prompts.choose(context, shown, labels_for(len(shown)), "")


async def fit_history(
    context: StepContext,
    make_prompt: Callable[[StepContext], Prompt],
    samples: int,
    thinking_tokens: int,
    meter: Meter,
) -> tuple[StepContext, Prompt]:
    """Shortens the history of a step until its prompt and all its answers fit the model's context.

    The older half of the plan steps is dropped repeatedly; `Meter.notes` then has their number. A
    prompt that is too long even without history is passed on, and the model refuses it.

    Args:
        context: the step.
        make_prompt: makes the step's prompt.
        samples: answers that are written in parallel and share the context window.
        thinking_tokens: native thinking of each answer, on top of the prompt's cap.
        meter: the meter of the model.

    Returns:
        The step with the remaining history, and its prompt.
    """
    steps, prompt = context.steps, make_prompt(context)
    room = meter.model.card.context_tokens
    if room is None:
        return context, prompt
    while steps and not await _fits(prompt, room, samples, thinking_tokens, meter):
        steps = steps[(len(steps) + 1) // 2 :]
        prompt = make_prompt(replace(context, steps=steps))
    if cut := len(context.steps) - len(steps):
        meter.notes.append(
            f"{cut} of {len(context.steps)} earlier steps left out of the prompt to fit a context"
            f" of {room} tokens"
        )
    return replace(context, steps=steps), prompt


async def _fits(
    prompt: Prompt, room: int, samples: int, thinking_tokens: int, meter: Meter
) -> bool:
    answers = samples * (prompt.max_tokens + thinking_tokens)
    # No token is shorter than a byte, so most prompts need not be counted.
    texts = [message.content.encode("utf-8", "surrogatepass") for message in prompt.messages]
    if sum(len(text) + _TEMPLATE_TOKENS for text in texts) + answers <= room:
        return True
    return await meter.count_tokens(prompt) + answers <= room


def _followed(following: tuple[str, ...]) -> Candidate:
    return Candidate(text="", action=following[0], plan=following[1:])


def _thinking_tokens(allocation: Allocation, meter: Meter) -> int:
    """Converts the depth into a budget of native thinking, and notes it in `Meter.notes`.

    `amp.models.chat` describes how a back end passes it on: as tokens, or as an effort.

    Returns:
        Tokens; 0 at depth 0, and for models without such a budget, which reason in words.
    """
    if allocation.depth == 0 or not meter.capabilities.thinking_budget:
        return 0
    tokens = allocation.depth * TOKENS_A_REASONING_STEP
    meter.notes.append(f"{tokens} tokens of native thinking for {allocation.depth} reasoning steps")
    return tokens


def _with_advice(context: StepContext, advice: tuple[ToolUse, ...]) -> StepContext:
    """The step with the tools' advice appended to its state."""
    if not advice:
        return context
    observation = context.observation
    state = "\n".join(filter(None, [observation.state, *(use.output for use in advice)]))
    return replace(context, observation=replace(observation, state=state))
