"""Problems as tasks: which files, in which order, and what is said of damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amp.benchmarks.base import Benchmark
from amp.benchmarks.download import find_data
from amp.benchmarks.gsm8k import GSM8K
from amp.benchmarks.gsm8k.problems import own_problems, read_problems, split_training
from amp.errors import InvalidInputError, MissingDependencyError
from amp.execute.tools import TOOLS
from amp.execute.tools.calculator import wrong_equation


def lines(count: int) -> str:
    rows = [
        {"question": f"How many are {n} + 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"}
        for n in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    (folder / "train.jsonl").write_text(lines(60))
    (folder / "test_first7.jsonl").write_text(lines(7))
    return tmp_path


def test_it_is_a_benchmark() -> None:
    benchmark: Benchmark = GSM8K()
    assert benchmark.name == "gsm8k"
    assert set(benchmark.tools) == set(TOOLS)
    assert benchmark.environment_tools == ()
    assert (GSM8K().max_steps, GSM8K(step="reasoning").max_steps) == (1, 12)


def test_test_tasks_come_in_file_order(data: Path) -> None:
    tasks = GSM8K(data).tasks("test", limit=3, seed=5)
    assert [task.id for task in tasks] == ["gsm8k/test/0", "gsm8k/test/1", "gsm8k/test/2"]
    assert tasks[2].goal == "How many are 2 + 1?"
    assert tasks[2].data == {"answer": "3", "steps": 1}
    assert tasks[2].seed == 5
    assert len(GSM8K(data).tasks("test")) == 7


def test_the_full_test_file_is_preferred(data: Path) -> None:
    (data / "gsm8k" / "test.jsonl").write_text(lines(9))
    assert len(GSM8K(data).tasks("test")) == 9


def test_several_partial_test_files_are_refused(data: Path) -> None:
    (data / "gsm8k" / "test_other.jsonl").write_text(lines(9))
    with pytest.raises(InvalidInputError, match=r"test_first7\.jsonl, test_other\.jsonl"):
        GSM8K(data).tasks("test")


def test_no_test_file_says_where_to_get_one(data: Path) -> None:
    (data / "gsm8k" / "test_first7.jsonl").unlink()
    with pytest.raises(MissingDependencyError, match=r"get test\.jsonl"):
        GSM8K(data).tasks("test")


def test_train_and_dev_part_the_training_file(data: Path) -> None:
    benchmark = GSM8K(data)
    train = {task.goal for task in benchmark.tasks("train")}
    dev = {task.goal for task in benchmark.tasks("dev")}
    assert len(dev) == 6
    assert len(train) == 54
    assert not train & dev
    assert benchmark.tasks("dev") == benchmark.tasks("dev")


def test_the_split_rule_is_pinned(data: Path) -> None:
    split = split_training(read_problems(data / "gsm8k" / "train.jsonl"))
    assert [problem.number for problem in split.dev] == [19, 24, 27, 35, 37, 59]


def test_an_unknown_split_names_the_nearest(data: Path) -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'train'"):
        GSM8K(data).tasks("trian")


def test_an_unknown_step_names_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'reasoning'"):
        GSM8K(step="reason")


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="limit is -1"):
        GSM8K().tasks("demo", limit=-1)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b'{"question": "How many?"}',
        b'{"question": "How many?", "answer": "72"}',
        b'{"question": 5, "answer": "#### 72"}',
        b'{"question": " ", "answer": "#### 72"}',
        b'{"question": "How many?", "answer": 72}',
        b'{"question": "\xff", "answer": "#### 72"}',
        b"[" * 100_000,
    ],
)
def test_a_corrupt_line_is_named(line: bytes, data: Path) -> None:
    path = data / "gsm8k" / "test.jsonl"
    path.write_bytes(lines(2).encode() + line + b"\n")
    with pytest.raises(InvalidInputError, match=r"test\.jsonl:3: "):
        GSM8K(data).tasks("test")


def test_a_file_that_cannot_be_read_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="cannot read"):
        read_problems(tmp_path / "none.jsonl")


def test_the_demo_needs_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMP_DATA", raising=False)
    tasks = GSM8K().tasks("demo")
    assert len(tasks) == 6
    assert len({task.data["steps"] for task in tasks}) > 2


def test_the_arithmetic_of_the_own_problems_holds() -> None:
    rows = (Path(__file__).parents[3] / "src/amp/benchmarks/gsm8k/problems.jsonl").read_text()
    for row in rows.splitlines():
        assert wrong_equation(json.loads(row)["answer"]) is None
    answers = [problem.answer for problem in own_problems()]
    assert answers == ["87", "160", "105", "70", "1200", "3"]


# --------------------------------------------------------------------------- where data lies


def test_the_first_place_that_is_given_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parent in ("option", "variable", "cache/amp/data"):
        (tmp_path / parent / "gsm8k").mkdir(parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AMP_DATA", str(tmp_path / "variable"))
    assert find_data("gsm8k", tmp_path / "option") == tmp_path / "option" / "gsm8k"
    assert find_data("gsm8k") == tmp_path / "variable" / "gsm8k"
    monkeypatch.delenv("AMP_DATA")
    assert find_data("gsm8k") == tmp_path / "cache" / "amp" / "data" / "gsm8k"


def test_missing_data_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMP_DATA", str(tmp_path / "variable"))
    with pytest.raises(MissingDependencyError, match=r"option.gsm8k \(as it was named\)"):
        find_data("gsm8k", tmp_path / "option")
    with pytest.raises(MissingDependencyError, match=r"variable.gsm8k \(AMP_DATA\)") as caught:
        find_data("gsm8k")
    assert "\n" not in str(caught.value)


def real_data() -> list[Path]:
    try:
        return [find_data("gsm8k")]
    except MissingDependencyError:
        return []


@pytest.mark.parametrize("folder", real_data())
def test_the_real_data_parts_as_documented(folder: Path) -> None:
    benchmark = GSM8K(folder.parent)
    assert len(benchmark.tasks("train")) == 6973
    assert len(benchmark.tasks("dev")) == 500
    test = benchmark.tasks("test")
    assert len(test) >= 660
    assert test[0].data == {"answer": "18", "steps": 2}
