"""Where calls are decided: the arms of a route get their prices, and its policy chooses.

An arm can't be chosen where its effort may not be written or was refused by the model, where
answers can't vote, where no upstream has it, or where it may cost more than the client allows. What
is left of it without effort and votes can, so a call is refused only for money.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from amp.cost import dollars, is_priced
from amp.errors import InvalidInputError
from amp.serve.decide.base import MOST_SAMPLES, Arm, Decision, Forecast, Pass, Policy, Wish
from amp.serve.decide.conversation import Conversation, read_conversation
from amp.serve.decide.memory import Memory
from amp.serve.decide.rules import Rules
from amp.serve.dialects.all import EMBEDDINGS
from amp.serve.dialects.base import Asked, Dialect
from amp.serve.exchange import Exchange, RefusedCallError
from amp.serve.translate.translation import dialect_for
from amp.serve.upstreams.fleet import Fleet, Route
from amp.serve.upstreams.prices import bound_of
from amp.usage import Usage

KEPT = 1_000
"""Decisions that are kept for those who ask."""

_MOST_REFUSED, _HEADER = 1_000, 400
_MOST_EPISODE = 200
_PASS = "pass"
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
        begun: whether somebody has been found who pays for it.
        key: name of the key that pays; empty without one.
        status: of the answer; 0 before.
        usage: what it cost.
    """

    asked_model: str
    path: str
    conversation: Conversation
    decision: Decision
    made: float
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
    """

    def __init__(
        self,
        fleet: Fleet,
        load: Callable[[str], Policy] | None = None,
        explain: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._explain = explain
        self._memory = Memory(clock)
        self._kept: deque[Ruling] = deque(maxlen=KEPT)
        self._refused: set[tuple[str, bool, bool]] = set()
        self.turn_to(fleet)

    def turn_to(self, fleet: Fleet) -> None:
        """Decides for these routes from now on, and remembers what it has seen.

        Raises:
            InvalidInputError: if the policy of one is none; then all stays as it was.
        """
        policies: dict[str, Policy] = {_PASS: Pass(), "rules": Rules()}
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
        episode = exchange.header("x-amp-episode")[:_MOST_EPISODE]
        conversation = read_conversation(asked.fields, episode, size=len(asked.body))
        conversation = replace(conversation, last=self._memory.last(conversation.episode))
        wish = Wish(
            _number(exchange, "x-amp-trade-off", 1.0), _number(exchange, "x-amp-max-dollars")
        )
        own = _number(exchange, "x-amp-samples", MOST_SAMPLES)
        samples = route.samples if own is None else max(1, int(own))
        offers = self._offers(dialect, asked, route, conversation, wish, samples, own is not None)
        decision = self._policies[route.policy].decide(conversation, offers, wish)
        return Ruling(asked.model, dialect.path, conversation, decision, time.time())

    def begun(self, ruling: Ruling, key: str) -> None:
        """Notes who pays for a call; what nobody pays for is not shown."""
        if not ruling.begun:
            self._kept.append(ruling)
            if self._explain is not None:
                self._explain(ruling.line())
        ruling.begun, ruling.key = True, key

    def settled(self, ruling: Ruling, status: int, usage: Usage | None) -> None:
        """Notes what came of a decision; no usage is that of a refusal."""
        if usage is not None or not ruling.usage.model_calls:
            ruling.status = status
        if usage is not None:
            ruling.usage += usage
            self._memory.note(ruling.conversation.episode, ruling.decision.arm, usage)

    def effort_refused(self, ruling: Ruling) -> None:
        """Notes that a model does not take efforts from such a request."""
        arm = ruling.decision.arm
        if len(self._refused) < _MOST_REFUSED:
            self._refused.add((arm.model, *_beside(ruling.conversation)))
        self.effort_left_out(ruling, f"{arm.model} refuses it")

    def effort_left_out(self, ruling: Ruling, reason: str) -> None:
        """Notes that a call is made without the effort that was decided."""
        arm, decision = ruling.decision.arm, ruling.decision
        if arm.effort:
            why = f"{decision.why}; effort {arm.effort} is left out: {reason}"
            ruling.decision = replace(decision, arm=replace(arm, effort=""), why=why)

    def last(self, count: int, key: str | None = None) -> list[dict[str, Any]]:
        """The last decisions, the newest first.

        Args:
            count: how many.
            key: of one key alone; None for all.
        """
        kept = (ruling for ruling in reversed(self._kept) if key is None or ruling.key == key)
        return [ruling.shown() for ruling, _ in zip(kept, range(count), strict=False)]

    def _offers(
        self,
        dialect: Dialect,
        asked: Asked,
        route: Route,
        conversation: Conversation,
        wish: Wish,
        samples: int,
        own_samples: bool,
    ) -> list[Forecast]:
        """Every arm with its price, first what the client asked for."""
        arms = arms_of(route, asked.model, samples, votes_as_asked=own_samples)
        if dialect is EMBEDDINGS:  # those of another model are of no use
            arms = (Arm(asked.model),)
        plain = dict.fromkeys(Arm(arm.model) for arm in arms)
        offers = []
        for arm in dict.fromkeys((*arms, *plain)):
            masked = self._mask(dialect, asked, conversation, arm)
            offers.append(self._forecast(dialect, asked, route, conversation, arm, masked))
        # What is left of an arm without effort and votes is there only where the arm can't be.
        able = {offer.arm.model for offer in offers if offer.arm in arms and not offer.masked}
        offers = [each for each in offers if each.arm in arms or each.arm.model not in able]
        offers = [_within(each, wish.max_dollars) for each in offers]
        if all(offer.masked for offer in offers):
            self._fleet.places(offers[0].arm.model, route)  # says so where nobody has it
            bounds = [each for each in offers if each.most_dollars is not None]
            least = min(bounds, key=lambda each: each.most_dollars or 0.0, default=offers[-1])
            raise RefusedCallError(400, _too_dear(least, wish))
        return offers

    def _mask(self, dialect: Dialect, asked: Asked, conversation: Conversation, arm: Arm) -> str:
        """Why an arm can't be asked for this; empty if it can."""
        if obstacle := dialect.obstacle(asked.fields, arm):
            return obstacle
        if arm.effort and (arm.model, *_beside(conversation)) in self._refused:
            return f"{arm.model} refuses efforts"
        return conversation.unvoted if arm.samples > 1 else ""

    def _forecast(
        self,
        dialect: Dialect,
        asked: Asked,
        route: Route,
        conversation: Conversation,
        arm: Arm,
        masked: str,
    ) -> Forecast:
        try:
            place = self._fleet.places(arm.model, route)[0]
        except RefusedCallError:
            return Forecast(arm, masked="no upstream has it")
        spoken = dialect_for(dialect, place.upstream.dialects) or dialect
        card = place.card(spoken.name, place.model)
        if not is_priced(card):
            return Forecast(arm, masked=masked)
        episode, prompt = conversation.episode, conversation.prompt_tokens
        caches = spoken.name == "openai" or asked.dearest_prompt > 1.0
        mine = self._memory.warm(episode, arm, prompt) if caches else 0
        last = conversation.last
        theirs = self._memory.warm(episode, last, prompt) if caches and last else 0
        thinking = self._memory.thinking(arm)
        answer = min(conversation.answer_tokens + thinking, asked.completion_bound)
        usage = Usage(
            prompt_tokens=prompt,
            cached_prompt_tokens=mine,
            completion_tokens=answer,
            reasoning_tokens=min(thinking, answer),
        )
        paid = dollars(usage, card)
        warm = dollars(replace(usage, cached_prompt_tokens=max(mine, theirs)), card)
        most = bound_of(asked, card).dollars
        return Forecast(
            arm,
            paid * arm.samples,
            (paid - warm) * arm.samples,
            most * arm.samples,
            masked=masked,
        )


