"""The simulation of a fleet keeps the laws of queues, and the page says what it came to."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
from experiments.fleet_sim import Fleet, Measured, Planning, Replica, Workload, erlang_c, waits
from experiments.scale import (
    CHAT,
    GPU,
    HERE_CALL_SECONDS,
    ROUTINGS,
    Cell,
    cells,
    draw,
    line,
    lines,
    recorded_workload,
    row,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.files import ROOT

from amp.latency import Profile

FREE = Planning(1, 0.0, 0.0)
SMALL = Replica("small", 4, 0.01, 1e-4, 0.01, 50_000, 1.0)
SHORT = Workload("short", 100, 50, 60, 1.0, 20, 5, 0.1)
work = st.lists(st.tuples(st.floats(0, 3), st.floats(0, 5)), min_size=1, max_size=30)


def played(
    workload: Workload = SHORT,
    replica: Replica = SMALL,
    count: int = 2,
    routing: Literal["anywhere", "less busy of two", "hash", "fewest"] = "fewest",
    planning: Planning = FREE,
    episodes: int = 400,
    in_flight: int = 8,
    seed: int = 0,
) -> Measured:
    return Fleet(workload, replica, count, planning, routing, seed).run(episodes, in_flight)


# ------------------------------------------------------------------------------------- one station


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.8), (4, 0.7), (16, 0.9)])
def test_an_open_queue_waits_as_erlang_says(servers: int, load: float) -> None:
    rng, n = random.Random(servers), 120_000
    rate = load * servers
    now, arrivals = 0.0, list[float]()
    for _ in range(n):
        now += rng.expovariate(rate)
        arrivals.append(now)
    found = statistics.mean(waits(arrivals, [rng.expovariate(1.0) for _ in range(n)], servers))
    assert found == pytest.approx(erlang_c(rate, 1.0, servers), rel=0.1)


@given(load=st.floats(0.01, 0.99), seconds=st.floats(0.1, 10))
def test_with_one_server_erlang_says_what_everybody_knows(load: float, seconds: float) -> None:
    assert erlang_c(load / seconds, seconds, 1) == pytest.approx(load / (1 - load) * seconds)


@given(work, st.integers(1, 5))
def test_more_servers_never_wait_longer(
    pieces: Sequence[tuple[float, float]], servers: int
) -> None:
    arrivals = sorted(arrival for arrival, _ in pieces)
    services = [service for _, service in pieces]
    few, many = (waits(arrivals, services, count) for count in (servers, servers + 1))
    assert all(more <= less + 1e-9 for more, less in zip(many, few, strict=True))


@given(work)
def test_nobody_waits_where_there_is_a_server_for_each(
    pieces: Sequence[tuple[float, float]],
) -> None:
    arrivals = sorted(arrival for arrival, _ in pieces)
    assert waits(arrivals, [service for _, service in pieces], len(pieces)) == [0.0] * len(pieces)


# ----------------------------------------------------------------------------------------- a fleet


@settings(max_examples=25)
@given(
    count=st.integers(1, 5),
    routing=st.sampled_from(ROUTINGS),
    in_flight=st.integers(1, 30),
    planning=st.builds(Planning, st.integers(1, 3), st.floats(0, 0.2), st.floats(0, 0.2)),
    seed=st.integers(0, 99),
)
def test_what_is_there_is_how_much_comes_times_how_long_it_stays(
    count: int,
    routing: Literal["anywhere", "less busy of two", "hash", "fewest"],
    in_flight: int,
    planning: Planning,
    seed: int,
) -> None:
    """Little's law, exactly, from an empty fleet to an empty one."""
    found = played(
        count=count,
        routing=routing,
        planning=planning,
        episodes=60,
        in_flight=in_flight,
        seed=seed,
    )
    assert found.integral == pytest.approx(found.sojourns, rel=1e-9)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_slots_are_busy_as_much_as_calls_come_and_take(
    routing: Literal["anywhere", "less busy of two", "hash", "fewest"],
) -> None:
    """The law of utilisation: busy = rate times mean service by slots."""
    fleet = Fleet(SHORT, SMALL, 3, FREE, routing, service=lambda rng: rng.expovariate(2.0))
    found = fleet.run(4_000, 9)
    assert found.busy == pytest.approx(found.rate * 0.5 / (3 * SMALL.slots), rel=0.05)
    assert 0 < found.busy < 1


