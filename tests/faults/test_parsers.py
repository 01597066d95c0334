"""Whatever a text holds, no parser raises or takes more time than in proportion to its length.

`PARSERS` names every function of amp that reads what a model, an environment or a user wrote.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.assess.evidence import goal_distance, remaining_quantities, remaining_words, unused
from amp.assess.features import observe
from amp.assess.text import indicator_counts, numbers, structural, word_count
from amp.benchmarks.alfworld.prompts import ALFWorldPrompts
from amp.benchmarks.alfworld.prompts import situation_of as alfworld_situation
from amp.benchmarks.alfworld.scene import Scene, read_goal
from amp.benchmarks.babyai import mission
from amp.benchmarks.babyai.prompts import BabyAIPrompts
from amp.benchmarks.gsm8k import GSM8KPrompts
from amp.benchmarks.gsm8k.environment import (
    GSM8KEnvironment,
    StepKind,
    final_answer,
    official_answer,
    read_answer,
)
from amp.benchmarks.gsm8k.numbers import normalise
from amp.benchmarks.gsm8k.problems import Problem, operations, solution_annotations
from amp.benchmarks.webshop.browser import parse_action
from amp.benchmarks.webshop.environment import read_request, rows_of_results
from amp.benchmarks.webshop.prompts import WebShopPrompts
from amp.benchmarks.webshop.prompts import situation_of as webshop_situation
from amp.benchmarks.webshop.search import index_words, stem
from amp.errors import AmpError
from amp.execute.base import LONGEST_ANSWER, PlainPrompts
from amp.execute.checks import check_game24, check_plan
from amp.execute.choice_step import label_probabilities
from amp.execute.program import ends_before_program, find_program
from amp.execute.tools.calculator import (
    CalculatorTool,
    agrees,
    evaluate,
    parse_number,
    wrong_equation,
)
from amp.execute.tools.symbolic_planner import SymbolicPlannerTool, first_step, read_problem
from amp.methods import adaplanner, adapt, react
from amp.models.base import NextToken
from amp.types import Allocation, Candidate, Evidence, Observation, StepContext, Task, Usage

Parser = Callable[[str], object]

ACTIONS = ("go forward", "turn left", "click[buy now]", "go to the red ball")
PYTHON, PLAIN = Allocation(tools=frozenset({"python"})), Allocation(depth=2)
BLOCKS = (
    "As initial conditions I have that, the red block is clear and the hand is empty.\n"
    "My goal is to have that the red block is on the table."
)
CALCULATOR, SYMBOLIC = CalculatorTool(), SymbolicPlannerTool(seconds=1.0, max_states=100)


def at(text: str, goal: str = "go to the red ball") -> StepContext:
    """A step in which a text is what is seen."""
    return StepContext(Task("t", goal), Observation(text, ACTIONS))


def answered(text: str) -> StepContext:
    """A step to whose goal, 3 and 4, a text was an answer."""
    return StepContext(
        Task("t", "3 and 4"), Observation(), (), Evidence((Candidate(text, "1"),), 1)
    )


def told_to(goal: str) -> StepContext:
    """A step whose goal is a text."""
    return StepContext(Task("t", goal), Observation("You see a red ball 1 step forward", ACTIONS))


def heard(text: str) -> object:
    """What a scene of ALFWorld knows after a text."""
    scene = Scene(receptacles=("desk 1",))
    scene.hear(text, (text, "take book 1 from desk 1"))
    return scene.describe()


def stepped(text: str, step: StepKind = "solution") -> object:
    """The verdict on an action in GSM8K; an empty one is refused."""
    environment = GSM8KEnvironment(step)
    environment.reset(Task("t", "3 and 4", {"answer": "7"}))
    return refusing(environment.step)(text)


def refusing(parse: Parser) -> Parser:
    """The parser where it may refuse a text in words, by an error of amp or a ValueError."""

    def parsed(text: str) -> object:
        try:
            return parse(text)
        except (AmpError, ValueError) as problem:
            return str(problem)

    return parsed


PARSERS: dict[str, Parser] = {
    "program": find_program,
    "program, ended": ends_before_program,
    "gsm8k answer": read_answer,
    "gsm8k final": final_answer,
    "gsm8k official": official_answer,
    "gsm8k number": normalise,
    "gsm8k action": stepped,
    "gsm8k reasoning": lambda text: stepped(text, "reasoning"),
    "gsm8k solution": lambda text: GSM8KPrompts().read(at(""), PLAIN, text, ()),
    "gsm8k program": lambda text: GSM8KPrompts().read(at(""), PYTHON, text, ()),
    "gsm8k piece": lambda text: GSM8KPrompts("reasoning").read(at(""), PLAIN, text, ()),
    "gsm8k operations": operations,
    "gsm8k annotations": refusing(
        lambda text: list(solution_annotations("train", Problem(1, text, "1", (text, text))))
    ),
    "plain action": lambda text: PlainPrompts().read(at(""), PLAIN, text, ()),
    "babyai action": lambda text: BabyAIPrompts().read(at(""), PLAIN, text, ()),
    "alfworld action": lambda text: ALFWorldPrompts().read(at(""), PLAIN, text, ()),
    "webshop query": lambda text: WebShopPrompts().read(at(""), PLAIN, text, ()),
    "webshop query at once": lambda text: WebShopPrompts().read(at(""), Allocation(), text, ()),
    "webshop command": parse_action,
    "webshop request": read_request,
    "webshop results": rows_of_results,
    "webshop words": index_words,
    "webshop stem": stem,
    "webshop page": lambda text: webshop_situation(at(text), ACTIONS),
    "label": lambda text: label_probabilities(NextToken({text: -1.0}, Usage()), "12"),
    "calculator": lambda text: asyncio.run(CALCULATOR.use(text)),
    "calculator, annotated": lambda text: asyncio.run(CALCULATOR.use(f"<<{text}>>")),
    "equations": wrong_equation,
    "expression": refusing(evaluate),
    "number": parse_number,
    "stated number": lambda text: agrees(evaluate("1"), text),
    "symbolic planner": lambda text: asyncio.run(SYMBOLIC.use(text)),
    "symbolic planner, fenced": lambda text: asyncio.run(SYMBOLIC.use(f"```json\n{text}\n```")),
    "plan's first step": first_step,
    "plan": lambda text: check_plan(BLOCKS, text),
    "plan's question": lambda text: check_plan(text, "(stack a b)"),
    "plan's problem": lambda text: check_plan(f"(define (domain d){text}", f"(stack a b){text}"),
    "24": lambda text: check_game24("1 2 3 4", text),
    "24's question": lambda text: check_game24(text, "(1 + 2 + 3) * 4"),
    "adaplanner plan": adaplanner.read_plan,
    "adapt parts": adapt.read,
    "react call": react.read,
    "mission": mission.clauses,
    "mission, sighting": mission.sighting_in,
    "mission, ahead": mission.ahead_in,
    "mission, carried": mission.carried_in,
    "mission, target": lambda text: mission.target_in("go to the red ball", text),
    "mission, named": lambda text: mission.target_in(text, "You see a red ball 1 step forward"),
    "mission, situation": lambda text: mission.situation_of(at(text), ACTIONS),
    "alfworld goal": read_goal,
    "alfworld scene": heard,
    "alfworld situation": lambda text: alfworld_situation(at(text), ACTIONS).lead(),
    "structure": structural,
    "indicators": indicator_counts,
    "words": word_count,
    "quantities": numbers,
    "quantities left": lambda text: remaining_quantities(text, text),
    "words left": lambda text: remaining_words(text, "a"),
    "distance": lambda text: goal_distance(at(text)),
    "share unused": lambda text: unused(answered(text).evidence, "3 and 4"),
    "complexity of a state": lambda text: observe(at(text)),
    "complexity of a goal": lambda text: observe(told_to(text)),
    "complexity of an answer": lambda text: observe(answered(text)),
}
"""Every parser of texts that others wrote, by what it reads."""

UNITS = (
    *(" ", "\n", "\t", " \n", "\r\n", "a", "A", "1", "-", "#", "*", "_", "(", ")", "[", "{", "}"),
    *("<", "`", "~", "'", '"', "\\", "|", ".", ",", "$", "=", ":", "\u00a0", "\u2028", "\u0301"),
    *("\ud800", "```\n", "```python\n", "```js\n```\n```\n", "~~~\n", "x```\n", "```json\n{"),
    *("<code>", "'''", '"""', "#### ", "#### 1 ", "#### 1*2 or ", "answer is ", "answer\n"),
    *("\\boxed{", "\\frac{1}{", "\\text{", "1+", "1=", "1 = 1 ", "1,", "1 234 ", "1/", "1:"),
    *("1.5.", "1e9", "0x1", "1 hundred ", "2**9", "<<", "<<1", "<<1+1=", ">>", "= 3 ", "3 * 4 = "),
    *("- 1) 2. ", "1. a\n", "1) ", "expect", "expect : ", " \n1.", "Logic", "Logic : ", "\nLogic "),
    *("Action:", "Action 1 ", "finish[", "Action: finish[", "query", "query : ", "Plan: 1. "),
    *(" 2. ", " with ", " with a: ", ", and ", "a[b]", "[SEP]", "Price: $1", "You see a "),
    *("You see a red ball ", " step forward", "put the red ball next to ", "go to a ", "desk 1 "),
    *("On the desk 1, you see ", "a desk 1, ", "You arrive at desk 1.", "if ", "of the ", "Bob "),
    *('{"init": [', '"a", ', "?x ", "['1',", "it's ", "e1", "ing", "sses", "aeiou", "y"),
    *("As initial conditions I have that, ", "the red block is clear, ", "(define (problem p) "),
    *("My goal is to have that ", "(:action a :effect ", "(stack a b) ", "()", ";", "= 24"),
    *("\U0001f600", "Looking quickly around you, you see ", "x = [", "f(", "lambda:"),
)
STARTS = (
    *("", "1. ", "Action: ", "query:", "answer is", "#### ", "<<", "```python\n", "Plan: 1. "),
    *("Logic", "You see a "),
)
ENDS = ("", ".", "!", ">>", "]", "```", "x", "\n", "=", " step forward")

