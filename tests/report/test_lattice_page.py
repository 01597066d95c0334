"""The page of plans on a lattice: what every arm comes to, and where policy and oracle part."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.runs import EVIL, episode, step

from amp.report.lattice_page import ArmShown, PlanShown, StepShown, lattice_page

WORTHS = st.lists(st.floats(-1, 1), min_size=2, max_size=2)


def shown(asked: str | None, worths: list[float], text: str = "go") -> StepShown:
    """A step with two arms."""
    arms = [ArmShown(f"arm {n}", text, (text,), "goes on", 10.0, w) for n, w in enumerate(worths)]
    best = max(arms, key=lambda arm: arm.worth)
    oracle = best.name if best.worth >= 0 else None
    worth = {arm.name: arm.worth for arm in arms} | {None: 0.0}
    return StepShown(
        () if asked is None else (asked,),
        oracle,
        max(0.0, worth[oracle] - worth[asked]),
        tuple(arms),
        {"plan_left": 0.5},
    )


def plan(task: str, steps: list[StepShown], policy: str = "learned", text: str = "go") -> PlanShown:
    made = episode(task, True, 100)
    many = replace(made, steps=tuple(step(100, text) for _ in steps))
    return PlanShown(policy, many, made, tuple(steps))


@given(
    st.lists(st.tuples(st.sampled_from([None, "arm 0", "arm 1"]), WORTHS), min_size=1, max_size=5),
)
def test_steps_are_filtered_where_the_policy_does_as_well_as_the_oracle(
    steps: list[tuple[str | None, list[float]]],
) -> None:
    made = [shown(asked, worths) for asked, worths in steps]
    html = lattice_page("Plans", [plan("t0", made)], "tokens", 0.9)
    rows = re.findall(r'<li(?: class="same")?>', html)
    assert [row == "<li>" for row in rows] == [each.parts for each in made]
    assert f"{sum(each.parts for each in made)} of {len(made)} steps part" in html
    for each in made:
        if each.asked == (each.oracle,) or (not each.asked and each.oracle is None):
            assert not each.parts
    (same,) = re.findall(r'<details class="plan( same)?">', html)
    assert bool(same) == (not any(each.parts for each in made))


def test_where_several_arms_were_asked_the_first_decides() -> None:
    one = replace(shown("arm 0", [0.5, 0.1]), asked=("arm 0", "arm 1"), lost=None)
    assert not one.parts
    assert replace(one, asked=("arm 1", "arm 0")).parts


def test_tasks_on_which_most_is_lost_come_first_and_what_is_left_out_is_told() -> None:
    lost = {"t0": 0.1, "t1": 0.3, "t2": 0.0}
    plans = [plan(task, [shown("arm 0", [0.5, 0.5 + more])]) for task, more in lost.items()]
    html = lattice_page("Plans", plans, "tokens", 0.9)
    assert re.findall(r"<summary><b>(t\d)</b>", html) == ["t1", "t0", "t2"]
    assert "are left out" not in html
    less = lattice_page("Plans", plans, "tokens", 0.9, max_bytes=5_000)
    kept = re.findall(r"<summary><b>(t\d)</b>", less)
    assert kept == ["t1", "t0", "t2"][: len(kept)]
    assert f"For size {3 - len(kept)} tasks are left out" in less


def test_policies_of_a_task_stand_side_by_side_under_one_table() -> None:
    steps = [shown("arm 0", [0.5, 0.75]), shown(None, [0.25, 0.0])]
    html = lattice_page("Plans", [plan("t", steps), plan("t", steps[:1], "other")], "FLOPs", 0.9)
    assert html.count('<details class="plan">') == 1
    assert html.count('<section class="episode">') == 2
    cells = re.findall(r"<td data-head=.*?>(.*?)</td>", html[: html.index("<h2>")])
    assert cells == ["learned", "1 of 1", "1 of 1", "2 of 2", "0.5000",
                     "other", "1 of 1", "1 of 1", "1 of 1", "0.2500"]  # fmt: skip
    assert "the oracle: arm 1, worth 0.2500 more" in html
    assert "by give up; <span" in html


@pytest.mark.parametrize("part", ["policy", "task", "text"])
def test_texts_of_others_are_never_markup(part: str) -> None:
    texts = {"policy": "p", "task": "t", "text": "go"} | {part: EVIL}
    one = plan(texts["task"], [shown("arm 0", [0.5, 0.75], texts["text"])], texts["policy"],
               texts["text"])  # fmt: skip
    html = lattice_page("Plans", [one], "tokens", 0.9)
    assert "<img" not in html
    assert "<script" not in html
    assert "script-src 'none'" in html
    assert "&lt;img src=x" in html
