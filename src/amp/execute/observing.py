"""What happens inside a step, told to whoever watches: each call as it ends, each execution.

Those who watch open a list (`watching`), and the meter and the executor write on it what has ended,
with its times. The list is found by a context variable, as a `Bill` is, so planners know nothing of
it; where nobody watches, nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from amp.models.base import ModelCard, Prompt, Request
from amp.types import Allocation, StepContext, ToolUse, Usage


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call of a model that has ended. Times are nanoseconds since 1970.

    Attributes:
        card: of the model.
        begun: when it was made.
        ended: when it ended.
        usage: what it was charged with.
        prompt: what was asked; None where that is not known any more.
        request: how samples were drawn; None for a probe, or where it is not known any more.
        texts: what was generated, one text a sample.
        finish_reasons: why each sample ended.
        error: class of the error that ended it; empty if none did.
    """

    card: ModelCard
    begun: int
    ended: int
    usage: Usage
    prompt: Prompt | None = None
    request: Request | None = None
    texts: tuple[str, ...] = ()
    finish_reasons: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A run of a tool that has ended.

    Attributes:
        use: what it was given, and what came of it.
        begun: as of `ModelCall`.
        ended: the same.
    """

    use: ToolUse
    begun: int
    ended: int


@dataclass(frozen=True, slots=True)
class Execution:
    """An allocation that was carried out.

    Attributes:
        allocation: what it was.
        begun: as of `ModelCall`.
        ended: the same.
        calls: that were made for it, as they ended.
        error: class of the error that ended it; empty if none did.
        context: in which it was decided; None where that is not known any more.
    """

    allocation: Allocation
    begun: int
    ended: int
    calls: tuple[ModelCall | ToolRun, ...] = ()
    error: str = ""
    context: StepContext | None = None


Event = ModelCall | ToolRun | Execution

_events: ContextVar[list[Event] | None] = ContextVar("_events", default=None)


@contextmanager
def watching() -> Iterator[list[Event]]:
    """Opens a list, on which everything that ends inside is written."""
    events: list[Event] = []
    token = _events.set(events)
    try:
        yield events
    finally:
        _events.reset(token)


def note(event: Event) -> None:
    """Tells whoever watches."""
    events = _events.get()
    if events is not None:
        events.append(event)


@contextmanager
def executing(context: StepContext, allocation: Allocation) -> Iterator[None]:
    """Tells of an execution with the calls that are made inside."""
    if _events.get() is None:
        yield
        return
    calls: list[Event] = []
    begun, error = time.time_ns(), ""
    try:
        with watching() as calls:
            yield
    except BaseException as ended_by:
        error = type(ended_by).__name__
        raise
    finally:
        made = tuple(call for call in calls if not isinstance(call, Execution))
        note(Execution(allocation, begun, time.time_ns(), made, error, context))


@dataclass(slots=True)
class PendingCall:
    """A call of a model that is under way.

    Attributes:
        card: of the model.
        prompt: what is asked.
        request: as of `ModelCall`.
        begun: the same.
    """

    card: ModelCard
    prompt: Prompt
    request: Request | None = None
    begun: int = field(default_factory=time.time_ns)

    def ended(
        self,
        usage: Usage,
        texts: tuple[str, ...] = (),
        finish_reasons: tuple[str, ...] = (),
        error: str = "",
    ) -> None:
        """Tells that it has ended, and what it was charged with."""
        times = self.begun, time.time_ns()
        note(
            ModelCall(
                self.card, *times, usage, self.prompt, self.request, texts, finish_reasons, error
            )
        )
