"""Recorded trees of thoughts of our own making, in the form in which pools have them."""

from __future__ import annotations

import random
from typing import Any

VALUES = (0.0, 0.003, 1.002, 2.001, 3.0, 21.001, 60.0)
ANSWERS = {"1 2 3 4": "1 * 2 * 3 * 4", "2 4 6 8": "8 * 6 / (4 - 2)", "4 4 6 8": "(4 + 8) * (6 - 4)"}
"""Puzzles, each with an answer that is right."""


def tot(seed: int, puzzle: str = "1 2 3 4") -> tuple[dict[str, Any], list[list[int]]]:
    """The field ``tot``, and by step which thought each line goes on from."""
    rng = random.Random(seed)
    lefts, steps, parents = [puzzle], [], []
    for number in range(4):
        new, of = [], []
        for rank, left in enumerate(lefts):
            lines = _next(rng, left, puzzle, last=number == 3)
            new += lines
            of += [rank] * len(lines)
        values = [rng.choice(VALUES) for _ in new]
        kept = sorted(range(len(new)), key=lambda index: -values[index])[:5]
        steps.append({"n_in": len(lefts), "new": new, "values": values, "kept": kept})
        parents.append(of)
        lefts = [new[index].partition("left: ")[2].rstrip(")") for index in kept]
    usage = {"prompt_tokens": rng.randint(900, 20_000), "completion_tokens": rng.randint(400, 6000)}
    samples = {"prompt_tokens": 200, "completion_tokens": 1800}
    return {
        "usage": usage,
        "io_usage_total": samples,
        "cot_usage_total": samples,
        "steps": steps,
    }, parents


def _next(rng: random.Random, left: str, puzzle: str, last: bool) -> list[str]:
    numbers = left.split()
    if left == "24":
        right = rng.random() < 0.5
        return [f"Answer: {ANSWERS[puzzle] if right else ' + '.join(puzzle.split())} = 24"]
    if len(numbers) < 2 or last:
        return [f"{numbers[0]} + 2 = {int(numbers[0]) + 2} (left: 8 8 14)"]
    lines = set()
    for _ in range(rng.randint(1, 6)):
        a, b = rng.sample(range(len(numbers)), 2)
        rest = [n for at, n in enumerate(numbers) if at not in (a, b)]
        sign = rng.choice("+*")
        made = 24 if len(numbers) == 2 and rng.random() < 0.5 else rng.randint(30, 99)
        lines.add(
            f"{numbers[a]} {sign} {numbers[b]} = {made} (left: {' '.join([*rest, str(made)])})"
        )
    return sorted(lines)


def puzzles(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of a pool: a tree, 40 answers and 40 chains of each puzzle."""
    rng = random.Random(seed)
    rows = []
    for index in range(number):
        puzzle = rng.choice(sorted(ANSWERS))
        record, _ = tot(seed + index, puzzle)
        chance = rng.choice((0.0, 0.0, 0.05, 0.3))
        arms = {
            arm: [
                {
                    "answer": ANSWERS[puzzle] if good else "1 + 1",
                    "correct": int(good),
                    "completion_tokens": 18,
                }
                for good in (rng.random() < chance for _ in range(40))
            ]
            for arm in ("gpt4-io", "gpt4-cot")
        }
        rows.append(
            {"id": f"made/{index}", "question": puzzle, "gold": "24", "arms": arms, "tot": record}
        )
    return rows
