"""A study says what it wants, and says where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from amp.assess.base import Group
from amp.errors import InvalidInputError
from amp.evaluate.sweep import Cell, Study, read_study, slug
from amp.types import Limits

SMALL = """
seeds = [0, 1]
models = ["openai:small", "large.gguf"]

[benchmarks.gsm8k]
recording = "pool-{model}.sqlite"

[benchmarks.doors]
benchmark = "babyai"
level = "BabyAI-OpenTwoDoors-v0"
split = "dev"
record = "doors.sqlite"

[allocators.again]
allocator = "shuffled"
of = "mine"

[allocators.mine]
allocator = "heuristic"
depth = 2
tools = ["python"]
only = ["uncertainty"]
probes = ["next_token"]
rounds = 3
budget_tokens = 900

[allocators.learned]
allocator = "policies/best.safetensors"
trade_off = 0.9
assessor = "cam.safetensors"
without = ["hidden", "structure"]
"""


def study(folder: Path, text: str = SMALL) -> Study:
    path = folder / "small.toml"
    path.write_text(text)
    return read_study(path)


def test_there_is_a_cell_for_every_combination_and_those_that_deal_come_last(
    tmp_path: Path,
) -> None:
    cells = study(tmp_path).cells()
    assert len(cells) == len(set(cells)) == 2 * 2 * 3 * 2
    first = [cell.allocator for cell in cells[:6]]
    assert first == ["mine", "mine", "learned", "learned", "again", "again"]
    assert cells[0].name == "gsm8k/openai-small/mine/seed-0"


def test_a_cell_has_the_settings_of_its_tables(tmp_path: Path) -> None:
    made, out = study(tmp_path), tmp_path / "out"
    mine = made.settings(Cell("gsm8k", "large.gguf", "mine", 1), "test", out)
    assert (mine.split, mine.seed, mine.allocator, mine.rounds) == ("test", 1, "heuristic", 3)
    assert mine.pins == {"depth": 2, "tools": frozenset({"python"})}
    assert mine.limits == Limits(tokens=900)
    assert mine.left_out == frozenset(get_args(Group)) - {"uncertainty"}
    assert mine.probes == {"next_token"}
    assert mine.orders
    dealt = made.settings(Cell("doors", "large.gguf", "again", 1), "test", out)
    assert dealt.of == out / "doors/large.gguf/mine/seed-1"
    assert (dealt.split, dealt.orders) == ("dev", False)


def test_paths_are_meant_from_the_folder_of_the_file(tmp_path: Path) -> None:
    made = study(tmp_path)
    learned = made.settings(Cell("gsm8k", "large.gguf", "learned", 0), "test", tmp_path)
    assert learned.allocator == str(tmp_path / "policies/best.safetensors")
    assert learned.assessor == tmp_path / "cam.safetensors"
    assert learned.left_out == {"hidden", "structure"}
    cell = Cell("gsm8k", "openai:small", "mine", 0)
    assert made.recording(cell) == tmp_path / "pool-openai-small.sqlite"


def test_a_model_of_any_name_has_a_directory() -> None:
    assert slug("openai:org/name") == "openai-org-name"
    assert slug("qwen2.5-coder-1.5b") == "qwen2.5-coder-1.5b"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("depth = 2", "dept = 2", r"allocators\.mine\.dept is no key; did you mean 'depth'\?"),
        ("level =", "levle =", r"benchmarks\.doors\.levle is no key; did you mean 'level'\?"),
        ("seeds =", "seed =", r"small\.toml: seed is no key; did you mean 'seeds'\? .*jobs"),
        ("depth = 2", 'depth = "2"', r"allocators\.mine\.depth is '2': .*integer"),
        (
            "rounds = 3",
            "rounds = 0",
            r"allocators\.mine\.rounds is 0: .*greater than or equal to 1",
        ),
        ("0.9", "1.9", r"allocators\.learned\.trade_off is 1\.9"),
        (
            '["uncertainty"]',
            '["certainty"]',
            r"allocators\.mine\.only\.0 is 'certainty': .*'hidden",
        ),
        ('of = "mine"', 'of = "mien"', r"allocators\.again\.of is 'mien'; did you mean 'mine'\?"),
        ('"shuffled"\nof = "mine"', '"fixed"\nof = "again"', r"allocators\.again\.of is 'again'"),
        ('models = ["openai:small", "large.gguf"]', "", "models is missing"),
        ("[0, 1]", "[0, 0]", "seeds: 0 stands there twice"),
        ("[0, 1]", "[0, -1]", r"seeds\.1 is -1"),
        ("[allocators.mine]", '[allocators."a/b"]', "'a/b' names a directory"),
        ('record = "', 'recording = "x"\nrecord = "', r"benchmarks\.doors: .*exclude each other"),
        (
            "without =",
            'only = ["hidden"]\nwithout =',
            r"allocators\.learned: without and only excl",
        ),
        (
            '"heuristic"',
            '"heuristic"\nmethod = "react"',
            r"allocators\.mine: expected an allocator",
        ),
        ("seeds", "seeds seeds", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in SMALL
    with pytest.raises(InvalidInputError, match=message) as caught:
        study(tmp_path, SMALL.replace(before, after))
    assert str(tmp_path / "small.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.toml cannot be read: No such file"):
        read_study(tmp_path / "none.toml")
