"""The other side of `process.py`: plays games with TextWorld in a process of its own.

Run as a module. Reads one request a line from standard input and answers each with a line of JSON.
It ends when its input does, and so with the process that started it.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
import random
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fast_downward
import textworld
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
from alfworld.agents.expert import HandCodedAgentTimeout, HandCodedTWAgent
from textworld.envs.pddl import PddlEnv, textgen

from amp.benchmarks.alfworld.games import GameFile
from amp.errors import AmpError


@dataclass(frozen=True, slots=True)
class Position:
    """A moment of the loaded game that can be gone back to."""

    state_id: int
    facts: frozenset[Any]
    state: Any


class Table:
    """One loaded game and its positions; the first is the start."""

    def __init__(self) -> None:
        _remember_parsing()
        infos = textworld.EnvInfos(won=True, admissible_commands=True)
        self._env = AlfredDemangler(PddlEnv(infos), shuffle=False)
        self._positions: list[Position] = []
        self._here = 0

    def load(self, id: str, path: str, member: str | None) -> dict[str, Any]:
        """Begins a game."""
        self._positions = []
        self._env.load(GameFile(id, Path(path), member).read())
        return self._remember(self._env.reset())

    def step(self, at: int, command: str) -> dict[str, Any]:
        """Carries a command out at a position, which stays as it is."""
        self._go_to(at)
        return self._remember(self._env.step(command)[0])

    def remaining(self, at: int, commands: list[str]) -> dict[str, Any]:
        """Length of the planner's plan at a position, and after each command there; None: no plan.

        A command that the game does not offer changes nothing.
        """
        self._go_to(at)
        state = self._positions[at].state
        now = self._plan_length()
        after = []
        for command in commands:
            if command not in state["_valid_commands"]:
                after.append(now)
                continue
            action = state["_valid_actions"][state["_valid_commands"].index(command)]
            self._library.apply_operator(action.id, None)
            after.append(self._plan_length())
            self._library.set_state_id(self._positions[at].state_id)
        return {"now": now, "after": after}

    def plan(self, at: int) -> dict[str, Any]:
        """The planner's plan at a position."""
        self._go_to(at)
        inner = self._env.unwrapped
        if self._library.check_goal():
            return {"plan": []}
        return {"plan": inner._pddl_state.replan(inner._entity_infos) or None}

    def handcoded(self, type: str, names: dict[str, str], steps: int) -> dict[str, Any]:
        """What ALFWorld's handcoded expert does from the start; always the same."""
        random.seed(0)  # it breaks ties with the global generator
        expert = HandCodedTWAgent(max_steps=steps)
        expert.task_params = {**names, "task_type": type}
        expert.policy = expert.get_task_policy(expert.task_params)(expert.task_params, steps)
        self._go_to(0)
        self._here = -1  # from now on the game is at no known position
        self._env.request_infos.facts = True
        state = self._positions[0].state
        expert.observe(state["feedback"])
        commands: list[str] = []
        command = "look"
        try:
            while not state["won"] and len(commands) < steps:
                commands.append(command)
                state, _, _ = self._env.step(command)
                command = expert.act(state, 0, state["won"], command)
                if command not in state["admissible_commands"]:
                    command = "look"
        except HandCodedAgentTimeout:
            pass
        finally:
            self._env.request_infos.facts = False
        return {"plan": commands, "won": bool(state["won"])}

    @property
    def _library(self) -> Any:
        return self._env.unwrapped.downward_lib

    def _plan_length(self) -> int | None:
        if self._library.check_goal():
            return 0
        if not self._library.replan(False):
            return None
        return int(self._library.get_last_plan_length())

    def _remember(self, state: Any) -> dict[str, Any]:
        facts = frozenset(self._env.unwrapped._pddl_state.facts)
        self._positions.append(Position(self._library.get_state_id(), facts, state))
        self._here = len(self._positions) - 1
        return {
            "at": self._here,
            "text": state["feedback"],
            "commands": state["admissible_commands"],
            "won": bool(state["won"]),
            "facts": _digest(facts),
        }

    def _go_to(self, at: int) -> None:
        if at == self._here:
            return
        position, inner = self._positions[at], self._env.unwrapped
        self._library.set_state_id(position.state_id)
        now = frozenset(inner._pddl_state.facts)
        inner._pddl_state.remove_facts(now - position.facts)
        inner._pddl_state.add_facts(position.facts - now)
        inner._pddl_state.all_applicable_actions()  # what apply() looks operators up in
        inner.state = position.state
        self._here = at


def _digest(facts: frozenset[Any]) -> str:
    """A short text that is the same for the same facts, in every process."""
    told = "\n".join(sorted(map(str, facts)))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _remember_parsing() -> None:
    """Lets the libraries parse each text once; what they say stays the same.

    To start a game again translates its problem, and each step parses the grammar's texts and
    conditions, again.
    """
    fast_downward.pddl2sas = functools.lru_cache(maxsize=2)(fast_downward.pddl2sas)
    textgen.Rule.parse_conjunctive_query = functools.lru_cache(maxsize=10_000)(
        textgen.Rule.parse_conjunctive_query
    )
    parsed = functools.lru_cache(maxsize=10_000)(textgen._parse_and_convert)
    # A copy each time, since deriving a text writes into what was parsed.
    textgen._parse_and_convert = lambda *texts, **options: copy.deepcopy(parsed(*texts, **options))


def main() -> None:
    """Answers requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    table = Table()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(table, request.pop("do"))(**request)
        except AmpError as error:
            answer = {"error": str(error)}
        except Exception as error:  # a damaged game fails in the libraries in many ways
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        answer["megabytes"] = _megabytes()
        print(json.dumps(answer), file=answers, flush=True)


def _megabytes() -> int:
    """The most memory that this process has held.

    Linux tells what the parent held, too, as that of a child: a model in the parent would count.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) // 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
