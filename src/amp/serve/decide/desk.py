"""Where calls are decided: the arms of a route get their prices, and its policy chooses.

What is decided of a call, and what comes of it, is kept in memory for those who ask: figures and
names, never content.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.serve.decide.base import MOST_SAMPLES, CallDecision, CallPolicy, Pass, Wish
from amp.serve.decide.conversation import Conversation, read_conversation
from amp.serve.decide.memory import Memory, Spending
from amp.serve.decide.offers import Case, Offers, cards_of, read_arms
from amp.serve.decide.rules import Rules
from amp.serve.dialects.base import Asked, Dialect
from amp.serve.exchange import Exchange, RefusedCallError
from amp.serve.upstreams.fleet import Fleet, Route
from amp.usage import Usage

KEPT = 1_000
"""Decisions that are kept for those who ask."""

_HEADER = 400
_PASS = "pass"
_log = logging.getLogger(__name__)
_UNFIT = re.compile(r"[^ -~]")  # for a header


@dataclass(slots=True)
class Ruling:
    """A call, what was decided of it, and what came of that.

    Attributes:
        asked_model: that the client named.
        path: of the API.
        conversation: what it goes on with.
        decision: what it gets.
        made: when, in seconds since 1970.
        route: that it went by.
        cards: prices by model, of the arms that there were.
        begun: whether somebody has been found who pays for it.
        key: name of the key that pays; empty without one.
        status: of the answer; 0 before.
        usage: what it cost.
    """

    asked_model: str
    path: str
    conversation: Conversation
    decision: CallDecision
    made: float
    route: str = "*"
    cards: Mapping[str, ModelCard] = field(default_factory=dict)
    begun: bool = False
    key: str = ""
    status: int = 0
    usage: Usage = Usage()

    def shown(self) -> dict[str, Any]:
        """As JSON has it; figures and names, never content."""
        conversation, decision = self.conversation, self.decision
        return {
            "made": round(self.made, 3),
            "episode": conversation.episode,
            "step": conversation.step,
            "path": self.path,
            "key": self.key,
            "route": self.route,
            "asked": self.asked_model,
            "arm": decision.arm.name,
            "policy": decision.policy,
            "why": decision.why,
            "status": self.status,
            "dollars": self.usage.dollars,
            "arms": [{**asdict(each), "arm": each.arm.name} for each in decision.forecasts],
            "features": dict(decision.features),
        }

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the client is told beside the answer."""
        decision = self.decision
        told = {
            b"x-amp-arm": decision.arm.name,
            b"x-amp-decision": f"{decision.policy}: {decision.why}",
        }
        return [(name, _UNFIT.sub("?", text).encode()[:_HEADER]) for name, text in told.items()]

    def line(self) -> str:
        """The same in a line, for people."""
        decision = self.decision
        return (
            f"{self.conversation.episode} step {self.conversation.step}: {decision.arm.name}"
            f" ({decision.policy}: {decision.why})"
        )


