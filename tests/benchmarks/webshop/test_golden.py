"""The engine against tables made with the original one. Skipped where they are not to be had."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.shop_sessions import Sessions

from amp.benchmarks.download import find_data
from amp.benchmarks.webshop.browser import Browser
from amp.benchmarks.webshop.goals import Goal, PurchaseReward, reward_of
from amp.benchmarks.webshop.shop import MAX_RESULTS, Shop, UnsupportedSearchError, load_shop
from amp.errors import MissingDependencyError

Row = dict[str, Any]
pytestmark = pytest.mark.data


@lru_cache(maxsize=1)
def tables() -> Path:
    try:
        folder = find_data("webshop").absolute() / "golden"
    except MissingDependencyError as error:
        pytest.skip(str(error))
    if not folder.is_dir():
        pytest.skip(f"no tables of the original: {folder} is not there")
    return folder


def rows(name: str) -> list[Row]:
    with gzip.open(tables() / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    assert found
    return found


def small() -> Shop:
    return load_shop(tables().parent, "small")


def human() -> Shop:
    return load_shop(tables().parent, "small-human")


def told(goal: Goal) -> Row:
    """A goal in the form of the tables; a list of pairs tells the order of options, too."""
    return {
        "instruction_text": goal.instruction,
        "asin": goal.asin,
        "category": goal.category,
        "query": goal.query,
        "name": goal.title,
        "attributes": list(goal.attributes),
        "goal_options": [*goal.options],
        "price_upper": goal.price_upper,
        "product_category": goal.product_category,
        "weight": goal.weight,
    }


def listed(row: Row) -> Row:
    options = row["goal_options"]
    row["goal_options"] = [*options.items()] if isinstance(options, dict) else options
    return {name: value for name, value in row.items() if "index" not in name}


def info(reward: PurchaseReward) -> Row:
    kind = reward.type_match
    parts: Row = {
        "r_type": kind.factor,
        "r_att": reward.attributes_hit / reward.attributes,
        "w_att": reward.attributes / reward.parts,
        "query_match": kind.same_query,
        "category_match": kind.same_category,
        "title_score": kind.title_score,
        "r_price": reward.price_met,
        "w_price": 1 / reward.parts,
    }
    if reward.options:
        parts["r_option"] = reward.options_hit / reward.options
        parts["w_option"] = reward.options / reward.parts
    return parts


def seen(browser: Browser) -> Row:
    page, product = browser.page, browser.product
    return {
        "obs": page.text,
        "available": {
            "has_search_bar": page.search_bar,
            "clickables": list(page.clickables),
        },
        "state": {
            "page_name": browser.place,
            "asin": None if product is None else product.asin,
            "page": browser.number,
            "keywords": None if browser.keywords is None else list(browser.keywords),
            "options": dict(browser.chosen),
        },
    }


def step(browser: Browser, action: str) -> Row:
    outcome = browser.step(action)
    # The original gives the integer 0 for what is not possible.
    reward = outcome.reward if outcome.valid else 0
    return seen(browser) | {"reward": reward, "done": outcome.done}


def test_every_price_and_price_tag_is_the_originals() -> None:
    shop = small()
    expected = rows("prices")
    found = [
        {"asin": p.asin, "pricing": list(p.prices), "price_tag": p.price_tag, "price": price}
        for p, price in zip(
            map(shop.catalogue.product, range(shop.catalogue.size)), shop.prices, strict=True
        )
    ]
    assert found == expected


def test_every_price_with_human_goals_is_the_originals() -> None:
    shop = human()
    asins = (shop.catalogue.product(number).asin for number in range(shop.catalogue.size))
    found = [{"asin": a, "price": price} for a, price in zip(asins, shop.prices, strict=True)]
    assert found == rows("prices_human")


def test_every_synthetic_goal_is_the_originals_in_its_place() -> None:
    assert [told(goal) for goal in small().goals] == [listed(row) for row in rows("goals")]


def test_every_human_goal_is_the_originals_in_its_place() -> None:
    assert [told(goal) for goal in human().goals] == [listed(row) for row in rows("human_goals_1k")]


def test_sessions_are_named_and_given_goals_as_in_the_original() -> None:
    sessions = Sessions(small().goals)
    for row in rows("reset_sequence"):
        assert sessions.begin() == (row["session"], row["goal_index"])


def test_every_search_finds_the_same_products_in_the_same_order() -> None:
    catalogue = small().catalogue
    different = [
        row["query"]
        for row in rows("search")
        if [catalogue.product(n).asin for n in catalogue.search(row["query"], MAX_RESULTS)]
        != row["ids"]
    ]
    assert different == []


def test_every_reward_and_all_its_parts_are_the_originals() -> None:
    shop = small()
    for row in rows("reward"):
        goal = shop.goals[row["goal_index"]]
        product = shop.product(row["asin"])
        reward = reward_of(product, row["price"], row["options"], goal, shop.nouns)
        assert (reward.total, info(reward)) == (row["reward"], row["info"]), row["index"]


def test_every_page_click_and_state_of_every_episode_is_the_originals() -> None:
    shop = small()
    sessions = Sessions(shop.goals)
    sessions.begin()  # the original's own first one
    for row in rows("episodes"):
        name, number = sessions.begin(row["goal_index"])
        assert (name, number) == (row["session"], row["goal_index"])
        browser = Browser(shop, shop.goals[number], name, sessions.rng)
        assert seen(browser) == row["reset"], row["index"]
        for expected in row["steps"]:
            action = expected["action"]
            if "seed_before" in expected:
                sessions.rng.seed(expected["seed_before"])
            if "error" in expected:
                with pytest.raises(UnsupportedSearchError):
                    browser.step(action)
                continue
            found = step(browser, action)
            assert found == {name: expected[name] for name in found}, (row["index"], action)
            assert isinstance(found["reward"], type(expected["reward"]))
            options = found["state"]["options"], expected["state"]["options"]
            assert [*options[0]] == [*options[1]], "the order of choosing"


def test_the_right_purchase_earns_all_for_as_many_goals_as_in_the_original() -> None:
    shop = small()
    rewards = [shop.reward(goal.asin, dict(goal.options), goal) for goal in shop.goals]  # type: ignore[arg-type]
    assert len(rewards) == 6_910
    assert sum(reward.total == 1.0 for reward in rewards) == 6_452
    partly = [reward for reward in rewards if reward.total < 1.0]
    assert all(r.options_hit < r.options and r.attributes_hit == r.attributes for r in partly)
