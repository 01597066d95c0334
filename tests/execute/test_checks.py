from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.files import DATA
from tests.fakes.plans import Blocks, Deliveries, blocks, deliveries, statement, walk, written

from amp.errors import InvalidInputError
from amp.execute.checks import check_24, check_game24, check_plan, load_check

BLOCKSWORLDS = ("blocksworld", "mystery_blocksworld", "obfuscated_blocksworld")
DOMAINS = (*BLOCKSWORLDS, "logistics")

rngs = st.integers(0, 2**32).map(random.Random)
domains = st.sampled_from(DOMAINS)
quick = settings(max_examples=25)


def world(domain: str, rng: random.Random) -> Blocks | Deliveries:
    return deliveries(rng) if domain == "logistics" else blocks(rng)


# A plan is carried out -------------------------------------------------------------------------


@quick
@given(domains, rngs)
def test_a_walk_is_a_plan_for_where_it_ends(domain: str, rng: random.Random) -> None:
    begin = world(domain, rng)
    plan, end = walk(begin, rng, rng.randint(1, 12))
    question = statement(domain, begin.facts(), end.facts())
    assert check_plan(question, written(domain, plan)) is True


@quick
@given(domains, rngs)
def test_the_verdict_is_that_of_a_simulator(domain: str, rng: random.Random) -> None:
    begin = world(domain, rng)
    plan, aim = walk(begin, rng, rng.randint(1, 6))
    if rng.random() < 0.5:
        plan.insert(rng.randrange(len(plan) + 1), rng.choice(begin.calls()))
    goal = rng.sample(aim.facts(), rng.randint(1, len(aim.facts())))
    now: Blocks | Deliveries | None = begin
    for call in plan:
        now = now and now.after(call)
    right = now is not None and set(goal) <= set(now.facts())
    question = statement(domain, begin.facts(), goal)
    assert check_plan(question, written(domain, plan)) is right


@pytest.mark.slow
@pytest.mark.parametrize("domain", DOMAINS)
def test_each_action_can_be_done_where_a_simulator_does_it(domain: str) -> None:
    rng = random.Random(domain)
    for _ in range(5):
        _, now = walk(world(domain, rng), rng, rng.randrange(6))
        for call in now.calls():
            then = now.after(call)
            goal = then.facts() if then else [rng.choice(now.facts())]
            question = statement(domain, now.facts(), goal)
            assert check_plan(question, written(domain, [call])) is (then is not None), question


@quick
@given(st.sampled_from(BLOCKSWORLDS), rngs)
def test_without_its_last_action_a_plan_to_a_new_state_is_wrong(
    domain: str, rng: random.Random
) -> None:
    begin = world(domain, rng)
    plan, end = walk(begin, rng, rng.randint(2, 12))
    question = statement(domain, begin.facts(), end.facts())
    assert check_plan(question, written(domain, plan[:-1])) is False


@quick
@given(rngs, st.permutations("abcdef"))
def test_other_names_for_the_blocks_change_nothing(rng: random.Random, names: list[str]) -> None:
    begin = blocks(rng)
    plan, end = walk(begin, rng, rng.randint(1, 8))
    if rng.random() < 0.5:
        plan.insert(0, rng.choice(begin.calls()))
    other = dict(zip("abcdef", names, strict=True))
    verdicts = [
        check_plan(
            statement(
                "blocksworld",
                [(f[0], *(name[x] for x in f[1:])) for f in begin.facts()],
                [(f[0], *(name[x] for x in f[1:])) for f in end.facts()],
            ),
            written("blocksworld", [(c[0], *(name[x] for x in c[1:])) for c in plan]),
        )
        for name in ({x: x for x in "abcdef"}, other)
    ]
    assert verdicts[0] is verdicts[1] is not None


@quick
@given(st.sampled_from(BLOCKSWORLDS), rngs)
def test_a_question_cut_off_anywhere_cant_be_told(domain: str, rng: random.Random) -> None:
    begin = world(domain, rng)
    plan, end = walk(begin, rng, 4)
    question = statement(domain, begin.facts(), end.facts())
    cut = question[: rng.randrange(len(question))]
    assert check_plan(cut, written(domain, plan)) is None


@quick
@given(domains, rngs)
def test_an_answer_cut_off_within_an_action_cant_be_told(domain: str, rng: random.Random) -> None:
    begin = world(domain, rng)
    plan, end = walk(begin, rng, 4)
    answer = written(domain, plan)
    cut = answer[: rng.randrange(1, len(answer))]
    if not cut.endswith((")", ") ")):
        assert check_plan(statement(domain, begin.facts(), end.facts()), cut) is None


