"""An arm's name is read back as the arm, and what is no arm is refused in a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.errors import InvalidInputError
from amp.serve.decide.base import EFFORTS, MOST_SAMPLES, CallArm

MODELS = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._:/-]{0,30}", fullmatch=True)
ARMS = st.builds(CallArm, MODELS, st.sampled_from(("", *EFFORTS)), st.integers(1, MOST_SAMPLES))


@given(ARMS)
def test_an_arm_is_read_back_from_its_name(arm: CallArm) -> None:
    assert CallArm.read(arm.name) == arm


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "arm '' names no model, expected MODEL[@EFFORT][ xN]"),
        ("@low", "arm '@low' names no model, expected MODEL[@EFFORT][ xN]"),
        ("m@lo", "unknown effort 'lo'; did you mean 'low'? (efforts: none,"),
        ("m x17", "samples of arm m are 17, expected 1 to 16"),
        ("m x0", "samples of arm m are 0, expected 1 to 16"),
    ],
)
def test_what_is_no_arm_is_refused_in_a_line(text: str, reason: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        CallArm.read(text)
    assert str(refused.value).startswith(reason)
    assert "\n" not in str(refused.value)
