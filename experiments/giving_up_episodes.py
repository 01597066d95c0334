"""Recorded episodes for `experiments.giving_up`, of a pool of ALFWorld games or of runs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amp.errors import InvalidInputError, MissingDependencyError
from amp.learn.giving_up import LabelledEpisode, trials_of
from amp.trace import EPISODES, MANIFEST, read_episodes, read_manifest
from amp.types import Complexity, Episode, Observation, StepRecord, Task, Usage

POOL = "pools/alfworld_knowagent"
FILE = "pool.jsonl.gz"
_THOUGHTS = ("Think:", "ActionPath:")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded episode.

    Attributes:
        agent: that played it.
        episode: what it did; the state of a step is the answer to the one before.
        trial: the same for the learner. Its group is the task in its room, of which there can be
            several games.
    """

    agent: str
    episode: Episode
    trial: LabelledEpisode

    @property
    def steps(self) -> int:
        return len(self.episode.steps)


# --------------------------------------------------------------------------- the pool


def read_pool(directory: Path) -> dict[str, Recorded]:
    """The episodes of a pool, by game and agent.

    Raises:
        InvalidInputError: if a line is no game with episodes.
        MissingDependencyError: if there is no such pool.
    """
    places = (directory / FILE, directory / POOL / FILE)
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise MissingDependencyError(
            f"no pool of episodes: neither {places[0]} nor {places[1]} is there; name its directory"
            " with --data or AMP_DATA"
        )
    found, number = {}, 0
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                number += 1
                row = json.loads(line)
                for agent, samples in row["arms"].items():
                    for index, sample in enumerate(samples):
                        key = f"{row['id']} {agent} {index}"
                        found[key] = _recorded(row["id"], agent, sample)
    except (KeyError, TypeError, AttributeError, ValueError, OSError, EOFError) as error:
        raise InvalidInputError(
            f"{file} line {number} is no game with episodes ({error!r}); expected id and arms, each"
            " with text and correct"
        ) from None
    return found


def read_runs(directories: Sequence[Path]) -> dict[str, Recorded]:
    """The episodes of runs, by run and task.

    Raises:
        InvalidInputError: if one is no run.
    """
    return {
        f"{directory} {trial.group}": Recorded("amp", episode, trial)
        for directory in directories
        for episode in read_episodes(directory)
        for trial in trials_of([episode])
    }


def read_episodes_of(directories: Sequence[Path]) -> dict[str, Recorded]:
    if all((directory / EPISODES).is_file() for directory in directories):
        return read_runs(directories)
    if len(directories) > 1:
        raise InvalidInputError(f"{directories[0]} is no run; name one pool, or runs of amp run")
    return read_pool(directories[0])


def benchmark_of(directories: Sequence[Path]) -> str:
    """Whose episodes these are, of runs; those of a pool are ALFWorld's."""
    runs = [directory for directory in directories if (directory / MANIFEST).is_file()]
    return str(read_manifest(runs[0])["config"]["benchmark"]) if runs else "alfworld"


def _recorded(game: str, agent: str, sample: Mapping[str, Any]) -> Recorded:
    opening, _, rest = sample["text"].partition("\n>")
    goal = opening.rpartition("Your task is to:")[2].strip()
    state, steps = opening, []
    for block in f"\n>{rest}".split("\n> ")[1:]:
        action, _, answer = block.partition("\n")
        if not action.startswith(_THOUGHTS):
            step = StepRecord(
                Observation(state),
                (),
                Complexity(0.0),
                action.strip(),
                Usage(),
                feedback=answer.strip(),
            )
            steps.append(step)
            state = step.feedback
    success = bool(sample["correct"])
    episode = Episode(Task(game, goal), tuple(steps), success, float(success), Usage(), "done")
    (trial,) = trials_of([episode], group=lambda one: one.task.id.rpartition("/")[0] or one.task.id)
    return Recorded(agent, episode, trial)
