"""Asks every arm in every state that any arm reaches: the states of a task as a lattice.

A state is all that what follows depends on: the number of steps so far, the environment's state,
what the prompts read of the plan so far, and the plan that stands. So two ways that come to the
same state go on alike, and whatever two arms do alike is there once. Where the environment does not
tell its states apart (`Recognisable`), or the prompts not what they read (`Forgetful`), that is the
actions so far and what came of them. What candidates look like is no part of it, since that tells
how long a plan is and what it repeats.

States are visited from the lines of fixed allocations on: first those that one arm alone comes to,
or an arm that follows the plan that stands where there is one; then those that take one change of
the line, and so on; of equals the nearest to the beginning.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from amp.benchmarks.base import Benchmark
from amp.cost import Ledger, charged
from amp.environment import Environment, Forkable, Observation, Recognisable, Transition
from amp.errors import AmpError, EnvironmentFailedError, InvalidInputError
from amp.execute.base import Forgetful
from amp.execute.boundary import act, is_dead_end, open_task
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.execute.tools import RecordedTool
from amp.models.base import Completion, NextToken, Prompt
from amp.models.recorded import RecordedModel
from amp.simulate.lattice_states import (
    ArmAnswer,
    Arms,
    LatticeEdge,
    LatticeState,
    StepChoice,
    TaskLattice,
    choice_of,
)
from amp.types import (
    STANDING_PLAN,
    Candidate,
    Complexity,
    Evidence,
    Limits,
    Probe,
    Round,
    StepContext,
    StepRecord,
    Task,
    Usage,
    standing_plan,
)
from amp.votes import weighted_vote

ENDS_HERE = ""
"""In place of a choice: a way that ends in a state, not by what was done there."""

_log = logging.getLogger(__name__)
_NOT_ASSESSED = Complexity(0.0)
_NAME_BYTES = 12


class ReplayError(AmpError):
    """The same actions led an environment to another state than before."""


class _Line(NamedTuple):
    """A fixed allocation: an arm everywhere, or wherever there is no plan to follow."""

    arm: str
    follows: bool


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A way to a state.

    Attributes:
        name: of the state.
        steps: of the way.
        observation: what the environment shows there.
        fingerprint: of the environment.
        changes: how often the way changes from line to line, if it ends on this one.
    """

    name: str
    steps: tuple[StepRecord, ...]
    observation: Observation
    fingerprint: str
    changes: Mapping[_Line, int]


def executor_of(benchmark: Benchmark, model: RecordedModel) -> Executor:
    """Asks what a benchmark asks; what its tools say is kept beside the model's answers."""
    kept, told = model.recording, benchmark.defaults
    tools = {name: RecordedTool(tool, kept) for name, tool in benchmark.tools.items()}
    return Executor(benchmark.prompts, tools, told.plausibility, plans=told.plans)


