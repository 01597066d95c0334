"""Networks in PyTorch, loaded once for the tests of this folder: a real one, and a tiny one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from amp.errors import MissingDependencyError
from amp.models import catalog
from amp.models.transformers import TransformersModel

SMOL = "smollm2-135m"


@pytest.fixture(scope="package")
def smol() -> Iterator[TransformersModel]:
    """SmolLM2 from its GGUF file, pulled if it is not on this machine."""
    try:
        path = catalog.resolve(SMOL)
    except MissingDependencyError:
        path = catalog.pull(SMOL, progress=lambda done, total: None)
    model = TransformersModel(path, threads=1, context_tokens=4096)
    yield model
    asyncio.run(model.close())


@pytest.fixture(scope="package")
def directory(smol: TransformersModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights with SmolLM2's tokenizer, in the format of transformers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = smol._text._tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny"
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="package")
def tiny(directory: Path) -> Iterator[TransformersModel]:
    model = TransformersModel(directory, device="cpu")
    yield model
    asyncio.run(model.close())
