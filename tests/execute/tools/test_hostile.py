"""Programs that mean harm. None gets through, and none holds up what comes after it.

All run once, some at a time, in a process that inherits whatever they leave running. A program that
got what it wanted answers HARM; one that was let do something that hurts nobody may answer.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from amp.execute.tools.python import PythonTool
from amp.types import ToolUse

pytestmark = pytest.mark.slow

WALL_SECONDS = 1.5
AT_A_TIME = 3
SECRET = "no-program-may-read-this"
LINUX = sys.platform.startswith("linux")
# Where the whole kernel sandbox is: Landlock tells its version (system call 444).
SANDBOXED = (
    LINUX and platform.machine() == "x86_64" and ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1
)
PR_SET_CHILD_SUBREAPER = 36

EXHAUSTING = {
    "a fork bomb": "import os\nwhile True: os.fork()",
    "a fork bomb that goes on after refusals": (
        "import os\nwhile True:\n    try: os.fork()\n    except BaseException: pass"
    ),
    "a list that grows": "x = [0]\nwhile True: x += x",
    "a byte array of 100 GB": "x = bytearray(10 ** 11)",
    "a memory hog that goes on after errors": (
        "x = []\nwhile True:\n    try: x.append(bytearray(10 ** 7))\n    except MemoryError: pass"
    ),
    "an endless print": "while True: print('x' * 100)",
    "a huge print": "print('x' * 10 ** 8)",
    "an endless loop": "while True: pass",
    "an endless sleep": "import time\ntime.sleep(10 ** 6)",
    "a deep recursion": (
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return f(n + 1) + 1\nf(0)"
    ),
    "a huge power": "answer = 10 ** 10 ** 10 % 7",
    "a huge number as text": (
        "import sys\nsys.set_int_max_str_digits(0)\nanswer = str(7 ** 10 ** 7)[:1]\nwhile True: 1"
    ),
    "a regular expression that explodes": "import re\nre.match('(a+)+$', 'a' * 50 + 'b')",
    "an endless loop in C": "import itertools\nsum(itertools.repeat(1))",
    "a thousand threads": (
        "import threading, time\nfor _ in range(1000): threading.Thread(target=time.sleep,"
        " args=(60,)).start()\ntime.sleep(60)"
    ),
    "threads that outlive the program": (
        "import threading\ndef spin():\n    while True: pass\n"
        "for _ in range(4): threading.Thread(target=spin).start()\nanswer = 'harmless'"
    ),
    "an endless exit handler": (
        "import atexit\n@atexit.register\ndef spin():\n    while True: pass\nanswer = 'harmless'"
    ),
    "an endless finalizer": (
        "class Spin:\n    def __del__(self):\n        while True: pass\nx = Spin()\ndel x"
    ),
    "an answer whose text never ends": (
        "class Answer:\n    def __str__(self):\n        while True: pass\nanswer = Answer()"
    ),
    "an answer whose text is huge": (
        "class Answer:\n    def __str__(self): return 'x' * 10 ** 8\nanswer = Answer()"
    ),
    "an error whose text never ends": (
        "class Odd(Exception):\n    def __str__(self):\n        while True: pass\nraise Odd"
    ),
    "an interrupted exit that goes on": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ),
    "signals that are ignored": (
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except BaseException: pass\nwhile True: pass"
    ),
}

REACHING_OUT = {
    "a subprocess": "import subprocess\nsubprocess.run(['touch', HOME + '/new'])",
    "a shell": "import os\nos.system('touch ' + HOME + '/new')",
    "a shell by way of the subclasses of object": (
        "import os\nfor kind in object.__subclasses__():\n    if kind.__name__ == '_wrap_close':\n"
        "        kind.__init__.__globals__['system']('touch ' + HOME + '/new')"
    ),
    "an import by way of __builtins__": (
        "b = __builtins__\nload = b['__import__'] if isinstance(b, dict) else b.__import__\n"
        "load('os').system('touch ' + HOME + '/new')"
    ),
    "hidden text": (
        "import base64\nexec(base64.b64decode(b'b3BlbihIT01FICsgIi9uZXciLCAidyIpLndyaXRlKCJ4Iik='))"
    ),
    "a pickle": (
        "import os, pickle\nclass Evil:\n    def __reduce__(self): return os.mkdir, (HOME + '/d',)"
        "\n"
        "pickle.loads(pickle.dumps(Evil()))\nanswer = 'HARM'"
    ),
    "a file by its absolute path": "open(HOME + '/new', 'w').write('x')\nanswer = 'HARM'",
    "a file above the folder": "open('../new', 'w').write('x')\nanswer = 'HARM'",
    "a file by way of a link": (
        "import os\nos.symlink(HOME, 'link')\nopen('link/new', 'w').write('x')\nanswer = 'HARM'"
    ),
    "a file that is cut to nothing": "import os\nos.truncate(HOME + '/precious', 0)",
    "the passwords": "answer = 'HARM ' + open('/etc/passwd').read()",
    "a file of the user": "answer = open(HOME + '/precious').read()",
    "a path that lies about itself": (
        "import os\nclass Path(str):\n    def __format__(self, spec): return os.__file__\n"
        "    def __contains__(self, part): return False\n"
        "    def startswith(self, *prefix): return True\n"
        "answer = 'HARM ' + open(Path(HOME + '/precious')).read()"
    ),
    "builtins that lie to the guard": (
        "import builtins, os\nbuiltins.int = lambda *a: 0\nbuiltins.isinstance = lambda *a: True\n"
        "class Path(str):\n    def __format__(self, spec): return os.__file__\n"
        "    def __contains__(self, part): return False\n"
        "open(Path(HOME + '/new'), 'w')\nanswer = 'HARM'"
    ),
    "a module whose name lies": (
        "class Name(str):\n    def __str__(self): return 'math'\n"
        "    def partition(self, mark): return ('math', '', '')\n"
        "answer = 'HARM' + str(__import__(Name('_socket')).socket())"
    ),
    "a connection": (
        "import socket\nsocket.create_connection(('127.0.0.1', PORT)).send(b'x')\nanswer = 'HARM'"
    ),
    "a name server": "import socket\nanswer = 'HARM ' + socket.gethostbyname('localhost')",
    "a process of its own": (
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        while True: pass\nanswer = 'HARM'"
    ),
    "a session of its own": "import os\nos.setsid()\nanswer = 'HARM'",
    "a signal to the parent": "import os\nos.kill(os.getppid(), 18)\nanswer = 'HARM'",
    "the C library": "import ctypes\nctypes.CDLL(None).system(b'true')\nanswer = 'HARM'",
    "mapped memory": "import mmap\nanswer = 'HARM' + str(mmap.mmap(-1, 10))",
    "its own memory": "open('/proc/self/mem', 'r+b')\nanswer = 'HARM'",
    "the memory of the parent": "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')",
    "the environment of the parent": (
        "import os\nanswer = 'HARM ' + open(f'/proc/{os.getppid()}/environ').read()"
    ),
    "a trace function": "import sys\nsys.settrace(lambda *a: None)\nanswer = 'HARM'",
    "another audit hook": (
        "import sys\nheard = []\nsys.addaudithook(lambda *event: heard.append(event))\n"
        "compile('1', '', 'eval')\nanswer = 'HARM' if heard else 'harmless'"
    ),
    "higher limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2 ** 60, 2 ** 60))\n"
        "answer = 'HARM'"
    ),
    "closed descriptors": "import os\nos.closerange(0, 1000)\nanswer = 'harmless'",
    "writing to every descriptor": (
        "import os\nfor n in range(100):\n    try: os.write(n, b'x' * 100)\n"
        "    except OSError: pass\nanswer = 'harmless'"
    ),
    "an early death": "import os\nos._exit(0)",
}

# ctypes was used to install the kernel's sandbox, and its classes are still there. By them the
# program overwrites the sets of the audit hook in memory, which then lets everything pass: what
# follows meets the kernel alone.
UNHOOK = """
import os, sys
def find(kind, name):
    for child in type.__subclasses__(kind):
        if child is not type:
            found = child if child.__name__ == name else find(child, name)
            if found is not None:
                return found
