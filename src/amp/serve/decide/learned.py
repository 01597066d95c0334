"""The policy that was learned from the gateway's own traffic.

It is a router as pools teach it (`amp.allocate.router`), asked once a call: of each arm it expects
how often it does what the call needs, and what it costs. What it knows of a call before it is made
is its kind (`amp.serve.decide.conversation`) and its length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from amp.allocate.policy_file import CurvePoint, load_origin, load_router
from amp.allocate.router import Known, Router, nearest
from amp.errors import InvalidInputError
from amp.mlp import Floats
from amp.serve.decide.base import CallArm, CallDecision, Forecast, Wish
from amp.serve.decide.conversation import Conversation, kind_of, known_kind


class Learned:
    """Decides by a file of `amp train --from-traffic`.

    Args:
        path: the file.

    Attributes:
        name: in headers and records.
        curve: what it is expected to take and to reach, by trade-off.
        trade_off: where the client does not wish for another.

    Raises:
        InvalidInputError: if there is no such policy, or it was not learned from traffic.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        router = load_router(path)
        origin = load_origin(path)
        if origin is None or origin.trade_off is None:
            raise InvalidInputError(
                f"policy {path} was not learned from traffic; make one (amp train --from-traffic)"
            )
        self.curve: Sequence[CurvePoint] = origin.curve
        self.trade_off = origin.trade_off
        self._arms = [arm_of(name) for name in router.arms]
        self._kinds = router.descriptors.kinds
        self._router = router
        self._at = cache(lambda trade_off: router.with_trade_off(trade_off))

    def decide(
        self, conversation: Conversation, offers: Sequence[Forecast], wish: Wish
    ) -> CallDecision:
        """Returns the offer that is worth most; the first one that can be had if it knows none."""
        router = self._nearest(self.trade_off if wish.trade_off is None else wish.trade_off)
        kind = known_kind(kind_of(conversation), self._kinds)
        tokens = float(conversation.prompt_tokens)
        described = router.descriptors.of(kind, "", tokens)
        known = router.begin(described[None], np.array([tokens]))
        expected = dict(zip(self._arms, known.chances[0].tolist(), strict=True))
        told = tuple(
            offer.expecting(expected[offer.arm]) if offer.arm in expected else offer
            for offer in offers
        )
        by_arm = {offer.arm: offer for offer in told if not offer.masked}
        there = np.array([arm in by_arm for arm in self._arms])
        if not there.any():
            first = next(offer for offer in told if not offer.masked)
            why = "none of the arms that it knows can be had"
            return CallDecision(first.arm, self.name, why, told, conversation.features)
        lost = [by_arm[arm].lost_dollars if arm in by_arm else 0.0 for arm in self._arms]
        prices = known.prices + (np.array(lost) / router.reference) * (router.cost == "dollars")
        worth = worth_alone(router, replace(known, there=there[None], prices=prices))[0]
        chosen = self._arms[int(worth.argmax())]
        why = (
            f"{kind or 'a new kind of call'}: {chosen.name} is expected to do it in"
            f" {100.0 * expected[chosen]:.0f} % of calls (trade-off {router.trade_off:g})"
        )
        return CallDecision(chosen, self.name, why, told, conversation.features)

    def _nearest(self, trade_off: float) -> Router:
        """The router at the trade-off of its own that is nearest; there are few of them."""
        found = self._router.trade_offs
        return self._at(float(found[nearest(found, trade_off)]))


def worth_alone(router: Router, known: Known) -> Floats:
    """Q of each arm, as if it were the only one, shape (rows, arms); -inf where it is not there.

    A call gets one answer, and in traffic mostly one arm is known of each.
    """
    arms = np.arange(known.there.shape[-1])
    alone = [replace(known, there=known.there & (arms == arm)) for arm in arms]
    found = [router.worth(one, 0)[:, 1 + arm] for arm, one in zip(arms, alone, strict=True)]
    return np.stack(found, -1)


def arm_of(name: str) -> CallArm:
    """The arm that a pool calls ``MODEL|EFFORT xN``."""
    model, _, way = name.partition("|")
    joint = "" if not way else " " if way[1:].isdigit() else "@"
    return CallArm.read(f"{model}{joint}{way}")


def pool_name(arm: CallArm) -> str:
    """What a pool calls an arm: the way apart from the model, by which its price is found."""
    return f"{arm.model}|{arm.name.removeprefix(arm.model).lstrip('@ ')}".rstrip("|")
