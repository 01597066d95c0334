from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.plans import Call, blocks, statement, walk, written

import amp.execute.tools.strips
from amp.errors import InvalidInputError
from amp.execute.checks import check_plan
from amp.execute.tools.strips import load_domain, read_domain, read_instance

FOLDER = Path(amp.execute.tools.strips.__file__).parents[2] / "data" / "planning"
DOMAIN = (FOLDER / "blocksworld.pddl").read_text()
PROBLEM = """(define (problem two)
  (:domain blocksworld)
  (:objects a b)
  (:init (clear a) (ontable a) (clear b) (ontable b) (handempty))
  (:goal (and (on a b))))"""
PLAN = "(pick-up a) (stack a b)"


def problem(init: list[Call], goal: list[Call], objects: str) -> str:
    facts, aims = (" ".join(f"({' '.join(f)})" for f in some) for some in (init, goal))
    return (
        f"(define (problem p) (:domain blocksworld) (:objects {objects})"
        f" (:init {facts}) (:goal (and {aims})))"
    )


@settings(max_examples=25)
@given(st.integers(0, 2**32).map(random.Random))
def test_in_pddl_and_in_words_the_verdict_is_the_same(rng: random.Random) -> None:
    begin = blocks(rng)
    plan, end = walk(begin, rng, rng.randint(1, 6))
    if rng.random() < 0.5:
        plan.insert(rng.randrange(len(plan)), rng.choice(begin.calls()))
    objects = " ".join(sorted({x for tower in begin.towers for x in tower}))
    stated = f"[DOMAIN]\n{DOMAIN}\n[PROBLEM]\n{problem(begin.facts(), end.facts(), objects)}"
    in_words = statement("blocksworld", begin.facts(), end.facts())
    answer = written("blocksworld", plan)
    assert check_plan(stated, answer) is check_plan(in_words, answer) is not None


@settings(max_examples=25)
@given(st.integers(1, len(PROBLEM.rstrip()) - 1))
def test_a_problem_cut_off_anywhere_cant_be_told(length: int) -> None:
    assert check_plan(f"{DOMAIN}\n{PROBLEM}", PLAN) is True
    assert check_plan(f"{DOMAIN}\n{PROBLEM[:length]}", PLAN) is None


def test_an_example_with_its_plan_is_no_problem_to_solve() -> None:
    assert check_plan(f"{DOMAIN}\n{PROBLEM}\n[PLAN]\n{PLAN}\n[PLAN END]", PLAN) is None
    both = f"{DOMAIN}\n{PROBLEM}\n{PLAN}\n{PROBLEM.replace('on a b', 'on b a')}\nYour plan:\n"
    assert check_plan(both, PLAN) is False
    assert check_plan(both, "(pick-up b) (stack b a)") is True


def test_an_action_on_what_the_problem_lacks_is_wrong() -> None:
    free = DOMAIN.replace(
        "(:action pick-up",
        "(:action look :parameters (?x) :precondition () :effect (handempty)) (:action pick-up",
    )
    assert check_plan(f"{free}\n{PROBLEM}", f"(look a) {PLAN}") is True
    assert check_plan(f"{free}\n{PROBLEM}", f"(look c) {PLAN}") is False


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.pddl")), ids=lambda path: path.stem)
def test_the_domains_that_we_bring_say_what_their_predicates_are(path: Path) -> None:
    domain = load_domain(path.stem)
    for schema in domain.values():
        assert schema.preconditions
        assert schema.add
        assert schema.delete <= schema.preconditions  # nothing is deleted that did not hold


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ("(holding ?x)\n", "(not (holding ?x))\n", "found not"),
        ("(holding ?x)\n", "(or (holding ?x) (clear ?x))\n", "found or"),
        ("(?x ?y)", "(?x ?y - block)", "found -"),
        ("(on ?x ?y) (clear ?x)", "(on ?x ?z) (clear ?x)", r"stack: \?z is no parameter"),
        (":precondition", ":before", "lacks :parameters"),
        (":requirements :strips", ":types block", "more than STRIPS"),
        ("(not (clear ?y))", "(when (clear ?x) (clear ?y))", "found when"),
        ("(clear ?y))))", "(clear ?y)))", "cut off"),
        ("(define (domain", "(define (task", "no definition"),
        ("(holding ?x)\n", f"(and {'(holding ?x)' * 100})\n", "words, expected at most 200"),
        ("(holding ?x)\n", f"{'(' * 30}{')' * 30}\n", "more than 20 parentheses"),
    ],
)
def test_what_is_more_than_strips_is_refused(found: str, instead: str, message: str) -> None:
    assert found in DOMAIN
    text = DOMAIN.replace(found, instead)
    with pytest.raises(InvalidInputError, match=message):
        read_domain(text)
    assert check_plan(f"{text}\n{PROBLEM}", PLAN) is None


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ("(:objects a b)", "(:objects a b - block)", "found -"),
        ("(handempty)", "(not (handempty))", "found not"),
        ("(handempty)", "handempty", "expected a fact"),
        ("(:goal (and (on a b)))", "(:goal)", "found 0 goals"),
        ("(:goal (and (on a b)))", "(:goal (on a b)) (:metric minimize)", "more than STRIPS"),
    ],
)
def test_problems_of_richer_languages_are_refused(found: str, instead: str, message: str) -> None:
    assert found in PROBLEM
    with pytest.raises(InvalidInputError, match=message):
        read_instance(PROBLEM.replace(found, instead))
