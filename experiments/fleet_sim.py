"""A fleet as a queue: episodes, the processes that plan them, and the replicas that answer.

An episode is handed out by the driver, then each of its calls passes its planning process, a
replica and its environment, and the next episode takes its place: as many are in flight as the
jobs allow. Replicas, processes and the driver are queues, first come, first served.

A replica answers so many calls side by side. What one takes is the law of `amp.latency` with all
other places taken, which is so under load and too slow without:

    seconds = call + slots * prompt token * fresh prompt tokens + step * written tokens

Its cache holds what episodes have of their own, the one that was used longest ago leaving first.
What all prompts begin with is taken to be in every cache.

NOT covered: preemption, replicas that fail, and a router that takes time.
"""

from __future__ import annotations

import heapq
import math
import random
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Routing = Literal["anywhere", "less busy of two", "hash", "fewest"]
"""Each call anew, at random or at the less busy of two replicas (what Ray Serve does by default);
or an episode's calls at one, by a hash of its name (Ray's ConsistentHashRouter) or at the replica
with the fewest of its process (`amp.models.replicas`)."""


class Station:
    """Servers with one queue, first come, first served.

    Args:
        servers: how many.

    Attributes:
        busy: seconds of work that they were given.
    """

    def __init__(self, servers: int) -> None:
        self._free = [0.0] * servers  # when each is free; a heap
        self.busy = 0.0

    def enter(self, now: float, seconds: float) -> tuple[float, float]:
        """Queues work, which has to come in the order of time.

        Returns:
            When it begins, and when it is done.
        """
        begins = max(now, self._free[0])
        heapq.heapreplace(self._free, begins + seconds)
        self.busy += seconds
        return begins, begins + seconds


def erlang_c(rate: float, seconds: float, servers: int) -> float:
    """Mean wait in the queue M/M/c, by Erlang's second formula.

    Args:
        rate: arrivals a second.
        seconds: mean service.
        servers: c.
    """
    load = rate * seconds
    term = total = 1.0
    for count in range(1, servers):
        term *= load / count
        total += term
    last = term * load / servers / (1.0 - load / servers)
    return last / (total + last) * seconds / (servers - load)


@dataclass(frozen=True)
class Workload:
    """Episodes of one kind.

    Attributes:
        name: for tables.
        shared: tokens that all prompts begin with.
        first: tokens that the first prompt of an episode has of its own.
        growth: own tokens that each call adds.
        kept: share of the own tokens of one prompt that the next one begins with.
        written: tokens of an answer.
        calls: of an episode, on average; at least one, each the last with the same chance.
        environment_seconds: between an answer and the next call, on average.
    """

    name: str
    shared: float
    first: float
    growth: float
    kept: float
    written: float
    calls: float
    environment_seconds: float


@dataclass(frozen=True)
class Replica:
    """What a replica can do.

    Attributes:
        name: for tables.
        slots: calls side by side.
        call_seconds: overhead of a call.
        prompt_token_seconds: of a fresh token, if nothing else is read.
        step_seconds: in which each of `slots` calls gets one token.
        cache_tokens: own tokens of episodes that its cache holds.
        dollars_an_hour: what it costs.
    """

    name: str
    slots: int
    call_seconds: float
    prompt_token_seconds: float
    step_seconds: float
    cache_tokens: float
    dollars_an_hour: float

    def seconds(self, fresh: float, written: float) -> float:
        """Of one call, with all other slots taken."""
        reading = self.slots * self.prompt_token_seconds * fresh
        return self.call_seconds + reading + self.step_seconds * written


@dataclass(frozen=True)
class Planning:
    """The machines that plan.

    Attributes:
        processes: that plan side by side.
        call_seconds: processor time of one of them for a call.
        episode_seconds: of the one driver for an episode.
    """

    processes: int
    call_seconds: float
    episode_seconds: float


@dataclass
class Episode:
    """One that is in flight."""

    process: int
    calls: int
    home: int = -1
    done: int = 0


