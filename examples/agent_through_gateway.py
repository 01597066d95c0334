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
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from openai import APIStatusError, OpenAI

try:
    import gymnasium
    import minigrid  # noqa: F401  # it adds its levels to gymnasium's
    from minigrid.core.constants import DIR_TO_VEC, IDX_TO_COLOR, IDX_TO_OBJECT, OBJECT_TO_IDX
except ImportError:
    sys.exit("it needs minigrid (pip install 'adaptive-meta-planning[babyai]')")

LEVEL = "BabyAI-PutNextLocalS5N3-v0"
STATES = ("open", "closed", "locked")
LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE = range(6)
SYSTEM = """\
You are an agent in rooms. Each tool walks up to its thing by itself. Carry out the mission in its
order, one call at a time, and name each thing by its color and kind. What missions need:
go to the red ball: go_to red ball
pick up the grey key: pick_up grey key
put the blue key next to the green box: pick_up blue key; then put_next_to green box
open the yellow door: open yellow door
open the door, where you know of a locked red door: pick_up red key; then open red door
open the red door and go to the green key: open red door; then go_to green key
any of these, where you do not know of the thing yet: explore; then as above
A call looks like this:
{"name": "pick_up", "arguments": {"thing": "blue key"}}"""
TELLS = {
    "go_to": "Walk up to a thing, only where the mission says to go to it.",
    "pick_up": "Walk up to a key, ball or box, and take it.",
    "put_next_to": "Put down what you carry next to a thing.",
    "open": "Walk up to a door and open it.",
    "explore": "Walk to where you have not been yet.",
}
THING = {
    "type": "object",
    "properties": {"thing": {"type": "string"}},
    "required": ["thing"],
}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": what,
            "parameters": {"type": "object", "properties": {}} if name == "explore" else THING,
        },
    }
    for name, what in TELLS.items()
]
STOPS = ["}\n{", "}\n\n", "}\n`", "}."]
"""After a call: small models write on and on. The brace that these cost it is given back."""

Place = tuple[int, int]


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
    """A level of BabyAI in words, and who walks in it; what was never in view is not known."""

    def __init__(self, level: str, seed: int) -> None:
        self._level: Any = gymnasium.make(level, disable_env_checker=True).unwrapped
        seen, _ = self._level.reset(seed=seed)
        self.mission = str(seen["mission"])
        self.over = self.success = False
        self._known: dict[Place, tuple[str, str, int]] = {}
        self._learn(seen)

    def look(self) -> str:
        """The things that were in view so far, as seen from here."""
        found = []
        for place, (kind, color, state) in self._known.items():
            if kind in ("wall", "empty"):
                continue
            east, south = (
                int(to - at) for to, at in zip(place, self._level.agent_pos, strict=True)
            )
            ahead, right = (
                int(east * along[0] + south * along[1])
                for along in (self._level.dir_vec, self._level.right_vec)
            )
            parts = [f"{abs(ahead)} {'ahead' if ahead > 0 else 'behind'}"] * bool(ahead)
            parts += [f"{abs(right)} {'right' if right > 0 else 'left'}"] * bool(right)
            how = f"{STATES[state]} " if kind == "door" else ""
            found.append(f"{how}{color} {kind} ({', '.join(parts)})")
        hand = self._level.carrying
        carried = f"you carry: {hand.color} {hand.type}; " if hand else ""
        return f"{carried}you know of: {', '.join(found) or 'nothing yet'}"

    def use(self, name: str, thing: str) -> str:
        """What comes of a call; it begins with ``error`` where nothing does."""
        hand = self._level.carrying
        places = [
            place
            for place, (kind, color, _) in self._known.items()
            if kind not in ("wall", "empty") and (f"{color} {kind}" in thing or thing == kind)
        ]
        if name == "explore":
            before, error = self._things(), "there is nothing more to see"
            while self._things() == before and self._walk(lambda at: at not in self._known):
                error = "" if self._things() > before else error
        elif not places:
            error = f"you do not know of a {thing} yet; call explore"
        elif name == "go_to":
            if tuple(self._level.front_pos) in places:
                is_door = any(self._known[place][0] == "door" for place in places)
                error = f"you face it already{'; to open it, call open' * is_door}"
            else:
                error = "" if self._walk(lambda at: at in places) else "no way leads there"
        elif name == "put_next_to":
            free = {next_to for place in places for next_to in _around(place)}
            ways = bool(hand) and self._walk(
                lambda at: at in free and self._known.get(at, ("", "", 0))[0] == "empty"
            )
            error = "" if ways else "no room there, or no way" if hand else "you carry nothing"
            if ways:
                self._step(DROP)
        elif name == "pick_up":
            ways = not hand and self._walk(lambda at: at in places)
            error = "" if ways else "no way leads there"
            error = f"you carry the {hand.color} {hand.type} already" if hand else error
            if ways:
                self._step(PICK_UP)
                error = "" if self._level.carrying else "that cannot be picked up"
        else:
            doors = [at for at in places if self._known[at][0] == "door" and self._known[at][2]]
            ways = self._walk(lambda at: at in doors)
            error = "" if ways else "no such door is closed, or no way leads there"
            if ways:
                facing = tuple(self._level.front_pos)
                self._step(TOGGLE)
                error = (
                    "it is locked; pick up the key of its color first"
                    if self._known[facing][2]
                    else ""
                )
        if self.over:
            return "the mission is accomplished" if self.success else "the mission failed"
        came = f"error: {error}" if error else "done"
        return f"{came}; {self.look()}; mission: {self.mission}"  # small models forget it

    def _things(self) -> int:
        return sum(kind not in ("wall", "empty") for kind, _, _ in self._known.values())

    def _walk(self, wanted: Callable[[Place], bool]) -> bool:
        """Walks the shortest way to where a wanted place is straight ahead, if there is one."""
        x, y = self._level.agent_pos
        begin = (int(x), int(y), int(self._level.agent_dir))
        came: dict[tuple[int, int, int], list[int]] = {begin: []}
        waiting = deque([begin])
        while waiting:
            x, y, to = state = waiting.popleft()
            east, south = DIR_TO_VEC[to]
            front = (x + int(east), y + int(south))
            if wanted(front):
                for action in came[state]:
                    if not self.over:
                        self._step(action)
                return True
            steps = [((x, y, (to - 1) % 4), LEFT), ((x, y, (to + 1) % 4), RIGHT)]
            kind, _, how = self._known.get(front, ("wall", "", 0))
            if kind == "empty" or (kind == "door" and not how):
                steps.append(((front[0], front[1], to), FORWARD))
            for after, action in steps:
                if after not in came:
                    came[after] = [*came[state], action]
                    waiting.append(after)
        return False

    def _step(self, action: int) -> None:
        seen, reward, ended, cut, _ = self._level.step(action)
        self.over, self.success = bool(ended or cut), bool(ended and reward > 0)
        self._learn(seen)

    def _learn(self, seen: dict[str, Any]) -> None:
        """Keeps what is in view: the agent stands at the bottom of it, in the middle."""
        cells = seen["image"]
        width, height = cells.shape[:2]
        x, y = (int(each) for each in self._level.agent_pos)
        forth, side = (
            [int(each) for each in along] for along in (self._level.dir_vec, self._level.right_vec)
        )
        for column in range(width):
            for row in range(height):
                kind, color, state = (int(each) for each in cells[column, row])
                ahead, right = height - 1 - row, column - width // 2
                if kind == OBJECT_TO_IDX["unseen"]:
                    continue
                name = IDX_TO_OBJECT[kind] if ahead or right else "empty"
                place = (
                    x + ahead * forth[0] + right * side[0],
                    y + ahead * forth[1] + right * side[1],
                )
                plain = "empty" if name == "floor" else name
                self._known[place] = plain, IDX_TO_COLOR[color], state


