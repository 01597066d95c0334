"""The APIs that are measured."""

from __future__ import annotations

from amp.serve.dialect import AnthropicMessages, Dialect, OpenAIChat
from amp.serve.responses import OpenAIEmbeddings, OpenAIResponses

CHAT: Dialect = OpenAIChat()
MESSAGES: Dialect = AnthropicMessages()
RESPONSES: Dialect = OpenAIResponses()
EMBEDDINGS: Dialect = OpenAIEmbeddings()

DIALECTS: tuple[Dialect, ...] = (CHAT, MESSAGES, RESPONSES, EMBEDDINGS)
