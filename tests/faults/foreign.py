"""Files that are not what a command expects, and a few that are."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sqlite3
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from amp.evaluate import Assembly, PlannerConfig, RunConfig, manifest, run_tasks
from amp.models.base import Prompt
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.trace import EPISODES, MANIFEST, RunDirectory

STEERS = "\x1b]52;c;QUJD\x07\x1b[2J\x9b31m\u202e[/red]"
"""Sets the clipboard, clears the screen, turns the writing around, and closes no markup."""

ELSEWHERE = (
    *("/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem", "/dev/stdin", "/", "/proc"),
    *("n" * 300, "a/" * 200 + "b", f"absent{STEERS}", "", " ", "~", "..", "-"),
)
"""Names that are no file of anybody's, or one of the system's."""


def make_good(folder: Path) -> None:
    """What commands expect, by the same names everywhere: ``run``, ``pool.sqlite``, ``*.toml``."""
    folder.mkdir(parents=True)
    config = RunConfig(
        benchmark="gsm8k", split="demo", limit=2, planner=PlannerConfig(allocator="heuristic")
    )
    benchmark = config.load_benchmark()
    assembly = Assembly.of(config.planner, benchmark)
    tasks = config.load_tasks(benchmark)
    model = RecordedModel(
        ScriptedModel(answers=_program),
        folder / "pool.sqlite",
        mode="record",
        prompts=assembly.prompts,
    )

    async def record() -> None:
        settings = manifest(config, assembly, model, tasks)
        with RunDirectory.create(folder / "run", settings) as directory:
            await run_tasks(assembly.planner(model), benchmark, tasks, directory)
        await model.close()

    asyncio.run(record())
    folder.joinpath("sweep.toml").write_text(
        'models = ["random"]\n[benchmarks.gsm8k]\nsplit = "demo"\nlimit = 1\n'
        '[allocators.fixed]\nallocator = "fixed"\n'
    )
    folder.joinpath("notes.jsonl").write_text(
        '{"task": "gsm8k/demo/0", "step": 0, "rating": 3, "by": "ann"}\n'
    )


def _program(prompt: Prompt, sample: int) -> str:
    return "```python\nanswer = 7\n```"


def make_foreign(folder: Path) -> list[str]:
    """Makes one file of each kind in a folder; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _contents():
        folder.joinpath(name).write_bytes(content)
    (folder / "directory").mkdir()
    (folder / "run.sqlite").mkdir()
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.sqlite")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "zero.sqlite").symlink_to("/dev/zero")
    _sqlite(folder / "foreign.sqlite", "CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    _sqlite(folder / "views.sqlite", "CREATE VIEW answers AS SELECT 1; CREATE VIEW x AS SELECT 1")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("run.json", "{}")
    for name, text in _manifests():
        run = folder / name
        run.mkdir()
        (run / MANIFEST).write_text(text)
        (run / EPISODES).write_text("{}\n")
    return sorted(os.listdir(folder))


def _contents() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "zeros", bytes(4096)
    yield "noise", bytes((i * 7919 + i * i) % 256 for i in range(5000))
    yield "text.md", b"# Readme\n\nSome prose, [and](a link).\n"
    yield "latin1.toml", "name = 'gr\u00fcn'\n".encode("latin-1")
    yield "utf16.json", '{"a": 1}'.encode("utf-16")
    yield "bom.toml", b"\xef\xbb\xbfmodel = 'random'\n"
    yield "surrogate.jsonl", b'{"task": {"id": "\\ud800", "goal": "\\udfff"}}\n'
    yield "object.json", b'{"a": 1}\n'
    yield "array.json", b"[1, 2, 3]\n"
    yield "number.json", b"7\n"
    yield "null.json", b"null\n"
    yield "nan.json", b'{"score": NaN, "cost": -Infinity}\n'
    yield "huge-number.json", b'{"a": 1' + b"0" * 5000 + b"}\n"
    yield "deep.json", b"[" * 200_000 + b"]" * 200_000 + b"\n"
    yield "deep-object.json", b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n"
    yield "deep.toml", b"a = " + b"[" * 20_000 + b"]" * 20_000 + b"\n"
    yield "dotted.toml", b".".join([b"a"] * 20_000) + b" = 1\n"
    yield "steers.toml", f'"{json.dumps(STEERS)[1:-1]}" = 1\n'.encode()
    yield "unknown.toml", b"[[benchmarks]]\nname = 'x'\n"
    yield "nul-path.toml", b'model = "random"\ndata = "\\u0000"\nprices = "\\u0000"\n'
    yield "long-line.jsonl", b'{"task": "' + b"x" * 3_000_000 + b'"}\n'
    yield "table.csv", b"task,step,rating\na,b,c\n\x00,1,9\n"
    yield "wide.csv", b"a," * 50_000 + b"\n"
    yield "picture.png", b"\x89PNG\r\n\x1a\n" + bytes(60)
    yield "packed.gz", gzip.compress(b"{}\n" * 1000)
    yield "half.sqlite", b"SQLite format 3\x00" + bytes(200)
    yield "header-only.sqlite", b"SQLite format 3\x00\x10\x00\x02\x02\x00\x40\x20\x20" + bytes(4072)
    yield "huge-header.safetensors", struct.pack("<Q", 1 << 60) + b"{}"
    yield "no-header.safetensors", struct.pack("<Q", 2) + b"{}"
    yield "list.safetensors", struct.pack("<Q", 2) + b"[]"
    yield "other.safetensors", _safetensors({"format": "pt"})
    yield "bad-policy.safetensors", _safetensors({"kind": "sigmoid", "policy": "{}", "space": "[]"})
    yield "nan-policy.safetensors", _safetensors({"policy": '{"kind": NaN}', "header": "[1]"})
    yield "stub.gguf", b"GGUF" + bytes(20)
    yield f"name{STEERS.replace('/', '')}.jsonl", b"{}\n"


def _safetensors(metadata: dict[str, str]) -> bytes:
    tensors = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<f", float("nan"))


def _sqlite(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def _manifests() -> Iterator[tuple[str, str]]:
    """Directories that look like runs, by their ``run.json``."""
    yield "run-empty", ""
    yield "run-list", "[]"
    yield "run-deep", "[" * 100_000
    yield "run-types", '{"config": {"planner": [], "benchmark": 7}, "tasks": 3, "model": "x"}'
    yield "run-null", '{"config": null, "model": null, "tasks": null, "versions": null}'
    yield "run-old", '{"benchmark": [], "limits": 3, "pinned": "x", "policy": {}}'
    yield "run-nan", '{"config": {"planner": {"trade_off": NaN}, "seed": Infinity}, "tasks": [NaN]}'


_VALUES: list[object] = [
    *(None, True, [], {}, "", " ", STEERS, "\ud800", "x" * 5000, [[]], {"a": {}}),
    *(-1, 0, 10**400, -(10**19), 0.5, 1e308, float("nan"), float("inf"), float("-inf")),
]


@st.composite
def spoilt(draw: st.DrawFn, text: str) -> str:
    """A JSON text in which one to three values are something else."""
    document = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        holder, key = draw(st.sampled_from(places))
        holder[key] = draw(st.sampled_from(_VALUES))
    return json.dumps(document)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key in a document, itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in list(inner):
        yield value, key
        if isinstance(one, dict | list):
            yield from _places(one)
