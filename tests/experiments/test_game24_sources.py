"""Orders of draws: the best there are on the tasks they are learned on, and played as they say."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from experiments.game24_sources import Source, learn_orders, play, samples_of
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.mlp import Floats, Ints

few = settings(max_examples=20)
seeds = st.integers(0, 10_000)
TRADE_OFFS = (1.0, 0.1, 0.01, 0.0)
HARDLY = 1e-9


def made(seed: int, tasks: int = 7, draws: tuple[int, ...] = (2, 2)) -> list[Source]:
    """Sources of chance, which show nothing."""
    rng = np.random.default_rng(seed)
    sources = []
    for index, number in enumerate(draws):
        failing = np.sort(rng.random((tasks, number + 1)))[:, ::-1].copy()
        failing[:, 0] = 1.0
        failing[rng.random(tasks) < 0.3, -1] = 0.0
        cost = rng.uniform(0.5, 2.0, (tasks, number))
        sources.append(Source(f"s{index}", cost, failing, np.zeros(failing.shape, np.intp)))
    return sources


@few
@given(seeds)
def test_an_order_is_worth_what_it_reaches_where_it_was_learned(seed: int) -> None:
    sources = made(seed)
    for trade_off, order in zip(TRADE_OFFS, learn_orders(sources, TRADE_OFFS, HARDLY), strict=True):
        played = play(sources, order)
        assert order.worth == pytest.approx(played.solved.mean() - trade_off * played.cost.mean())


@few
@given(seeds)
def test_no_sequence_of_draws_is_worth_more(seed: int) -> None:
    sources = made(seed)
    for trade_off, order in zip(TRADE_OFFS, learn_orders(sources, TRADE_OFFS), strict=True):
        best = max(
            _worth(sources, sequence[:length], trade_off)
            for sequence in set(permutations((0, 0, 1, 1)))
            for length in range(5)
        )
        assert order.worth == pytest.approx(best)


def _worth(sources: list[Source], sequence: tuple[int, ...], trade_off: float) -> float:
    done, alive, cost = [0, 0], np.ones(7), np.zeros(7)
    for source in sequence:
        cost += alive * sources[source].cost[:, done[source]]
        done[source] += 1
        alive = sources[0].failing[:, done[0]] * sources[1].failing[:, done[1]]
    return float((1 - alive - trade_off * cost).mean())


@few
@given(seeds)
def test_who_minds_the_cost_more_pays_no_more_and_solves_no_more(seed: int) -> None:
    sources = made(seed)
    played = [play(sources, order) for order in learn_orders(sources, TRADE_OFFS, HARDLY)]
    for dear, cheap in zip(played[1:], played, strict=False):
        assert cheap.cost.mean() <= dear.cost.mean() + 1e-9
        assert cheap.solved.mean() <= dear.solved.mean() + 1e-9


def test_seeing_pays_where_it_tells_who_will_be_solved() -> None:
    cost = np.array([[1.0, 10.0]] * 4)
    failing = np.array([[1.0, 1.0, 0.0]] * 2 + [[1.0, 1.0, 1.0]] * 2)
    shown = np.array([[0, 1, 0]] * 2 + [[0, 0, 0]] * 2)
    seeing = [Source("tree", cost, failing, shown)]
    blind = [Source("tree", cost, failing, np.zeros_like(shown))]
    (clever,), (dull,) = (learn_orders(one, (0.06,), HARDLY) for one in (seeing, blind))
    assert play(seeing, clever).cost.tolist() == [11.0, 11.0, 1.0, 1.0]
    assert clever.worth > 0.0 == dull.worth


@few
@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_samples_fail_as_often_as_over_all_choices_of_them(passing: list[bool]) -> None:
    source = samples_of("arm", np.array([passing]), np.array([3.0]), 2)
    assert source.cost.tolist() == [[3.0, 3.0, 3.0]]
    for calls in range(4):
        choices = list(combinations(passing, 2 * calls))
        failing = sum(not any(choice) for choice in choices) / math.comb(6, 2 * calls)
        assert source.failing[0, calls] == pytest.approx(failing)


def test_sources_are_of_the_same_tasks() -> None:
    with pytest.raises(InvalidInputError, match="s0 has 7, other has 3; expected the same number"):
        learn_orders([made(0)[0], Source("other", *_none(3))], (0.1,))
    with pytest.raises(InvalidInputError, match="tasks of sources: none"):
        learn_orders([], (0.1,))


def _none(tasks: int) -> tuple[Floats, Floats, Ints]:
    return np.zeros((tasks, 1)), np.ones((tasks, 2)), np.zeros((tasks, 2), np.intp)
