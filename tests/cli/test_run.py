"""The command line: exit codes mean something, mistakes are one line, replays are identical."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.text import Text
from tests.fakes.command import Amp, Outcome, outcome
from typer.core import TyperGroup

from amp import cli
from amp.cli.app import open_model
from amp.errors import InvalidInputError
from amp.evaluate import Assembly, PlannerConfig, RunConfig, manifest, run_tasks
from amp.models.base import ModelCard, Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.trace import EPISODES, RunDirectory


@pytest.fixture
def amp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Amp:
    """Runs a command in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Outcome:
        return outcome(monkeypatch, capsys, *arguments)

    return call


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of the heuristic allocator on the shipped problems, by a scripted model."""
    folder = tmp_path_factory.mktemp("pool")
    config = RunConfig(
        benchmark="gsm8k", split="demo", planner=PlannerConfig(allocator="heuristic")
    )
    benchmark = config.load_benchmark()
    tasks = config.load_tasks(benchmark)

    def answer(prompt: Prompt, sample: int) -> str:
        return f"```python\nanswer = {len(prompt.messages[1].content) % 7 + sample % 2}\n```"

    async def record() -> None:
        model = RecordedModel(ScriptedModel(answer), folder / "pool.sqlite", "record")
        assembly = Assembly.of(config.planner, benchmark)
        told = manifest(config, assembly, model, tasks)
        directory = RunDirectory.create(folder / "run", told)
        await run_tasks(assembly.planner(model), benchmark, tasks, directory)
        await model.close()

    asyncio.run(record())
    return folder


@pytest.mark.parametrize("name", ["smollm2-135m", "openai:gpt-5", "my/own.gguf", "random", "huh"])
def test_a_replay_is_of_the_model_that_was_recorded(name: str) -> None:
    recording = Path(__file__).parents[2] / "recordings" / "gsm8k.sqlite"
    with pytest.raises(InvalidInputError, match=rf"--model is {name}, but .* of qwen"):
        open_model(name, replay=recording)
    ours = open_model("qwen2.5-coder-1.5b", replay=recording)
    assert ours.card.name == "qwen2.5-coder-1.5b"
    asyncio.run(ours.close())


def test_a_replay_needs_no_model_and_gives_the_identical_trace(amp: Amp, pool: Path) -> None:
    replay = ("--replay", str(pool / "pool.sqlite"))
    outcome = amp("run", "gsm8k", "--split", "demo", *replay, "--out", "again", "--json")
    assert outcome.code == 0, outcome.error
    assert json.loads(outcome.out)["episodes"] == 6
    recorded = (pool / "run" / EPISODES).read_bytes()
    assert Path("again", EPISODES).read_bytes() == recorded
    many = amp("run", "gsm8k", "--split", "demo", *replay, "--out", "many", "--jobs", "3")
    assert many.code == 0, many.error
    assert Path("many", EPISODES).read_bytes() == recorded
    assert "/6" in many.out


def test_a_larger_model_answers_and_has_a_recording_of_its_own(amp: Amp) -> None:
    run = ("run", "babyai", "--limit", "1", "--max-steps", "2", "--method", "direct")
    tools = ("--tool", "path_finder", "--tool", "larger_model", "--larger-model", "random")
    recorded = amp(*run, *tools, "--model", "random", "--record", "p.sqlite", "--out", "one")
    assert recorded.code == 0, recorded.error
    assert Path("p-larger.sqlite").is_file()
    replayed = amp(*run, *tools, "--replay", "p.sqlite", "--out", "two")
    assert replayed.code == 0, replayed.error
    assert Path("one", EPISODES).read_bytes() == Path("two", EPISODES).read_bytes()


@pytest.fixture
def two_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model whose samples disagree on every other question, and a big one that agrees."""

    def load(name: str, **options: Any) -> ScriptedModel:
        def answer(prompt: Prompt, sample: int) -> str:
            hard = len(prompt.messages[1].content) % 2
            return f"```python\nanswer = {sample * hard if name == 'small' else 7}\n```"

        return ScriptedModel(answer, card=ModelCard(name, parameters=10**6))

    monkeypatch.setattr("amp.models.registry.load_model", load)


TWO = ("--model", "small", "--model", "big")
DEMO = ("run", "gsm8k", "--split", "demo")


