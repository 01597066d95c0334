"""The pages are for strangers: a short README, true layers, links that lead somewhere."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import re
from typing import Any

import pytest
from experiments.site_links import on_page_markdown
from tests.fakes.files import ROOT
from typer.testing import CliRunner

import amp
from amp.cli import app
from amp.models.base import Prompt
from amp.models.scripted import ScriptedModel
from amp.types import Complexity, Observation, StepContext, StepRecord, Task, Usage

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/*.py", "recordings/*.md")
    for path in ROOT.glob(pattern)
)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140


def test_the_page_on_design_has_the_layers_that_the_linter_holds() -> None:
    linter = configparser.ConfigParser()
    linter.read(ROOT / ".importlinter")
    held = [
        {name.removeprefix("amp.") for name in re.findall(r"amp\.\w+", layer)}
        for layer in linter["importlinter:contract:layers"]["layers"].strip().splitlines()
    ]
    section = (ROOT / "docs" / "design.md").read_text().split("\n## Layers\n")[1]
    lines = re.findall(r"^\d+\. (.*)$", section.partition("\n## ")[0], re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", line)) for line in lines] == held


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_no_place_of_the_developers(page: str) -> None:
    assert not re.search(r"\.\./shared|/work/|/tmp/", (ROOT / page).read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".md")])
def test_a_link_to_a_file_leads_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_a_name_of_the_package_in_a_page_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    for name in set(re.findall(r"`(amp(?:\.[A-Za-z_]\w*)+)`|^::: ([\w.]+)$", text, re.MULTILINE)):
        module, _, attribute = "".join(name).rpartition(".")
        if "".join(name) not in ("amp.toml", *GROUP_NAMES):
            found = importlib.import_module(module)
            assert hasattr(found, attribute) or importlib.util.find_spec("".join(name)), name


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("README", "docs/"))])
def test_a_file_of_the_package_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    for name in re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", text):
        places = [ROOT / name, ROOT / "src" / "amp" / name, *ROOT.glob(f"src/amp/**/{name}")]
        assert any(place.exists() for place in places), name


GROUP_NAMES = {"amp.benchmarks", "amp.models", "amp.tools", "amp.allocators"}
"""Groups of entry points."""
GROUPS = {
    "models",
    "trace",
    "assess",
    "annotations",
    "record",
    "policy",
    "data",
    "pools",
    "lattices",
    "keys",
}


def commands() -> list[str]:
    """Every `amp` command of the pages, in one line and without its comment."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
            lines = re.sub(r"\s*\\\n\s*", " ", block).splitlines()
            found += [
                line.partition("#")[0].strip() for line in lines if re.match(r"\s*amp ", line)
            ]
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_pages_exists_with_its_options(command: str) -> None:
    words = command.split()[1:]
    path = words[: 2 if words[0] in GROUPS else 1]
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}[ ,]", shown.output)


GUIDE = (ROOT / "docs" / "guides" / "own-environment.md").read_text()


def test_the_guide_shows_the_prompt_that_the_model_reads() -> None:
    done, state = "fill the kettle", Observation("done so far: fill the kettle")
    step = StepRecord(Observation(), (), Complexity(0.1), done, Usage(), feedback="ok")
    context = StepContext(Task("kitchen/tea", "make a cup of tea"), state, (step,))
    actions = ("boil the water", "fill the kettle", "pour the tea")
    system, user, _ = amp.PlainPrompts().choose(context, actions, "123", "").messages
    assert f"```\n{user.content}\n```" in GUIDE
    assert f'"{system.content}"' in GUIDE


async def test_the_guides_example_in_free_text_runs() -> None:
    (code,) = re.findall(r"```python\n(import re\n.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)

    def answer(prompt: Prompt, sample: int) -> str:
        return "Action: 5" if "10 is too high." in str(prompt.messages) else "Guess 10."

    episode = await amp.Planner(ScriptedModel(answer)).run("find it", names["Guess"]())
    assert (episode.plan, episode.success) == (("Guess 10.", "5"), True)


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/guides")])
def test_an_example_that_a_guide_includes_is_linked_above_and_not_on_the_site(page: str) -> None:
    text = (ROOT / page).read_text()
    for name in re.findall(r'--8<-- "examples/(\w+\.py)"', text):
        before = text.partition(f'--8<-- "examples/{name}"')[0]
        assert f"[`examples/{name}`](../../examples/{name}).\n\n``` {{ .python }}\n" in before
    assert "](../../examples" not in on_page_markdown(text)
