"""Verification (spec 2.3, v): by rules, by exact checks, by asking the model, and by criticism.

What remains is selected by `amp.votes`. An exact check tells by computing, instead of by a gold
answer, whether an answer is right. It reads the question and the answer, calls no model, costs no
dollars, and usually takes less than a millisecond. `check_plan` carries a plan out, `check_24`
computes an expression. Both read untrusted text: they never raise, and take time in proportion to
its length.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Protocol, TypeAlias

from amp.errors import InvalidInputError, LimitReachedError, did_you_mean
from amp.execute.base import Prompts
from amp.execute.choice_step import ask
from amp.execute.meter import Meter
from amp.execute.tools.calculator import wrong_equation
from amp.execute.tools.strips import (
    Domain,
    Instance,
    follow,
    load_domain,
    read_domain,
    read_instance,
)
from amp.types import Candidate, StepContext
from amp.votes import vote

Check: TypeAlias = Callable[[str, str], bool | None]
"""Says of a question and an answer whether it is right; None where that can't be told.

It can't be told where the question is none of the check's kind or is cut off, and where the answer
isn't in the form that the check reads.
"""


def load_check(name: str) -> Check:
    """Returns one of `CHECKS`.

    Raises:
        InvalidInputError: if there is none of that name; the message names the nearest and all.
    """
    if name not in CHECKS:
        near = did_you_mean(name, tuple(CHECKS))
        raise InvalidInputError(f"unknown check {name!r}{near} (checks: {', '.join(CHECKS)})")
    return CHECKS[name]


def check_plan(question: str, answer: str) -> bool | None:
    """Carries a plan out: whether each action can be done in turn and the goal holds at the end.

    Args:
        question: a problem in PDDL with its domain, or a statement in the words of PlanBench
            (Valmeekam et al. 2023, "PlanBench") for Blocksworld, its two disguises, or Logistics.
        answer: a plan in PDDL's form, ``(unstack b a) (put-down b)``. The statement's things have
            the names that PlanBench gives them: ``a`` is the red block, ``l0-1`` is location_0_1.
            Words between its actions could be a part of it, so such a plan can't be told.
    """
    problem, plan = _problem(question), _plan(answer)
    if problem is None or plan is None:
        return None
    domain, instance = problem
    actions = []
    for name, *objects in plan:
        schema = domain.get(name) if instance.objects.issuperset(objects) else None
        action = None if schema is None else schema.on(objects)
        if action is None:
            return False
        actions.append(action)
    end = follow(instance.init, actions)
    return end is not None and instance.goal <= end


_CALL = re.compile(r"\(([^()]*)\)")
_COMMENT = re.compile(r";[^\n]*")
_MORE = re.compile(r"[\w()]")


def _plan(answer: str) -> list[list[str]] | None:
    """The actions, each a name and its objects; None where the answer holds anything else."""
    text = _COMMENT.sub("", answer).lower()
    calls = [call.split() for call in _CALL.findall(text)]
    return calls if calls and all(calls) and not _MORE.search(_CALL.sub(" ", text)) else None


def _problem(question: str) -> tuple[Domain, Instance] | None:
    if "(define" not in question.lower():
        return _statement(question)
    try:
        return read_domain(question), read_instance(question)
    except InvalidInputError:
        return None


_INIT = "As initial conditions I have that"
_STATEMENT = re.compile(
    rf"{_INIT},? (?P<init>[^.]*)\.\s+My goal is to have that (?P<goal>[^.]*)\."
    r"(?:\s+My plan is as follows:)?(?:\s+\[PLAN\])?\s*"
)
_BETWEEN = re.compile(r", and |, | and ")
_COLOURS = (
    *("red", "blue", "orange", "yellow", "white", "magenta"),
    *("black", "cyan", "green", "violet", "silver", "gold"),
)
_LETTERS = dict(zip(_COLOURS, "abcdefghijkl", strict=True))
"""The blocks' names in plans by their colours in statements."""
_PHRASES: Mapping[str, Mapping[str, str]] = {
    "blocksworld": {
        "the hand is empty": "handempty",
        "the hand is currently holding {x} block": "holding {x}",
        "the {x} block is clear": "clear {x}",
        "the {x} block is on the table": "ontable {x}",
        "the {x} block is on top of the {y} block": "on {x} {y}",
    },
    "mystery_blocksworld": {
        "harmony": "harmony",
        "pain object {x}": "pain {x}",
        "province object {x}": "province {x}",
        "planet object {x}": "planet {x}",
        "object {x} craves object {y}": "craves {x} {y}",
    },
    "obfuscated_blocksworld": {
        "cql4o62p1yeke3ok": "cql4o62p1yeke3ok",
        "a46zhwykn6jvbabk object_{x}": "a46zhwykn6jvbabk o{x}",
        "tv30k33pzoulql6w object_{x}": "tv30k33pzoulql6w o{x}",
        "af9tse23ljclsqad object_{x}": "af9tse23ljclsqad o{x}",
        "b6e9q4r60gagvdcn object_{x} object_{y}": "b6e9q4r60gagvdcn o{x} o{y}",
    },
    "logistics": {
        "location_{x}_{y} is an airport": "airport l{x}-{y}, location l{x}-{y}",
        "location_{x}_{y} is in the city city_{z}": (
            "in-city l{x}-{y} c{z}, location l{x}-{y}, city c{z}"
        ),
        "package_{z} is at location_{x}_{y}": "at p{z} l{x}-{y}, package p{z}, location l{x}-{y}",
        "truck_{z} is at location_{x}_{y}": "at t{z} l{x}-{y}, truck t{z}, location l{x}-{y}",
        "airplane_{z} is at location_{x}_{y}": "at a{z} l{x}-{y}, airplane a{z}, location l{x}-{y}",
        "package_{x} is in truck_{z}": "in p{x} t{z}, package p{x}, truck t{z}",
        "package_{x} is in airplane_{z}": "in p{x} a{z}, package p{x}, airplane a{z}",
    },
}
"""For each domain, how its statements say what, and the facts that this is in PDDL."""