def test_more_replicas_wait_no_longer_for_the_same_episodes() -> None:
    means = [played(count=count, in_flight=32).mean_wait for count in (1, 2, 4, 8)]
    assert means == sorted(means, reverse=True)
    assert means[-1] == 0.0  # 32 slots for 32 episodes, each where there are fewest


def test_a_call_takes_what_a_profile_says() -> None:
    profile = Profile(
        model="m",
        sha256="",
        machine="",
        threads=1,
        call_seconds=GPU.call_seconds,
        prompt_token_seconds=GPU.prompt_token_seconds,
        prompt_pair_seconds=0.0,
        completion_pair_seconds=0.0,
        batches=(GPU.slots,),
        step_seconds=(GPU.step_seconds,),
        error=0.0,
        measurements=(),
    )
    told = profile.seconds(1_700, 150, cached_prompt_tokens=1_000, beside=GPU.slots - 1)
    assert GPU.seconds(700, 150) == pytest.approx(told)


def test_only_who_stays_finds_its_prompt_and_only_where_there_is_room() -> None:
    shares = {
        routing: played(count=8, in_flight=16, routing=routing).cached for routing in ROUTINGS
    }
    assert shares["fewest"] > 0.5
    assert shares["hash"] == pytest.approx(shares["fewest"], abs=0.05)
    assert shares["anywhere"] < 0.3
    assert played(count=1, routing="anywhere").cached > 0.5  # there is nowhere else
    assert played(replica=replace(SMALL, cache_tokens=0.0)).cached == 0.0
    assert played(workload=replace(SHORT, kept=0.0)).cached == 0.0


def test_planning_bounds_a_fleet() -> None:
    """One process answers no more calls than it has time for, however many replicas there are."""
    slow = Planning(1, 0.02, 0.0)
    found = played(count=50, in_flight=200, planning=slow, episodes=1_000)
    assert found.rate == pytest.approx(1 / slow.call_seconds, rel=0.02)
    assert found.process_busy == pytest.approx(1.0, abs=0.02)
    driver = played(count=50, in_flight=200, planning=Planning(8, 0.0, 0.1), episodes=1_000)
    assert driver.rate == pytest.approx(SHORT.calls / 0.1, rel=0.1)
    assert driver.driver_busy == pytest.approx(1.0, abs=0.02)


def test_the_same_seed_is_the_same_fleet() -> None:
    one, two, other = (played(seed=seed, routing="anywhere").waits for seed in (1, 1, 2))
    assert one == two != other


# ---------------------------------------------------------------------------------------- the page


def test_the_workload_is_the_recordings() -> None:
    found = recorded_workload()
    assert found.calls == 19
    assert found.written == 1
    mean = found.shared + found.first + found.growth * (found.calls - 1) / 2
    assert mean == pytest.approx(1373.7, abs=0.1)  # of all prompts of the recording


TABLES = (ROOT / "docs" / "tables" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("title", ["A chat that grows, on GPUs", "ALFWorld, on GPUs"])
def test_the_tables_are_what_the_simulation_says(title: str) -> None:
    for found in lines(cells(counts=(1,) * 3)[title][:2]):
        assert row(found) in TABLES


def test_tables_of_the_page_are_rows_of_all_tables() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    rows = [each for each in page.splitlines() if each.startswith("| 1")]
    assert len(rows) > 5
    assert set(rows) <= set(TABLES.splitlines())


def test_the_bound_of_one_process_is_drawn_where_it_is() -> None:
    found = [line(cell, [cell.run()]) for cell in (Cell(SHORT, SMALL, 1, r) for r in ROUTINGS)]
    picture = draw([*found, *(replace(each, cell=replace(each.cell, count=10)) for each in found)])
    assert picture.count("<polyline") >= len(ROUTINGS) + 1
    assert "one planning process" in picture
    assert HERE_CALL_SECONDS == 0.0025
    assert CHAT.name in TABLES
