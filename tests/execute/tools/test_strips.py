"""Laws of the search: plans work, unsolvable problems are known, cheapest plans are cheapest."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.execute.tools.strips import Action, Problem, SearchLimitError, solve

FACTS = "abcdef"
facts = st.frozensets(st.sampled_from(FACTS), max_size=3)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    actions = draw(st.lists(st.tuples(facts, facts, facts, st.integers(1, 4)), max_size=8))
    return Problem(
        draw(facts),
        draw(facts),
        tuple(Action(f"do {number}", *sets) for number, sets in enumerate(actions)),
    )


def min_cost(problem: Problem) -> int | None:
    """By relaxing the cost of every reachable state until nothing changes; None: no plan."""
    costs = {problem.init: 0}
    changed = True
    while changed:
        changed = False
        for state, cost in list(costs.items()):
            for action in problem.actions:
                after = action.after(state)
                if after is not None and cost + action.cost < costs.get(after, 10**9):
                    costs[after] = cost + action.cost
                    changed = True
    return min((cost for state, cost in costs.items() if problem.goal <= state), default=None)


def carried_out(problem: Problem, plan: tuple[Action, ...]) -> frozenset[str]:
    state = problem.init
    for action in plan:
        after = action.after(state)
        assert after is not None, f"{action.name} can't be done in {sorted(state)}"
        state = after
    return state


def total(plan: tuple[Action, ...]) -> int:
    return sum(action.cost for action in plan)


@settings(max_examples=200)
@given(problems(), st.booleans())
def test_a_plan_can_be_carried_out_and_reaches_the_goal(problem: Problem, cheapest: bool) -> None:
    plan = solve(problem, cheapest=cheapest)
    assert (plan is None) == (min_cost(problem) is None)
    if plan is not None:
        assert problem.goal <= carried_out(problem, plan)


@settings(max_examples=200)
@given(problems())
def test_on_demand_no_plan_is_cheaper(problem: Problem) -> None:
    plan = solve(problem, cheapest=True)
    assert (None if plan is None else total(plan)) == min_cost(problem)


@given(problems(), st.booleans())
def test_the_same_problem_gives_the_same_plan(problem: Problem, cheapest: bool) -> None:
    again = Problem(frozenset(sorted(problem.init, reverse=True)), problem.goal, problem.actions)
    assert solve(problem, cheapest=cheapest) == solve(again, cheapest=cheapest)


@given(problems(), st.integers(0, 4))
def test_a_search_expands_no_more_states_than_it_may(problem: Problem, max_states: int) -> None:
    # Every action of a plan leaves a state that was expanded.
    try:
        plan = solve(problem, cheapest=True, max_states=max_states)
    except SearchLimitError:
        # Enough states for all that can be told apart by six facts.
        solve(problem, cheapest=True, max_states=2 ** len(FACTS))
    else:
        assert plan is None or len(plan) <= max_states


def lamps(number: int) -> Problem:
    """A switch for each lamp; with one lamp that has none, every subset is searched."""
    actions = tuple(
        Action(f"light {n}", frozenset({f"dark {n}"}), frozenset({f"lit {n}"}))
        for n in range(number)
    )
    stuck = Action("fuse", frozenset({"lit 0", "dark 0"}), frozenset({"x"}), frozenset({"y"}))
    mend = Action("mend", frozenset({"x", "y"}), frozenset({"mended"}))
    init = frozenset({f"dark {n}" for n in range(number)} | {"y"})
    return Problem(init, frozenset({"mended"}), (*actions, stuck, mend))


@pytest.mark.parametrize("cheapest", [False, True])
def test_what_only_a_full_search_can_refute_is_refuted(cheapest: bool) -> None:
    assert solve(lamps(4), cheapest=cheapest) is None


@pytest.mark.parametrize("cheapest", [False, True])
def test_both_limits_end_a_search(cheapest: bool) -> None:
    with pytest.raises(SearchLimitError, match="no plan found within 100 states"):
        solve(lamps(16), cheapest=cheapest, max_states=100)
    started = time.process_time()
    with pytest.raises(SearchLimitError, match=r"no plan found within 0.2 seconds"):
        solve(lamps(40), cheapest=cheapest, max_states=10**9, seconds=0.2)
    assert time.process_time() - started < 2


def test_a_long_chain_heeds_the_time_even_before_its_first_state() -> None:
    chain = tuple(
        Action(f"step {n}", frozenset({f"at {n}"}), frozenset({f"at {n + 1}"}))
        for n in reversed(range(20_000))
    )
    started = time.process_time()
    with pytest.raises(SearchLimitError):
        solve(Problem(frozenset({"at 0"}), frozenset({"at 20000"}), chain), seconds=0.2)
    assert time.process_time() - started < 3


def test_what_an_action_deletes_and_adds_holds_after_it() -> None:
    action = Action("renew", frozenset({"old"}), frozenset({"old", "new"}), frozenset({"old"}))
    assert action.after(frozenset({"old"})) == frozenset({"old", "new"})
    assert action.after(frozenset()) is None


@pytest.mark.parametrize("cheapest", [False, True])
def test_two_cheap_steps_are_better_than_a_dear_one(cheapest: bool) -> None:
    fly = Action("fly", add=frozenset({"there"}), cost=4)
    walk = Action("walk", add=frozenset({"half way"}))
    walk_on = Action("walk on", frozenset({"half way"}), frozenset({"there"}))
    problem = Problem(frozenset(), frozenset({"there"}), (fly, walk, walk_on))
    assert solve(problem, cheapest=cheapest) == (walk, walk_on)


def test_a_goal_that_holds_needs_no_action() -> None:
    assert solve(Problem(frozenset({"a"}), frozenset({"a"}), ())) == ()


def test_an_action_costs_something() -> None:
    with pytest.raises(InvalidInputError, match="action 'rest': cost is 0, expected 1 or more"):
        Action("rest", cost=0)
