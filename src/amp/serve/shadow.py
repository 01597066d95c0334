"""Asks another arm the same, for a share of the calls, once the client has its answer.

Whether both did the same is a label that costs nothing but the other answer, and that answer is
paid by the operator, by a key of its own with limits of its own (``amp keys add shadow
--dollars-per-day 5``). Where a cheaper arm answered, the dear one is asked; where the dear one did,
one of the others by chance.

A shadow is a model's answer that nobody gets. Tools that the client would run are not run. Requests
whose answer does something by itself are not asked again: tools that the provider runs, state that
it keeps, answers in the background.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amp.cost import dollars
from amp.errors import BudgetReachedError, InvalidInputError, KeyRefusedError
from amp.serve.accounting import Refusal, Reservation
from amp.serve.accounts import Accounts
from amp.serve.chats import Chats
from amp.serve.decide import EFFORTS, Arm
from amp.serve.dialect import Asked, Dialect, parsed
from amp.serve.exchange import Exchange, Message, RefusedCallError
from amp.serve.fleet import Fleet, Route
from amp.serve.keys import Key
from amp.serve.metrics import Metrics
from amp.serve.said import Normal, Said
from amp.serve.sqlite_file import SqliteFileError
from amp.serve.traffic import Traffic
from amp.serve.traffic_file import Answer
from amp.serve.upstream import UpstreamError
from amp.usage import Usage

SHADOW_KEY = "shadow"
"""Name of the key that pays."""

_AT_ONCE = 8
_PASSED_ON = ("content-type", "anthropic-version", "anthropic-beta", "openai-beta")
_OF_STATE = ("previous_response_id", "conversation", "background", "mcp_servers", "container")
_RUN_BY_CLIENTS = ("function", "custom", "")
_STREAMED = ("stream", "stream_options")
_log = logging.getLogger(__name__)


def payer(accounts: Accounts) -> Key:
    """The key that pays for shadows.

    Raises:
        InvalidInputError: if there is none, or it has no limit.
    """
    found = next((key for key in accounts.keys() if key.name == SHADOW_KEY), None)
    todo = f"amp keys add {SHADOW_KEY} --dollars-per-day 5"
    if found is None:
        raise InvalidInputError(f"no key {SHADOW_KEY!r} that pays for shadows; add one ({todo})")
    limits = found.limits
    if found.revoked is not None or not any(
        limit is not None
        for limit in (
            limits.dollars_per_day,
            limits.dollars_per_month,
            limits.tokens_per_day,
            limits.requests_per_day,
        )
    ):
        what = "has no limit" if found.revoked is None else "is revoked"
        raise InvalidInputError(f"key {SHADOW_KEY!r} {what}, so it can't pay for shadows ({todo})")
    return found


def unfit(fields: Mapping[str, Any]) -> str:
    """Why a request can't be asked again without doing something; empty if it can."""
    for name in _OF_STATE:
        if fields.get(name):
            return f"{name} is set"
    if fields.get("n") not in (None, 1):
        return "several answers are asked for"
    tools = fields.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type", "") if isinstance(tool, dict) else tool
        if kind not in _RUN_BY_CLIENTS:
            return "tools may be run by the provider"
    return ""


def other_arm(
    arm: Arm, arms: Sequence[Arm], price: Callable[[Arm], float], chance: Callable[[], float]
) -> Arm | None:
    """Who is asked where an arm has answered; None if there is no other.

    Args:
        arm: that has answered.
        arms: that can be asked, that one among them.
        price: of an arm, to compare them by.
        chance: draws from 0 to 1.
    """
    dear = max(reversed(arms), key=price, default=arm)
    if dear != arm:
        return dear
    others = [each for each in arms if each != arm]
    return others[int(chance() * len(others))] if others else None


