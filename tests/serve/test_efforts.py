"""An arm writes what the client left open, and never anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.serve.decide.base import EFFORTS, CallArm
from amp.serve.dialects.apis import CHAT, MESSAGES, RESPONSES
from amp.serve.dialects.base import Dialect

OPENAI, ANTHROPIC = CHAT, MESSAGES
MODELS = st.sampled_from(("gpt-5-mini", "claude-haiku-4-5", "claude-opus-4-6", "qwen3"))
ARMS = st.builds(CallArm, MODELS, st.sampled_from(("", *EFFORTS)))
SETTINGS = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.just([{"role": "user", "content": "Hi"}])},
    optional={
        "reasoning_effort": st.sampled_from((None, *EFFORTS)),
        "reasoning": st.sampled_from(({}, {"effort": "low"}, {"summary": "auto"})),
        "thinking": st.sampled_from(({"type": "disabled"}, {"type": "enabled"}, None)),
        "output_config": st.sampled_from(({}, {"effort": "max"}, {"format": {"type": "x"}})),
        "chat_template_kwargs": st.just({"enable_thinking": False}),
        "temperature": st.sampled_from((0, 0.7, 1)),
        "top_p": st.sampled_from((0.5, 1.0)),
        "top_k": st.just(40),
        "max_tokens": st.sampled_from((10, 1_500, 5_000, 64_000)),
        "max_output_tokens": st.sampled_from((10, 64_000)),
        "tool_choice": st.sampled_from(("auto", {"type": "any"}, {"type": "auto"})),
        "odd": st.text(max_size=3),
    },
)
EFFORT = ("reasoning_effort", "thinking", "output_config", "reasoning")
DIALECT = st.sampled_from((CHAT, MESSAGES, RESPONSES))


def effort_of(dialect: Dialect, body: bytes) -> Any:
    """What a request says of thinking; "nothing" apart from null."""
    fields = json.loads(body)
    inner = {name: fields[name] for name in EFFORT if name in fields}
    return json.dumps(inner, sort_keys=True)


@pytest.mark.slow
@given(DIALECT, SETTINGS, ARMS)
@settings(max_examples=150, deadline=None)
def test_the_clients_own_setting_wins(
    dialect: Dialect, fields: dict[str, Any], arm: CallArm
) -> None:
    body = json.dumps(fields).encode()
    new = json.loads(dialect.with_arm(body, arm))
    assert new.pop("model") == arm.model
    old = {name: value for name, value in fields.items() if name != "model"}
    if dialect.obstacle(fields, arm) or not arm.effort:
        assert new == old
    for name, value in old.items():
        # An object that says nothing of effort may get one beside what it says.
        assert new[name] == value or {**value, "effort": new[name]["effort"]} == new[name]
        if name == "reasoning_effort" or (isinstance(value, dict) and "effort" in value):
            assert new[name] == value
    assert {*new} - {*old} <= {*EFFORT}


@given(DIALECT, ARMS)
@settings(max_examples=30, deadline=None)
def test_an_effort_is_written_where_the_client_left_it_open(dialect: Dialect, arm: CallArm) -> None:
    said = [{"role": "user", "content": "Hi"}]
    fields = {"model": "m", "max_tokens": 64_000, "messages": said}
    body = json.dumps(fields).encode()
    assert dialect.obstacle(fields, arm) == ""
    new = json.loads(dialect.with_arm(body, arm))
    asks_none = arm.effort in ("none", "minimal") and arm.model == "claude-haiku-4-5"
    written = arm.effort and not (dialect is ANTHROPIC and asks_none)
    assert bool({*new} - {*fields}) == bool(written)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"max_tokens": 2_000}, "max_tokens leaves no room for thinking"),
        ({"temperature": 0.3}, "the client sets temperature, which the API refuses"),
        ({"tool_choice": {"type": "any"}}, "the client forces a tool"),
        ({"thinking": {"type": "disabled"}}, "the client sets thinking"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "thinking can't begin amid tool calls",
        ),
        ({"messages": [{"role": "assistant", "content": "("}]}, "the answer has begun"),
    ],
)
def test_a_budget_of_thinking_has_its_own_obstacles(fields: dict[str, Any], reason: str) -> None:
    asked = {"max_tokens": 32_000, "messages": [], **fields}
    found = ANTHROPIC.obstacle(asked, CallArm("claude-sonnet-4-5-20250929", "low"))
    assert found.startswith(reason)


def test_a_budget_takes_half_of_the_cap() -> None:
    body = json.dumps({"model": "m", "max_tokens": 6_000, "messages": []}).encode()
    new = json.loads(ANTHROPIC.with_arm(body, CallArm("claude-sonnet-4-0", "high")))
    assert new["thinking"] == {"type": "enabled", "budget_tokens": 3_000}
    assert new["max_tokens"] == 6_000


def test_all_other_bytes_stay() -> None:
    body = b'{ "model" :"m","odd":1.10,\n"messages":[ ] }'
    new = OPENAI.with_arm(body, CallArm("n", "low"))
    assert new == b'{"reasoning_effort":"low", "model" :"n","odd":1.10,\n"messages":[ ] }'
