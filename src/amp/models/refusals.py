"""What servers refuse, learned once a model and done in another way from then on.

Servers tell what they cannot do only by refusing it, each in words of its own and with status 400,
422 or 500. So a refusal is read for the field that it names: as a parameter, as the place of an
error, or in the words of its message. Where it names none, the request is made again with one field
after the other left out, and the one whose absence makes it pass is the culprit.

What stands for a field that is given up:

| refused | instead |
|---|---|
| n | the samples are asked for one by one |
| log-probabilities | none; fewer likely tokens where only their number is refused |
| seed | samples are not seeded |
| top_p, temperature | the model's own sampling |
| stop strings | the text is cut on this side, as it is anyway |
| system messages | their text goes before the first user message |
| marks for the cache | the prompt is paid in full |

The log says each once a model. A value out of range is the caller's mistake, and no refusal of its
field; so are prompts that are too long, and what a provider's filter turns away.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amp.models.base import Capabilities
from amp.models.reply import RefusedError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that can be done without.

    Attributes:
        words: how messages call it.
        places: its names in the API.
        instead: what happens without it, for the log.
        exact: whether its value is the caller's, so that one out of range is an error.
    """

    words: re.Pattern[str]
    places: frozenset[str]
    instead: str
    exact: bool = False


def _field(words: str, places: str, instead: str, *, exact: bool = False) -> _Field:
    pattern = re.compile(words, re.IGNORECASE)
    return _Field(pattern, frozenset(places.split()), instead, exact)


# In the order in which they are given up where a refusal names none, or wants one of two.
_FIELDS: dict[str, _Field] = {
    "n": _field(
        r"""['"`]n['"`]|\bparameter:? n\b|\bn (?:[<>=]|must|should|is not|not )|\bn[<>=:]|: n\b"""
        r"|only (?:one|1|a single) (?:\w+ )?(?:choice|completion|candidate|response|sample)"
        r"|(?:multiple|several|more than one) (?:\w+ )?(?:choice|completion|candidate|sample)"
        r"|candidate_?count|best_of",
        "n",
        "samples are asked for one by one",
    ),
    "logprobs": _field(
        r"log[\s_-]?prob", "logprobs top_logprobs", "there are no log-probabilities"
    ),
    "seed": _field(r"\bseed", "seed", "samples are not seeded"),
    "top_p": _field(r"top[\s_-]?p\b|nucleus", "top_p topp", "it uses its own sampling", exact=True),
    "stop": _field(
        r"\bstop\b|\bstop[\s_-]?(?:sequence|string|word|token)|\bstopp?ing",
        "stop stop_sequences stopsequences",
        "answers are cut on this side",
    ),
    "temperature": _field(
        r"temperature", "temperature", "it uses its own sampling", exact=True
    ),
    "cache_control": _field(
        r"cache_control|ephemeral|prompt[\s_-]caching", "cache_control", "nothing is cached"
    ),
    "system": _field(
        r"system['\"`\s_-]*(?:role|message|prompt|instruction)|['\"`]system['\"`]"
        r"|\brole\W+system|roles? must alternate|developer (?:role|message|instruction)"
        r"|messages\[0\]\.role|only .{0,40}\b(?:user|assistant)\b.{0,40} role|\bsystem: "
        r"|: system\b|\bsystem is not|argument ['\"`]?system",
        "system role system_instruction",
        "system messages go before the first user message",
    ),
    "max_tokens": _field(
        r"\bmax_tokens", "max_tokens", "it gets max_completion_tokens", exact=True
    ),
    "max_completion_tokens": _field(
        r"\bmax_completion_tokens", "max_completion_tokens", "it gets max_tokens", exact=True
    ),
}  # fmt: skip
_SUSPECTS = ("n", "logprobs", "seed", "top_p", "stop", "temperature", "cache_control", "system")
_SUSPECTS_OF_A_BROKEN_SERVER = ("n", "logprobs")

