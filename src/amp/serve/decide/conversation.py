"""A conversation is an episode, a call a plan step: what a list of messages says about where it is.

The messages of any API are read into one trail of tool calls and their results, and that into the
step that the CAM knows, so a conversation has the features of any plan: those of its words
(`amp.assess.features`), and those of what it did and what came back (`amp.allocate.giving_up`).
Beside them stand a few that only a request has. Content is read, never obeyed, run or written down,
and of a long one only the ends: a call must not wait for its features.

NOT covered: agents that act in plain words, so that results come as the user's messages; and what a
server keeps of a conversation itself (``previous_response_id``): each such call is taken for an
episode of its own, unless the client names one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from amp.allocate.giving_up import of_plan
from amp.assess.features import observe
from amp.environment import Observation, Task
from amp.models.bill import number, table
from amp.serve.dialects.base import parsed
from amp.types import Complexity, StepContext, StepRecord
from amp.usage import Usage

if TYPE_CHECKING:
    from amp.serve.decide.base import CallArm

CHARACTERS_PER_TOKEN = 4.0
"""Of a prompt, about."""

_CAPS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_GOAL, _RESULT, _HEAD, _SYSTEM = 1_200, 400, 160, 8_000
_MOST_CALLS = 30
_CACHED_TEXTS = 4_096
_LATELY = 5
_TYPICAL_ANSWER, _TYPICAL_OBJECT = 400, 120
_LONGEST_VOTED = 4_096

# Of a text in lower case.
_FAILED = re.compile(
    r"traceback \(most recent|exit(?:ed)? (?:with )?(?:code|status):? ?[1-9]|exception\b|\bfatal\b"
    r"|(?:error|failed|failure) ?[:!(]|no such (?:file|column|table)|not found\b|denied\b"
    r"|timed out|[\"']error[\"'] ?: ?(?!null|none|false|\"\")"
)
_READS = re.compile(
    r"(?:^|[^a-z])(?:read|get|list|search|find|view|look|show|open|fetch|browse|query|grep|rg|ls"
    r"|cat|head|tail|sed -n|glob|tree|inspect|check|describe|lookup|retrieve|load|stat|git (?:log"
    r"|status|diff|show))(?![a-z])",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\d+")
_SHELL = re.compile(r"bash|shell|terminal|exec|command|run", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MEDIA = ("image", "input_image", "input_audio", "document", "file", "input_file", "video")
_MODEL_ITEMS = ("reasoning", "message", "compaction")


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a call goes on with, as numbers.

    Attributes:
        episode: the client's name for it, else a hash of how it begins; calls that begin alike are
            taken for one episode.
        step: answers of the model that it has so far.
        features: by name, finite.
        prompt_tokens: about how long the prompt is.
        answer_tokens: about how long an answer is to be expected, thinking left out.
        after_tool: whether its last message is a tool's result.
        unvoted: why several answers could not vote on this call; empty if they can.
        caller: a hash of who calls, which part of an agent that is: of the system's words, numbers
            apart, and the names of the tools.
        last: what the call before this one got, where the gateway remembers it.
    """

    episode: str
    step: int = 0
    features: Mapping[str, float] = field(default_factory=dict, hash=False)
    prompt_tokens: int = 0
    answer_tokens: int = 0
    after_tool: bool = False
    unvoted: str = ""
    caller: str = ""
    last: CallArm | None = None

    def feature(self, name: str) -> float:
        """A feature, or 0 where it is not known."""
        return self.features.get(name, 0.0)


@dataclass(slots=True)
class _Call:
    """A call of a tool, and what came back."""

    id: str
    action: str
    name: str
    given: object
    result: str | None = None
    failed: bool = False


