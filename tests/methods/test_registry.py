"""Every published method plans through the same executor, with what it pins and no more."""

from __future__ import annotations

from typing import Any

import pytest

from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError
from amp.evaluate import Assembly, PlannerConfig, RunConfig, build_planner, manifest
from amp.methods import METHODS
from amp.models.base import ModelCard, Prompt
from amp.models.scripted import ScriptedModel, random_model
from amp.types import Episode


def answer(prompt: Prompt, index: int) -> str:
    """A program where one is asked for, else a line that ends in an answer; every third is off."""
    number = 13 if index % 3 == 2 else 12
    if "Python" in prompt.messages[-1].content or "python" in prompt.messages[-1].content:
        return f"```python\nanswer = {number}\n```"
    return f"Thought: It is {number}.\nAction: finish[{number}]\n#### {number}"


def others_of(method: str) -> list[ScriptedModel]:
    """A second model, for the method that asks several."""
    return [ScriptedModel(answer, card=ModelCard("big"))] if method == "cascade" else []


async def plan(
    method: str, model: ScriptedModel, step: str | None = None, **wanted: Any
) -> Episode:
    benchmark = load_benchmark("gsm8k", step=step)
    task = benchmark.tasks("demo")[0]
    config = PlannerConfig(method=method, **wanted)
    planner = build_planner(config, model, benchmark, others=others_of(method))
    return await planner.run(task, benchmark.environment(task))


PLANNED = {"llm_dp", "llm_dp_random"}
"""Methods that need a benchmark with symbols."""


@pytest.mark.parametrize("method", [name for name in METHODS if name not in PLANNED])
async def test_every_method_answers_a_word_problem(method: str) -> None:
    model = ScriptedModel(answer)
    episode = await plan(method, model, "reasoning" if method == "beam_search" else None)
    assert episode.ended == "done"
    assert episode.plan[-1].removeprefix("#### ") == "12"
    asked = len(model.requests) + len(model.probes)
    assert episode.usage.model_calls == asked > 0


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"beam_search"} - PLANNED))
async def test_every_method_acts_where_actions_are_listed(method: str) -> None:
    benchmark = load_benchmark("babyai")
    task = benchmark.tasks("test", 1)[0]
    config = PlannerConfig(method=method, max_steps=4)
    planner = build_planner(config, random_model(), benchmark, others=others_of(method))
    episode = await planner.run(task, benchmark.environment(task))
    assert episode.steps
    assert episode.usage.model_calls > 0


@pytest.mark.parametrize("method", sorted(PLANNED))
@pytest.mark.parametrize("name", ["gsm8k", "babyai"])
async def test_a_method_that_plans_in_symbols_is_refused_elsewhere(method: str, name: str) -> None:
    model, benchmark = random_model(), load_benchmark(name)
    (task,) = benchmark.tasks("demo" if name == "gsm8k" else "test", 1)
    with pytest.raises(InvalidInputError, match=r"needs the tool symb|llm_dp plans from symbols"):
        planner = build_planner(PlannerConfig(method=method), model, benchmark)
        await planner.run(task, benchmark.environment(task))
    assert (model.requests, model.probes) == ([], [])


async def test_a_method_in_words_keeps_only_the_environments_tools() -> None:
    for name, tools in (("gsm8k", []), ("babyai", ["path_finder"])):
        benchmark = load_benchmark(name)
        config = RunConfig(benchmark=name, planner=PlannerConfig(method="chain_of_thought"))
        run = manifest(config, Assembly.of(config.planner, benchmark), random_model(), [])
        assert run["fixed"]["tools"] == tools
        assert run["config"]["planner"]["method"] == "chain_of_thought"
        assert run["allocator"] == "fixed"


async def test_what_the_user_sets_wins_over_the_method() -> None:
    model = ScriptedModel(answer)
    await plan("self_consistency", model, beam_width=2)
    assert model.requests[0].n == 2


async def test_sampling_until_agreement_stops_when_the_votes_are_in() -> None:
    model = ScriptedModel(answer)
    await plan("until_agreement", model)
    assert [(r.first_sample, r.n) for r in model.requests] == [(0, 1), (1, 1)]


def test_an_unknown_method_is_named_with_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown method 'reakt'; did you mean 'react'\?"):
        build_planner(PlannerConfig(method="reakt"), random_model(), load_benchmark("gsm8k"))
