"""A small pool of our own making, as rows of its file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PRICES = (
    '"small" = { prompt = 1.0, completion = 2.0 }\n"large" = { prompt = 10, completion = 20 }\n'
)


def sample(answer: object, correct: object, **more: Any) -> dict[str, Any]:
    return {"answer": answer, "correct": correct, "completion_tokens": 10} | more


def rows() -> list[dict[str, Any]]:
    """Four tasks of two exams, two of one group; two arms of a small model and one of a large."""
    return [
        {
            "id": "sums/1",
            "exam": "sums",
            "question": "What is 9 + 9? Give the number.",
            "gold": 18,
            "arms": {
                "small|short": [sample(18, 1), sample("18.0", 1), sample(17, 0)],
                "small|long": [sample(17, 0, completion_tokens=40), sample(18, 1)],
                "large": [sample("18", 1)],
            },
        },
        {
            "id": "sums/2",
            "exam": "sums",
            "question": "What is 7 * 8? Give the number.",
            "gold": "56",
            "arms": {
                "small|short": [sample(54, 0), sample(54, 0), sample(None, 0)],
                "large": [sample(56, 1)],
            },
        },
        {
            "id": "choices/1",
            "exam": "choices",
            "source": "book",
            "source_id": 3,
            "problem_chars": 80,
            "gold": "B",
            "difficulty": {"people": 0.5},
            "arms": {
                "small|short": [sample("A", 0), sample("B", 1), sample("C", 0)],
                "small|long": [sample("B", 1), sample("B", 1)],
                "large": [sample("A", 0)],
            },
        },
        {
            "id": "choices/2",
            "exam": "choices",
            "source": "book",
            "source_id": 3,
            "problem_chars": 40,
            "gold": "A",
            "topic": "letters",
            "arms": {"small|short": [sample("B", 0)], "large": [sample("A", 1, prompt_tokens=30)]},
        },
    ]


def write_rows(folder: Path, lines: Sequence[Mapping[str, Any] | str]) -> Path:
    """Writes a pool's file; texts are lines as they are."""
    path = folder / "small.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def write_prices(folder: Path) -> Path:
    path = folder / "prices.toml"
    path.write_text(PRICES)
    return path