@dataclass(slots=True)
class _Trail:
    """What a list of messages comes to.

    Attributes:
        calls: of tools, in order.
        system: the system's first words.
        begins: the texts that the episode is known by: the system's, and the user's first.
        goal: the user's first words.
        latest: the user's last words.
        turns: answers of the model.
        user_turns: messages of the user that are no results of tools.
        written: characters that the model wrote in all its answers.
        media: images, sounds and documents.
        last: who spoke last: ``user``, ``tool`` or ``model``.
    """

    calls: list[_Call] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    begins: list[str] = field(default_factory=list)
    goal: str = ""
    latest: str = ""
    turns: int = 0
    user_turns: int = 0
    written: int = 0
    media: int = 0
    last: str = ""

    def told(self, text: str) -> None:
        """Notes words of the system."""
        if not self.turns and not self.user_turns:
            self.system.append(text)
            self.begins.append(text)

    def asked(self, text: str) -> None:
        """Notes words of the user."""
        if not self.user_turns:
            self.begins.append(text)
            self.goal = _ends(text, _GOAL)
        self.latest = _ends(text, _GOAL)
        self.user_turns += 1
        self.last = "user"

    def answered(self, written: int) -> None:
        """Notes that the model spoke; what it says in one go is one answer."""
        self.turns += self.last != "model"
        self.written += written
        self.last = "model"

    def called(self, id_: object, name: object, arguments: object) -> None:
        """Notes a call of a tool."""
        text = arguments if isinstance(arguments, str) else _dumped(arguments)
        self.answered(len(text))
        action = f"{name} {_ends(text, _RESULT)}"
        self.calls.append(_Call(str(id_), action, str(name), arguments))

    def returned(self, id_: object, text: str, failed: bool) -> None:
        """Notes a result; a call that is not there, since the server keeps it, is unlike others."""
        open_calls = (call for call in reversed(self.calls) if call.result is None)
        call = next((each for each in open_calls if id_ is None or each.id == str(id_)), None)
        if call is None:
            call = _Call(str(id_), f"? {id_}", "", None)
            self.calls.append(call)
        call.result, call.failed = _ends(text, _RESULT), failed
        self.last = "tool"


def read_conversation(
    fields: Mapping[str, Any], episode: str = "", *, size: int | None = None
) -> Conversation:
    """Reads a request of any API; what it does not understand counts as nothing.

    Args:
        fields: of a chat completion, a response or a message.
        episode: the client's own name for the episode.
        size: bytes of the request, if known.
    """
    trail = _read(fields)
    calls = trail.calls[-_MOST_CALLS:]
    for call in calls:
        call.failed = call.failed or _tells_failure(call.result or "")
    tools = fields.get("tools") or fields.get("functions")
    offered = len(tools) if isinstance(tools, list) else 0
    cap = next((n for name in _CAPS if (n := number(fields.get(name)))), 0)
    structured = _is_structured(fields)
    length = size if size is not None else len(_dumped(fields))
    prompt_tokens = round(length / CHARACTERS_PER_TOKEN)
    usual = _TYPICAL_OBJECT if structured else _TYPICAL_ANSWER
    if trail.turns:
        usual = max(1, round(trail.written / trail.turns / CHARACTERS_PER_TOKEN))
    answer_tokens = min(usual, cap) if cap else usual
    lately = [(call, _reads(call)) for call in calls[-_LATELY:]]
    context = _step(trail, calls)
    own = {
        "step": trail.turns,
        "user_turns": trail.user_turns,
        "calls": len(trail.calls),
        "tools": offered,
        "media": trail.media,
        "prompt_tokens": prompt_tokens,
        "answer_tokens": answer_tokens,
        "cap": cap,
        "structured": structured,
        "sampling": "temperature" in fields or "top_p" in fields,
        "after_tool": trail.last == "tool",
        "failed": bool(calls) and calls[-1].failed,
        "exploring": _share(looks for _, looks in lately),
        "progress": _share(not looks and _lands(call, calls) for call, looks in lately),
    }
    features = {**observe(context).values, **of_plan(context), **own}
    features = {name: float(value) for name, value in features.items()}
    # What the server keeps is not there to be known by, but has a name.
    kept = fields.get("conversation") or fields.get("previous_response_id")
    return Conversation(
        episode or _hash([_dumped(kept)] if kept else trail.begins),
        trail.turns,
        features,
        prompt_tokens,
        answer_tokens,
        trail.last == "tool",
        _unvoted(fields, offered, cap, trail.media),
        _caller(trail.system, tools),
    )