class Desk:
    """Decides calls.

    Args:
        fleet: who may be asked, and at which price.
        load: reads a policy file, given its path.
        explain: is told each decision in a line; None for nobody.
        clock: seconds.

    Attributes:
        spending: what calls cost since it began.
        since: when that was, in seconds since 1970.
    """

    def __init__(
        self,
        fleet: Fleet,
        load: Callable[[str], CallPolicy] | None = None,
        explain: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._explain = explain
        self.spending, self.since = Spending(), time.time()
        self._memory = Memory(clock)
        self._offers = Offers(self._memory)
        self._kept: deque[Ruling] = deque(maxlen=KEPT)
        self.turn_to(fleet)

    def turn_to(self, fleet: Fleet) -> None:
        """Decides for these routes from now on, and remembers what it has seen.

        Raises:
            InvalidInputError: if the policy of one is none; then all stays as it was.
        """
        policies: dict[str, CallPolicy] = {_PASS: Pass(), "rules": Rules()}
        for route in fleet.routes:
            read_arms(route.arms)
            if route.policy not in policies:
                if self._load is None:
                    raise InvalidInputError(
                        f"policy of route {route.model} is {route.policy!r}, expected pass or rules"
                    )
                policies[route.policy] = self._load(route.policy)
        self._fleet, self._policies = fleet, policies

    def decide(self, exchange: Exchange, dialect: Dialect, asked: Asked, route: Route) -> Ruling:
        """Decides a call.

        Raises:
            RefusedCallError: if no arm may be asked, or a header can't be read.
        """
        conversation = read_conversation(asked.fields, exchange.episode, size=len(asked.body))
        conversation = replace(conversation, last=self._memory.last(conversation.episode))
        wish = Wish(
            _number(exchange, "x-amp-trade-off", 1.0), _number(exchange, "x-amp-max-dollars")
        )
        own = _number(exchange, "x-amp-samples", MOST_SAMPLES)
        samples = route.samples if own is None else max(1, int(own))
        case = Case(dialect, asked, route, conversation, wish, samples, own is not None)
        offers = self._offers.of(case, self._fleet)
        decision = self._policies[route.policy].decide(conversation, offers, wish)
        cards = cards_of(case, offers, self._fleet)
        return Ruling(
            asked.model, dialect.path, conversation, decision, time.time(), route.model, cards
        )

    def begun(self, ruling: Ruling, key: str) -> None:
        """Notes who pays for a call; what nobody pays for is not shown."""
        if not ruling.begun:
            self._kept.append(ruling)
            self._say(ruling.line())
        ruling.begun, ruling.key = True, key

    def _say(self, line: str) -> None:
        if self._explain is None:
            return
        try:
            self._explain(line)
        except OSError as error:  # a pipe that nobody reads any more; calls go on
            self._explain = None
            _log.warning("decisions are not explained any more: %s", error.strerror)

    def settled(self, ruling: Ruling, status: int, usage: Usage | None) -> None:
        """Notes what came of a decision; no usage is that of a refusal."""
        if usage is not None or not ruling.usage.model_calls:
            ruling.status = status
        if usage is not None:
            ruling.usage += usage
            self.spending.note(
                ruling.key, ruling.route, ruling.asked_model, ruling.decision, ruling.cards, usage
            )
            self._memory.note(ruling.conversation.episode, ruling.decision.arm, usage)

    def effort_refused(self, ruling: Ruling) -> None:
        """Notes that a model does not take efforts from such a request."""
        arm = ruling.decision.arm
        self._offers.refuse(ruling.conversation, arm)
        self.effort_left_out(ruling, f"{arm.model} refuses it")

    def effort_left_out(self, ruling: Ruling, reason: str) -> None:
        """Notes that a call is made without the effort that was decided."""
        arm, decision = ruling.decision.arm, ruling.decision
        if arm.effort:
            why = f"{decision.why}; effort {arm.effort} is left out: {reason}"
            ruling.decision = replace(decision, arm=replace(arm, effort=""), why=why)

    def routes(self) -> list[tuple[Route, CallPolicy]]:
        """The routes, in the order in which they are looked at, each with what decides it."""
        return [(route, self._policies[route.policy]) for route in self._fleet.routes]

    def last(self, count: int, key: str | None = None) -> list[dict[str, Any]]:
        """The last decisions, the newest first.

        Args:
            count: how many.
            key: of one key alone; None for all.
        """
        kept = (ruling for ruling in reversed(self._kept) if key is None or ruling.key == key)
        return [ruling.shown() for ruling, _ in zip(kept, range(count), strict=False)]


def _number(exchange: Exchange, header: str, high: float | None = None) -> float | None:
    """A number in a header; None where there is none.

    Raises:
        RefusedCallError: if it is no number of at least 0 and at most `high`.
    """
    text = exchange.header(header)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if 0.0 <= number < math.inf and (high is None or number <= high):
        return number
    expected = "a number from 0" + (f" to {high:g}" if high is not None else "")
    raise RefusedCallError(400, f"header {header} is {text[:40]!r}, expected {expected}")
