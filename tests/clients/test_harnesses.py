"""Evaluation harnesses ask ten problems of GSM8K through the gateway, and read its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.clients.running import needs, output_of, told_by
from tests.fakes.files import DATA
from tests.fakes.upstream import USAGE, Asked, Reply, either, serving
from tests.serve.running import gateway

pytestmark = [pytest.mark.slow, pytest.mark.data("gsm8k")]

TASK = """
include: {shipped}
task: gsm8k_here
dataset_path: json
dataset_name: null
dataset_kwargs:
  data_files:
    train: {train}
    test: {test}
"""


def problems(file: str, first: int, count: int) -> list[dict[str, str]]:
    lines = (DATA / "gsm8k" / file).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines[first : first + count]]


def written(rows: list[dict[str, str]], path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def solving(rows: list[dict[str, str]]) -> Callable[[Asked], Reply]:
    """A model that solves every problem but the last two."""
    answers = {row["question"]: row["answer"] for row in rows[:-2]}

    def respond(asked: Asked) -> Reply:
        if asked.method == "GET":
            return either(asked)
        said = json.dumps(asked.json["messages"], ensure_ascii=False)
        known = [a for q, a in answers.items() if json.dumps(q, ensure_ascii=False)[1:-1] in said]
        return either(asked, [*(known or ["I give up.", " #### -1"])])

    return respond


async def test_inspect_evaluates_ten_problems(tmp_path: Path) -> None:
    needs("inspect")
    rows = problems("test_first660.jsonl", 0, 10)
    file = written(rows, tmp_path / "test.jsonl")
    async with serving(solving(rows)) as upstream, gateway(upstream.url) as amp:
        told = await told_by(
            "inspect",
            "inspect_gsm8k.py",
            amp.v1,
            str(file),
            str(tmp_path / "logs"),
            OPENAI_API_KEY="k",
        )
        spent = amp.accounts.spent
    assert (told["accuracy"], told["samples"]) == (0.8, 10)
    assert (told["tokens"], told["cached"]) == (10 * USAGE["total_tokens"], 160)
    assert (spent.model_calls, spent.tokens, spent.estimated_calls) == (10, told["tokens"], 0)


async def test_lm_eval_evaluates_ten_problems(tmp_path: Path) -> None:
    python = needs("lmeval") / "python"
    rows = problems("test_first660.jsonl", 0, 12)
    (shipped,) = python.parent.parent.glob("lib/*/site-packages/lm_eval/tasks/gsm8k/gsm8k.yaml")
    task = TASK.format(
        shipped=shipped,
        train=written(problems("train.jsonl", 0, 20), tmp_path / "train.jsonl"),
        test=written(rows, tmp_path / "test.jsonl"),
    )
    (tmp_path / "gsm8k_here.yaml").write_text(task)
    async with serving(solving(rows[:10])) as upstream, gateway(upstream.url) as amp:
        model = f"model=gpt,base_url={amp.v1}/chat/completions,num_concurrent=2,max_retries=1"
        options: list[str | Path] = ["--include_path", tmp_path, "--output_path", tmp_path / "out"]
        await output_of(
            *(python, "-m", "lm_eval", "--model", "local-chat-completions", "--model_args", model),
            *("--tasks", "gsm8k_here", "--limit", "10", "--apply_chat_template", *options),
            folder=tmp_path,
            variables={
                "OPENAI_API_KEY": "k",
                "HF_HUB_OFFLINE": "1",
                "HF_HOME": str(tmp_path / "hub"),
            },
        )
        spent = amp.accounts.spent
    (results,) = (tmp_path / "out").rglob("results_*.json")
    told: dict[str, Any] = json.loads(results.read_text("utf-8"))["results"]["gsm8k_here"]
    assert told["exact_match,strict-match"] == 0.8
    assert (spent.model_calls, spent.estimated_calls) == (10, 0)
    assert spent.tokens == 10 * USAGE["total_tokens"]