def _read(fields: Mapping[str, Any]) -> _Trail:
    trail = _Trail()
    for name in ("system", "instructions"):
        if name in fields:
            trail.told("".join(_texts(fields[name], trail)))
    said = fields.get("messages", fields.get("input"))
    for message in said if isinstance(said, list) else [{"role": "user", "content": said}]:
        if isinstance(message, dict):
            _read_message(message, trail)
    return trail


def _read_message(message: Mapping[str, Any], trail: _Trail) -> None:
    """One message of a chat, or one item of a response's input."""
    role, kind, content = message.get("role"), str(message.get("type", "")), message.get("content")
    if kind.endswith("_call_output"):
        text = "".join(_texts(message.get("output"), trail))
        trail.returned(message.get("call_id"), text, message.get("status") == "failed")
    elif kind.endswith("_call"):
        given = message.get("arguments", message.get("input", message.get("action")))
        trail.called(message.get("call_id"), message.get("name", kind), given)
    elif role in ("tool", "function"):
        text = "".join(_texts(content, trail))
        trail.returned(message.get("tool_call_id"), text, failed=False)
    elif role in ("system", "developer"):
        trail.told("".join(_texts(content, trail)))
    elif role == "assistant" or (role is None and kind in _MODEL_ITEMS):
        _read_answer(message, trail)
    elif role == "user":
        blocks = content if isinstance(content, list) else []
        for block in blocks:
            if isinstance(block, dict) and block.get("type") == "tool_result":
                text = "".join(_texts(block.get("content"), trail))
                failed = block.get("is_error") is True
                trail.returned(block.get("tool_use_id"), text, failed)
        words = "".join(_texts(content, trail))
        if words or not blocks or trail.last != "tool":
            trail.asked(words)


