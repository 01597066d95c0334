"""A planner with several models: who answers, who pays, and what happens where one fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, Riddle

from amp.allocate.base import Allocator, FixedAllocator
from amp.allocate.policy_file import load_router, save_router
from amp.allocate.router import Descriptors, Known, Router, basis
from amp.assess.base import Rater, RaterByModel
from amp.benchmarks import load_benchmark
from amp.errors import InvalidInputError, ModelError
from amp.evaluate import PlannerConfig, build_planner
from amp.models.base import Completion, ModelCard, NextToken, Prompt, Request
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.trace import episode_from_json, to_json
from amp.types import STOP, Allocation, Candidate, Complexity, Decision, Episode, StepContext, Usage

PRICED = ModelCard(
    "small",
    parameters=10**6,
    dollars_per_million_prompt_tokens=1.0,
    dollars_per_million_cached_tokens=1.0,
    dollars_per_million_completion_tokens=2.0,
)
CARDS = {
    "small": PRICED,
    "big": replace(PRICED, name="big", dollars_per_million_completion_tokens=50.0),
    "huge": replace(PRICED, name="huge", parameters=10**9),
}
ONE = Allocation(temperature=1.0)
names = st.none() | st.sampled_from(sorted(CARDS))


class Fallible(ScriptedModel):
    """Answers its name's length so many times, and fails from then on."""

    def __init__(self, name: str, good: int = 1000) -> None:
        super().__init__(
            [f"Action: {len(name)}"], next_tokens=lambda prompt: {"2": 1.0}, card=CARDS[name]
        )
        self.good, self.asked = good, 0

    def _count(self) -> None:
        self.asked += 1
        if self.asked > self.good:
            raise ModelError(f"{self.card.name} is gone")

    async def generate(self, request: Request) -> list[Completion]:
        self._count()
        return await super().generate(request)

    async def next_token(self, prompt: Prompt, *, hidden: bool = False) -> NextToken:
        self._count()
        return await super().next_token(prompt, hidden=hidden)


@dataclass(frozen=True)
class InTurn(Allocator):
    """A round of each of some models, whatever failed."""

    turns: Sequence[str | None]

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        done = context.evidence.rounds
        if done == len(self.turns):
            return STOP
        return Decision(replace(ONE, model=self.turns[done]))


async def asked(models: Sequence[Fallible], turns: Sequence[str | None]) -> Episode:
    return await Planner(list(models), allocator=InTurn(turns)).run(RIDDLE, Riddle())


def by_model(episode: Episode) -> list[str | None]:
    return [c.model for s in episode.steps for r in s.rounds for c in r.candidates]


@settings(max_examples=15)
@given(st.integers(0, 9), st.integers(1, 3), st.integers(0, 2))
async def test_one_model_alone_is_as_without_a_list(seed: int, width: int, level: int) -> None:
    allocator = FixedAllocator(replace(ONE, beam_width=width, verification=level))
    for task, world in ((RIDDLE, Riddle), (CORRIDOR, Corridor)):
        alone = Planner(Fallible("small"), allocator=allocator)
        listed = Planner([Fallible("small")], allocator=allocator)
        given_task = replace(task, seed=seed)
        one, other = [await p.run(given_task, world()) for p in (alone, listed)]
        assert to_json(one) == to_json(other)
        assert one.by_model == {}
        assert set(by_model(one)) <= {None}


@settings(max_examples=15)
@given(st.lists(names, min_size=1, max_size=6))
async def test_the_allocated_model_answers_and_the_ledger_is_the_sum(
    turns: list[str | None],
) -> None:
    models = [Fallible(name) for name in CARDS]
    episode = await asked(models, turns)
    assert by_model(episode) == [turn or "small" for turn in turns]
    for model in models:
        spent = episode.by_model.get(model.card.name, Usage())
        assert spent.model_calls == model.asked
        assert (spent == Usage()) == (model.card.name not in by_model(episode))
    total = sum(episode.by_model.values(), Usage())
    assert total.tokens == episode.usage.tokens
    assert total.model_calls == episode.usage.model_calls
    assert total.dollars == pytest.approx(episode.usage.dollars)
    assert total.flops == pytest.approx(episode.usage.flops)
    assert episode_from_json(to_json(episode)) == episode


@settings(max_examples=15)
@given(st.lists(names, min_size=1, max_size=6), st.tuples(*[st.integers(0, 4)] * 3))
async def test_a_model_that_failed_is_never_asked_again(
    turns: list[str | None], good: tuple[int, int, int]
) -> None:
    models = [Fallible(name, count) for name, count in zip(CARDS, good, strict=True)]
    episode = await asked(models, turns)
    assert all(model.asked <= model.good + 1 for model in models)
    failed = [model.card.name for model in models if model.asked > model.good]
    told = " ".join(s for step in episode.steps for r in step.rounds for s in r.substitutes)
    step = episode.steps[0]
    if len(failed) == len(models):
        assert step.failure is not None
        assert step.failure.endswith(" is gone")
        assert (episode.ended == "model error") == (not step.rounds)
    else:
        assert all(f"model {name} failed and is asked no more" in told for name in failed)
        assert len(by_model(episode)) == len(turns)


async def test_the_base_model_takes_the_place_of_one_that_failed() -> None:
    small, big = Fallible("small"), Fallible("big", 0)
    step = (await asked([small, big], ["big", None, "big"])).steps[0]
    assert [r.candidates[0].model for r in step.rounds] == ["small"] * 3
    assert step.rounds[0].substitutes == (
        "model big failed and is asked no more: big is gone",
        "model small instead of big, which failed",
    )
    assert step.rounds[2].substitutes == ("model small instead of big, which failed",)
    assert (big.asked, small.asked) == (1, 3)


