"""From chats to tokens and back: the chat template, the seams, what each token reads.

A token's text depends on what stands before it (many tokenizers drop the blank at the start of a
text), so tokens are always decoded as the continuation of an ordinary word.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amp.errors import InvalidInputError
from amp.models.base import FinishReason, Prompt
from amp.models.chat import as_messages

# Stands for the assistant's text in the template. The text itself would not do: templates trim it,
# and a short one is found elsewhere in the chat, too.
_MARK = "TextOfTheAssistant"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the tokens of a model read.

    Attributes:
        texts: all different texts, the empty one first.
        groups: for each token the index of its text.
    """

    texts: tuple[str, ...]
    groups: list[int]


class ChatText:
    """Templates and tokens of one model.

    Args:
        tokenizer: a tokenizer of transformers.
        name: the model's name, for messages.
        ends: tokens that end an answer. What the template writes after an answer ends it, too.

    Raises:
        InvalidInputError: if the model has no chat template.
    """

    def __init__(self, tokenizer: Any, name: str, ends: frozenset[int]) -> None:
        if not tokenizer.chat_template:
            raise InvalidInputError(
                f"model {name} has no chat template, as base models have none;"
                " take one that is tuned to instructions"
            )
        self._tokenizer = tokenizer
        self._name = name
        self._anchor: int = self.encode("a")[-1]
        self._anchor_text = self._decode_all([[self._anchor]])[0]
        self.ends = ends | self._turn_end()

    def prompt(self, prompt: Prompt) -> str:
        """Returns the text that the model reads; an assistant's last message is left open.

        Raises:
            InvalidInputError: if the template refuses the chat.
        """
        messages = as_messages(prompt, prefix=True)
        if messages[-1]["role"] != "assistant":
            return self._templated(messages, add_generation_prompt=True)
        prefix = messages.pop()["content"]
        return self._around_answer(messages)[0] + prefix

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a text; names of control tokens in it are those tokens."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns what the tokens add to a text; control tokens add nothing."""
        return self._decode_all([[self._anchor, *tokens]])[0].removeprefix(self._anchor_text)

    def continuation(self, prompt: str, continuation: str) -> list[int]:
        """Returns the tokens of a continuation, as the model could generate them.

        The prompt's own tokens stay as they are: they never merge with the continuation's.

        Raises:
            InvalidInputError: if there are no tokens that read like this.
        """
        for head in (prompt, "", "\n"):
            before, whole = self.encode(head), self.encode(head + continuation)
            tokens = whole[len(before) :]
            if whole[: len(before)] == before and tokens and self.decode(tokens) == continuation:
                return tokens
        raise InvalidInputError(
            f"continuation {continuation!r} cannot be scored: {self._name} has no tokens that read"
            " like this; give an ordinary text that is not empty"
        )

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """What every token reads."""
        pairs = [[self._anchor, token] for token in range(len(self._tokenizer))]
        indices = {"": 0}
        groups = [
            indices.setdefault(text.removeprefix(self._anchor_text), len(indices))
            for text in self._decode_all(pairs)
        ]
        return Vocabulary(tuple(indices), groups)

    def _decode_all(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        texts: list[str] = self._tokenizer.batch_decode(
            sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    def _turn_end(self) -> frozenset[int]:
        after = self._around_answer([{"role": "user", "content": "a"}])[1]
        added = self._tokenizer.added_tokens_decoder
        tokens = self.encode(after.strip())[:1]
        return frozenset(token for token in tokens if token in added and added[token].special)

    def _around_answer(self, messages: list[dict[str, str]]) -> tuple[str, str]:
        """Returns what the template writes before and after an assistant's answer."""
        text = self._templated([*messages, {"role": "assistant", "content": _MARK}])
        before, found, after = text.rpartition(_MARK)
        if not found:
            raise InvalidInputError(
                f"the chat template of {self._name} leaves out the assistant's last message"
            )
        return before, after

    def _templated(self, messages: list[dict[str, str]], **options: bool) -> str:
        from jinja2 import TemplateError

        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, **options))
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            reason = " ".join(str(error).split())
            raise InvalidInputError(
                f"the chat template of {self._name} refuses the messages ({roles}): {reason}"
            ) from error


@dataclass(frozen=True, slots=True)
class Ending:
    """When an answer ends, and how much of what was generated is its text.

    Attributes:
        chat: the model's tokens.
        stop: strings that end the answer and are no part of it.
        cap: most tokens of an answer.
    """

    chat: ChatText
    stop: tuple[str, ...]
    cap: int

    def reason(self, tokens: Sequence[int]) -> FinishReason | None:
        """Returns why an answer ends with its last token, or None if it goes on."""
        if tokens[-1] in self.chat.ends:
            return "stop"
        if self.stop and self._cut(self.chat.decode(tokens)) is not None:
            return "stop"
        return "length" if len(tokens) >= self.cap else None

    def text(self, tokens: Sequence[int]) -> str:
        """Returns the answer without what ended it."""
        text = self.chat.decode(tokens)
        return text[: self._cut(text)]

    def kept(self, tokens: Sequence[int]) -> int:
        """Returns how many of the tokens are, at least in part, in the text."""
        count = len(tokens) - (tokens[-1:] != [] and tokens[-1] in self.chat.ends)
        length = len(self.text(tokens))
        if self._cut(self.chat.decode(tokens)) is None:
            return count
        while count and len(self.chat.decode(tokens[: count - 1])) >= length:
            count -= 1
        return count

    def _cut(self, text: str) -> int | None:
        """Returns where the first stop string begins, or None if there is none."""
        return min((at for at in map(text.find, self.stop) if at >= 0), default=None)