@pytest.mark.slow
@pytest.mark.usefixtures("two_models")
def test_a_cascade_of_two_models_is_recorded_and_replayed_to_the_byte(amp: Amp) -> None:
    cascade = (*DEMO, "--method", "cascade")
    files = ("small.sqlite", "big.sqlite")
    recorded = amp(*cascade, *TWO, *each("--record", files), "--out", "one", "--json")
    assert recorded.code == 0, recorded.error
    told = json.loads(recorded.out)["by_model"]
    assert list(told) == ["small", "big"]
    assert 0 < told["big"]["model_calls"] < told["small"]["model_calls"] == 6
    run = json.loads(Path("one", "run.json").read_text())
    assert (run["config"]["model"], run["model"]["name"]) == (["small", "big"], "small")
    assert [card["name"] for card in run["other_models"]] == ["big"]
    replayed = amp(*cascade, *each("--replay", files), "--out", "two")
    assert replayed.code == 0, replayed.error
    assert Path("one", EPISODES).read_bytes() == Path("two", EPISODES).read_bytes()
    assert re.search(r"model big: \d calls, [\d,]+ tokens \(\d+ written\)", replayed.out)
    again = amp(*cascade, *each("--replay", files), "--out", "two", "--resume")
    assert again.code == 0, again.error
    for file in files:  # each has all that is needed to replay it without the other
        with closing(sqlite3.connect(file)) as recording:
            assert recording.execute("SELECT count(*) FROM tool_uses").fetchone() == (5,)
    shown = amp("trace", "show", "two", "--full").out
    assert "v1 python big" in shown
    assert "by small" in shown
    assert "model small: 6 calls" in amp("report", "two").out


def each(flag: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]


@pytest.mark.slow
@pytest.mark.usefixtures("two_models")
def test_one_of_two_models_can_answer_alone(amp: Amp) -> None:
    done = amp(*DEMO, *TWO, "--allocator", "fixed", "--answered-by", "big", "--json")
    assert done.code == 0, done.error
    assert list(json.loads(done.out)["by_model"]) == ["big"]
    solved = amp("solve", "What is 3 and 4?", *TWO, "--answered-by", "big")
    assert solved.out.endswith("\n7\n")


@pytest.mark.usefixtures("two_models")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "small", "--model", "small"), "--model: names 'small' twice"),
        ((*TWO, "--method", "react"), "react asks one model alone, and there are 2"),
        (("--model", "small", "--method", "cascade"), "a cascade asks one model after another"),
        ((*TWO, "--answered-by", "bog"), "no model 'bog' answers here; did you mean 'big'?"),
        ((*TWO, "--answered-by", "big", "--method", "cascade"), "answered_by is for allocators"),
        ((*TWO, "--agreement", "0.5"), "agreement is for cascade, not for auto"),
        ((*TWO, "--record", "one.sqlite"), "--record names 1 for 2 models"),
        ((*TWO, "--replay", "one.sqlite"), "--replay names 1 for 2 models"),
        ((*TWO, "--allocator", "cascade", "--beam-width", "1"), "a cascade of 1 samples"),
    ],
)
def test_what_several_models_cannot_do_is_one_line(
    amp: Amp, options: tuple[str, ...], message: str
) -> None:
    outcome = amp(*DEMO, *options)
    assert outcome.code != 0
    assert outcome.error.count("\n") == 1
    assert message in outcome.error


def test_the_methods_are_listed(amp: Amp) -> None:
    assert "react: thoughts, actions and observations" in amp("benchmarks", "--methods").out


def test_a_replay_that_misses_a_request_says_which(amp: Amp, pool: Path) -> None:
    replay = ("--replay", str(pool / "pool.sqlite"), "--out", "other", "--allocator", "random")
    outcome = amp("run", "gsm8k", "--split", "demo", *replay)
    assert outcome.code == 5
    assert outcome.error.count("\n") == 1
    assert "amp: task gsm8k/demo/0: recording " in outcome.error
    assert "pool.sqlite has no" in outcome.error
    assert "(0 of 6 tasks are done)" in outcome.error


def test_a_replay_of_more_tasks_than_are_recorded_says_how_many_are(amp: Amp) -> None:
    run = ("run", "babyai", "--max-steps", "2", "--method", "direct")
    recorded = amp(
        *run, "--limit", "2", "--model", "random", "--record", "p.sqlite", "--out", "two"
    )
    assert recorded.code == 0, recorded.error
    assert amp("trace", "show", "two").out.count("d depth, t temperature,") == 1
    outcome = amp(*run, "--limit", "3", "--replay", "p.sqlite", "--out", "more")
    assert outcome.code == 5
    assert "(2 of 3 tasks are done; the first 2 are recorded: take --limit 2)" in outcome.error


