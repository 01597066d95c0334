"""What rules promise: no arm that can't be had, more for more, no switch that does not pay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.serve.decide.base import EFFORTS, CallArm, CallDecision, CallPolicy, Forecast, Pass, Wish
from amp.serve.decide.conversation import Conversation
from amp.serve.decide.rules import LESS, MORE, Rules, need_of, rank

MODELS = ("small", "middle", "large")
POLICIES = st.sampled_from((Pass(), Rules()))
FEATURES = st.fixed_dictionaries(
    {},
    optional={
        "refused_in_row": st.integers(0, 4),
        "repeated_lately": st.floats(0, 1),
        "since_new": st.integers(0, 6),
        "calls": st.integers(0, 20),
        "words": st.integers(0, 400),
        "tools": st.integers(0, 2),
        "failed": st.integers(0, 1),
    },
)
ARMS = st.builds(
    CallArm, st.sampled_from(MODELS), st.sampled_from(("", *EFFORTS)), st.sampled_from((1, 3))
)
CONVERSATIONS = st.builds(
    Conversation,
    st.just("e"),
    st.integers(0, 30),
    FEATURES,
    after_tool=st.booleans(),
    last=st.none() | ARMS,
)
OFFERS = st.lists(
    st.builds(
        Forecast,
        ARMS,
        st.none() | st.floats(0.0, 1.0),
        st.floats(0.0, 0.1),
        masked=st.sampled_from(("", "", "may cost $1")),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda offer: offer.arm,
).filter(lambda offers: any(not offer.masked for offer in offers))
WISHES = st.builds(Wish, st.none() | st.floats(0.0, 1.0))


@pytest.mark.slow
@given(POLICIES, CONVERSATIONS, OFFERS, WISHES)
@settings(max_examples=60)
def test_a_policy_takes_an_arm_that_can_be_had_and_always_the_same(
    policy: CallPolicy, conversation: Conversation, offers: list[Forecast], wish: Wish
) -> None:
    decision = policy.decide(conversation, offers, wish)
    assert decision.arm in [offer.arm for offer in offers if not offer.masked]
    assert decision.forecasts == tuple(offers)
    assert decision.why
    assert "\n" not in decision.why
    assert policy.decide(conversation, offers, wish) == decision


@pytest.mark.slow
@given(CONVERSATIONS, st.sets(st.sampled_from(EFFORTS), min_size=1), st.floats(0, 1))
@settings(max_examples=60)
def test_who_wishes_for_more_gets_no_less(
    conversation: Conversation, efforts: set[str], trade_off: float
) -> None:
    # Of one model, whose price rises with its effort.
    offers = [Forecast(CallArm("small", each), 0.01 * EFFORTS.index(each)) for each in efforts]
    ranks = [
        rank(Rules().decide(conversation, offers, Wish(wish)).arm) for wish in (0.0, trade_off, 1.0)
    ]
    assert ranks == sorted(ranks)


def step(last: str = "", **fields: Any) -> Conversation:
    """A conversation with these features."""
    own = {name: fields.pop(name) for name in ("step", "after_tool") if name in fields}
    return Conversation("e", features=fields, last=CallArm.read(last) if last else None, **own)


def offers_of(*names: str, **dollars: float) -> list[Forecast]:
    return [
        Forecast(CallArm.read(name), dollars.get(CallArm.read(name).model, 0.01)) for name in names
    ]


def decided(conversation: Conversation, offers: Sequence[Forecast], **wish: Any) -> CallDecision:
    return Rules().decide(conversation, offers, Wish(**wish))


@pytest.mark.parametrize(
    ("conversation", "arm", "why"),
    [
        (step(after_tool=True, step=3), "m@low", "goes on after a result that is fine"),
        (step(after_tool=True, step=3, failed=1), "m", "nothing speaks for more or less"),
        (step(step=3, refused_in_row=2), "m@high", "the last 2 results are failures"),
        (step(step=5, calls=4, repeated_lately=0.5), "m@high", "the last calls repeat"),
        (step(step=5, calls=4, since_new=3), "m@high", "the last 3 results tell nothing new"),
        (step(tools=2, words=200), "m@high", "a long task begins"),
        (step(words=200), "m", "nothing speaks for more or less"),
    ],
)
def test_effort_follows_the_trajectory(conversation: Conversation, arm: str, why: str) -> None:
    decision = decided(conversation, offers_of("m", "m@low", "m@high"))
    assert decision.arm.name == arm
    assert decision.why.startswith(why)


def test_another_model_comes_only_after_the_most_effort() -> None:
    offers = offers_of("small@low", "small@high", "large@low", "large@high", small=0.01, large=0.1)
    stuck = {"step": 4, "refused_in_row": 2}
    assert decided(step(last="small@low", **stuck), offers).arm.name == "small@high"
    dearer = decided(step(last="small@high", **stuck), offers)
    assert dearer.arm.name == "large@high"
    assert dearer.why.endswith("small had its most effort")
    # It stays while the work needs it.
    assert decided(step(last="large@high", step=5, failed=1), offers).arm.model == "large"


@pytest.mark.slow
@given(st.integers(1, 60), st.floats(0.0, 0.2), st.floats(0.0, 0.2), st.floats(0.0, 1.0))
@settings(max_examples=60)
def test_a_model_is_left_only_where_that_pays_for_the_cache(
    steps: int, large: float, small: float, lost: float
) -> None:
    offers = [
        Forecast(CallArm("large", "low"), large),
        Forecast(CallArm("small", "low"), small + lost, lost),
    ]
    decision = decided(step(last="large@low", step=steps, after_tool=True), offers)
    pays = min(steps, 20) * (large - small) > lost
    if abs(min(steps, 20) * (large - small) - lost) > 1e-9:
        assert (decision.arm.model == "small") == pays


def test_votes_are_for_what_is_no_routine() -> None:
    offers = offers_of("m", "m x3")
    assert decided(step(), offers).arm.samples == 3
    assert decided(step(step=2, after_tool=True), offers).arm.samples == 1


def test_the_levels_are_in_order() -> None:
    assert need_of(step(step=1, after_tool=True)).level == LESS
    assert need_of(step(refused_in_row=3)).level == MORE
    assert need_of(step(refused_in_row=3)).stuck