BOUND = 1.0
"""Seconds of processor time; what is quadratic needs many times that."""


def seconds_of(parse: Parser, text: str) -> float:
    begun = time.process_time()
    parse(text)
    return time.process_time() - begun


@pytest.mark.parametrize("name", PARSERS)
def test_time_grows_with_the_length_and_no_faster(name: str, thorough: bool) -> None:
    size = 90_000 if thorough else 12_000
    rng = random.Random(name)
    for unit in UNITS if thorough else rng.sample(UNITS, 40):
        start, end = rng.choice(STARTS), rng.choice(ENDS)
        text = start + unit * (size // len(unit)) + end
        spent = seconds_of(PARSERS[name], text)
        assert spent < (4 * BOUND if thorough else BOUND), (start, unit, end, spent)


texts = st.text() | st.lists(st.sampled_from(UNITS + STARTS + ENDS), max_size=12).map("".join)


@pytest.mark.parametrize("name", PARSERS)
def test_no_text_makes_a_parser_raise(name: str, thorough: bool) -> None:
    @settings(max_examples=2_000 if thorough else 40, database=None)
    @given(texts)
    def reads(text: str) -> None:
        PARSERS[name](text)

    reads()


FIELDS = (
    "init",
    "goal",
    "actions",
    "schemas",
    "objects",
    "name",
    "parameters",
    "cost",
    "add",
    "?x",
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(UNITS),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_a_problem_or_refused_in_words(value: object) -> None:
    try:
        read_problem(value)
    except AmpError as problem:
        assert "\n" not in str(problem)


@pytest.mark.parametrize("depth", [100, 5_000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"init":', "(", "-", "{'a':", "lambda:", "f(", "not "])
def test_deep_nesting_is_read_or_refused(opening: str, depth: int) -> None:
    text = opening * depth
    for name in ("program", "expression", "symbolic planner", "symbolic planner, fenced"):
        for whole in (text, f"```python\nanswer = {text}1\n```", f"{text}1"):
            PARSERS[name](whole)


def test_of_a_long_answer_a_stated_part_is_read() -> None:
    much = "word " * LONGEST_ANSWER
    assert find_program(f"```python\nanswer = 84\n```\n{much}") == "answer = 84"
    assert find_program(f"{much}\n```python\nanswer = 84\n```") is None
    assert read_answer(f"{much}\n#### 84") == "84"
    assert read_answer(f"#### 84\n{much}") is None


@pytest.mark.parametrize("text", ["1 + 1 = {}", "<<1+1={}>>", "{} + 1 = 2", "#### {}", "<<{}=2>>"])
@pytest.mark.parametrize("digits", [400, 5_000, 90_000])
def test_a_number_of_any_length_is_read_or_passed_over(text: str, digits: int) -> None:
    for name in ("equations", "calculator", "gsm8k answer", "gsm8k number", "share unused"):
        PARSERS[name](text.format("9" * digits))
