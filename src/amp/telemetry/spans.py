"""Writes spans: of episodes while they run, and of those that were saved.

    invoke_agent amp                     an episode
      plan amp                           a plan step
        chat MODEL                       a probe
        round                            a round: an allocation, carried out
          chat MODEL                     a call of a model
          execute_tool TOOL              a run of a tool

A step's spans are written when it ends, with the times that its calls had; so the loop is as it is
without them. Of saved episodes the times are not known: what was spent inside models and tools is
laid end to end, one call a round, and the span of the episode says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from amp.allocate.base import Allocator
from amp.environment import AsyncEnvironment, Environment
from amp.execute.boundary import task_of
from amp.execute.observing import Event, Execution, ModelCall, ToolRun, watching
from amp.methods import AnyPlanner
from amp.methods.base import OnStep
from amp.models.base import ModelCard
from amp.telemetry.attributes import (
    AGENT,
    Attributes,
    Bid,
    is_local,
    of_call,
    of_episode,
    of_execution,
    of_step,
    of_task,
    of_tool,
)
from amp.types import Episode, Limits, Round, StepRecord, Task, ToolUse, Usage

_SECOND = 1_000_000_000
LAID_END_TO_END = "seconds inside models and tools, laid end to end"
"""``amp.times`` of episodes whose times are not known."""


@dataclass(slots=True)
class _Interval:
    """A span that is written, and when it was; what it holds does not leave it."""

    span: Span
    begun: int
    ended: int

    @property
    def context(self) -> Context:
        return trace.set_span_in_context(self.span)


@dataclass(slots=True)
class EpisodeSpan:
    """An episode whose span has begun.

    Attributes:
        span: the span.
        begun: nanoseconds since 1970.
        limits: of the episode, where they are known.
        bid: what a round is worth per unit of cost, where somebody tells.
        step_begun: when the step at hand began.
        steps: that have ended.
        spent: what they took.
    """

    span: Span
    begun: int
    limits: Limits | None
    bid: Bid | None = None
    step_begun: int = 0
    steps: int = 0
    spent: Usage = field(default_factory=Usage)


class Spans:
    """Writes spans.

    Args:
        tracer: where.
        content: whether they say texts of tasks, models and tools.
    """

    def __init__(self, tracer: Tracer, *, content: bool = False) -> None:
        self.tracer = tracer
        self.content = content

    def begin(
        self,
        task: Task,
        begun: int,
        limits: Limits | None = None,
        bid: Bid | None = None,
        parent: Context | None = None,
    ) -> EpisodeSpan:
        """Begins the span of an episode, below that which is current unless another is named."""
        said = of_task(task, content=self.content)
        span = self.tracer.start_span(
            f"invoke_agent {AGENT}", context=parent, attributes=said, start_time=begun
        )
        return EpisodeSpan(span, begun, limits, bid, begun)

    def step(
        self, running: EpisodeSpan, step: StepRecord, events: Sequence[Event], ended: int
    ) -> None:
        """Writes the spans of a step that has ended."""
        running.steps += 1
        said = of_step(running.steps, step, running.spent, running.limits, content=self.content)
        within = _Interval(running.span, running.begun, ended)
        with self._span(f"plan {AGENT}", said, within, running.step_begun, ended) as inside:
            self._events(events, step.rounds, inside, running.bid)
        running.spent += step.usage
        running.step_begun = ended

    def end(
        self, running: EpisodeSpan, episode: Episode, events: Sequence[Event], ended: int
    ) -> None:
        """Writes what was done after the last step, and ends the span of the episode."""
        self._events(events, (), _Interval(running.span, running.begun, ended))
        said = of_episode(episode, content=self.content)
        self._close(running.span, said, ended)

    def fail(self, running: EpisodeSpan, error: BaseException, events: Sequence[Event]) -> None:
        """Ends the span of an episode that an error ended."""
        ended = time.time_ns()
        self._events(events, (), _Interval(running.span, running.begun, ended))
        self._close(running.span, {"error.type": type(error).__name__}, ended)

    def saved(self, episode: Episode, card: ModelCard, begun: int) -> int:
        """Writes the spans of a saved episode; returns when it ended.

        Args:
            episode: the episode.
            card: of its base model.
            begun: when it is to begin, in nanoseconds since 1970.
        """
        running = self.begin(episode.task, begun, parent=Context())
        running.span.set_attribute("amp.times", LAID_END_TO_END)
        now = begun
        for step in episode.steps:
            ended = now + _nanoseconds(step.usage)
            self.step(running, step, _laid_out(step, card, now), ended)
            now = ended
        ended = max(now, begun + _nanoseconds(episode.usage))
        self.end(running, episode, (), ended)
        return ended

    def _events(
        self,
        events: Sequence[Event],
        rounds: Sequence[Round],
        within: _Interval,
        bid: Bid | None = None,
    ) -> None:
        """Writes spans of what happened in a step; rounds belong to executions in their order."""
        done = [each for each in events if isinstance(each, Execution) and not each.error]
        # A planner that carries several plans on makes one record of what several executions did.
        left = iter(rounds if len(done) == len(rounds) else ())
        number = 0
        for event in events:
            if isinstance(event, ModelCall):
                self._call(event, within)
            elif isinstance(event, ToolRun):
                self._tool(event, within)
            else:
                number += 1
                made = None if event.error else next(left, None)
                said = of_execution(number, event, made, bid)
                with self._span("round", said, within, event.begun, event.ended) as inside:
                    self._events(event.calls, (), inside)

    def _call(self, call: ModelCall, within: _Interval) -> None:
        said = of_call(call, content=self.content)
        kind = SpanKind.INTERNAL if is_local(call.card) else SpanKind.CLIENT
        with self._span(f"chat {call.card.name}", said, within, call.begun, call.ended, kind):
            pass

    def _tool(self, call: ToolRun, within: _Interval) -> None:
        said = of_tool(call, content=self.content)
        with self._span(f"execute_tool {call.use.tool}", said, within, call.begun, call.ended):
            pass

    @contextmanager
    def _span(
        self,
        name: str,
        said: Attributes,
        within: _Interval,
        begun: int,
        ended: int,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[_Interval]:
        """Writes a span with what is written inside; a clock that was set lets none leave it."""
        begun = min(max(begun, within.begun), within.ended)
        ended = min(max(ended, begun), within.ended)
        span = self.tracer.start_span(
            name, context=within.context, kind=kind, attributes=said, start_time=begun
        )
        yield _Interval(span, begun, ended)
        self._close(span, said, ended, is_said=True)

    @staticmethod
    def _close(span: Span, said: Attributes, ended: int, *, is_said: bool = False) -> None:
        if not is_said:
            span.set_attributes(said)
        if "error.type" in said:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)


class TracedPlanner:
    """A planner whose episodes are written as spans.

    Args:
        planner: plans them.
        spans: writes them.
    """

    def __init__(self, planner: AnyPlanner, spans: Spans) -> None:
        self.limits = planner.limits
        allocator: Allocator | None = getattr(planner, "allocator", None)  # not every planner's
        self._bid = None if allocator is None else allocator.bid
        self._planner, self._spans = planner, spans

    async def run(
        self,
        task: Task | str,
        environment: Environment | AsyncEnvironment,
        on_step: OnStep | None = None,
    ) -> Episode:
        """Plans one task, as the planner does."""
        task = task_of(task)
        with watching() as events:
            running = self._spans.begin(task, time.time_ns(), self.limits, self._bid)

            def stepped(step: StepRecord) -> None:
                self._spans.step(running, step, events, time.time_ns())
                events.clear()
                if on_step is not None:
                    on_step(step)

            try:
                with trace.use_span(
                    running.span, record_exception=False, set_status_on_exception=False
                ):
                    episode = await self._planner.run(task, environment, stepped)
            except BaseException as error:
                self._spans.fail(running, error, events)
                raise
            self._spans.end(running, episode, events, time.time_ns())
            return episode


def _nanoseconds(usage: Usage) -> int:
    return round(usage.seconds * _SECOND)


def _laid_out(step: StepRecord, card: ModelCard, begun: int) -> list[Event]:
    """What a saved step tells of its calls: one before its rounds, and one a round."""
    rounds = sum((each.usage for each in step.rounds), Usage())
    events: list[Event] = []
    now, before = begun, step.usage - rounds
    if before.model_calls:
        now += _nanoseconds(before)
        events.append(ModelCall(card, begun, now, before))
    for each in step.rounds:
        uses = _tool_uses(each)
        ended, calls = now + _nanoseconds(each.usage), list[ModelCall | ToolRun]()
        at = ended - min(round(sum(use.seconds for use in uses) * _SECOND), ended - now)
        if each.usage.model_calls:
            asked = card if each.allocation.model is None else ModelCard(each.allocation.model)
            texts = tuple(candidate.text for candidate in each.candidates)
            reasons = tuple("length" if c.cut_off else "stop" for c in each.candidates)
            calls.append(ModelCall(asked, now, at, each.usage, texts=texts, finish_reasons=reasons))
        for use in uses:
            calls.append(ToolRun(use, at, at + round(use.seconds * _SECOND)))
            at = calls[-1].ended
        events.append(Execution(each.allocation, now, ended, tuple(calls)))
        now = ended
    return events


def _tool_uses(made: Round) -> list[ToolUse]:
    """The runs of tools in a round; advice, which every candidate shows, once."""
    return list(dict.fromkeys(use for candidate in made.candidates for use in candidate.tool_uses))
