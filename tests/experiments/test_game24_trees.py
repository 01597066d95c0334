"""A recorded tree gives back what was recorded, and answers for searches that ask for less."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments.game24_search import RECORDED, Rule, Thought, Tree, beam, explore
from experiments.game24_trees import read_trees, usage_told
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.files import DATA
from tests.fakes.pools import write_rows
from tests.fakes.trees import ANSWERS, VALUES, puzzles, tot

from amp.errors import InvalidInputError
from amp.execute.checks import check_game24
from amp.pools import Pool, read_pool
from amp.pools.pool import PoolArm, PoolTask

seeds = st.integers(0, 10_000)
# Made-up sums can leave it open which of two thoughts a line is from, in one of hundreds of seeds.
few = settings(max_examples=20, derandomize=True)
rules = st.builds(
    Rule,
    width=st.integers(1, 5),
    follow=st.integers(1, 5),
    sure=st.sampled_from((20.0, 60.0, math.inf)),
    floor=st.sampled_from((0.0, 0.5, 2.0)),
)


def pool_of(*records: Any) -> Pool:
    """A pool of nothing but trees."""
    tasks = [
        PoolTask(f"t{index}", "", f"t{index}", "1 2 3 4", extra={} if one is None else {"tot": one})
        for index, one in enumerate(records)
    ]
    none = np.zeros((len(records), 1, 1))
    return Pool(
        name="made",
        tasks=tuple(tasks),
        arms=(PoolArm.of("m"),),
        answers=((),) * len(records),
        answer=none.astype(np.intp),
        there=none.astype(np.bool_),
        right=none.astype(np.bool_),
        prompt_tokens=none,
        completion_tokens=none,
        dollars=none,
        log_prob=none,
        estimated=np.zeros(1, np.bool_),
    )


def tree_of(seed: int) -> Tree:
    return read_trees(pool_of(tot(seed)[0]))[0]


@few
@given(seeds)
def test_the_recorded_beam_gives_the_recorded_result_at_the_recorded_cost(seed: int) -> None:
    record, _ = tot(seed)
    last = record["steps"][-1]
    solved = any(check_game24("1 2 3 4", last["new"][index]) is True for index in last["kept"])
    found = beam(tree_of(seed))
    assert found.solved == solved
    assert found.tokens == pytest.approx(sum(record["usage"].values()))


@few
@given(seeds)
def test_lines_go_on_from_the_thoughts_that_they_were_proposed_for(seed: int) -> None:
    record, parents = tot(seed)
    thoughts = [tree_of(seed).root]
    for step, of in zip(record["steps"], parents, strict=True):
        lines = [line for line, parent in zip(step["new"], of, strict=True)]
        found = [(child.text, rank) for rank, one in enumerate(thoughts) for child in one.children]
        lefts = [one.left for one in thoughts]
        # Thoughts that leave the same can't be told apart where they stand side by side.
        assert [(line, lefts[rank]) for line, rank in found] == [
            (line, lefts[parent]) for line, parent in zip(lines, of, strict=True)
        ]
        children = [child for one in thoughts for child in one.children]
        thoughts = [children[index] for index in step["kept"]]


@few
@given(seeds, st.integers(0, 2), st.integers(1, 4))
def test_a_narrower_beam_costs_no_more(seed: int, step: int, width: int) -> None:
    tree = tree_of(seed)
    narrow = [*RECORDED[:step], width, *RECORDED[step + 1 : step + 2]]
    assert beam(tree, narrow).tokens <= beam(tree, RECORDED[: step + 2]).tokens + 1e-9


@few
@given(seeds, rules)
def test_lazy_search_finds_only_what_was_recorded(seed: int, rule: Rule) -> None:
    record, _ = tot(seed)
    anywhere = any(check_game24("1 2 3 4", line) for line in record["steps"][-1]["new"])
    steps = explore(tree_of(seed), rule).steps
    assert anywhere or not steps[-1].solved
    assert not any(step.solved for step in steps[:-1])
    assert len(steps) <= 1 + rule.width


@few
@given(seeds)
def test_lazy_search_of_everything_solves_what_the_beam_solved(seed: int) -> None:
    tree = tree_of(seed)
    everything = Rule(follow=1000, floor=0.0, sure=math.inf)
    assert explore(tree, everything).steps[-1].solved >= beam(tree).solved


@few
@given(seeds, rules, st.integers(0, 4), st.sampled_from(VALUES))
def test_no_value_is_used_before_its_step(seed: int, rule: Rule, at: int, value: float) -> None:
    tree = tree_of(seed)
    order = explore(tree, replace(rule, width=5)).values
    firsts = sorted(tree.root.children, key=lambda thought: -thought.value)
    if at >= len(order):
        return
    other = replace(
        tree, root=_with(tree.root, firsts[at], lambda child: replace(child, value=value))
    )
    before, after = explore(tree, rule), explore(other, rule)
    assert after.values == before.values
    assert after.steps[: at + 1] == before.steps[: at + 1]


def _with(root: Thought, first: Thought, change: Callable[[Thought], Thought]) -> Thought:
    """The tree in which the thoughts that follow one of the first are changed."""
    return replace(
        root,
        children=tuple(
            replace(one, children=tuple(map(change, one.children))) if one is first else one
            for one in root.children
        ),
    )


def test_a_thought_that_the_record_did_not_go_on_from_costs_the_mean_and_leads_nowhere() -> None:
    tree = next(
        tree
        for tree in map(tree_of, range(100))
        if len(tree.root.children) == 6 and min(one.value for one in tree.root.children) == 0.0
    )
    (left_out,) = (one for one in tree.root.children if one.ask is None)
    alone = replace(tree, root=replace(tree.root, children=(left_out,)))
    proposed, tried = explore(alone, Rule(floor=0.0)).steps
    assert tree.root.ask is not None
    assert proposed.tokens == pytest.approx(tree.root.ask + left_out.judge)
    assert tried.tokens == pytest.approx(tree.asked[1])
    assert not tried.solved


def test_values_of_earlier_puzzles_are_free_as_they_were() -> None:
    record, _ = tot(3)
    first, second = read_trees(pool_of(record, record))
    alone = read_trees(pool_of(record, record), shared=False)[1]
    assert beam(second).tokens == pytest.approx(beam(first).tokens)  # usage was recorded for each
    assert all(
        one.judge == 0.0 < other.judge
        for one, other in zip(second.root.children, alone.root.children, strict=True)
    )
    assert beam(alone).tokens > beam(second).tokens


def changed(*path: Any, to: Any) -> Any:
    record: Any = tot(1)[0]
    inner = record
    for part in path[:-1]:
        inner = inner[part]
    if to is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return record


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (None, "tot is missing, expected an object"),
        ([1], "tot is [1], expected an object"),
        (changed("usage", to=None), "tot.usage is missing"),
        (
            changed("usage", "prompt_tokens", to=-1),
            "tot.usage.prompt_tokens is -1, expected a number from 0",
        ),
        (changed("steps", to=[]), "tot.steps is 0 long, expected a list of 4"),
        (changed("steps", 1, to=7), "tot.steps[1] is 7, expected an object"),
        (changed("steps", 1, "new", to=None), "tot.steps[1].new is missing, expected a list"),
        (
            changed("steps", 1, "values", to=None),
            "tot.steps[1].values is missing, expected a list of",
        ),
        (
            changed("steps", 1, "values", to=[1.0]),
            "tot.steps[1].values is 1 long, expected a list of",
        ),
        (
            changed("steps", 1, "values", 0, to="sure"),
            'tot.steps[1].values[0] is "sure", expected a number',
        ),
        (
            changed("steps", 0, "kept", to=[99]),
            "tot.steps[0].kept has 99, expected different indices below",
        ),
        (
            changed("steps", 0, "kept", to=[0, 0]),
            "tot.steps[0].kept has 0, expected different indices",
        ),
        (
            changed("steps", 0, "kept", to=[-1]),
            "tot.steps[0].kept has -1, expected different indices",
        ),
    ],
)
def test_a_faulty_tree_is_one_line_that_names_task_and_field(record: Any, fault: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        read_trees(pool_of(tot(0)[0], record))
    said = str(error.value)
    assert said.startswith("pool made, task t1: ")
    assert fault in said
    assert "\n" not in said


def test_a_step_has_a_line_for_each_thought() -> None:
    record, _ = tot(1)
    step = record["steps"][1]
    step["new"], step["values"], step["kept"] = step["new"][:1], step["values"][:1], [0]
    with pytest.raises(
        InvalidInputError, match=r"tot.steps\[1\].new is 1 long, expected a line or more"
    ):
        read_trees(pool_of(record))


def test_trees_are_read_from_a_file(tmp_path: Path) -> None:
    pool = read_pool(write_rows(tmp_path, puzzles(3)), keep_good=True)
    assert [tree.puzzle in ANSWERS for tree in read_trees(pool)] == [True] * 3


@pytest.mark.data("pools/tot_game24")
def test_real_trees_give_back_their_record() -> None:
    pool = read_pool(DATA / "pools" / "tot_game24", keep_good=True)
    trees = read_trees(pool)
    arm = [one.name for one in pool.arms].index("gpt4-tot-b5")
    found = [beam(tree) for tree in trees]
    assert [one.solved for one in found] == (pool.right & pool.there)[:, arm].any(1).tolist()
    assert [one.tokens for one in found] == pytest.approx([tree.tokens for tree in trees])
    for tree, whole in zip(trees, found, strict=True):
        assert beam(tree, (3, 3, 3, 3)).tokens < whole.tokens
    told, usage = usage_told(pool)
    unexplained = ((told - usage) ** 2).sum(0) / ((usage - usage.mean(0)) ** 2).sum(0)
    assert (unexplained < 0.1).all()
