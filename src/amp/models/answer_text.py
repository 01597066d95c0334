"""What a chat's answer says, apart from what it thinks, whatever the server makes of the two.

Servers send thinking in a field of its own, as parts of the content, or in tags inside of it; some
templates open the tag in the prompt, so that only its end is in the answer. None of it is the
answer: whatever reads answers must never see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from amp.models.base import FinishReason, Prompt, entropy, normalised
from amp.models.reply import CUT_OFF, WITHHELD, end_of

_NAMES = (
    r"(?:[a-z]{1,12}[:_-]){0,2}(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad"
    r"|monologue|cot|chain[_-]of[_-]thoughts?|antthinking)(?:[:_-][a-z]{1,12}){0,2}"
)
_BEGIN, _END = "(?:<|&lt;|&#60;|&#x3c;)", "(?:>|&gt;|&#62;|&#x3e;)"
_CHANNEL = r"(?: ?to=[\w.]{1,40})?(?: ?<\|constrain\|>\w{1,20})?<\|message\|>"
# Qwen and most; Mistral; Kimi; Open Thoughts; Cohere; gpt-oss; Gemma.
_TAGS = re.compile(
    rf"(?P<open>{_BEGIN} ?{_NAMES}(?:\s[^<>&]*)?(?<!/){_END}|\[THINK\]|◁think▷"
    r"|<\|(?:begin_of_thought|START_THINKING|think)\|>|<\|channel>thought\b"
    rf"|<\|channel\|>(?:analysis|commentary){_CHANNEL})"
    rf"|(?P<close>{_BEGIN} ?/ ?{_NAMES}\s*{_END}|\[/THINK\]|◁/think▷"
    r"|<\|(?:end_of_thought|END_THINKING|/think)\|>|<channel\|>"
    rf"|(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final{_CHANNEL})",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)", re.MULTILINE)
_THINKING = ("think", "reason", "thought", "analysis")
_FLAGS = ("thought", "thinking", "reasoning", "is_thought", "is_thinking", "is_reasoning")
_SILENT = {"refusal", "tool_use", "tool_call", "function_call", "image_url", "image", "audio"}
_INNER = ("text", "value", "content", "parts")
_DEEPEST = 8

_LEAST_LOG_PROB = -10_000.0
"""vLLM writes -9999 for minus infinity."""
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class AnswerText:
    """An answer without its thinking.

    Attributes:
        text: what it says.
        thought: what it thinks, if it shows it.
        unfinished: whether it ended while it thought.
        withheld: whether there is a refusal in its place.
    """

    text: str
    thought: str = ""
    unfinished: bool = False
    withheld: bool = False


def answer_text(content: object, thought: object = None) -> AnswerText:
    """Reads the content of a message: a text, or parts of texts and of thinking.

    Args:
        content: as the server sent it; None is an empty text.
        thought: what it sent as thinking in a field of its own.

    Raises:
        ValueError: if it is neither a text nor parts of one.
    """
    texts: list[str] = []
    thoughts = list(_texts(thought))
    for is_thought, text in _parts(content, _DEEPEST):
        (thoughts if is_thought else texts).append(text)
    apart = without_thinking("".join(texts))
    return AnswerText(apart.text, "".join([*thoughts, apart.thought]), apart.unfinished)


def without_thinking(text: str) -> AnswerText:
    """Takes what stands in tags of thinking out of a text.

    An end without a beginning closes what the prompt's template opened: all before it is thinking.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    position, thinks = 0, False
    for tag in _TAGS.finditer(text):
        before = text[position : tag.start()]
        if tag["close"]:
            if not thinks:
                thoughts += texts
                texts = []
            thoughts.append(before)
        elif thinks:
            thoughts.append(before)
        else:
            texts.append(before)
        position, thinks = tag.end(), bool(tag["open"])
    (thoughts if thinks else texts).append(text[position:])
    answer = "".join(texts)
    return AnswerText(answer.lstrip() if position else answer, "".join(thoughts), thinks)


def _parts(content: object, depth: int) -> Iterator[tuple[bool, str]]:
    """The parts of a content in order: whether each is thinking, and its text."""
    if content is None:
        return
    if isinstance(content, str):
        yield False, content
        return
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list) or not depth:
        raise ValueError(f"its content is a {type(content).__name__}")
    known = not parts
    for part in parts:
        if isinstance(part, str):
            known = True
            yield False, part
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        name = kind.lower() if isinstance(kind, str) else ""
        flagged = any(part.get(flag) is True for flag in _FLAGS)
        if flagged or any(word in name for word in _THINKING):
            known = True
            yield from ((True, text) for text in _texts(part, depth))
        elif (inner := next(filter(None, map(part.get, _INNER)), None)) is not None:
            known = True
            yield from _parts(inner, depth - 1)
        else:
            known = known or name in _SILENT or name == "text"
    if not known:
        raise ValueError("its content has no part that is a text")


