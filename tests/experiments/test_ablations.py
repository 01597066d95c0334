"""Recipes are compared at equal tokens with all that fixed allocations reach, task by task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiments.ablations import TRADE_OFFS, Measured, above_front, fixed, rows
from tests.simulate.test_table_env import DRAWS, TABLE

from amp.simulate import policies
from amp.simulate.replay import Pull

ARMS = [arm.name for arm in DRAWS.arms]


def test_fixed_allocations_have_the_figures_of_their_plans() -> None:
    success, tokens = fixed(TABLE)
    assert len(success) == len(tokens) == len(policies.fixed_plans(DRAWS))
    everything = policies.fixed(DRAWS, tuple(Pull(arm, TABLE.max_samples) for arm in ARMS))
    assert success[-1].tolist() == [outcome.success for outcome in everything]
    assert tokens[-1] == pytest.approx([outcome.usage.tokens for outcome in everything])
    singles = [[d.right for d in row.by_arm[ARMS[-1]].samples] for row in DRAWS.tasks]
    assert success[0] == pytest.approx(np.mean(singles, axis=1))


def test_no_fixed_allocation_is_above_the_front_and_the_best_one_is_on_it() -> None:
    success, tokens = fixed(TABLE)
    gaps = [above_front(s, t, TABLE).mean() for s, t in zip(success, tokens, strict=True)]
    assert max(gaps) == pytest.approx(0.0, abs=1e-9)
    assert gaps[int(success.mean(1).argmax())] == pytest.approx(0.0, abs=1e-9)


def test_a_mixture_of_neighbours_lies_on_the_front_and_what_is_gained_on_top_is_above_it() -> None:
    success, tokens = fixed(TABLE)
    gaps = np.array([above_front(s, t, TABLE).mean() for s, t in zip(success, tokens, strict=True)])
    front = sorted(np.flatnonzero(gaps > -1e-9), key=lambda plan: tokens[plan].mean())
    one, two = front[0], front[1]
    mixed = (0.3 * success[one] + 0.7 * success[two], 0.3 * tokens[one] + 0.7 * tokens[two])
    assert above_front(*mixed, TABLE).mean() == pytest.approx(0.0, abs=1e-9)
    assert above_front(mixed[0] + 0.1, mixed[1], TABLE).mean() == pytest.approx(0.1)


def test_a_recipe_is_shown_when_all_its_folds_are_there() -> None:
    success, tokens = (np.tile(figures[-1], (len(TRADE_OFFS), 1)) for figures in fixed(TABLE))

    def measured(config: str, won: float, half: slice) -> Measured:
        return Measured(
            *(config, 100, 0, 0, TABLE.tasks[half]),
            tuple(map(tuple, (success + won)[:, half].tolist())),
            tuple(map(tuple, tokens[:, half].tolist())),
        )

    first, second = slice(0, 5), slice(5, None)
    base = [measured("base", 0.0, first), measured("base", 0.0, second)]
    same = [replace(one, config="same") for one in base]
    better = [measured("better", 0.25, first), measured("better", 0.25, second)]
    names = ["base", "same", "better", "begun"]
    begun = measured("begun", 0.0, first)
    shown = [line.split(" | ") for line in rows([*base, *same, *better, begun], names, TABLE)]
    assert [line[0] for line in shown] == ["| base", "| same", "| better"]
    assert shown[1][-2:] == ["+0.000 (+0.000 to +0.000)", "1.00 |"]
    assert shown[2][-2].startswith("+0.250 ")
