"""Several servers of one model: an episode stays where it is, moves once where it must, and load
is even."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.server import Answer, Question, serving

from amp.cost import Ledger
from amp.errors import InvalidInputError, ModelError
from amp.execute.meter import Meter
from amp.models.base import Message, Prompt, Request
from amp.models.connection import read_address
from amp.models.openai import OpenAIModel
from amp.models.replicas import Replica, Replicas, Session, in_session, read_addresses
from amp.types import Limits

PROMPT = Prompt((Message("system", "You are helpful."), Message("user", "Go.")), max_tokens=8)


def fleet(count: int, clock: list[float] | None = None) -> Replicas:
    addresses = [read_address(f"http://gpu{number}:8000/v1") for number in range(count)]
    return Replicas(addresses, (lambda: clock[0]) if clock else lambda: 0.0)


def named(*names: int) -> list[Session]:
    """Sessions whose ids, and so their places among equals, are the same in every run."""
    sessions = [Session() for _ in names]
    for session, name in zip(sessions, names, strict=True):
        session.id = str(name)
    return sessions


def called(replicas: Replicas, session: Session, dead: set[Replica]) -> Replica | None:
    """Where a call ends up that is tried until it is answered; None if nobody is there."""
    for _ in range(3 * len(replicas.all)):
        replica = replicas.home(session)
        if replica not in dead:
            replicas.answered(replica)
            return replica
        replicas.failed(session, replica)
    return None


# ----------------------------------------------------------------------------------------- the law


@given(
    count=st.integers(2, 6),
    names=st.lists(st.integers(), min_size=5, max_size=5),
    events=st.lists(
        st.one_of(
            st.tuples(st.just("call"), st.integers(0, 4)),
            st.tuples(st.just("die"), st.integers(0, 5)),
            st.tuples(st.just("revive"), st.integers(0, 5)),
        ),
        max_size=60,
    ),
)
def test_a_session_stays_until_its_home_dies_and_then_stays_at_one_other(
    count: int, names: Sequence[int], events: Sequence[tuple[str, int]]
) -> None:
    replicas, sessions = fleet(count), named(*names)
    dead: set[Replica] = set()
    last: dict[Session, Replica] = {}
    away: set[Replica] = set()  # calls may stay away from them, also once they are back
    for kind, number in events:
        if kind == "call":
            session = sessions[number]
            answered = called(replicas, session, dead)
            assert (answered is None) == (len(dead) == count)
            if answered is None:
                continue
            assert answered not in dead
            if session in last and last[session] not in away:
                assert answered is last[session]
            last[session] = answered
            away -= {last[session]}
        elif kind == "die":
            dead.add(replicas.all[number % count])
            away.add(replicas.all[number % count])
        else:
            dead.discard(replicas.all[number % count])


def test_who_moved_does_not_come_back() -> None:
    clock = [0.0]
    replicas, session = fleet(3, clock), Session()
    home = replicas.home(session)
    other = called(replicas, session, {home})
    assert other is not None
    assert other is not home
    clock[0] = 1_000.0
    assert {called(replicas, session, set()) for _ in range(10)} == {other}


def test_after_an_outage_of_all_a_session_stays_at_the_first_that_answers() -> None:
    replicas, session = fleet(3), Session()
    assert called(replicas, session, set(replicas.all)) is None
    assert len({called(replicas, session, set()) for _ in range(10)}) == 1


@given(count=st.integers(1, 12), sessions=st.integers(1, 60))
def test_sessions_of_one_process_are_spread_evenly(count: int, sessions: int) -> None:
    replicas, held = fleet(count), [Session() for _ in range(sessions)]
    homes = Counter(replicas.home(session) for session in held)
    assert max(homes.values()) - min(homes[each] for each in replicas.all) <= 1


def test_sessions_that_ended_do_not_count() -> None:
    replicas = fleet(2)
    ended = [Session() for _ in range(10)]
    for session in ended:
        replicas.home(session)
    del ended, session
    held = [Session() for _ in range(4)]
    assert sorted(Counter(replicas.home(each) for each in held).values()) == [2, 2]


def test_processes_that_know_nothing_of_each_other_are_spread_by_chance() -> None:
    count, processes = 8, 4_000
    first = Counter(fleet(count).home(each).address.url for each in named(*range(processes)))
    share, spread = processes / count, math.sqrt(processes / count)
    assert len(first) == count
    assert all(abs(found - share) < 5 * spread for found in first.values())


def test_calls_stay_away_from_a_dead_replica_after_three_failures() -> None:
    replicas = fleet(2)
    dead = {replicas.all[0]}
    asked = Counter[Replica]()
    held = [Session() for _ in range(40)]
    for session in held:
        while (replica := replicas.home(session)) in dead:
            asked[replica] += 1
            replicas.failed(session, replica)
    assert asked[replicas.all[0]] == 3


# ----------------------------------------------------------------------------------- over the wire


@dataclass
class Fake:
    """A server of a fleet.

    Attributes:
        asked: the sessions of the chats that it was asked, in order.
        checks: how often it was asked for its models.
        status: of its answers; 0 hangs up.
    """

    asked: list[str] = field(default_factory=list)
    checks: int = 0
    status: int = 200

    def __call__(self, question: Question) -> Answer:
        if question.path == "/v1/models":
            self.checks += 1
        elif question.path != "/v1/chat/completions":
            return Answer(404 if self.status == 200 else self.status)
        else:
            self.asked.append(question.headers.get("x-session-id", ""))
        choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}}
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        body = {"object": "chat.completion", "choices": [choice], "usage": usage, "data": []}
        headers = {"Content-Type": "application/json", "Retry-After-Ms": "1"}
        return Answer(self.status, json.dumps(body).encode(), headers)


@contextmanager
def several(count: int) -> Iterator[tuple[list[Fake], str]]:
    """So many servers, and a base_url that names them."""
    fakes = [Fake() for _ in range(count)]
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(fake)) for fake in fakes]
        yield fakes, ", ".join(f"{url}/v1" for url in urls)


async def episode(model: OpenAIModel, calls: int) -> Meter:
    meter = Meter(model, Ledger(Limits()))
    for _ in range(calls):
        await meter.generate(PROMPT, temperature=0.5)
    return meter


async def test_the_calls_of_an_episode_go_to_one_server_and_name_it() -> None:
    with several(3) as (fakes, base_url):
        model = OpenAIModel("m", base_url=base_url)
        meters = await asyncio.gather(*(episode(model, 4) for _ in range(6)))
        await model.close()
        assert [len(fake.asked) for fake in fakes] == [8, 8, 8]  # two episodes each
        homes = [set(fake.asked) for fake in fakes]
        assert sum(map(len, homes)) == len(set.union(*homes)) == len(meters)
        assert "" not in set.union(*homes)


@pytest.mark.parametrize("status", [0, 503])
async def test_an_episode_moves_from_a_server_that_is_gone_and_goes_on(status: int) -> None:
    with several(3) as (fakes, base_url):
        model = OpenAIModel("m", base_url=base_url)
        meter = await episode(model, 2)
        (home,) = (fake for fake in fakes if fake.asked)
        home.status = status
        for _ in range(3):
            await meter.generate(PROMPT, temperature=0.5)
        home.status = 200
        await meter.generate(PROMPT, temperature=0.5)
        await model.close()
        assert sorted(len(fake.asked) for fake in fakes) == [0, 3, 4]
        assert len(home.asked) == 3  # two answers and one failure


async def test_a_busy_server_keeps_its_episodes() -> None:
    with several(2) as (fakes, base_url):
        model = OpenAIModel("m", base_url=base_url, max_retries=1)
        meter = await episode(model, 1)
        (home,) = (fake for fake in fakes if fake.asked)
        home.status = 429
        with pytest.raises(ModelError, match="busy or broken"):
            await meter.generate(PROMPT, temperature=0.5)
        await model.close()
        assert sorted(len(fake.asked) for fake in fakes) == [0, 3]


async def test_a_replica_comes_back_once_it_answers_a_check() -> None:
    with several(2) as (fakes, base_url):
        model = OpenAIModel("m", base_url=base_url)
        clock = [0.0]
        replicas = Replicas(read_addresses(base_url), lambda: clock[0])
        model._client._replicas = replicas
        for replica in replicas.all[:1]:
            for _ in range(3):
                replicas.failed(Session(), replica)
        fakes[0].status = 503
        kept = [await episode(model, 1) for _ in range(2)]
        assert (fakes[0].checks, len(fakes[0].asked)) == (0, 0)  # it is left alone
        clock[0] = 6.0
        kept += [await episode(model, 1) for _ in range(2)]
        assert (fakes[0].checks, len(fakes[0].asked)) == (1, 0)  # it was checked, in vain
        fakes[0].status, clock[0] = 200, 20.0
        kept += [await episode(model, 1)]
        await model.close()
        assert (fakes[0].checks, len(fakes[0].asked)) == (2, 1)
        assert fakes[1].checks == 0


async def test_where_no_server_answers_one_line_names_them() -> None:
    with several(3) as (_, base_url):
        pass  # gone
    model = OpenAIModel("m", base_url=base_url, max_retries=1)
    with pytest.raises(ModelError) as caught:
        await model.generate(Request(PROMPT))
    await model.close()
    message = str(caught.value)
    assert "\n" not in message
    assert all(url in message for url in base_url.split(", "))
    assert "cannot be reached (tried 2 times: " in message
    assert message.endswith("are the servers running?")


async def test_without_an_episode_every_call_is_a_session_of_its_own() -> None:
    with several(2) as (fakes, base_url):
        model = OpenAIModel("m", base_url=base_url)
        for _ in range(40):
            await model.generate(Request(PROMPT))
        await model.close()
        assert all(fake.asked for fake in fakes)
        assert set(fakes[0].asked) == {""}


async def test_one_server_is_told_the_session_too() -> None:
    fake, session = Fake(), Session()
    with serving(fake) as url:
        model = OpenAIModel("m", base_url=f"{url}/v1")
        with in_session(session):
            await model.generate(Request(PROMPT))
        await model.close()
    assert fake.asked == [session.id]


# --------------------------------------------------------------------------------------- addresses


def test_addresses_stand_apart_by_commas() -> None:
    found = read_addresses(" http://a:8000/v1, https://b/v1 ,HTTP://c:1/v1/chat/completions")
    assert [each.url for each in found] == ["http://a:8000/v1", "https://b/v1", "http://c:1/v1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://a/v1,http://a/v1/", "names http://a/v1 twice"),
        ("http://a/v1,http://b/v2", "differ only in scheme, host and port"),
        ("http://a/v1,http://user:password@b/v1", "differ only in scheme, host and port"),
        ("http://a/v1,http://b/v1?key=secret", "differ only in scheme, host and port"),
        ("http://a/v1,http://", "names no server"),
    ],
)
def test_addresses_that_do_not_fit_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        read_addresses(text)
    assert "secret" not in str(caught.value)
    assert "password@" not in str(caught.value)
