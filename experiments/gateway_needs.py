"""Whether what the gateway's rules read of a conversation says how an agent's task ends.

Run as a module, on the pool of ALFWorld episodes of two agents (`docs/pools.md`):

    python -m experiments.gateway_needs --data DIR

Each episode is written as the conversation that a client would send before each of its steps. The
agents are others' models, which never met the gateway: what is shown is that the signs are there,
not what more effort would have made of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amp.errors import AmpError
from amp.report.stats import bootstrap_interval, ratio
from amp.serve.decide.conversation import read_conversation
from amp.serve.decide.rules import Need, need_of
from experiments.giving_up_episodes import Recorded, read_pool

STEPS = (5, 10, 15)
"""Steps already made, at which episodes that are stuck are compared with the others."""

_TOOLS = [{"type": "function", "function": {"name": "act"}}]


def needs(episode: Recorded) -> Iterator[Need]:
    """What the rules say before each step."""
    goal = f"You are in a house. Your task is to: {episode.episode.task.goal}"
    said: list[dict[str, Any]] = [{"role": "user", "content": goal}]
    for number, step in enumerate(episode.episode.steps):
        yield need_of(read_conversation({"messages": said, "tools": _TOOLS}, "one", size=0))
        function = {"name": "act", "arguments": json.dumps({"action": step.action})}
        call = {"id": str(number), "type": "function", "function": function}
        said.append({"role": "assistant", "content": None, "tool_calls": [call]})
        said.append({"role": "tool", "tool_call_id": str(number), "content": step.feedback})


def line(name: str, group: Mapping[str, Recorded]) -> str:
    """A row of the table; intervals resample tasks."""
    if not group:
        return f"| {name} | 0 | |"
    tasks = [each.episode.task.id for each in group.values()]
    well = [float(bool(each.episode.success)) for each in group.values()]
    sure = bootstrap_interval(tasks, (well, [1.0] * len(well)), ratio)
    share = sum(well) / len(well)
    return f"| {name} | {len(group)} | {share:.1%} ({sure.low:.1%} to {sure.high:.1%}) |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AMP_DATA", ".")))
    wanted = parser.parse_args(arguments)
    try:
        pool = read_pool(wanted.data)
    except AmpError as error:
        sys.exit(f"gateway_needs: {error}")
    read = {name: list(needs(episode)) for name, episode in pool.items()}
    print("| before the step | episodes | end well |")
    print("|---|---|---|")
    for step in STEPS:
        there = {name: each for name, each in pool.items() if each.steps > step}
        stuck = {name: each for name, each in there.items() if read[name][step].stuck}
        others = {name: each for name, each in there.items() if name not in stuck}
        print(line(f"{step + 1}, stuck", stuck))
        print(line(f"{step + 1}, not stuck", others))


if __name__ == "__main__":
    main()
