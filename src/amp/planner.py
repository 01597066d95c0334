"""The loop: assess, allocate, execute, verify, repeat (spec 3.1). Read this file first.

A plan step is settled in rounds. With one round a step this is the algorithm of the specification
to the letter; with several, the CAM sees what a round brought and the RAC may stop or buy another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from amp.allocate.base import Allocator
from amp.allocate.rules import HeuristicAllocator
from amp.assess.base import Assessor, WeightedAssessor
from amp.cost import Ledger
from amp.environment import Environment
from amp.errors import InvalidInputError, LimitReachedError, ModelError
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.execute.select import vote
from amp.models.base import LanguageModel
from amp.types import (
    MODEL_ERROR,
    Candidate,
    Complexity,
    Decision,
    Episode,
    Evidence,
    Limits,
    ProbeKind,
    Round,
    StepContext,
    StepRecord,
    Task,
    Transition,
)


class Planner:
    """Plans a task step by step and spends on each step what it needs.

    Attributes:
        model: the base model M.
        executor: carries allocations out; the usual one has plain prompts and no tools.
        assessor: the CAM; the weighted sum of spec 2.2 if none is given.
        allocator: the RAC; the sigmoid maps of spec 3.3 with hand-set signs if none is given.
        limits: hard limits of one episode; the call that would break one is not made.
        max_rounds: rounds a step at most, whatever the allocator says.
        select: which of a step's candidates becomes its action; the vote if none is given.
        probes: what the model is asked about a step before its first round; what the assessor wants
            to know if none are given.
    """

    def __init__(
        self,
        model: LanguageModel,
        executor: Executor | None = None,
        assessor: Assessor | None = None,
        allocator: Allocator | None = None,
        limits: Limits = Limits(steps=100),
        max_rounds: int = 16,
        select: Callable[[Sequence[Candidate]], Candidate | None] = vote,
        probes: frozenset[ProbeKind] | None = None,
    ) -> None:
        if max_rounds < 1:
            raise InvalidInputError(f"max_rounds is {max_rounds}, expected at least 1")
        self.model = model
        self.executor = executor or Executor(PlainPrompts())
        self.assessor = assessor or WeightedAssessor()
        self.allocator = allocator or HeuristicAllocator()
        self.limits = limits
        self.max_rounds = max_rounds
        self.select = select
        self.probes = self.assessor.probes if probes is None else probes

    async def run(
        self,
        task: Task,
        environment: Environment,
        on_step: Callable[[StepRecord], None] | None = None,
    ) -> Episode:
        """Plans one task.

        A limit, an unreadable answer or a failing model is no exception: the episode goes on or
        ends as failed, and its record says why.

        Args:
            task: what to reach.
            environment: where; it is reset first.
            on_step: called with every step as soon as it is done.
        """
        ledger = Ledger(self.limits)
        meter = Meter(self.model, ledger, task.seed)
        steps: list[StepRecord] = []  # p <- {}, u <- 0
        state = Transition(environment.reset(task), done=False)  # s <- s0
        while not state.done and ledger.begin_step():  # s != g and not timeout
            context = StepContext(task, state.observation, tuple(steps))
            step = await self._plan_step(context, meter)
            if step.action is not None:
                state = environment.step(step.action)  # s <- Execute(s, next_step)
                step = replace(step, feedback=state.feedback)
            steps.append(step)  # p <- p + {next_step}
            if on_step is not None:
                on_step(step)
        success = state.success if state.done else False
        ended = "done" if state.done else ledger.ending
        return Episode(task, tuple(steps), success, state.score, ledger.usage, ended)

    async def _plan_step(self, context: StepContext, meter: Meter) -> StepRecord:
        """Decides one step: rounds of c <- CAM(M, s, p), r <- RAC(c), ExecuteWithResources(r)."""
        ledger, before = meter.ledger, meter.ledger.usage
        rounds: list[Round] = []
        failure: str | None = None
        complexity = Complexity(0.0)
        stop: Decision | None = None
        try:
            if self.probes:
                probe = await self.executor.probe(context, self.probes, meter)
                context = replace(context, evidence=Evidence(probe=probe))
            while True:
                context = replace(context, remaining=ledger.remaining)
                complexity = self.assessor.assess(context)
                decision = self.allocator.allocate(context, complexity)
                if decision.allocation is None:
                    stop = decision
                    break
                if len(rounds) == self.max_rounds:
                    break
                spent = ledger.usage
                candidates = await self.executor.execute(context, decision.allocation, meter)
                rounds.append(
                    Round(
                        complexity=complexity,
                        allocation=decision.allocation,
                        log_prob=decision.log_prob,
                        latents=decision.latents,
                        candidates=candidates,
                        usage=ledger.usage - spent,
                        substitutes=meter.take_notes(),
                    )
                )
                evidence = context.evidence.after(candidates, decision.allocation.tools)
                context = replace(context, evidence=evidence)
        except LimitReachedError as limit:
            failure = str(limit)
        except ModelError as error:
            failure, ledger.exhausted = str(error), MODEL_ERROR
        chosen = self.select(context.evidence.candidates)
        if chosen is None and failure is None:
            failure = _first_failure(rounds)
        return StepRecord(
            observation=context.observation,
            rounds=tuple(rounds),
            complexity=complexity,
            action=None if chosen is None else chosen.action,
            usage=ledger.usage - before,
            failure=failure,
            stop=stop,
            probe=context.evidence.probe,
        )


def _first_failure(rounds: list[Round]) -> str:
    failures = (c.failure for r in rounds for c in r.candidates if c.failure)
    return next(failures, "no round was allocated")
