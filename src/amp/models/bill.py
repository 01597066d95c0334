"""What calls have spent whose answer may never be returned, for whoever has to pay.

An answer carries its usage. A call that is cancelled, one whose connection breaks, and one whose
answer is rejected return nothing, but were paid for. So the caller opens a `Bill`, and back ends
write down on it, call by call, what was spent by now. A caller who gets an answer takes the usage
from there; one who gets an error or is cancelled takes it from the bill.

The bill is found by a context variable, not passed along: it reaches a back end through every
wrapper, and `LanguageModel` stays as small as it is. A model that knows nothing of bills is charged
with the most that a cancelled call can have cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from amp.types import Usage


@dataclass(slots=True)
class Bill:
    """The calls of one request.

    Attributes:
        bound: the most that one call of one sample can cost, as an estimate.
        granted: how many calls the caller has reserved money for.
        more: reserves it for one more call of so many samples; raises LimitReachedError where the
            limits do not allow one.
        calls: what was written down; None if the model knows nothing of bills.
        sent: calls that were sent and may have cost something.
    """

    bound: Usage
    granted: int
    more: Callable[[int], None]
    calls: list[Spent] | None = None
    sent: int = 0

    def usages(self) -> list[Usage] | None:
        """Returns what was spent, one usage a call; None if the model knows nothing of bills."""
        return None if self.calls is None else [call.usage for call in self.calls]

    def most(self, samples: int) -> Usage:
        """Returns what a call of so many samples can cost."""
        return replace(
            self.bound,
            completion_tokens=samples * self.bound.completion_tokens,
            reasoning_tokens=samples * self.bound.reasoning_tokens,
        )


class Spent:
    """What one call has spent by now, with all its tries.

    Args:
        bill: where it stands; None if nobody reads it.
        samples: how many samples it asks for.
    """

    def __init__(self, bill: Bill | None, samples: int) -> None:
        self._bill = bill
        self._samples = samples
        self._lost = Usage()
        self._now = Usage()

    @property
    def is_read(self) -> bool:
        """Whether somebody reads it."""
        return self._bill is not None

    @property
    def usage(self) -> Usage:
        """Without seconds, which the caller measures."""
        return self._lost + self._now

    def prompt_bound(self, otherwise: int) -> int:
        """Returns the tokens that the caller has reserved for the prompt."""
        return otherwise if self._bill is None else self._bill.bound.prompt_tokens

    def send(self) -> None:
        """Notes that a try is sent: until it is told, it costs the bound.

        Raises:
            LimitReachedError: if the limits do not allow another try; it must not be sent.
        """
        if self._bill is None:
            return
        self._lost, self._now = self.usage, Usage()
        if self._bill.sent >= self._bill.granted:
            self._bill.more(self._samples)
            self._bill.granted += 1
        self._bill.sent += 1
        self._now = self._bill.most(self._samples)

    def free(self) -> None:
        """Notes that the last try cost nothing: it never arrived, or was refused."""
        if self._bill is not None and self._now.model_calls:
            self._bill.sent -= 1
        self._now = Usage()

    def told(self, usage: Usage) -> Usage:
        """Notes what the last try cost; returns what the whole call did."""
        self._now = replace(usage, seconds=0.0)
        return self._lost + usage


_bill: ContextVar[Bill | None] = ContextVar("_bill", default=None)


@contextmanager
def open_bill(bill: Bill) -> Iterator[None]:
    """Has the back ends that are awaited inside write on this bill."""
    token = _bill.set(bill)
    try:
        yield
    finally:
        _bill.reset(token)


def begin_call(samples: int = 1) -> Spent:
    """Begins a call, which has spent nothing yet."""
    bill = _bill.get()
    spent = Spent(bill, samples)
    if bill is not None:
        bill.calls = [*(bill.calls or ()), spent]
    return spent
