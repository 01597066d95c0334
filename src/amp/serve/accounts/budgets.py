"""What accounts are told and tell: episodes, sums of days and months, and refusals in words."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from amp.errors import AmpError, BudgetReachedError, InvalidInputError, KeyRefusedError
from amp.serve.accounts.base import Refusal
from amp.serve.accounts.keys import NANO, Key

_LONGEST_EPISODE = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settled call cost beyond what was held for it, both 0 as a rule.

    Attributes:
        over_dollars: nano-dollars.
        over_tokens: tokens.
    """

    over_dollars: int
    over_tokens: int


@dataclass(frozen=True, slots=True)
class Sum:
    """What a key spent in a period, dollars in nano-dollars.

    Attributes:
        period: such as ``2026-11-30`` or ``2026-11``.
        dollars: spent.
        held_dollars: reserved for open calls.
        tokens: spent.
        held_tokens: reserved for open calls.
        requests: calls, open ones among them.
        over_dollars: of the spent, what no reservation covered.
        over_tokens: likewise.
        lost_dollars: reservations of calls that nobody ended, whose price is not known; not spent.
    """

    period: str
    dollars: int
    held_dollars: int
    tokens: int
    held_tokens: int
    requests: int
    over_dollars: int
    over_tokens: int
    lost_dollars: int

    @classmethod
    def of(cls, period: str, sums: Sequence[int], held_dollars: int, held_tokens: int) -> Sum:
        """From the sums that are kept, which have what is held for open calls in them."""
        dollars, tokens, *rest = sums
        spent = dollars - held_dollars, held_dollars, tokens - held_tokens, held_tokens
        return cls(period, *spent, *rest)


@dataclass(frozen=True, slots=True)
class Spend:
    """What a key spent today and this month.

    Attributes:
        key: whose.
        day: of today.
        month: of this month.
        open_calls: at this moment.
    """

    key: Key
    day: Sum
    month: Sum
    open_calls: int


@dataclass(frozen=True, slots=True)
class Look:
    """A limit by name, what of it is taken, and what is to be."""

    name: str
    used: int
    want: int


def shown(nano_dollars: int) -> str:
    """An amount for people: ``$0.0042``."""
    text = f"{nano_dollars / NANO:,.9f}".rstrip("0")
    whole_part, _, rest = text.partition(".")
    return f"${whole_part}.{rest:0<2}"


def refused(key: str, look: Look, most: int, now: int) -> BudgetReachedError:
    """Says which limit a call would break, what is left of it, and when it begins anew."""
    amount = shown if "dollars" in look.name else "{:,}".format
    left = amount(max(0, most - look.used))
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0)
    resets: datetime | None = None
    when = "it is free again when an open call ends"
    if look.name.endswith("_day"):
        resets = today + timedelta(days=1)
    elif look.name.endswith("_month"):
        resets = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    elif look.name == "episode_dollars":
        when = "it ends with the episode"
    if resets is not None:
        when = f"it begins anew at {resets:%Y-%m-%d %H:%M} UTC"
    wait = None if resets is None else resets.timestamp() - now
    grows = look.used < most and ("dollars" in look.name or "tokens" in look.name)
    less = "; a smaller max_tokens takes less" if grows else ""
    return BudgetReachedError(
        look.name,
        f"key {key}: limit {look.name} of {amount(most)} reached: {left} is left, the call may take"
        f" {amount(look.want)}{less}; {when}",
        1.0 if look.name == "max_concurrent" else wait,
    )


def day_of(moment: int) -> str:
    """The day of a Unix time in UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


def month_of(moment: int) -> str:
    """The month of a Unix time in UTC."""
    return day_of(moment)[:7]


def require_episode(name: str) -> None:
    """Makes sure that a caller's name of an episode is one.

    Raises:
        InvalidInputError: if it is too long or cannot be printed.
    """
    is_text = isinstance(name, str)  # also for programs whose types nobody checks
    if not is_text or len(name) > _LONGEST_EPISODE or not name.isprintable():
        raise InvalidInputError(
            f"episode is {name!r:.80}, expected a text of at most {_LONGEST_EPISODE} printable"
            " characters"
        )


NOT_GRANTED = (KeyRefusedError, BudgetReachedError)
"""What a client is refused for, and not because the accounts cannot be used."""


def refusal_of(error: AmpError) -> Refusal:
    """What a client is told that is granted nothing; what is no fault of its own is logged."""
    if isinstance(error, BudgetReachedError):
        return Refusal(str(error), 429, error.retry_after)
    if isinstance(error, KeyRefusedError):
        return Refusal(str(error), 403 if error.revoked else 401)
    _log.error("%s", error)
    return Refusal("the accounts cannot be used; whoever runs this has the log", 503)


def no_price(key: Key) -> Refusal:
    """What a client is told whose key has a limit of dollars, where nobody knows the price."""
    return Refusal(
        f"key {key.name} has a limit of dollars, and the price of this call is not known; ask for a"
        " model with a price, at the standard tier",
        403,
    )


def revoked_key(name: str, when: int) -> KeyRefusedError:
    """The error for a key that was revoked at that Unix time."""
    return KeyRefusedError(f"key {name!r} was revoked on {day_of(when)}", revoked=True)


def log_overrun(key: str, dollars: int, tokens: int) -> None:
    """Says that a call cost more than was reserved for it; nothing if it did not."""
    if dollars or tokens:
        _log.warning(
            "key %s: a call cost %s and %d tokens more than was reserved for it",
            key, shown(dollars), tokens,
        )  # fmt: skip