@dataclass
class Measured:
    """What came of the second and third quarter of the calls, and of all calls for the last two.

    Attributes:
        calls: how many.
        seconds: in which they were answered.
        waits: of each call, in the queue of its replica.
        busy: share of the time that a slot was at work.
        driver_busy: share that the driver was.
        process_busy: share that a planning process was.
        cached: share of the episodes' own tokens that were in a cache.
        sojourns: sum over all calls of the time at the replica, in the queue and out of it.
        integral: calls at the replicas, integrated over all of the time.
    """

    calls: int = 0
    seconds: float = 0.0
    waits: array[float] = field(default_factory=lambda: array("d"))
    busy: float = 0.0
    driver_busy: float = 0.0
    process_busy: float = 0.0
    cached: float = 0.0
    sojourns: float = 0.0
    integral: float = 0.0

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    @property
    def mean_wait(self) -> float:
        """Seconds in the queue of a replica."""
        return math.fsum(self.waits) / len(self.waits)

    def wait(self, share: float) -> float:
        """The wait that this share of the calls does not exceed."""
        ordered = sorted(self.waits)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Fleet:
    """The simulation.

    Args:
        workload: the episodes.
        replica: each of the replicas.
        replicas: how many.
        planning: the machines that plan.
        routing: which replica a call goes to.
        seed: of all chance.
        service: seconds of a call in place of the replica's law, for tests.
    """

    def __init__(
        self,
        workload: Workload,
        replica: Replica,
        replicas: int,
        planning: Planning,
        routing: Routing,
        seed: int = 0,
        service: Callable[[random.Random], float] | None = None,
    ) -> None:
        self._work, self._replica, self._count = workload, replica, replicas
        self._planning, self._routing, self._service = planning, routing, service
        self._rng = random.Random(seed)
        self._stations = [Station(replica.slots) for _ in range(replicas)]
        self._caches: list[OrderedDict[int, float]] = [OrderedDict() for _ in range(replicas)]
        self._held = [0.0] * replicas
        self._present = [0] * replicas
        self._homes = [Counter[int]() for _ in range(planning.processes)]
        self._driver, self._processes = Station(1), Station(planning.processes)
        self._own = self._cached = 0.0

    def run(self, episodes: int, in_flight: int) -> Measured:
        """Plays so many episodes, so many at a time, from an empty fleet to an empty one."""
        rng, work, plan = self._rng, self._work, self._planning
        rngs = random.Random(rng.random())
        more = 1.0 - 1.0 / work.calls
        lengths = [
            1 if more <= 0.0 else 1 + int(math.log(1.0 - rngs.random()) / math.log(more))
            for _ in range(episodes)
        ]
        total = sum(lengths)
        window = (total // 4, 3 * total // 4)
        found = Measured()
        flying: dict[int, Episode] = {}
        events: list[tuple[float, int, int, int]] = []  # time, order, what, episode
        order = answered = begun = 0
        present, before = 0, 0.0
        marks: list[tuple[float, ...]] = []

        def push(time: float, what: int, number: int) -> None:
            nonlocal order
            order += 1
            heapq.heappush(events, (time, order, what, number))

        for number in range(min(in_flight, episodes)):
            push(0.0, _HAND_OUT, number)
        begun = min(in_flight, episodes)
        while events:
            now, _, what, number = heapq.heappop(events)
            if what == _HAND_OUT:
                flying[number] = Episode(number % plan.processes, lengths[number])
                flying[number].home = self._home(flying[number].process)
                push(self._driver.enter(now, plan.episode_seconds)[1], _PLAN, number)
            elif what == _PLAN:
                push(self._processes.enter(now, plan.call_seconds)[1], _ASK, number)
            elif what == _ASK:
                found.integral += present * (now - before)
                present, before = present + 1, now
                episode = flying[number]
                at = self._choose(episode)
                begins, ends = self._stations[at].enter(now, self._seconds(episode, number, at))
                self._present[at] += 1
                found.sojourns += ends - now
                if window[0] <= answered < window[1]:
                    found.waits.append(begins - now)
                push(ends, _ANSWERED - at, number)
            else:
                found.integral += present * (now - before)
                present, before = present - 1, now
                self._present[_ANSWERED - what] -= 1
                answered += 1
                if answered in window:
                    marks.append(self._mark(now))
                episode = flying[number]
                episode.done += 1
                if episode.done < episode.calls:
                    push(now + rng.expovariate(1.0) * work.environment_seconds, _PLAN, number)
                    continue
                self._homes[episode.process][episode.home] -= 1
                del flying[number]
                if begun < episodes:
                    push(now, _HAND_OUT, begun)
                    begun += 1
        begin, end = (marks * 2)[:2] if len(marks) == 1 else (marks[0], marks[-1])
        length = end[0] - begin[0] or math.inf
        found.calls, found.seconds = window[1] - window[0], length
        found.busy = (end[1] - begin[1]) / length / (self._count * self._replica.slots)
        found.driver_busy = (end[2] - begin[2]) / length
        found.process_busy = (end[3] - begin[3]) / length / plan.processes
        found.cached = (end[5] - begin[5]) / (end[4] - begin[4] or math.inf)
        return found

    def _mark(self, now: float) -> tuple[float, ...]:
        busy = math.fsum(station.busy for station in self._stations)
        return (now, busy, self._driver.busy, self._processes.busy, self._own, self._cached)

    def _home(self, process: int) -> int:
        """The replica of an episode that begins."""
        homes = self._homes[process]
        if self._routing != "fewest":
            home = self._rng.randrange(self._count)
        elif sum(count > 0 for count in homes.values()) < self._count:
            home = self._rng.randrange(self._count)
            while homes[home] > 0:
                home = self._rng.randrange(self._count)
        else:
            fewest = min(homes[at] for at in range(self._count))
            home = self._rng.choice([at for at in range(self._count) if homes[at] == fewest])
        homes[home] += 1
        return home

    def _choose(self, episode: Episode) -> int:
        """The replica of a call."""
        if self._routing in ("hash", "fewest"):
            return episode.home
        one = self._rng.randrange(self._count)
        if self._routing == "anywhere":
            return one
        other = self._rng.randrange(self._count)
        return one if self._present[one] <= self._present[other] else other

    def _seconds(self, episode: Episode, number: int, at: int) -> float:
        """Of the next call of an episode at a replica, whose cache then holds its prompt."""
        if self._service is not None:
            return self._service(self._rng)
        work = self._work
        own = work.first + work.growth * episode.done
        cache = self._caches[at]
        held = cache.pop(number, 0.0)
        found = work.kept * held
        cache[number] = own
        self._held[at] += own - held
        while self._held[at] > self._replica.cache_tokens and cache:
            self._held[at] -= cache.popitem(last=False)[1]
        self._own += own
        self._cached += found
        return self._replica.seconds(own - found, work.written)


_HAND_OUT, _PLAN, _ASK, _ANSWERED = 3, 2, 1, 0
"""What happens; an answer of replica r is r below."""


def waits(arrivals: Sequence[float], services: Sequence[float], servers: int) -> list[float]:
    """The wait of each piece of work at one station."""
    station = Station(servers)
    begun = (station.enter(now, each)[0] for now, each in zip(arrivals, services, strict=True))
    return [begins - now for begins, now in zip(begun, arrivals, strict=True)]
