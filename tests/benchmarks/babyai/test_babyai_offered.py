"""Laws of what is offered lazily: it is what it was, and a plain dictionary wherever it goes."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict

from amp.benchmarks.babyai import PATH_FINDER, BabyAI
from amp.benchmarks.babyai.environment import Offered


def test_the_actions_are_found_once_and_only_when_somebody_looks() -> None:
    calls: list[int] = []

    def find() -> tuple[str, ...]:
        calls.append(1)
        return ("explore",)

    offered = Offered("guide", find)
    assert not calls
    assert "guide" in offered
    assert offered == {"guide": ("explore",)}
    assert len(calls) == 1


def test_a_tool_that_offers_nothing_is_not_there() -> None:
    assert Offered("guide", tuple) == {}


def test_copies_and_pickles_are_plain_dictionaries() -> None:
    offered = Offered("guide", lambda: ("explore",))
    for copied in (copy.deepcopy(offered), pickle.loads(pickle.dumps(offered))):
        assert type(copied) is dict
        assert copied == offered


def test_an_observation_offers_what_it_did_when_it_was_made_and_can_be_written() -> None:
    benchmark = BabyAI()
    task = benchmark.tasks("dev", 1)[0]
    environment, other = benchmark.environment(task), benchmark.environment(task)
    early, late = environment.reset(task), other.reset(task)
    at_once = dict(early.tool_actions)
    for action in ("turn left", "go forward", "turn left", "go forward"):
        other.step(action)
    assert late.tool_actions == at_once
    assert json.loads(json.dumps(asdict(late)))["tool_actions"][PATH_FINDER] == list(
        at_once[PATH_FINDER]
    )
