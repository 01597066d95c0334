"""The policy that needs no training: effort first, then the model, then votes.

What the conversation needs is one of three levels. Less where a tool's result was fine and the work
goes on, more where it is stuck or a long task begins, else what the client asked for. Effort of the
model that the episode has comes first, since it keeps the cache. Another model is asked only where
the dearest effort has not helped, or where a cheaper one saves more than the lost cache costs, if
the episode lasts as long again as it has. The numbers are set by hand, not learned.

NOT covered: how probably an arm succeeds; a policy that learns from traffic says that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amp.serve.decide.base import EFFORTS, CallArm, CallDecision, Forecast, Wish
from amp.serve.decide.conversation import Conversation

LESS, AS_ASKED, MORE = -1, 0, 1
"""What a call needs, against what the client asked for."""

_FAILED_IN_ROW, _SAME, _LEAST_CALLS, _NOTHING_NEW = 2, 0.4, 3, 3
_LONG_TASK, _MANY_INDICATORS = 120, 0.6
_LONGEST_HORIZON = 20
_USUAL = EFFORTS.index("medium")
_WANTED = {LESS: EFFORTS.index("low"), AS_ASKED: _USUAL, MORE: EFFORTS.index("high")}


@dataclass(frozen=True, slots=True)
class Need:
    """What a call needs.

    Attributes:
        level: `LESS`, `AS_ASKED` or `MORE`.
        stuck: whether that is since the work does not get on.
        why: in words.
    """

    level: int
    stuck: bool
    why: str


def need_of(conversation: Conversation) -> Need:
    """Reads it from what came of the calls before."""
    read, calls = conversation.feature, conversation.feature("calls")
    if (failed := read("refused_in_row")) >= _FAILED_IN_ROW:
        return Need(MORE, True, f"the last {failed:.0f} results are failures")
    if calls >= _LEAST_CALLS and read("repeated_lately") >= _SAME:
        return Need(MORE, True, "the last calls repeat earlier ones")
    if calls >= _LEAST_CALLS and (since := read("since_new")) >= _NOTHING_NEW:
        return Need(MORE, True, f"the last {since:.0f} results tell nothing new")
    is_long = read("words") >= _LONG_TASK or read("indicators") >= _MANY_INDICATORS
    if is_long and read("tools") and not conversation.step:
        return Need(MORE, False, "a long task begins")
    if conversation.after_tool and not read("failed"):
        return Need(LESS, False, "goes on after a result that is fine")
    return Need(AS_ASKED, False, "nothing speaks for more or less")


class Rules:
    """Chooses by `need_of`, and by what a change of the model would cost.

    `Wish.trade_off` shifts the need by a level below 1/3 and above 2/3; 0 takes the cheapest arm,
    and 1 the most effort that there is. By default it is 1/2.
    """

    name = "rules"
    curve = ()
    trade_off = 0.5

    def decide(
        self, conversation: Conversation, offers: Sequence[Forecast], wish: Wish
    ) -> CallDecision:
        free = [offer for offer in offers if not offer.masked]
        trade_off = self.trade_off if wish.trade_off is None else wish.trade_off
        need = need_of(conversation)
        if trade_off <= 0.0:
            chosen, why = min(free, key=_price), "the cheapest, as wished"
        else:
            shift = (3.0 * trade_off > 2.0) - (3.0 * trade_off < 1.0)
            level = min(MORE, max(LESS, need.level + shift))
            level = MORE if trade_off >= 1.0 else level
            model, change = _model(conversation, free, need, level)
            chosen = _within([offer for offer in free if offer.arm.model == model], level)
            wished = f" (shifted by trade-off {trade_off:g})" if shift else ""
            why = "; ".join(filter(None, [f"{need.why}{wished}", change]))
        return CallDecision(chosen.arm, self.name, why, tuple(offers), conversation.features)


def _model(
    conversation: Conversation, free: Sequence[Forecast], need: Need, level: int
) -> tuple[str, str]:
    """The model, and why it is not the one that the episode has; empty if it is."""
    last = conversation.last
    prices: dict[str, Forecast] = {}
    for offer in free:  # each model by its cheapest arm
        model = offer.arm.model
        prices[model] = min(prices.get(model, offer), offer, key=_price)
    home = last.model if last is not None and last.model in prices else free[0].arm.model
    if level == MORE and need.stuck and last is not None and last.model == home:
        dearer = [m for m, offer in prices.items() if _fresh(offer) > _fresh(prices[home])]
        if dearer and rank(last) >= max(rank(o.arm) for o in free if o.arm.model == home):
            up = min(dearer, key=lambda model: _fresh(prices[model]))
            return up, f"{home} had its most effort"
    if level == LESS and conversation.step:
        horizon = min(conversation.step, _LONGEST_HORIZON)
        saved = {
            model: horizon * (_fresh(prices[home]) - _fresh(offer)) - offer.lost_dollars
            for model, offer in prices.items()
        }
        best = max(saved, key=lambda model: saved[model])
        if best != home and saved[best] > 0.0:
            return best, f"{best} saves ${saved[best]:.6f} in {horizon} calls, lost cache included"
    return home, ""


def _within(offers: Sequence[Forecast], level: int) -> Forecast:
    """The arm of a model that is nearest to what is needed; the cheaper one of equals."""
    wanted = _WANTED[level]
    plain = level == AS_ASKED and any(not offer.arm.effort for offer in offers)

    def distance(offer: Forecast) -> tuple[bool, int, int, float]:
        votes = offer.arm.samples if level == LESS else -offer.arm.samples
        off = abs(rank(offer.arm) - wanted)
        return plain and bool(offer.arm.effort), off, votes, _price(offer)

    return min(offers, key=distance)


def rank(arm: CallArm) -> int:
    """The place of an arm's effort among all; one that is not told counts as medium."""
    return EFFORTS.index(arm.effort) if arm.effort else _USUAL


def _price(offer: Forecast) -> float:
    """What is expected to be paid; arms without a price are equally cheap."""
    return offer.dollars or 0.0


def _fresh(offer: Forecast) -> float:
    """The same once its cache is warm."""
    return _price(offer) - offer.lost_dollars
