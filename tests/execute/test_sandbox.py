"""Sandboxes: which there are, what they are asked, and what is done with the answer."""

from __future__ import annotations

import string
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.runs import step

from amp import cli
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, MissingDependencyError
from amp.evaluate import Assembly, PlannerConfig
from amp.execute.sandbox import (
    NAMES,
    DockerSandbox,
    ProgramLimits,
    Sandbox,
    ask_walls,
    load_sandbox,
    run_limited,
    walls_of,
)
from amp.execute.tools import CalculatorTool, PythonTool, RecordedTool
from amp.models.recording import Recording
from amp.trace import RunDirectory, read_episodes, settings_of
from amp.types import Episode, StepRecord, Task, ToolUse

LIMITS = ProgramLimits(2.5, 2**29, 1000)


@dataclass(frozen=True)
class Odd:
    """A sandbox whose command says something else."""

    script: str
    name: str = "odd"

    @property
    def environment(self) -> dict[str, str]:
        return {}

    def command(self, limits: ProgramLimits) -> list[str]:
        return ["/bin/sh", "-c", self.script]


@pytest.mark.parametrize("name", [*NAMES, "docker:python:3.12"])
def test_every_sandbox_has_its_name_and_runs_the_same_child(name: str) -> None:
    sandbox = load_sandbox(name)
    assert isinstance(sandbox, Sandbox)
    assert sandbox.name == name.partition(":")[0]
    assert sandbox == load_sandbox(name)
    command = sandbox.command(LIMITS)
    assert "import sandbox_child" in " ".join(command)
    assert command[-5:-1] == [str(2**29), "4", "1000", sandbox.name]


@given(st.text(string.printable, max_size=12))
def test_any_other_name_is_refused_in_one_line(name: str) -> None:
    if name in NAMES or name.startswith("docker:"):
        return
    with pytest.raises(InvalidInputError) as refused:
        load_sandbox(name)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["docker:", "docker:--privileged", "local:x", "unsafe:"])
def test_a_name_with_too_much_or_too_little_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="unknown sandbox"):
        load_sandbox(name)


def test_the_default_image_has_this_python() -> None:
    major, minor = sys.version_info[:2]
    assert DockerSandbox().image == f"python:{major}.{minor}-slim"


@given(st.binary(max_size=60) | st.from_regex(rb"[a-z ]{0,20}[|][a-z ]{0,20}", fullmatch=True))
def test_only_a_line_that_names_no_missing_wall_is_taken(head: bytes) -> None:
    try:
        said = walls_of(load_sandbox("local"), head)
    except MissingDependencyError as error:
        said = str(error)
    else:
        assert not head.partition(b"|")[2].split()
        assert b"|" in head
    assert said.isprintable()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "it says nothing"),
        ("echo no such image >&2; exit 125", "no such image"),
        ("echo hello", "it says 'hello'"),
        ("echo 'landlock|processes'", "nothing here keeps a program from processes"),
    ],
)
def test_a_sandbox_that_does_not_hold_is_told_of(script: str, words: str) -> None:
    with pytest.raises(MissingDependencyError, match=words):
        ask_walls(Odd(script))


async def test_a_sandbox_that_is_not_installed_is_no_failure_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Odd, "command", lambda self, limits: ["/no/such/program"])
    with pytest.raises(MissingDependencyError, match="no program of the model's is run"):
        ask_walls(Odd(""))
    with pytest.raises(MissingDependencyError, match="no program of the model's is run"):
        await PythonTool(sandbox=Odd("")).use("```python\nanswer = 1\n```")


async def test_a_tool_runs_in_the_sandbox_that_it_is_given(tmp_path: Path) -> None:
    tool = PythonTool(wall_seconds=3).within(load_sandbox("unsafe"))
    assert tool.limits.seconds == 3
    recording = Recording(tmp_path / "r.sqlite", "auto")
    use = await RecordedTool(tool, recording).use("```python\nanswer = 1\n```")
    assert use is not None
    assert use.walls.startswith("unsafe: ")
    assert use == await RecordedTool(PythonTool(), recording).use("```python\nanswer = 1\n```")
    recording.close()
    assert CalculatorTool().within(load_sandbox("unsafe")).sandbox is None


def test_the_option_wins_over_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_benchmark("gsm8k")
    monkeypatch.setenv("AMP_SANDBOX", "bwrap")
    assert Assembly.of(PlannerConfig(), benchmark).sandbox.name == "bwrap"
    assert Assembly.of(PlannerConfig(sandbox="unsafe"), benchmark).sandbox.name == "unsafe"
    monkeypatch.setenv("AMP_SANDBOX", "brwap")
    with pytest.raises(InvalidInputError, match="did you mean 'bwrap'"):
        Assembly.of(PlannerConfig(), benchmark)


def test_who_runs_no_program_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMP_SANDBOX", "docker:no-such-image")
    monkeypatch.setenv("PATH", "/nowhere")
    benchmark = load_benchmark("gsm8k")
    without = PlannerConfig(tools=frozenset())
    assert Assembly.of(without, benchmark).walls(is_replay=False) == ""
    assert Assembly.of(PlannerConfig(), benchmark).walls(is_replay=True) == ""
    with pytest.raises(MissingDependencyError):
        Assembly.of(PlannerConfig(), benchmark).walls(is_replay=False)


def test_walls_are_no_part_of_what_was_run() -> None:
    now = {"config": {"planner": {"sandbox": "unsafe", "depth": 1}}, "sandbox": "unsafe: none"}
    assert settings_of(now) == settings_of({"config": {"planner": {"depth": 1}}})


def test_the_trace_tells_of_the_walls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _with_walls(step(10), "local: landlock\x1b[31m")
    with RunDirectory.create(tmp_path / "run", {}) as run:
        run.append(Episode(Task("t", "goal"), (made,), True, 1.0, made.usage, "done"))
    (read,) = read_episodes(tmp_path / "run")
    assert read.steps == (made,)
    monkeypatch.setattr(sys, "argv", ["amp", "trace", "show", str(tmp_path / "run")])
    cli.main()
    assert "programs ran in sandbox local: landlock\\x1b[31m\n" in capsys.readouterr().out


def _with_walls(made: StepRecord, walls: str) -> StepRecord:
    (one,) = made.rounds
    use = ToolUse("python", "x", "y", walls=walls)
    return replace(
        made, rounds=(replace(one, candidates=(replace(one.candidates[0], tool_uses=(use,)),)),)
    )


async def test_a_flood_that_nobody_reads_ends(tmp_path: Path) -> None:
    """A program that writes without end and never reads, so that its output is held back."""
    flood = "import os\nwhile True: os.write(1, bytes(65536))"
    running = run_limited(
        [sys.executable, "-c", flood],
        stdin=bytes(1 << 20), directory=str(tmp_path), wall_seconds=60.0, output_bytes=10,
    )  # fmt: skip
    finished = await running
    assert finished.overflowed
    assert not finished.timed_out
    assert finished.output == bytes(10)