class Explorer:
    """Visits the states of tasks.

    Args:
        model: the model behind its recording, or the recording alone.
        benchmark: whose tasks they are.
        arms: what is asked.
        cap: states of a task that are visited at most.
        max_steps: plan steps of an episode at most; None for the benchmark's.

    Raises:
        InvalidInputError: if the cap is less than 1.
    """

    def __init__(
        self,
        model: RecordedModel,
        benchmark: Benchmark,
        arms: Arms,
        cap: int = 100,
        max_steps: int | None = None,
    ) -> None:
        if cap < 1:
            raise InvalidInputError(f"nodes is {cap}, expected at least 1")
        self._model = model
        self._benchmark = benchmark
        self._arms = arms
        self._cap = cap
        self._max_steps = max_steps or benchmark.max_steps
        self._executor = executor_of(benchmark, model)
        self._told: set[str] = set()

    async def explore(self, task: Task, ways: Sequence[Sequence[str]] = ()) -> TaskLattice:
        """Visits the states of a task; the same answers give the same states.

        Args:
            task: the task.
            ways: names of the choices of episodes, whose states are visited beyond the cap;
                `ENDS_HERE` last visits the state that the others lead to.

        Raises:
            InvalidInputError: if on such a way a choice is none that the arms make there.
            ReplayError: if the same actions led to another state than before.
            EnvironmentFailedError: if the environment cannot be reset.
            ModelError: from the model.
            RecordingError: in a replay, if an answer is missing.
        """
        states: dict[str, LatticeState] = {}
        prompts: set[str] = set()
        environment = self._benchmark.environment(task)
        observation = await open_task(environment, task)
        lines = [_Line(arm, follows) for follows in (False, True) for arm in self._arms.named]
        changes = {line: int(self._arms.main not in (None, line.arm)) for line in lines}
        first = self._arrival(task, (), observation, environment, changes)
        reached = {first.name: first}

        async def visit(arrival: _Arrival) -> list[_Arrival]:
            state = states[arrival.name] = await self._ask_all(task, arrival, prompts)
            arrivals = await self._go_on(state, arrival, environment)
            for one in arrivals:
                reached.setdefault(one.name, one)
            return arrivals

        waiting, count = [(0, 0, 0, first)], 1
        while waiting and len(states) < self._cap:
            *_, arrival = heapq.heappop(waiting)
            if arrival.name not in states:
                for further in await visit(arrival):
                    key = (min(further.changes.values()), len(further.steps), count)
                    heapq.heappush(waiting, (*key, further))
                    count += 1
        for way in ways:
            name: str | None = first.name
            for made in way:
                if name is None:
                    break
                if name not in states:
                    await visit(reached[name])
                name = None if made == ENDS_HERE else states[name].after(made)
        for state in states.values():
            for choice, lead in state.leads.items():
                if lead.to is not None and lead.to not in states:
                    state.leads[choice] = replace(lead, to=None, outside=True)
        return TaskLattice(task, states, len(reached.keys() - states.keys()), len(prompts))

    def _arrival(
        self,
        task: Task,
        steps: tuple[StepRecord, ...],
        observation: Observation,
        environment: Environment,
        changes: Mapping[_Line, int],
    ) -> _Arrival:
        fingerprint = _fingerprint(environment, steps)
        told = [
            *(task.id, task.seed, len(steps), fingerprint, list(standing_plan(steps))),
            *(observation.state, observation.actions, observation.distance, observation.symbols),
            {name: list(actions) for name, actions in observation.tool_actions.items()},
            self._remembered(StepContext(task, observation, steps)),
        ]
        return _Arrival(_digest(told), steps, observation, fingerprint, changes)

    def _remembered(self, context: StepContext) -> object:
        """What this step and all later ones read of the plan so far."""
        prompts, own = self._benchmark.prompts, self._benchmark.tools.keys()
        tools = {arm.tools for arm in self._arms.named.values()}
        if isinstance(prompts, Forgetful) and not any(one & own for one in tools):
            return [prompts.remembers(context, one) for one in sorted(tools, key=sorted)]
        return [(step.action, step.feedback) for step in context.steps]

    async def _ask_all(self, task: Task, arrival: _Arrival, prompts: set[str]) -> LatticeState:
        left = Limits(steps=self._max_steps - len(arrival.steps) - 1)
        context = StepContext(task, arrival.observation, arrival.steps, remaining=left)
        context = replace(context, standing_plan=self._executor.planned(context))
        probe, context = await self._probe(context, prompts)
        asked = {name: await self._ask(context, name, prompts) for name in self._arms.named}
        return LatticeState(arrival.name, context, probe, asked)

    async def _probe(
        self, context: StepContext, prompts: set[str]
    ) -> tuple[ArmAnswer, StepContext]:
        meter = self._meter(context)
        probe: Probe | None = None
        if self._arms.probes:
            probe = await self._executor.probe(context, self._arms.probes, meter)
        prompts |= meter.prompts
        context = replace(context, evidence=Evidence(probe=probe))
        return meter.came(()), context

    async def _ask(
        self, context: StepContext, arm: str, prompts: set[str]
    ) -> tuple[ArmAnswer, ...]:
        """Asks an arm as often as is wanted, as a planner would in rounds one after the other."""
        meter, allocation = self._meter(context), self._arms.named[arm]
        answers: list[ArmAnswer] = []
        for _ in range(self._arms.times(arm)):
            candidates = await self._executor.execute(context, allocation, meter)
            evidence = context.evidence.after(candidates, allocation.tools)
            context = replace(context, evidence=evidence)
            answers.append(meter.came(candidates))
        prompts |= meter.prompts
        return tuple(answers)

    def _meter(self, context: StepContext) -> _Meter:
        return _Meter(self._model, Ledger(Limits()), context.task.seed)

    # ----------------------------------------------------------------------- going on

    async def _go_on(
        self, state: LatticeState, arrival: _Arrival, environment: Environment
    ) -> list[_Arrival]:
        """Carries out every action that is proposed in a state."""
        task, arrivals = state.context.task, list[_Arrival]()
        here: _Reached | None = None
        choices = self._choices(state)
        for number, (choice, (record, arms)) in enumerate(choices.items(), 1):
            if here is None:
                here = await _reach_again(environment, task, arrival)
            now, here = here, here.copy() if number < len(choices) else None
            try:
                after = await now.after(choice.action)
            except EnvironmentFailedError as error:  # ends the episode, as in the planner
                after = replace(now.last, done=True, success=False)
                if (told := str(error)) not in self._told:
                    self._told.add(told)
                    _log.warning("%s: %s; the task is lost there", task.id, told)
            said = after.feedback
            ended = after.done or len(arrival.steps) + 1 == self._max_steps
            if ended or is_dead_end(after.observation):
                success = after.success if after.done else False
                state.leads[choice] = LatticeEdge(None, False, success, after.score, said)
                continue
            changes = self._changes(state, arrival.changes, arms)
            steps = (*arrival.steps, replace(record, feedback=said))
            further = self._arrival(task, steps, after.observation, now.environment, changes)
            state.leads[choice] = LatticeEdge(further.name, feedback=said)
            arrivals.append(further)
        return arrivals

    def _changes(
        self, state: LatticeState, before: Mapping[_Line, int], arms: set[str]
    ) -> dict[_Line, int]:
        """The changes of the line on the way after a choice that these arms make."""
        least, stands = min(before.values()) + 1, bool(state.context.standing_plan)
        followed = any(STANDING_PLAN in self._arms.named[arm].tools for arm in arms)

        def makes(line: _Line) -> bool:
            return followed if line.follows and stands else line.arm in arms

        return {
            line: min(count, least) if makes(line) else least + 1 for line, count in before.items()
        }

    def _choices(self, state: LatticeState) -> dict[StepChoice, tuple[StepRecord, set[str]]]:
        """What may settle the step, with a record of it, and the arms that settle it so alone.

        Whatever several rounds come to, a candidate of one of them stands for it.
        """
        found: dict[StepChoice, tuple[StepRecord, set[str]]] = {}
        for arm, answers in state.asked.items():
            for answer in answers:
                winner = weighted_vote(answer.candidates)
                others = (c for c in answer.candidates if c.action is not None)
                for candidate in (winner, *others):
                    action = None if candidate is None else candidate.action
                    choice = choice_of(() if candidate is None else (candidate,), action)
                    if choice not in found:
                        found[choice] = self._record(state, arm, answer, candidate), set()
                    if candidate is winner:
                        found[choice][1].add(arm)
        return found

    def _record(
        self, state: LatticeState, arm: str, answer: ArmAnswer, candidate: Candidate | None
    ) -> StepRecord:
        usage = answer.usage + sum(answer.readings.values(), Usage())
        candidates = answer.candidates if candidate is None else (candidate,)
        made = Round(_NOT_ASSESSED, self._arms.named[arm], 0.0, candidates, usage)
        return StepRecord(
            observation=state.context.observation,
            rounds=(made,),
            complexity=_NOT_ASSESSED,
            action=None if candidate is None else candidate.action,
            usage=usage,
            probe=state.context.evidence.probe,
        )


