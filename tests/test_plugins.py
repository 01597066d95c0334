"""Entry points of other packages: found by name, imported when asked for, broken ones named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from amp.errors import InvalidInputError, MissingDependencyError
from amp.plugins import load_plugin, plugin_names


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(
    site: Path, package: str, tools: dict[str, str], module: str = "class Tool: ..."
) -> None:
    """What installing a package leaves behind: a module, and a directory of metadata."""
    (site / f"{package}.py").write_text(module)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in tools.items())
    (info / "entry_points.txt").write_text(f"[amp.tools]\n{lines}")


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
