"""Ablations on the lattice of the trail, whose best allocation is known, and transfer."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.learn.trails import TRAILS, lattice_of

from amp.errors import InvalidInputError
from amp.learn.config import TrainConfig, load_train_config
from amp.learn.lattice_ablations import WHOLE, AblationConfig, ablate
from amp.report.ablations import Ablations, Played, ablations_table, mixture_beside
from amp.report.groups import TaskMeans
from amp.settings import load_toml
from amp.simulate.lattice_states import lattice_arms

CONFIG = """
benchmark = "trails"
source = "lattice"
recording = "lattice.sqlite"
limit = 12
arms = ["act", "think", "think 2"]
features = ["goal_distance", "steps_done"]
demonstrations = 60
[compare]
limit = 8
[ppo]
reference_cost = 500
"""
ARMS = lattice_arms(TRAILS, ("act", "think", "think 2"))
SWEEP = """
of = "trails.toml"
seeds = 2
decisions = 500

[[variants]]
part = "2.7.2 features"
name = "blind"
without = ["goal_distance"]

[[variants]]
part = "2.7.3 resources"
name = "without think"
without_arms = ["think"]
gives_up = false

[[variants]]
part = "2.7.3 learning"
name = "departures"
learner = "departures"

[[variants]]
part = "2.7.4 reward"
name = "cost alone"
trade_off = 0.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ablations")
    for split, count in (("train", 12), ("test", 8)):
        lattice_of(made / "lattice.sqlite", split, count, ARMS)
    (made / "trails.toml").write_text(CONFIG)
    (made / "sweep.toml").write_text(SWEEP)
    return made


@pytest.fixture(scope="module")
def config(folder: Path) -> TrainConfig:
    return load_train_config(folder / "trails.toml")


@pytest.fixture(scope="module")
def found(folder: Path, config: TrainConfig) -> Ablations:
    return ablate(load_toml(AblationConfig, folder / "sweep.toml"), config, [TRAILS])


def test_each_part_costs_what_it_is_known_to_be_worth(found: Ablations) -> None:
    rows = {row.name: row for row in found.rows}
    whole = found.rows[0]
    assert (whole.success, whole.gained, whole.tasks) == (1.0, None, 8)
    assert whole.asks[0].startswith("goal_distance at most 0.5")
    blind, arm = rows["blind"], rows["without think"]
    assert (arm.success, arm.gained) == (1.0, 0.0)
    assert "above 0.5: think 2" in arm.asks[1]
    assert rows["act in every step"].success < 1.0  # faded signs need a thought
    assert blind.cost > whole.cost or blind.success < whole.success
    assert rows["departures"].success == 1.0
    assert rows["departures"].cost == pytest.approx(whole.cost)
    nothing = rows["cost alone"]
    assert (nothing.success, nothing.cost, nothing.saved, nothing.gained) == (0.0, 0.0, 1.0, -1.0)
    oracle = rows["oracle"]
    assert oracle.success == 1.0
    assert oracle.cost <= whole.cost
    assert all(row.left == 0 for row in found.rows)


def test_fixed_computation_of_equal_cost_and_chance_stand_beside_it(found: Ablations) -> None:
    rows = {row.name: row for row in found.rows if row.part == "2.7.1 fixed"}
    mixture = rows.pop("best mixture of these at the whole's cost")
    assert mixture.cost == pytest.approx(found.rows[0].cost)
    assert mixture.success < 1.0
    assert set(rows) == {
        *(f"{arm} in every step" for arm in ARMS),
        "histogram of the whole",
        "shuffled of the whole",
    }


def test_a_row_is_called_a_mixture_only_where_arms_are_mixed() -> None:
    def played(name: str, success: float, cost: float) -> Played:
        return Played("fixed", name, TaskMeans({"t": success}, {"t": cost}))

    arms = [played("act", 0.25, 100.0), played("think", 0.75, 300.0)]
    for cost, name, came in (
        (200.0, "best mixture of these at the whole's cost", (200.0, 0.5)),
        (50.0, "cheapest of these, which costs more than the whole", (100.0, 0.25)),
        (400.0, "best of these, which costs no more than the whole", (300.0, 0.75)),
    ):
        row = mixture_beside(arms, played("whole", 1.0, cost))
        assert (row.part, row.name) == ("fixed", name)
        assert (row.means.point.cost, row.means.point.success) == came


