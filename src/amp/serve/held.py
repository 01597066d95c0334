"""What is set aside for a call before it is made, and charged or given back after it."""

from __future__ import annotations

import math

from amp.serve.accounts.base import Accounts, Claim, Refusal, Reservation
from amp.serve.exchange import Exchange, RefusedCallError
from amp.serve.upstreams.upstream import client_key
from amp.usage import Usage


class Held:
    """What is reserved for a call, until each of its attempts is settled or it is given back.

    Args:
        accounts: whose.
        exchange: the call.
        dollars: what its dearest attempt can cost at most; None where the price is not known.
        tokens: that it can take at most.
    """

    def __init__(
        self, accounts: Accounts, exchange: Exchange, *, dollars: float | None, tokens: int
    ) -> None:
        self._accounts = accounts
        self._exchange = exchange
        self._dollars = dollars
        self._tokens = tokens
        self._reservation: Reservation | None = None

    async def __aenter__(self) -> Held:
        return self

    async def reserve(self) -> str:
        """Makes sure that something is reserved; an attempt that was charged has used it up.

        Returns the name of the key that pays.

        Raises:
            RefusedCallError: if the accounts do not allow it.
        """
        if self._reservation is None:
            self._reservation = await reserve(
                self._accounts, self._exchange, dollars=self._dollars, tokens=self._tokens
            )
        return self._reservation.key

    async def settle(self, usage: Usage, model: str) -> None:
        """Charges what an attempt cost."""
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            await self._accounts.settle(reservation, usage, model=model)

    async def __aexit__(self, *error: object) -> None:
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            await self._accounts.release(reservation)


async def reserve(
    accounts: Accounts, exchange: Exchange, *, dollars: float | None, tokens: int
) -> Reservation:
    """Sets aside what a call can cost at most.

    Raises:
        RefusedCallError: if the accounts do not allow it, or the bid is none.
        InvalidInputError: if the name of the episode is none.
    """
    claim = Claim(dollars, tokens, exchange.episode, _bid(exchange.header("x-amp-bid")))
    reserved = await accounts.reserve(client_key(exchange.headers), claim)
    if isinstance(reserved, Refusal):
        raise RefusedCallError(reserved.status, reserved.reason, reserved.retry_after_seconds)
    return reserved


def _bid(told: str) -> float:
    try:
        bid = float(told or 0.0)
    except ValueError:
        bid = math.nan
    if not math.isfinite(bid):
        raise RefusedCallError(400, f"x-amp-bid is {told[:40]!r}, expected a number")
    return bid
