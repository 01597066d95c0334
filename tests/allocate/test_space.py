"""The maps of spec 3.3 and their inverse stay within the space."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amp.allocate.space import FALLING, REALS, Line, Space, falling, rising, sigmoid
from amp.errors import InvalidInputError
from amp.types import Allocation

finite = st.floats(allow_nan=False, allow_infinity=False)
tool_sets = st.frozensets(st.sampled_from(("python", "calculator", "memory", "Path finder!")))
tenths = st.integers(1, 10).map(lambda tenth: tenth / 10)


def pairs(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


def whole_pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    numbers = st.integers(low, high)
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


steps = st.none() | st.floats(0.01, 0.5)
spaces = st.builds(
    Space,
    depth=whole_pairs(0, 64),
    temperature=pairs(st.floats(0, 2)),
    top_p=pairs(st.floats(0.01, 1)),
    beam_width=whole_pairs(1, 256),
    verification=whole_pairs(0, 3),
    tools=tool_sets,
    temperature_step=steps,
    top_p_step=steps,
)


@st.composite
def grids_with_latents(draw: st.DrawFn) -> tuple[Space, tuple[float, ...]]:
    """A space whose bounds lie on its grid, and latents of one of its allocations."""
    space = replace(
        draw(spaces),
        temperature=draw(pairs(tenths)),
        top_p=draw(pairs(tenths)),
        temperature_step=0.1,
        top_p_step=0.05,
    )
    reals = draw(st.tuples(*(st.floats(-40, 40) for _ in REALS)))
    bits = draw(st.tuples(*(st.sampled_from((0.0, 1.0)) for _ in space.tools)))
    return space, (0.0, *reals, *bits)


@given(finite)
def test_sigmoid_is_symmetric_and_bounded(x: float) -> None:
    assert 0.0 <= sigmoid(x) <= 1.0
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1.0)


@given(st.floats(-50, 50), st.floats(0, 50), finite, finite, finite)
def test_maps_stay_within_their_bounds(
    low: float, width: float, w: float, b: float, c: float
) -> None:
    bounds, latent = (low, low + width), Line(w, b)(c)
    for mapped in (rising(bounds, latent), falling(bounds, latent)):
        assert low - 1e-9 <= mapped <= low + width + 1e-9
    assert rising(bounds, latent) + falling(bounds, latent) == pytest.approx(2 * low + width)


@given(spaces, finite, finite, finite)
def test_an_allocation_stays_in_its_space_however_extreme_the_line(
    space: Space, w: float, b: float, c: float
) -> None:
    latent = Line(w, b)(c)
    assume(not math.isnan(latent))
    allocation = space.allocation((0.0,) + (latent,) * (len(space.dims) - 1))
    for name in REALS:
        low, high = getattr(space, name)
        assert low <= getattr(allocation, name) <= high
    assert allocation.tools == (space.tools if latent else frozenset())


@given(spaces, st.floats(-20, 20), st.floats(0, 20))
def test_every_resource_goes_one_way_in_its_latent(space: Space, z: float, more: float) -> None:
    width = len(space.dims)
    low = space.allocation((z,) * width)
    high = space.allocation((z + more,) * width)
    for name in REALS:
        before, after = getattr(low, name), getattr(high, name)
        assert before >= after if name in FALLING else before <= after


def test_the_maps_are_those_of_the_specification() -> None:
    space = Space(
        depth=(0, 10),
        temperature=(0.2, 1.0),
        top_p=(0.5, 0.9),
        beam_width=(1, 9),
        tools=frozenset(),
    )
    third = -math.log(2)  # sigmoid(-log 2) = 1 / 3
    allocation = space.allocation((0.0,) + (third,) * 5)
    assert allocation.depth == round(10 / 3)
    assert allocation.temperature == pytest.approx(1.0 - 0.8 / 3)
    assert allocation.top_p == pytest.approx(0.9 - 0.4 / 3)
    assert allocation.beam_width == round(1 + 8 / 3)
    assert allocation.verification == round(2 / 3)


@given(grids_with_latents())
def test_what_can_be_allocated_has_latents_that_give_it_again(
    drawn: tuple[Space, tuple[float, ...]],
) -> None:
    space, latents = drawn
    allocation = space.allocation(latents)
    again = space.latents(allocation)
    assert len(again) == len(space.dims)
    assert all(map(math.isfinite, again))
    assert space.allocation(again) == allocation


@given(st.floats(0, 1))
def test_without_a_step_a_temperature_comes_back_to_within_one_per_cent(value: float) -> None:
    space = Space()
    again = space.allocation(space.latents(Allocation(temperature=value)))
    assert again.temperature == pytest.approx(value, abs=0.0100001)


@given(st.floats(-20, 20))
def test_a_step_gives_multiples_that_are_the_same_numbers_in_every_space(z: float) -> None:
    wide = Space(temperature=(0.0, 1.0), temperature_step=0.1)
    narrow = Space(temperature=(0.3, 0.8), temperature_step=0.1)
    grid = {index / 10 for index in range(11)}
    for space in (wide, narrow):
        assert space.allocation((0.0,) + (z,) * 5).temperature in grid


@given(spaces)
def test_a_space_survives_its_json(space: Space) -> None:
    assert Space.from_json(space.to_json()) == space


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": (5, 2)}, "bounds of depth are 5 to 2, expected low <= high"),
        ({"temperature": (math.nan, 1.0)}, "bounds of temperature are nan to 1.0"),
        ({"temperature": (0.0, math.inf)}, "temperature is inf, expected 0.0 to 2.0"),
        ({"top_p": (0.0, 1.0)}, "top_p is 0.0, expected more than 0"),
        ({"verification": (0, 4)}, "verification is 4, expected 0 to 3"),
        ({"beam_width": (0, 4)}, "beam_width is 0, expected 1 to 256"),
        ({"depth": (0, 2.5)}, "bounds of depth are 0 to 2.5, expected whole numbers"),
        ({"temperature_step": 0.0}, "temperature_step is 0.0, expected more than 0"),
        ({"top_p_step": math.nan}, "top_p_step is nan, expected more than 0"),
    ],
)
def test_bounds_that_no_allocation_can_have_are_named(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Space(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("allocation", "message"),
    [
        (Allocation(depth=9), "depth is 9, expected 0 to 4 in this space"),
        (Allocation(top_p=0.5), "top_p is 0.5, expected 0.9 to 1.0 in this space"),
        (
            Allocation(tools=frozenset({"pyton"})),
            r"the tool 'pyton'; did you mean 'python'\? \(tools of the space: python\)",
        ),
    ],
)
def test_an_allocation_outside_the_space_has_no_latents(
    allocation: Allocation, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Space(tools=frozenset({"python"})).latents(allocation)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps(json.loads(Space().to_json()) | {"beams": 3}),
        json.dumps(json.loads(Space().to_json()) | {"depth": 3}),
        json.dumps(json.loads(Space().to_json()) | {"depth": [1, 2, 3]}),
        json.dumps(json.loads(Space().to_json()) | {"temperature": ["a", "b"]}),
    ],
)
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not the JSON of an allocation space"):
        Space.from_json(text)