@dataclass(slots=True)
class _Paid:
    """Accounts of one call that the operator's key pays, and what it cost."""

    accounts: Accounts
    key: Key
    usage: Usage = Usage()

    async def name_of(self, key: str) -> str | Refusal:
        return self.key.name

    async def reserve(
        self, key: str, *, dollars: float | None, tokens: int, episode: str = ""
    ) -> Reservation | Refusal:
        limits = self.key.limits
        if dollars is None and not (limits.dollars_per_day is limits.dollars_per_month is None):
            return Refusal("its price is not known", 403)
        try:
            return self.accounts.reserve(self.key, dollars or 0.0, tokens)
        except (BudgetReachedError, KeyRefusedError, SqliteFileError) as error:
            return Refusal(str(error))

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
        self.usage += usage
        try:
            self.accounts.settle(reservation, usage.dollars, usage.tokens)
        except InvalidInputError as error:
            _log.error("a shadow is not settled: %s", error)

    async def release(self, reservation: Reservation) -> None:
        try:
            self.accounts.release(reservation)
        except InvalidInputError as error:
            _log.error("a shadow is not released: %s", error)

    async def close(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class Answered:
    """A call whose client has its answer.

    Attributes:
        id: of the call in the traffic.
        dialect: that the client speaks.
        asked: what it asked for.
        headers: of its request.
        route: of the name that it asked for.
        arm: that answered.
        usage: what that cost.
        normal: what it said.
    """

    id: int
    dialect: Dialect
    asked: Asked
    headers: Sequence[tuple[str, str]]
    route: Route
    arm: Arm
    usage: Usage
    normal: Normal


class Shadow:
    """Asks other arms.

    Args:
        share: of the calls.
        fleet: the upstreams.
        accounts: whose key pays.
        traffic: where answers are kept.
        metrics: where they are counted.
        chance: draws from 0 to 1.

    Raises:
        InvalidInputError: if no key can pay, or the share is none.
    """

    def __init__(
        self,
        share: float,
        fleet: Fleet,
        accounts: Accounts,
        traffic: Traffic,
        metrics: Metrics,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not 0.0 < share <= 1.0:
            raise InvalidInputError(f"shadow is {share:g}, expected more than 0 and at most 1")
        self._share = share
        self._fleet = fleet
        self._accounts = accounts
        self._key = payer(accounts)
        self._traffic = traffic
        self._metrics = metrics
        self._chance = chance
        self._open: set[asyncio.Task[None]] = set()

    def after(self, answered: Answered, arms: Sequence[Arm]) -> None:
        """Asks another arm, if chance and the request allow it; returns at once.

        Args:
            answered: the call.
            arms: of its route.
        """
        if self._chance() >= self._share:
            return
        arm = self._other(answered, arms)
        if arm is None:
            self._metrics.shadow("unfit")
        elif len(self._open) >= _AT_ONCE:
            self._metrics.shadow("busy")
        else:
            task = asyncio.create_task(self._ask(answered, arm))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def settled(self) -> None:
        """Waits until nothing is open."""
        while self._open:
            await asyncio.wait(list(self._open))

    async def close(self) -> None:
        """Drops what is open, and charges it, and closes the accounts."""
        for task in self._open:
            task.cancel()
        await self.settled()
        self._accounts.close()

    def _other(self, answered: Answered, arms: Sequence[Arm]) -> Arm | None:
        """Who is to be asked; None for nobody."""
        fields = answered.asked.fields
        if unfit(fields) or (answered.normal.text is None and not answered.normal.calls):
            return None
        able = [
            arm
            for arm in dict.fromkeys((answered.arm, *arms))
            if arm.samples == 1
            and not answered.dialect.obstacle(fields, arm)
            and self._pays_for(arm, answered.route)
        ]
        return other_arm(answered.arm, able, self._price(answered), self._chance)

    def _pays_for(self, arm: Arm, route: Route) -> bool:
        """Whether upstreams have it, none of which would be sent the key of a client."""
        try:
            places = self._fleet.places(arm.model, route)
        except RefusedCallError:
            return False
        return not any(place.upstream.takes_clients_keys for place in places)

    def _price(self, answered: Answered) -> Callable[[Arm], tuple[float, int]]:
        def price(arm: Arm) -> tuple[float, int]:
            place = self._fleet.places(arm.model, answered.route)[0]
            card = place.card(answered.dialect.name, place.model)
            effort = EFFORTS.index(arm.effort or "medium")
            return dollars(Usage(prompt_tokens=1000, completion_tokens=1000), card), effort

        return price

    async def _ask(self, answered: Answered, arm: Arm) -> None:
        """Asks an arm, and keeps what it answers."""
        dialect, paid, said = answered.dialect, _Paid(self._accounts, self._key), Said()
        kept = {n: v for n, v in answered.asked.fields.items() if n not in _STREAMED}
        if "input" in kept:  # the Responses API keeps answers unless it is told not to
            kept["store"] = False
        body = dialect.with_arm(json.dumps(kept).encode(), arm)
        exchange = _Unheard.of(dialect, answered.headers, body)
        try:
            await Chats(self._fleet, paid, self._metrics).answer(exchange, dialect, body)
        except RefusedCallError as error:
            self._metrics.shadow("budget")
            _log.info("no shadow: %s", error)
            return
        except (UpstreamError, InvalidInputError) as error:
            self._metrics.shadow("failed")
            _log.info("no shadow: %s", error)
            return
        said.hear(parsed(bytes(exchange.content)) or {})
        normal = said.normal()
        same = answered.normal.same(normal)
        self._metrics.shadow("unknown" if same is None else "same" if same else "other")
        self._traffic.answer(
            Answer(
                answered.id,
                arm.name,
                paid.usage,
                self._even(answered, arm, paid.usage),
                normal.digest(self._traffic.salt),
                same,
                normal.text if self._traffic.keep.content else None,
            )
        )

    def _even(self, answered: Answered, arm: Arm, usage: Usage) -> float:
        """What an answer would have cost with a cache as warm as that of the arm that answered."""
        mine = answered.usage
        share = mine.cached_prompt_tokens / mine.prompt_tokens if mine.prompt_tokens else 0.0
        place = self._fleet.places(arm.model, answered.route)[0]
        cached = max(usage.cached_prompt_tokens, round(share * usage.prompt_tokens))
        even = replace(usage, cached_prompt_tokens=cached)
        return dollars(even, place.card(answered.dialect.name, place.model))
