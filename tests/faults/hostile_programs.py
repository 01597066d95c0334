"""Programs that mean harm, by what they are after; each is given HOME, PORT and EVENTS.

A program that got what it wanted answers HARM; one that was let do something that hurts nobody may
answer "harmless".
"""

# ruff: noqa: E501 - programs are told apart more easily where each is a line

from __future__ import annotations

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
    "a string of 10 GB": "x = 'x' * 10 ** 10",
    "a formatted number of 10 GB": "answer = f'{1:10000000000}'",
    "a tuple that grows": "x = (0,)\nwhile True: x = x + x",
    "a set that grows": "x = set()\nn = 0\nwhile True:\n    x.add(n)\n    n += 1",
    "strings kept for good": "import sys\nn = 0\nwhile True: n += 1; sys.intern(str(n) * 1000)",
    "a bomb of zeros, compressed": (
        "import zlib\nx = zlib.compress(b'0' * 10 ** 7)\nfor _ in range(6): x = zlib.compress(x * 1000)"
        "\nwhile True: x = zlib.decompress(x) * 10"
    ),
    "a decimal of a billion digits": (
        "import decimal\ndecimal.getcontext().prec = 10 ** 9\nanswer = decimal.Decimal(1) / 7"
    ),
    "a factorial": "import math\nmath.factorial(10 ** 8)",
    "a sum that never ends": "import itertools\nsum(itertools.count())",
    "a sorted list that never ends": "import itertools\nsorted(itertools.cycle([1]))",
    "a lock that nobody opens": "import threading\nx = threading.Lock()\nx.acquire()\nx.acquire()",
    "a queue that stays empty": "import queue\nqueue.Queue().get()",
    "a signal that never comes": "import signal\nsignal.pause()",
    "a signal that is blocked": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass"
    ),
    "a stop": "import signal\nsignal.raise_signal(signal.SIGSTOP)",
    "a stop by the terminal": "import signal\nsignal.raise_signal(signal.SIGTSTP)",
    "deep brackets": "answer = eval('(' * 10 ** 6)",
    "deep syntax": "answer = compile('-' * 10 ** 6 + '1', '', 'eval')",
    "a deep literal": "import ast\nanswer = ast.literal_eval('[' * 10 ** 5 + ']' * 10 ** 5)",
    "a deep pickle": "import pickle\nx = []\nfor _ in range(10 ** 6): x = [x]\npickle.dumps(x)",
    "a deep text in JSON": "import json\njson.loads('[' * 10 ** 6)",
    "a deep list that is dropped": (
        "x = []\nfor _ in range(10 ** 7): x = [x]\ndel x\nanswer = 'harmless'"
    ),
    "a resurrection": (
        "x = []\nclass Back:\n    def __del__(self): x.append(Back()); x.append(self)\nBack()\n"
        "while True: x.pop() if x else Back()"
    ),
    "an answer that lies about its text": (
        "class Answer:\n    def __str__(self): return 7\nanswer = Answer()"
    ),
    "an error that raises in its text": (
        "class Odd(Exception):\n    def __str__(self): raise Odd\nraise Odd"
    ),
    "an error that raises in its name": (
        "class Kind(type):\n    @property\n    def __name__(self): raise SystemExit\n"
        "class Odd(Exception, metaclass=Kind): pass\nraise Odd"
    ),
    "an exit inside an exit": (
        "class Answer:\n    def __str__(self): raise SystemExit\nanswer = Answer()"
    ),
    "code that no compiler wrote": (
        "def f(): pass\nf.__code__ = f.__code__.replace(co_code=b'\\xff' * 1000, co_stacksize=0)\nf()"
    ),
    "code that jumps out of itself": (
        "import opcode\ndef f(): pass\nf.__code__ = f.__code__.replace(\n"
        "    co_code=bytes([opcode.opmap['JUMP_FORWARD'], 255] * 10))\nf()"
    ),
    "a report that floods": (
        "import os\nfor n in range(3, 10):\n    try:\n        while True: os.write(n, b'A' * 10 ** 6)\n"
        "    except OSError: pass"
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
    "the shadow passwords": "answer = 'HARM ' + open('/etc/shadow').read()",
    "a file by a descriptor": "import os\nanswer = 'HARM' + str(os.open('/etc/passwd', os.O_RDONLY))",
    "a file by its folder": (
        "import os\nx = os.open('/', os.O_DIRECTORY)\nanswer = 'HARM' + str(os.open('etc', 0, dir_fd=x))"
    ),
    "a file by an opener": (
        "import os\nx = open(os.__file__, opener=lambda path, flags: os.open('/etc/passwd', flags))\n"
        "answer = 'HARM ' + x.read()"
    ),
    "a file as code": "import io\nanswer = 'HARM' + str(io.open_code('/etc/passwd').read())",
    "a raw file": "import io\nanswer = 'HARM' + str(io.FileIO('/etc/passwd').read())",
    "a path": "import pathlib\nanswer = 'HARM' + pathlib.Path(HOME, 'precious').read_text()",
    "a line of a file": "import linecache\nanswer = linecache.getline(HOME + '/precious', 1) or 'harmless'",
    "a file as a script": "import runpy\nanswer = 'HARM' + str(runpy.run_path('/etc/passwd'))",
    "a file by the loader of modules": (
        "import importlib.machinery as m\n"
        "answer = 'HARM' + str(m.SourceFileLoader('x', HOME + '/precious').get_data(HOME + '/precious'))"
    ),
    "a module of the user": "import sys\nsys.path.insert(0, HOME)\nimport precious\nanswer = 'HARM'",
    "files by a pattern": "import glob\nanswer = 'HARM' if glob.glob(HOME + '/*') else 'harmless'",
    "files by a walk": "import os\nanswer = 'HARM' if list(os.walk(HOME)) else 'harmless'",
    "a list of the root": "import os\nanswer = 'HARM' + str(os.listdir('/'))",
    "a list of the processes": "import os\nanswer = 'HARM' + str(os.listdir('/proc'))",
    "its own environment": "answer = 'HARM' + open('/proc/self/environ').read()",
    "its own maps": "answer = 'HARM' + open('/proc/self/maps').read()",
    "the root by its process": "answer = 'HARM' + open('/proc/1/root/etc/passwd').read()",
    "the memory of the machine": "answer = 'HARM' + str(open('/dev/mem', 'rb').read(1))",
    "a temporary file": "import tempfile\ntempfile.NamedTemporaryFile(delete=False)\nanswer = 'HARM'",
    "a temporary folder": "import tempfile\ntempfile.mkdtemp()\nanswer = 'HARM'",
    "a log": "import logging\nlogging.FileHandler(HOME + '/new')\nanswer = 'HARM'",
    "a compressed file": "import gzip\ngzip.open(HOME + '/new', 'w')\nanswer = 'HARM'",
    "a database": "import sqlite3\nsqlite3.connect(HOME + '/new')\nanswer = 'HARM'",
    "a shelf": "import shelve\nshelve.open(HOME + '/new')\nanswer = 'HARM'",
    "a copy": "import shutil\nshutil.copy(HOME + '/precious', HOME + '/new')\nanswer = 'HARM'",
    "a link": "import os\nos.link(HOME + '/precious', HOME + '/new')\nanswer = 'HARM'",
    "a pipe with a name": "import os\nos.mkfifo(HOME + '/new')\nanswer = 'HARM'",
    "a device": "import os\nos.mknod(HOME + '/new', 0o20666, 259)\nanswer = 'HARM'",
    "a new name": "import os\nos.rename(HOME + '/precious', HOME + '/new')\nanswer = 'HARM'",
    "an attribute": "import os\nos.setxattr(HOME + '/precious', 'user.x', b'x')\nanswer = 'HARM'",
    "an owner": "import os\nos.chown(HOME + '/precious', 65534, 65534)\nanswer = 'HARM'",
    "another folder": "import os\nos.chdir(HOME)\nanswer = 'HARM'",
    "another root": "import os\nos.chroot(HOME)\nanswer = 'HARM'",
    "a compiled module": "import py_compile\npy_compile.compile(HOME + '/precious', HOME + '/new')",
    "a terminal": "import pty\npty.spawn('/bin/sh')\nanswer = 'HARM'",
    "a spawned process": "import os\nos.spawnl(os.P_WAIT, '/bin/true', 'true')\nanswer = 'HARM'",
    "a pipe to a shell": "import os\nanswer = 'HARM' + os.popen('echo x').read()",
    "another process of Python": (
        "import multiprocessing as m\nm.Process(target=print).start()\nanswer = 'HARM'"
    ),
    "a pool of processes": (
        "from concurrent.futures import ProcessPoolExecutor as P\nP(1).submit(print).result()\n"
        "answer = 'HARM'"
    ),
    "a process by asyncio": (
        "import asyncio\nasyncio.run(asyncio.create_subprocess_exec('/bin/true'))\nanswer = 'HARM'"
    ),
    "a signal to all": "import os\nos.kill(-1, 9)\nanswer = 'HARM'",
    "a signal to its group": "import os\nos.killpg(os.getpgid(0), 9)\nanswer = 'HARM'",
    "a group of its own": "import os\nos.setpgid(0, 0)\nanswer = 'HARM'",
    "a handle of the parent": "import os\nos.pidfd_open(os.getppid())\nanswer = 'HARM'",
    "a higher priority": "import os\nos.setpriority(os.PRIO_PROCESS, 0, -20)\nanswer = 'HARM'",
    "another user": "import os\nos.setuid(0)\nanswer = 'HARM'",
    "limits of the parent": (
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))\nanswer = 'HARM'"
    ),
    "a local socket": "import socket\nsocket.socketpair()\nanswer = 'HARM'",
    "a page": "import urllib.request as u\nanswer = 'HARM' + str(u.urlopen(f'http://127.0.0.1:{PORT}'))",
    "a connection by asyncio": (
        "import asyncio\nasyncio.run(asyncio.open_connection('127.0.0.1', PORT))\nanswer = 'HARM'"
    ),
    "a browser": "import webbrowser\nwebbrowser.open('http://127.0.0.1')\nanswer = 'harmless'",
    "a file in memory by name": "import os\nos.memfd_create('x')\nanswer = 'HARM'",
    "objects of the interpreter": "import gc\nanswer = 'HARM' + str(gc.get_objects()[0])",
    "another interpreter": "import _xxsubinterpreters as x\nx.create()\nanswer = 'HARM'",
    "a crafted call of a hook": (
        "import sys\nsys.audit('open', '/etc/passwd', 'r', 0)\nanswer = 'harmless'"
    ),
    "another hook's sets": (
        "import sys\nframe = sys._getframe()\nwhile 'HARMLESS' not in frame.f_globals: frame = frame.f_back\n"
        "frame.f_globals['HARMLESS'] = frame.f_globals['REFUSED_MODULES'] = frozenset(range(9))\n"
        "import os\nos.mkdir(HOME + '/d')\nanswer = 'HARM'"
    ),
    "an error that is no error": (
        "import builtins\nbuiltins.PermissionError = lambda *a: None\nopen(HOME + '/new', 'w')\n"
        "answer = 'HARM'"
    ),
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
    "a call in the numbers of 32 bits, by native code": (
        "libc.mmap.restype = space['c_void_p']\n"
        "page = libc.mmap(None, 4096, 7, 34, -1, 0)\n"
        "space['memmove'](page, b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3', 8)\n"
        "space['CFUNCTYPE'](space['c_int'])(page)()\nanswer = 'HARM'"
    ),
}

