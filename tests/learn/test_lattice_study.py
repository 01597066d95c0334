"""Policies learned on a lattice beside tuned rules, controls and the oracle, on other tasks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.trail import ARMS, Trails, walker
from tests.simulate.lattices import read, record
from tests.simulate.test_lattice_replay import same

from amp.allocate import AllocatorOptions, arm_space, make_allocator, plan_arms
from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.mlp_policy import MlpPolicy
from amp.allocate.plan_state import plan_rules
from amp.allocate.policy_file import load_arm_values, load_origin, load_policy, save_policy
from amp.cli.lattices import markdown, tables
from amp.errors import InvalidInputError, RecordingError
from amp.evaluate.assembly import Assembly, build_planner
from amp.evaluate.config import PlannerConfig
from amp.learn.config import CompareConfig, PPOConfig, TrainConfig, load_train_config
from amp.learn.lattice_study import LatticeStudy, study_lattice
from amp.learn.lattices import read_lattice, table_of, train_on_lattice
from amp.models.base import ModelCard
from amp.models.recorded import RecordedModel
from amp.report.runs import Run
from amp.simulate.lattice_recording import Survey, complete_lattice, record_lattice, visit_played
from amp.simulate.lattice_replay import Visit, leaves, replay_lattice, visit_policy
from amp.simulate.lattice_states import Arms, TaskLattice
from amp.simulate.table_oracle import oracle
from amp.types import Episode, Task

TRAILS = Trails(5, 6)
CONFIG = """
benchmark = "trails"
source = "lattice"
recording = "lattice.sqlite"
limit = 12
features = ["goal_distance", "steps_done", "plan_left"]
demonstrations = 600
{more}
[compare]
limit = 8
seeds = {seeds}
[ppo]
reference_cost = 500
decisions = {decisions}
min_trade_off = 0.8
max_trade_off = 0.97
learning_rate = 3e-3
"""


def config_in(folder: Path, more: str = "", seeds: int = 2, decisions: int = 20_000) -> TrainConfig:
    path = folder / "trails.toml"
    path.write_text(CONFIG.format(more=more, seeds=seeds, decisions=decisions))
    return load_train_config(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("study")
    for split, count in (("train", 12), ("test", 8)):
        record(made / "lattice.sqlite", Survey(TRAILS, Arms(ARMS)), TRAILS.tasks(split, count))
    return made


@pytest.fixture(scope="module")
def study(folder: Path) -> LatticeStudy:
    return study_lattice(config_in(folder), [TRAILS], folder / "out")


def earned(run: Run) -> float:
    return sum(0.9 * e.score - 0.1 * e.usage.tokens / 500 for e in run.episodes) / len(run.episodes)


@pytest.mark.slow
def test_both_learners_earn_what_the_oracle_does_on_tasks_never_seen(study: LatticeStudy) -> None:
    runs = {run.name: run for run in study.runs}
    fixed = max(earned(runs[arm]) for arm in ARMS)
    assert study.report.oracle is not None
    oracle = study.report.oracle
    best = 0.9 * oracle.summary.success_rate - 0.1 * oracle.cost / 500
    assert best > fixed + 0.02
    for name in ("values at 0.9", "ppo at 0.9"):
        assert earned(runs[name]) - fixed >= 0.95 * (best - fixed), name
        assert len(runs[name].episodes) == 2 * 8
        assert len(runs[name].seeds) == 2


@pytest.mark.slow
def test_what_stands_beside_them(study: LatticeStudy, folder: Path) -> None:
    assert {run.name.partition(" tuned")[0].partition(" of ")[0] for run in study.runs} == {
        *ARMS, "think when unsure", "trajectory signals", "values at 0.9", "ppo at 0.9",
        "histogram", "shuffled",
    }  # fmt: skip
    assert study.report.reference == "think"
    assert not study.notes
    for one in study.adaptivity:
        value = one.correlation.spearman.value
        assert value is not None
        assert value > 0.9  # signs say what each step needs
    page = markdown(study, "amp lattices compare trails.toml")
    for head in ("dollars", "FLOPs", "of the oracle's gain", "success gained", "Spearman"):
        assert head in page
    assert len(tables(study)) == 4
    assert load_arm_values(folder / "out" / "values-1" / "policy.safetensors").arms == ARMS
    assert load_policy(folder / "out" / "ppo-0" / "policy.safetensors").network is not None
    test = {episode.task.id for run in study.runs for episode in run.episodes}
    assert not test & set(study.training)


@pytest.mark.slow
def test_what_choices_lose_is_what_the_oracle_earns_more(study: LatticeStudy) -> None:
    assert {plan.policy for plan in study.plans} == {"values at 0.9", "ppo at 0.9"}
    assert len(study.plans) == 2 * 8
    runs = {run.name: run for run in study.runs}
    for plan in study.plans:
        episode = replace(plan.episode, steps=())
        assert episode in runs[plan.policy].episodes
        best = max(0.0, *(arm.worth for arm in plan.steps[0].arms))
        came_to = 0.9 * plan.episode.score - 0.1 * plan.episode.usage.tokens / 500
        # Prompts that are read again are paid for once an episode, so it may cost less.
        assert came_to >= best - plan.lost - 1e-9
        assert any(step.parts for step in plan.steps) == (plan.lost > 1e-9)
        for step in plan.steps:
            assert [arm.name for arm in step.arms] == [*ARMS]
            worth = {arm.name: arm.worth for arm in step.arms} | {None: 0.0}
            assert worth[step.oracle] == max(worth.values())
            (asked,) = step.asked or (None,)
            assert step.lost == pytest.approx(worth[step.oracle] - worth[asked])


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["values", "ppo"])
def test_training_alone_keeps_a_policy_that_says_where_it_comes_from(
    folder: Path, tmp_path: Path, learner: str
) -> None:
    config = config_in(folder, f'learner = "{learner}"', decisions=600)
    train_on_lattice(config, [TRAILS], tmp_path)
    origin = load_origin(tmp_path / "policy.safetensors")
    assert origin is not None
    assert (origin.benchmark, len(origin.tasks), len(origin.curve)) == ("trails", 12, 10)
    assert "plain-plan/1" not in assembled(tmp_path).prompts
    # A run that names the file does and pays what is played on the lattice.
    named = PlannerConfig(allocator=str(tmp_path / "policy.safetensors"), trade_off=0.9)
    path, tasks = folder / "lattice.sqlite", TRAILS.tasks("test", 8)
    policy = make_allocator(str(named.allocator), AllocatorOptions(trade_off=0.9))
    played = replay_lattice(read(path, Survey(TRAILS, Arms(ARMS)), tasks), policy)

    async def go() -> list[Episode]:
        model = RecordedModel(None, path, "replay")
        planner = build_planner(named, model, TRAILS)
        try:
            return [await planner.run(task, TRAILS.environment(task)) for task in tasks]
        finally:
            await model.close()

    same(played, asyncio.run(go()))


def assembled(folder: Path) -> Assembly:
    config = PlannerConfig(allocator=str(folder / "policy.safetensors"))
    return Assembly.of(config, TRAILS)


def test_a_policy_that_plans_has_the_prompts_of_plans(tmp_path: Path) -> None:
    arms = plan_arms(ARMS["act"])
    made = MlpPolicy.initial(arm_space(arms), ("plan_left",), hidden=4)
    save_policy(made, tmp_path / "policy.safetensors", arms=arms)
    assert assembled(tmp_path).prompts == ("trail/1", "plain-plan/1")


@pytest.mark.slow
def test_lattices_of_two_models_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"

    async def go() -> None:
        card = ModelCard("runner", parameters=1)
        model = RecordedModel(walker(card=card), other, "auto")
        survey = Survey(TRAILS, Arms(ARMS))
        await record_lattice(model, other, survey, TRAILS.tasks("test", 2))
        await model.close()

    asyncio.run(go())
    config = config_in(folder).replace(compare=CompareConfig(recording=other, limit=2))
    with pytest.raises(InvalidInputError, match="recorded with walker, the test tasks with runner"):
        study_lattice(config, [TRAILS], tmp_path)


def test_a_lattice_has_settings_of_its_own(folder: Path) -> None:
    config = config_in(folder)
    assert (config.ppo.gamma, config.ppo.gae_lambda) == (0.99, 0.95)
    assert (config.samples, config.rounds, config.arms) == (1, 1, ())
    paper = config_in(folder, "").replace(ppo=PPOConfig())
    assert paper.ppo.gamma == 1.0


def test_the_hardest_tasks_are_those_that_are_dearest_at_best(folder: Path) -> None:
    config = config_in(folder)
    lattice = read_lattice(config, [TRAILS], folder / "lattice.sqlite", "train", 12)
    table = table_of(config, lattice)
    success, cost = oracle(table, config.ppo.reward, 1.0)
    assert success.all()
    assert np.argsort(table.difficulties, kind="stable").tolist() == (
        np.argsort(cost, kind="stable").tolist()
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('learner = "router"', "learner is router, which is not for a lattice"),
        ('correctness = "logistic"', "correctness is logistic, which is not for a lattice"),
        ('source = "trace"', "source"),
    ],
)
def test_what_is_not_for_a_lattice_is_refused(tmp_path: Path, more: str, said: str) -> None:
    text = CONFIG.format(more=more, seeds=1, decisions=1)
    if "source" in more:
        text = text.replace('source = "lattice"\n', "")
    (tmp_path / "trails.toml").write_text(text)
    (tmp_path / "lattice.sqlite").touch()
    with pytest.raises(InvalidInputError, match=said):
        load_train_config(tmp_path / "trails.toml")


def test_values_of_arms_are_for_a_lattice_alone(tmp_path: Path) -> None:
    path = tmp_path / "it.toml"
    path.write_text('benchmark = "gsm8k"\nrecording = "it.toml"\nlearner = "values"\n')
    with pytest.raises(InvalidInputError, match='learner is values, .* source = "lattice"'):
        load_train_config(path)


@pytest.mark.slow
def test_a_policy_that_leaves_the_lattice_is_not_reported(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "lattice.sqlite"
    record(path, Survey(TRAILS, Arms(ARMS)), TRAILS.tasks("train", 12))
    record(path, Survey(TRAILS, Arms(ARMS, main="act"), 3), TRAILS.tasks("test", 8))
    config = config_in(tmp_path, seeds=1)
    with pytest.raises(RecordingError, match="none can be read, such as test/0: not in the rec"):
        study_lattice(config, [TRAILS], tmp_path)
    record(path, Survey(TRAILS, Arms(ARMS), 3), TRAILS.tasks("test", 8))
    with pytest.raises(InvalidInputError, match="every fixed arm leaves the lattice on some test"):
        study_lattice(config, [TRAILS], tmp_path)


@pytest.mark.slow
def test_a_learned_policy_that_leaves_is_refused_with_its_file(tmp_path: Path) -> None:
    path, acts = tmp_path / "lattice.sqlite", Arms(ARMS, main="act")
    record(path, Survey(TRAILS, acts), TRAILS.tasks("train", 12))
    record(path, Survey(TRAILS, acts, 5), TRAILS.tasks("test", 8))  # the line of one arm alone
    config = config_in(tmp_path, "[lattice]\nmain = 'act'", seeds=1).replace(
        compare=CompareConfig(limit=8, seeds=1, learners=("values",))
    )
    with pytest.raises(
        InvalidInputError, match="values at 0.9 left the lattice in .* --model NAME"
    ):
        study_lattice(config, [TRAILS], tmp_path)

    # What its file is named for: visit what it comes to, and all is inside.
    async def complete() -> None:
        model = RecordedModel(walker(), path, "auto")
        survey, tasks = Survey(TRAILS, acts, 5), TRAILS.tasks("test", 8)
        named = PlannerConfig(allocator=str(tmp_path / "values-0" / "policy.safetensors"))
        planner = build_planner(named, model, TRAILS)
        assert await complete_lattice(model, path, survey, planner, tasks) == {}
        await model.close()

    asyncio.run(complete())
    config = config.replace(compare=config.compare.replace(trade_offs=(0.77,)))
    found = study_lattice(config, [TRAILS], tmp_path)
    assert 0.77 in load_arm_values(tmp_path / "values-0" / "policy.safetensors").trade_offs
    assert any(run.name == "values at 0.77" for run in found.runs)


def visits(model: RecordedModel, path: Path, survey: Survey) -> Visit:
    """Visits in a lattice what policies come to."""

    async def visit(task: Task, allocator: Allocator) -> TaskLattice:
        return await visit_played(model, path, survey, task, allocator)

    return lambda lattice, allocator, seed: asyncio.run(
        visit_policy(lattice, allocator, seed, visit)
    )


@pytest.mark.slow
def test_with_a_model_everybody_plays_as_on_a_lattice_of_all_states(
    folder: Path, tmp_path: Path
) -> None:
    survey, path = Survey(TRAILS, Arms(ARMS), 2), tmp_path / "lattice.sqlite"
    record(path, Survey(TRAILS, Arms(ARMS)), TRAILS.tasks("train", 12))
    record(path, survey, TRAILS.tasks("test", 8))
    told = CompareConfig(limit=8, seeds=2, learners=("values",))
    whole = study_lattice(config_in(folder).replace(compare=told), [TRAILS], tmp_path / "whole")
    model = RecordedModel(walker(), path, "auto")
    config = config_in(tmp_path).replace(compare=told)
    cut = study_lattice(config, [TRAILS], tmp_path, visit=visits(model, path, survey))
    asyncio.run(model.close())
    assert {run.kind for run in cut.runs} == {"fixed", "rule", "adaptive", "control"}
    assert cut.runs == whole.runs
    assert cut.notes == whole.notes
    # And without the model, from the recording alone.
    assert study_lattice(config, [TRAILS], tmp_path) == cut


@pytest.mark.slow
def test_of_training_tasks_all_is_visited_that_is_played_there(tmp_path: Path) -> None:
    survey, path = Survey(TRAILS, Arms(ARMS), 2), tmp_path / "lattice.sqlite"
    record(path, survey, TRAILS.tasks("train", 12))
    record(path, Survey(TRAILS, Arms(ARMS)), TRAILS.tasks("test", 8))
    config = config_in(tmp_path).replace(
        compare=CompareConfig(limit=8, seeds=1, learners=("values",))
    )
    model = RecordedModel(walker(), path, "auto")
    visit = visits(model, path, survey)
    found = study_lattice(config, [TRAILS], tmp_path, visit_training=visit)
    asyncio.run(model.close())
    training = read_lattice(config, [TRAILS], path, "train", 12)
    settings = [one for rule in plan_rules(ARMS).values() for one in rule.values()]
    policy = load_arm_values(tmp_path / "values-0" / "policy.safetensors").with_trade_off(0.9)
    for allocator in (*map(FixedAllocator, ARMS.values()), *settings, policy):
        assert not leaves(replay_lattice(training, allocator))
    assert study_lattice(config, [TRAILS], tmp_path) == found
