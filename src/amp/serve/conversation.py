"""A conversation is an episode, a call a plan step: what a list of messages says about where it is.

Any API's messages are read into the same trail of tool calls and their results, and that into the
step that the CAM knows (`amp.assess`, `amp.allocate.behaviour`), so a conversation has the features
that any plan has. Content is only read: nothing in it is obeyed, carried out or kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
        short: whether a short answer is expected that votes can be counted on.
    """

    episode: str
    step: int = 0
    features: Mapping[str, float] = field(default_factory=dict, hash=False)
    prompt_tokens: int = 0
    answer_tokens: int = 0
    after_tool: bool = False
    short: bool = False
