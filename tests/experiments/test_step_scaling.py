"""What a kind of step gains by more computation, on a lattice where that is known."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from experiments.step_scaling import ALL, KINDS, cells_of, draw, kind_of, table, tried_in, written
from tests.fakes.trail import ARMS
from tests.learn.trails import lattice_of

from amp.learn.config import TrainConfig
from amp.report.tables import markdown_rows
from amp.simulate.lattice_recording import Lattice
from amp.simulate.lattice_states import LatticeEdge, LatticeState

CONFIG = TrainConfig.model_validate(
    {"benchmark": "trails", "source": "lattice", "recording": "it.sqlite", "ppo": {
        "reference_cost": 500.0}}
)  # fmt: skip


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Lattice:
    return lattice_of(tmp_path_factory.mktemp("lattice") / "it.sqlite", "train", 6)


def test_a_thought_always_keeps_the_goal_and_acting_where_signs_are_clear(lattice: Lattice) -> None:
    tried = list(tried_in(CONFIG, lattice, "trail"))
    assert all(one.kept for one in tried if one.arm == "think")
    acts = [one for one in tried if one.arm == "act"]
    assert {one.kept for one in acts} == {False, True}
    assert all(one.best == one.kept for one in acts)  # it is the cheaper one where it is right
    arms, cells = written([lattice]), cells_of(tried)
    assert list(arms) == ["act", "think"]
    assert cells[ALL, ALL, "think"].kept == 1.0
    whole = cells[ALL, ALL, "act"]
    assert whole.tasks == len(lattice.tasks)
    assert 0.0 < whole.kept < 1.0
    assert whole.states == sum(
        cells[ALL, kind, "act"].states for kind in KINDS if (ALL, kind, "act") in cells
    )
    assert cells["trail", ALL, "act"] == whole
    rows = markdown_rows(table(cells, arms, ["trail"]))
    assert rows[2].startswith(f"| all | all | 6 | {whole.states} | {whole.kept:.2f} (")
    figure = draw(cells, arms, ["trail"], "a <title>")
    assert "a <title>" in {each.text for each in ET.fromstring(figure).iter()}


def test_kinds_of_steps(lattice: Lattice) -> None:
    states = lattice.tasks[0].states.values()
    kinds = [kind_of(state.context) for state in states]
    assert kinds[0] == "first step"
    assert set(kinds) <= set(KINDS)
    again = next(state.context for state in states if state.context.steps)
    (*_, last) = again.steps
    stays = replace(again, observation=last.observation)
    assert kind_of(stays) == "nothing changed"


def test_a_state_from_which_nothing_leads_to_the_goal_tells_nothing(lattice: Lattice) -> None:
    lost = {
        (task.task.id, name)
        for task in lattice.tasks
        for name, state in task.states.items()
        if "fog" in state.context.observation.state
    }
    assert lost
    count = sum(len(task.states) for task in lattice.tasks) - len(lost)
    assert len(list(tried_in(CONFIG, lattice, "trail"))) == count * len(ARMS)


def test_what_depends_on_states_that_were_not_visited_is_left_out(lattice: Lattice) -> None:
    """Who loses the way is not known to lose it where the fog was not visited."""
    task = lattice.tasks[0]
    fog = next(n for n, s in task.states.items() if "fog" in s.context.observation.state)

    def cut(state: LatticeState) -> LatticeState:
        leads = {
            how: LatticeEdge(outside=True) if to.to == fog else to
            for how, to in state.leads.items()
        }
        return replace(state, leads=leads)

    states = {name: cut(state) for name, state in task.states.items() if name != fog}
    whole, part = (
        list(tried_in(CONFIG, replace(lattice, tasks=(one,)), "trail"))
        for one in (task, replace(task, states=states))
    )
    assert 0 < len(part) < len(whole)
    assert sum(one.kept for one in part) == sum(one.kept for one in whole)
