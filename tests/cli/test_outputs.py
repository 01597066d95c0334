"""Outputs that cannot be written are refused in one line, before anything else is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup as Group
from typer.testing import CliRunner

from amp.cli import app
from amp.errors import InvalidInputError

COMMANDS = {
    "run gsm8k --split demo --model random --out {}",
    "run gsm8k --split demo --model random --out {} --resume",
    "run gsm8k --split demo --model random --record {}",
    "train configs/train-online.toml --online --model random --out new --record {}",
    "solve 2+2 --model random --record {}",
    "sweep configs/gsm8k.toml --out {}",
    "record gsm8k --to {}",
    "train configs/train-gsm8k.toml --out {}",
    "train configs/train-online.toml --online --model random --out {}",
    "train --from-traffic nothing --to {}",
    "assess train nothing --out {}",
    "assess report nothing --html {}",
    "report nothing --html {}",
    "report nothing --markdown {}",
    "report nothing --csv {}",
    "simulate nothing --train nothing --csv {}",
    "simulate nothing --train nothing --html {}",
    "policy show nothing --svg {}",
    "pools import nothing --to {}",
    "pools train configs/pools/mcq_effort.toml --to {}",
    "pools compare configs/pools/mcq_effort.toml --out {}",
    "lattices compare configs/lattices/babyai.toml --out {}",
    "lattices ablate configs/lattices/ablations.toml --out {}",
    "lattices label configs/lattices/babyai.toml --out {}",
    "export nothing --to inspect --out {}",
    "demo --svg {}",
    "annotate nothing --by ann --out {}",
    "annotations export nothing --out {}",
    "annotations sheets nothing --by ann --by ben --out {}",
    "annotations scores nothing --out {}",
    "annotations tasks nothing --out {}",
    "annotations import nothing --out {}",
    "annotations solutions --out {}",
    "annotations outcomes nothing --out {}",
}


def file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "out"


PLACES: dict[str, Callable[[Path], Path]] = {
    "in a file": file,
    "not to be written": lambda folder: Path("/proc/amp/out"),
    "too long": lambda folder: folder / ("n" * 300),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_an_output_that_cannot_be_written_is_refused_beforehand(
    command: str, place: str, tmp_path: Path
) -> None:
    path = PLACES[place](tmp_path)
    words = [str(path) if word == "{}" else word for word in command.split()]
    with pytest.raises(InvalidInputError, match=r"^[^\n]* cannot be written: [^\n]*$"):
        CliRunner().invoke(app, words, catch_exceptions=False)


NAMES = {"--out", "--record", "--to", "--html", "--markdown", "--csv", "--svg"}


def outputs(group: Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every option that names an output, with the words of its command before it."""
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from outputs(command, (*words, name))
            continue
        for option in command.params:
            if (name, option.opts[0]) == ("export", "--to"):  # names a format
                continue
            if option.opts[0] in NAMES and not getattr(option, "is_flag", False):
                yield (*words, name, option.opts[0])


def test_no_option_is_left_out_above() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, Group)
    for *words, option in outputs(group):
        alike = [c for c in COMMANDS if c.startswith(" ".join(words)) and option in c.split()]
        assert alike or words[:1] == ["record"], (words, option)
