"""The oracle that is imitated: against a plain search, and where the best thing is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from statistics import fmean

import numpy as np
import pytest
from tests.simulate.test_table_env import DRAWS, SAMPLES, SPACE, TABLE

from amp.learn.behaviour_cloning import demonstrate, imitate
from amp.reward import Reward
from amp.simulate.replay import Pull, State

REWARD = Reward(1000.0)


@pytest.mark.parametrize("trade_off", [0.5, 0.9, 1.0])
def test_the_first_decision_is_that_of_a_plain_search(trade_off: float) -> None:
    examples = demonstrate(
        TABLE, REWARD, (trade_off, trade_off), len(DRAWS.tasks), np.random.default_rng(0)
    )
    firsts = np.flatnonzero(~examples.free[:, 0])  # no stop is free before the first round
    assert len(firsts) == len(DRAWS.tasks)
    found = {
        (round(float(examples.weights[row]), 9), SPACE.allocation(examples.latents[row].tolist()))
        for row in firsts
    }
    wanted = set()
    for index in range(len(DRAWS.tasks)):
        worth = _worth_of_plans(index, trade_off)
        best = max(worth.values())
        programs, chains = max(worth, key=lambda plan: (worth[plan], -plan[1], -plan[0]))
        arm, samples = (DRAWS.arms[0], programs) if programs else (DRAWS.arms[1], chains)
        wanted.add(
            (round(best - fmean(worth.values()), 9), replace(arm.allocation, beam_width=samples))
        )
    assert {weight for weight, _ in found} == {weight for weight, _ in wanted}
    if trade_off < 1.0:  # else several plans are equally good
        assert found == wanted


def _worth_of_plans(index: int, trade_off: float) -> dict[tuple[int, int], float]:
    """Mean reward of so many programs and chains, over all choices of samples."""
    row = DRAWS.tasks[index]
    found = {}
    for programs, chains in product(range(SAMPLES + 1), repeat=2):
        plan = programs, chains
        if not any(plan):
            continue
        earned = []
        for chosen in product(*(combinations(range(SAMPLES), number) for number in plan)):
            cells = {
                arm.name: replace(
                    row.by_arm[arm.name],
                    samples=tuple(row.by_arm[arm.name].samples[i] for i in which) or (),
                )
                for arm, which in zip(DRAWS.arms, chosen, strict=True)
            }
            state = State.begin(DRAWS, replace(row, by_arm=cells))
            for arm, number in zip(DRAWS.arms, plan, strict=True):
                if number:
                    state = state.after(Pull(arm.name, number))
            tokens = float(state.usage.tokens)
            earned.append(REWARD.of(state.settled().episode().score, tokens, trade_off))
        found[plan] = fmean(earned)
    return found


def test_what_the_oracle_teaches_fits_the_space_and_can_be_imitated() -> None:
    examples = demonstrate(TABLE, REWARD, (0.6, 1.0), 60, np.random.default_rng(1))
    policy = imitate(SPACE, TABLE.features, TABLE.max_rounds, examples)
    assert policy.max_rounds == 4
    assert (examples.weights >= 0).all()
    assert (examples.latents[:, 0] > 0).any()


def test_the_same_seed_gives_the_same_demonstrations() -> None:
    one, two = (demonstrate(TABLE, REWARD, (0.6, 1.0), 30, np.random.default_rng(3)) for _ in "ab")
    assert np.array_equal(one.latents, two.latents)
    assert np.array_equal(one.weights, two.weights)