@dataclass(frozen=True, slots=True)
class _Reached:
    """An environment in some state, and what led there last."""

    environment: Environment
    last: Transition

    def copy(self) -> _Reached | None:
        """A second one in the same state; None where that takes reaching it again."""
        if isinstance(self.environment, Forkable):
            return replace(self, environment=self.environment.fork())
        return None

    async def after(self, action: str | None) -> Transition:
        """What follows an action; none leaves everything as it is.

        Raises:
            EnvironmentFailedError: as `act`.
        """
        if action is None:
            return replace(self.last, feedback="")
        return await act(self.environment, action)


async def _reach_again(environment: Environment, task: Task, arrival: _Arrival) -> _Reached:
    """Carries out again what led to a state.

    Raises:
        ReplayError: if it leads elsewhere.
        EnvironmentFailedError: if the environment fails where it did not before.
    """
    now = Transition(await open_task(environment, task), done=False)
    for step in arrival.steps:
        if step.action is not None:
            now = await act(environment, step.action)
    found = _fingerprint(environment, arrival.steps)
    if (now.observation, found) != (arrival.observation, arrival.fingerprint):
        raise ReplayError(
            f"the same {len(arrival.steps)} actions led to another state than"
            " before; its environment is not deterministic, so the task is left out"
        )
    return _Reached(environment, now)


