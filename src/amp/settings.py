"""Settings: what a person sets once. Options of a command win over the environment (AMP_MODEL and
so on), the environment over amp.toml in the current directory, the file over the defaults here.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from amp.errors import InvalidInputError

SETTINGS_FILE = "amp.toml"


class Settings(BaseSettings):
    """What can be set.

    Attributes:
        model: name in the catalog, path of a gguf file, ``openai:NAME``, ``anthropic:NAME`` or
            ``transformers:NAME``.
        data: directory of the benchmarks' data.
        base_url: server of an ``openai:`` or ``anthropic:`` model; None for the provider's own.
        api_key: its key; servers on this machine need none.
        prefix: whether that server continues an assistant's last message, as llama.cpp's does;
            where it does not, it is asked to in words.
        thinking: how that server takes a budget of native thinking: ``effort``, ``adaptive`` or
            ``budget`` (`amp.models.chat`); None not at all.
        threads: threads of a local model; None for all cores.
        context_tokens: longest prompt and answer together of a local model.
        prices: table of what models cost, which wins over the one that comes with AMP; its form
            stands in `amp/data/prices.toml`.
    """

    model_config = SettingsConfigDict(
        env_prefix="AMP_", toml_file=SETTINGS_FILE, extra="forbid", env_ignore_empty=True
    )

    model: str = "qwen2.5-coder-1.5b"
    data: Path | None = None
    base_url: str | None = None
    api_key: SecretStr | None = None
    prefix: bool = False
    thinking: str | None = None
    threads: int | None = Field(default=None, ge=1)
    context_tokens: int = Field(default=8192, ge=256)
    prices: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings() -> Settings:
    """Reads the settings.

    Raises:
        InvalidInputError: for a file that is no TOML, an unknown key or a wrong value; names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(sorted(Settings.model_fields))
        raise InvalidInputError(f"setting {name!r}: {first['msg']} (settings: {known})") from None
    except ValueError as error:
        raise InvalidInputError(f"{SETTINGS_FILE} is no TOML: {error}") from None
