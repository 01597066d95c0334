"""Tables in a narrow terminal: headers and names stay whole, and no word is broken into letters."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import RenderableType

from amp import cli
from amp.cli import render
from amp.cli.terminal import new_console
from amp.models.catalog import MODELS
from amp.report.metrics import summarise
from amp.types import (
    Allocation,
    Candidate,
    Complexity,
    Episode,
    Observation,
    Round,
    StepRecord,
    Task,
    Usage,
)
from amp.votes import posterior

TASK = "BabyAI-PutNextLocalS6N4-v0/seed-41"
ACTION = "go to the grey ball 1 step behind you " * 20
TOOLS = frozenset({"path_finder", "larger_model"})


def a_step() -> StepRecord:
    complexity = Complexity(0.5, {}, ())
    allocation = Allocation(16, 0.75, 0.95, 16, TOOLS, 3)
    executed = Round(complexity, allocation, 0.0, (Candidate("", ACTION),), Usage(), ())
    usage = Usage(prompt_tokens=1_234_567, seconds=1234.5)
    return StepRecord(Observation(""), (executed,), complexity, ACTION, usage)


def drawn(*views: RenderableType, width: int = 80) -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COLUMNS", str(width))
        console = new_console()
        console.file = io.StringIO()
        console.print(*views)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


@pytest.mark.parametrize("of_tasks", [False, True])
def test_steps_fit_into_80_columns_and_words_stay_whole(of_tasks: bool) -> None:
    table = render.step_table(of_tasks=of_tasks)
    render.add_step(table, 1, a_step(), TASK if of_tasks else None)
    text = drawn(table)
    words = set(text.split())
    assert words >= {"step", "complexity", "before", "tokens", "seconds", "action", *TOOLS}
    assert words >= {"d16", "t0.75", "p0.95", "b16", "v3", "1,234,567", "1234.5"}
    assert ("v0/seed-41" in text) is of_tasks
    assert len(text.splitlines()) < 14


def test_a_trace_says_how_probably_each_candidate_and_the_chosen_answer_are_right() -> None:
    made = tuple(Candidate("", action, p_right=p) for action, p in (("5", 0.8), ("6", 0.35)))
    executed = replace(a_step().rounds[0], candidates=made)
    step = replace(a_step(), rounds=(executed,), action="5")
    episode = Episode(Task("t", "goal"), (step,), True, 1.0, Usage(), "done")
    shown = drawn(render.episode_view(episode, full=True))
    assert "-> 5  P(right) 0.80" in shown
    assert "-> 6  P(right) 0.35" in shown
    assert f"P(right) {posterior(made).leader:.2f}" in shown.partition("->")[0]
    assert "P(right)" not in drawn(render.episode_view(replace(episode, steps=(a_step(),)), True))


def test_each_round_begins_a_row_and_the_last_one_says_what_was_done() -> None:
    step = a_step()
    second = replace(step.rounds[0], allocation=Allocation(7, tools=TOOLS))
    table = render.step_table(of_tasks=True)
    render.add_step(table, 1, replace(step, rounds=(*step.rounds, second)), TASK)
    bars = [line for line in drawn(table).splitlines() if "░ 0.50 " in line]
    assert "v0/seed-41" in bars[0]
    assert " d16 " in bars[0]
    assert "1,234,567" not in bars[0]
    assert " d7 " in bars[1]
    assert "1,234,567" in bars[1]
    assert len(bars) == 2


def test_a_long_name_of_a_run_is_cut_at_its_beginning_and_no_header_is() -> None:
    episode = Episode(Task(TASK, ""), (a_step(),), True, 1.0, Usage(prompt_tokens=12_345), "done")
    row = f"{'runs/of-last-week/' * 6}heuristic", summarise([episode])
    text = drawn(render.summary_table([row]))
    heads = " ".join(text.split("\n", maxsplit=1)[0].split())
    assert heads == "run success 95 % CI tokens written seconds cut off unread"
    assert "/heuristic" in text.splitlines()[1]
    assert row[0] in drawn(render.summary_table([row]), width=250)


def test_every_code_of_an_allocation_is_explained() -> None:
    code = render.allocation_text(replace(Allocation(), tools=TOOLS))
    legend = render.ALLOCATION_LEGEND.plain
    assert all(f"{part[0]} " in legend for part in code.split()[:5])


def test_models_have_whole_names_and_commands_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("AMP_MODELS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["amp", "models", "list"])
    cli.main()
    lines = capsys.readouterr().out.splitlines()
    for name in MODELS:
        assert f"amp models pull {name}" in lines
        assert any(line.startswith(f"{name} ") for line in lines)
    assert max(map(len, lines)) <= 80
