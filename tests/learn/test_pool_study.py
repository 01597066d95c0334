"""The study of a pool: laws of its halves, of curves and of their comparison, on made pools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learn.test_routing import made_pool

from amp.errors import InvalidInputError
from amp.learn import pool_study, routing
from amp.learn.pool_config import PoolStudyConfig, load_pool_study, load_studied_pool
from amp.learn.pool_study import PoolStudy, compare_study, study_pool
from amp.learn.pool_transfer import Source, by_rank, study_transfer, together
from amp.learn.routing import RoutingSettings
from amp.pools import Pool, write_pool
from amp.report.curve_pages import markdown, picture
from amp.report.curves import ByTask, CostLine, PolicyCurve, SettingPoint, chosen, versus
from amp.simulate import pool_draws

ROUTING = RoutingSettings(depth=3, samples=2, orders=1, trade_offs=(0.1, 0.8, 0.95))
CONFIG = PoolStudyConfig(
    file=Path("made.jsonl"),
    dear="m1",
    orders=2,
    training_orders=2,
    rules=("votes", "cascade", "logistic", "neighbours", "kind"),
    parts={"easy ones": ("easy",)},
    routing=ROUTING,
)


def in_pairs(pool: Pool) -> Pool:
    """Two tasks of each group."""
    tasks = tuple(replace(task, group=f"g{at // 2}") for at, task in enumerate(pool.tasks))
    return replace(pool, tasks=tasks)


@pytest.fixture(scope="module")
def study() -> PoolStudy:
    return study_pool(CONFIG, in_pairs(made_pool(160)))


def test_no_group_is_on_both_sides(study: PoolStudy) -> None:
    one, two = ({task.group for task in pool.tasks} for pool in (study.training, study.test))
    assert one
    assert two
    assert not one & two


def test_what_a_setting_reaches_is_said_of_tasks_it_was_not_learned_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned_on, played_on, alive = [], [], []  # or an id comes again
    learn, follow = routing.learn_router, pool_draws.follow

    def learning(pool: Pool, *more: object, **named: object) -> object:
        router = learn(pool, *more, **named)  # type: ignore[arg-type]  # whatever it was given
        alive.append(router)
        learned_on.append((id(router.priors), {task.group for task in pool.tasks}))
        return router

    def following(router: object, rows: object, begun: object) -> object:
        groups = {rows.pool.tasks[at].group for at in rows.task}  # type: ignore[attr-defined]
        played_on.append((id(router.priors), groups))  # type: ignore[attr-defined]
        return follow(router, rows, begun)  # type: ignore[arg-type]  # whatever it was given

    monkeypatch.setattr(pool_study, "learn_router", learning)
    monkeypatch.setattr(pool_study, "follow", following)
    study_pool(CONFIG.replace(rules=("votes",)), in_pairs(made_pool(60)))
    assert len(played_on) == 5 * len(ROUTING.trade_offs)
    assert all(not dict(learned_on)[router] & groups for router, groups in played_on)


def point(rng: np.random.Generator, name: str, rate: float, cost: float) -> SettingPoint:
    both = [
        ByTask(np.asarray(rng.random(40) < rate, np.float64), np.full(40, cost)) for _ in range(2)
    ]
    return SettingPoint(name, *both)


@given(st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 9)), min_size=1, max_size=3))
@settings(max_examples=3)
def test_equal_curves_differ_by_nothing(settings_of: list[tuple[float, float]]) -> None:
    rng = np.random.default_rng(0)
    points = tuple(point(rng, str(i), *each) for i, each in enumerate(settings_of))
    groups = [f"g{task // 2}" for task in range(40)]
    for row in versus(
        PolicyCurve("one", points), PolicyCurve("two", points), (0.05, 1.0, 20.0), groups
    ):
        assert (row.gain.value, row.gain.low, row.gain.high) == (0.0, 0.0, 0.0)
        assert (row.ratio.value, row.ratio.low, row.ratio.high) == (1.0, 1.0, 1.0)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 9)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_a_line_sells_for_its_price(settings_of: list[tuple[float, float]], share: float) -> None:
    line = CostLine.through(*np.array(settings_of).T)
    cost = share * line.cost[-1]
    reached = line.success_for(cost)
    assert line.cost_of(reached) <= cost + 1e-9
    assert line.success_for(line.cost_of(reached)) == pytest.approx(reached)
    assert line.cost_of(2.0) == float("inf")


def test_a_curve_of_one_setting_is_compared_where_it_is() -> None:
    rng = np.random.default_rng(1)
    goal, cheap = point(rng, "goal", 0.7, 10.0), point(rng, "cheap", 0.9, 5.0)
    groups = [str(task) for task in range(40)]
    (row,) = versus(PolicyCurve("cheap", (cheap,)), PolicyCurve("goal", (goal,)), (), groups)
    gained = cheap.test.success.mean() - goal.test.success.mean()
    assert row.cost == 10.0
    assert row.gain.value == pytest.approx(gained)
    assert row.gain.low <= row.gain.value <= row.gain.high
    assert row.ratio.value < 0.5
    choice = chosen(PolicyCurve("cheap", (cheap,)), goal, groups)
    assert (choice.setting, choice.reached, choice.cost) == ("cheap", True, 5.0)
    assert choice.ratio.value == 0.5


def test_training_tasks_alone_choose_a_setting() -> None:
    ones, zeros, costs = np.ones(4), np.zeros(4), np.ones(4)
    fit = SettingPoint("fit", ByTask(ones, costs), ByTask(zeros, costs))
    good = SettingPoint("good", ByTask(zeros, costs), ByTask(ones, costs))
    assert PolicyCurve("two", (good, fit)).choice(0.9) == (fit, True)
    assert PolicyCurve("one", (good,)).choice(0.9) == (good, False)


@pytest.mark.slow
def test_the_report_has_a_row_for_each_policy_and_part(study: PoolStudy) -> None:
    report = compare_study(study)
    assert [part.name for part in report.parts] == ["all tasks", "easy ones"]
    assert report.parts[0].test == len(study.test.tasks)
    text, drawn = markdown(report), picture(report)
    for name in ("learned", *CONFIG.rules, "oracle"):
        assert f"| {name} |" in text
        assert f">{name}</text>" in drawn
    assert drawn.endswith("</svg>\n")


@pytest.mark.slow
def test_a_router_of_other_pools_is_studied_on_one() -> None:
    three = made_pool(120, rates=(0.4, 0.6, 0.9))
    two = replace(made_pool(60, samples=1, seed=1), name="two arms")
    ranked = by_rank(two, ROUTING)
    assert [arm.name for arm in ranked.arms] == ["cheapest", "middle", "dear"]
    assert not ranked.there[:, 1].any()
    both = together([by_rank(three, ROUTING), ranked], ROUTING)
    assert both.dollars[:120, 2].mean() == both.dollars[120:, 2, 0].mean() == pytest.approx(1.0)
    assert len({task.group for task in both.tasks}) == 180
    config = CONFIG.replace(parts={})
    other = replace(made_pool(80, seed=2, rates=(0.4, 0.6, 0.9)), name="other")
    sources = [Source(config, two), Source(config, other)]
    study = study_transfer(Source(config, three), sources)
    assert [curve.name for curve in study.curves] == ["learned", "votes", "cascade"]
    assert study.votes.name == "3 x dear"
    with pytest.raises(InvalidInputError, match="no other pool"):
        study_transfer(Source(config, three), [])


@pytest.mark.slow
def test_a_pool_of_one_arm_is_studied() -> None:
    config = CONFIG.replace(dear="m0", parts={})
    study = study_pool(config, made_pool(60, rates=(0.6,)))
    assert [curve.name for curve in study.curves] == [
        *("learned", "votes", "cascade", "logistic", "neighbours", "kind")
    ]
    assert compare_study(study).costs[0] > 0.0


def test_an_arm_for_nothing_sets_no_place_to_compare_at() -> None:
    pool = made_pool(60)
    dollars = pool.dollars.copy()
    dollars[:, 0] = 0.0
    study = study_pool(CONFIG.replace(rules=("votes",), parts={}), replace(pool, dollars=dollars))
    assert min(study.places) > 0.9e-5


def test_a_rule_whose_arms_are_missing_asks_the_cheapest_that_is_there() -> None:
    pool = made_pool(80)
    there = pool.there.copy()
    there[:, 1] = np.arange(80)[:, None] % 2 == 0
    study = study_pool(CONFIG.replace(rules=("votes",), parts={}), replace(pool, there=there))
    one = study.singles[1].test
    lacks = ~study.test.there[:, 1].any(1)
    assert (one.cost[lacks] == study.singles[0].test.cost[lacks]).all()
    assert (one.cost[~lacks] > one.cost[lacks].max()).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('dear = "a"', "pool and file: neither is there, expected one of them"),
        ('pool = "p"\nfile = "f"\ndear = "a"', "pool and file: both are there"),
        ('pool = "p"\ndear = "a"\narms = ["b"]', "dear is 'a', expected one of arms"),
        ('pool = "p"\ndear = "a"\ncheck = "plans"', "check is 'plans', expected plan or 24"),
        ('pool = "p"\ndear = "a"\nwhole_below = 9', "check is missing"),
        ('pool = "p"\ndear = "a"\nrules = ["vote"]', "did you mean 'votes'"),
        ('pool = "p"\ndear = "a"\njoin = { z = [] }', "join.z is .*, expected at least 1"),
        ('pool = "p"\ndear = "a"\nrules = []', "rules is .*, expected at least 1"),
        ('pool = "p"\ndear = "a"\n[routing]\ndept = 1', "unknown key 'routing.dept'"),
        ('pool = "p"\ndear = "a"\n[routing]\ndepth = 0', "routing.depth is 0, expected at least 1"),
        ('pool = "p"\ndear = "a"\n[routing]\ntrade_offs = [2]', "is 2, expected less than 1"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message) as caught:
        load_pool_study(path)
    assert "\n" not in str(caught.value)


def test_a_pool_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    price = "{ prompt = 1.0, completion = 2.0 }"
    prices.write_text(f'"m0" = {price}\n"m1" = {price}\n')
    write_pool(made_pool(8), tmp_path / "made.jsonl")
    good = CONFIG.replace(file=tmp_path / "made.jsonl", prices=prices)
    assert len(load_studied_pool(good).tasks) == 8
    for wrong, message in (
        (good.replace(file=None, pool="p"), "no data directory is known"),
        (good.replace(dear="m2"), "no arm 'm2'"),
        (good.replace(parts={"x": ("none",)}), "part 'x' names 'none', expected kinds"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            load_studied_pool(wrong)
    with pytest.raises(InvalidInputError, match="no such|there is no"):
        load_studied_pool(good.replace(file=None, pool="p"), tmp_path)
    pool = made_pool(8)
    for few in (made_pool(4), pool.part(pool.halves()[0]), pool.part(pool.halves()[1])):
        with pytest.raises(InvalidInputError, match="groups"):
            study_pool(good, few)
