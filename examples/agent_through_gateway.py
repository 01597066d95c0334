"""An agent that plays BabyAI with tools, through any server of the OpenAI API; it knows no amp.

Start a server of a model, a gateway in front of one, or both in one, and let the agent play:

    amp serve --model qwen2.5-coder-1.5b &
    python examples/agent_through_gateway.py --model qwen2.5-coder-1.5b --episodes 3

It needs the packages openai and minigrid (extras openai and babyai). To a gateway it says which
calls belong together (header x-amp-episode); other servers take no notice of that.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from typing import Any

from openai import APIStatusError, OpenAI

try:
    import gymnasium
    import minigrid  # noqa: F401  # it adds its levels to gymnasium's
    from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT
except ImportError:
    sys.exit("it needs minigrid (pip install 'adaptive-meta-planning[babyai]')")

ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
STATES = ("open", "closed", "locked")
SYSTEM = (
    "You are an agent in a room of cells. You see what lies ahead of you. Turn towards what you"
    " want until it is straight ahead, then go forward until it is 1 step ahead; to face it is to"
    " go to it. You cannot walk through things. Call one tool at a time."
)
LOOK = {"name": "look", "description": "See what is ahead.", "parameters": {"type": "object"}}
ACT = {
    "name": "act",
    "description": "Do something, several times if need be, and see what is ahead then.",
    "parameters": {
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": list(ACTIONS)},
            "times": {"type": "integer", "minimum": 1, "maximum": 8},
        },
        "required": ["action", "times"],
    },
}
TOOLS: Any = [{"type": "function", "function": each} for each in (LOOK, ACT)]


@dataclass
class Played:
    """An episode, and what it took.

    Attributes:
        seed: of the level.
        success: whether the mission was accomplished.
        calls: of the model.
        tokens: that it read and wrote.
        dollars: as the gateway told them.
        arms: what answered, by the gateway's word; empty without one.
        ended: why, if the mission was not accomplished.
    """

    seed: int
    success: bool = False
    calls: int = 0
    tokens: int = 0
    dollars: float = 0.0
    arms: list[str] = field(default_factory=list)
    ended: str = "out of calls"


class Room:
    """A level of BabyAI in words."""

    def __init__(self, level: str, seed: int) -> None:
        self._level: Any = gymnasium.make(level, disable_env_checker=True).unwrapped
        self._seen, _ = self._level.reset(seed=seed)
        self.mission = str(self._seen["mission"])
        self.over = self.success = False

    def look(self) -> str:
        """What is in view: the agent stands at the bottom of it, in the middle."""
        cells = self._seen["image"]
        width, height = cells.shape[:2]
        found = []
        for x in range(width):
            for y in range(height):
                kind, color, state = cells[x, y]
                name, ahead, right = IDX_TO_OBJECT[kind], height - 1 - y, x - width // 2
                if name in ("unseen", "empty", "floor") or (name == "wall" and right):
                    continue
                if not ahead and not right:
                    found.append(f"you carry a {IDX_TO_COLOR[color]} {name}")
                    continue
                side = f"{abs(right)} to the {'right' if right > 0 else 'left'}"
                parts = [f"{ahead} ahead"] * bool(ahead) + [side] * bool(right)
                named = name if name == "wall" else f"{IDX_TO_COLOR[color]} {name}"
                how = f"{STATES[state]} " if name == "door" else ""
                found.append(f"a {how}{named} {' and '.join(parts)}")
        return "; ".join(found) or "nothing but floor"

    def act(self, action: str, times: int) -> str:
        """Does it, until nothing changes any more, and says what is in view then."""
        done = 0
        while done < times and not self.over:
            before = self._seen["image"].tobytes(), tuple(self._level.agent_pos)
            self._seen, reward, ended, cut, _ = self._level.step(ACTIONS.index(action))
            self.over, self.success = ended or cut, bool(ended and reward > 0)
            if (self._seen["image"].tobytes(), tuple(self._level.agent_pos)) == before:
                break
            done += 1
        if self.over:
            return "the mission is accomplished" if self.success else "the mission failed"
        stuck = "" if done == times else "error: that changes nothing here; "
        return f"{stuck}done {done} times; now: {self.look()}"


def use(room: Room, name: str, arguments: str) -> str:
    """What a tool says; an error where it was not called as it is to be."""
    try:
        given = json.loads(arguments or "{}")
        if name == "look":
            return room.look()
        if name == "act" and given["action"] in ACTIONS:
            return room.act(given["action"], max(1, min(8, int(given.get("times", 1)))))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return f"error: no such call; the tools are look and act, the actions {', '.join(ACTIONS)}"


def read_call(text: str, played: Played) -> list[dict[str, Any]]:
    """The first call that a text has; small models write calls as plain JSON, unasked."""
    for begin in (at for at, sign in enumerate(text) if sign == "{"):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, begin)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("name") in ("look", "act"):
            function = {"name": found["name"], "arguments": json.dumps(found.get("arguments"))}
            return [{"id": f"call_{played.calls}", "type": "function", "function": function}]
    return []


def play(
    client: OpenAI, model: str, seed: int, level: str = "BabyAI-GoToLocal-v0", most_calls: int = 12
) -> Played:
    """Plays an episode.

    Args:
        client: of the server.
        model: that it is asked for.
        seed: of the level.
        level: its name.
        most_calls: after which it gives up.
    """
    room, played, name = Room(level, seed), Played(seed), f"{model} {level} {seed}"
    talk: list[Any] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Your mission: {room.mission}. Now: {room.look()}."},
    ]
    while not room.over and played.calls < most_calls:
        try:
            answer = client.chat.completions.with_raw_response.create(
                model=model, messages=talk, tools=TOOLS, tool_choice="required", temperature=0.0,
                max_tokens=64, extra_headers={"x-amp-episode": name},
            )  # fmt: skip
        except APIStatusError as error:
            played.ended = f"status {error.status_code}: {error.message}"
            break
        said = answer.parse()
        played.calls += 1
        if said.usage:
            played.tokens += said.usage.prompt_tokens + said.usage.completion_tokens
        played.dollars += float(answer.headers.get("x-amp-dollars", 0.0))
        played.arms += [answer.headers["x-amp-arm"]] if "x-amp-arm" in answer.headers else []
        message: dict[str, Any] = said.choices[0].message.to_dict(exclude_none=True)
        calls = message.get("tool_calls") or read_call(message.get("content") or "", played)
        if calls and "tool_calls" not in message:
            message = {"role": "assistant", "tool_calls": calls}
        talk.append(message)
        for call in calls:
            function = call["function"]
            told = use(room, function["name"], function["arguments"])
            talk.append({"role": "tool", "tool_call_id": call["id"], "content": told})
        if not calls:
            talk.append({"role": "user", "content": "Call a tool."})
    played.success = bool(room.success)
    played.ended = "" if played.success else "mission failed" if room.over else played.ended
    return played


def main() -> None:
    """Plays, and prints a line for each episode."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--api-key", default="any")
    parser.add_argument("--model", required=True)
    parser.add_argument("--level", default="BabyAI-GoToLocal-v0")
    parser.add_argument("--episodes", type=int, default=1)
    wanted = parser.parse_args()
    client = OpenAI(base_url=wanted.base_url, api_key=wanted.api_key, timeout=600)
    for seed in range(wanted.episodes):
        one = play(client, wanted.model, seed, wanted.level)
        end = "accomplished" if one.success else one.ended
        print(f"seed {seed}: {end}, {one.calls} calls, {one.tokens} tokens, ${one.dollars:.6f}")


if __name__ == "__main__":
    main()
