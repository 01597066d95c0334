"""The loop: assess, allocate, execute, verify, repeat (spec 3.1). Read this file first.

Each plan step is decided in one or more rounds of three parts. The complexity assessment module
(CAM, `amp.assess`) scores how hard the step is, the resource allocation controller (RAC,
`amp.allocate`) turns the score into what the round may spend, and the executor (`amp.execute`)
spends it. With one round a step this is exactly the algorithm of the specification; with several,
the CAM sees the results so far and the RAC decides whether to stop or to spend more.

"Spec 3.1" here and elsewhere is section 3.1 of the specification of Adaptive Meta-Planning; its
algorithm and its symbols are in docs/concepts.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from amp.allocate import AUTO, Allocator, EscalatingAllocator, make_allocator
from amp.assess.base import Assessor, Rater, WeightedAssessor
from amp.cost import Ledger
from amp.environment import AsyncEnvironment, Environment
from amp.errors import (
    EnvironmentFailedError,
    InvalidInputError,
    LimitReachedError,
    ModelError,
    did_you_mean,
)
from amp.execute.base import PlainPrompts
from amp.execute.boundary import act, is_dead_end, open_task, task_of
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.models.base import LanguageModel, by_name
from amp.models.registry import load_model
from amp.types import (
    DEAD_END,
    ENVIRONMENT_ERROR,
    GIVEN_UP,
    MODEL_ERROR,
    Candidate,
    Complexity,
    Decision,
    Episode,
    Evidence,
    Limits,
    Probe,
    ProbeKind,
    Round,
    StepContext,
    StepRecord,
    Task,
    Transition,
    decided_by,
    first_failure,
)
from amp.votes import chooser


class Planner:
    """Plans a task step by step and spends on each step what it needs.

    Attributes:
        model: the base model M; a name is loaded as `amp.load_model` does. Of a list, the first
            is the base model, and the others answer where an allocation names them.
        others: those others; a name is that on the model's card.
        executor: carries allocations out; by default with plain prompts and no tools.
        assessor: the CAM; by default the weighted sum of spec 2.2.
        allocator: the RAC, or a name or file for `amp.allocate.make_allocator`; by default
            `EscalatingAllocator`, which acts at once and spends more only where there is evidence
            of trouble.
        limits: hard limits of one episode, as `Limits` or a mapping of its fields; a call that
            would exceed one is not made.
        max_rounds: most rounds of a step, whatever the allocator decides.
        rater: says of each candidate how probably it is right; None weighs all votes alike.
        select: chooses the candidate whose action is carried out; by default the one that the
            allocator names when it stops, else by the vote that weighs what the rater says.
        probes: measurements of the model before the first round of each step; by default those that
            the assessor needs, and none where that was not named and the allocator does not read
            the complexity.
    """

    def __init__(
        self,
        model: LanguageModel | str | Sequence[LanguageModel | str],
        executor: Executor | None = None,
        assessor: Assessor | None = None,
        allocator: Allocator | str | None = None,
        limits: Limits | Mapping[str, Any] = Limits(steps=100),
        max_rounds: int = 16,
        select: Callable[[Sequence[Candidate]], Candidate | None] | None = None,
        probes: frozenset[ProbeKind] | None = None,
        rater: Rater | None = None,
    ) -> None:
        if max_rounds < 1:
            raise InvalidInputError(f"max_rounds is {max_rounds}, expected at least 1")
        several = model if isinstance(model, list | tuple) else (model,)
        models = by_name([load_model(m) if isinstance(m, str) else m for m in several])
        self.model, *self.others = models.values()
        self.executor = executor or Executor(PlainPrompts())
        self.assessor = assessor or WeightedAssessor()
        self.allocator = _allocator(allocator)
        self.limits = limits if isinstance(limits, Limits) else _limits(limits)
        ledger = Ledger(self.limits)  # refuses limits that allow nothing, before a task is planned
        if self.others:
            for each in models.values():
                ledger.check_price(each.card)  # or the first task that needs it would find out
        self.max_rounds = max_rounds
        self.select = select
        self.rater = rater
        is_read = assessor is not None or self.allocator.uses_complexity
        self.probes = (
            (self.assessor.probes if is_read else frozenset()) if probes is None else probes
        )

    async def run(
        self,
        task: Task | str,
        environment: Environment | AsyncEnvironment,
        on_step: Callable[[StepRecord], None] | None = None,
    ) -> Episode:
        """Plans one task.

        A limit, an unreadable answer, a failing model, a refused action or an error in the
        environment's `step` raises nothing: the episode continues or ends as failed, and its
        record gives the reason.

        Args:
            task: the task to plan, or its goal in words.
            environment: where actions are carried out; it is reset first. Its methods may be async.
            on_step: called with each step when it is finished.

        Raises:
            EnvironmentFailedError: if the environment cannot be reset.
        """
        task = task_of(task)
        ledger = Ledger(self.limits)
        meter = Meter(self.model, ledger, task.seed, self.others)
        steps: list[StepRecord] = []  # p <- {}, u <- 0
        patience = self.limits.environment_seconds
        state = Transition(await open_task(environment, task, patience), done=False)  # s <- s0
        while not state.done and ledger.begin_step():  # s != g and not timeout
            if is_dead_end(state.observation):
                ledger.ended_by = DEAD_END
                break
            context = StepContext(task, state.observation, tuple(steps))
            context = replace(context, standing_plan=self.executor.planned(context))
            step = await self._plan_step(context, meter)
            if step.action is not None:
                try:
                    # s <- Execute(s, next_step)
                    state = await act(environment, step.action, patience)
                    step = replace(step, feedback=state.feedback)
                except EnvironmentFailedError as error:
                    step, ledger.ended_by = replace(step, failure=str(error)), ENVIRONMENT_ERROR
            steps.append(step)  # p <- p + {next_step}
            if on_step is not None:
                on_step(step)
        success = state.success if state.done else False
        ended = "done" if state.done else ledger.ending
        by_model = ledger.by_model if self.others else {}
        return Episode(task, tuple(steps), success, state.score, ledger.usage, ended, by_model)

    async def _plan_step(self, context: StepContext, meter: Meter) -> StepRecord:
        """Decides one step: rounds of c <- CAM(M, s, p), r <- RAC(c), ExecuteWithResources(r)."""
        ledger, usage_before_step = meter.ledger, meter.ledger.usage
        rounds: list[Round] = []
        failure: str | None = None
        complexity = Complexity(0.0)
        stop: Decision | None = None
        try:
            if self.probes:
                probe = await self._probe(context, meter)
                context = replace(context, evidence=Evidence(probe=probe))
            usage_before_round = ledger.usage
            while True:
                spent, failed = ledger.usage - usage_before_step, frozenset(meter.failed)
                context = replace(context, remaining=ledger.remaining, usage=spent, failed=failed)
                complexity = self.assessor.assess(context)
                decision = self.allocator.allocate(context, complexity)
                if decision.allocation is None:
                    stop = decision
                    if decision.give_up:
                        failure, ledger.ended_by = f"{GIVEN_UP}: {decision.give_up}", GIVEN_UP
                    break
                if len(rounds) == self.max_rounds:
                    break  # only now, so that a stop of the allocator itself is recorded as one
                candidates: tuple[Candidate, ...] = ()
                try:
                    with ledger.at_most(decision.max_tokens):
                        candidates = await self.executor.execute(
                            context, decision.allocation, meter
                        )
                except ModelError as error:
                    meter.mask(error)
                    continue  # the allocator goes on without this model
                if self.rater is not None:
                    candidates = self.rater.rate(context, candidates)
                rounds.append(
                    Round(
                        complexity=complexity,
                        allocation=decision.allocation,
                        log_prob=decision.log_prob,
                        latents=decision.latents,
                        candidates=candidates,
                        usage=ledger.usage - usage_before_round,
                        substitutes=meter.take_notes(),
                    )
                )
                usage_before_round = ledger.usage
                evidence = context.evidence.after(candidates, decision.allocation.tools)
                context = replace(context, evidence=evidence)
        except LimitReachedError as error:
            failure = str(error)
        except ModelError as error:
            failure, ledger.ended_by = str(error), MODEL_ERROR
        if rounds and self.others:  # a model that failed, and nothing was asked since
            told = (*rounds[-1].substitutes, *meter.take_notes())
            rounds[-1] = replace(rounds[-1], substitutes=told)
        if self.select is not None and stop is not None:
            stop = replace(stop, winner=None)  # the record names nobody but who was chosen
        chosen = (self.select or chooser(stop))(context.evidence.candidates)
        if chosen is None and failure is None:
            failure = first_failure(rounds)
        decided, final = decided_by(rounds, complexity)
        return StepRecord(
            observation=context.observation,
            rounds=tuple(rounds),
            complexity=decided,
            action=None if chosen is None else chosen.action,
            usage=ledger.usage - usage_before_step,
            failure=failure,
            stop=stop,
            probe=context.evidence.probe,
            final_complexity=final,
        )

    async def _probe(self, context: StepContext, meter: Meter) -> Probe | None:
        """What the base model would do; None once it failed, as assessors know no other model."""
        base = self.model.card.name
        if base not in meter.failed:
            try:
                return await self.executor.probe(context, self.probes, meter)
            except ModelError as error:
                meter.mask(error)
        meter.notes.append(f"no probe: model {base} failed")
        return None


def _allocator(allocator: Allocator | str | None) -> Allocator:
    if allocator is None or allocator == AUTO:
        return EscalatingAllocator()
    return make_allocator(allocator) if isinstance(allocator, str) else allocator


def _limits(named: Mapping[str, Any]) -> Limits:
    known = [field.name for field in fields(Limits)]
    for name, value in named.items():
        if name not in known:
            raise InvalidInputError(
                f"unknown limit {name!r}{did_you_mean(name, known)} (limits: {', '.join(known)})"
            )
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise InvalidInputError(f"limit {name} is {value!r}, expected a number")
    return Limits(**named)
