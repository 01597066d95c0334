"""Budgets hold against many writers at once, and against kills at any moment.

Each writer keeps its own count of what it was allowed and spent, which the file must agree with.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from amp.errors import BudgetReachedError, InvalidInputError
from amp.serve import sqlite_file
from amp.serve.accounts.keys import NANO, Key, KeyLimits, nano
from amp.serve.accounts.ledger import AccountsFile
from amp.serve.sqlite_file import SqliteFileError

DOLLARS = 1.0
EPISODE = 0.02
EPISODES = 150
DEAREST = 0.004


def forked(work: Callable[[], None]) -> int:
    """Starts a child of this process that does some work and ends without more."""
    if child := os.fork():
        return child
    code = 70
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended_well(children: list[int]) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * len(children)


def spends(accounts: AccountsFile, key: Key, seed: int) -> int:
    """Makes calls of any size as long as it may; returns the nano-dollars that they cost.

    Episodes come in the same order to all writers, so that these meet at the limit of each.
    """
    rng, spent = random.Random(seed), 0
    for number in range(EPISODES):
        most = rng.randint(NANO // 1000, int(DEAREST * NANO))
        try:
            held = accounts.reserve(key, most / NANO, 10, str(number))
        except BudgetReachedError:
            continue
        if rng.random() < 0.2:
            accounts.release(held)
            continue
        cost = rng.choice([most, rng.randint(0, most)])
        accounts.settle(held, cost / NANO, 10)
        spent += cost
    return spent


def agreed(path: Path) -> tuple[int, int]:
    """Nano-dollars spent and held in the ledger, once its sums have been held to it."""
    file = sqlite3.connect(path)
    (sound,) = file.execute("PRAGMA integrity_check").fetchone()
    assert sound == "ok"
    calls = file.execute(
        "SELECT coalesce(sum(dollars), 0),"
        " coalesce(sum(CASE WHEN ending IS NULL THEN held_dollars END), 0) FROM calls"
    ).fetchone()
    sums = file.execute(
        "SELECT coalesce(sum(dollars), 0) FROM sums WHERE length(period) = 7"
    ).fetchone()
    episodes = file.execute("SELECT dollars FROM sums WHERE period LIKE 'episode %'").fetchall()
    file.close()
    assert sums[0] == sum(calls)
    assert all(episode <= nano(EPISODE) for (episode,) in episodes)
    return int(calls[0]), int(calls[1])


def test_64_writers_never_exceed_a_budget(
    tmp_path: Path, thorough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 300.0)  # turns are not given in order
    processes, threads = (64, 1) if thorough else (8, 8)
    path = tmp_path / "accounts.sqlite"
    accounts = AccountsFile(path)
    limits = KeyLimits(dollars_per_month=DOLLARS, dollars_per_day=DOLLARS, episode_dollars=EPISODE)
    token = accounts.add("ann", limits)
    accounts.close()

    def writer(number: int) -> None:
        mine = AccountsFile(path)
        key, counts = mine.find(token), [0] * threads

        def work(place: int) -> None:
            counts[place] = spends(mine, key, threads * number + place)

        workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        mine.close()
        (tmp_path / f"{number}.json").write_text(json.dumps(sum(counts)))

    children = [forked(partial(writer, number)) for number in range(processes)]
    reader, seen = sqlite3.connect(path, timeout=300.0), 0
    while os.waitid(os.P_PID, children[-1], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        (most,) = reader.execute("SELECT coalesce(max(dollars), 0) FROM sums").fetchone()
        assert most <= nano(DOLLARS)
        seen += 1
        time.sleep(0.01)
    reader.close()
    ended_well(children)
    told = sum(json.loads((tmp_path / f"{n}.json").read_text()) for n in range(processes))
    assert agreed(path) == (told, 0)
    assert nano(DOLLARS - DEAREST) <= told <= nano(DOLLARS)  # and hardly any of it was left
    assert seen


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_leaves_at_most_the_reservation(tmp_path: Path, seed: int, thorough: bool) -> None:
    if not thorough and seed > 2:
        pytest.skip("only with --thorough")
    path, rng = tmp_path / "accounts.sqlite", random.Random(seed)
    accounts = AccountsFile(path)
    token = accounts.add("ann", KeyLimits(dollars_per_day=1000, episode_dollars=EPISODE))
    accounts.close()

    def writer(told: int) -> None:
        mine = AccountsFile(path)
        key = mine.find(token)
        while True:
            held = mine.reserve(key, 0.001, 10)
            os.write(told, b"r")
            mine.settle(held, 0.0007, 7)
            os.write(told, b"s")

    for _ in range(5):
        before = agreed(path)[0]
        read, write = os.pipe()
        children = [forked(partial(writer, write)) for _ in range(3)]
        os.close(write)
        os.read(read, 1)
        time.sleep(rng.random() / 5)
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        with os.fdopen(read, "rb") as stream:
            settled = stream.read().count(b"s")
        spent, held = agreed(path)
        # What a writer had been told is there, and at most one call more of each.
        assert settled <= (spent - before) // nano(0.0007) <= settled + 3
        assert held <= 3 * nano(0.001)
        again = AccountsFile(path)  # which gives back what the killed ones held
        assert agreed(path) == (spent, 0)
        (spend,) = again.spend()
        assert spend.open_calls == 0
        again.close()


def test_a_killed_process_reservation_is_released_on_restart_and_said_to_be_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "accounts.sqlite"
    accounts = AccountsFile(path)
    token = accounts.add("ann", KeyLimits(dollars_per_day=0.1))
    accounts.close()

    def holder() -> None:
        mine = AccountsFile(path)
        mine.reserve(mine.find(token), 0.1, 10)
        os.kill(os.getpid(), signal.SIGKILL)

    child = forked(holder)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert agreed(path) == (0, nano(0.1))
    accounts = AccountsFile(path)
    (spend,) = accounts.spend()
    assert (spend.day.held_dollars, spend.day.lost_dollars) == (0, nano(0.1))
    accounts.reserve(accounts.find(token), 0.1, 10)
    accounts.close()


def test_a_full_disk_is_one_line_and_what_was_counted_stays(tmp_path: Path) -> None:
    path, said = tmp_path / "accounts.sqlite", tmp_path / "said"
    accounts = AccountsFile(path)
    token = accounts.add("ann")
    accounts.close()

    def writer() -> None:
        descriptor = os.open(said, os.O_CREAT | os.O_WRONLY)  # before nothing can be written
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        mine = AccountsFile(path)
        key, done = mine.find(token), 0
        try:
            while True:
                mine.settle(mine.reserve(key, 0.001, 10, str(done)), 0.001, 10)
                done += 1
        except SqliteFileError as error:
            os.write(descriptor, f"{done} {error}".encode())

    ended_well([forked(writer)])
    done, _, line = said.read_text().partition(" ")
    assert "cannot be written" in line
    assert "\n" not in line
    assert int(done) > 5
    accounts = AccountsFile(path)
    spent, held = agreed(path)
    assert (spent, held) == (int(done) * nano(0.001), 0)
    accounts.reserve(accounts.find(token), 0.001, 10)
    accounts.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_place_that_cannot_be_written_is_one_line(mode: int) -> None:
    with TemporaryDirectory() as folder:  # one that somebody else may look into
        path, read, write = Path(folder, "accounts.sqlite"), *os.pipe()
        AccountsFile(path).close()
        path.chmod(0o644)
        Path(folder).chmod(mode)

        def somebody() -> None:
            os.setresuid(65534, 65534, 65534)
            for file in (path, Path(folder, "new.sqlite")):
                with pytest.raises(InvalidInputError) as error:
                    AccountsFile(file)
                os.write(write, f"{error.value}\n".encode())

        ended_well([forked(somebody)])
        os.close(write)
        with os.fdopen(read) as stream:
            lines = stream.read().splitlines()
    assert len(lines) == 2
    assert all("cannot be written" in line for line in lines)
