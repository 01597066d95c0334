"""One of two models is a server that fails in some way: the other one carries the episode on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.worlds import RIDDLE, Riddle
from tests.faults.server import serving
from tests.faults.test_server import make

from amp.allocate import Cascade
from amp.models.base import ModelCard
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.types import Allocation

FAILING = (
    "status-401",
    "status-404",
    "status-500",
    "body-html",
    "body-truncated",
    "choices-null",
    "reason-error",
    "hangs-up",
    "gzip-bad",
)
SAMPLES = Allocation(temperature=1.0, beam_width=2)


@pytest.mark.parametrize("quirk", FAILING)
@pytest.mark.parametrize("is_base", [True, False])
async def test_a_server_that_fails_is_asked_no_more_and_the_other_model_answers(
    quirk: str, is_base: bool
) -> None:
    said = ["Action: 8"] if is_base else ["Action: 7", "Action: 8"]
    healthy = ScriptedModel(said, card=ModelCard("healthy"))
    with serving() as server:
        broken = make("openai", server.openai(quirk), max_retries=0)
        models = [broken, healthy] if is_base else [healthy, broken]
        rounds = tuple(replace(SAMPLES, model=model.card.name) for model in models)
        planner = Planner(models, allocator=Cascade(rounds, agreement=1.0))
        first = await planner.run(RIDDLE, Riddle())
        again = await planner.run(RIDDLE, Riddle())
        billed = server.bill
        await broken.close()
    for episode in (first, again):
        assert episode.ended == "done"
        (step,) = episode.steps
        told = [phrase for each in step.rounds for phrase in each.substitutes]
        assert sum("model m failed and is asked no more: " in phrase for phrase in told) == 1
        assert {c.model for each in step.rounds for c in each.candidates} == {"healthy"}
        assert all("\n" not in phrase for phrase in told)
    spent = [episode.by_model.get("m") for episode in (first, again)]
    assert sum(each.tokens for each in spent if each is not None) >= sum(billed)
