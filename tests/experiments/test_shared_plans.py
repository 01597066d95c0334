"""Agents of many steps share a budget: no scheme spends more than there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from experiments.budget_schemes import AGENTS, HEADS, TUNED, single
from experiments.shared_plans import Agent, Missions, drawn, play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.files import ROOT
from tests.fakes.trail import ARMS
from tests.learn.trails import NAMES, REWARD, lattice_of

from amp.allocate.arm_values import ArmValues, bids
from amp.learn.arm_values import ValueSettings, learn_arm_values
from amp.mlp import Floats
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_replay import replay_lattice
from amp.simulate.lattice_table import lattice_env
from amp.types import Complexity
from experiments import shared_plans

TRADE_OFFS = (0.5, 0.9, 0.97)


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Lattice:
    return lattice_of(tmp_path_factory.mktemp("lattice") / "it.sqlite", "train", 12)


@pytest.fixture(scope="module")
def policy(lattice: Lattice) -> ArmValues:
    table = lattice_env(lattice, None, NAMES)
    return learn_arm_values(table, ARMS, REWARD, ValueSettings(TRADE_OFFS, (0.002,), 2)).policy


@pytest.fixture(scope="module")
def missions(lattice: Lattice, policy: ArmValues) -> Missions:
    return Missions.of(lattice_env(lattice, None, NAMES), policy)


def caps(missions: Missions) -> Floats:
    return shared_plans.caps_of(missions)


@pytest.mark.slow
@pytest.mark.parametrize("t", range(len(TRADE_OFFS)))
def test_alone_and_without_a_limit_an_agent_does_what_the_policy_does(
    lattice: Lattice, policy: ArmValues, missions: Missions, t: int
) -> None:
    played = replay_lattice(lattice, policy.with_trade_off(TRADE_OFFS[t]))
    for number, episode in enumerate(played):
        agent, spent = Agent.at(missions, caps(missions), number), 0.0
        while (arm := agent.wants(t, np.inf)) >= 0:
            most = agent.bound(arm)
            cost = agent.ask(arm)
            assert cost <= most
            spent += cost
        assert (agent.solved, spent) == (bool(episode.success), episode.usage.tokens)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(100, 3000), st.sampled_from(range(len(TRADE_OFFS))), st.integers(0, 99))
def test_no_scheme_spends_more_than_there_is(
    missions: Missions, budget: int, t: int, seed: int
) -> None:
    group = np.random.default_rng(seed).permutation(len(missions.first))[:AGENTS].tolist()
    schemes = [*TUNED.values(), single(np.array([1.0, 2.0, 3.0]))]
    for scheme in schemes:  # `play` asserts it
        made = play(scheme, missions, caps(missions), [[group]], budget, t)
        assert 0.0 <= made.success[0] <= 1.0
        assert made.spent[0] <= budget


@pytest.mark.slow
def test_with_enough_for_all_it_does_not_matter_who_goes_first(missions: Missions) -> None:
    made = [
        play(scheme, missions, caps(missions), [[list(range(AGENTS))]], 1e6, 1)
        for scheme in TUNED.values()
    ]
    assert len({(one.success[0], one.spent[0]) for one in made}) == 1


@pytest.mark.slow
def test_a_policy_of_values_bids_what_its_lattice_says(
    lattice: Lattice, policy: ArmValues, missions: Missions
) -> None:
    begins = [next(iter(task.states.values())).context for task in lattice.tasks]
    told = [policy.bid(context, Complexity(0.0)) for context in begins]
    assert told == pytest.approx(missions.bid[missions.first].tolist())
    assert all(
        bid == policy.with_trade_off(0.5).bid(c, Complexity(0.0))
        for bid, c in zip(told, begins, strict=True)
    )


@given(st.floats(-1, 1), st.floats(1e-3, 2))
def test_the_bid_is_the_price_at_which_going_on_is_worth_nothing(
    success: float, cost: float
) -> None:
    """A gain of success s for cost c is worth its price up to s / c."""
    trade_offs = np.linspace(0.01, 0.99, 50)
    gains = trade_offs * success - (1.0 - trade_offs) * cost
    price = float(bids(trade_offs, gains))
    highest, lowest = (1 - trade_offs[0]) / trade_offs[0], (1 - trade_offs[-1]) / trade_offs[-1]
    if success / cost <= lowest:
        assert price == pytest.approx(0.0 if success / cost < lowest - 1e-9 else lowest, abs=2e-2)
    elif success / cost >= highest:
        assert price == pytest.approx(highest)
    else:
        assert price == pytest.approx(success / cost, rel=1e-6)


def test_groups_are_of_different_missions_but_in_resamples() -> None:
    bags = drawn(18, 5)
    assert all(len(set(group)) == AGENTS for group in bags[0])
    assert len(bags) == 6
    assert drawn(18, 5) == bags


def test_the_command_is_that_of_the_page() -> None:
    page = (ROOT / "docs" / "one-budget.md").read_text(encoding="utf-8")
    assert "python -m experiments.shared_plans configs/lattices/babyai.toml" in page
    assert f"| {' | '.join(HEADS)} |" in page
    assert Path(ROOT / "configs/lattices/babyai.toml").exists()
