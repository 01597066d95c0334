"""The arms that a call may get, each with its price and what stands in its way.

An arm can't be chosen where its effort may not be written or was refused by the model, where
answers can't vote, where no upstream has it, or where it may cost more than the client allows. What
is left of it without effort and votes can, so a call is refused only for money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from amp.cost import dollars, is_priced
from amp.models.base import ModelCard
from amp.serve.decide.base import CallArm, Forecast, Wish
from amp.serve.decide.conversation import Conversation
from amp.serve.decide.memory import Memory
from amp.serve.dialects.apis import EMBEDDINGS
from amp.serve.dialects.base import Asked, Dialect
from amp.serve.exchange import RefusedCallError
from amp.serve.translate.translation import dialect_for
from amp.serve.upstreams.fleet import Fleet, Route, bound_of
from amp.usage import Usage

_MOST_REFUSED = 1_000
_PASS = "pass"


@dataclass(frozen=True, slots=True)
class Case:
    """A call that is to be decided.

    Attributes:
        dialect: the client's.
        asked: what it asks for.
        route: of the model that it names.
        conversation: what the call goes on with.
        wish: of the client.
        samples: answers that may vote.
        votes_as_asked: whether it is the client who wants them.
    """

    dialect: Dialect
    asked: Asked
    route: Route
    conversation: Conversation
    wish: Wish
    samples: int
    votes_as_asked: bool


class Offers:
    """Makes offers, and remembers which models take no effort.

    Args:
        memory: of caches, and of how long answers are.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._refused: set[tuple[str, bool, bool]] = set()

    def of(self, case: Case, fleet: Fleet) -> list[Forecast]:
        """Every arm with its price, first what the client asked for; one at least is free.

        Raises:
            RefusedCallError: if all of them may cost too much, or no upstream has the model.
        """
        arms = arms_of(
            case.route, case.asked.model, case.samples, votes_as_asked=case.votes_as_asked
        )
        if case.dialect is EMBEDDINGS:  # those of another model are of no use
            arms = (CallArm(case.asked.model),)
        plain = [CallArm(arm.model) for arm in arms]
        offers = [self._forecast(case, arm, fleet) for arm in dict.fromkeys((*arms, *plain))]
        # What is left of an arm without effort and votes is there only where the arm can't be.
        able = {offer.arm.model for offer in offers if offer.arm in arms and not offer.masked}
        offers = [each for each in offers if each.arm in arms or each.arm.model not in able]
        offers = [_within(each, case.wish.max_dollars) for each in offers]
        if all(offer.masked for offer in offers):
            fleet.places(offers[0].arm.model, case.route)  # says so where nobody has it
            raise RefusedCallError(400, _too_dear(offers, case.wish))
        return offers

    def refuse(self, conversation: Conversation, arm: CallArm) -> None:
        """Notes that a model does not take efforts from such a request."""
        if len(self._refused) < _MOST_REFUSED:
            self._refused.add((arm.model, *_beside(conversation)))

    def _mask(self, case: Case, arm: CallArm) -> str:
        """Why an arm can't be asked for this; empty if it can."""
        if obstacle := case.dialect.obstacle(case.asked.fields, arm):
            return obstacle
        if arm.effort and (arm.model, *_beside(case.conversation)) in self._refused:
            return f"{arm.model} refuses efforts"
        return case.conversation.unvoted if arm.samples > 1 else ""

    def _forecast(self, case: Case, arm: CallArm, fleet: Fleet) -> Forecast:
        try:
            spoken, card = _asked_as(case, arm.model, fleet)
        except RefusedCallError:
            return Forecast(arm, masked="no upstream has it")
        masked, asked = self._mask(case, arm), case.asked
        if not is_priced(card):
            return Forecast(arm, masked=masked)
        caches = spoken.name == "openai" or asked.dearest_prompt > 1.0
        mine = self._warm(case, arm) if caches else 0
        theirs = self._warm(case, case.conversation.last) if caches else 0
        thinking = self._memory.thinking(arm)
        answer = min(case.conversation.answer_tokens + thinking, asked.completion_bound)
        usage = Usage(
            prompt_tokens=case.conversation.prompt_tokens,
            cached_prompt_tokens=mine,
            completion_tokens=answer,
            reasoning_tokens=min(thinking, answer),
        )
        paid = dollars(usage, card)
        warm = dollars(replace(usage, cached_prompt_tokens=max(mine, theirs)), card)
        most = bound_of(asked, card).dollars
        n = arm.samples
        return Forecast(arm, paid * n, (paid - warm) * n, most * n, masked=masked)

    def _warm(self, case: Case, arm: CallArm | None) -> int:
        """Tokens of the prompt that an arm finds in its cache."""
        talk = case.conversation
        return self._memory.warm(talk.episode, arm, talk.prompt_tokens) if arm else 0


def cards_of(case: Case, offers: Sequence[Forecast], fleet: Fleet) -> dict[str, ModelCard]:
    """The prices of the models that can be chosen."""
    models = dict.fromkeys(offer.arm.model for offer in offers if not offer.masked)
    return {model: _asked_as(case, model, fleet)[1] for model in models}


def _asked_as(case: Case, model: str, fleet: Fleet) -> tuple[Dialect, ModelCard]:
    """The dialect that a model is asked in first, and its prices there.

    Raises:
        RefusedCallError: if no upstream has it.
    """
    place = fleet.places(model, case.route)[0]
    spoken = dialect_for(case.dialect, place.upstream.dialects) or case.dialect
    return spoken, place.card(spoken.name, place.model)


def _beside(conversation: Conversation) -> tuple[bool, bool]:
    """What some models refuse efforts beside: tools, and settings of how to sample."""
    return bool(conversation.feature("tools")), bool(conversation.feature("sampling"))


@lru_cache(maxsize=1_000)
def read_arms(names: tuple[str, ...]) -> tuple[CallArm, ...]:
    """The arms of a route.

    Raises:
        InvalidInputError: if one is none.
    """
    return tuple(map(CallArm.read, names))


def arms_of(route: Route, model: str, samples: int, *, votes_as_asked: bool) -> tuple[CallArm, ...]:
    """The arms that a route has for a model, first what the client asked for.

    Args:
        route: of the name that the client asked for; without arms, that model at three efforts.
        model: that name.
        samples: answers that may vote.
        votes_as_asked: whether it is the client who wants them.
    """
    named = read_arms(route.arms)
    if route.policy == _PASS and route.is_pattern:
        named = (CallArm(model),)  # a model's own name; the arms are for shadows
    if not named:
        efforts = ("",) if route.policy == _PASS else ("", "low", "high")
        named = tuple(CallArm(model, effort) for effort in efforts)
    elif any(arm.model == model for arm in named):
        named = (CallArm(model), *named)
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


def _too_dear(offers: Sequence[Forecast], wish: Wish) -> str:
    priced = [offer for offer in offers if offer.most_dollars is not None]
    if not priced:
        return (
            f"the price of {offers[-1].arm.name} is not known, so x-amp-max-dollars can't be held;"
            " add it to a price table, or leave the header out"
        )
    least = min(priced, key=lambda offer: offer.most_dollars or 0.0)
    return (
        f"even {least.arm.name}, the cheapest, may cost ${least.most_dollars:.6f}, more than"
        f" x-amp-max-dollars {wish.max_dollars:g}; raise that, or lower the cap of the answer"
    )
