"""Episodes in the shop: what is listed, what ends them, how far the goal is."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop import WebShop
from amp.benchmarks.webshop.browser import Page
from amp.benchmarks.webshop.environment import (
    MAX_ACTIONS,
    WebShopEnvironment,
    distance,
    listed_clicks,
    read_request,
)
from amp.benchmarks.webshop.shop import Shop
from amp.environment import Forkable
from amp.errors import InvalidInputError
from amp.types import Observation, Task

INSTRUCTION = (
    "Find me energy saving lamps with color: red, and size: small, and price lower than 30.00 "
    "dollars"
)


def task(shop: Shop, asin: str = "B000000001", **options: str) -> Task:
    number = next(
        number
        for number, goal in enumerate(shop.goals)
        if goal.asin == asin and options.items() <= dict(goal.options).items()  # type: ignore[arg-type]
    )
    return Task(f"webshop/small/{number}", shop.goals[number].instruction)


def started(shop: Shop, *actions: str) -> tuple[WebShopEnvironment, Observation]:
    environment = WebShopEnvironment(shop, "small")
    observation = environment.reset(task(shop, color="red", size="small"))
    for action in actions:
        observation = environment.step(action).observation
    return environment, observation


def test_tasks_have_stable_ids_and_say_how_hard_they_are(data: Path) -> None:
    benchmark = WebShop(data)
    tasks = benchmark.tasks("test", seed=3)
    assert [task.id for task in tasks] == [f"webshop/small/{number}" for number in range(66)]
    assert tasks == benchmark.tasks("test", seed=3)
    lamp = next(task for task in tasks if "lamps" in task.goal)
    assert (lamp.data["attributes"], lamp.data["options"], lamp.seed) == (1, 2, 3)
    assert f"lower than {lamp.data['price_limit']:.2f} dollars" in lamp.goal
    assert next(task for task in tasks if "socks" in task.goal).data["price_limit"] is None
    assert len(benchmark.tasks("test", limit=2)) == 2
    assert benchmark.tasks("dev") == benchmark.tasks("train") == []


def test_the_goal_in_words_is_all_that_a_task_shows(data: Path) -> None:
    for task in WebShop(data).tasks("test"):
        assert set(task.data) == {"level", "attributes", "options", "price_limit"}


def test_an_episode_ends_with_a_purchase(shop: Shop) -> None:
    environment, observation = started(shop)
    assert isinstance(environment, Forkable)
    assert observation.actions is None
    for action in ("search[brass lamp]", "click[b000000001]", "click[red]", "click[small]"):
        transition = environment.step(action)
        assert (transition.done, transition.success, transition.score) == (False, None, 0.0)
    transition = environment.step("click[buy now]")
    assert (transition.done, transition.success, transition.score) == (True, True, 1.0)
    assert transition.observation.distance == 0.0
    with pytest.raises(InvalidInputError, match="the episode is over; call reset first"):
        environment.step("search[lamp]")


def test_a_partly_right_purchase_is_no_success(shop: Shop) -> None:
    environment, _ = started(shop, "search[brass lamp]", "click[b000000001]", "click[red]")
    transition = environment.step("click[buy now]")
    assert transition.success is False
    assert transition.score == pytest.approx(3 / 4)
    assert transition.observation.distance == pytest.approx(1 / 4)


def test_a_step_before_reset_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidInputError, match="call reset first"):
        WebShopEnvironment(shop, "small").step("search[lamp]")


def test_an_episode_that_is_reset_begins_anew(shop: Shop) -> None:
    environment, observation = started(shop)
    environment.step("search[lamp]")
    assert environment.reset(task(shop, color="red", size="small")) == observation
    environment.step("search[lamp]")
    other = environment.reset(task(shop, "B000000003"))
    assert "socks" in other.state


def test_impossible_actions_change_nothing_and_the_feedback_says_so(shop: Shop) -> None:
    environment, before = started(shop, "search[brass lamp]")
    for action in ("click[b999]", "buy now", "", "search[<a> lamp]"):
        transition = environment.step(action)
        assert transition.observation == before
        assert transition.feedback
        assert not transition.done


def test_two_environments_share_the_shop_and_no_state(shop: Shop) -> None:
    one, _ = started(shop, "search[brass lamp]", "click[b000000001]", "click[red]")
    other, observation = started(shop)
    assert observation.actions is None
    other.step("search[wool socks]")
    assert one.step("click[small]").observation.state != observation.state
    assert one.step("click[buy now]").score == 1.0


def test_a_fork_leaves_the_other_as_it_is(shop: Shop) -> None:
    environment, before = started(shop, "search[brass lamp]", "click[b000000001]")
    twin = environment.fork()
    twin.step("click[buy now]")
    assert environment.step("click[nonsense]").observation == before


@pytest.mark.parametrize("seed", range(5))
def test_every_listed_action_is_possible(seed: int, shop: Shop) -> None:
    rng = random.Random(seed)
    environment, observation = started(shop)
    for _ in range(40):
        action = rng.choice(observation.actions or ("search[lamp socks bench]",))
        transition = environment.step(action)
        assert transition.feedback == ""
        observation = transition.observation
        assert observation.distance is not None
        assert 0.0 <= observation.distance <= 1.0
        if transition.done:
            observation = environment.reset(task(shop))


@pytest.mark.parametrize(
    "wrong", ["webshop/small/66", "webshop/small/-1", "webshop/full/1", "gsm8k/test/1", "", "x/y"]
)
def test_a_task_of_something_else_is_named(wrong: str, data: Path, shop: Shop) -> None:
    with pytest.raises(InvalidInputError, match="expected webshop/small/N with N from 0 to 65"):
        WebShopEnvironment(shop, "small").reset(Task(wrong, "goal"))
    with pytest.raises(InvalidInputError, match="expected webshop/small/N"):
        WebShop(data).environment(Task(wrong, "goal"))


def test_wrong_names_and_numbers_are_told(data: Path) -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'small'"):
        WebShop(data, "smal")
    with pytest.raises(InvalidInputError, match="did you mean 'train'"):
        WebShop(data).tasks("trian")
    with pytest.raises(InvalidInputError, match="limit is -1"):
        WebShop(data).tasks("test", limit=-1)
    with pytest.raises(InvalidInputError, match="max_steps is 0"):
        WebShop(data, max_steps=0)


def test_the_judge_calls_a_purchase_that_earns_less_a_mistake(data: Path, shop: Shop) -> None:
    judge = WebShop(data).judge(task(shop, color="red", size="small"))
    assert judge.mistaken(None) is True
    assert judge.mistaken("click[buy now]") is True, "not possible here"
    for action in ("search[brass lamp]", "click[b000000001]", "click[red]"):
        assert judge.mistaken(action) is None
        judge.advance(action)
    assert judge.mistaken("click[buy now]") is True
    judge.advance("click[small]")
    assert judge.mistaken("click[buy now]") is False
    assert judge.mistaken("click[buy now]") is False, "asking changes nothing"


# --------------------------------------------------------------------------- actions in a list


@given(
    values=st.lists(st.text("abc de[", min_size=1, max_size=5).map(str.strip), max_size=80),
    instruction=st.text("abc de", max_size=20),
)
def test_at_most_52_clicks_are_listed_and_none_is_lost(values: list[str], instruction: str) -> None:
    page = Page("", buttons=("back to search", "buy now"), options=dict.fromkeys(values, "size"))
    clicks, left_out = listed_clicks(page, instruction)
    assert len(clicks) <= MAX_ACTIONS
    assert {"click[back to search]", "click[buy now]"} <= set(clicks)
    named = {click[len("click[") : -1] for click in clicks} | set(left_out)
    assert {value for value in values if value and "[" not in value} <= named
    assert left_out == () or len(clicks) == MAX_ACTIONS


def test_the_values_that_the_instruction_names_stay_listed(shop: Shop) -> None:
    environment = WebShopEnvironment(shop, "small")
    environment.reset(task(shop, "B000000003", color="shade 59"))
    environment.step("search[wool socks]")
    observation = environment.step("click[b000000003]").observation
    assert observation.actions is not None
    assert len(observation.actions) == 52
    assert "click[shade 59]" in observation.actions
    assert "click[buy now]" in observation.actions
    assert "click[shade 58]" not in observation.actions
    assert observation.state.endswith(
        "Not listed: " + "; ".join(f"shade {number}" for number in range(45, 59))
    )
    assert environment.step("click[shade 58]").feedback == "", "possible all the same"


# --------------------------------------------------------------------------- goal-state distance


def test_an_instruction_is_read_from_its_words() -> None:
    request = read_request(INSTRUCTION)
    assert request.options == (("color", "red"), ("size", "small"))
    assert request.price_limit == 30.0
    assert "energy saving lamps" in request.words
    assert read_request("i want a lamp with a shade").options == ()


@pytest.mark.parametrize(
    ("seen", "chosen", "expected"),
    [
        ([], {}, 1.0),
        (["Paper Lamps $20.0"], {}, 4 / 6),
        (["Paper Lamps $31.0"], {}, 5 / 6),
        (["Socks $40.0", "Energy Saving Lamps $9.5"], {}, 2 / 6),
        (["Energy Saving Lamps $9.5 to $40.0"], {"color": "red"}, 1 / 6),
        (["Energy Saving Lamps $9.5"], {"color": "red", "size": "small"}, 0.0),
        (["Energy Saving Lamps $9.5"], {"color": "tan", "size": "small"}, 1 / 6),
    ],
)
def test_distance_is_the_share_of_the_request_that_is_not_met(
    seen: list[str], chosen: Mapping[str, str], expected: float
) -> None:
    assert distance(INSTRUCTION, seen, chosen) == pytest.approx(expected)


@given(st.text(max_size=60), st.lists(st.text(max_size=30), max_size=3))
def test_distance_lies_between_0_and_1(instruction: str, seen: list[str]) -> None:
    assert 0.0 <= distance(instruction, seen, {}) <= 1.0


def test_distance_falls_on_the_way_to_the_goal(shop: Shop) -> None:
    environment, observation = started(shop)
    looking = ("search[lamp]", "click[b000000001]", "click[features]", "click[< prev]")
    buying = ("click[red]", "click[small]", "click[buy now]")
    later = [environment.step(action).observation for action in (*looking, *buying)]
    known = [seen.distance for seen in (observation, *later) if seen.distance is not None]
    assert len(known) == 8
    assert known == sorted(known, reverse=True)
    assert (known[0], known[-1]) == (1.0, 0.0)
