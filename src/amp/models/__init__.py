"""Language models: one protocol, and a back end a file."""

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
