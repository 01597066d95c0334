"""What a call is decided to get: a model, an effort, a number of samples, and why.

An arm is one way of answering a call. Before a policy is asked, each arm has its price, with what a
cache that it cannot use would have saved (`Forecast`), so that policies decide and do not count.
What the client set itself is no policy's business: only what it left open is written into a body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from amp.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from amp.allocate.policy_file import CurvePoint
    from amp.serve.decide.conversation import Conversation

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
"""Efforts in ascending order; not every model knows all of them."""

MOST_SAMPLES = 16
"""Samples of one call at most."""

_ARM = re.compile(r"(?P<model>.*?)(?:@(?P<effort>[a-z]+))?(?: x(?P<samples>\d{1,3}))?")


@dataclass(frozen=True, slots=True)
class CallArm:
    """One way of answering a call, written ``model@effort x3``.

    Attributes:
        model: name at the upstream.
        effort: one of `EFFORTS`; empty for what the client asked for, or the model's own.
        samples: answers that vote.

    Raises:
        InvalidInputError: if there is no such effort, or the samples are not 1 to `MOST_SAMPLES`.
    """

    model: str
    effort: str = ""
    samples: int = 1

    def __post_init__(self) -> None:
        if self.effort and self.effort not in EFFORTS:
            raise InvalidInputError(
                f"unknown effort {self.effort!r}{did_you_mean(self.effort, list(EFFORTS))}"
                f" (efforts: {', '.join(EFFORTS)})"
            )
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise InvalidInputError(
                f"samples of arm {self.model} are {self.samples}, expected 1 to {MOST_SAMPLES}"
            )

    @classmethod
    def read(cls, text: str) -> CallArm:
        """The arm that a text names, such as ``gpt-5-mini@low x3``.

        Raises:
            InvalidInputError: if it names no model, or `CallArm` refuses the rest.
        """
        found = _ARM.fullmatch(text.strip())
        if found is None or not found["model"]:
            raise InvalidInputError(f"arm {text!r} names no model, expected MODEL[@EFFORT][ xN]")
        return cls(found["model"], found["effort"] or "", int(found["samples"] or 1))

    @property
    def name(self) -> str:
        """As `read` reads it."""
        effort = f"@{self.effort}" if self.effort else ""
        return f"{self.model}{effort}{f' x{self.samples}' if self.samples > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of one arm for the call at hand.

    Attributes:
        arm: whose it is.
        dollars: about what the call will cost; None where no price is known.
        lost_dollars: the part of it that would not be paid for the arm whose cache is warm.
        most_dollars: what the call can cost at most; None where no price is known.
        success: how probably the answer does what the call needs; None where the policy can't tell.
        masked: why it can't be chosen; empty if it can.
    """

    arm: CallArm
    dollars: float | None = None
    lost_dollars: float = 0.0
    most_dollars: float | None = None
    success: float | None = None
    masked: str = ""

    def expecting(self, success: float) -> Forecast:
        """The same with a policy's own expectation of success."""
        return replace(self, success=success)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the client wants of the decision.

    Attributes:
        trade_off: weight of success against cost, from 0, the cheapest, to 1, the best; None for
            the policy's own.
        max_dollars: what the call may cost at most.
    """

    trade_off: float | None = None
    max_dollars: float | None = None


@dataclass(frozen=True, slots=True)
class CallDecision:
    """What was decided of a call.

    Attributes:
        arm: what it gets.
        policy: name of the policy.
        why: one line, without content of the call.
        forecasts: of every arm there was, the chosen one among them.
        features: what was read of the conversation; numbers only.
    """

    arm: CallArm
    policy: str
    why: str
    forecasts: tuple[Forecast, ...] = ()
    features: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def forecast(self) -> Forecast:
        """That of the chosen arm."""
        return next((each for each in self.forecasts if each.arm == self.arm), Forecast(self.arm))


class CallPolicy(Protocol):
    """Chooses among arms."""

    @property
    def name(self) -> str:
        """In headers and records."""
        ...

    @property
    def curve(self) -> Sequence[CurvePoint]:
        """What it is expected to take and to reach, by trade-off; empty where nobody knows."""
        ...

    @property
    def trade_off(self) -> float:
        """Weight of success against cost where the client does not wish for another, 0 to 1."""
        ...

    def decide(
        self, conversation: Conversation, offers: Sequence[Forecast], wish: Wish
    ) -> CallDecision:
        """Returns a decision for one of the offers that are not masked.

        The same arguments give the same decision. It takes far less than a millisecond, since the
        gateway waits for it.

        Args:
            conversation: what the call goes on with.
            offers: the arms with their prices, at least one of them not masked; first the one that
                the client asked for, if it is among them.
            wish: of the client.
        """
        ...


class Pass:
    """Gives what was asked for: nothing is decided, everything measured."""

    name = "pass"
    curve = ()
    trade_off = 1.0

    def decide(
        self, conversation: Conversation, offers: Sequence[Forecast], wish: Wish
    ) -> CallDecision:
        first = next(offer for offer in offers if not offer.masked)
        return CallDecision(first.arm, self.name, "as asked", tuple(offers), conversation.features)
