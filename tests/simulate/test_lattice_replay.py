"""Episodes on a lattice are the planner's, step by step; its oracle is that of the table."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.trail import ARMS, Trails
from tests.simulate.lattices import (
    PLANS,
    SURVEY,
    TASKS,
    Follow,
    Guess,
    read,
    record,
    record_babyai,
    replay,
)
from tests.simulate.test_lattice_table import REWARD

from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.rules import PlanThenFollow
from amp.annotations.store import AnnotatedState
from amp.benchmarks.babyai import BabyAI
from amp.errors import InvalidInputError
from amp.evaluate.assembly import build_planner
from amp.evaluate.config import PlannerConfig
from amp.models.recorded import RecordedModel
from amp.planner import Planner
from amp.simulate.lattice_recording import Lattice, Survey
from amp.simulate.lattice_replay import (
    best_arms,
    leaves,
    needed_labels,
    replay_best,
    replay_lattice,
)
from amp.simulate.lattice_states import Arms
from amp.simulate.lattice_table import lattice_env
from amp.simulate.table_oracle import oracle
from amp.types import Allocation, Complexity, Decision, Episode, ProbeKind, StepContext, Usage


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lattice") / "lattice.sqlite"
    record(made)
    return made


@pytest.fixture(scope="module")
def lattice(path: Path) -> Lattice:
    return read(path)


def same(played: Sequence[Episode], planned: Sequence[Episode]) -> None:
    for one, other in zip(played, planned, strict=True):
        assert (one.success, one.score, one.usage) == (other.success, other.score, other.usage)
        for mine, its in zip(one.steps, other.steps, strict=True):
            for name in ("observation", "action", "usage", "feedback", "failure", "probe"):
                assert getattr(mine, name) == getattr(its, name), name
            for a, b in zip(mine.rounds, its.rounds, strict=True):
                assert (a.allocation, a.usage) == (b.allocation, b.usage)
                assert [(c.action, c.plan) for c in a.candidates] == [
                    (c.action, c.plan) for c in b.candidates
                ]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_played_is_what_the_planner_does(path: Path, lattice: Lattice, seed: int) -> None:
    allocator = Guess(seed)
    same(replay_lattice(lattice, allocator), replay(path, Trails(), allocator, TASKS))


@pytest.mark.slow
def test_so_it_is_with_plans_in_babyai(tmp_path: Path) -> None:
    benchmark, path = BabyAI("BabyAI-GoToLocal-v0", max_steps=3), tmp_path / "it.sqlite"
    survey, tasks = Survey(benchmark, Arms(PLANS), 1000), benchmark.tasks("train", 2)
    record_babyai(path, survey, tasks)
    lattice = read(path, survey, tasks)
    rules: list[Allocator] = [Guess(seed, tuple(PLANS.values())) for seed in range(10)]
    rules += [Follow(), PlanThenFollow(PLANS["act"], 4, 2), PlanThenFollow(PLANS["act"], 2, 1)]
    rules.append(PlanThenFollow(PLANS["act"], 2, 1, gives_up=True))
    for rule in rules:
        same(replay_lattice(lattice, rule), replay(path, benchmark, rule, tasks))


@pytest.mark.slow
def test_so_it_is_where_every_step_is_probed(tmp_path: Path) -> None:
    probes = frozenset[ProbeKind]({"options"})
    path, survey = tmp_path / "it.sqlite", replace(SURVEY, arms=Arms(ARMS, probes=probes))
    record(path, survey)
    lattice = read(path, survey)

    async def planned(allocator: Allocator) -> list[Episode]:
        model = RecordedModel(None, path, "replay")
        planner = build_planner(PlannerConfig(allocator="fixed", probes=probes), model, Trails())
        assert isinstance(planner, Planner)
        planner.allocator = allocator
        try:
            return [await planner.run(task, Trails().environment(task)) for task in TASKS]
        finally:
            await model.close()

    for seed in range(5):
        same(replay_lattice(lattice, Guess(seed)), asyncio.run(planned(Guess(seed))))


@pytest.mark.parametrize("trade_off", [0.5, 0.9, 0.99])
def test_its_oracle_is_that_of_the_table(lattice: Lattice, trade_off: float) -> None:
    success, cost = oracle(lattice_env(lattice), REWARD, trade_off)
    earned = REWARD.of(success, cost, success * 0.0 + trade_off)
    for number, (task, episode) in enumerate(
        zip(
            lattice.tasks,
            replay_best(lattice, REWARD, trade_off, lambda usage: usage.tokens),
            strict=True,
        )
    ):
        known = best_arms(lattice.arms, task, REWARD, trade_off, lambda usage: usage.tokens)
        first = known[next(iter(task.states))]
        assert first.worth == pytest.approx(max(0.0, earned[number]))
        reached = REWARD.of(episode.score, float(episode.usage.tokens), trade_off)
        assert reached >= first.worth - 1e-9  # a prompt that is read again costs nothing
        assert (episode.ended == "given up") == (first.arm is None)


@pytest.mark.parametrize("trade_off", [0.5, 0.9, 0.99])
def test_a_step_is_labelled_by_the_rank_of_its_best_arm(lattice: Lattice, trade_off: float) -> None:
    def tokens(usage: Usage) -> float:
        return usage.tokens

    labels = {note.place: note for note in needed_labels(lattice, REWARD, trade_off, tokens)}
    assert {note.by for note in labels.values()} == {"rule:needed"}
    tasks = {task.task.id: task for task in lattice.tasks}
    seen = set()
    for episode in replay_best(lattice, REWARD, trade_off, tokens):
        for index, step in enumerate(episode.steps):
            place = AnnotatedState(episode.task.id, index, step.observation.state)
            here = [
                best_arms(lattice.arms, tasks[episode.task.id], REWARD, trade_off, tokens)[name].arm
                for name, state in tasks[episode.task.id].states.items()
                if (len(state.context.steps), state.context.observation.state) == place[1:]
            ]
            needed = [arm for arm in here if arm is not None]
            seen |= set(needed)
            # Of the two arms to act at once is the cheaper one.
            expected = sum(arm == "think" for arm in needed) / len(needed) if needed else None
            assert expected == (labels[place].complexity if place in labels else None)
            if place in labels:
                assert labels[place].goal == episode.task.goal
    assert seen == {"act", "think"} or trade_off < 0.9


def test_one_arm_tells_nothing_of_what_a_step_needed(lattice: Lattice) -> None:
    alone = replace(lattice, arms=Arms({"act": ARMS["act"]}))
    with pytest.raises(InvalidInputError, match="has one arm, act, and tells nothing"):
        needed_labels(alone, REWARD, 0.9, lambda usage: usage.tokens)


def test_where_nothing_is_worth_its_cost_the_oracle_gives_up_at_once(lattice: Lattice) -> None:
    for episode in replay_best(lattice, REWARD, 0.0, lambda usage: usage.tokens):
        assert (episode.ended, episode.usage.tokens, len(episode.steps)) == ("given up", 0, 1)


def test_what_was_not_visited_ends_an_episode_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "it.sqlite"
    record(path, replace(SURVEY, cap=2))
    episodes = replay_lattice(read(path), FixedAllocator(ARMS["think"]))
    assert leaves(episodes) == episodes
    assert not any(episode.success for episode in episodes)


class Dear(Allocator):
    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        return Decision(Allocation(depth=3))


def test_what_is_no_arm_is_refused_in_one_line(lattice: Lattice) -> None:
    with pytest.raises(InvalidInputError, match="in step 1 of task train/0 is allocated.*act, thi"):
        replay_lattice(lattice, Dear())
