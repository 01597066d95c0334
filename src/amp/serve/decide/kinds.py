"""Of what kind a call is, without any of its content.

A kind is who calls and where it stands: the system's prompt and the tools as a hash, and whether
the call begins, goes on, follows a tool or follows a failure.
"""

from __future__ import annotations

from collections.abc import Collection

from amp.serve.decide.conversation import Conversation

ANY_CALLER = "*"
"""In a kind, for all callers of whom too few calls are known."""

_STANDS = ("begins", "goes on", "after a tool", "after a failure")


def kind_of(conversation: Conversation) -> str:
    """The kind of a call, such as ``3f9a01c2/after a tool``."""
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
