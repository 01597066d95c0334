"""Configurations: how they are checked and read from TOML files, and the settings of a person.

Every configuration file goes through `load_toml`. Unknown keys are refused, relative paths are
relative to the file, and whatever is wrong is one line: file, field, what was found, what was
expected.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from amp.errors import InvalidInputError, did_you_mean
from amp.files import read_file

SETTINGS_FILE = "amp.toml"

_OTHER_VARIABLES = ("AMP_MODELS",)
"""What else is read of the environment: the folder of the local models."""

_log = logging.getLogger(__name__)

_DEEP_KEY = re.compile(r"\.(?:[\w-]{1,50}\.){100}")
_FORBID = ConfigDict(extra="forbid")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_LONGEST_FOUND = 80
_EXPECTED = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "frozen_set_type": "a list",
    "too_short": "at least {min_length}",
    "dict_type": "a table",
    "model_type": "a table",
    "dataclass_type": "a table",
    "literal_error": "{expected}",
}

Checked = TypeVar("Checked")


class Config(BaseModel):
    """Base of configurations: frozen, and strict about unknown keys.

    A wrong value is pydantic's ValidationError where one is made in Python; `checked` and
    `load_toml` tell it in one line.
    """

    model_config = _FORBID | ConfigDict(frozen=True, use_attribute_docstrings=True)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, checked as the first one was."""
        return self.model_validate(
            {name: getattr(self, name) for name in type(self).model_fields} | changes
        )


def in_folder(path: Path, info: ValidationInfo) -> Path:
    """A path in a configuration; in a file, a relative one is relative to the file."""
    if "\0" in str(path):
        raise ValueError("it holds a NUL, expected a path; leave that out")
    path = path.expanduser()
    return path if info.context is None else Path(info.context) / path


FilePath = Annotated[Path, AfterValidator(in_folder)]
"""A path in a configuration, as `in_folder` has it."""


def in_redis(place: str) -> bool:
    """Whether a place of accounts is the address of a Redis."""
    return place.startswith(("redis://", "rediss://"))


def _place_of_accounts(place: str, info: ValidationInfo) -> str:
    if not in_redis(place):
        return str(in_folder(Path(place), info))
    if info.context is not None and "@" in place:
        raise ValueError(
            "the address holds a password, expected none in a file; set AMP_ACCOUNTS instead"
        )
    return place


def _collector(address: str, info: ValidationInfo) -> str:
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"it is {address!r}, expected http://HOST:PORT or https://HOST:PORT")
    if info.context is not None and "@" in address:
        raise ValueError(
            "the address holds a password, expected none in a file; set OTEL_EXPORTER_OTLP_HEADERS"
        )
    return address


AccountsPlace = Annotated[str, AfterValidator(_place_of_accounts)]
"""A file of accounts as `FilePath`, or the address of a Redis that has them."""


def load_toml(kind: type[Checked], path: Path) -> Checked:
    """Reads a configuration from a TOML file.

    Args:
        kind: a `Config`, a dataclass, or a dictionary of such.
        path: the file.

    Raises:
        InvalidInputError: if there is no such file, it is not TOML, has an unknown key, or a value
            that does not fit; names the file and the field.
    """
    return checked(kind, read_toml(path), str(path), path.parent)


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file, unchecked.

    Raises:
        InvalidInputError: if there is no such file, or it is not TOML.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
        if _DEEP_KEY.search(text):  # tomllib takes minutes for a long one
            raise RecursionError
        return tomllib.loads(text)
    except RecursionError:
        raise InvalidInputError(f"{path} is nested too deeply, expected a few levels") from None
    except ValueError as error:  # a number of too many digits, too
        raise InvalidInputError(f"{path} is not TOML: {error}") from None


def checked(
    kind: type[Checked], values: Mapping[str, Any], source: str = "", folder: Path | None = None
) -> Checked:
    """A configuration from values as TOML and JSON have them: lists for sets, text for paths.

    Args:
        kind: a `Config`, a dataclass, or a dictionary of such.
        values: by name of the field.
        source: where they come from, for errors.
        folder: what relative paths are relative to; None to keep them.

    Raises:
        InvalidInputError: for an unknown key, or a value that does not fit.
    """
    own = isinstance(kind, type) and issubclass(kind, BaseModel)
    adapter: TypeAdapter[Checked] = TypeAdapter(kind, config=None if own else _FORBID)
    text = json.dumps(values, default=str)
    try:
        return adapter.validate_json(text, strict=True, context=folder)
    except ValidationError as error:
        message = explained(error, kind)
        raise InvalidInputError(f"{source}: {message}" if source else message) from None


def explained(error: ValidationError, kind: Any) -> str:
    """The first thing that is wrong, in one line; an unknown key comes first."""
    first = min(error.errors(), key=lambda each: each["type"] not in _UNKNOWN)
    place, sort, details = first["loc"], first["type"], first.get("ctx", {})
    of_unions = (part for part in place if "[str" not in str(part))  # pydantic names their members
    where = ".".join(map(str, of_unions))
    if place[-1:] == ("[key]",):
        names = re.findall(r"'([^']*)'", first["msg"])
        nearest = did_you_mean(str(first["input"]), names)
        return f"unknown key {first['input']!r}{nearest} (keys: {', '.join(names)})"
    if sort in _UNKNOWN:
        keys = sorted(_keys(kind, place[:-1]))
        dotted = isinstance(first["input"], dict) and len(place) > 1
        note = "; a name with a dot needs quotes" if dotted else ""
        nearest = did_you_mean(str(place[-1]), keys)
        return f"unknown key {where!r}{nearest} (keys: {', '.join(keys)}{note})"
    if sort == "missing":
        return f"{where} is missing"
    if sort == "value_error":
        message = str(details["error"])
        return f"{where}: {message}" if where else message
    if sort in _EXPECTED:
        expected = _EXPECTED[sort].format(**details)
    else:
        expected = first["msg"].removeprefix("Input should be ")
    nearest = did_you_mean(str(first["input"]), re.findall(r"'([^']*)'", expected))
    found = repr(first["input"])
    if len(found) > _LONGEST_FOUND:
        found = f"{found[:_LONGEST_FOUND]}..."
    return f"{where} is {found}, expected {expected}{nearest}"