QUESTION = (
    "As initial conditions I have that, the red block is clear, the yellow block is clear, the hand"
    " is empty, the red block is on top of the blue block, the yellow block is on top of the orange"
    " block, the blue block is on the table and the orange block is on the table.\n"
    "My goal is to have that the orange block is on top of the red block."
)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("(unstack d c) (put-down d) (pick-up c) (stack c a)", True),
        ("(UNSTACK d c)\n( put-down d )\n(pick-up C) (stack c a) ; cost = 4 (unit cost)", True),
        ("```\n(unstack d c) (put-down d) (pick-up c) (stack c a)\n```", True),
        ("(unstack d c) (put-down d) (pick-up c)", False),
        ("(pick-up c) (stack c a)", False),
        ("(unstack d c) (put-down d) (pick-up c) (stack c)", False),
        ("(unstack d c) (put-down d) (pick-up c) (stack c a a)", False),
        ("(unstack d c) (put-down d) (pick-up c) (stack c e)", False),
        ("(unstack d c) (throw d) (pick-up c) (stack c a)", False),
        ("(no plan possible)", False),
        ("no plan possible", None),
        ("unstack the yellow block from on top of the orange block", None),
        ("1. (unstack d c) 2. (put-down d)", None),
        ("(unstack d c) (put-down d) (pick-up c) (stack c a) (unst", None),
        ("(and (unstack d c) (put-down d) (pick-up c) (stack c a))", None),
        ("() (unstack d c)", None),
        ("", None),
    ],
)
def test_plans_by_example(answer: str, verdict: bool | None) -> None:
    assert check_plan(QUESTION, answer) is verdict


def test_the_last_statement_counts_and_has_to_end_the_question() -> None:
    example = QUESTION.replace("orange block is on top of the red", "red block is on the")
    answer = "(unstack d c) (put-down d) (pick-up c) (stack c a)"
    asked = "My plan is as follows:\n\n[PLAN]"
    shown = f"[STATEMENT]\n{example}\n{asked}\n(unstack a b) (put-down a)\n[PLAN END]\n\n"
    assert check_plan(f"{shown}[STATEMENT]\n{QUESTION}\n\n{asked}\n", answer) is True
    assert check_plan(shown, answer) is None


@pytest.mark.parametrize(
    "question",
    [
        "",
        "What is 3 + 4?",
        QUESTION.replace("yellow", "purple"),
        QUESTION.replace("the hand is empty", "the hand is cold"),
        QUESTION.replace("the hand is empty", "harmony"),
        QUESTION.replace("My goal", "My wish"),
    ],
)
def test_a_question_of_another_kind_cant_be_told(question: str) -> None:
    assert check_plan(question, "(unstack d c)") is None


# Twenty-four -----------------------------------------------------------------------------------

Tree = int | tuple[str, "Tree", "Tree"]
trees: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 13),
    lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner),
    max_leaves=7,
)


def value(tree: Tree) -> Fraction:
    if isinstance(tree, int):
        return Fraction(tree)
    sign, left, right = tree[0], value(tree[1]), value(tree[2])
    if sign == "/":
        return left / right
    return left + right if sign == "+" else left - right if sign == "-" else left * right


