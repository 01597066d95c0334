"""Budgets hold in whatever order calls are reserved, settled, released and forgotten."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.budgets import ELSEWHERE, LEASE, LIMITED, NOON, STEPS

from amp.errors import BudgetReachedError, InvalidInputError, KeyRefusedError
from amp.serve.accounts.base import Claim, Refusal, Reservation
from amp.serve.accounts.keys import NANO, Key, KeyLimits, nano
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.usage import Usage


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(tmp_path: Path, clock: Clock) -> Iterator[AccountsFile]:
    opened = AccountsFile(tmp_path / "accounts.sqlite", clock=clock)
    yield opened
    opened.close()


def a_key(accounts: AccountsFile, limits: KeyLimits | None = None, name: str = "ann") -> Key:
    return accounts.find(accounts.add(name, limits))


# --------------------------------------------------------------------------- laws


@given(st.integers(0, 10**15))
def test_nano_dollars_are_what_the_digits_say(amount: int) -> None:
    assert nano(amount / NANO) == amount


@settings(max_examples=30)
@given(st.floats(0, 1e9))
def test_rounding_never_counts_less_than_was_spent(dollars: float) -> None:
    assert 0 <= nano(dollars) - Fraction(repr(dollars)) * NANO < 1


def held_to_account(path: Path) -> None:
    """The sums are those of the ledger, and no limit is broken but by what is an overrun."""
    with sqlite3.connect(path) as file:
        calls = file.execute(
            "SELECT key, begun, episode, ending, held_dollars, held_tokens, dollars, tokens"
            " FROM calls"
        ).fetchall()
        sums = file.execute(
            "SELECT period, dollars, tokens, requests, over_dollars, over_tokens FROM sums"
        ).fetchall()
    file.close()
    dollars: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    for _, begun, episode, ending, held, held_tokens, spent, spent_tokens in calls:
        at = datetime.fromtimestamp(begun, UTC)
        periods = [f"{at:%Y-%m-%d}", f"{at:%Y-%m}"]
        for period in periods + ([f"episode {episode}"] if episode else []):
            dollars[period] += held if ending is None else spent
            tokens[period] += held_tokens if ending is None else spent_tokens
            requests[period] += ending in (None, "settled")
    assert {row[0] for row in sums} == set(requests)
    stored = LIMITED.stored()
    for period, *counted, over, over_tokens in sums:
        assert counted == [dollars[period], tokens[period], requests[period]], period
        name = "dollars_per_month" if len(period) == 7 else "dollars_per_day"
        most = stored["episode_dollars" if period.startswith("episode") else name]
        assert most is not None
        assert counted[0] <= most + over, period
        if name == "dollars_per_day" and not period.startswith("episode"):
            assert counted[1] <= 1000 + over_tokens
    assert sum(call[3] is None for call in calls) <= 4


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_no_order_of_calls_breaks_a_limit(
    steps: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, clock = tmp_path_factory.mktemp("accounts") / "a.sqlite", Clock()
    accounts = AccountsFile(path, clock=clock, hold_seconds=LEASE)
    accounts._process = ELSEWHERE
    key, made = a_key(accounts, LIMITED), list[Reservation]()
    for step in steps:
        match step:
            case "reserve", float(dollars), int(tokens), str(episode):
                try:
                    made.append(accounts.reserve(key, dollars, tokens, episode))
                except BudgetReachedError as refused:
                    assert refused.limit in LIMITED.stored()
            case "settle", float(dollars), int(tokens), int(place) if place < len(made):
                try:
                    accounts.settle(made[place], dollars, tokens)
                except InvalidInputError as error:
                    assert "settled already" in str(error)
            case "release", int(place) if place < len(made):
                accounts.release(made[place])
            case "wait", int(seconds):
                clock.now += seconds
    held_to_account(path)
    accounts.close()


# --------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            KeyLimits(dollars_per_day=0.25),
            "$0.05 is left, the call may take $0.10; a smaller max_tokens takes less; it begins",
        ),
        (KeyLimits(dollars_per_month=0.25), "limit dollars_per_month of $0.25 reached: $0.05"),
        (KeyLimits(tokens_per_day=25), "limit tokens_per_day of 25 reached: 5 is left"),
        (KeyLimits(requests_per_day=2), "limit requests_per_day of 2 reached: 0 is left"),
        (KeyLimits(max_concurrent=2), "limit max_concurrent of 2 reached: 0 is left"),
        (KeyLimits(episode_dollars=0.25), "; a smaller max_tokens takes less; it ends with"),
    ],
)
def test_the_call_that_would_break_a_limit_is_refused(
    accounts: AccountsFile, limits: KeyLimits, said: str
) -> None:
    key = a_key(accounts, limits)
    accounts.reserve(key, 0.1, 10, "e")
    second = accounts.reserve(key, 0.1, 10, "e")
    with pytest.raises(BudgetReachedError) as refused:
        accounts.reserve(key, 0.1, 10, "e")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    accounts.release(second)
    accounts.reserve(key, 0.1, 10, "e")


def test_an_exhausted_limit_can_be_spent_to_the_last_nano_dollar(accounts: AccountsFile) -> None:
    key = a_key(accounts, KeyLimits(dollars_per_day=0.3))
    for _ in range(3):
        accounts.settle(accounts.reserve(key, 0.1, 1), 0.1, 1)
    with pytest.raises(BudgetReachedError):
        accounts.reserve(key, 0.000000001, 1)
    (spend,) = accounts.spend()
    assert spend.day.dollars == 300_000_000


def test_days_and_months_begin_at_midnight_of_utc(accounts: AccountsFile, clock: Clock) -> None:
    key = a_key(accounts, KeyLimits(dollars_per_day=0.1, dollars_per_month=0.2))
    clock.now = datetime(2026, 11, 29, 23, 59, 59, tzinfo=UTC).timestamp()
    late = accounts.reserve(key, 0.1, 1)
    with pytest.raises(BudgetReachedError) as refused:
        accounts.reserve(key, 0.1, 1)
    assert refused.value.retry_after == 1.0
    clock.now += 1
    accounts.settle(late, 0.1, 1)  # counts into the day in which it was reserved
    accounts.settle(accounts.reserve(key, 0.1, 1), 0.1, 1)
    with pytest.raises(BudgetReachedError, match="dollars_per_day"):
        accounts.reserve(key, 0.1, 1)
    clock.now = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC).timestamp()
    assert [accounts.spend()[0].day.dollars, accounts.spend()[0].month.dollars] == [
        nano(0.1),
        nano(0.2),
    ]
    clock.now += 1
    accounts.reserve(key, 0.1, 1)  # a new day, and a new month
    assert accounts.spend()[0].month.period == "2026-12"


def test_what_a_call_costs_beyond_its_reservation_is_said(accounts: AccountsFile) -> None:
    key = a_key(accounts, KeyLimits(dollars_per_day=1))
    over = accounts.settle(accounts.reserve(key, 0.1, 10), 0.15, 12)
    assert (over.over_dollars, over.over_tokens) == (nano(0.05), 2)
    (spend,) = accounts.spend("ann")
    assert (spend.day.dollars, spend.day.over_dollars) == (nano(0.15), nano(0.05))


def test_a_forgotten_reservation_expires_and_a_late_bill_still_counts(
    accounts: AccountsFile, clock: Clock
) -> None:
    accounts._process = ELSEWHERE
    key = a_key(accounts, KeyLimits(dollars_per_day=0.1))
    forgotten = accounts.reserve(key, 0.1, 10, seconds=60)
    clock.now += 59
    with pytest.raises(BudgetReachedError):
        accounts.reserve(key, 0.1, 10)
    clock.now += 1
    accounts.release(accounts.reserve(key, 0.1, 10))
    assert accounts.spend()[0].day.lost_dollars == nano(0.1)
    assert accounts.settle(forgotten, 0.1, 10).over_dollars == nano(0.1)
    day = accounts.spend()[0].day
    assert (day.dollars, day.lost_dollars, day.over_dollars) == (nano(0.1), 0, nano(0.1))
    with pytest.raises(InvalidInputError, match="settled already"):
        accounts.settle(forgotten, 0.1, 10)


def test_the_restart_of_a_live_process_takes_nothing_from_it(
    accounts: AccountsFile, tmp_path: Path, clock: Clock
) -> None:
    key = a_key(accounts, KeyLimits(max_concurrent=1))
    accounts.reserve(key, 0.1, 10)
    other = AccountsFile(tmp_path / "accounts.sqlite", clock=clock)
    other._process = ELSEWHERE
    clock.now += 100_000  # a stream may take as long as it wants
    for each in (other, accounts):
        with pytest.raises(BudgetReachedError):
            each.reserve(key, 0.1, 10)
    other.close()


# --------------------------------------------------------------------------- keys


def test_a_key_is_found_by_its_text_and_kept_nowhere(
    accounts: AccountsFile, tmp_path: Path
) -> None:
    limits = KeyLimits(dollars_per_day=2.5, max_concurrent=3)
    token = accounts.add("ann", limits)
    assert accounts.find(token).limits == limits
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    secret = token.rsplit("-", 1)[1]
    assert secret.encode() not in files
    assert bytes.fromhex(secret) not in files
    assert secret not in repr(accounts.find(token))
    for wrong in ("", "amp", token[:-1], token[:-1] + "0x", token[:13] + "0" * 48, token + "\n"):
        with pytest.raises(KeyRefusedError, match="unknown key"):
            accounts.find(wrong)


def test_a_revoked_key_is_refused_at_once_and_its_calls_are_settled(accounts: AccountsFile) -> None:
    token = accounts.add("ann")
    key = accounts.find(token)
    opened = accounts.reserve(key, 0.1, 1)
    accounts.revoke("ann")
    for attempt in (lambda: accounts.find(token), lambda: accounts.reserve(key, 0.1, 1)):
        with pytest.raises(KeyRefusedError, match="'ann' was revoked on 2026-11-30"):
            attempt()
    accounts.settle(opened, 0.1, 1)
    assert accounts.spend("ann")[0].day.dollars == nano(0.1)
    with pytest.raises(InvalidInputError, match="was revoked"):
        accounts.revoke("ann")
    with pytest.raises(InvalidInputError, match="exists already"):
        accounts.add("ann")


# --------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), 1e10])
def test_amounts_that_are_none_are_refused(accounts: AccountsFile, bad: float) -> None:
    key = a_key(accounts)
    with pytest.raises(InvalidInputError, match="dollars_per_day is .*, expected a number from 0"):
        accounts.add("bob", KeyLimits(dollars_per_day=bad))
    with pytest.raises(InvalidInputError, match="dollars is"):
        accounts.reserve(key, bad, 1)
    with pytest.raises(InvalidInputError, match="dollars is"):
        accounts.settle(accounts.reserve(key, 0.1, 1), bad, 1)
    with pytest.raises(InvalidInputError, match="tokens is -1"):
        accounts.reserve(key, 0.1, -1)
    with pytest.raises(InvalidInputError, match="episode is"):
        accounts.reserve(key, 0.1, 1, "\ud800")


def test_other_files_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other.sqlite"
    text.write_text("some words that are no database " * 100)
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE mine (one INTEGER)")
    file.close()
    newer = tmp_path / "newer.sqlite"
    AccountsFile(newer).close()
    with sqlite3.connect(newer) as file:
        file.execute("PRAGMA user_version = 2")
    file.close()
    cases = {
        text: "is damaged or holds no keys",
        other: "holds no keys of amp",
        newer: "is of version 2, expected 1",
        tmp_path / "no" / "where.sqlite": "cannot be written: No such file or directory",
        tmp_path: "cannot be written: unable to open database file",
        Path("/proc/accounts.sqlite"): "cannot be written",
    }
    for path, said in cases.items():
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(InvalidInputError) as error:
            AccountsFile(path)
        assert said in str(error.value)
        assert "\n" not in str(error.value)
        assert before is None or path.read_bytes() == before


def test_a_full_disk_refuses_calls_and_loses_no_sum(accounts: AccountsFile, tmp_path: Path) -> None:
    key = a_key(accounts)
    connection = accounts._file._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(InvalidInputError, match="cannot be written: database or disk is full"):
        for number in range(1000):
            accounts.reserve(key, 0.001, 1, f"episode {number}")
    connection.execute("PRAGMA max_page_count = 100000")
    accounts.reserve(key, 0.001, 1)
    (spend,) = accounts.spend()
    assert spend.day.held_dollars == spend.open_calls * nano(0.001)


def test_a_file_that_is_gone_is_not_counted_into(accounts: AccountsFile, tmp_path: Path) -> None:
    key = a_key(accounts)
    (tmp_path / "accounts.sqlite").unlink()
    with pytest.raises(InvalidInputError, match="vanished while in use"):
        accounts.reserve(key, 0.1, 1)
    (tmp_path / "accounts.sqlite").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="was replaced while in use"):
        accounts.reserve(key, 0.1, 1)


# --------------------------------------------------------------------------- as the gateway asks


async def test_the_gateway_is_told_who_may_not_and_why(tmp_path: Path) -> None:
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    ours = accounts.accounts
    token = ours.add("ann", KeyLimits(dollars_per_day=0.1))
    held = await accounts.reserve(token, Claim(dollars=0.1, tokens=5, episode="e"))
    assert isinstance(held, Reservation)
    assert (held.key, held.dollars, held.tokens) == ("ann", 0.1, 5)
    refused = await accounts.reserve(token, Claim(dollars=0.1, tokens=5))
    assert isinstance(refused, Refusal)
    assert refused.status == 429
    assert "dollars_per_day of $0.10 reached" in refused.reason
    assert refused.retry_after_seconds is not None
    await accounts.settle(held, Usage(prompt_tokens=3, completion_tokens=1, dollars=0.04))
    (spend,) = ours.spend()
    assert (spend.day.dollars, spend.day.tokens) == (nano(0.04), 4)
    again = await accounts.reserve(token, Claim(dollars=0.06, tokens=5))
    assert isinstance(again, Reservation)
    await accounts.release(again)
    ours.revoke("ann")
    for key, episode, status in ((token, "", 403), ("", "", 401), (token, "\n", 400)):
        answer = await accounts.reserve(key, Claim(dollars=0.0, tokens=5, episode=episode))
        assert isinstance(answer, Refusal)
        assert answer.status == status
    await accounts.close()


async def test_a_limit_of_dollars_allows_no_call_without_a_price(tmp_path: Path) -> None:
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    limited = accounts.accounts.add("ann", KeyLimits(episode_dollars=0.1))
    free = accounts.accounts.add("bob", KeyLimits(tokens_per_day=10))
    refused = await accounts.reserve(limited, Claim(dollars=None, tokens=5))
    assert isinstance(refused, Refusal)
    assert refused.status == 403
    assert "the price of this call is not known" in refused.reason
    assert isinstance(await accounts.reserve(free, Claim(dollars=None, tokens=5)), Reservation)
    await accounts.close()


async def test_what_a_full_disk_kept_from_being_settled_is_settled_later(tmp_path: Path) -> None:
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    token = accounts.accounts.add("ann")
    held = [await accounts.reserve(token, Claim(dollars=0.1, tokens=5)) for _ in range(2)]
    file = accounts.accounts._file._connection
    file.execute("PRAGMA query_only = 1")
    for reservation in held:
        assert isinstance(reservation, Reservation)
        await accounts.settle(reservation, Usage(prompt_tokens=1, dollars=0.05))
        await accounts.settle(reservation, Usage(prompt_tokens=1, dollars=0.05))  # once is enough
    refused = await accounts.reserve(token, Claim(dollars=0.1, tokens=5))
    assert isinstance(refused, Refusal)
    assert refused.status == 503
    assert str(tmp_path) not in refused.reason
    file.execute("PRAGMA query_only = 0")
    await accounts.reserve(token, Claim(dollars=0.1, tokens=5))
    assert accounts.accounts.spend()[0].day.dollars == nano(0.1)
    await accounts.close()


async def test_a_key_has_a_name_also_when_its_budget_is_spent(tmp_path: Path) -> None:
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    token = accounts.accounts.add("ann", KeyLimits(requests_per_day=0))
    assert await accounts.name_of(token) == "ann"
    unknown = await accounts.name_of("amp-nobody")
    assert isinstance(unknown, Refusal)
    assert unknown.status == 401
    accounts.accounts.revoke("ann")
    revoked = await accounts.name_of(token)
    assert isinstance(revoked, Refusal)
    assert revoked.status == 403
    await accounts.close()