space = find(object, 'CDLL').__init__.__globals__
frame = sys._getframe()
while 'HARMLESS' not in frame.f_globals:
    frame = frame.f_back
sets = {'HARMLESS': frozenset(EVENTS), 'REFUSED_MODULES': frozenset(range(10))}
for name, mine in sets.items():
    space['memmove'](id(frame.f_globals[name]) + 16, id(mine) + 16, 32)
libc = space['CDLL'](None, use_errno=True)
"""
EVENTS = [
    "array.__new__",
    "builtins.id",
    "compile",
    "exec",
    "import",
    "open",
    "os.fork",
    "os.kill",
    "os.setsid",
    "os.mkdir",
    "os.remove",
    "os.chmod",
    "os.truncate",
    "os.exec",
    "os.system",
    "os.posix_spawn",
    "os.listdir",
    "os.rename",
    "os.utime",
    "ctypes.dlopen",
    "ctypes.dlsym",
    "ctypes.dlsym/handle",
    "ctypes.addressof",
    "ctypes.call_function",
    "ctypes.cdata",
    "ctypes.cdata/buffer",
    "ctypes.get_errno",
    "ctypes.set_errno",
    "ctypes.string_at",
    "socket.__new__",
    "socket.connect",
    "socket.getaddrinfo",
    "resource.setrlimit",
    "resource.prlimit",
    "sys._getframe",
    "object.__getattr__",
    "object.__setattr__",
    "marshal.loads",
    "os.putenv",
    "sys.addaudithook",
    "time.sleep",
]

BY_THE_KERNEL_ALONE = {
    "the hook itself": "os.truncate('nothing', 0)",
    "a fork": "os.fork()\nanswer = 'HARM'",
    "a native fork": "assert libc.fork() == -1 and libc.vfork() == -1",
    "another program": "os.execv('/bin/true', ['true'])\nanswer = 'HARM'",
    "a spawned program": "os.posix_spawn('/bin/true', ['true'], {})\nanswer = 'HARM'",
    "a session": "assert libc.setsid() == -1 and libc.setpgid(0, 0) == -1",
    "a signal to the parent": "os.kill(os.getppid(), 18)\nanswer = 'HARM'",
    "a trace of the parent": "assert libc.ptrace(16, os.getppid(), 0, 0) == -1",
    "a socket": "import socket\nsocket.socket()\nanswer = 'HARM'",
    "a native socket": "assert libc.socket(2, 1, 0) == -1",
    "a native read": "assert libc.open((HOME + '/precious').encode(), 0) == -1",
    "the passwords": "assert libc.open(b'/etc/passwd', 0) == -1",
    "a native write": "assert libc.open((HOME + '/new').encode(), 0o102, 0o600) == -1",
    "a write to its own folder": "assert libc.open(b'new', 0o102, 0o600) == -1",
    "a cut": "os.truncate(HOME + '/precious', 0)\nanswer = 'HARM'",
    "a removal": "os.remove(HOME + '/precious')\nanswer = 'HARM'",
    "a folder": "os.mkdir(HOME + '/folder')\nanswer = 'HARM'",
    "a mode": "os.chmod(HOME + '/precious', 0)\nanswer = 'HARM'",
    "a time stamp": "os.utime(HOME + '/precious', (0, 0))\nanswer = 'HARM'",
    "a list of files": "assert libc.opendir(HOME.encode()) == 0",
    "limits": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nanswer = 'HARM'",
    "shared memory that stays": "assert libc.shmget(0, 4096, 0o1600) == -1",
    "a file in memory": "assert libc.memfd_create(b'x', 0) == -1",
    "a name space": "assert libc.unshare(0x10000000) == -1",
}


@dataclass(frozen=True)
class Outcome:
    """What came of one program, and how long it took."""

    use: ToolUse
    seconds: float


@dataclass(frozen=True)
class Aftermath:
    """What is there after all programs have run."""

    outcomes: dict[str, Outcome]
    left_running: set[str]
    files: dict[str, str]
    left_in_temporary: list[str]
    connected: bool


def programs() -> dict[str, str]:
    walled = {
        f"unhooked: {name}": f"{UNHOOK}{program}\nanswer = 'harmless'"
        if program.startswith("assert")
        else f"{UNHOOK}{program}"
        for name, program in BY_THE_KERNEL_ALONE.items()
    }
    return EXHAUSTING | REACHING_OUT | (walled if SANDBOXED else {})


def children() -> set[str]:
    """Command lines of the processes whose parent this one is, those that are dead left out."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat") if LINUX else ():
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            command = stat.with_name("cmdline").read_text()
        except OSError:
            continue  # it ended meanwhile
        if int(parent) == os.getpid() and state != "Z":
            found.add(command)
    return found


