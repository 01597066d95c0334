"""The texts of WebShop: frozen, one version, and what a step is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.benchmarks.webshop.browser import parse_action
from amp.benchmarks.webshop.environment import WebShopEnvironment
from amp.benchmarks.webshop.prompts import VERSION, WebShopPrompts
from amp.benchmarks.webshop.shop import Shop
from amp.execute.base import Prompts
from amp.execute.choice_step import labels_for
from amp.models.base import Prompt
from amp.types import (
    UNAIDED,
    Allocation,
    Candidate,
    Complexity,
    Observation,
    StepContext,
    StepRecord,
    Task,
    Usage,
)

PROMPTS: Prompts = WebShopPrompts()
SEARCH_PAGE = StepContext(Task("webshop/small/0", "Find me red lamps"), observation=None)  # type: ignore[arg-type]


def context(shop: Shop, asin: str, *actions: str) -> StepContext:
    number = next(n for n, goal in enumerate(shop.goals) if goal.asin == asin)
    task = Task(f"webshop/small/{number}", shop.goals[number].instruction)
    environment = WebShopEnvironment(shop, "small")
    observation, steps = environment.reset(task), []
    for action in actions:
        steps.append(StepRecord(observation, (), Complexity(0.0), action, Usage()))
        observation = environment.step(action).observation
    return StepContext(task, observation, tuple(steps))


def asked(prompt: Prompt) -> str:
    """The last question."""
    assert prompt.version == VERSION
    return next(m.content for m in reversed(prompt.messages) if m.role == "user")


def choice(context: StepContext, thought: str = "") -> Prompt:
    actions = context.observation.actions
    assert actions is not None
    return PROMPTS.choose(context, actions, labels_for(len(actions)), thought)


@given(st.text(max_size=40), st.integers(0, 2))
def test_what_is_read_is_a_search_for_words(text: str, depth: int) -> None:
    action = PROMPTS.read(SEARCH_PAGE, Allocation(depth=depth), text, ())
    if action is not None:
        parsed = parse_action(action)
        assert parsed is not None
        assert parsed[0] == "search"
        assert not parsed[1].startswith("<")
        again = PROMPTS.read(SEARCH_PAGE, Allocation(), f"Query: {parsed[1]}", ())
        assert again == action


@pytest.mark.parametrize(
    ("depth", "text", "action"),
    [
        (0, ' Red "Desk"  lamp.\nmore', "search[red desk lamp]"),
        (0, "Query: red lamp", "search[red lamp]"),
        (0, "search[<r> lamp]", "search[search r lamp]"),
        (0, "  \n", None),
        (2, "1. Lamps are wanted.\nQuery: red lamp", "search[red lamp]"),
        (2, "Query: blue\nQuery: 2.5 inch, red", "search[2.5 inch red]"),
        (2, "1. Lamps are wanted.", None),
    ],
)
def test_queries_are_read_in_one_spelling(depth: int, text: str, action: str | None) -> None:
    assert PROMPTS.read(SEARCH_PAGE, Allocation(depth=depth), text, ()) == action


def test_a_query_is_asked_for_with_thoughts_only_if_there_is_depth(shop: Shop) -> None:
    at = context(shop, "B000000001")
    plain, thoughtful = (PROMPTS.solve(at, Allocation(depth=depth)) for depth in (0, 2))
    assert at.task.goal in asked(plain)
    assert plain.messages[-1].content == "Query:"
    assert "at most 2 short steps" in asked(thoughtful)
    assert thoughtful.max_tokens > plain.max_tokens


def test_searches_that_did_not_help_are_told(shop: Shop) -> None:
    at = context(shop, "B000000001", "search[garden]", "click[back to search]")
    assert "search[garden]" in asked(PROMPTS.solve(at, Allocation()))


def test_results_are_choices_with_title_and_price(shop: Shop) -> None:
    at = context(shop, "B000000001", "search[brass]")
    question = asked(choice(at))
    assert (
        "back to search (1)\nnext > (2)\nproduct 1: Brass Desk Lamp, $15.5 to $25.25 (3)"
        in question
    )
    assert at.task.goal in question
    assert "Instruction:" not in question


def test_options_are_choices_with_their_names(shop: Shop) -> None:
    at = context(shop, "B000000001", "search[brass]", "click[b000000001]")
    question = asked(choice(at))
    assert "Product: Brass Desk Lamp\nPrice: $15.5 to $25.25" in question
    assert "size: small (G)\n" in question
    assert "color: black | white (" in question
    assert "Chosen:" not in question


def test_what_was_chosen_is_told_once_for_each_option(shop: Shop) -> None:
    opened = ("search[brass]", "click[b000000001]")
    clicks = ("click[red]", "click[small]", "click[features]", "click[< prev]", "click[large]")
    question = asked(choice(context(shop, "B000000001", *opened, *clicks, "click[nonsense]")))
    assert "\nChosen: color: red, size: large\n" in question
    assert "size: large (chosen already) (H)\n" in question
    assert "size: small (G)\n" in question
    reopened = ("click[< prev]", "click[b000000001]")
    assert "Chosen:" not in asked(choice(context(shop, "B000000001", *opened, *clicks, *reopened)))


def test_values_without_an_action_are_told_and_are_no_names(shop: Shop) -> None:
    question = asked(choice(context(shop, "B000000003", "search[wool]", "click[b000000003]")))
    assert "\nNot listed: shade " in question
    assert question.count("\ncolor: shade") == 46


def test_an_answer_begins_with_what_the_customer_named_next(shop: Shop) -> None:
    opened = ("search[brass]", "click[b000000001]")
    goal = shop.goals[int(context(shop, "B000000001").task.id.rpartition("/")[2])]
    color, red, size, small = (text for option in goal.options for text in option)
    leads = [
        choice(context(shop, "B000000001", *opened, *clicks)).messages[-1].content
        for clicks in (
            [],
            [f"click[{small}]"],
            [f"click[{red}]"],
            [f"click[{red}]", f"click[{small}]"],
        )
    ]
    first, second = f"Next: {color}: {red} (", f"Next: {size}: {small} ("
    assert leads == [first, first, second, "Next: buy now ("]


def lead(shop: Shop, *actions: str) -> str:
    """How the answer to a step on the way to the brass lamp begins."""
    return choice(context(shop, "B000000001", *actions)).messages[-1].content


def test_among_results_an_answer_begins_with_the_first_product_not_seen_that_is_cheap_enough(
    shop: Shop,
) -> None:
    stools = [f"click[b00000001{n}]" for n in range(10)]
    at = context(shop, "B000000001", "search[garden stool]")
    links = [action for action in at.observation.actions or () if action in stools]
    assert len(links) == 10
    assert lead(shop, "search[garden stool]") == "Next: product 1 ("
    assert lead(shop, "search[garden stool]", links[0], "click[< prev]") == "Next: product 2 ("
    dear = replace(at, task=replace(at.task, goal="Find me stools, and price lower than 9 dollars"))
    assert choice(dear).messages[-1].content == "Next: next > ("


def test_a_product_without_a_wanted_option_is_left_until_patience_ends(shop: Shop) -> None:
    opened: tuple[str, ...] = ("search[garden stool]",)
    leads = []
    for number in range(4):
        opened = (*opened, f"click[b00000001{number}]")
        leads.append(lead(shop, *opened))
        opened = (*opened, "click[< prev]")
    assert leads == [*["Next: < prev ("] * 3, "Next: buy now ("]


def test_what_was_seen_is_marked(shop: Shop) -> None:
    seen = ("search[brass]", "click[b000000001]", "click[features]", "click[< prev]")
    question = asked(choice(context(shop, "B000000001", *seen)))
    assert "features (seen already) (" in question
    assert "description (C)" in question
    question = asked(choice(context(shop, "B000000001", *seen, "click[< prev]")))
    assert "$25.25 (seen already) (3)" in question
    assert question.count("already") == 1


def test_a_page_that_quotes_another_is_not_taken_for_it(shop: Shop) -> None:
    state = context(shop, "B000000001").observation.state.split(" [SEP] ")[1:3]
    for quoted in ("Buy Now", "Page 1 (Total results: 5)", "Not listed: nothing"):
        pieces = [*state, "Back to Search", "< Prev", "Fine", quoted]
        observation = Observation(
            " [SEP] ".join(pieces), ("click[back to search]", "click[< prev]")
        )
        at = StepContext(Task("webshop/small/0", "Find me lamps"), observation)
        assert f"Text: Fine {quoted}\n" in asked(choice(at))


def test_the_text_of_a_sub_page_is_told(shop: Shop) -> None:
    opened = ("search[brass]", "click[b000000001]", "click[description]")
    assert "Text: Warm light." in asked(choice(context(shop, "B000000001", *opened)))


@pytest.mark.parametrize("query", ["search[brass]", "search[lamp bench]"])
def test_examples_and_step_use_labels_of_one_kind(query: str, shop: Shop) -> None:
    at = context(shop, "B000000001", query)
    actions = at.observation.actions
    assert actions is not None
    labels = labels_for(len(actions))
    prompt = choice(at)
    assert prompt.messages[-1].content.endswith("(")
    answers = [m.content for m in prompt.messages[:-1] if m.role == "assistant"]
    assert answers
    for answer in answers:
        label = answer.rpartition("(")[2].removesuffix(")")
        assert label.isdigit() == labels[0].isdigit()
        assert label in labels_for(9 if label.isdigit() else 26)


def test_a_thought_stands_before_the_answer(shop: Shop) -> None:
    at = context(shop, "B000000001", "search[brass]")
    assert choice(at, "the lamp fits").messages[-1].content == "1. the lamp fits\nNext: product 1 ("
    assert at.observation.actions is not None
    thinking = PROMPTS.think(at, at.observation.actions, 2)
    assert "at most 2 short steps" in asked(thinking)
    assert "\n3." in thinking.stop


def test_checks_and_critiques_show_step_and_action(shop: Shop) -> None:
    at = context(shop, "B000000001", "search[brass]", "click[b000000001]")
    candidate = Candidate("", "click[buy now]", broken_rule="too early")
    check, critique = PROMPTS.check(at, candidate), PROMPTS.critique(at, candidate)
    for prompt in (check, critique):
        assert "Next action: click[buy now]" in asked(prompt)
        assert "Brass Desk Lamp" in asked(prompt)
    assert check.max_tokens == 1
    assert "too early" in asked(critique)


def test_a_new_attempt_goes_on_from_the_first(shop: Shop) -> None:
    at = context(shop, "B000000001")
    candidate = Candidate("red lamp", "search[red lamp]")
    first = PROMPTS.solve(at, Allocation())
    again = PROMPTS.refine(at, Allocation(), candidate, "the size is missing")
    assert again.messages[: len(first.messages) - 1] == first.messages[:-1]
    assert "Query: red lamp" in again.messages[-3].content
    assert "the size is missing" in asked(again)
    assert again.messages[-1] == first.messages[-1]


@pytest.mark.parametrize("thought", ["", "I think"])
def test_unaided_nothing_is_suggested(shop: Shop, thought: str) -> None:
    """The questions are the same, and no answer, nor one of an example, begins with a click."""
    aided = context(shop, "B000000001", "search[brass]", "click[b000000001]")
    unaided = replace(aided, tools=frozenset({UNAIDED}))
    with_help, without = choice(aided, thought), choice(unaided, thought)
    answers = [m.content.splitlines()[-1] for m in without.messages if m.role == "assistant"]
    assert {answer[:7] for answer in answers} == {"Next: ("}
    assert answers[-1] == "Next: ("
    assert with_help.messages[-1].content != without.messages[-1].content
    asked = [[m for m in p.messages if m.role != "assistant"] for p in (with_help, without)]
    assert asked[0] == asked[1]
    actions = aided.observation.actions or ()
    thoughts = [PROMPTS.think(each, actions, 1).messages for each in (aided, unaided)]
    assert (thoughts[0][0], thoughts[0][-2:]) == (thoughts[1][0], thoughts[1][-2:])
    assert not any("Next: product 2 (" in message.content for message in thoughts[1])
