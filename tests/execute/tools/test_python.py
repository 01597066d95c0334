"""Programs run within their limits and leave nothing behind."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.execute.program import find_program
from amp.execute.sandbox import CHILD, run_limited
from amp.execute.tools.python import PythonTool
from amp.types import ToolUse

PATIENCE_SECONDS = 30
"""With a busy machine; what is not ended takes a minute."""


async def run(program: str, tool: PythonTool | None = None) -> ToolUse:
    use = await (tool or PythonTool(wall_seconds=PATIENCE_SECONDS)).use(
        f"```python\n{program}\n```"
    )
    assert use is not None
    assert use.tool == "python"
    assert bool(use.output) != bool(use.error)
    assert "\n" not in use.output
    assert "\n" not in (use.error or "")
    return use


async def error_of(program: str, tool: PythonTool | None = None) -> str:
    use = await run(program, tool)
    assert use.error is not None
    return use.error


# --------------------------------------------------------------------------- finding the program


@settings(deadline=None)
@given(
    st.sampled_from(
        ["answer = 6 * 7", "print(6 * 7)", "a = 6\nanswer = a * 7", "for answer in range(3):\n  1"]
    )
)
def test_the_way_a_program_is_fenced_does_not_matter(program: str) -> None:
    for text in (
        program,
        f"```python\n{program}\n```",
        f"```Python\n{program}\n```\n",
        f"```py\n{program}\n```\nThis prints the answer.",
        f"```\n{program}\n```",
        f"Here it is:\n\n```python\n{program}\n```",
        f"```python\n{program}",
        f"{program}\n```",
        f"```text\nanswer is easy\n```\n```python\n{program}\n```",
        f"```python\nanswer = 1\n```\nBetter:\n```python\n{program}\n```",
        "\n".join(f"    {line}" for line in f"```python\n{program}\n```".splitlines()),
    ):
        assert find_program(text) == program


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The answer is 42.",
        "answer",
        "x = 42",
        "```python\nx = (1 +",
        "```python\nx = 1",
        "```sql\nselect answer = 1",
        "```text\nanswer = 1\n```",
        "answer = 1\x00",
        "(" * 5000,
        "answer = 1\n" * 20_000,
    ],
)
def test_text_without_a_program(text: str) -> None:
    assert find_program(text) is None


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="`python \n=answer1\t~\\'\""))
def test_finding_a_program_never_fails(text: str) -> None:
    found = find_program(text)
    assert found is None or isinstance(found, str)


async def test_no_program_no_use() -> None:
    assert await PythonTool().use("The answer is 42.") is None


# --------------------------------------------------------------------------- results


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("answer = 6 * 7", "42"),
        ("answer = 0", "0"),
        ("answer = 7 / 2", "3.5"),
        ("import math\nanswer = math.comb(5, 2)", "10"),
        ("from fractions import Fraction\nanswer = Fraction(7, 2)", "7/2"),
        ("import datetime, decimal, statistics, itertools, random, re\nanswer = 1", "1"),
        ("print('thinking')\nanswer = 5", "5"),
        ("print('first')\nprint('total', 12)\nprint()", "total 12"),
        (
            "def main():\n    global answer\n    answer = 5\nif __name__ == '__main__': main()",
            "5",
        ),
        ("answer = 3\nexit()", "3"),
        ("import sys\nanswer = 3\nsys.exit(1)", "3"),
        ("answer = 'two\\nlines'", "two lines"),
        ("answer = 'zażółć 日本'", "zażółć 日本"),
        ("answer = '\\ud800'", "?"),
        ("answer = None\nprint(4)", "4"),
        ("import sys\nsys.stderr.write('noise')\nanswer = 1", "1"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(9,))\nanswer = 1", "1"),
    ],
)
async def test_the_value_of_answer_or_the_last_printed_line(program: str, output: str) -> None:
    assert (await run(program)).output == output


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("answer = eggs", "NameError: name 'eggs' is not defined"),
        ("answer = (1 +", "SyntaxError: '(' was never closed (<program>, line 1)"),
        ("raise ValueError('a\\nb')", "ValueError: a b"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f():\n    f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("input()", "EOFError: EOF when reading a line"),
        ("answer = ''", "the result is empty"),
        ("x = 1", "the program neither set `answer` nor printed anything"),
        ("import sys\nsys.exit(3)", "the program neither set `answer` nor printed anything"),
        ("import os\nos._exit(0)", "the program ended without a result (exit status 0)"),
        ("import os\nos.abort()", "the program was killed by SIGABRT"),
    ],
)
async def test_errors_are_the_last_line_of_the_traceback(program: str, error: str) -> None:
    assert await error_of(program) == error


async def test_a_character_that_is_no_text_is_an_error_of_the_program() -> None:
    assert (await run("answer = 1  # \ud800")).output == "1"
    # Python 3.11.4 made a SyntaxError of the ValueError.
    kind, _, said = (await error_of("answer = 1\x00")).partition(": ")
    assert kind in ("SyntaxError", "ValueError")
    assert said == "source code string cannot contain null bytes"


# --------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    "program",
    ["while True: pass", "import time\ntime.sleep(60)", "while True:\n  try: x\n  except: 1"],
)
async def test_an_endless_program_is_killed_in_time(program: str) -> None:
    started = time.monotonic()
    error = await error_of(program, PythonTool(wall_seconds=0.5))
    assert error == "TimeoutError: no result within 0.5 seconds"
    assert time.monotonic() - started < PATIENCE_SECONDS


async def test_memory_is_limited() -> None:
    assert await error_of("x = bytearray(2 * 1024 ** 3)") == "MemoryError"
    assert await error_of("x = []\nwhile True: x.append(bytes(10 ** 6))") == "MemoryError"
    small = PythonTool(PATIENCE_SECONDS, memory_bytes=200 * 1024**2)
    assert await error_of("x = bytearray(250 * 1024 ** 2)", small) == "MemoryError"
    assert (await run("x = bytearray(250 * 1024 ** 2)\nanswer = 1")).output == "1"


async def test_recursion_without_a_limit_harms_only_the_child() -> None:
    program = "import sys\nsys.setrecursionlimit(10 ** 9)\nx = []\nfor _ in range(10 ** 6): x = [x]"
    error = await error_of(f"{program}\nrepr(x)", PythonTool(wall_seconds=2))
    assert error.startswith(("the program was killed by SIG", "TimeoutError", "MemoryError"))


@pytest.mark.parametrize(
    "program",
    [
        "answer = 'x' * 10 ** 7",
        "print('x' * 10 ** 7)",
        "import os\nwhile True:\n    for pipe in range(3, 10):\n"
        "        try: os.write(pipe, b'x' * 1000)\n        except OSError: pass",
    ],
)
async def test_a_huge_result_is_refused_not_cut(program: str) -> None:
    error = await error_of(program)
    assert error == "OverflowError: the result has more than 10000 bytes"


async def test_endless_printing_stays_in_bounds() -> None:
    tool = PythonTool(wall_seconds=1.0, memory_bytes=128 * 1024**2)
    assert (await error_of("while True: print('x' * 1000)", tool)).startswith("TimeoutError")
    assert (await run("for i in range(10 ** 5): print('x' * 100)\nprint(7)")).output == "7"


async def test_start_up_is_quick() -> None:
    def spent() -> float:
        """Seconds of processor time that the programs took so far."""
        return os.times().children_user + os.times().children_system

    before = spent()
    for _ in range(5):
        await run("answer = 1")
    assert (spent() - before) / 5 < 0.25  # about 20 ms


@pytest.mark.parametrize("name", ["wall_seconds", "memory_bytes", "output_bytes"])
def test_limits_are_positive(name: str) -> None:
    limits: dict[str, Any] = {name: 0}
    with pytest.raises(InvalidInputError, match=name):
        PythonTool(**limits)


# --------------------------------------------------------------------------- isolation


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos.fork()",
        "import os\nwhile True: os.fork()",
        "import os\nos.system('true')",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os\nos.posix_spawn('/bin/true', ['true'], {})",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.killpg(0, 9)",
        "import os\nos.popen('true')",
        "import subprocess",
        "import _posixsubprocess",
        "import multiprocessing",
        "import ctypes",
        "import socket",
        "import _socket",
        "import urllib.request",
        "import http.client",
        "open('file', 'w')",
        "open('file', 'a')",
        "open('/tmp/file', 'x')",
        "import pathlib\npathlib.Path('file').write_text('x')",
        "import os\nos.open('file', os.O_CREAT | os.O_WRONLY)",
        "import os\nos.mkdir('directory')",
        "import os\nos.remove('/etc/hosts')",
        "import os\nos.rename('a', 'b')",
        "import os\nos.symlink('a', 'b')",
        "import shutil\nshutil.rmtree('/nowhere')",
        "open('/etc/passwd').read()",
        "import os\nos.listdir('/')",
        "import os\nos.listdir()",
        "open(__import__('os').__file__.rsplit('/', 1)[0] + '/../../../../etc/passwd')",
        "open(0).read()",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (100, 100))",
        "import sys\nsys.settrace(print)",
        "import gc\ngc.get_objects()",
        "import sqlite3\nsqlite3.connect('file')",
        "import mmap",
    ],
)
async def test_the_system_is_out_of_reach(program: str) -> None:
    assert (await error_of(program)).startswith("PermissionError: ")


async def test_a_caught_refusal_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file"
    program = (
        f"try:\n    open({str(target)!r}, 'w').write('x')\nexcept BaseException:\n    answer = 1"
    )
    assert (await run(program)).output == "1"
    assert not target.exists()


async def test_no_key_leaks_into_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    assert (await run("import os\nanswer = dict(os.environ)")).output == "{}"


async def test_the_program_sees_neither_amp_nor_other_packages() -> None:
    assert await error_of("import amp") == "ModuleNotFoundError: No module named 'amp'"
    assert "ModuleNotFoundError" in await error_of("import pytest")


async def test_nothing_is_written_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert (await run("import os\nanswer = os.getcwd()")).output == "/"
    assert not os.listdir(tmp_path)


async def in_child(code: str, directory: Path) -> str:
    """Runs code that may use the sandbox's own modules without the audit hook."""
    folder = str(CHILD.parent)
    imports = "import sandbox_child as sandbox, sandbox_kernel as kernel"
    setup = f"import sys; sys.path.append({folder!r}); {imports}\n"
    finished = await run_limited(
        [sys.executable, "-I", "-S", "-c", setup + code],
        stdin=b"",
        directory=str(directory),
        wall_seconds=10,
        output_bytes=1000,
    )
    assert finished.returncode == 0
    return finished.output.decode().strip()


async def test_without_a_network_not_even_this_machine_is_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = (
            "import socket\nleft = {leave}\n"
            f"try: socket.create_connection(('127.0.0.1', {port}), 2).close(); reached = True\n"
            "except OSError: reached = False\n"
            "print(left, reached)"
        )
        assert await in_child(code.format(leave="False"), tmp_path) == "False True"
        # Where the system forbids new namespaces, the function says so.
        assert await in_child(
            code.format(leave="'network' in kernel.enter_namespaces(sys.path)"), tmp_path
        ) in (
            "True False",
            "False True",
        )


async def test_the_kernel_refuses_file_contents_without_the_hook(tmp_path: Path) -> None:
    code = (
        "sandbox.limit(2 ** 30, 5)\nimport os\n"
        "file = os.open('file', os.O_CREAT | os.O_WRONLY)\n"
        "try: print(os.write(file, b'x'))\n"
        "except OSError as error: print(error.strerror)"
    )
    assert await in_child(code, tmp_path) == "File too large"
    assert (tmp_path / "file").read_bytes() == b""