_AS_SUCH = re.compile(
    r"unsupported|deprecated|unrecogni[sz]ed|unknown|unexpected|extra inputs|extra fields"
    r"|additional propert|forbidden|no such|cannot find|removed|mutually exclusive"
    r"|not (?:be )?(?:supported|allowed|compatible|permitted|accepted|available|implemented"
    r"|enabled|recogni[sz]ed|a valid)|(?:n[o']t|cannot) (?:support|accept|allow|take|use)"
    r"|cannot both|only (?:the )?default|only (?:be set to )?1\b|use ['\"`]?max_|one of",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"\brange\b|\btoo (?:high|low|large|small|big|long|many)|\bat (?:most|least)\b|\bbetween\b"
    r"|(?:less|greater|higher|lower|more|smaller|larger) than|\bmaximum\b|\bminimum\b|exceed"
    r"|[<>≤≥]=?|\bmust be (?!omitted|unset|null|none|removed|1(?:\.0)?\b)",
    re.IGNORECASE,
)
_ONE_OF_TWO = re.compile(r"cannot both|both .{0,30}(?:specified|set|given)|mutually", re.IGNORECASE)
# What no field can be the cause of.
_NO_FIELD = re.compile(
    r"context|too long|too many|too large|\blength\b|\bsize\b|\btokens? (?:limit|count)|polic"
    r"|filter|safety|moderat|billing|credit|quota|balance|api[\s_-]?key|license|permission"
    r"|model .{0,60}(?:not|exist|unknown|invalid)|(?:no|unknown|invalid) model|not found",
    re.IGNORECASE,
)

_SOME_FIELD = re.compile(
    rf"(?:{_AS_SUCH.pattern}).{{0,60}}\b(?:parameter|field|argument|option|propert)"
    rf"|\b(?:parameter|field|argument|option|propert).{{0,60}}(?:{_AS_SUCH.pattern})",
    re.IGNORECASE,
)
"""What tells that a field is refused, if not which one."""

Send = Callable[[dict[str, Any], bool], Awaitable[dict[str, Any]]]
MakeBody = Callable[[Collection[str]], dict[str, Any]]


class Refusals:
    """The fields that one model refused, with thinking and without it apart.

    Many models take temperature, top_p and log-probabilities only as long as they do not think.

    Args:
        model: the model's name, for the log.

    Attributes:
        most_top: how many likely tokens the server tells at most, as far as it has shown.
        least: which of the ways to ask for no thinking is the first that it takes.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._fields: set[tuple[str, bool]] = set()
        self.most_top = 20  # the most that OpenAI allows
        self.least = 0

    async def ask(
        self,
        body_without: MakeBody,
        send: Send,
        *,
        thinks: bool,
        ways: Sequence[Mapping[str, Any]] = ({},),
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns an answer and the request that it answers, made without what is refused.

        Args:
            body_without: makes the request without these fields.
            send: sends it; is told whether to try again where the server is broken.
            thinks: whether the answer is to be thought about.
            ways: the ways to say how much is to be thought, of which `least` is the one in use.

        Raises:
            RefusedError: the first one, if nothing that can be left out is to blame.
        """
        first: RefusedError | None = None
        suspects: list[str] = []
        while True:
            body = body_without(self.refused_fields(thinks=thinks) | set(suspects))
            try:
                answer = await send(body, not suspects)
            except RefusedError as error:
                first = first or error
                given_up = self.refused_fields(thinks=thinks) | set(suspects)
                if body_without(given_up) != body:  # a call beside this one has learned it
                    first = None
                    suspects.clear()
                    continue
                if self._think_less(error, ways):
                    continue
                sent = _sent(body) - given_up
                if self._fewer_top(error, body):
                    continue
                if name := blamed(error, sent):
                    self._give_up(name, thinks=thinks)
                    continue
                suspect = _next_suspect(first, sent)
                if suspect is None:
                    raise first from None
                suspects.append(suspect)
                continue
            if suspects and first is not None and first.status < 500:  # else it may be chance
                self._give_up(suspects[-1], thinks=thinks)
            return answer, body

    def refused_fields(self, *, thinks: bool) -> set[str]:
        """The fields that are not to be sent."""
        return {name for name, when in self._fields if when == thinks}

    def refused(self, name: str, *, thinks: bool) -> bool:
        """Whether this field is not to be sent."""
        return (name, thinks) in self._fields

    def capabilities(self, claimed: Capabilities) -> Capabilities:
        """Returns what is claimed, less what was refused."""
        gone = self.refused_fields(thinks=False)
        return dataclasses.replace(
            claimed,
            temperature="temperature" not in gone,
            top_p="top_p" not in gone,
            log_probs=claimed.log_probs and "logprobs" not in gone,
            parallel_samples=claimed.parallel_samples and "n" not in gone,
        )

    def _give_up(self, name: str, *, thinks: bool) -> None:
        if (name, thinks) in self._fields:
            return
        self._fields.add((name, thinks))
        when = " while it thinks" if thinks else ""
        instead = _FIELDS[name].instead
        _log.warning("model %s refuses %s%s; from now on %s", self._model, name, when, instead)

    def _think_less(self, error: RefusedError, ways: Sequence[Mapping[str, Any]]) -> bool:
        """Whether it is a way to ask for no thinking that is refused, and there is another one."""
        if self.least + 1 >= len(ways):
            return False
        named = any(name in error.reason or name in error.places for name in ways[self.least])
        self.least += named
        return named

    def _fewer_top(self, error: RefusedError, body: Mapping[str, Any]) -> bool:
        """Whether only the number of likely tokens is refused; then fewer are asked for."""
        asked = body.get("top_logprobs")
        found = re.search(r"top[\s_]?log[\s_-]?probs", error.reason, re.IGNORECASE)
        if not asked or not found or not _RANGE.search(error.reason):
            return False
        allowed = [int(number) for number in re.findall(r"\b\d{1,2}\b", error.reason)]
        fewer = max((number for number in allowed if 0 < number < asked), default=0)
        self.most_top = min(self.most_top, fewer or asked)
        return bool(fewer)


