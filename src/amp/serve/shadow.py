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
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amp.cost import dollars
from amp.errors import BudgetReachedError, InvalidInputError, KeyRefusedError
from amp.serve.accounting import Refusal, Reservation
from amp.serve.accounts import Accounts
from amp.serve.chats import Chats
from amp.serve.decide import EFFORTS, Arm, Decision, Pass
from amp.serve.desk import Desk, Ruling
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
_OF_A_STREAM = ("stream", "stream_options")
_NO_MONEY = 429
_log = logging.getLogger(__name__)


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
    arm: Arm,
    arms: Sequence[Arm],
    price: Callable[[Arm], tuple[float, int]],
    chance: Callable[[], float],
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


class Operator:
    """Accounts where the operator's key pays, whatever key is shown.

    Args:
        path: the file of the keys.

    Raises:
        InvalidInputError: if it has no such key, or one without a limit.
    """

    def __init__(self, path: Path) -> None:
        self.accounts = Accounts(path)
        try:
            self.key = self._payer()
        except InvalidInputError:
            self.accounts.close()
            raise

    def _payer(self) -> Key:
        todo = f"add one with a limit (amp keys add {SHADOW_KEY} --dollars-per-day 5)"
        found = [key for key in self.accounts.keys() if key.name == SHADOW_KEY]  # noqa: SIM118
        if not found or found[0].revoked is not None:
            raise InvalidInputError(f"no good key {SHADOW_KEY!r} that pays for shadows; {todo}")
        limits = found[0].limits
        ends = (limits.dollars_per_day, limits.dollars_per_month)
        if (*ends, limits.tokens_per_day, limits.requests_per_day) == (None,) * 4:
            raise InvalidInputError(f"key {SHADOW_KEY!r} has no limit of a day or month; {todo}")
        return found[0]

    async def name_of(self, key: str) -> str | Refusal:
        return self.key.name

    async def reserve(
        self, key: str, *, dollars: float | None, tokens: int, episode: str = ""
    ) -> Reservation | Refusal:
        limits = self.key.limits
        if dollars is None and (limits.dollars_per_day, limits.dollars_per_month) != (None, None):
            return Refusal("its price is not known, and the key has a limit of dollars", _NO_MONEY)
        try:
            return self.accounts.reserve(self.key, dollars or 0.0, tokens)
        except (BudgetReachedError, KeyRefusedError, SqliteFileError) as error:
            return Refusal(str(error), _NO_MONEY)

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
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
        self.accounts.close()


@dataclass(slots=True)
class _Unheard:
    """An answer that nobody gets."""

    content: bytearray = field(default_factory=bytearray)

    async def send(self, message: Message) -> None:
        self.content += message.get("body", b"")

    async def receive(self) -> Message:
        return await asyncio.Future()  # nobody who could go away


@dataclass(frozen=True, slots=True)
class Answered:
    """A call whose client has its answer.

    Attributes:
        id: of the call in the traffic.
        dialect: that the client speaks.
        asked: what it asked for.
        headers: of its request.
        route: of the name that it asked for.
        ruling: what was decided, and what it cost.
        normal: what it was told.
    """

    id: int
    dialect: Dialect
    asked: Asked
    headers: Sequence[tuple[str, str]]
    route: Route
    ruling: Ruling
    normal: Normal

    @property
    def arm(self) -> Arm:
        """That answered."""
        return self.ruling.decision.arm


class Shadow:
    """Asks other arms.

    Args:
        share: of the calls.
        fleet: the upstreams.
        operator: who pays.
        traffic: where answers are kept.
        metrics: where they are counted.
        chance: draws from 0 to 1.

    Raises:
        InvalidInputError: if the share is none.
    """

    def __init__(
        self,
        share: float,
        fleet: Fleet,
        operator: Operator,
        traffic: Traffic,
        metrics: Metrics,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not 0.0 < share <= 1.0:
            raise InvalidInputError(f"shadow is {share:g}, expected more than 0 and at most 1")
        self._share = share
        self._fleet = fleet
        self._operator = operator
        # With a desk of its own: the other one remembers whose cache is warm.
        self._chats = Chats(fleet, operator, metrics, Desk(fleet, lambda path: Pass()))
        self._traffic = traffic
        self._metrics = metrics
        self._chance = chance
        self._open: set[asyncio.Task[None]] = set()

    def turn_to(self, fleet: Fleet) -> None:
        """Asks other upstreams from now on."""
        self._fleet = fleet
        self._chats.turn_to(fleet)

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
        await self._operator.close()

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
        dialect, unheard = answered.dialect, _Unheard()
        fields = {n: v for n, v in answered.asked.fields.items() if n not in _OF_A_STREAM}
        if "input" in fields:  # the Responses API keeps answers unless it is told not to
            fields["store"] = False
        headers = [(name, value) for name, value in answered.headers if name in _PASSED_ON]
        exchange = Exchange(
            "POST", dialect.path, headers, unheard.receive, unheard.send, started=time.monotonic()
        )
        decision = Decision(arm, SHADOW_KEY, "asked the same")
        ruling = replace(answered.ruling, decision=decision, usage=Usage())
        try:
            body = json.dumps(fields).encode()
            await self._chats.once(exchange, dialect, body, answered.route, ruling)
        except (RefusedCallError, UpstreamError, InvalidInputError) as error:
            told = isinstance(error, RefusedCallError) and error.status == _NO_MONEY
            self._metrics.shadow("budget" if told else "failed")
            _log.info("no shadow: %s", error)
            return
        said = Said()
        said.hear(parsed(bytes(unheard.content)) or {})
        normal = said.normal()
        same = answered.normal.same(normal)
        self._metrics.shadow("unknown" if same is None else "same" if same else "other")
        self._traffic.answer(
            Answer(
                answered.id,
                arm.name,
                ruling.usage,
                self._even(answered, arm, ruling.usage),
                normal.digest(self._traffic.salt),
                same,
                normal.text if self._traffic.keep.content else None,
            )
        )

    def _even(self, answered: Answered, arm: Arm, usage: Usage) -> float:
        """What an answer would have cost with a cache as warm as that of the arm that answered."""
        mine = answered.ruling.usage
        share = mine.cached_prompt_tokens / mine.prompt_tokens if mine.prompt_tokens else 0.0
        place = self._fleet.places(arm.model, answered.route)[0]
        cached = max(usage.cached_prompt_tokens, round(share * usage.prompt_tokens))
        even = replace(usage, cached_prompt_tokens=cached)
        return dollars(even, place.card(answered.dialect.name, place.model))
