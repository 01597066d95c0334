"""One customer's way through the pages, quirks of the original included."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.shop_sessions import Sessions

from amp.benchmarks.webshop.browser import ActionResult, Browser, parse_action
from amp.benchmarks.webshop.goals import Goal
from amp.benchmarks.webshop.shop import Shop, UnsupportedSearchError
from amp.errors import InvalidInputError

LAMP = ("search[brass desk]", "click[b000000001]")


def browser(shop: Shop, *actions: str) -> Browser:
    goal = next(goal for goal in shop.goals if goal.asin == "B000000001")
    found = Browser(shop, goal, "0", random.Random(0))
    for action in actions:
        assert found.step(action).valid, action
    return found


@given(st.text(max_size=20))
def test_an_action_has_its_name_before_and_its_argument_in_brackets(text: str) -> None:
    assert parse_action(f"search[{text}") is None or "]" in text
    if text and not set("[]\n") & set(text):
        assert parse_action(f"click[{text}]") == ("click", text.lower())


@pytest.mark.parametrize(
    ("action", "parsed"),
    [
        ("search[Red Shoes]", ("search", "red shoes")),
        ("search[foo] bar", ("search", "foo")),
        ("search[x]]", ("search", "x]")),
        ("search[a [b]]", ("search[a ", "b]")),
        ("search[]", None),
        ("search[a\nb]", None),
        ("buy now", None),
    ],
)
def test_the_last_bracket_parts_an_action(action: str, parsed: tuple[str, str] | None) -> None:
    assert parse_action(action) == parsed


@pytest.mark.parametrize(
    "action", ["click[search]", "click[buy now]", "Search[lamp]", "think[about it]", "lamp", ""]
)
def test_an_impossible_action_changes_nothing(action: str, shop: Shop) -> None:
    walker = browser(shop)
    before = walker.page
    assert walker.step(action) == ActionResult(reward=0.0, done=False, valid=False)
    assert walker.page is before


def test_every_page_is_made_of_its_visible_pieces(shop: Shop) -> None:
    walker = browser(shop)
    instruction = walker._goal.instruction
    assert walker.page.text == f"WebShop [SEP] Instruction: [SEP] {instruction} [SEP] Search"
    walker.step("search[brass]")
    assert walker.page.text.endswith(
        "Back to Search [SEP] Page 1 (Total results: 1) [SEP] Next > [SEP] B000000001 [SEP] "
        "Brass Desk Lamp [SEP] $15.5 to $25.25"
    )
    walker.step("click[B000000001]")
    assert walker.page.text.endswith(
        "< Prev [SEP] size [SEP] small [SEP] large [SEP] color [SEP] red [SEP] black | white [SEP] "
        "[odd] [SEP] Brass Desk Lamp [SEP] Price: $15.5 to $25.25 [SEP] Rating: N.A. [SEP] "
        "Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    walker.step("click[features]")
    assert walker.page.text.endswith("< Prev [SEP] Dimmable [SEP]  [SEP] Energy saving")
    walker.step("click[< prev]")
    walker.step("click[description]")
    assert walker.page.text.endswith("< Prev [SEP] Warm light.\nMade of brass.")


def test_pages_are_turned_past_the_end_and_back(shop: Shop) -> None:
    walker = browser(shop, "search[garden stool]", "click[next >]", "click[next >]")
    assert "Page 3 (Total results: 10)" in walker.page.text
    assert walker.page.links == ()
    browser_back = browser(shop, "search[garden stool]")
    assert "< prev" not in browser_back.page.clickables
    for _ in range(2):
        walker.step("click[< prev]")
    assert walker.page == browser_back.page


def test_from_a_product_the_way_back_is_its_page_of_results(shop: Shop) -> None:
    walker = browser(shop, "search[steel bench]", "click[next >]")
    results = walker.page
    link = results.links[0]
    for action in (f"click[{link}]", "click[reviews]", "click[< prev]", "click[< prev]"):
        assert walker.step(action).valid
    assert walker.page == results
    assert walker.product is None


def test_options_are_chosen_replaced_and_forgotten(shop: Shop) -> None:
    walker = browser(shop, *LAMP, "click[red]", "click[small]", "click[red]", "click[large]")
    assert dict(walker.chosen) == {"color": "red", "size": "large"}
    walker.step("click[description]")
    assert "buy now" not in walker.page.clickables
    walker.step("click[< prev]")
    assert dict(walker.chosen) == {"color": "red", "size": "large"}
    walker.step("click[< prev]")
    assert dict(walker.chosen) == {}


def test_a_purchase_ends_in_a_page_with_its_options_and_reward(shop: Shop) -> None:
    walker = browser(shop, *LAMP, "click[black | white]", "click[small]")
    outcome = walker.step("click[buy now]")
    assert outcome.done
    assert 0.0 < outcome.reward <= 1.0
    assert '{"color": "black | white", "size": "small"}' in walker.page.text
    assert f"[SEP] {outcome.reward} [SEP]" in walker.page.text
    assert walker.page.clickables == ()


def test_signs_of_html_are_escaped_on_the_last_page(shop: Shop) -> None:
    from amp.benchmarks.webshop.browser import done_page

    assert '{"a": "\\u003c\\u0026\\u0027\\u00e9"}' in done_page("B1", {"a": "<&'\u00e9"}, 0.0).text


def test_back_to_search_forgets_all_but_the_goal(shop: Shop) -> None:
    walker = browser(shop, *LAMP, "click[red]", "click[back to search]")
    assert walker.page == browser(shop).page
    assert (walker.keywords, walker.number, walker.product) == (None, None, None)


def test_page_names_in_a_query_confuse_the_way_back(shop: Shop) -> None:
    walker = browser(shop, "search[search_results brass]", "click[b000000001]", "click[< prev]")
    assert "Page 0 (Total results: " in walker.page.text
    walker = browser(shop, "search[item_page brass]", "click[b000000001]", "click[reviews]")
    walker.step("click[< prev]")
    assert walker.place == "search_results"


def test_brackets_ask_for_categories_queries_and_any_products(shop: Shop) -> None:
    assert "(Total results: 1)" in browser(shop, "search[<c> fashion]").page.text
    assert "(Total results: 40)" in browser(shop, "search[<q> benches]").page.text
    walker = browser(shop, "search[<r>]")
    assert "(Total results: 50)" in walker.page.text
    first = walker.page.links
    walker.step("click[next >]")
    walker.step("click[< prev]")
    assert walker.page.links != first, "drawn anew"


@pytest.mark.parametrize("query", ["<a> brass", "<c>"])
def test_searches_that_break_the_original_are_refused(query: str, shop: Shop) -> None:
    walker = browser(shop, "search[brass]")
    before = walker.page
    with pytest.raises(UnsupportedSearchError, match="can't search for"):
        walker.step(f"search[{query}]")
    assert walker.page is before


def test_a_fork_goes_its_own_way(shop: Shop) -> None:
    walker = browser(shop, *LAMP)
    twin = walker.fork()
    twin.step("click[red]")
    twin.step("click[< prev]")
    assert (walker.place, dict(walker.chosen)) == ("item_page", {})
    one, other = browser(shop), browser(shop)
    forked = one.fork()
    for each in (forked, one, other):
        each.step("search[<r>]")
    assert forked.page == one.page == other.page


def test_a_session_keeps_its_goal(shop: Shop) -> None:
    sessions = Sessions(shop.goals)
    assert sessions.begin(5) == ("5", 5)
    name, goal = sessions.begin("visitor")
    assert sessions.begin("visitor") == (name, goal) == ("visitor", goal)
    assert Sessions(shop.goals).begin()[0] != sessions.begin()[0]
    with pytest.raises(InvalidInputError, match="goal is 999"):
        sessions.begin(999)


def test_goals_are_drawn_by_weight(shop: Shop) -> None:
    goal: Goal = shop.goals[0]
    weights = [1e-9, 1e-9, 1.0, 1e-9]
    sessions = Sessions([replace(goal, weight=weight) for weight in weights])
    assert {sessions.begin()[1] for _ in range(20)} == {3}  # one to the right of the heavy one
