"""The APIs that are measured."""

from __future__ import annotations

from amp.serve.dialects.base import AnthropicMessages, Dialect, OpenAIChat
from amp.serve.dialects.responses import OpenAIEmbeddings, OpenAIResponses

CHAT: Dialect = OpenAIChat()
MESSAGES: Dialect = AnthropicMessages()
RESPONSES: Dialect = OpenAIResponses()
EMBEDDINGS: Dialect = OpenAIEmbeddings()

DIALECTS: tuple[Dialect, ...] = (CHAT, MESSAGES, RESPONSES, EMBEDDINGS)
