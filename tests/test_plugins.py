"""Entry points of other packages: found by name, imported when asked for, broken ones named."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amp.allocate import AUTO, find_allocator, make_allocator
from amp.benchmarks import load_benchmark
from amp.cli import app
from amp.errors import AmpError, InvalidInputError, MissingDependencyError
from amp.evaluate import PlannerConfig, build_planner
from amp.execute.tools import load_tool
from amp.models import load_model
from amp.models.scripted import ScriptedModel
from amp.plugins import load_plugin, note_shadowed, plugin_names
from amp.types import Observation, Task, Transition

OURS = """
import amp
from amp.models.scripted import ScriptedModel
from amp.types import ToolUse

class Thrice(amp.Allocator):
    uses_complexity = False
    def __init__(self, space, fixed):
        self.fixed = fixed
    def allocate(self, context, complexity):
        return amp.STOP if context.evidence.rounds == 3 else amp.Decision(self.fixed)

class Handbook(amp.Tool):
    name = "handbook"
    description = "knows the answer"
    async def advise(self, context):
        return ToolUse(self.name, context.task.goal, "the handbook says 42")

class Nameless(amp.Tool):
    pass

def model():
    return ScriptedModel({"?": "12"})

def tired(*arguments):
    raise RuntimeError("out of\\nbed")

def text(*arguments):
    return "text"

FOUR = 4
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(
    site: Path,
    package: str,
    tools: dict[str, str],
    module: str = "class Tool: ...",
    group: str = "amp.tools",
) -> None:
    """What installing a package leaves behind: a module, and a directory of metadata."""
    (site / f"{package}.py").write_text(module)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in tools.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")


def test_a_package_brings_what_it_names_and_is_imported_only_when_asked(site: Path) -> None:
    install(site, "plugged_in", {"abacus": "plugged_in:Tool", "calculator": "plugged_in:Tool"})
    assert plugin_names("amp.tools", builtin=("calculator",)) == ("abacus",)
    assert "abacus" not in plugin_names("amp.models")
    assert "plugged_in" not in sys.modules
    assert load_plugin("amp.tools", "abacus").__module__ == "plugged_in"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            "import no_such_module_here",
            "ModuleNotFoundError: No module named 'no_such_module_here'",
        ),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("", "AttributeError"),
    ],
)
def test_a_broken_package_is_named_in_one_line_and_the_rest_goes_on(
    site: Path, module: str, reason: str
) -> None:
    install(site, "broken_one", {"bad": "broken_one:Tool"}, module)
    install(site, "sound_one", {"good": "sound_one:Tool"})
    assert plugin_names("amp.tools") == ("bad", "good")
    with pytest.raises(MissingDependencyError, match="'bad' of amp.tools .* broken_one") as caught:
        load_plugin("amp.tools", "bad")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert load_plugin("amp.tools", "good").__name__ == "Tool"


def test_two_packages_with_one_name_are_both_named(site: Path) -> None:
    install(site, "first_one", {"same": "first_one:Tool"})
    install(site, "second_one", {"same": "second_one:Tool"})
    with pytest.raises(InvalidInputError, match="2 packages .first_one, second_one."):
        load_plugin("amp.tools", "same")


def test_what_nobody_brings_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no installed package brings 'nothing'"):
        load_plugin("amp.tools", "nothing")


@pytest.fixture
def outside(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package for each group, all with the same sound and broken things in them."""
    broken = {"tired": "tired", "text": "text", "four": "FOUR"}
    for group, own in (
        ("tools", {"handbook": "Handbook", "nameless": "Nameless", "misnamed": "Handbook"}),
        ("allocators", {"thrice": "Thrice", "fixed": "Thrice", "auto": "Thrice", "amp": "Thrice"}),
        ("models", {"twelve": "model", "random": "tired"}),
    ):
        package = f"outside_{group}"
        monkeypatch.delitem(sys.modules, package, raising=False)
        named = {name: f"{package}:{value}" for name, value in (own | broken).items()}
        install(site, package, named | {"absent": "no_such_module_here:It"}, OURS, f"amp.{group}")
    note_shadowed.cache_clear()
    return site


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("tired", "'tired' of amp.{} cannot be made: RuntimeError: out of bed"),
        ("text", "'text' of amp.{} makes something of type str, which lacks "),
        ("four", "'four' of amp.{} cannot be made: TypeError: 'int' object is not callable"),
        ("absent", "'absent' of amp.{} cannot be imported from outside_{}"),
        (
            "nameless",
            "makes something of type Nameless, which lacks description, name",
        ),
        ("misnamed", "'misnamed' of amp.tools calls itself 'handbook'"),
    ],
)
def test_what_cannot_be_made_of_a_package_is_one_line(name: str, fault: str) -> None:
    loads: dict[str, Callable[[str], object]] = {
        "tools": load_tool,
        "allocators": make_allocator,
        "models": load_model,
    }
    for group, load in loads.items() if "{}" in fault else [("tools", load_tool)]:
        with pytest.raises(AmpError) as caught:
            load(name)
        assert fault.format(group, group) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("outside")
def test_an_allocator_and_a_tool_of_a_package_plan_and_a_broken_one_is_in_nobodys_way() -> None:
    class Question:
        def reset(self, task: Task) -> Observation:
            return Observation()

        def step(self, action: str) -> Transition:
            return Transition(Observation(), done=True, success=action == "12")

    config = PlannerConfig(allocator="thrice", tools=frozenset({"handbook"}), temperature=0.5)
    planner = build_planner(config, ScriptedModel({"handbook": "12"}), load_benchmark("gsm8k"))
    (step,) = asyncio.run(planner.run(Task("t", "How many?"), Question())).steps
    rounds = [round_.allocation for round_ in step.rounds]
    assert len(rounds) == 3
    assert all(each.tools == {"handbook"} for each in rounds)
    assert [use.output for use in step.rounds[0].candidates[0].tool_uses] == [
        "the handbook says 42"
    ]


@pytest.mark.usefixtures("outside")
def test_what_amp_has_itself_wins_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        assert not make_allocator("fixed").uses_complexity
        find_allocator(AUTO)
        find_allocator("amp")  # what version 0.1 called it
        asyncio.run(load_model("random").close())
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "'fixed' of amp.allocators in outside_allocators is not used: amp has its own",
        "'auto' of amp.allocators in outside_allocators is not used: amp has its own",
        "'random' of amp.models in outside_models is not used: amp has its own",
    ]
    with pytest.raises(InvalidInputError, match=r"mean 'thrice'\?") as caught:
        find_allocator("thrise")
    names = str(caught.value).partition("(allocators: ")[2].split(", ")
    assert len(names) == len(set(names))


@pytest.mark.usefixtures("outside")
def test_models_of_packages_are_listed_with_the_others() -> None:
    done = CliRunner().invoke(app, ["models", "list", "--json"])
    listed = {one["name"]: one for one in json.loads(done.stdout)}
    assert listed["twelve"] == {"name": "twelve", "installed": True}
    assert "cannot be imported" in listed["absent"]["problem"]
    assert "random" not in listed
    done = CliRunner().invoke(app, ["models", "list"])
    assert "twelve" in done.stdout
    assert done.stderr.count("cannot be imported") == 1
    with pytest.raises(InvalidInputError, match="mean 'twelve'"):
        load_model("twelv")
