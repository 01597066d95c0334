"""The arms of a route get prices and masks, and what becomes of a decision is remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serve.test_conversation import JSON
from tests.serve.test_efforts import SETTINGS

from amp.errors import InvalidInputError
from amp.serve.decide.base import CallArm
from amp.serve.decide.desk import Desk, Ruling
from amp.serve.dialects.apis import CHAT, EMBEDDINGS, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect
from amp.serve.exchange import Exchange, RefusedCallError
from amp.serve.upstreams.fleet import Fleet, Route
from amp.serve.upstreams.upstream import UpstreamConfig
from amp.usage import Usage

PRICES = """
[openai.small]
prompt = 1.0
cached = 0.1
completion = 4.0
[openai.large]
prompt = 10.0
cached = 1.0
completion = 40.0
[anthropic.small]
prompt = 1.0
cached = 0.1
completion = 4.0
[anthropic.large]
prompt = 10.0
cached = 1.0
completion = 40.0
"""
LONG = [{"role": "user", "content": "word " * 4_000}]
"""About 5,000 tokens."""


@cache
def _fleet(route: Route, prices: Path, models: tuple[str, ...] = ()) -> Fleet:
    """Reads certificates, which takes a while."""
    behind = UpstreamConfig("http://127.0.0.1:9/v1", name="up", models=models)
    return Fleet([behind], [route], prices)


class Office:
    """A desk with a clock that stands still."""

    def __init__(self, prices: Path, *arms: str, policy: str = "rules", samples: int = 1) -> None:
        route = Route("*", policy=policy, arms=arms, samples=samples)
        self.fleet = _fleet(route, prices)
        self.now = 0.0
        self.lines: list[str] = []
        self.desk = Desk(self.fleet, None, self.lines.append, lambda: self.now)

    def decide(self, dialect: Dialect = CHAT, headers: Any = (), **fields: Any) -> Ruling:
        said = [{"role": "user", "content": "Hi"}]
        asked = dialect.read(json.dumps({"model": "small", "messages": said, **fields}).encode())
        exchange = Exchange("POST", dialect.path, [*dict(headers).items()], None, None)  # type: ignore[arg-type]  # sends nothing
        return self.desk.decide(exchange, dialect, asked, self.fleet.route(asked.model))


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prices") / "prices.toml"
    path.write_text(PRICES)
    return path


def is_finite(value: object) -> bool:
    """Whether JSON holds no NaN and no infinity; requests that do are refused as they are read."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def offered(ruling: Ruling) -> dict[str, str]:
    """Every arm, and why it is masked."""
    return {each.arm.name: each.masked for each in ruling.decision.forecasts}


def test_what_passes_is_what_was_asked_for(prices: Path) -> None:
    ruling = Office(prices, policy="pass").decide(reasoning_effort="high")
    assert ruling.decision.arm == CallArm("small")
    assert ruling.decision.why == "as asked"


def test_what_passes_keeps_its_model_whatever_arms_there_are(prices: Path) -> None:
    """They are for shadows; only a name that is no model's gets the first of them."""
    office = Office(prices, "large@low", "small@low", policy="pass")
    assert office.decide(model="small").decision.arm == CallArm("small")
    assert office.decide(model="other").decision.arm == CallArm("other")
    named = Route("amp/auto", arms=("large@low", "small"))
    office.fleet = _fleet(named, prices)
    office.desk = Desk(office.fleet)
    assert office.decide(model="amp/auto").decision.arm == CallArm("large", "low")


def test_without_arms_a_model_has_three_efforts(prices: Path) -> None:
    assert [*offered(Office(prices).decide())] == ["small", "small@low", "small@high"]


def test_the_clients_effort_masks_all_others(prices: Path) -> None:
    ruling = Office(prices).decide(reasoning_effort="medium")
    assert ruling.decision.arm == CallArm("small")
    masked = "the client sets reasoning_effort"
    assert offered(ruling) == {"small": "", "small@low": masked, "small@high": masked}


@pytest.mark.slow
@given(st.sampled_from((CHAT, MESSAGES, RESPONSES)), SETTINGS, st.sampled_from((None, 0.0, 1.0)))
@settings(max_examples=60, deadline=None)
def test_what_a_client_sets_is_what_the_upstream_is_sent(
    prices: Path, dialect: Dialect, fields: dict[str, Any], trade_off: float | None
) -> None:
    headers = {} if trade_off is None else {"x-amp-trade-off": str(trade_off)}
    ruling = Office(prices).decide(dialect, headers, **fields)
    body = json.dumps(fields).encode()
    sent = json.loads(dialect.with_arm(body, ruling.decision.arm))
    own = {
        name: value for name, value in fields.items() if name not in ("output_config", "reasoning")
    }
    assert {name: sent[name] for name in own} == own
    if dialect.obstacle(fields, CallArm("m", "low")):
        assert sent == fields
        assert not ruling.decision.arm.effort


