"""Several writers of one recording, and one that is killed."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.models.test_recorded import ask

from amp.models.base import Request
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel


async def test_identical_requests_at_once_are_asked_for_once(tmp_path: Path) -> None:
    inner = ScriptedModel(["a", "b"], delay_seconds=0.02)
    model = RecordedModel(inner, tmp_path / "pool.sqlite")
    answers = await asyncio.gather(*(model.generate(Request(ask(), n=2)) for _ in range(5)))
    await asyncio.gather(*(model.next_token(ask()) for _ in range(5)))
    assert len(inner.requests) == len(inner.probes) == 1
    assert all(answer == answers[0] for answer in answers)
    assert model.recording.store.sizes()["samples"] == 2
    await model.close()


_WRITER = """
import asyncio, sys
from amp.models.base import Message, Prompt, Request
from amp.models.recorded import RecordedModel
from amp.models.scripted import ALL_CAPABILITIES, ScriptedModel
path, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
async def main():
    inner = ScriptedModel(lambda prompt, index: f"{who} " + "word " * 200)
    model = RecordedModel(inner, path, "auto")
    for i in range(count):
        prompt = Prompt((Message("system", "s"), Message("user", str(i))), 500, version="test/1")
        (done,) = await model.generate(Request(prompt))
        print(i, done.text.split()[0], flush=True)
    await model.close()
asyncio.run(main())
"""


def start_writer(path: Path, who: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(path), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def counted(path: Path) -> tuple[int, int]:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = connection.execute("SELECT count(*), count(DISTINCT key) FROM samples").fetchone()
    connection.close()
    return int(rows[0]), int(rows[1])


def test_a_killed_writer_loses_no_committed_sample(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    with start_writer(path, "a", 1_000_000) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(100)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    assert writer.returncode == -signal.SIGKILL
    reported = len(said)
    rows, keys = counted(path)
    assert rows == keys
    assert reported <= rows <= reported + 1  # one may be written and not yet reported
    again = start_writer(path, "b", reported)
    output, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert {line.split()[1] for line in output.splitlines()} == {"a"}


def test_two_writers_at_once_share_one_set_of_samples(tmp_path: Path) -> None:
    path = tmp_path / "pool.sqlite"
    writers = [start_writer(path, who, 200) for who in "ab"]
    outputs = []
    for writer in writers:
        output, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
        outputs.append(output)
    assert outputs[0] == outputs[1]  # whoever was first, both go on with the same sample
    assert counted(path) == (200, 200)
