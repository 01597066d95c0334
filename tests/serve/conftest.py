"""What several tests of the gateway start with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.redis import redis_server


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """10 dollars a million prompt tokens, 1 cached, 100 completion tokens."""
    table = tmp_path / "prices.toml"
    row = "prompt = 10.0\ncached = 1.0\ncompletion = 100.0\n"
    table.write_text(f"[openai.gpt]\n{row}[anthropic.claude]\n{row}")
    return table


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis; whoever asks for it is skipped where there is none."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url
