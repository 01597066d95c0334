"""Language models: one protocol, and a back end a file.

`base` has the protocol. The back ends are `llamacpp` (with `llamacpp_server`), `transformers` (with
``transformers_*``), `openai` (with ``openai_*``), `anthropic`, and `scripted`; `recorded`
keeps and replays the answers of any of them (``recording*``). `registry` opens a model by its name,
`catalog` and `download` fetch it.

What the two APIs share, from the wire up: `connection` reaches a server, `replicas` chooses among
several, `breaker` keeps calls away from those that are gone, `sdk` asks, `reply` reads the bytes,
`refusals` learns what is refused, `answer_text` tells what is said from what is thought, `bill`
says what it cost, and `chat` makes the messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amp.models.base import (
    Capabilities,
    Completion,
    LanguageModel,
    LogProbs,
    Message,
    ModelCard,
    NextToken,
    Prompt,
    Request,
)
from amp.models.catalog import MODELS
from amp.models.registry import load_model
from amp.models.scripted import ScriptedModel, random_model
from amp.plugins import exported_later

if TYPE_CHECKING:
    from amp.models.anthropic import AnthropicModel
    from amp.models.llamacpp import LlamaCppModel
    from amp.models.openai import OpenAIModel
    from amp.models.recorded import RecordedModel
    from amp.models.recording import Recording
    from amp.models.transformers import TransformersModel

__all__ = [
    "MODELS",
    "AnthropicModel",
    "Capabilities",
    "Completion",
    "LanguageModel",
    "LlamaCppModel",
    "LogProbs",
    "Message",
    "ModelCard",
    "NextToken",
    "OpenAIModel",
    "Prompt",
    "RecordedModel",
    "Recording",
    "Request",
    "ScriptedModel",
    "TransformersModel",
    "load_model",
    "random_model",
]

__getattr__ = exported_later(
    __name__,
    {
        "anthropic": ("AnthropicModel",),
        "llamacpp": ("LlamaCppModel",),
        "openai": ("OpenAIModel",),
        "recorded": ("RecordedModel",),
        "recording": ("Recording",),
        "transformers": ("TransformersModel",),
    },
)
