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

LEVEL = "BabyAI-PutNextLocalS5N3-v0"


def by_rule(messages: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """What puts a thing next to another one, which may have to be found first."""
    wanted = re.search(r"put the (\w+ \w+) next to the (\w+ \w+)\.", messages[1]["content"])
    seen = [m["content"] for m in messages if m["role"] in ("user", "tool")][-1]
    assert wanted is not None
    here = seen.partition("you carry: ")[2].startswith(wanted[1])
    for thing in wanted.groups():
        if thing not in seen.partition("you know of: ")[2] and not (here and thing == wanted[1]):
            return "explore", {}
    return ("put_next_to", {"thing": wanted[2]}) if here else ("pick_up", {"thing": wanted[1]})


def scripted(asked: Asked) -> Reply:
    """A dear model that plays by the rule, and a cheap one that does so only once it has begun."""
    body = asked.json
    name, arguments = by_rule(body["messages"])
    if body["model"] == "cheap" and body["messages"][-1]["role"] == "user":
        name, arguments = "open", {"thing": "door"}
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


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("level", "calls"),
    [
        (LEVEL, [("pick_up", "the (.*) next"), ("put_next_to", "to the (.*)")]),
        ("BabyAI-OpenTwoDoors-v0", [("open", "the (.*?),"), ("open", "then open the (.*)")]),
        ("BabyAI-GoToObjS6-v1", [("go_to", "(?:the|a) (.*)")]),
        ("BabyAI-PickupDist-v0", [("pick_up", "(?:the|a) (.*)")]),
    ],
)
def test_the_tools_carry_a_mission_out(level: str, calls: list[tuple[str, str]], seed: int) -> None:
    room = Room(level, seed)
    for name, wanted in calls:
        thing = re.search(wanted, room.mission)
        assert thing is not None
        if name == "pick_up" and thing[1].endswith("object"):  # any thing of a color
            return
        while thing[1] not in room.look():
            assert use(room, "explore", "{}").startswith("done; ")
        said = use(room, name, json.dumps({"thing": thing[1]}))
        assert not said.startswith("error"), said
    assert said == "the mission is accomplished"
    assert room.success


def test_a_room_says_what_is_wrong() -> None:
    room = Room("BabyAI-UnlockLocal-v0", 0)
    assert room.look() == "you know of: nothing yet"  # what was not in view is not told
    for name, arguments in (
        ("fly", "{}"),
        ("go_to", "{"),
        ("go_to", "[]"),
        ("go_to", "null"),
        ("go_to", '{"action": "fly"}'),
    ):
        assert use(room, name, arguments).startswith("error: no such call")
    assert "error: you do not know of a door yet" in use(room, "open", '{"thing": "door"}')
    for _ in range(9):
        if "key" in use(room, "explore", "{}") and "door" in room.look():
            break
    for name, thing, wrong in (
        ("open", "door", "it is locked"),
        ("go_to", "door", "you face it already; to open it"),
        ("put_next_to", "door", "you carry nothing"),
        ("pick_up", "door", "that cannot be picked up"),
        ("open", "key", "no such door is closed"),
    ):
        assert use(room, name, json.dumps({"thing": thing})).startswith(f"error: {wrong}")
    assert use(room, "pick_up", '{"thing": "key"}').startswith("done; you carry: ")
    assert "you carry the" in use(room, "pick_up", '{"thing": "door"}')
    assert use(room, "open", '{"thing": "The Locked Door"}').startswith("error: you do not know")
    assert use(room, "open", '{"thing": "door"}') == "the mission is accomplished"


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
        how = ["--out", str(tmp_path), "--level", LEVEL, "--learn", "45", "--episodes", "3"]
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


@pytest.mark.parametrize("lost", ["", "}"])
def test_a_call_is_read_from_a_text_where_a_model_writes_it_so(lost: str) -> None:
    text = 'Well {not} {"a": 1}\n```json\n{{"name": "go_to", "arguments": {"thing": "red box"}}'
    (call,) = read_call(text.removesuffix(lost), Played(0, calls=3))  # a stop string took it
    assert call["id"] == "call_3"
    assert call["function"] == {"name": "go_to", "arguments": '{"thing": "red box"}'}
    assert read_call('{"name": "fly"} [1] {', Played(0)) == []
    assert read_call("{" * 5000 + "[" * 5000, Played(0)) == []


def test_only_seeds_that_all_have_played_are_compared() -> None:
    rows = [
        {"policy": policy, "seed": seed, "success": True, "calls": 2, "tokens": 9, "dollars": 0.1,
         "arms": ["dear", "dear"]}
        for policy in ("pass", "rules", "learned")
        for seed in range(3 if policy == "pass" else 2)
    ]  # fmt: skip
    assert table(rows, "dear")[0] == "2 episodes"
