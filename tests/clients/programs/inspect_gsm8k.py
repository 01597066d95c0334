"""Inspect answers problems of GSM8K: URL FILE-OF-PROBLEMS FOLDER-OF-LOGS."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate


def main(url: str, problems: Path, logs: Path) -> None:
    rows = [json.loads(line) for line in problems.read_text("utf-8").splitlines()]
    samples = [
        Sample(input=row["question"], target=row["answer"].rpartition("####")[2].strip())
        for row in rows
    ]
    task = Task(MemoryDataset(samples), solver=generate(), scorer=match(numeric=True))
    (log,) = eval(task, model="openai/gpt", model_base_url=url, display="none", log_dir=str(logs))
    assert log.status == "success", log.error
    assert log.results is not None
    (usage,) = log.stats.model_usage.values()
    found = {
        "accuracy": log.results.scores[0].metrics["accuracy"].value,
        "samples": log.results.completed_samples,
        "tokens": usage.total_tokens,
        "cached": usage.input_tokens_cache_read,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
