"""The guide's agent runs as it stands there: behind a gateway with budgets, and in one process."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.files import ROOT
from tests.fakes.upstream import WORDS, serving, working
from tests.serve.running import gateway

from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.serve.traffic.writer import Watching
from amp.serve.upstreams.fleet import Route

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs" / "guides" / "gateway.md").read_text(encoding="utf-8")
AGENT, BEHIND, WITHIN = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
TEXT = "".join(WORDS)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    table = tmp_path / "prices.toml"
    table.write_text('[openai."gpt-5-mini"]\nprompt = 10.0\ncached = 1.0\ncompletion = 100.0\n')
    return table


async def test_behind_a_gateway(prices: Path, tmp_path: Path) -> None:
    file, books = tmp_path / "traffic.sqlite", SqliteAccounts(tmp_path / "accounts.sqlite")
    token = books.accounts.add("clerk", KeyLimits(dollars_per_day=5, episode_dollars=0.25))
    async with (
        serving(working) as upstream,
        gateway(
            upstream.url,
            prices=prices,
            accounts=books,
            routes=[Route(policy="rules")],
            watching=Watching(file),
        ) as amp,
    ):
        names: dict[str, Any] = {}
        code = BEHIND.replace("http://127.0.0.1:8080", amp.url).replace("amp-...", token)
        await asyncio.to_thread(exec, AGENT + code, names)
        names["client"].close()
    assert names["answer"] == TEXT
    assert [asked.json.get("reasoning_effort") for asked in upstream.asked] == [None, "low"]
    with sqlite3.connect(file) as kept:
        assert kept.execute("SELECT count(*) FROM calls").fetchone() == (2,)
        assert kept.execute("SELECT count(*) FROM outcomes").fetchone() == (1,)
    kept.close()


async def test_in_one_process(prices: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("AMP_PRICES", str(prices))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    async with serving(working) as upstream:
        monkeypatch.setenv("OPENAI_BASE_URL", upstream.url)
        names: dict[str, Any] = {}
        await asyncio.to_thread(exec, AGENT + WITHIN, names)
        names["client"].close()
    assert names["answer"] == TEXT
    assert capsys.readouterr().out == "$0.0019 for 2 calls\n"
