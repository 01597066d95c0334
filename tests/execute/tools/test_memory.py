from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.worlds import CORRIDOR

from amp.execute.tools import MemoryTool
from amp.types import Complexity, Observation, StepContext, StepRecord, Usage


def seen(state: str, feedback: str = "") -> StepRecord:
    return StepRecord(Observation(state), (), Complexity(0.0), "walk", Usage(), feedback=feedback)


async def recall(now: str, *steps: StepRecord, tool: MemoryTool | None = None) -> str | None:
    use = await (tool or MemoryTool()).advise(StepContext(CORRIDOR, Observation(now), steps))
    assert use is None or (use.tool == "memory" and use.error is None)
    return None if use is None else use.output


async def test_what_is_out_of_sight_is_recalled_newest_first_with_its_age() -> None:
    assert await recall(
        "a wall\na door",
        seen("a key\na wall"),
        seen("a ball\n\n  a wall ", "You hear a bell."),
        seen("a wall\na key", "You turn."),
    ) == (
        "Seen earlier:\n- 1 step ago: You turn.\n- 1 step ago: a key\n"
        "- 2 steps ago: You hear a bell.\n- 2 steps ago: a ball"
    )


async def test_nothing_out_of_sight_is_nothing_to_say() -> None:
    assert await recall("a wall") is None
    assert await recall("a wall", seen("a wall"), seen("")) is None
    assert await MemoryTool().use("a key") is None


lines = st.lists(st.text("ab ", max_size=3), max_size=3).map("\n".join)


@given(lines, st.lists(st.tuples(lines, lines), max_size=5), st.integers(0, 5))
async def test_every_line_is_recalled_once_at_its_least_age(
    now: str, earlier: list[tuple[str, str]], max_lines: int
) -> None:
    steps = [seen(state, feedback) for state, feedback in earlier]
    ages: dict[str, int] = {}
    for age, (state, feedback) in enumerate(reversed(earlier), 1):
        for line in f"{feedback}\n{state}".splitlines():
            ages.setdefault(" ".join(line.split()), age)
    for line in ["", *(" ".join(line.split()) for line in now.splitlines())]:
        ages.pop(line, None)
    output = await recall(now, *steps, tool=MemoryTool(max_lines))
    entries = [f"- {age} step{'s' * (age > 1)} ago: {line}" for line, age in ages.items()]
    assert (output or "").splitlines()[1:] == entries[:max_lines]


@given(st.lists(st.text(max_size=300), max_size=20), st.integers(1, 2000))
async def test_it_is_never_longer_than_it_may_be(states: list[str], max_bytes: int) -> None:
    tool = MemoryTool(max_lines=1000, max_bytes=max_bytes)
    output = await recall("now", *(seen(state) for state in states), tool=tool)
    assert output is None or len(output.encode()) <= max_bytes


async def test_a_long_line_is_cut_and_says_so() -> None:
    assert str(await recall("", seen("x" * 500))).endswith("x" * 197 + "...")
    assert await recall("x" * 500, seen("x" * 500)) is None