def test_an_interrupted_run_resumes_and_a_finished_one_is_left_alone(amp: Amp, pool: Path) -> None:
    options = ("run", "gsm8k", "--split", "demo", "--replay", str(pool / "pool.sqlite"))
    assert amp(*options, "--out", "r").code == 0
    trace = Path("r", EPISODES)
    whole = trace.read_bytes()
    trace.write_bytes(whole[: len(whole) // 2])
    assert amp(*options, "--out", "r").code == 2
    assert amp(*options, "--out", "r", "--resume").code == 0
    assert trace.read_bytes() == whole
    other = amp(*options, "--out", "r", "--resume", "--seed", "1")
    assert other.code == 2
    assert "was run with seed 0, not 1" in other.error


def test_a_trace_can_be_looked_at(amp: Amp, pool: Path) -> None:
    whole = amp("trace", "show", str(pool / "run"))
    assert whole.code == 0
    assert whole.out.count("gsm8k/demo/") == 6
    one = amp("trace", "show", str(pool / "run"), "--task", "gsm8k/demo/3", "--full")
    assert one.out.count("gsm8k/demo/") == 1
    assert "answer = " in one.out
    lines = amp("trace", "show", str(pool / "run"), "--json").out.splitlines()
    assert [json.loads(line)["task"]["id"] for line in lines] == [
        f"gsm8k/demo/{i}" for i in range(6)
    ]


def test_two_runs_can_be_compared(amp: Amp, pool: Path) -> None:
    run = str(pool / "run")
    assert "6 tasks" in amp("trace", "compare", run, run).out
    result = json.loads(amp("trace", "compare", run, run, "--json").out)
    assert (result["won"], result["lost"], result["savings"]["tokens"]["share"]) == (0, 0, 0.0)
    told = amp("trace", "compare", run, run, "--cost", "written").out
    assert "saved 0% of written tokens" in told


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("run", "gsm9k"), 2, "unknown benchmark 'gsm9k'; did you mean 'gsm8k'?"),
        (("run", "babyai", "--level", "BabyAI-GoToLocl-v0"), 2, "'BabyAI-GoToLocal-v0'"),
        (("run", "gsm8k", "--split", "tset"), 2, "did you mean 'test'?"),
        (("run", "gsm8k", "--data", "nowhere"), 3, "nowhere"),
        (("run", "gsm8k", "--split", "demo", "--allocator", "best"), 2, "unknown allocator 'best'"),
        (("run", "gsm8k", "--split", "demo", "--tool", "pyton"), 2, "did you mean 'python'?"),
        (("run", "gsm8k", "--split", "demo", "--temperature", "9"), 2, "temperature is 9.0"),
        (
            ("run", "gsm8k", "--split", "demo", "--max-tokens-total", "0"),
            2,
            "--max-tokens-total is 0, expected at least 1",
        ),
        (("run", "gsm8k", "--split", "demo", "--resume"), 2, "--resume needs --out"),
        (("run", "gsm8k", "--level", "hard"), 2, "gsm8k has no levels"),
        (("run", "gsm8k", "--tool", "python", "--no-tools"), 2, "exclude each other"),
        (
            ("run", "gsm8k", "--allocator", "fixed", "--method", "react"),
            2,
            "--allocator and --method exc",
        ),
        (("run", "gsm8k", "--probe", "optoins"), 2, "--probe is 'optoins', expected 'options'"),
        (("solve", "  "), 2, "question is empty"),
        (("solve", "how many \udcff?"), 2, "question is not UTF-8 at character 9"),
        (("trace", "show", "nowhere"), 2, "no trace at nowhere"),
        (("models", "pull", "gpt-9"), 2, "unknown model 'gpt-9'"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    amp: Amp, pool: Path, arguments: tuple[str, ...], code: int, named: str
) -> None:
    if arguments[0] == "run":
        arguments += ("--replay", str(pool / "pool.sqlite"))
    outcome = amp(*arguments)
    assert (outcome.code, outcome.error.count("\n")) == (code, 1), outcome.error
    assert named in outcome.error
    assert outcome.error.startswith("amp: ")


@pytest.mark.parametrize(
    ("model", "code", "named"),
    [
        ("smolm2-135m", 2, "did you mean 'smollm2-135m'?"),
        ("nowhere.gguf", 3, "no model file"),
        ("text.gguf", 2, "expected b'GGUF'"),
        pytest.param(
            "openai:any", 4, "http://127.0.0.1:9", marks=pytest.mark.slow
        ),  # it is retried
    ],
)
def test_a_model_that_cannot_be_had_is_named(
    amp: Amp, monkeypatch: pytest.MonkeyPatch, model: str, code: int, named: str
) -> None:
    Path("text.gguf").write_text("this is no model")
    if model.startswith("openai:"):
        monkeypatch.setenv("AMP_BASE_URL", "http://127.0.0.1:9/v1")
    outcome = amp("solve", "How many?", "--model", model)
    *notes, error = outcome.error.splitlines()
    assert outcome.code == code, outcome.error
    assert named in error
    warned = ("no price known", "allocator heuristic stands in")
    assert all(any(text in note for text in warned) for note in notes)


def test_debug_shows_the_traceback(amp: Amp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["amp", "run", "gsm9k", "--debug"])
    with pytest.raises(InvalidInputError):
        cli.main()


def test_recording_and_replaying_at_once_is_refused(amp: Amp) -> None:
    outcome = amp("solve", "How many?", "--record", "a", "--replay", "b")
    assert (outcome.code, "exclude each other" in outcome.error) == (2, True)


def test_the_real_small_model_answers_and_is_recorded(amp: Amp, smollm2: str) -> None:
    arguments = ("solve", "What is 2 + 2?", "--allocator", "fixed", "--beam-width", "1", "--json")
    first = amp(*arguments, "--model", smollm2, "--record", "pool.sqlite")
    again = amp(*arguments, "--replay", "pool.sqlite")
    assert (first.code, first.out) == (again.code, again.out)
    episode = json.loads(first.out)
    assert episode["usage"]["completion_tokens"] > 0
    assert episode["usage"]["flops"] > 2 * 134e6 * episode["usage"]["completion_tokens"]


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_resume_continues(tmp_path: Path, smollm2: str) -> None:
    command = [sys.executable, "-c", "from amp.cli import main; main()", "run", "babyai"]
    command += ["--level", "BabyAI-GoToObj-v0", "--limit", "4", "--max-steps", "3"]
    command += ["--allocator", "fixed", "--model", smollm2, "--out", "r", "--resume"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    child = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    trace = tmp_path / "r" / EPISODES
    deadline = time.monotonic() + 90
    while not (trace.exists() and trace.read_text()):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=30)
    assert child.returncode == cli.INTERRUPTED, error
    assert "interrupted; go on with" in error
    assert 1 <= trace.read_text().count("\n") < 4
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert trace.read_text().count("\n") == 4


def test_help_lists_what_people_try_first_and_every_command() -> None:
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    names = group.list_commands(typer.Context(group))
    assert names[:3] == ["demo", "solve", "run"]
    assert sorted(names) == sorted(group.commands)


def test_no_word_of_a_help_is_taken_for_markup() -> None:
    """Rich drops what stands in brackets and is no style of its own."""

    def helps(command: Any) -> Iterator[str]:
        yield command.help or ""
        for option in command.params:
            yield getattr(option, "help", None) or ""
        if isinstance(command, TyperGroup):
            for inner in command.commands.values():
                yield from helps(inner)

    texts = list(helps(typer.main.get_command(cli.app)))
    assert len(texts) > 200
    for text in texts:
        assert Text.from_markup(text).plain == text.replace("\\[", "["), text


def test_version_and_short_help(amp: Amp) -> None:
    assert re.fullmatch(r"amp \d+\.\d+\.\d+\S*\n", amp("--version").out)
    for command in ((), ("run",), ("models", "list")):
        assert amp(*command, "-h").out == amp(*command, "--help").out != ""


def test_help_shows_what_is_done_where_an_option_is_left_out_and_limits_begin_alike(
    amp: Amp,
) -> None:
    shown = " ".join(amp("run", "--help").out.split())
    assert "Separates repeated runs; 0 if left out." in shown
    box = shown.partition("Limits of an episode")[2]
    assert re.findall(r"--max-\w[\w-]*", box) == [
        *("--max-steps", "--max-tokens-total", "--max-seconds", "--max-dollars")
    ]


def test_the_earlier_name_of_the_limit_of_tokens_still_works(amp: Amp) -> None:
    one = ("run", "gsm8k", "--split", "demo", "--limit", "1", "--model", "random", "--json")
    names = ("--budget-tokens", "--max-tokens-total")
    old, new = (json.loads(amp(*one, name, "900").out) for name in names)
    assert old["usage"] == new["usage"]


def test_every_shell_is_offered_the_commands(amp: Amp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AMP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "amp mod")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert amp().out.split() == ["models"]


def test_a_run_says_which_settings_file_it_read(amp: Amp, monkeypatch: pytest.MonkeyPatch) -> None:
    one = ("run", "gsm8k", "--split", "demo", "--limit", "1", "--model", "random")
    assert "settings" not in amp(*one).out
    Path("amp.toml").write_text("context_tokens = 4096\n")
    assert "settings: amp.toml\n" in amp(*one).out
    Path("inner").mkdir()
    monkeypatch.chdir("inner")
    above = str(Path.cwd().parent / "amp.toml")
    assert f"settings: {above}\n" in amp(*one).out
    assert json.loads(amp(*one, "--json").out)["settings"] == above