@pytest.mark.slow
@given(
    st.sampled_from((CHAT, MESSAGES, RESPONSES)),
    st.dictionaries(
        st.sampled_from(
            (
                *("messages", "input", "tools", "tool_choice", "temperature", "top_k", "seed"),
                *("thinking", "output_config", "reasoning"),
                *("stream", "system", "instructions", "conversation", "text"),
            )
        ),
        JSON.filter(is_finite),
    ),
    st.dictionaries(
        st.sampled_from(("max_tokens", "max_output_tokens", "n")), st.integers() | st.none()
    ),
    st.sampled_from(("claude-haiku-4-5@high", "small@low x3", "large")),
)
@settings(max_examples=150, deadline=None)
def test_no_request_is_too_odd_to_be_decided(
    prices: Path, dialect: Dialect, odd: dict[str, Any], counts: dict[str, int | None], arm: str
) -> None:
    fields = odd | counts
    ruling = Office(prices, arm).decide(dialect, **fields)
    whole = {"model": "small", "messages": [{"role": "user", "content": "Hi"}], **fields}
    new = json.loads(dialect.with_arm(json.dumps(whole).encode(), ruling.decision.arm))
    assert new["model"] == ruling.decision.arm.model
    json.dumps(ruling.shown())


def test_an_arm_of_efforts_alone_keeps_its_model(prices: Path) -> None:
    ruling = Office(prices, "large@high").decide(model="amp/best", reasoning_effort="low")
    assert ruling.decision.arm == CallArm("large")
    assert offered(ruling) == {"large@high": "the client sets reasoning_effort", "large": ""}


def test_a_model_that_refuses_effort_is_not_asked_for_it_again(prices: Path) -> None:
    office = Office(prices)
    ruling = office.decide(model="small", messages=LONG, tools=[{"name": "t"}])
    assert ruling.decision.arm == CallArm("small", "high")
    office.desk.effort_refused(ruling)
    assert ruling.decision.arm == CallArm("small")
    assert ruling.decision.why.endswith("effort high is left out: small refuses it")
    again = office.decide(messages=LONG, tools=[{"name": "t"}])
    assert again.decision.arm == CallArm("small")
    assert offered(again)["small@high"] == "small refuses efforts"
    # Some models take it without tools, or where nobody says how to sample.
    assert offered(office.decide())["small@high"] == ""
    assert offered(office.decide(tools=[{"name": "t"}], temperature=1))["small@high"] == ""


def test_the_price_of_a_switch_has_the_cache_that_it_loses(prices: Path) -> None:
    office = Office(prices, "small", "large")
    begun = office.decide(messages=LONG, model="large")
    assert all(each.lost_dollars == 0.0 for each in begun.decision.forecasts)
    ruling = replace(begun, decision=replace(begun.decision, arm=CallArm("large")))
    office.desk.settled(ruling, 200, Usage(1, prompt_tokens=4_000, completion_tokens=50))
    lost = {
        each.arm.name: each.lost_dollars
        for each in office.decide(messages=LONG, model="large").decision.forecasts
    }
    assert lost["large"] == 0.0
    assert lost["small"] == pytest.approx(4_000 * 0.9e-6)
    office.now += 301.0  # the cache is gone
    later = office.decide(messages=LONG, model="large").decision.forecasts
    assert all(each.lost_dollars == 0.0 for each in later)


def test_a_cache_of_messages_is_there_only_where_the_client_wants_one(prices: Path) -> None:
    office = Office(prices, "small", "large")
    lost = []
    for marks in ({}, {"cache_control": {"type": "ephemeral"}}):
        said = [{"role": "user", "content": [{"type": "text", "text": "word " * 4_000, **marks}]}]
        ruling = office.decide(MESSAGES, messages=said, max_tokens=99)
        office.desk.settled(ruling, 200, Usage(1, prompt_tokens=5_000))
        after = office.decide(MESSAGES, messages=said, max_tokens=99)
        lost.append(max(each.lost_dollars for each in after.decision.forecasts))
    assert lost[0] == 0.0
    assert lost[1] > 0.0


def test_a_limit_of_dollars_bounds_what_is_chosen(prices: Path) -> None:
    office = Office(prices, "large", "small")
    cap: dict[str, Any] = {"max_completion_tokens": 1_000}
    free = office.decide(headers={"x-amp-trade-off": "1"}, model="large", **cap)
    assert free.decision.arm.model == "large"
    least = min(each.most_dollars or 0.0 for each in free.decision.forecasts)
    bound = {"x-amp-max-dollars": f"{least:.9f}"}
    held = office.decide(headers=bound, model="large", **cap)
    assert held.decision.arm.model == "small"
    assert offered(held)["large"].startswith("may cost $0.04")
    with pytest.raises(RefusedCallError) as refused:
        office.decide(headers={"x-amp-max-dollars": "0.001"}, model="large", **cap)
    assert str(refused.value).startswith("even small, the cheapest, may cost $0.00")
    assert refused.value.status == 400


