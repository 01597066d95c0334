"""The commands that fill recordings and tell what they hold."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.files import DATA
from typer.testing import CliRunner

from amp import cli
from amp.benchmarks import load_benchmark
from amp.benchmarks.babyai.environment import BabyAIEnvironment
from amp.cli.record import in_turn
from amp.environment import Observation
from amp.errors import AmpError, InvalidInputError, ModelError, RecordingError
from amp.models.base import ModelCard, Prompt
from amp.models.recording_file import read_lattice_tasks, read_lattices
from amp.models.recording_store import Store
from amp.models.scripted import ScriptedModel
from amp.types import Task

DEMO = ("gsm8k", "--split", "demo", "--samples", "2", "--to", "pool.sqlite")
INFO = ("info", "pool.sqlite", "--benchmark", "gsm8k", "--split", "demo", "--samples", "2")
CARD = ModelCard("scripted", "ab" * 32)

UseModel = Callable[[ScriptedModel], ScriptedModel]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> UseModel:
    """Has the command open this model, whatever its name."""

    def of(model: ScriptedModel) -> ScriptedModel:
        monkeypatch.setattr("amp.cli.record.open_model", lambda *_, **__: model)
        return model

    return of


def says(prompt: Prompt, index: int) -> str:
    return f"#### {index}"


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["record", *arguments])
    if isinstance(result.exception, AmpError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def told(*arguments: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(call(*arguments, "--json").splitlines()[-1])
    return found


def test_a_recording_is_filled_and_told_of(use: UseModel) -> None:
    model = use(ScriptedModel(says, card=CARD))
    arms = {"program": 6, "chain": 6}
    found = told(*DEMO, "--jobs", "2")
    assert found["complete"] == {
        "demo": {"tasks": 6, "samples": 2, "arms": arms, "every_arm": 6, "some_arm": 6}
    }
    assert (found["requests"], found["samples"]) == (12, {"2": 12})
    assert told(*INFO) == found
    text = call(*INFO)
    assert "scripted (abababab)" in text
    assert "6 of 6" in text
    assert len(model.requests) == 12
    assert "benchmark" not in call("info", "pool.sqlite")


def test_an_arm_that_lacks_tasks_of_another_is_told(use: UseModel) -> None:
    use(ScriptedModel(says))
    call(*DEMO, "--limit", "4", "--arm", "chain")
    use(ScriptedModel(says))
    found = told(*DEMO, "--limit", "1")["complete"]
    assert found == {
        "demo": {
            **{"tasks": 1, "samples": 2, "arms": {"program": 1, "chain": 1}},
            **{"every_arm": 1, "some_arm": 1},
        }
    }
    rows = [line.split() for line in call(*INFO).splitlines()]
    assert ["demo", "program", "1", "of", "6", "3"] in rows
    assert ["demo", "chain", "4", "of", "6", "0"] in rows


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(use: UseModel) -> None:
    third = load_benchmark("gsm8k").tasks("demo")[2].goal

    def interrupted(prompt: Prompt, index: int) -> str:
        if third in prompt.messages[-1].content:
            signal.raise_signal(signal.SIGINT)
        return says(prompt, index)

    use(ScriptedModel(interrupted, card=CARD))
    assert "interrupted; go on with the same command" in call(*DEMO, code=cli.INTERRUPTED)
    rest = use(ScriptedModel(says, card=CARD))
    call(*DEMO)
    assert 6 <= len(rest.requests) <= 8
    assert "6 of 6" in call(*INFO)


def test_two_processes_fill_one_file() -> None:
    command = [sys.executable, "-m", "amp", "record", *DEMO, "--model", "random"]
    children = [
        subprocess.Popen(
            [*command, "--shard", shard], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        for shard in ("1/2", "2/2")
    ]
    for child in children:
        _, error = child.communicate(timeout=300)
        assert child.returncode == 0, error.decode()
    found = told(*INFO)
    assert (found["requests"], found["samples"]) == (12, {"2": 12})
    assert found["complete"] == {
        "demo": {
            **{"tasks": 6, "samples": 2, "arms": {"program": 6, "chain": 6}},
            **{"every_arm": 6, "some_arm": 6},
        }
    }


def test_a_shard_takes_every_nth_task(use: UseModel) -> None:
    model = use(ScriptedModel(says))
    call(*DEMO, "--shard", "2/4", "--arm", "chain")
    tasks = load_benchmark("gsm8k").tasks("demo")
    assert len(model.requests) == 2
    for request, task in zip(model.requests, (tasks[1], tasks[5]), strict=True):
        assert task.goal in request.prompt.messages[-1].content


def test_another_model_and_other_prompts_are_refused(use: UseModel) -> None:
    use(ScriptedModel(says, card=CARD))
    call(*DEMO, "--limit", "1")
    use(ScriptedModel(says, card=ModelCard("other")))
    with pytest.raises(RecordingError, match=r"made with model scripted .* uses other"):
        call(*DEMO, "--limit", "1")
    store = Store(Path("pool.sqlite"), write=True)
    store.set_version("gsm8k", "gsm8k/0")
    store.close()
    use(ScriptedModel(says, card=CARD))
    for command in (DEMO, INFO):
        with pytest.raises(RecordingError, match="made with prompts gsm8k/0, this version uses"):
            call(*command)
    assert "gsm8k/0" in call("info", "pool.sqlite")


def test_what_is_no_recording_is_refused() -> None:
    Path("text").write_text("no recording, but long enough for the head of one" * 9)
    with pytest.raises(RecordingError, match="text is damaged or no recording"):
        call("info", "text")
    with pytest.raises(RecordingError, match="no recording at missing"):
        call("info", "missing")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "half", "1/0", "1/7 "])
def test_a_bad_shard_is_one_line_that_helps(use: UseModel, shard: str) -> None:
    with pytest.raises(InvalidInputError, match=r"shard is '.*', expected I/N"):
        call(*DEMO, "--shard", shard)


def test_a_shard_without_tasks_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="has no tasks for shard 7/7"):
        call(*DEMO, "--shard", "7/7")


def test_a_failing_task_is_told_at_the_end(use: UseModel) -> None:
    third = load_benchmark("gsm8k").tasks("demo")[2]

    def fails(prompt: Prompt, index: int) -> str:
        if third.goal in prompt.messages[-1].content:
            raise ModelError("too long")
        return says(prompt, index)

    use(ScriptedModel(fails))
    with pytest.raises(ModelError, match=f"failed on 1 tasks, such as {third.id}: too long"):
        call(*DEMO)
    assert "5 of 6" in call(*INFO)


LATTICE = ("babyai", "--lattice", "--split", "train", "--limit", "2", "--to", "lattice.sqlite")


def test_a_lattice_is_recorded_and_told_of(use: UseModel) -> None:
    def towards(prompt: Prompt) -> dict[str, float]:
        return {str(label): 1 / label for label in range(1, 10)}

    use(ScriptedModel(lambda prompt, index: "explore", next_tokens=towards, card=CARD))
    found = told(*LATTICE, "--nodes", "3", "--arm", "act", "--arm", "plan 2", "--jobs", "2")
    rows = found["tasks"]
    assert isinstance(rows, dict)
    assert len(rows) == 2
    assert all(1 <= row["states"] <= row["cap"] == 3 for row in rows.values())
    assert found["left_out"] == {}
    again = call(*LATTICE, "--nodes", "3", "--arm", "act", "--arm", "plan 2")
    assert "cut off: states that were reached and not visited" in again
    assert "babyai, 2 tasks" in call("info", "lattice.sqlite")
    more = told(*LATTICE, "--nodes", "3", "--arm", "act", "--arm", "plan 2", "--complete", "fixed")
    assert isinstance(more["tasks"], dict)
    assert more["tasks"].keys() == rows.keys()
    one = told(*LATTICE, "--arm", "act", "--max-steps", "1")["tasks"]
    assert isinstance(one, dict)
    assert all((row["states"], row["cut_off"]) == (1, 0) for row in one.values())
    with pytest.raises(InvalidInputError, match=r"unknown arm 'acr'; did you mean 'act'\?"):
        call(*LATTICE, "--arm", "acr")
    with pytest.raises(InvalidInputError, match="main is 'think 1', expected one of the arms: act"):
        call(*LATTICE, "--arm", "act", "--main", "think 1")


def test_a_lattice_of_which_nothing_came_is_a_failure(
    use: UseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(environment: BabyAIEnvironment, task: Task) -> Observation:
        raise ValueError("no room")

    monkeypatch.setattr(BabyAIEnvironment, "reset", fails)
    use(ScriptedModel(lambda prompt, index: "explore", card=CARD))
    with pytest.raises(AmpError, match=r"all 2 tasks are left out, such as BabyAI-.*no room"):
        call(*LATTICE, "--nodes", "3", "--arm", "plan 2")


LEVELS = ("--level", "BabyAI-GoToLocal-v0", "--level", "BabyAI-PickupLoc-v0")


def test_levels_take_turns_so_that_what_is_recorded_early_is_of_all(use: UseModel) -> None:
    arms = ("--nodes", "2", "--arm", "act", "--arm", "plan 2", "--max-steps", "2")
    levels = [level for level in LEVELS if level != "--level"]
    turns = [f"{level}/{seed}" for seed in (100_000, 100_001) for level in levels]
    seen: list[str] = []

    def towards(prompt: Prompt) -> dict[str, float]:
        done = [name for name in turns if name in str(read_lattice_tasks_of("lattice.sqlite"))]
        seen.append(" ".join(done))
        return {str(label): 1 / label for label in range(1, 10)}

    use(ScriptedModel(lambda prompt, index: "explore", next_tokens=towards, card=CARD))
    rows = told(*LATTICE, *LEVELS, *arms)["tasks"]
    assert isinstance(rows, dict)
    assert list(rows) == turns
    # Whenever it asks, what it has is the first tasks of these turns.
    assert {""} < set(seen) <= {" ".join(turns[:count]) for count in range(4)}
    # One level alone has the very same states, and so has a second time everything.
    for level in levels:
        alone = told(*LATTICE, "--level", level, *arms)["tasks"]
        assert isinstance(alone, dict)
        assert alone == {name: rows[name] for name in turns if name.startswith(level)}


def test_arms_are_recorded_of_several_levels_too(use: UseModel) -> None:
    use(ScriptedModel(says, card=CARD))
    grid = ("babyai", "--split", "train", "--limit", "1", "--to", "grid.sqlite", "--samples", "1")
    assert "2 of 2" in call(*grid, *LEVELS)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=4), st.integers(0, 20))
def test_wherever_it_ends_no_level_is_ahead_of_another(sizes: list[int], end: int) -> None:
    levels = [[Task(f"{name}/{n}", "") for n in range(size)] for name, size in enumerate(sizes)]
    tasks = in_turn(levels)
    assert len(tasks) == sum(sizes)
    done = [sum(task in tasks[:end] for task in level) for level in levels]
    for level, count in zip(levels, done, strict=True):
        assert list(level[:count]) == [task for task in tasks[:end] if task in level]
        assert count == len(level) or count >= max(done) - 1


def test_levels_whose_tasks_have_one_name_are_refused() -> None:
    tasks = load_benchmark("gsm8k").tasks("demo", 2)
    with pytest.raises(InvalidInputError, match="two of the levels have tasks of one name"):
        in_turn([tasks, tasks])


def read_lattice_tasks_of(name: str) -> set[str]:
    """Tasks of all lattices in a recording."""
    path = Path(name)
    return {task for key in read_lattices(path) for task in read_lattice_tasks(path, key)}


def test_an_unknown_benchmark_is_told_with_the_nearest() -> None:
    assert "gsm8k" in call("gsm9k", "--to", "pool.sqlite", code=2)
    with pytest.raises(InvalidInputError, match="unknown benchmark 'gsm9k'"):
        call("info", "pool.sqlite", "--benchmark", "gsm9k")


@pytest.mark.data("gsm8k")
def test_the_shipped_recording_holds_the_first_125_test_problems() -> None:
    shipped = Path(__file__).parents[2] / "recordings" / "gsm8k.sqlite"
    Path("pool.sqlite").write_bytes(shipped.read_bytes())
    found = told(
        *INFO[:4], "--split", "test", "--limit", "130", "--arm", "chain", "--data", str(DATA)
    )
    complete = found["complete"]
    assert isinstance(complete, dict)
    assert complete["test"]["arms"] == {"chain": 125}