def _fingerprint(environment: Environment, steps: Sequence[StepRecord]) -> str:
    """What tells the environment's state: itself, or the actions that led there."""
    if isinstance(environment, Recognisable):
        told: object = environment.fingerprint()
        if not isinstance(told, str):
            name = type(environment).__name__
            raise InvalidInputError(f"{name}.fingerprint returned {told!r}, expected a text")
        return told
    return json.dumps([step.action for step in steps if step.action is not None])


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=sorted, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[: 2 * _NAME_BYTES]


class _Meter(Meter):
    """A meter that keeps what it was asked, and what of that a planner reads once an episode."""

    def __init__(self, model: RecordedModel, ledger: Ledger, seed: int) -> None:
        super().__init__(model, ledger, seed)
        self.prompts: set[str] = set()
        self._before = Usage()
        self._charged: set[str] = set()
        self._read: dict[str, Usage] = {}

    async def generate(
        self,
        prompt: Prompt,
        *,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        thinking_tokens: int = 0,
    ) -> list[Completion]:
        how = (n, temperature, top_p, thinking_tokens)
        self.prompts.add(_digest([*_words(prompt), *how]))
        return await super().generate(
            prompt, n=n, temperature=temperature, top_p=top_p, thinking_tokens=thinking_tokens
        )

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        token = await super().next_token(prompt, hidden=hidden)
        name = _digest([*_words(prompt), hidden])
        self.prompts.add(name)
        self._read[name] = charged(self.model.card, [token.usage])
        return token

    def came(self, candidates: tuple[Candidate, ...]) -> ArmAnswer:
        """What came since this was called last; a prompt that was read again is told again."""
        readings, self._read = self._read, {}
        new = [usage for name, usage in readings.items() if name not in self._charged]
        usage = self.ledger.usage - self._before - sum(new, Usage())
        self._before = self.ledger.usage
        self._charged |= readings.keys()
        return ArmAnswer(candidates, usage, readings)


def _words(prompt: Prompt) -> list[object]:
    messages = [(message.role, message.content) for message in prompt.messages]
    return [messages, prompt.max_tokens, prompt.stop, prompt.version]
