"""Prices come from the table that ships with AMP or from the user's, and mistakes are named."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amp.cost import dollars, is_priced
from amp.errors import InvalidInputError
from amp.models import catalog, registry
from amp.models.base import ModelCard
from amp.models.registry import TokenPrice, load_model
from amp.settings import load_settings
from amp.types import Usage

OWN = """
[openai."gpt-4.1-mini"]
prompt = 9
cached = 8.5
completion = 7.0
reasoning = 6.0
"""
amounts = st.floats(0, 1e4)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "my-prices.toml"
    path.write_text(OWN)
    return path


def test_the_shipped_table_prices_models_of_both_apis_sensibly() -> None:
    table = registry.shipped_prices()
    assert {provider for provider, _ in table.models} == {"openai", "anthropic"}
    for price in (*table.models.values(), *table.reference):
        assert 0 < price.cached < price.prompt <= price.completion


@given(amounts, amounts, amounts, st.none() | amounts)
def test_a_written_table_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    prompt: float,
    cached: float,
    completion: float,
    reasoning: float | None,
) -> None:
    lines = [f"prompt = {prompt!r}", f"cached = {cached!r}", f"completion = {completion!r}"]
    if reasoning is not None:
        lines.append(f"reasoning = {reasoning!r}")
    path = tmp_path_factory.mktemp("prices") / "prices.toml"
    path.write_text("\n".join(['[anthropic."a.b"]', *lines]))
    assert registry.read_prices(path).models == {
        ("anthropic", "a.b"): TokenPrice(prompt, cached, completion, reasoning)
    }


def test_the_users_table_wins_and_the_shipped_one_fills_the_rest(own: Path) -> None:
    assert registry.find_price("openai", "gpt-4.1-mini", own) == TokenPrice(9.0, 8.5, 7.0, 6.0)
    shipped = registry.find_price("openai", "gpt-4.1")
    assert registry.find_price("openai", "gpt-4.1", own) == shipped is not None
    assert registry.find_price("anthropic", "gpt-4.1-mini", own) is None


def test_a_server_of_ones_own_has_no_shipped_price(own: Path) -> None:
    assert registry.find_price("openai", "gpt-4.1", own_only=True) is None
    assert registry.find_price("openai", "gpt-4.1", own, own_only=True) is None
    assert registry.find_price("openai", "gpt-4.1-mini", own, own_only=True) is not None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prompt =", r"my-prices.toml is not TOML"),
        ("[opnai.m]", r"unknown key 'opnai'; did you mean 'openai'"),
        ("openai = 3", r"my-prices.toml: openai is 3, expected a table"),
        ("[openai]\nm = 3", r"openai.m is 3, expected a table"),
        ("[openai.m]\nprompt = 1\ncached = 1", r"openai.m.completion is missing"),
        ("[openai.m]\npromt = 1", r"unknown key 'openai.m.promt'; did you mean 'prompt'"),
        ("[openai.gpt-4.1]\nprompt = 1", r"a name with a dot needs quotes"),
        ("[openai.m]\nprompt=-1\ncached=1\ncompletion=1", r"prompt is -1, expected at least 0"),
        ("[openai.m]\nprompt=nan\ncached=1\ncompletion=1", r"prompt is nan, expected"),
        ("[openai.m]\nprompt=inf\ncached=1\ncompletion=1", r"prompt is inf, expected"),
        ("[openai.m]\nprompt=1\ncached=true\ncompletion=1", r"cached is True, expected a number"),
        ("reference = 3", r"my-prices.toml: reference is 3, expected a table"),
        ("[reference.s]\nprompt=1\ncached=1\ncompletion=1", r"reference.s.parameters is missing"),
        ("[openai.m]\nprompt=1\ncached=1\ncompletion='2'", r"completion is '2', expected a num"),
    ],
)
def test_a_malformed_table_is_told_by_file_model_and_field(
    tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "my-prices.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=named) as caught:
        registry.find_price("openai", "m", path)
    assert "my-prices.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none.toml cannot be read"):
        registry.find_price("openai", "m", tmp_path / "none.toml")


def test_the_table_is_a_setting(tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("amp.toml").write_text('prices = "my-prices.toml"\n')
    assert load_settings().prices == Path("my-prices.toml")
    monkeypatch.setenv("AMP_PRICES", str(own))
    assert load_settings().prices == own


def test_a_loaded_model_carries_its_price(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    usage = Usage(prompt_tokens=10**6, completion_tokens=10**6, reasoning_tokens=10**6)
    shipped = load_model("openai:gpt-4.1-mini", api_key="k").card
    assert dollars(usage, shipped) == pytest.approx(0.4 + 1.6)
    official = load_model("openai:gpt-4.1-mini", api_key="k", base_url="https://api.openai.com/v1")
    assert official.card == shipped
    priced_by_user = load_model("openai:gpt-4.1-mini", api_key="k", prices=own).card
    assert dollars(usage, priced_by_user) == pytest.approx(9.0 + 6.0)


def test_a_model_of_unknown_price_says_so_once_it_is_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_model("openai:gpt-4.1-mini", base_url="http://127.0.0.1:9/v1")
    assert "no price known for model openai:gpt-4.1-mini" in caplog.text
    assert not is_priced(model.card)
    assert dollars(Usage(prompt_tokens=100), model.card) == 0.0


def test_a_model_that_cannot_be_opened_has_no_price_to_speak_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for model in ("openai:nobody", "anthropic:nobody"):
        with pytest.raises(InvalidInputError, match="KEY"):
            load_model(model)
    assert "no price" not in caplog.text


def test_local_models_cost_nothing_and_say_so() -> None:
    for model in catalog.MODELS.values():
        assert is_priced(model.card)
        assert dollars(Usage(prompt_tokens=10, completion_tokens=10), model.card) == 0.0


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b"),
        ("openai:llama3:8b", "llama3:8b"),
        ("anthropic:claude-x", "claude-x"),
        ("transformers:Qwen/Qwen3", "Qwen/Qwen3"),
        ("transformers:smollm2-135m", "smollm2-135m"),
        ("nowhere/tiny.v2.gguf", "tiny.v2"),
        ("random", "random"),
    ],
)
def test_a_model_is_called_as_it_is_loaded_and_not_otherwise(name: str, card: str) -> None:
    assert registry.is_called(ModelCard(card), name)
    assert not registry.is_called(ModelCard(f"{card}x"), name)
    assert not registry.is_called(ModelCard("other"), name)


def test_weights_of_the_catalog_are_called_by_any_file_that_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    assert registry.is_called(ModelCard("mine"), str(tmp_path / "mine.gguf"))
    known = catalog.MODELS["smollm2-135m"]
    monkeypatch.setattr(registry, "sha256_of", lambda path: known.file.sha256)
    assert registry.is_called(known.card, str(tmp_path / "mine.gguf"))
    assert not registry.is_called(ModelCard("mine"), str(tmp_path / "mine.gguf"))
