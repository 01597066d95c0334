"""What calls have spent whose answer may never be returned, for whoever has to pay.

An answer carries its usage. A call that is cancelled, one whose connection breaks, and one whose
answer is rejected return nothing, but were paid for. So the caller opens a `Tab`, and back ends
write down on it, call by call, what was spent by now. A caller who gets an answer takes the usage
from there; one who gets an error or is cancelled takes it from the tab.

The tab is found by a context variable, not passed along: it reaches a back end through every
wrapper, and `LanguageModel` stays as small as it is. A model that knows nothing of tabs is charged
with the most that a cancelled call can have cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from amp.types import Usage


@dataclass(slots=True)
class Tab:
    """The calls of one request.

    Attributes:
        bound: the most that one call of one sample can cost, as an estimate.
        granted: how many calls the caller has reserved money for.
        more: reserves it for one more call of so many samples; raises LimitReachedError where the
            limits do not allow one.
        calls: what was written down; None if the model knows nothing of tabs.
        sent: calls that were sent and may have cost something.
    """

    bound: Usage
    granted: int
    more: Callable[[int], None]
    calls: list[Spent] | None = None
    sent: int = 0

    def usages(self) -> list[Usage] | None:
        """Returns what was spent, one usage a call; None if the model knows nothing of tabs."""
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
        tab: where it stands; None if nobody reads it.
        samples: how many samples it asks for.
    """

    def __init__(self, tab: Tab | None, samples: int) -> None:
        self._tab = tab
        self._samples = samples
        self._lost = Usage()
        self._now = Usage()

    @property
    def is_read(self) -> bool:
        """Whether somebody reads it."""
        return self._tab is not None

    @property
    def usage(self) -> Usage:
        """Without seconds, which the caller measures."""
        return self._lost + self._now

    def prompt_bound(self, otherwise: int) -> int:
        """Returns the tokens that the caller has reserved for the prompt."""
        return otherwise if self._tab is None else self._tab.bound.prompt_tokens

    def send(self) -> None:
        """Notes that a try is sent: until it is told, it costs the bound.

        Raises:
            LimitReachedError: if the limits do not allow another try; it must not be sent.
        """
        if self._tab is None:
            return
        self._lost, self._now = self.usage, Usage()
        if self._tab.sent >= self._tab.granted:
            self._tab.more(self._samples)
            self._tab.granted += 1
        self._tab.sent += 1
        self._now = self._tab.most(self._samples)

    def free(self) -> None:
        """Notes that the last try cost nothing: it never arrived, or was refused."""
        if self._tab is not None and self._now.model_calls:
            self._tab.sent -= 1
        self._now = Usage()

    def told(self, usage: Usage) -> Usage:
        """Notes what the last try cost; returns what the whole call did."""
        self._now = replace(usage, seconds=0.0)
        return self._lost + usage


_tab: ContextVar[Tab | None] = ContextVar("_tab", default=None)


@contextmanager
def open_tab(tab: Tab) -> Iterator[None]:
    """Has the back ends that are awaited inside write on this tab."""
    token = _tab.set(tab)
    try:
        yield
    finally:
        _tab.reset(token)


def begin_call(samples: int = 1) -> Spent:
    """Begins a call, which has spent nothing yet."""
    tab = _tab.get()
    spent = Spent(tab, samples)
    if tab is not None:
        tab.calls = [*(tab.calls or ()), spent]
    return spent