def test_no_limit_of_dollars_holds_without_a_price(prices: Path) -> None:
    with pytest.raises(RefusedCallError, match="the price of unheard@high is not known"):
        Office(prices).decide(headers={"x-amp-max-dollars": "1"}, model="unheard")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-amp-trade-off", "2"),
        ("x-amp-max-dollars", "-1"),
        ("x-amp-max-dollars", "1e400"),
        ("x-amp-samples", "nan"),
    ],
)
def test_a_header_that_is_no_number_is_refused(prices: Path, header: str, value: str) -> None:
    with pytest.raises(RefusedCallError, match=f"header {header} is '{value}', expected a number"):
        Office(prices).decide(headers={header: value})


def test_an_arm_that_no_upstream_has_is_left_to_itself(prices: Path) -> None:
    office = Office(prices, "large", "small")
    fleet = _fleet(office.fleet.routes[0], prices, ("small",))
    office.desk.turn_to(fleet)
    ruling = office.decide()
    assert ruling.decision.arm == CallArm("small")
    assert offered(ruling)["large"] == "no upstream has it"
    office = Office(prices, "large")
    office.desk.turn_to(fleet)
    with pytest.raises(RefusedCallError, match="no upstream has the model 'large'"):
        office.decide()


def test_votes_come_only_where_they_can(prices: Path) -> None:
    office = Office(prices, policy="pass")
    asked = {"x-amp-samples": "5"}
    assert office.decide(headers=asked).decision.arm == CallArm("small", "", 5)
    refused: list[dict[str, Any]] = [{"temperature": 0}, {"tools": [{}]}, {"n": 2}]
    for fields in refused:
        ruling = office.decide(headers=asked, **fields)
        assert ruling.decision.arm == CallArm("small")
        assert offered(ruling)["small x5"]
    # A route may allow votes; what passes does not take them unasked.
    assert Office(prices, policy="pass", samples=3).decide().decision.arm == CallArm("small")


def test_embeddings_keep_their_model(prices: Path) -> None:
    ruling = Office(prices, "large@low").decide(EMBEDDINGS, input=["a"])
    assert ruling.decision.arm == CallArm("small")


def test_thinking_is_expected_as_it_was_seen(prices: Path) -> None:
    office = Office(prices, "small@low")
    first = office.decide()
    assert first.decision.forecast.dollars is not None
    for _ in range(20):
        office.desk.settled(first, 200, Usage(1, completion_tokens=9, reasoning_tokens=5))
    second = office.decide()
    assert second.decision.forecast.dollars is not None
    assert second.decision.forecast.dollars < first.decision.forecast.dollars


def test_decisions_are_told_without_content(prices: Path) -> None:
    office = Office(prices)
    said = [{"role": "user", "content": "Launch the zebra"}]
    ruling = office.decide(messages=said, headers={"x-amp-episode": "mine"})
    assert office.desk.last(10) == []  # nobody pays as yet
    office.desk.begun(ruling, "ann")
    office.desk.settled(ruling, 200, Usage(1, dollars=0.5))
    (shown,) = office.desk.last(10)
    assert (shown["episode"], shown["arm"], shown["dollars"]) == ("mine", "small", 0.5)
    assert "zebra" not in json.dumps(shown) + office.lines[0]
    assert office.lines == ["mine step 0: small (rules: nothing speaks for more or less)"]
    assert (len(office.desk.last(10, "ann")), office.desk.last(10, "bob")) == (1, [])


def test_a_route_that_can_not_be_read_is_refused_at_once(prices: Path) -> None:
    with pytest.raises(InvalidInputError, match="unknown effort 'lo'"):
        Office(prices, "small@lo")
    with pytest.raises(InvalidInputError, match="policy of route \\* is 'odd', expected pass or"):
        Office(prices, policy="odd")


def test_who_explains_to_nobody_decides_on(prices: Path, caplog: pytest.LogCaptureFixture) -> None:
    def closed(line: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    office = Office(prices)
    desk = Desk(office.fleet, explain=closed)
    for key in ("ann", "bob"):
        desk.begun(office.decide(), key)
    assert [each["key"] for each in desk.last(9)] == ["bob", "ann"]
    assert [record.getMessage() for record in caplog.records] == [
        "decisions are not explained any more: Broken pipe"
    ]