def _keys(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at a place of a configuration."""
    for part in place:
        known = {name: hint for name, hint in _hints(kind).items() if name == part}
        kind = known.get(str(part)) or [each for each in get_args(kind) if each is not ...][-1]
    return list(_hints(kind))


def _hints(kind: Any) -> dict[str, Any]:
    """What a table's keys are to hold; nothing if it has no keys of its own."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return {name: field.annotation for name, field in one.model_fields.items()}
        if is_dataclass(one):
            return {field.name: field.type for field in fields(one)}
    return {}


Profile = Literal["speed", "balanced", "quality"]
"""What somebody wants of a trained policy, in a word (`amp.evaluate.config.PROFILES`)."""


class Settings(Config):
    """What a person sets once, in ``amp.toml`` (`settings_file`) or as ``AMP_MODEL`` and so on.

    Attributes:
        model: name in the catalog, path of a gguf file, ``openai:NAME``, ``anthropic:NAME`` or
            ``transformers:NAME``.
        data: directory of the benchmarks' data.
        base_url: server of an ``openai:`` or ``anthropic:`` model, or several with the same model,
            apart by commas (`amp.models.replicas`); None for the provider's own.
        api_key: its key; servers on this machine need none.
        prefix: whether that server continues an assistant's last message, as llama.cpp's does;
            where it does not, it is asked to in words.
        thinking: how that server takes a budget of native thinking: ``effort``, ``adaptive`` or
            ``budget`` (`amp.models.chat`); None not at all.
        threads: threads of a local model; None for all cores.
        context_tokens: longest prompt and answer together of a local model.
        prices: table of what models cost, which wins over the one that comes with AMP; its form
            stands in `amp/data/prices.toml`.
        sandbox: what stands around programs that the model wrote: ``local``, ``bwrap``, ``docker``,
            ``docker:IMAGE`` or ``unsafe`` (`amp.execute.sandbox`).
        profile: how trained policies trade success against cost where a command does not say;
            None for what each was made for.
        accounts: file of the gateway's keys and of what they spent, or ``redis://HOST:PORT/NUMBER``.
        otel: whether runs and the gateway write spans for OpenTelemetry (`amp.telemetry`): ``off``,
            ``on``, or ``content``, with the texts of tasks, models and tools.
        otel_endpoint: where they go, such as ``http://localhost:4318``; the standard ``OTEL_...``
            variables win, and say all else of them.
        serve: what `amp serve` does (`amp.serve.config.ServeSection`, which checks it).
    """

    model: str = "qwen2.5-coder-1.5b"
    data: FilePath | None = None
    base_url: str | None = None
    api_key: SecretStr | None = None
    prefix: bool = False
    thinking: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    context_tokens: Annotated[int, Field(ge=256)] = 8192
    prices: FilePath | None = None
    sandbox: str = "local"
    profile: Profile | None = None
    accounts: AccountsPlace = "accounts.sqlite"
    otel: Literal["off", "on", "content"] = "off"
    otel_endpoint: Annotated[str, AfterValidator(_collector)] | None = None
    serve: dict[str, Any] = Field(default_factory=dict)


def settings_file() -> Path | None:
    """The ``amp.toml`` that counts here: of this directory, or else of the nearest one above it.

    One above it that belongs to another user is not read, since it could name a server for the key
    of this one.

    Raises:
        InvalidInputError: if this directory was removed.
    """
    try:
        here = Path.cwd()
    except OSError as error:
        raise InvalidInputError(f"this directory cannot be read: {error.strerror}") from None
    for folder in (here, *here.parents):
        file = folder / SETTINGS_FILE
        if not file.exists():
            continue
        if folder == here:
            return Path(SETTINGS_FILE)
        if file.stat().st_uid in (os.geteuid(), 0):
            return file
        _note(f"{file} belongs to another user and is not read; copy what you want of it")
    return None


@cache
def _note(text: str) -> None:
    """Logs a warning once."""
    _log.warning("%s", text)


def load_settings() -> Settings:
    """Reads the settings.

    Options of a command win over the environment, the environment over the `settings_file`, the
    file over the defaults. A variable ``AMP_...`` that is none of them is named in the log.

    Raises:
        InvalidInputError: for a file that is not TOML, an unknown key or a wrong value; names it.
    """
    file = settings_file()
    settings = Settings() if file is None else load_toml(Settings, file)
    known = [f"AMP_{name.upper()}" for name in Settings.model_fields]
    for variable in sorted(os.environ):
        if variable.startswith("AMP_") and variable not in (*known, *_OTHER_VARIABLES):
            nearest = did_you_mean(variable, known)
            _note(f"variable {variable} is no setting{nearest} (settings: {', '.join(known)})")
    for name in Settings.model_fields:
        variable = f"AMP_{name.upper()}"
        if text := os.environ.get(variable):
            try:
                settings = settings.replace(**{name: text})
            except ValidationError as error:
                message = explained(error, Settings).removeprefix(name)
                raise InvalidInputError(variable + message) from None
    return settings