async def test_the_next_model_goes_on_without_probes_where_the_base_model_fails() -> None:
    small, big = Fallible("small", 1), Fallible("big")
    episode = await Planner([small, big], allocator=InTurn(["big"])).run(CORRIDOR, Corridor())
    assert (episode.success, small.asked) == (True, 2)
    assert [step.probe is None for step in episode.steps] == [False, True, True]
    assert by_model(episode) == ["big"] * 3
    assert "no probe: model small failed" in episode.steps[2].rounds[0].substitutes


async def test_a_model_that_cannot_count_failed_too() -> None:
    class Uncounted(Fallible):
        async def count_tokens(self, prompt: Prompt) -> int:
            raise ModelError("no such route")

    episode = await asked([Fallible("small"), Uncounted("big")], ["big"])
    assert by_model(episode) == ["small"]


class Sure(Rater):
    """Rates all candidates alike."""

    def __init__(self, p_right: float) -> None:
        self.p_right = p_right

    def rate(self, context: StepContext, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        return tuple(replace(one, p_right=self.p_right) for one in candidates)


async def test_candidates_are_rated_by_the_heads_of_their_own_model() -> None:
    rater = RaterByModel({"small": Sure(0.2), "huge": Sure(0.9)})
    planner = Planner([Fallible(n) for n in CARDS], allocator=InTurn(tuple(CARDS)), rater=rater)
    rounds = (await planner.run(RIDDLE, Riddle())).steps[0].rounds
    assert [r.candidates[0].p_right for r in rounds] == [0.2, None, 0.9]


def router() -> Router:
    """One sample of each model, the small one first, then a stop."""
    descriptors = Descriptors()
    zero, none = np.zeros((1, 2)), np.zeros((1, 2, 0))
    known = Known(none, none, zero, zero > -1.0, zero + 0.5, zero, none[0])
    weights = np.zeros((1, 3, 3, basis(known, none[0, :1]).shape[1]))
    weights[:, :, :, 0] = 0.0, 2.0, 1.0
    return Router(
        arms={name: replace(ONE, model=name) for name in ("small", "big")},
        samples=(1, 1),
        depth=2,
        descriptors=descriptors,
        priors=np.zeros((2, descriptors.width)),
        voices=np.ones(5),
        token_prices=np.zeros(2),
        sample_prices=np.zeros(2),
        reference=1.0,
        trade_offs=np.array([0.9]),
        weights=weights,
    )


async def test_a_policy_by_value_chooses_among_models_and_needs_all_of_them(tmp_path: Path) -> None:
    file, benchmark = tmp_path / "values.safetensors", load_benchmark("gsm8k")
    save_router(router(), file)
    assert load_router(file).models == {"small", "big"}
    config, small = PlannerConfig(allocator=str(file), method=None), Fallible("small")
    planner = build_planner(config, small, benchmark, others=[Fallible("big")])
    task = benchmark.tasks("demo")[0]
    assert by_model(await planner.run(task, benchmark.environment(task))) == ["small", "big"]
    with pytest.raises(InvalidInputError, match=r"no model 'big' answers here \(models: small\)"):
        build_planner(config, small, benchmark)


@dataclass(frozen=True)
class Wary(Allocator):
    """Asks the last model that has not failed, once."""

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        left = [name for name in CARDS if name not in context.failed]
        return STOP if context.evidence.rounds else Decision(replace(ONE, model=left[-1]))


@dataclass(frozen=True)
class UntilFailure(Allocator):
    """Asks the base model, then the other one, and stops once that has failed."""

    def allocate(self, context: StepContext, complexity: Complexity) -> Decision:
        if context.failed or context.evidence.rounds > 1:
            return STOP
        return Decision(replace(ONE, model="big" if context.evidence.rounds else None))


async def test_an_allocator_knows_who_failed() -> None:
    models = [Fallible("small"), Fallible("big"), Fallible("huge", 0)]
    episode = await Planner(models, allocator=Wary()).run(RIDDLE, Riddle())
    assert by_model(episode) == ["big"]


async def test_a_failure_after_the_last_round_is_told_with_it() -> None:
    models = [Fallible("small"), Fallible("big", 0)]
    last = Planner(models, allocator=UntilFailure()).run(RIDDLE, Riddle())
    step = (await last).steps[0]
    assert step.rounds[-1].substitutes == ("model big failed and is asked no more: big is gone",)


async def test_an_allocation_of_a_model_that_is_not_here_is_refused() -> None:
    planner = Planner([Fallible("small"), Fallible("big")], allocator=InTurn(["bog"]))
    with pytest.raises(InvalidInputError, match=r"no model 'bog' .*mean 'big'.*small, big"):
        await planner.run(RIDDLE, Riddle())


def test_models_that_cannot_be_told_apart_or_paid_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="two models are called 'small'"):
        Planner([Fallible("small"), Fallible("small")])
    with pytest.raises(InvalidInputError, match="no model is given"):
        Planner([])
    free = ScriptedModel([], card=ModelCard("free", dollars_per_million_prompt_tokens=None))
    with pytest.raises(InvalidInputError, match=r"no price is known for model 'free'"):
        Planner([Fallible("small"), free], limits={"dollars": 1.0})
