"""Measures what our processes cost: a step and a start of ALFWorld, against TextWorld alone.

Both play the same solutions in one run, step by step by turns, and have to say the same. Of several
rounds the fastest counts for each step, so that other work on the machine disturbs little. Needs
the games of valid_seen.

Run as a module: python -m perf.alfworld_steps [GAMES]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import textworld
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
from textworld.envs.pddl import PddlEnv

from amp.benchmarks.alfworld import ALFWorld
from amp.types import Task

GAMES = 6
ROUNDS = 5


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


class Game:
    """One game in both: the least seconds of its start, of each step, and of an empty request."""

    def __init__(self, benchmark: ALFWorld, task: Task) -> None:
        infos = textworld.EnvInfos(won=True, admissible_commands=True)
        self._alone = AlfredDemangler(PddlEnv(infos), shuffle=False)
        self._game = benchmark._find(task.data["game"]).read()
        self._task, self._ours = task, benchmark.environment(task)
        self.start_ours = timed(lambda: self._ours.reset(task))
        self.start_alone = timed(self._start_alone)
        self._round()  # what is loaded on first use counts for neither
        rounds = [self._round() for _ in range(ROUNDS)]
        self.alone, self.ours, self.empty = (
            sum(min(column) for column in zip(*(r[n] for r in rounds), strict=True))
            for n in range(3)
        )
        self.steps = len(self._game["walkthrough"])

    def _start_alone(self) -> None:
        self._alone.load(self._game)
        self._alone.reset()

    def _round(self) -> tuple[list[float], list[float], list[float]]:
        alone, ours, empty = self._alone, self._ours, [0.0]
        alone.reset()
        ours.reset(self._task)
        seconds = []
        for c in self._game["walkthrough"]:
            pair = (timed(lambda c=c: alone.step(c)), timed(lambda c=c: ours.step(c)))  # type: ignore[misc]
            seconds.append(pair)
            assert ours._state is not None
            assert ours._state.text == alone.unwrapped.state.feedback
            assert list(ours._state.commands) == alone.unwrapped.state["admissible_commands"]
        play, view = ours._session, ours._state
        assert play is not None
        assert view is not None
        empty = [timed(lambda: play.plan(view.at)) for _ in seconds]  # won: nothing to plan
        return [a for a, _ in seconds], [o for _, o in seconds], empty


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else GAMES
    benchmark = ALFWorld()
    tasks = benchmark.tasks("valid_seen", count)
    benchmark._next.clear()  # nothing is loaded ahead, which would disturb
    benchmark.environment(tasks[0]).reset(tasks[0])  # the worker's own start
    games = [Game(benchmark, task) for task in tasks]
    steps = sum(game.steps for game in games)
    alone, ours, empty = (
        sum(getattr(game, name) for game in games) / steps for name in ("alone", "ours", "empty")
    )
    print(f"{len(games)} games, {steps} steps, {ROUNDS} rounds")
    print(f"step, TextWorld alone:      {1e3 * alone:7.2f} ms")
    print(f"step, ours:                 {1e3 * ours:7.2f} ms  ({ours / alone:.3f} of alone)")
    print(f"  of which hand-over:       {1e3 * empty:7.2f} ms")
    print(f"  without it:               {1e3 * (ours - empty):7.2f} ms  ", end="")
    print(f"({(ours - empty) / alone:.3f} of alone)")
    print(f"start, TextWorld alone:     {sum(g.start_alone for g in games) / len(games):7.2f} s")
    print(f"start, ours, not expected:  {sum(g.start_ours for g in games) / len(games):7.2f} s")
    benchmark.close()


if __name__ == "__main__":
    main()