def test_the_table_has_a_line_for_each(found: Ablations) -> None:
    lines = list(ablations_table(found).texts())
    assert len(lines) == len(found.rows)
    assert lines[0][:4] == ["", "the whole", "8", "1.000"]
    assert [line[0] for line in lines].count("2.7.5 direct") >= 2
    assert not any(line[0] == "4.1.4 transfer" for line in lines)  # one level


def test_one_level_is_left_out_at_a_time(folder: Path, config: TrainConfig) -> None:
    """Two levels by the parity of the task's number."""
    from tests.fakes.trail import Trails

    class Half(Trails):
        def __init__(self, half: int) -> None:
            super().__init__(5, 6)
            self.half = half

        def tasks(self, split, limit=None, seed=0):  # type: ignore[no-untyped-def]
            return list(super().tasks(split, limit, seed))[self.half :: 2]

    two = config.replace(lattice=config.lattice.replace(levels=("even", "odd")))
    sweep = AblationConfig(of=folder / "trails.toml", seeds=1, decisions=500)
    found = ablate(sweep, two, [Half(0), Half(1)])
    rows = [row for row in found.rows if row.part == "4.1.4 transfer"]
    assert [(row.name.split(",")[0], row.tasks) for row in rows] == [
        ("even", 4), ("odd", 4), ("every level", 8),
    ]  # fmt: skip
    for row in rows:  # junctions are alike on both
        assert (row.success, row.gained) == (1.0, 0.0)


def test_each_benchmark_is_played_by_what_is_learned_on_the_rest(
    folder: Path, config: TrainConfig
) -> None:
    """Learned on half of the training tasks each, trails play alike; the oracle is the same."""
    sweep = AblationConfig(of=folder / "trails.toml", seeds=1, transfer=False)
    half = config.replace(limit=6)
    found = ablate(sweep, config, [TRAILS], [(half, [TRAILS])])
    here, there = found.rows[-2:]
    assert {here.part, there.part} == {"4.1.4 transfer"}
    assert {here.name, there.name} == {"trails, learned on trails"}
    assert there.gained == there.saved == 0.0  # what halves of the tasks teach is the whole


def test_costs_count_in_units_of_the_benchmark_that_they_are_from(
    folder: Path, config: TrainConfig
) -> None:
    """Where a step is dear nothing pays, and that is what it teaches where a step is cheap."""
    sweep = AblationConfig(of=folder / "trails.toml", seeds=1, transfer=False)
    dear = config.replace(ppo=config.ppo.replace(reference_cost=1.0))
    found = ablate(sweep, config, [TRAILS], [(dear, [TRAILS])])
    cheap_by_dear, dear_by_cheap = (row.asks for row in found.rows[-2:])
    assert cheap_by_dear == ablate(sweep, dear, [TRAILS]).rows[0].asks
    assert dear_by_cheap == found.rows[0].asks
    assert cheap_by_dear != dear_by_cheap


def test_benchmarks_with_other_arms_teach_each_other_nothing(
    folder: Path, config: TrainConfig
) -> None:
    sweep = AblationConfig(of=folder / "trails.toml", seeds=1, transfer=False)
    for split in ("train", "test"):
        lattice_of(folder / "two.sqlite", split, 3, lattice_arms(TRAILS, ("act", "think 2")))
    lacking = config.replace(arms=("act", "think 2"), recording=folder / "two.sqlite")
    with pytest.raises(InvalidInputError, match="trails and trails has the arm 'think', expected"):
        ablate(sweep, config, [TRAILS], [(lacking, [TRAILS])])


def test_what_is_not_there_is_named(folder: Path, config: TrainConfig) -> None:
    with pytest.raises(InvalidInputError, match="feature 'mood' of 'x' is none of a plan"):
        load_toml(AblationConfig, _with(folder, 'part = "2"\nname = "x"\nwithout = ["mood"]'))
    for arms, said, learned in (
        (
            '["fly"]',
            "without_arms of 'x' has 'fly', expected some of the arms: act, think,",
            False,  # known before anything is learned
        ),
        ('["act", "think"]', "1 arms to choose from, expected 2 to 8", True),
    ):
        sweep = _with(folder, f'part = "2"\nname = "x"\nwithout_arms = {arms}')
        stages: list[str] = []
        with pytest.raises(InvalidInputError, match=said):
            ablate(load_toml(AblationConfig, sweep), config, [TRAILS], on_stage=stages.append)
        assert (WHOLE in stages) == learned


def _with(folder: Path, variant: str) -> Path:
    path = folder / "other.toml"
    path.write_text(f'of = "trails.toml"\nseeds = 1\n[[variants]]\n{variant}\n')
    return path