def blames_a_field(reason: str, places: tuple[str, ...], body: Mapping[str, Any]) -> bool:
    """Whether a refusal names a field of the request, so that the same one is refused again."""
    return blamed(RefusedError("", reason, places=places), _sent(body)) is not None


def blamed(error: RefusedError, sent: Collection[str]) -> str | None:
    """Returns which of the fields that were sent a refusal is about; None if about none."""
    ranged = _RANGE.search(error.reason) and not _AS_SUCH.search(error.reason)
    able = [name for name in _FIELDS if name in sent and not (ranged and _FIELDS[name].exact)]
    placed = [name for name in able if _FIELDS[name].places & set(error.places)]
    if placed:
        return _first_removed(placed, sent)
    found = {name: match for name in able if (match := _FIELDS[name].words.search(error.reason))}
    if not found:
        return None
    if _ONE_OF_TWO.search(error.reason):
        return next(iter(found))
    # A message may list what is allowed; what it complains of comes first.
    return _first_removed(sorted(found, key=lambda name: found[name].start()), sent)


def _first_removed(names: list[str], sent: Collection[str]) -> str:
    """A system message that is marked for the cache is no plain text: the mark goes first."""
    return "cache_control" if names[0] == "system" and "cache_control" in sent else names[0]


def _next_suspect(error: RefusedError, sent: Collection[str]) -> str | None:
    """The next field to leave out, where a refusal does not say which."""
    if _NO_FIELD.search(error.reason) and not _SOME_FIELD.search(error.reason):
        return None
    if any(_FIELDS[name].words.search(error.reason) for name in sent if _FIELDS[name].exact):
        return None  # a value out of range
    able = _SUSPECTS_OF_A_BROKEN_SERVER if error.status >= 500 else _SUSPECTS
    return next((name for name in able if name in sent), None)


def _sent(body: Mapping[str, Any]) -> set[str]:
    """The fields of a request that can be done without."""
    found = {name for name, field in _FIELDS.items() if field.places & set(body)}
    found |= {name for name in _FIELDS if name in body.get("extra_body", ())}
    messages = body.get("messages", ())
    if any(message["role"] == "system" for message in messages):
        found.add("system")
    if "cache_control" in repr([body.get("system"), *(m["content"] for m in messages[-1:])]):
        found.add("cache_control")
    return found
