"""A look costs what it says, shows what was asked for, and says what a model cannot show."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.fakes.worlds import CORRIDOR, RIDDLE, Corridor, context

from amp.cost import Ledger
from amp.errors import LimitReachedError
from amp.execute.base import PlainPrompts
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.models.scripted import ALL_CAPABILITIES, ScriptedModel
from amp.types import Allocation, Limits, Probe, ProbeKind, Usage

GUIDED = context(CORRIDOR, Corridor().reset(CORRIDOR))
ALL: frozenset[ProbeKind] = frozenset({"options", "next_token", "hidden", "perplexity"})


def looking(**more: object) -> ScriptedModel:
    def told(_: object) -> dict[str, float]:
        return {"1": 0.5, "2": 0.25}

    return ScriptedModel(["Action: 8"], next_tokens=told, hidden=(1.0, 2.0), **more)  # type: ignore[arg-type]


def metered(model: ScriptedModel, limits: Limits = Limits()) -> Meter:
    return Meter(model, Ledger(limits))


async def test_the_look_at_options_is_the_probe_that_acting_at_once_reads() -> None:
    meter, executor = metered(looking()), Executor(PlainPrompts())
    seen = await executor.probe(GUIDED, frozenset({"options"}), meter)
    assert seen is not None
    assert seen.options == pytest.approx({"wait": 2 / 3, "follow the guide": 1 / 3})
    spent = meter.ledger.usage
    assert spent.model_calls == 1
    await executor.execute(GUIDED, Allocation(tools=frozenset({"guide"})), meter)
    assert meter.ledger.usage == spent


async def test_an_open_step_shows_the_first_token_of_acting_at_once() -> None:
    model = looking()
    meter, executor = metered(model), Executor(PlainPrompts())
    seen = await executor.probe(context(RIDDLE), frozenset({"next_token"}), meter)
    told = -0.5 * math.log(0.5) - 2 * 0.25 * math.log(0.25)  # the mass left out is one outcome
    assert seen is not None
    assert seen.entropy == pytest.approx(told)
    assert seen == Probe(entropy=seen.entropy)
    await executor.execute(context(RIDDLE), Allocation(), meter)
    assert model.probes == [model.requests[0].prompt]
    assert meter.ledger.usage.completion_tokens >= 1


@pytest.mark.parametrize("at", [GUIDED, context(RIDDLE)])
async def test_everything_can_be_seen_at_once_and_is_charged(at: object) -> None:
    meter = metered(looking())
    seen = await Executor(PlainPrompts()).probe(at, ALL, meter)  # type: ignore[arg-type]
    assert seen is not None
    assert seen.hidden == (1.0, 2.0)
    assert seen.perplexity == pytest.approx(2.0)  # every scripted token has probability 1/2
    assert bool(seen.options) != (seen.entropy is not None)
    assert meter.ledger.usage.prompt_tokens > 0
    assert meter.notes == []


async def test_nothing_is_called_where_nothing_is_wanted_or_only_one_action_is_there() -> None:
    model = looking()
    single = replace(GUIDED.observation, actions=("walk",), tool_actions={})
    executor, meter = Executor(PlainPrompts()), metered(model)
    assert await executor.probe(GUIDED, frozenset(), meter) is None
    assert (
        await executor.probe(replace(GUIDED, observation=single), frozenset({"options"}), meter)
        is None
    )
    assert meter.ledger.usage == Usage()


async def test_a_model_that_cannot_show_something_says_so_and_the_rest_is_there() -> None:
    silent = replace(ALL_CAPABILITIES, log_probs=False, hidden_states=False, scoring=False)
    meter = metered(looking(capabilities=silent))
    assert await Executor(PlainPrompts()).probe(context(RIDDLE), ALL, meter) is None
    assert [note.partition(":")[0] for note in meter.notes] == [
        "no hidden state",
        "no next-token entropy",
        "no perplexity of the context",
    ]


async def test_a_look_that_does_not_fit_the_limits_is_not_taken() -> None:
    model = looking()
    with pytest.raises(LimitReachedError):
        await Executor(PlainPrompts()).probe(
            context(RIDDLE), frozenset({"hidden"}), metered(model, Limits(tokens=5))
        )
    assert model.probes == []