def _around(place: Place) -> list[Place]:
    x, y = place
    return [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]


def use(room: Room, name: str, arguments: str) -> str:
    """What a tool says; an error where it was not called as it is to be."""
    try:
        given = json.loads(arguments or "{}")
        if name in TELLS:
            return room.use(name, "" if name == "explore" else str(given["thing"]).lower())
    except (ValueError, KeyError, TypeError):
        pass
    return f'error: no such call; the tools are {", ".join(TELLS)}, each but explore of a "thing"'


def read_call(text: str, played: Played) -> list[dict[str, Any]]:
    """The first call that a text has; small models write calls as plain JSON, unasked."""
    for begin in (at for at, sign in enumerate(text) if sign == "{"):
        for end in ("", "}"):
            try:
                found, _ = json.JSONDecoder().raw_decode(text + end, begin)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict) and found.get("name") in TELLS:
                function = {"name": found["name"], "arguments": json.dumps(found.get("arguments"))}
                return [{"id": f"call_{played.calls}", "type": "function", "function": function}]
    return []


def play(
    client: OpenAI,
    model: str,
    seed: int,
    level: str = "BabyAI-PutNextLocalS5N3-v0",
    most_calls: int = 8,
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
        {"role": "user", "content": f"Your mission: {room.mission}. Now {room.look()}."},
    ]
    while not room.over and played.calls < most_calls:
        try:
            answer = client.chat.completions.with_raw_response.create(
                model=model, messages=talk, tools=TOOLS, tool_choice="required", temperature=0.0,
                max_tokens=48, stop=STOPS, extra_headers={"x-amp-episode": name},
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
    parser.add_argument("--level", default=LEVEL)
    parser.add_argument("--episodes", type=int, default=1)
    wanted = parser.parse_args()
    client = OpenAI(base_url=wanted.base_url, api_key=wanted.api_key, timeout=600)
    for seed in range(wanted.episodes):
        one = play(client, wanted.model, seed, wanted.level)
        end = "accomplished" if one.success else one.ended
        print(f"seed {seed}: {end}, {one.calls} calls, {one.tokens} tokens, ${one.dollars:.6f}")


if __name__ == "__main__":
    main()
