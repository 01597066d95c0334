from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import CORRIDOR

from amp.execute.tools import TriedTool
from amp.types import Complexity, Observation, StepContext, StepRecord, Usage


def step(state: str, action: str | None) -> StepRecord:
    return StepRecord(Observation(state), (), Complexity(0.0), action, Usage())


async def told(now: str, *steps: StepRecord) -> str | None:
    use = await TriedTool().advise(StepContext(CORRIDOR, Observation(now), steps))
    return None if use is None else use.output


steps = st.lists(
    st.builds(step, st.sampled_from("ab"), st.sampled_from(["walk", "wait", None])), max_size=6
)


@given(steps)
async def test_what_was_done_here_is_told_newest_first_and_nothing_else(
    before: list[StepRecord],
) -> None:
    here = [s.action for s in reversed(before) if s.observation.state == "a" and s.action]
    said = await told("a", *before)
    names = list(dict.fromkeys(here))
    assert said == (f"Done here before, without success: {'; '.join(names)}" if names else None)


async def test_what_is_told_stays_short() -> None:
    said = await told("a", *(step("a", f"{n} {'x' * 90}") for n in range(50)))
    assert said is not None
    assert 900 < len(said.encode()) <= TriedTool.limits.output_bytes
