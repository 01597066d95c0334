"""Who is asked next, when, and who is left alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.models.breaker import Breaker, Ticket
from amp.serve.exchange import RefusedCallError
from amp.serve.upstreams.answer import UpstreamError, UpstreamRefusedError
from amp.serve.upstreams.trying import Patience, Trying, is_outage, wanted_pause

AGAIN, SILENT, ELSEWHERE = [408, 409, 429, 500, 502, 503, 529], [504, 524], [401, 402, 403, 404]
FINAL = [400, 413, 422, 501]


def refusal(status: int, **headers: str) -> UpstreamError:
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return UpstreamRefusedError(status, told, b"{}", may_be_billed=False)


@dataclass
class Attempt:
    """At an upstream of this number."""

    number: int
    breaker: Breaker = field(default_factory=lambda: Breaker(10**9))


@dataclass
class Waits:
    """A sleep that only notes how long."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def tried(
    errors: list[UpstreamError], upstreams: int, patience: Patience
) -> tuple[list[int], list[float], UpstreamError | None]:
    """Numbers of those that were asked, pauses, and the error at the end; None for an answer."""

    async def run() -> tuple[list[int], list[float], UpstreamError | None]:
        waits = Waits()
        asked: list[int] = []
        attempts = [Attempt(number) for number in range(upstreams)]
        trying = Trying(attempts, patience, sleep=waits, chance=lambda: 0.5)
        for error in [*errors, None]:
            try:
                attempt, _ = await trying.next()
            except UpstreamError as last:
                return asked, waits.seconds, last
            asked.append(attempt.number)
            assert trying.tried == len(asked)
            if error is not None:
                trying.failed(attempt, error)
        return asked, waits.seconds, None

    return asyncio.run(run())


STATUSES = st.sampled_from([*AGAIN, *SILENT, *ELSEWHERE, *FINAL])


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(refusal, STATUSES, retry_after=st.sampled_from(["0", "1", "4"])), max_size=9
    ),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_nobody_is_asked_in_vain_or_too_often(
    errors: list[UpstreamError], upstreams: int, retries: int
) -> None:
    asked, waits, last = tried(errors, upstreams, Patience(retries=retries))
    statuses = [error.status for error in errors[: len(asked)]]
    assert len(waits) <= retries
    assert all(0.25 <= wait <= 4 + 8 for wait in waits)
    for number in range(upstreams):
        mine = [status for one, status in zip(asked, statuses, strict=False) if one == number]
        assert all(status in AGAIN for status in mine[:-1])
        assert asked.count(number) <= 1 + retries
    assert not set(statuses[: len(asked) - 1]) & set(FINAL)
    assert asked[:upstreams] == list(range(min(upstreams, len(asked))))
    if last is not None:
        assert last is errors[len(asked) - 1]
    elif statuses and len(statuses) == len(asked):
        assert statuses[-1] not in FINAL


@pytest.mark.parametrize(
    ("errors", "asked", "waits"),
    [
        ([], [0], []),
        ([refusal(500)], [0, 1], []),
        ([refusal(400)], [0], []),
        ([refusal(404), refusal(429, retry_after="2")], [0, 1, 1], [2.375]),
        ([refusal(504), refusal(504)], [0, 1], []),
        ([refusal(429, retry_after="9"), refusal(429, retry_after_ms="100")], [0, 1, 0], [0.475]),
        ([refusal(429, retry_after="9"), refusal(429, retry_after="8")], [0, 1], []),
        ([refusal(500, x_should_retry="false")] * 2, [0, 1], []),
        ([refusal(503)] * 6, [0, 1, 0, 1, 0, 1], [0.375, 0.75]),
    ],
)
def test_who_is_asked(errors: list[UpstreamError], asked: list[int], waits: list[float]) -> None:
    found, waited, _ = tried(errors, 2, Patience())
    assert found == asked
    assert waited == pytest.approx(waits)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", 0.0),
        ("\u00b2", 0.0),
        ("nan", 0.0),
        ("Mon, 30 Nov 2026 12:00:09 GMT", 9.0),
        ("Mon, 30 Nov 1026 12:00:09 GMT", 0.0),
    ],
)
def test_a_wanted_pause_is_seconds_or_a_date(said: str, seconds: float) -> None:
    noon = 1_796_040_000.0
    assert wanted_pause({"retry-after": said}, lambda: noon) == seconds


def test_milliseconds_count_before_seconds() -> None:
    assert wanted_pause({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert wanted_pause({"retry-after-ms": "nan"}) == 0.0


@given(st.lists(st.sampled_from(["ask", "well", "ill", "drop", "wait"]), max_size=40))
def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_probe_pass(moves: list[str]) -> None:
    now, row, out = 0.0, 0, list[Ticket]()
    breaker = Breaker(3, 5.0, clock=lambda: now)
    for move in moves:
        state = breaker.state
        probes = sum(ticket.is_probe for ticket in out)
        assert probes <= 1
        assert (state == "closed") == (row < 3)
        if move == "ask":
            ticket = breaker.admit()
            may = state == "closed" or (state == "half-open" and not probes)
            assert (ticket is not None) == may
            out += [ticket] if ticket else []
        elif move == "wait":
            now += 3.0
        elif out:
            ticket = out.pop()
            if move == "drop":
                ticket.drop()
                assert breaker.state == state
            else:
                ticket.ended(well=move == "well")
                ticket.ended(well=True)  # the first verdict counts
                row = 0 if move == "well" else row + 1
            assert 0 <= breaker.seconds <= 60


def test_a_breaker_rests_longer_each_time() -> None:
    now, rests = 0.0, []
    breaker = Breaker(1, 5.0, clock=lambda: now)
    for _ in range(6):
        ticket = breaker.admit()
        assert ticket is not None
        ticket.ended(well=False)
        assert breaker.admit() is None
        rests.append(breaker.seconds)
        now += breaker.seconds
    assert rests == [5, 10, 20, 40, 60, 60]


async def test_a_call_is_refused_at_once_where_all_are_left_alone() -> None:
    attempt = Attempt(0, Breaker(1, 30.0))
    trying = Trying([attempt], Patience())
    _, ticket = await trying.next()
    ticket.ended(well=False)
    with pytest.raises(RefusedCallError, match="left alone") as refused:
        await Trying([attempt], Patience()).next()
    assert refused.value.retry_after_seconds == pytest.approx(30, abs=1)


def test_an_outage_is_no_matter_of_the_request() -> None:
    assert [status for status in (400, 404, 429, 500, 501, 502, 503, 504, 529) if
            is_outage(refusal(status))] == [502, 503, 504, 529]  # fmt: skip
