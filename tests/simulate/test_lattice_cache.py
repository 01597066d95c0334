"""What a lattice costs does not depend on when its recorder was restarted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulate.lattices import SURVEY, TASKS, read, record

from amp.cost import charged
from amp.simulate.lattice_cache import with_shared_prefixes
from amp.simulate.lattice_recording import Lattice
from amp.types import Usage

BEGINNING = 40
"""Tokens that all prompts begin with."""


@cache
def lattice() -> Lattice:
    """Every answer of it found the beginning in the cache, and a few tokens more."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lattice.sqlite"
        record(path, SURVEY, TASKS[:2])
        found = read(path, SURVEY, TASKS[:2])
    more = iter(range(10**6))

    def longer(usage: Usage) -> Usage:
        cached = BEGINNING + next(more) % 7
        return replace(usage, prompt_tokens=60, cached_prompt_tokens=cached)

    return changed(found, longer)


def changed(found: Lattice, change: Callable[[Usage], Usage]) -> Lattice:
    """The same lattice with the usage of every call changed."""
    tasks = []
    for task in found.tasks:
        states = {}
        for name, state in task.states.items():
            asked = {
                arm: tuple(
                    replace(
                        one,
                        usage=change(one.usage) if one.usage.model_calls else one.usage,
                        readings={key: change(usage) for key, usage in one.readings.items()},
                    )
                    for one in several
                )
                for arm, several in state.asked.items()
            }
            states[name] = replace(state, asked=asked)
        tasks.append(replace(task, states=states))
    return replace(found, tasks=tuple(tasks))


def calls(found: Lattice) -> Iterator[Usage]:
    for task in found.tasks:
        for state in task.states.values():
            for several in state.asked.values():
                for one in several:
                    every = one.usage, *one.readings.values()
                    yield from (usage for usage in every if usage.model_calls)


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_restarts_of_the_recorder_change_nothing(chance: random.Random) -> None:
    def restarted(usage: Usage) -> Usage:
        if usage.cached_prompt_tokens == BEGINNING or chance.random() < 0.5:
            return usage
        # Nothing, or the few words that prompts of every kind begin with.
        return replace(usage, cached_prompt_tokens=chance.choice((0, 3)))

    whole = with_shared_prefixes(lattice())
    assert with_shared_prefixes(changed(lattice(), restarted)) == whole
    assert {u.cached_prompt_tokens for u in calls(whole)} == {BEGINNING}
    assert with_shared_prefixes(whole) == whole


def test_costs_are_those_of_what_is_left_to_read() -> None:
    warm, cold = (
        with_shared_prefixes(each) for each in (lattice(), changed(lattice(), never_cached))
    )
    for found in (warm, cold):
        for usage in calls(found):
            assert usage == charged(found.card, [replace(usage, flops=0.0)])
    assert sum(u.flops for u in calls(warm)) < 0.8 * sum(u.flops for u in calls(cold))
    assert all(usage.cached_prompt_tokens == 0 for usage in calls(cold))


def never_cached(usage: Usage) -> Usage:
    return replace(usage, cached_prompt_tokens=0)


def test_what_is_visited_later_counts_as_if_it_had_been_there_before() -> None:
    raw = lattice()
    (first,) = with_shared_prefixes(replace(raw, tasks=raw.tasks[:1])).tasks
    assert with_shared_prefixes(replace(raw, tasks=(first, raw.tasks[1]))) == (
        with_shared_prefixes(raw)
    )