def _read_answer(message: Mapping[str, Any], trail: _Trail) -> None:
    content = message.get("content")
    trail.answered(sum(map(len, _texts(content, trail))))
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") == "tool_use":
            trail.called(block.get("id"), block.get("name"), block.get("input"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            function = call.get("function", call.get("custom"))
            if isinstance(function, dict):
                given = function.get("arguments", function.get("input"))
                trail.called(call.get("id"), function.get("name"), given)
    if call := table(message, "function_call"):  # as it was before there were tools
        trail.called(None, call.get("name"), call.get("arguments"))


def _texts(content: object, trail: _Trail) -> Iterator[str]:
    """The texts of a content in any API's form; counts images and the like."""
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            text = part.get("text")
            if isinstance(text, str):
                yield text
            elif str(part.get("type", "")).startswith(_MEDIA):
                trail.media += 1


def _step(trail: _Trail, calls: Sequence[_Call]) -> StepContext:
    """The plan step that a call is: the tool calls so far are the plan, their results the states.

    What failed is marked by the word that `amp.allocate.giving_up` reads; of the rest it gets the
    first line, since an answer that goes well may talk of errors for pages.
    """
    steps, state = [], ""
    for call in calls:
        result = call.result or ""
        feedback = f"error: {result}" if call.failed else result[:_HEAD].partition("\n")[0]
        steps.append(
            StepRecord(
                Observation(state), (), Complexity(0.0), call.action, Usage(), None, feedback
            )
        )
        state = result
    if trail.last == "user" and trail.user_turns > 1:
        state = trail.latest
    return StepContext(Task("", trail.goal), Observation(state), tuple(steps))


@lru_cache(maxsize=_CACHED_TEXTS)
def _tells_failure(result: str) -> bool:
    return _FAILED.search(result.lower()) is not None


def _lands(call: _Call, calls: Sequence[_Call]) -> bool:
    """Whether a call that is no look changed something: neither a failure nor a repeat."""
    same = sum(other.action == call.action for other in calls)
    return not (call.failed or same > 1)


def _reads(call: _Call) -> bool:
    """Whether a call looks rather than acts, by its name, or the command that it runs."""
    if _SHELL.search(call.name):
        given = call.given
        if isinstance(given, str) and given.lstrip().startswith("{"):
            given = parsed(given.encode("utf-8", "surrogatepass")) or ""
        if isinstance(given, dict):
            given = next((value for value in given.values() if isinstance(value, (str, list))), "")
        command = " ".join(map(str, given)) if isinstance(given, list) else str(given)
        return _READS.match(command.lstrip()) is not None
    return _READS.search(_CAMEL.sub("_", call.name)) is not None


def _is_structured(fields: Mapping[str, Any]) -> bool:
    """Whether the answer has to be an object of a given form."""
    for holder in (fields, fields.get("text"), fields.get("output_config")):
        if isinstance(holder, dict):
            form = holder.get("response_format") or holder.get("format")
            if isinstance(form, dict) and form.get("type") not in (None, "text"):
                return True
    return "output_format" in fields


def _unvoted(fields: Mapping[str, Any], tools: int, cap: int, media: int) -> str:
    """Why several answers could not vote."""
    for found, reason in (
        (tools, "tools are offered"),
        (media or fields.get("audio"), "the request has images, sound or the like"),
        (fields.get("stream") and "input" in fields, "streams of responses do not vote"),
        ((number(fields.get("n")) or 1) > 1, "the client asks for several answers itself"),
        (fields.get("temperature") == 0, "at temperature 0 all answers are the same"),
        (fields.get("seed") is not None, "of one seed all answers are the same"),
        (fields.get("logprobs"), "the client asks for log-probabilities"),
        (fields.get("background") or fields.get("store"), "the server is to keep the answer"),
        (cap > _LONGEST_VOTED, f"an answer may be longer than {_LONGEST_VOTED:,} tokens"),
    ):
        if found:
            return reason
    return ""


def _dumped(value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=str)
    except RecursionError:  # as deep as JSON may be read, and too deep to be written
        return ""


def _caller(system: Iterable[str], tools: object) -> str:
    """Dates and numbers of a system prompt change from call to call; they count as 0."""
    listed = tools if isinstance(tools, list) else []
    offered = [tool for tool in listed if isinstance(tool, dict)]
    names = [table(tool, "function").get("name", tool.get("name")) for tool in offered]
    said = [_DIGITS.sub("0", _ends(text, _SYSTEM)) for text in system]
    return _hash([*said, "tools", *sorted(map(str, names))])[:8]


def _hash(texts: Iterable[str]) -> str:
    """A name that tells nothing of the texts."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _ends(text: str, most: int) -> str:
    """The two ends of a text."""
    return text if len(text) <= most else f"{text[: most // 2]}\n{text[-most // 2 :]}"


def _share(values: Iterable[bool]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


ANY_CALLER = "*"
"""In a kind, for all callers of whom too few calls are known."""

_STANDS = ("begins", "goes on", "after a tool", "after a failure")


def kind_of(conversation: Conversation) -> str:
    """Of what kind a call is, without any of its content, such as ``3f9a01c2/after a tool``.

    A kind is who calls (the system's prompt and the tools, as a hash) and where it stands: whether
    the call begins, goes on, follows a tool or follows a failure.
    """
    stands = _STANDS[1] if conversation.step else _STANDS[0]
    if conversation.after_tool:
        stands = _STANDS[3] if conversation.features.get("failed") else _STANDS[2]
    return f"{conversation.caller or ANY_CALLER}/{stands}"


def of_any_caller(kind: str) -> str:
    """The kind of all calls that stand where those of a kind do."""
    return f"{ANY_CALLER}/{kind.partition('/')[2]}"


def known_kind(kind: str, known: Collection[str]) -> str:
    """The kind that is known of a call: its own, else that of all callers, else none."""
    return next((each for each in (kind, of_any_caller(kind)) if each in known), "")
