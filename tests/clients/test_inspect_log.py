"""Inspect reads the logs of runs, and its viewer lists them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.clients.running import needs, output_of, told_by
from tests.fakes.files import DATA, ROOT

from amp.cli import main
from amp.trace import read_episodes
from amp.types import Usage

pytestmark = pytest.mark.slow

RUNS = [
    pytest.param("gsm8k", ("--allocator", "auto"), marks=pytest.mark.data("gsm8k")),
    pytest.param("babyai", ("--level", "BabyAI-GoToLocal-v0", "--allocator", "heuristic")),
]


def made(folder: Path, benchmark: str, options: tuple[str, ...], patch: Any) -> Path:
    """A run of three tasks, from the shipped recordings."""
    recording = ROOT / "recordings" / f"{benchmark}.sqlite"
    told = ["--limit", "3", "--data", str(DATA), "--replay", str(recording)]
    patch.setattr("sys.argv", ["amp", "run", benchmark, *options, *told, "--out", str(folder)])
    main()
    return folder


@pytest.mark.parametrize(("benchmark", "options"), RUNS)
def test_a_log_says_what_the_run_says(
    benchmark: str, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = needs("inspect") / "python"
    run = made(tmp_path / "run", benchmark, options, monkeypatch)
    logs = tmp_path / "logs"
    export = (python, "-m", "amp", "export", run, "--to", "inspect", "--out", logs)
    asyncio.run(output_of(*export, folder=tmp_path))
    (file,) = logs.iterdir()
    told = asyncio.run(told_by("inspect", "inspect_log.py", str(file)))
    episodes = list(read_episodes(run))
    usage = sum((episode.usage for episode in episodes), Usage())
    assert told["task"] == benchmark
    assert told["tokens"] == {told["model"]: usage.tokens}
    won = sum(bool(episode.success) for episode in episodes)
    assert told["metrics"]["success/accuracy"] == pytest.approx(won / len(episodes))
    for sample, episode in zip(told["samples"], episodes, strict=True):
        assert sample["id"] == episode.task.id
        assert sample["scores"] == {
            "success": "C" if episode.success else "I",
            "score": episode.score,
        }
        assert sample["tokens"] == episode.usage.tokens
        assert sample["steps"] == [[s.action, s.complexity.score] for s in episode.steps]
        rounds = [each for step in episode.steps for each in step.rounds]
        assert sample["depths"] == [each.allocation.depth for each in rounds]
        assert sample["messages"] > 2 * len(episode.steps) - 1
        uses = {use.tool for each in rounds for c in each.candidates for use in c.tool_uses}
        assert set(sample["tools"]) == uses
    again = asyncio.run(output_of(*export, folder=tmp_path))
    assert [*logs.iterdir()] == [file], again


async def test_the_viewer_lists_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = needs("inspect")
    options = ("--level", "BabyAI-GoToLocal-v0", "--allocator", "fixed")
    run = await asyncio.to_thread(made, tmp_path / "run", "babyai", options, monkeypatch)
    await output_of(
        *(folder / "python", "-m", "amp", "export", run, "--to", "inspect"), folder=tmp_path
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = (folder / "inspect", "view", "start", "--log-dir", tmp_path / "logs", "--port", port)
    viewing = asyncio.create_task(output_of(*command, folder=tmp_path))
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            listed: dict[str, Any] = {}
            async with asyncio.timeout(120):
                while not listed:
                    with suppress(httpx2.TransportError):
                        listed = (await client.get("/api/logs")).json()
                    await asyncio.sleep(0.1)
        (log,) = listed["files"]
        assert log["task"] == "babyai"
    finally:
        viewing.cancel()
        await asyncio.gather(viewing, return_exceptions=True)
