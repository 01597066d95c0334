"""Pieces of GBNF, the grammar notation of llama.cpp."""

from __future__ import annotations

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def literal(text: str) -> str:
    """Returns the GBNF terminal that matches exactly this text.

    Raises:
        ValueError: if the text is empty, holds the NUL character, or is no valid Unicode; no
            grammar can match these.
    """
    if not text or "\0" in text:
        raise ValueError(f"text {text!r} cannot be a grammar literal: empty, or holds NUL")
    text.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, which is a ValueError
    return '"' + "".join(_ESCAPES.get(c) or _control(c) for c in text) + '"'


def only(text: str) -> str:
    """Returns the grammar whose one sentence is this text."""
    return f"root ::= {literal(text)}"


def _control(character: str) -> str:
    """Other control characters would end the terminal or be dropped; they are written as codes."""
    code = ord(character)
    return f"\\x{code:02X}" if code < 0x20 or code == 0x7F else character