def leaves(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else leaves(tree[1]) + leaves(tree[2])


def shown(tree: Tree, rng: random.Random) -> tuple[str, int]:
    """The expression with the parentheses that it needs and some more, and how it binds."""
    if isinstance(tree, int):
        text, binds = str(tree), 3
    else:
        binds = 1 if tree[0] in "+-" else 2
        left, right = shown(tree[1], rng), shown(tree[2], rng)
        before = left[0] if left[1] >= binds else f"({left[0]})"
        after = right[0] if right[1] > binds else f"({right[0]})"
        space = rng.choice(("", " "))
        text = f"{before}{space}{tree[0]}{space}{after}"
    return (f"({text})", 3) if rng.random() < 0.2 else (text, binds)


@settings(max_examples=40)
@given(trees, rngs)
def test_an_expression_is_worth_what_fractions_say(tree: Tree, rng: random.Random) -> None:
    try:
        worth = value(tree)
    except ZeroDivisionError:
        assert check_24(leaves(tree), shown(tree, rng)[0]) is False
        return
    assert check_24(leaves(tree), shown(tree, rng)[0]) is (worth == 24)
    if worth > 0:  # scaled to 24 exactly, and past it
        top, bottom = worth.numerator, worth.denominator
        for factor in (bottom, bottom + 1):
            scaled: Tree = ("/", ("*", ("*", tree, 24), factor), top)
            text = shown(scaled, rng)[0]
            assert check_24(leaves(scaled), text) is (factor == bottom)
            assert check_24([*leaves(scaled), 1], text) is False


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("(10 - 4) * (13 - 9)", True),
        ("(10-4)*(13-9) = 24", True),
        ("13 - 9 = 4 (left: 4 4 10)\n10 - 4 = 6\nAnswer: (10 - 4) * (13 - 9) = 24", True),
        ("((((10 - 4)))) * (13 - 9)", True),
        ("4 * (13 - 9) + 10", False),
        ("(10 - 4) * 4", False),
        ("12 + 12", False),
        ("(10 - 4) * (13 - 9) * 1.0", False),
        ("10 / (4 - 4) * 13 - 9", False),
        ("13 / (9 - 9) + 4 + 10", False),
        ("(10 - 4) * (13 - 9", None),
        ("(10 - 4) (13 - 9)", None),
        ("10 - 4 * 13 - 9 -", None),
        ("10 ** 4 - 13 + 9", None),
        ("there is no solution", None),
        ("__import__('os')", None),
        ("24", False),
        ("()", None),
        ("", None),
    ],
)
def test_expressions_by_example(answer: str, verdict: bool | None) -> None:
    assert check_game24("4 9 10 13", answer) is verdict


@pytest.mark.parametrize(
    "answer",
    ["4 + 4 * 4 + 4", "30 - 3 - 2 - 1", "96 / 2 / 2 * 1", "96 / (2 * 2) / 1", "48 * 1 / 2"],
)
def test_signs_bind_as_in_arithmetic(answer: str) -> None:
    assert check_24([int(number) for number in re.findall(r"\d+", answer)], answer) is True


@pytest.mark.parametrize("question", ["", "1 2 3", "1 2 3 4 5", "a b c d", "make 24 of 1 2 3 4"])
def test_a_question_that_is_not_four_numbers_cant_be_told(question: str) -> None:
    assert check_game24(question, "(1 + 2 + 3) * 4") is None


def test_the_four_numbers_may_be_announced_and_have_commas() -> None:
    assert check_game24("Input: 1, 2, 3, 4\n", "(1 + 2 + 3) * 4") is True


# All of them -----------------------------------------------------------------------------------


def test_checks_have_names_and_an_unknown_one_is_told_the_nearest() -> None:
    assert load_check("plan") is check_plan
    with pytest.raises(InvalidInputError, match=r"unknown check 'plans'.*did you mean 'plan'"):
        load_check("plans")


# Recorded grades -------------------------------------------------------------------------------

CUT = 600
"""Characters at which the pool's makers cut answers; a plan cut between two actions looks whole."""
WRONGLY_GRADED = {"blocksworld/428", "blocksworld/435"}
"""Plans that reach the goal and were graded wrong, both of gemini-1.5-flash."""


def rows(pool: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / "pools" / pool / "pool.jsonl.gz", "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


@pytest.mark.slow
@pytest.mark.data("pools/planbench")
def test_plans_are_judged_as_they_were_graded() -> None:
    told, untold, otherwise = 0, 0, set()
    for row in rows("planbench"):
        if row["domain"] == "obfuscated_randomized_logistics":  # its questions are cut off
            assert check_plan(row["question"], row["gold"]) is None
            continue
        assert check_plan(row["question"], row["gold"]) is True, row["id"]
        for samples in row["arms"].values():
            for sample in samples:
                answer = sample["answer"] or ""
                if not answer or len(answer) >= CUT:
                    continue
                verdict = check_plan(row["question"], answer)
                told, untold = told + (verdict is not None), untold + (verdict is None)
                if verdict is not None and verdict != bool(sample["correct"]):
                    otherwise.add(row["id"])
    assert otherwise <= WRONGLY_GRADED
    assert untold < 0.01 * told
    assert told > 20_000


@pytest.mark.slow
@pytest.mark.data("pools/tot_game24")
@pytest.mark.parametrize("arm", ["gpt4-io", "gpt4-cot", "gpt4-tot-b5"])
def test_expressions_are_judged_as_they_were_graded(arm: str) -> None:
    for row in rows("tot_game24"):
        for sample in row["arms"][arm]:
            verdict = check_game24(row["question"], sample["answer"])
            assert bool(verdict) == bool(sample["correct"]), (row["id"], sample)
