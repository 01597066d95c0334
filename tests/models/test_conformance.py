"""Every back end that runs without a GPU or a key keeps the promises of `LanguageModel`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.models.conformance import Conformance

from amp.models import catalog
from amp.models.anthropic import AnthropicModel
from amp.models.base import LanguageModel, Prompt
from amp.models.llamacpp import LlamaCppModel
from amp.models.openai import OpenAIModel
from amp.models.scripted import ALL_CAPABILITIES, ScriptedModel, tokens


class TestLlamaCpp(Conformance):
    exact_counts = True

    @pytest.fixture
    def model(self, smol: LlamaCppModel) -> LanguageModel:
        return smol

    @pytest.fixture
    def fresh(self, smol: LlamaCppModel) -> LanguageModel:
        return LlamaCppModel(catalog.resolve(smol.card.name), threads=1, context_tokens=512)


class TestOpenAI(Conformance):
    """Against llama.cpp's own HTTP server."""

    exact_counts = True

    @pytest.fixture
    async def model(self, smol: LlamaCppModel) -> AsyncIterator[LanguageModel]:
        model = OpenAIModel(
            "smol", base_url=f"{smol.address}/v1", api_key=smol.api_key, prefix=True, grammar=True
        )
        yield model
        await model.close()


class TestAnthropic(Conformance):
    """Against llama.cpp's own HTTP server, which speaks this API, too; seeds it has none."""

    seeded = False

    @pytest.fixture
    async def model(self, smol: LlamaCppModel) -> AsyncIterator[LanguageModel]:
        model = AnthropicModel("smol", base_url=smol.address, api_key=smol.api_key, prefix=True)
        yield model
        await model.close()


def _tale(prompt: Prompt, index: int) -> str:
    """A long answer that goes on after a prefix; every sample has its own."""
    if prompt.messages[1].content == "Say yes.":
        return "yes"
    text = f"In tale {index} " + "the cat sat on the mat and " * 300
    last = prompt.messages[-1]
    return text.removeprefix(last.content) if last.role == "assistant" else text


class TestScripted(Conformance):
    seeded = False
    exact_counts = True
    patience_seconds = 0.01

    @pytest.fixture
    def model(self) -> LanguageModel:
        return ScriptedModel(
            _tale,
            next_tokens=lambda prompt: {tokens(_tale(prompt, 0))[0]: 0.5, "no": 0.25, "yes": 0.25},
            capabilities=replace(ALL_CAPABILITIES, thinking_budget=True),
            delay_seconds=0.02,
        )
