"""Asks other arms the same, for a share of the calls, once the client has its answer.

An arm is drawn by chance, and what is learned is whether it does the same as the dear arm does when
it is asked by itself: a label that costs nothing but the answers that are missing. The dear arm is
drawn, too, since models do not always agree with themselves, and no other arm can be held to more.

| the client was answered by | drawn is | asked are |
|---|---|---|
| the dear arm | any | the one that is drawn |
| another arm | that one | the dear arm |
| another arm | the dear arm | the dear arm, twice |
| another arm | a third one | that one and the dear arm |

The operator pays, by a key of its own with limits of its own (``amp keys add shadow
--dollars-per-day 5``). A shadow is a model's answer that nobody gets. Tools that the client would
run are not run. Requests whose answer does something by itself are not asked again: tools that the
provider runs, state that it keeps, answers in the background.
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
from amp.models.base import ModelCard
from amp.serve.accounts.base import Claim, Refusal, Reservation
from amp.serve.accounts.keys import Key
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.chats import Chats
from amp.serve.decide.base import EFFORTS, CallArm, CallDecision, Pass
from amp.serve.decide.desk import Desk, Ruling
from amp.serve.dialects.base import Asked, Dialect, parsed
from amp.serve.dialects.said import Normal, Said
from amp.serve.exchange import Exchange, Message, RefusedCallError
from amp.serve.metrics import Metrics
from amp.serve.sqlite_file import SqliteFileError
from amp.serve.traffic.tables import Answer, Shadowed
from amp.serve.traffic.writer import Traffic
from amp.serve.translate.translation import dialect_for
from amp.serve.upstreams.answer import UpstreamError
from amp.serve.upstreams.fleet import Fleet, Route
from amp.usage import Usage

SHADOW_KEY = "shadow"
"""Name of the key that pays."""

_AT_ONCE = 8
_PASSED_ON = ("content-type", "anthropic-version", "anthropic-beta", "openai-beta")
_OF_STATE = ("previous_response_id", "conversation", "background", "mcp_servers", "container")
_RUN_BY_CLIENTS = ("function", "custom", "")
# Also the seed: with the same one, the dear arm would agree with itself too often.
_NOT_AGAIN = ("stream", "stream_options", "seed")
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


class Operator:
    """Accounts where the operator's key pays, whatever key is shown.

    Args:
        path: the file of the keys.

    Raises:
        InvalidInputError: if it has no such key, or one without a limit.
    """

    def __init__(self, path: Path) -> None:
        self.accounts = AccountsFile(path)
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

    async def reserve(self, key: str, claim: Claim) -> Reservation | Refusal:
        limits = self.key.limits
        if claim.dollars is None and (limits.dollars_per_day, limits.dollars_per_month) != (
            None,
            None,
        ):
            return Refusal("its price is not known, and the key has a limit of dollars", _NO_MONEY)
        try:
            return self.accounts.reserve(self.key, claim.dollars or 0.0, claim.tokens)
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
class _Said:
    """What an arm said, and what that cost."""

    usage: Usage
    normal: Normal


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
    def arm(self) -> CallArm:
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
        chance: draws from 0 to 1; None for Python's own.

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
        chance: Callable[[], float] | None = None,
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
        self._chance = chance or random.random
        self._open: set[asyncio.Task[None]] = set()

    def after(self, answered: Answered, arms: Sequence[CallArm]) -> None:
        """Asks other arms, if chance and the request allow it; returns at once.

        Args:
            answered: the call.
            arms: of its route.
        """
        if self._chance() >= self._share:
            return
        able = self._able(answered, arms)
        if len(able) < 2:
            self._metrics.shadow("unfit")
        elif len(self._open) >= _AT_ONCE:
            self._metrics.shadow("busy")
        else:
            drawn = able[int(self._chance() * len(able))]
            dear = max(able, key=self._price(answered))
            task = asyncio.create_task(self._compare(answered, drawn, dear))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    def turn_to(self, fleet: Fleet) -> None:
        """Asks other upstreams from now on."""
        self._fleet = fleet
        self._chats.turn_to(fleet)

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

    def _able(self, answered: Answered, arms: Sequence[CallArm]) -> list[CallArm]:
        """Arms that could have answered; none where nobody is to be asked again."""
        fields, normal = answered.asked.fields, answered.normal
        if unfit(fields) or answered.arm.samples > 1 or (normal.text is None and not normal.calls):
            return []
        return [
            arm
            for arm in dict.fromkeys((*arms, answered.arm))
            if arm.samples == 1
            and not answered.dialect.obstacle(fields, arm)
            and self._pays_for(arm, answered.route)
        ]

    def _pays_for(self, arm: CallArm, route: Route) -> bool:
        """Whether upstreams have it, none of which would be sent the key of a client."""
        try:
            places = self._fleet.places(arm.model, route)
        except RefusedCallError:
            return False
        return not any(place.upstream.takes_clients_keys for place in places)

    def _price(self, answered: Answered) -> Callable[[CallArm], tuple[float, int]]:
        def price(arm: CallArm) -> tuple[float, int]:
            card = self._card(answered, arm)
            effort = EFFORTS.index(arm.effort or "medium")
            return dollars(Usage(prompt_tokens=1000, completion_tokens=1000), card), effort

        return price

    def _card(self, answered: Answered, arm: CallArm) -> ModelCard:
        """The prices of an arm, in the API that it is asked in."""
        place = self._fleet.places(arm.model, answered.route)[0]
        spoken = dialect_for(answered.dialect, place.upstream.dialects) or answered.dialect
        return place.card(spoken.name, place.model)

    async def _compare(self, answered: Answered, arm: CallArm, dear: CallArm) -> None:
        """Asks what is missing to say how an arm does, and keeps it."""
        told = _Said(answered.ruling.usage, answered.normal)
        reference = told if answered.arm == dear else None
        own = told if answered.arm == arm and reference is None else None
        missing = [each for each, there in ((arm, own), (dear, reference)) if there is None]
        asked = await asyncio.gather(
            *(self._ask(answered, each) for each in missing), return_exceptions=True
        )
        found: list[_Said] = []
        for one in asked:
            if isinstance(one, _Said):
                found.append(one)
            elif isinstance(one, (RefusedCallError, UpstreamError, InvalidInputError)):
                refused = isinstance(one, RefusedCallError) and one.status == _NO_MONEY
                self._metrics.shadow("budget" if refused else "failed")
                _log.info("no shadow: %s", one)
                return
            else:
                raise one
        answers = iter(found)
        own, reference = own or next(answers), reference or next(answers)
        same = own.normal.same(reference.normal)
        self._metrics.shadow("unknown" if same is None else "same" if same else "other")
        paid = sum(one.usage.dollars for one in found)
        own_answer, dear_answer = (
            self._kept(answered, each, one) for each, one in ((arm, own), (dear, reference))
        )
        self._traffic.shadow(
            Shadowed(answered.id, arm.name, dear.name, same, paid, own_answer, dear_answer)
        )

    async def _ask(self, answered: Answered, arm: CallArm) -> _Said:
        """Asks an arm.

        Raises:
            RefusedCallError: if the operator's key may not.
            UpstreamError: if nobody answers.
            InvalidInputError: if the arm can't be asked in this way.
        """
        dialect, unheard = answered.dialect, _Unheard()
        fields = {n: v for n, v in answered.asked.fields.items() if n not in _NOT_AGAIN}
        if "input" in fields:  # the Responses API keeps answers unless it is told not to
            fields["store"] = False
        headers = [(name, value) for name, value in answered.headers if name in _PASSED_ON]
        exchange = Exchange(
            "POST", dialect.path, headers, unheard.receive, unheard.send, started=time.monotonic()
        )
        decision = CallDecision(arm, SHADOW_KEY, "asked the same")
        ruling = replace(answered.ruling, decision=decision, usage=Usage())
        body = json.dumps(fields).encode()
        await self._chats.once(exchange, dialect, body, answered.route, ruling)
        if ruling.decision.arm != arm:
            raise InvalidInputError(f"{arm.name} was asked otherwise: {ruling.decision.why}")
        said = Said()
        said.hear(parsed(bytes(unheard.content)) or {})
        return _Said(ruling.usage, said.normal())

    def _kept(self, answered: Answered, arm: CallArm, one: _Said) -> Answer:
        """An answer as it is kept, its price as if its cache were as warm as the other one's."""
        usage, mine = one.usage, answered.ruling.usage
        paid = usage.dollars
        if usage is not mine:
            # Not what it found itself: the client's call has put the prompt into the cache.
            share = mine.cached_prompt_tokens / mine.prompt_tokens if mine.prompt_tokens else 0.0
            even = replace(usage, cached_prompt_tokens=round(share * usage.prompt_tokens))
            paid = dollars(even, self._card(answered, arm))
        return Answer(
            usage.prompt_tokens,
            usage.completion_tokens,
            paid,
            one.normal.digest(self._traffic.salt),
            one.normal.text if self._traffic.keep.content else None,
        )
