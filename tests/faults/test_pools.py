"""Pools that are damaged anywhere: each is read, or refused in one line; what is read, works."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

from tests.fakes.pools import rows, write_prices
from tests.pools.test_pool_file import assert_same

from amp.errors import InvalidInputError
from amp.pools import read_pool, write_pool
from amp.pools.summary import summarize_pool

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, 10**20, 10**400, 1e308, float("nan"), float("inf")),
    *("", " ", "\ud800", "\x00", "1e999", "-0", "1_0", " 18 ", "١٨", "A", "x" * 50),
    *([], {}, [1], {"a": 1}, [[]], {"a": {"b": []}}),
)
NAMES = (
    *("", "|", "|x", "pool", "kind", "group", "gold", "large", "huge", "\ud800", "log_prob"),
    *("prompt_tokens", "chars", "source_id", "reasoning_tokens", "difficulty"),
)


def damaged(value: Any, chance: random.Random) -> Any:
    """The value with some of what is in it renamed, left out, added, or replaced."""
    if chance.random() < 0.06:
        return chance.choice(VALUES)
    if isinstance(value, list):
        return [damaged(item, chance) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {
        chance.choice(NAMES) if chance.random() < 0.03 else name: damaged(item, chance)
        for name, item in value.items()
        if chance.random() > 0.01
    }
    return changed | (
        {chance.choice(NAMES): chance.choice(VALUES)} if chance.random() < 0.05 else {}
    )


def with_other_bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def test_a_damaged_pool_is_read_or_refused_in_one_line(tmp_path: Path, thorough: bool) -> None:
    chance = random.Random(1)
    prices, path, again = write_prices(tmp_path), tmp_path / "pool.jsonl", tmp_path / "again.jsonl"
    outcomes = {"read": 0, "refused": 0}
    for _ in range(5000 if thorough else 250):
        header = {"pool": {"name": "x", "arms": ["small", "large"], "notes": ["a"]}}
        lines = [*([header] if chance.random() < 0.1 else []), *rows()]
        lines = [damaged(line, chance) if chance.random() < 0.5 else line for line in lines]
        content = "\n".join(map(json.dumps, lines)).encode()
        if chance.random() < 0.2:
            content = with_other_bytes(content, chance)
        if chance.random() < 0.2:
            content = with_other_bytes(gzip.compress(content), chance)
        path.write_bytes(content)
        for keep_good in (False, True):
            try:
                pool = read_pool(path, prices=prices, keep_good=keep_good)
            except InvalidInputError as error:
                assert "\n" not in str(error)
                outcomes["refused"] += 1
                continue
            outcomes["read"] += 1
            summarize_pool(pool)
            write_pool(pool, again)
            assert_same(read_pool(again, prices=prices), pool)
    assert min(outcomes.values()) > 100
