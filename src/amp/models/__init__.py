"""Language models: one protocol, and a back end a file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_LATE = {
    "AnthropicModel": "anthropic",
    "LlamaCppModel": "llamacpp",
    "OpenAIModel": "openai",
    "RecordedModel": "recorded",
    "Recording": "recording",
    "TransformersModel": "transformers",
}


def __getattr__(name: str) -> Any:
    """Imports what is slow to import when it is used."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
