"""Laws of every planner, whatever the model says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.methods import (
    ALLOCATION,
    BUILDERS,
    ForkingCorridor,
    ForkingRiddle,
    asked,
    babbler,
    spent,
)
from tests.fakes.worlds import CORRIDOR, RIDDLE

from amp.benchmarks.babyai import BabyAI
from amp.benchmarks.base import Benchmark
from amp.benchmarks.gsm8k import GSM8K
from amp.environment import Environment, Forkable
from amp.errors import ModelError
from amp.methods import BASELINES
from amp.models.base import Completion, Request
from amp.models.scripted import ScriptedModel
from amp.trace import episode_from_json, to_json
from amp.types import MODEL_ERROR, Episode, Limits, StepRecord, Task

WORLDS: dict[str, tuple[Task, type[ForkingCorridor] | type[ForkingRiddle]]] = {
    "corridor": (CORRIDOR, ForkingCorridor),
    "riddle": (RIDDLE, ForkingRiddle),
}

names = pytest.mark.parametrize("name", BUILDERS)
worlds = pytest.mark.parametrize("world", WORLDS)


async def run(
    name: str,
    world: str,
    model: ScriptedModel,
    limits: Limits = Limits(steps=6),
    width: int = 1,
    seed: int = 0,
) -> tuple[Episode, Environment]:
    task, make = WORLDS[world]
    environment = make()
    planner = BUILDERS[name](model, limits, replace(ALLOCATION, beam_width=width))
    return await planner.run(replace(task, seed=seed), environment), environment


@names
@worlds
@settings(max_examples=25)
@given(seed=st.integers(0, 400), width=st.integers(1, 3))
async def test_every_token_that_the_model_was_asked_for_is_counted_once(
    name: str, world: str, seed: int, width: int
) -> None:
    model = babbler(seed)
    episode, _ = await run(name, world, model, width=width)
    calls, prompt_tokens = await asked(model)
    for usage in (episode.usage, spent(episode)):
        assert (usage.model_calls, usage.prompt_tokens) == (calls, prompt_tokens)
        assert usage.completion_tokens == episode.usage.completion_tokens
        assert usage.tool_calls == episode.usage.tool_calls
    for step in episode.steps:
        assert sum(r.usage.tokens for r in step.rounds) <= step.usage.tokens


@names
@worlds
@settings(max_examples=25)
@given(seed=st.integers(0, 400), tokens=st.integers(1, 4000), steps=st.integers(1, 5))
async def test_limits_hold_and_end_the_episode(
    name: str, world: str, seed: int, tokens: int, steps: int
) -> None:
    episode, _ = await run(name, world, babbler(seed), Limits(steps=steps, tokens=tokens), 2)
    assert episode.usage.tokens <= tokens
    assert len(episode.steps) <= steps
    assert episode.ended in (
        "done",
        "limit of tokens",
        "limit of steps",
        "limit of refinements",
        "limit of depth",
    )


@names
@worlds
@settings(max_examples=25)
@given(seed=st.integers(0, 400))
async def test_what_a_model_babbles_is_recorded_and_read_back_from_a_trace(
    name: str, world: str, seed: int
) -> None:
    episode, environment = await run(name, world, babbler(seed))
    if isinstance(environment, ForkingCorridor):  # it refuses what is not admissible
        assert list(episode.plan) == environment.taken or name == "beam"
    for step in episode.steps:
        assert (step.action is None) <= (step.failure is not None)
        assert all(c.failure for r in step.rounds for c in r.candidates if c.action is None)
    if episode.ended != "done":
        assert (episode.success, episode.score) == (False, 0.0)


@names
@worlds
@pytest.mark.parametrize("text", ["", "\n\n\n", "word " * 400, "Action:", "1. 2. 3."])
async def test_a_model_with_nothing_to_say_ends_in_failure_after_bounded_calls(
    name: str, world: str, text: str
) -> None:
    model = ScriptedModel([text], next_tokens=lambda prompt: {"?": 1.0})
    episode, _ = await run(name, world, model)
    assert episode.success is False
    assert len(model.requests) + len(model.probes) < 100
    failed = [step for step in episode.steps if step.action is None]
    assert all(step.failure for step in failed)
    assert failed or name in ("beam", "adapt")  # these take any words for an answer
    assert episode_from_json(to_json(episode)) == episode


@names
@worlds
async def test_the_same_seed_gives_the_same_episode(name: str, world: str) -> None:
    first, _ = await run(name, world, babbler(3), width=2, seed=1)
    again, _ = await run(name, world, babbler(3), width=2, seed=1)
    assert [(s.action, s.rounds) for s in first.steps if not s.usage.tool_calls] == [
        (s.action, s.rounds) for s in again.steps if not s.usage.tool_calls
    ]
    assert first.plan == again.plan
    assert first.usage.tokens == again.usage.tokens


@names
@worlds
async def test_every_step_is_told_of_when_it_is_done(name: str, world: str) -> None:
    task, make = WORLDS[world]
    told: list[StepRecord] = []
    planner = BUILDERS[name](babbler(5), Limits(steps=4), ALLOCATION)
    episode = await planner.run(task, make(), told.append)
    assert told == list(episode.steps)
    assert told


@names
@pytest.mark.parametrize("benchmark", [GSM8K(), GSM8K(step="reasoning"), BabyAI()])
async def test_every_planner_plays_the_benchmarks(name: str, benchmark: Benchmark) -> None:
    (task,) = benchmark.tasks("demo" if benchmark.name == "gsm8k" else "dev", 1)
    allocation = replace(ALLOCATION, beam_width=2, tools=frozenset(benchmark.environment_tools))
    for seed in range(3):
        model, environment = babbler(seed), benchmark.environment(task)
        assert isinstance(environment, Forkable)
        planner = BUILDERS[name](model, Limits(steps=4), allocation)
        episode = await planner.run(task, environment)
        assert (await asked(model))[0] == spent(episode).model_calls > 0


class Broken(ScriptedModel):
    """Answers twice and then no more."""

    async def generate(self, request: Request) -> list[Completion]:
        if len(self.requests) == 2:
            raise ModelError("the server is gone")
        return await super().generate(request)


@names
async def test_a_failing_model_ends_the_episode_and_loses_nothing(name: str) -> None:
    # Nothing of this is an answer, so everyone asks again.
    model = Broken(["fail"], next_tokens=lambda prompt: {"no": 1.0})
    planner = BUILDERS[name](model, Limits(steps=6), replace(ALLOCATION, depth=1))
    episode = await planner.run(CORRIDOR, ForkingCorridor())
    assert (episode.ended, episode.success) == (MODEL_ERROR, False)
    assert episode.steps[-1].failure == "the server is gone"
    calls, _ = await asked(model)
    assert spent(episode).model_calls == episode.usage.model_calls == calls


def test_every_baseline_says_which_prompts_it_has() -> None:
    for name, planner in BASELINES.items():
        assert re.fullmatch(rf"{name}/[1-9]\d*", planner.version)
    # llm_dp needs symbols, which these worlds lack; test_llm_dp.py has its laws.
    assert BASELINES.keys() == BUILDERS.keys() - {"beam"} | {"llm_dp"}