def _beside(conversation: Conversation) -> tuple[bool, bool]:
    """What some models refuse efforts beside: tools, and settings of how to sample."""
    return bool(conversation.feature("tools")), bool(conversation.feature("sampling"))


@lru_cache(maxsize=1_000)
def read_arms(names: tuple[str, ...]) -> tuple[Arm, ...]:
    """The arms of a route.

    Raises:
        InvalidInputError: if one is none.
    """
    return tuple(map(Arm.read, names))


def arms_of(route: Route, model: str, samples: int, *, votes_as_asked: bool) -> tuple[Arm, ...]:
    """The arms that a route has for a model, first what the client asked for.

    Args:
        route: of the name that the client asked for; without arms, that model at three efforts.
        model: that name.
        samples: answers that may vote.
        votes_as_asked: whether it is the client who wants them.
    """
    named = read_arms(route.arms)
    if not named:
        efforts = ("",) if route.policy == _PASS else ("", "low", "high")
        named = tuple(Arm(model, effort) for effort in efforts)
    elif any(arm.model == model for arm in named):
        named = (Arm(model), *named)
    if route.policy == _PASS:
        named = named[:1]
    if samples == 1:
        return named
    voting = tuple(replace(arm, samples=samples) for arm in named)
    return (*voting, *named) if votes_as_asked else (*named, *voting)


def _within(offer: Forecast, most: float | None) -> Forecast:
    """Masks an offer that may cost too much."""
    if most is None or offer.masked or (offer.most_dollars or 0.0) <= most:
        if most is not None and not offer.masked and offer.most_dollars is None:
            return replace(offer, masked="its price is not known")
        return offer
    return replace(offer, masked=f"may cost ${offer.most_dollars:.6f}")


def _too_dear(offer: Forecast, wish: Wish) -> str:
    if offer.most_dollars is None:
        return (
            f"the price of {offer.arm.name} is not known, so x-amp-max-dollars can't be held; add"
            " it to a price table, or leave the header out"
        )
    return (
        f"even {offer.arm.name}, the cheapest, may cost ${offer.most_dollars:.6f}, more than"
        f" x-amp-max-dollars {wish.max_dollars:g}; raise that, or lower the cap of the answer"
    )


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
    if number >= 0.0 and (high is None or number <= high):
        return number
    expected = "a number from 0" + (f" to {high:g}" if high is not None else "")
    raise RefusedCallError(400, f"header {header} is {text[:40]!r}, expected {expected}")