def _texts(thought: object, depth: int = _DEEPEST) -> Iterator[str]:
    """The texts of what is thinking as a whole; what is no text is left out."""
    if isinstance(thought, str):
        yield thought
    elif depth and isinstance(thought, list):
        for each in thought:
            yield from _texts(each, depth - 1)
    elif depth and isinstance(thought, dict):
        for name in ("thinking", "reasoning", "reasoning_content", "thought", "summary", "text"):
            yield from _texts(thought.get(name), depth - 1)


def cut_at_stop(text: str, prompt: Prompt) -> str:
    """Cuts a text at the first stop string, as servers do that know them.

    White space at the beginning is no answer, so a stop string there ends nothing. One that is the
    end of a block of code ends the text only where a block is open: the same characters also begin
    one that names no language.
    """
    ends = [_end(text, stop, prompt) for stop in prompt.stop if stop]
    return text[: min([len(text), *ends])]


def _end(text: str, stop: str, prompt: Prompt) -> int:
    """Where a stop string ends a text; its length if nowhere."""
    begin = len(text) - len(text.lstrip())
    fence = stop.strip()
    if not fence.startswith(("```", "~~~")):
        found = text.find(stop, begin)
        return len(text) if found < 0 else found
    last = prompt.messages[-1]
    begun = last.content if last.role == "assistant" else ""
    whole = begun + text
    lines = _FENCE.finditer(whole)
    line = next(lines, None)
    is_open = False
    position = whole.find(stop, len(begun) + begin)
    while position >= 0:
        while line is not None and line.start() <= position:
            is_open = bool(line[2]) or not is_open
            line = next(lines, None)
        if is_open:
            return position - len(begun)
        position = whole.find(stop, position + 1)
    return len(text)


def finish_reason(choice: Mapping[str, Any], part: AnswerText, *, is_cut: bool) -> FinishReason:
    """Returns how an answer ended.

    Args:
        choice: the choice, or the message of an API without choices.
        part: what it says.
        is_cut: whether it was cut at a stop string on this side.
    """
    ended = end_of(choice)
    if part.withheld or WITHHELD.search(ended):
        return "filtered"
    if is_cut:
        return "stop"
    return "length" if part.unfinished or CUT_OFF.search(ended) else "stop"


# ------------------------------------------------------------------ log-probabilities


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token.

    Attributes:
        text: of the token.
        log_prob: its natural log-probability; None if the server told none that can be one.
        top: the likeliest tokens in its place, text and log-probability; without those whose value
            cannot be one.
    """

    text: str
    log_prob: float | None
    top: tuple[tuple[str, float], ...] = ()


def listed(logprobs: object) -> list[Token]:
    """Returns the tokens that a choice tells of; none where they have another form."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return []
    tokens = []
    for each in content:
        if not isinstance(each, dict) or not isinstance(each.get("token"), str):
            return []
        tops = each.get("top_logprobs")
        top = [_token(other) for other in tops] if isinstance(tops, list) else []
        told = tuple((name, value) for name, value in top if name is not None and value is not None)
        tokens.append(Token(each["token"], log_probability(each.get("logprob")), told))
    return tokens


def _token(each: object) -> tuple[str | None, float | None]:
    if not isinstance(each, dict) or not isinstance(each.get("token"), str):
        return None, None
    return each["token"], log_probability(each.get("logprob"))


def log_probability(value: object) -> float | None:
    """Returns a value if it can be a log-probability; NaN, infinities and others are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not _LEAST_LOG_PROB <= value <= _ROUNDING:  # never true of NaN
        return None
    return min(0.0, float(value))


def tokens_of(text: str, tokens: Sequence[Token]) -> list[Token]:
    """Returns those of the tokens that make this text, which is the last part that they have of it.

    Thinking is listed with the text, before it; what was cut off behind it is listed, too.
    """
    whole = "".join(token.text for token in tokens)
    text = text.strip()
    begin = whole.rfind(text) if text else -1
    if begin < 0:
        return []
    if whole.strip() == text:
        return list(tokens)
    position, found = 0, []
    for token in tokens:
        position += len(token.text)
        if position > begin:
            found.append(token)
        if position >= begin + len(text):
            break
    return found


def entropies(tokens: Sequence[Token]) -> tuple[float, ...]:
    """Returns the entropy of each token's distribution, as far as it is told and can be one."""
    found = []
    for token in tokens:
        if values := [value for _, value in token.top]:
            with suppress(ValueError):  # probabilities that add up to more than 1
                found.append(entropy(normalised(values)))
    return tuple(found)


def clean(value: Any, change: Any) -> Any:
    """Returns JSON with every text in it changed, keys of objects as well."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [clean(each, change) for each in value]
    if isinstance(value, dict):
        return {change(name): clean(each, change) for name, each in value.items()}
    return value


def mended(text: str) -> str:
    """Returns a text without halves of characters, which no file and no database takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