async def run_all(names: dict[str, str]) -> dict[str, Outcome]:
    slots = asyncio.Semaphore(AT_A_TIME)
    tool = PythonTool(wall_seconds=WALL_SECONDS)

    async def run(program: str) -> Outcome:
        async with slots:
            started = time.monotonic()
            use = await tool.use(f"```python\n{program}\n```")
            assert use is not None
            return Outcome(use, time.monotonic() - started)

    outcomes = await asyncio.gather(*(run(program) for program in names.values()))
    return dict(zip(names, outcomes, strict=True))


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    home, temporary = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("temporary")
    (home / "precious").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.setenv("SOME_API_KEY", SECRET)
        known = (
            f"HOME, PORT = {json.dumps(str(home))}, {server.getsockname()[1]}\nEVENTS = {EVENTS}\n"
        )
        if LINUX:  # what the programs leave running becomes a child of this process
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        before = children()
        outcomes = asyncio.run(run_all({name: known + p for name, p in programs().items()}))
        left_running = children() - before
        if LINUX:
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        server.settimeout(0)
        try:
            server.accept()[0].close()
            connected = True
        except BlockingIOError:
            connected = False
    files = {p.name: p.read_text() if p.is_file() else "no file" for p in home.iterdir()}
    return Aftermath(outcomes, left_running, files, os.listdir(temporary), connected)


@pytest.mark.parametrize("name", programs())
def test_it_ends_in_time_with_an_error_or_a_harmless_answer(
    name: str, aftermath: Aftermath
) -> None:
    use, seconds = aftermath.outcomes[name].use, aftermath.outcomes[name].seconds
    assert seconds < WALL_SECONDS + 2
    assert use.error is not None or use.output == "harmless"
    assert SECRET not in use.output + (use.error or "")


@pytest.mark.skipif(not SANDBOXED, reason="this system lacks a part of the kernel's sandbox")
@pytest.mark.parametrize("name", BY_THE_KERNEL_ALONE)
def test_the_kernel_refuses_what_the_hook_let_pass(name: str, aftermath: Aftermath) -> None:
    use = aftermath.outcomes[f"unhooked: {name}"].use
    assert (
        use.output == "harmless" or "Errno" in str(use.error) or "maximum limit" in str(use.error)
    )


def test_nothing_is_left(aftermath: Aftermath) -> None:
    assert aftermath.left_running == set()
    assert aftermath.files == {"precious": SECRET}
    assert aftermath.left_in_temporary == []
    assert not aftermath.connected
