"""What is shown: nothing foreign steers a terminal or is taken for markup, JSON is JSON."""

from __future__ import annotations

import ast
import io
import json
import logging
import math
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Group
from rich.table import Table
from rich.text import Text

from amp import cli
from amp.cli import render
from amp.cli.terminal import new_console, prepare, progress, say, say_json, shown, shown_in_line
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

STEERS = "\x1b]52;c;QUJD\x07 \x1b[2J \x9b31m \u202e \u2028 \ud800 [/red] :smile: \r"

texts = st.text(st.characters(exclude_categories=()), max_size=60)


def steers(text: str) -> bool:
    bad = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return any(unicodedata.category(c) in bad and c not in "\n\t\u200c\u200d" for c in text)


@given(texts)
def test_what_is_shown_never_steers_and_what_does_not_steer_is_shown_as_it_is(text: str) -> None:
    assert not steers(shown(text))
    assert "\n" not in shown_in_line(text)
    assert shown(shown(text)) == shown(text)
    if not steers(text):
        assert shown(text) == text


@given(st.recursive(st.floats() | texts | st.integers(), st.lists))
@example("\ud800\udc00")
def test_json_is_one_line_that_reads_as_what_was_said(value: object) -> None:
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        say_json({"value": value})
        line = sys.stdout.getvalue()
    finally:
        sys.stdout = out

    def plain(one: object) -> object:
        if isinstance(one, list):
            return [plain(inner) for inner in one]
        if isinstance(one, str):  # two halves side by side are one character in JSON
            return one.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        return None if isinstance(one, float) and not math.isfinite(one) else one

    assert line.count("\n") == 1
    assert not steers(line)
    assert json.loads(line, parse_constant=pytest.fail) == {"value": plain(value)}


@given(texts)
def test_every_way_of_printing_on_a_console_shows_escapes_and_brackets(text: str) -> None:
    for printed in (text, Text(text), Group(text, Text(text)), cell(text), cell(Text(text))):
        console = new_console()
        console.file = io.StringIO()
        console.print(printed)
        assert not steers(console.file.getvalue())


def cell(content: str | Text) -> Table:
    table = Table(title="t", box=None)
    table.add_column("c")
    table.add_row(content)
    return table


def test_markup_and_emoji_of_others_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    new_console().print("[red]a[/blue] :smile:")
    say("[red]b[/blue]")
    console = new_console()
    console.file = io.StringIO()
    with progress(console=console) as bars:
        bars.add_task("[red]c[/blue]")
    assert "[red]c[/blue]" in console.file.getvalue()
    assert capsys.readouterr().out == "[red]a[/blue] :smile:\n[red]b[/blue]\n"


@given(cells=st.lists(st.text("ab ", min_size=1, max_size=200), min_size=1, max_size=4))
@example(cells=["a" * 200] * 3)
def test_tables_in_a_pipe_are_whole_in_one_line_a_row(cells: list[str]) -> None:
    for expand in (False, True):
        table = Table(*(str(place) for place in range(len(cells))), box=None, expand=expand)
        table.add_row(*cells)
        with pytest.MonkeyPatch.context() as patched:
            patched.delenv("COLUMNS", raising=False)
            console = new_console()
            console.file = io.StringIO()
            console.print(Group(table))
            _, row = console.file.getvalue().splitlines()
            assert row.split() == " ".join(cells).split()
            patched.setenv("COLUMNS", "60")
            console = new_console()
            console.file = io.StringIO()
            console.print(Group(table))
            assert max(map(len, console.file.getvalue().splitlines())) <= 60


def test_no_view_of_an_episode_lets_anything_through() -> None:
    complexity = Complexity(0.5, {STEERS: 1.0}, (STEERS,))
    candidates = Candidate(STEERS, STEERS), Candidate(STEERS, None, failure=STEERS)
    allocation = Allocation(tools=frozenset({STEERS}))
    executed = Round(complexity, allocation, 0.0, candidates, Usage(), (STEERS,))
    step = StepRecord(Observation(STEERS), (executed,), complexity, STEERS, Usage())
    failed = replace(step, action=None, failure=STEERS)
    episode = Episode(Task(STEERS, STEERS), (step, failed), None, 0.0, Usage(), STEERS)
    console = new_console()
    console.file = io.StringIO()
    console.print(render.episode_view(episode, full=True))
    console.print(render.episode_line(episode))
    text = console.file.getvalue()
    assert not steers(text)
    assert text.count("[/red]") > 5


def test_warnings_and_errors_are_lines_that_steer_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare()
    text = STEERS.replace("\ud800", "")  # which pytest's own report of the log could not hold
    logging.getLogger("amp.models").warning("server says %s", f"\n{text}")
    monkeypatch.setattr(sys, "argv", ["amp", "trace", "show", text])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    monkeypatch.setattr(sys, "argv", ["amp", "run", "gsm8k", "--limit", "\x1b[2J"])
    with pytest.raises(SystemExit) as refused:
        cli.main()
    assert (ended.value.code, refused.value.code) == (2, 2)
    lines = capsys.readouterr().err
    assert lines.count("\n") == 3
    assert all(line.startswith("amp: ") for line in lines.splitlines())
    assert not steers(lines)


def test_the_commands_write_in_these_ways_only() -> None:
    folder = Path(cli.__file__).parent
    for file in sorted(folder.glob("*.py")):
        if file.name == "terminal.py":
            continue
        calls = [n.func for n in ast.walk(ast.parse(file.read_text("utf-8"))) if is_call(n)]
        names = {f.id for f in calls if isinstance(f, ast.Name)}
        assert not names & {"print", "Console", "Progress", "track"}, file


def is_call(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call)
