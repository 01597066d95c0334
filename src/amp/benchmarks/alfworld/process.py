"""Games in processes of their own, so that their memory is bounded and the next one loads early.

The other side of a process is `worker.py`. A worker is started when it is needed and replaced after
`GAMES_A_WORKER` games, or when it has had more than `MAX_MEGABYTES`, which takes an expert that
searches long for a solution. While one game is played, a second worker loads the next. Workers end
with this process, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amp.benchmarks.alfworld.games import GameFile, cache
from amp.errors import AmpError, InvalidInputError


@dataclass(frozen=True, slots=True)
class GameState:
    """What a game says at one of its positions.

    Attributes:
        at: number of the position, for going on from there.
        text: the game's own words.
        commands: the admissible commands, as the game names them.
        won: whether the goal is reached.
        facts: a digest of all that is true there, hidden things, too; equal positions of two ways
            have the same.
    """

    at: int
    text: str
    commands: tuple[str, ...]
    won: bool
    facts: str = ""


class Worker:
    """One process that holds one game at a time.

    Attributes:
        game: what it holds, or is loading; None before the first.
        games: how many it has held.
        megabytes: the most memory that it had, by its last answer.
    """

    def __init__(self) -> None:
        self.game: GameFile | None = None
        self.games = 0
        self.megabytes = 0
        self._start: GameState | InvalidInputError | None = None
        self._done: dict[tuple[int, str], GameState] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "amp.benchmarks.alfworld.worker"],
            # The order of sets decides ties in the libraries, and alfworld makes its directory.
            env={**os.environ, "PYTHONHASHSEED": "0", "ALFWORLD_DATA": str(cache())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.close = weakref.finalize(self, _end, self._process)
        """Ends the process; also called at exit, and when the worker is garbage collected."""

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def loading(self) -> bool:
        """Whether a game was requested and its answer not yet awaited."""
        return self.game is not None and self._start is None

    def load(self, game: GameFile) -> None:
        """Asks for a game without waiting for it."""
        if self.loading:
            self._answer()  # of the load before, which is not needed any more
        self.game, self._start, self._done = game, None, {}
        self.games += 1
        self._send(do="load", id=game.id, path=str(game.path), member=game.member)

    def start(self) -> GameState:
        """Waits for the game and returns its start.

        Raises:
            InvalidInputError: if the game can't be loaded.
            AmpError: if the process has died.
        """
        if self._start is None:
            try:
                self._start = state_of(self._checked(self._answer()))
            except InvalidInputError as error:
                self._start = error
        if isinstance(self._start, InvalidInputError):
            raise self._start
        return self._start

    def step(self, at: int, command: str) -> GameState:
        """Carries a command out at a position. What was done there before is not done again.

        So to come back to a state of a lattice costs nothing: games are deterministic, and a step
        takes tens of milliseconds.
        """
        if (at, command) not in self._done:
            answer = self.ask(do="step", at=at, command=command)
            self._done[at, command] = state_of(answer)
        return self._done[at, command]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request to the loaded game and waits for the answer."""
        self.start()
        self._send(**request)
        return self._checked(self._answer())

    def _send(self, **request: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._died() from None

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
        except BaseException:  # an interrupt; its answer must not be taken for the next one
            self.close()
            raise
        if not line:
            raise self._died()
        answer: dict[str, Any] = json.loads(line)
        self.megabytes = answer["megabytes"]
        return answer

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "error" in answer:
            name = self.game.id if self.game else "none"
            raise InvalidInputError(f"ALFWorld game {name} cannot be played: {answer['error']}")
        return answer

    def _died(self) -> AmpError:
        self.close()
        name = self.game.id if self.game else "none"
        return AmpError(
            f"the process of ALFWorld game {name} ended with status {self._process.returncode}; "
            "run the command again"
        )


def state_of(answer: dict[str, Any]) -> GameState:
    """Reads a state from a worker's answer."""
    commands = tuple(answer["commands"])
    return GameState(answer["at"], answer["text"], commands, answer["won"], answer["facts"])


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process, which has nothing to lose, and waits for it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was still to be written has no reader
                pipe.close()


GAMES_A_WORKER = 25
"""Games after which a worker is replaced."""

MAX_MEGABYTES = 400
"""Memory after which it is replaced, as soon as its game is over."""


class GameSession:
    """A loaded game; whoever has it can go on from any of its positions."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def start(self) -> GameState:
        """The start; waits until the game is loaded."""
        return self._worker.start()

    def step(self, at: int, command: str) -> GameState:
        """Carries a command out at a position; positions stay, so that one can go on elsewhere."""
        return self._worker.step(at, command)

    def remaining(self, at: int, commands: Sequence[str]) -> tuple[int | None, list[int | None]]:
        """Length of the planner's plan at a position, and after each of these commands there."""
        answer = self._worker.ask(do="remaining", at=at, commands=list(commands))
        return answer["now"], answer["after"]

    def plan(self, at: int = 0) -> tuple[str, ...] | None:
        """The planner's plan from a position, with all that the game hides; None if it has none."""
        plan = self._worker.ask(do="plan", at=at)["plan"]
        return None if plan is None else tuple(plan)

    def handcoded(
        self, type_: str, names: dict[str, str], steps: int
    ) -> tuple[tuple[str, ...], bool]:
        """What the handcoded expert does from the start, and whether it wins."""
        answer = self._worker.ask(do="handcoded", type=type_, names=names, steps=steps)
        return tuple(answer["plan"]), answer["won"]


class Workers:
    """The workers of one benchmark: as many as games are played at once, and one that loads."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []

    def open(self, game: GameFile) -> GameSession:
        """Returns a game, which may still be loading."""
        worker = self._take(game)
        session = GameSession(worker)
        weakref.finalize(session, _give_back, worker, self._idle).atexit = False
        return session

    def expect(self, game: GameFile) -> None:
        """Loads a game that will probably be next in a worker that has nothing to do."""
        self._idle.append(self._take(game))

    def close(self) -> None:
        """Ends the workers that play no game."""
        while self._idle:
            self._idle.pop().close()

    def _take(self, game: GameFile) -> Worker:
        """A worker that holds this game, or is loading it: rather one that does than a free one."""
        ready = [worker for worker in self._idle if worker.alive]
        self._idle[:] = ready
        for worker in ready:
            if worker.game == game:
                self._idle.remove(worker)
                return worker
        worker = min(ready, key=lambda idle: idle.loading) if ready else Worker()
        self._idle[:] = [idle for idle in ready if idle is not worker]
        worker.load(game)
        return worker


def _give_back(worker: Worker, idle: list[Worker]) -> None:
    if worker.games < GAMES_A_WORKER and worker.megabytes < MAX_MEGABYTES:
        idle.append(worker)
    else:
        worker.close()
