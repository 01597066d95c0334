"""The gateway's accounts, kept in a file: keys and budgets of `amp.serve.accounts.ledger`.

Nothing is awaited: a call takes a tenth of a millisecond, and one that is cancelled halfway would
hold money that nobody gives back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from amp.errors import InvalidInputError
from amp.serve.accounts.base import Claim, Refusal, Reservation
from amp.serve.accounts.budgets import NOT_GRANTED, no_price, refusal_of, require_episode
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.sqlite_file import SqliteFileError
from amp.usage import Usage

_log = logging.getLogger(__name__)


class SqliteAccounts:
    """`amp.serve.accounts.base.Accounts` in one file for all gateways of a machine.

    A file that cannot be written refuses new calls. Calls that end meanwhile keep their
    reservations, and are settled as soon as it can be written again.

    Args:
        path: the file; it is made if it is not there.

    Attributes:
        accounts: for whatever else is asked of them, such as what was spent.

    Raises:
        InvalidInputError: if the file is something else, of another version, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.accounts = AccountsFile(path)
        self._unwritten: list[Callable[[], object]] = []

    async def name_of(self, key: str) -> str | Refusal:
        """Who shows a key, for what costs nothing."""
        try:
            return self.accounts.find(key).name
        except (*NOT_GRANTED, SqliteFileError) as error:
            return refusal_of(error)

    async def reserve(self, key: str, claim: Claim) -> Reservation | Refusal:
        """As `AccountsFile.reserve`; keys with a limit of dollars may not ask without a price.

        No keys share a budget here, so bids change nothing.
        """
        try:
            require_episode(claim.episode)
        except InvalidInputError as error:
            return Refusal(str(error), 400)
        try:
            self._write()
            found = self.accounts.find(key)
            if claim.dollars is None and found.limits.counts_dollars:
                return no_price(found)
            return self.accounts.reserve(found, claim.dollars or 0.0, claim.tokens, claim.episode)
        except (*NOT_GRANTED, SqliteFileError) as error:
            return refusal_of(error)

    async def settle(self, reservation: Reservation, usage: Usage, *, model: str = "") -> None:
        """Charges what the call did cost, and gives the rest back."""
        self._later(partial(self.accounts.settle, reservation, usage.dollars, usage.tokens))

    async def release(self, reservation: Reservation) -> None:
        """Gives everything back: the call cost nothing."""
        self._later(partial(self.accounts.release, reservation))

    async def close(self) -> None:
        """Writes what could not be written yet, if it can be now, and closes the file."""
        try:
            self._write()
        except SqliteFileError as error:
            _log.error("%d calls are not settled: %s", len(self._unwritten), error)
        self.accounts.close()

    def _later(self, write: Callable[[], object]) -> None:
        """Writes now, or with the next call if that fails."""
        self._unwritten.append(write)
        try:
            self._write()
        except SqliteFileError as error:
            _log.error("a call is settled later: %s", error)

    def _write(self) -> None:
        while self._unwritten:
            try:
                self._unwritten[0]()
            except SqliteFileError:
                raise
            except InvalidInputError as error:  # settled twice, or no amount: never will be
                _log.error("a call is not settled: %s", error)
            del self._unwritten[0]
