"""Games in processes, so that their memory is bounded and the next one loads early.

A worker is started when it is needed and replaced after `GAMES_A_WORKER` games, or when it has had
more than `MOST_MEGABYTES`, which takes an expert that searches long for a solution. While one game
is played, a second worker loads the next.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from amp.benchmarks.alfworld.games import GameFile
from amp.benchmarks.alfworld.process import View, Worker, view_of

GAMES_A_WORKER = 25
"""Games after which a worker is replaced."""

MOST_MEGABYTES = 400
"""Memory after which it is replaced, as soon as its game is over."""


class Play:
    """A loaded game; whoever has it can go on from any of its positions."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def start(self) -> View:
        """The start; waits until the game is loaded."""
        return self._worker.start()

    def step(self, at: int, command: str) -> View:
        """Carries a command out at a position; positions stay, so that one can go on elsewhere."""
        return view_of(self._worker.ask(do="step", at=at, command=command))

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

    def open(self, game: GameFile) -> Play:
        """Returns a game, which may still be loading."""
        worker = self._take(game)
        play = Play(worker)
        weakref.finalize(play, _give_back, worker, self._idle).atexit = False
        return play

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
    if worker.games < GAMES_A_WORKER and worker.megabytes < MOST_MEGABYTES:
        idle.append(worker)
    else:
        worker.close()
