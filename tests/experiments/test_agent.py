"""The agent that plays through the gateway, and what its policies are compared by."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from tests.fakes.files import ROOT
from tests.fakes.upstream import Asked, Reply, serving
from tests.serve.running import gateway

from amp.serve.upstreams.upstream import UpstreamConfig

pytest.importorskip("minigrid")
from examples.agent_through_gateway import Played, Room, play, read_call, use
from experiments.agent import main, table

LEVEL = "BabyAI-GoToObjS6-v1"


def by_rule(messages: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """What brings an agent to what it is to go to: ahead first, then to the side."""
    wanted = re.search(r"go to (?:the|a) (\w+ \w+)\.", messages[1]["content"])
    seen = [m["content"] for m in messages if m["role"] in ("user", "tool")][-1]
    assert wanted is not None
    place = re.search(rf"{wanted[1]}(?: (\d) ahead)?(?: and)?(?: (\d) to the (\w+))?", seen)
    if place is None or "error" in seen:
        return "act", {"action": "turn left", "times": 1}
    ahead, side = int(place[1] or 0), int(place[2] or 0)
    if ahead and (side or ahead > 1):
        return "act", {"action": "go forward", "times": ahead if side else ahead - 1}
    return "act", {"action": f"turn {place[3] or 'left'}", "times": 1}


def scripted(asked: Asked) -> Reply:
    """A dear model that plays by the rule, and a cheap one that does so only once it has begun."""
    body = asked.json
    name, arguments = by_rule(body["messages"])
    if body["model"] == "cheap" and body["messages"][-1]["role"] == "user":
        name, arguments = "look", {}
    call = {"id": "c1", "type": "function"}
    call["function"] = {"name": name, "arguments": json.dumps(arguments)}  # type: ignore[assignment]  # of JSON
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    told: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    told["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    told["usage"] = {"prompt_tokens": len(asked.body) // 4, "completion_tokens": 20}
    return Reply([json.dumps(told).encode()], headers={"content-type": "application/json"})


def test_the_agent_knows_nothing_of_amp() -> None:
    text = (ROOT / "examples" / "agent_through_gateway.py").read_text()
    assert not re.search(r"^\s*(?:import|from) amp\b", text, re.MULTILINE)


def test_a_room_is_told_in_words_and_says_what_is_wrong() -> None:
    room = Room(LEVEL, 3)
    assert room.mission in room.look() or re.search(r"\d (?:ahead|to the)", room.look())
    before = room.look()
    for name, arguments in (
        ("look", ""),
        ("fly", "{}"),
        ("act", "{"),
        ("act", "[]"),
        ("act", '{"action":"fly"}'),
        ("act", '{"action":"turn left","times":"x"}'),
    ):
        said = use(room, name, arguments)
        assert said == before if name == "look" else said.startswith("error: ")
    assert use(room, "act", '{"action":"turn left","times":4}') == f"done 4 times; now: {before}"
    assert "error: that changes nothing" in use(room, "act", '{"action":"drop","times":1}')


async def test_the_agent_plays_through_a_gateway() -> None:
    async with (
        serving(scripted) as upstream,
        gateway(UpstreamConfig(upstream.url, is_free=True)) as amp,
    ):
        with OpenAI(base_url=amp.v1, api_key="any") as client:
            played = await asyncio.to_thread(play, client, "dear", 0, LEVEL)
            told: Any = await asyncio.to_thread(client.get, "/amp/decisions", cast_to=object)
        assert played.success
        assert played.calls == len(upstream.asked) == amp.accounts.spent.model_calls
        assert {one["episode"] for one in told["decisions"]} == {f"dear {LEVEL} 0"}
        assert played.tokens == amp.accounts.spent.tokens
        assert set(played.arms) == {"dear"}
        assert upstream.asked[-1].json["messages"][-1]["role"] == "tool"


async def test_policies_are_compared_on_the_same_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(scripted) as upstream:
        told = [f"{name}={upstream.url}" for name in ("dear", "cheap")]
        how = ["--out", str(tmp_path), "--level", LEVEL, "--learn", "32", "--episodes", "3"]
        await asyncio.to_thread(main, [*told, *how, "--may-lose", "0.05"])
        asked = len(upstream.asked)
        out = capsys.readouterr().out
        *_, count, head, _, passing, rules, learned = out.splitlines()
        assert (count, head.count("|")) == ("3 episodes", passing.count("|"))
        assert passing.startswith("| pass | 3/3 ")
        assert "| 100% |" in passing
        for row in (rules, learned):
            assert "/3 " in row
            assert "| 100% |" not in row  # the cheap model has answered, too
        saved = float(learned.split("|")[-2].split()[0])
        assert 0 < saved < 100
        await asyncio.to_thread(main, [*told, *how])  # goes on with what was played
        assert len(upstream.asked) == asked
        assert capsys.readouterr().out.splitlines()[-1] == learned


def test_a_call_is_read_from_a_text_where_a_model_writes_it_so() -> None:
    text = (
        'Well {not} {"a": 1}\n```json\n{"name": "act", "arguments": {"times": 2}}, {"name": "look"}'
    )
    (call,) = read_call(text, Played(0, calls=3))
    assert call["id"] == "call_3"
    assert call["function"] == {"name": "act", "arguments": '{"times": 2}'}
    assert read_call('{"name": "fly"} [1] {', Played(0)) == []


def test_only_seeds_that_all_have_played_are_compared() -> None:
    rows = [
        {"policy": policy, "seed": seed, "success": True, "calls": 2, "tokens": 9, "dollars": 0.1,
         "arms": ["dear", "dear"]}
        for policy in ("pass", "rules", "learned")
        for seed in range(3 if policy == "pass" else 2)
    ]  # fmt: skip
    assert table(rows, "dear")[0] == "2 episodes"