# Numbers of system calls on x86-64, with arguments that would do something where they were let
# through. None of them may even begin: the kernel's answer is "not permitted" or "no such call".
REFUSED_CALLS = {
    "a ring of requests": "425, 8, libc_bytes(200)",
    "a program for the kernel": "321, 0, 0, 0",
    "a key ring": "250, 0, -3, 1",
    "a key": "248, b'user', b'x', b'x', 1, -3",
    "a counter of events": "298, 0, 0, -1, -1, 0",
    "page faults": "323, 0",
    "memory of the parent, read": "310, os.getppid(), 0, 0, 0, 0, 0",
    "memory of the parent, written": "311, os.getppid(), 0, 0, 0, 0, 0",
    "a comparison with the parent": "312, os.getppid(), os.getpid(), 0, 0, 0",
    "a trace": "101, 0, 0, 0, 0",
    "a mount": "165, b'none', b'/', b'tmpfs', 0, 0",
    "an unmount": "166, b'/', 2",
    "a new root": "155, b'/', b'/'",
    "a changed root": "161, b'/'",
    "a name space": "272, 0x20000000",
    "another's name space": "308, 0, 0",
    "user 0": "105, 0",
    "group 0": "106, 0",
    "groups": "116, 0, 0",
    "capabilities": "126, 0, 0",
    "a module of the kernel": "175, 0, 0, b''",
    "a restart": "169, 0xfee1dead, 672274793, 0",
    "a host name": "170, b'x', 1",
    "swap": "167, b'/x', 0",
    "a clock": "227, 0, libc_bytes(16)",
    "a socket": "41, 1, 1, 0",
    "a pair of sockets": "53, 1, 1, 0, libc_bytes(8)",
    "a packet socket": "41, 17, 3, 768",
    "a netlink socket": "41, 16, 3, 0",
    "a pipe": "22, libc_bytes(8)",
    "an event": "290, 0, 0",
    "a poll of events": "291, 0",
    "a watch on files": "294, 0",
    "a watch on all files": "300, 0, 0",
    "a message queue": "68, 0, 0o1600",
    "a semaphore": "64, 0, 1, 0o1600",
    "shared memory": "29, 0, 4096, 0o1600",
    "a queue with a name": "240, b'x', 0o102, 0o600, 0",
    "a newer open": "437, -100, b'/etc/passwd', libc_bytes(24), 24",
    "an open by a handle": "304, -100, libc_bytes(32), 0",
    "a handle": "303, -100, b'/etc/passwd', libc_bytes(32), libc_bytes(8), 0",
    "a link": "265, -100, b'/x', -100, b'/y', 0",
    "a symbolic link": "266, b'/x', -100, b'/y'",
    "a name": "316, -100, b'/x', -100, b'/y', 0",
    "a removal": "263, -100, b'/x', 0",
    "a folder": "258, -100, b'/x', 0o700",
    "a device": "259, -100, b'/x', 0o20666, 259",
    "an owner": "260, -100, b'/x', 0, 0, 0",
    "room in a file": "285, 1, 0, 0, 10",
    "the end of a file": "77, 1, 0",
    "a copy in the kernel": "326, 0, 0, 1, 0, 10, 0",
    "a file into a pipe": "275, 0, 0, 1, 0, 10, 0",
    "a file into a socket": "40, 1, 0, 0, 10",
    "an option of the process": "157, 4, 1, 0, 0, 0",
    "no signal at the parent's death": "157, 1, 0, 0, 0, 0",
    "another filter": "317, 1, 0, 0",
    "another rule for files": "446, 0, 0",
    "another personality": "135, 0x0040000",
    "a segment": "154, 0, 0, 0",
    "a control of a device": "16, 0, 0x5412, b'x'",
    "a control of a file": "72, 0, 4, 0",
    "a limit": "160, 0, libc_bytes(16)",
    "a limit of the parent": "302, os.getppid(), 0, libc_bytes(16), 0",
    "a limit of its own": "302, 0, 0, libc_bytes(16), 0",
    "a scheduler": "144, 0, 1, libc_bytes(8)",
    "a priority": "141, 0, 0, -20",
    "a signal to the parent": "62, os.getppid(), 18",
    "a signal to all": "62, -1, 18",
    "a signal to the group": "62, 0, 18",
    "a signal to a thread": "200, os.getppid(), 18",
    "a signal to a thread of the parent": "234, os.getppid(), os.getppid(), 18",
    "a queued signal": "129, os.getppid(), 18, libc_bytes(128)",
    "a handle of the parent": "434, os.getppid(), 0",
    "a signal by a handle": "424, 0, 18, 0, 0",
    "a descriptor of the parent": "438, 0, 0, 0",
    "another program": "59, b'/bin/true', 0, 0",
    "another program by a folder": "322, -100, b'/bin/true', 0, 0, 0",
    "a fork": "57,",
    "a fork that waits": "58,",
    "a clone": "56, 17, 0, 0, 0, 0",
    "a clone in name spaces": "56, 17 | 0x10000000 | 0x20000, 0, 0, 0, 0",
    "a newer clone": "435, libc_bytes(64), 64",
    "a session": "112,",
    "a group": "109, 0, 0",
    "a secret memory": "447, 0",
    "a file in memory": "319, b'x', 0",
    "a call of the x32 kind": "0x40000000 | 41, 1, 1, 0",
    "a call that is not there": "2000, 0",
    "a call below all": "-1 & 0xffffffff, 0",
}
REFUSED_CALL = """
def libc_bytes(n): return b'\\0' * n
result = libc.syscall(NUMBER_AND_ARGUMENTS)
assert result == -1 and space['get_errno']() in (1, 38), (result, space['get_errno']())
"""