def _statement(question: str) -> tuple[Domain, Instance] | None:
    """The problem of the statement that ends a question; an example's may stand before."""
    parts = _STATEMENT.fullmatch(question, max(0, question.rfind(_INIT)))
    if parts is None:
        return None
    for name in _PHRASES:
        init, goal = _facts(parts["init"], name), _facts(parts["goal"], name)
        if init is not None and goal is not None:
            objects = frozenset(word for fact in init for word in fact.split()[1:])
            return load_domain(name), Instance(objects, init, goal)
    return None


def _facts(said: str, domain: str) -> frozenset[str] | None:
    """The facts of a list in words; None if one of them is not of the domain."""
    facts: list[str] = []
    for part in _BETWEEN.split(" ".join(said.lower().split())):
        for phrase, meaning in _patterns(domain):
            if found := phrase.fullmatch(part):
                facts += meaning.format_map(found.groupdict()).split(", ")
                break
        else:
            return None
    return frozenset(" ".join(_LETTERS.get(word, word) for word in fact.split()) for fact in facts)


@cache
def _patterns(domain: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    name = "|".join(_COLOURS) if domain == "blocksworld" else r"[^\W_]+"
    groups = {key: f"(?P<{key}>{name})" for key in "xyz"}
    return tuple(
        (re.compile(phrase.format_map(groups)), meaning)
        for phrase, meaning in _PHRASES[domain].items()
    )


def check_game24(question: str, answer: str) -> bool | None:
    """`check_24` of a question that is four numbers, such as ``4 9 10 13``."""
    numbers = _FOUR.fullmatch(question)
    return None if numbers is None else check_24([int(n) for n in numbers.groups()], answer)


def check_24(numbers: Sequence[int], answer: str) -> bool | None:
    """Computes an expression: whether it has each number once and nothing else, and is exactly 24.

    Args:
        numbers: natural ones.
        answer: numbers, ``+ - * /`` and parentheses; what stands before ``Answer:`` and a final
            ``= 24`` are left.
    """
    text = answer.rpartition("Answer:")[2].strip()
    if stated := _IS_24.search(text):
        text = text[: stated.start()]
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != "".join(text.split()):
        return None
    used = [token for token in tokens if token[0].isdigit()]
    if used and sorted(used) != sorted(map(str, numbers)):
        return False
    try:
        return _value(tokens) == 24
    except ZeroDivisionError:
        return False
    except ValueError:
        return None


_FOUR = re.compile(r"\s*(?:Input:\s*)?" + r"[\s,]+".join([r"(\d{1,6})"] * 4) + r"\s*", re.ASCII)
_IS_24 = re.compile(r"=\s*24\Z", re.ASCII)
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[-+*/()]", re.ASCII)
_OPERATORS: Mapping[str, tuple[int, Callable[[Fraction, Fraction], Fraction]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
}
"""How strongly each binds, and what it does."""


def _value(tokens: Sequence[str]) -> Fraction:
    """The value of an expression, by Dijkstra's two stacks: nesting costs no recursion.

    Raises:
        ValueError: if it is none.
        ZeroDivisionError: if it divides by zero.
    """
    values: list[Fraction] = []
    waiting: list[str] = []  # operators and opening parentheses

    def compute(binding: int) -> None:
        """Does what waits since the last parenthesis and binds as strongly."""
        while waiting and waiting[-1] != "(" and _OPERATORS[waiting[-1]][0] >= binding:
            right, left = values.pop(), values.pop()
            values.append(_OPERATORS[waiting.pop()][1](left, right))

    complete = False  # whether what was read could end here
    for token in tokens:
        if token in _OPERATORS and complete:
            compute(_OPERATORS[token][0])
            waiting.append(token)
            complete = False
        elif token == "(" and not complete:
            waiting.append(token)
        elif token == ")" and complete:
            compute(0)
            if not waiting:
                raise ValueError("a parenthesis too many")
            waiting.pop()
        elif token[0].isdigit() and not complete:
            values.append(Fraction(token))
            complete = True
        else:
            raise ValueError(f"{token} has no place here")
    if complete:
        compute(0)
    if waiting or not complete:
        raise ValueError("the expression is cut off")
    return values[0]


CHECKS: Mapping[str, Check] = {"plan": check_plan, "24": check_game24}
"""The checks by their names."""


_MAX_SELF_CHECKS = 3
_YES_AND_NO = ("yes", "no")


def broken_rule(candidate: Candidate, actions: tuple[str, ...] | None) -> str | None:
    """Level 1: the first rule that a candidate breaks, in words, or None. Costs no token.

    The rules: it names an action; the action is admissible where actions are listed; no tool failed
    on it; it was not cut off; the arithmetic that it states holds.
    """
    if candidate.action is None:
        return candidate.failure or "no action"
    if actions is not None and candidate.action not in actions:
        return f"{candidate.action!r} is not admissible"
    for use in candidate.tool_uses:
        if use.error is not None:
            return f"{use.tool}: {use.error}"
    if actions is None and candidate.cut_off:
        return "cut off"
    return wrong_equation(candidate.text)


Rules = Callable[[Sequence[Candidate]], tuple[Candidate, ...]]
"""Returns the candidates with `broken_rule` filled in."""


def rules_of(context: StepContext, actions: tuple[str, ...] | None, check: Check | None) -> Rules:
    """The rules of a step: those of `broken_rule`, and an exact check of the action if any."""

    def broken(candidate: Candidate) -> str | None:
        rule = broken_rule(candidate, actions)
        if rule is None and check and check(context.task.goal, candidate.action or "") is False:
            return "the exact check says that it is wrong"
        return rule

    return lambda candidates: tuple(replace(c, broken_rule=broken(c)) for c in candidates)


async def self_check(
    candidates: Sequence[Candidate], context: StepContext, prompts: Prompts, meter: Meter
) -> tuple[Candidate, ...]:
    """Level 2: returns the candidates with `p_correct`, the model's probability of "yes".

    Each of the most frequent distinct actions is asked about once, through its first candidate.
    What the limits no longer allow is left out, and the meter's notes say so.
    """
    counts = Counter(c.action for c in candidates if c.valid and c.action is not None)
    checked: dict[str, float] = {}
    for action, _ in counts.most_common(_MAX_SELF_CHECKS):
        first = next(c for c in candidates if c.valid and c.action == action)
        try:
            answer = await ask(meter, prompts.check(context, first), _YES_AND_NO)
        except LimitReachedError:
            meter.notes.append("self-check left out to stay within the limits")
            break
        if answer is not None:
            checked[action] = answer[0]
    return tuple(
        replace(c, p_correct=checked[c.action]) if c.valid and c.action in checked else c
        for c in candidates
    )


class Retry(Protocol):
    """A step that can be tried once more."""

    async def retry(self, candidate: Candidate, critique: str) -> Candidate: ...


async def refine(
    candidates: Sequence[Candidate],
    context: StepContext,
    rules: Rules,
    step: Retry,
    prompts: Prompts,
    meter: Meter,
) -> tuple[Candidate, ...]:
    """Level 3 (VerifyAndRefine of spec 3.1): a critique, then one new attempt; the better is kept.

    It is the leading candidate that is criticised. If the new attempt is better, whatever stood for
    the leading action stands for the new one, which `Candidate.refined_from` says. What the limits
    no longer allow is left out, and the meter's notes say so.
    """
    leader = vote(candidates) or next(iter(candidates), None)
    if leader is None:
        return ()
    try:
        answer = (await meter.generate(prompts.critique(context, leader)))[0]
        critique = answer.text.strip()
        attempts = rules([await step.retry(leader, critique)])
        attempt = (await self_check(attempts, context, prompts, meter))[0]
    except LimitReachedError:
        meter.notes.append("refinement left out to stay within the limits")
        return tuple(candidates)
    better = is_better(attempt, leader)
    refined = []
    for candidate in candidates:
        if candidate is leader:
            criticised = replace(candidate, critique=critique, attempt=attempt)
            refined.append(_refined(criticised, attempt) if better else criticised)
        elif better and candidate.action == leader.action:
            refined.append(_refined(candidate, attempt))
        else:
            refined.append(candidate)
    return tuple(refined)


def is_better(attempt: Candidate, first: Candidate) -> bool:
    """Whether a new attempt replaces the first answer.

    What the rules accept is never replaced by what they reject. Between two that they accept the
    higher probability of "yes" decides, and without one the first answer stays.
    """
    if not attempt.valid or not first.valid:
        return attempt.valid
    if attempt.p_correct is None or first.p_correct is None:
        return False
    return attempt.p_correct > first.p_correct


def _refined(candidate: Candidate, attempt: Candidate) -> Candidate:
    """The candidate standing for the attempt's action; its own text and figures stay."""
    return replace(
        candidate,
        action=attempt.action,
        refined_from=candidate.action,
        broken_rule=None,
        p_correct=attempt.p_correct,
        failure=None,
    )
