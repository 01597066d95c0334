"""What the gateway is told: section ``[serve]`` of ``amp.toml``, and what is made of it.

    [serve]
    max_concurrent = 200

    [serve.upstreams.openai]
    url = "https://api.openai.com/v1"
    key_env = "OPENAI_API_KEY"
    models = ["gpt-*"]

    [serve.upstreams.spare]
    url = "https://spare.example/v1"
    key_env = "SPARE_KEY"
    rename = {"gpt-5.4" = "gpt-5-4-eu"}

    [[serve.routes]]
    model = "gpt-5.4"
    upstreams = ["openai", "spare"]

No secret stands in the file: keys are read from the variables that it names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from amp.errors import InvalidInputError, did_you_mean
from amp.models.connection import clean_key, read_address
from amp.serve.decide.base import MOST_SAMPLES, CallArm
from amp.serve.exchange import Bounds
from amp.serve.traffic.writer import Keep, Watching
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.trying import Patience
from amp.serve.upstreams.upstream import Api, UpstreamConfig
from amp.settings import (
    AccountsPlace,
    Config,
    FilePath,
    Settings,
    checked,
    in_folder,
    in_redis,
    read_toml,
)
from amp.telemetry import Telemetry

SECTION = "serve"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

_POLICIES = ("pass", "rules")
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """What `amp serve` is told.

    Attributes:
        upstreams: the servers behind, in the order in which they are asked.
        routes: which of them answer for which models.
        host: address to listen at.
        port: the same.
        bounds: what the gateway takes on.
        patience: how long a call goes on.
        prices: the user's price table.
        drain_seconds: how long calls under way may go on after SIGTERM.
        explain: is told each decision in a line; None for nobody.
        watching: which traffic is kept; None for none.
        telemetry: which spans are written; None for none.
    """

    upstreams: Sequence[UpstreamConfig]
    routes: Sequence[Route] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    bounds: Bounds = field(default_factory=Bounds)
    patience: Patience = field(default_factory=Patience)
    prices: Path | None = None
    drain_seconds: int = 30
    explain: Callable[[str], None] | None = None
    watching: Watching | None = None
    telemetry: Telemetry | None = None


def _address(url: str, info: ValidationInfo) -> str:
    try:
        address = read_address(url)
    except InvalidInputError as error:
        raise ValueError(str(error)) from None
    is_in_file = info.context is not None
    if is_in_file and any((address.login, *address.keys, *address.passwords)):
        raise ValueError(
            "the address holds a key or a login, expected none in a file; name a variable with"
            " key_env"
        )
    return url


def _arm(text: str) -> str:
    try:
        CallArm.read(text)
    except InvalidInputError as error:
        raise ValueError(str(error)) from None
    return text


def _policy(text: str, info: ValidationInfo) -> str:
    if text in _POLICIES or info.context is None:
        return text
    return str(in_folder(Path(text), info))


_Arm = Annotated[str, AfterValidator(_arm)]
_Policy = Annotated[str, AfterValidator(_policy)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class UpstreamSection(Config):
    """``[serve.upstreams.NAME]``: one server behind the gateway.

    Attributes:
        url: its address, as clients of its API are given it.
        key_env: the variable with the gateway's key there.
        passes_keys: whether it is sent the clients' keys, if there is no ``key_env``; if left out,
            where it is the only upstream and the gateway has no accounts.
        api: what it speaks; if left out, what its host is known for, else both.
        timeout_seconds: how long it may say nothing.
        connect_seconds: how long it may take to be reached.
        models: names that it has, or patterns such as ``gpt-*``; all, if left out.
        rename: what it calls a model, by the name that clients ask for.
        prices: its own table of prices.
        free: whether it costs nothing.
    """

    url: Annotated[str, AfterValidator(_address)]
    key_env: str = ""
    passes_keys: bool | None = None
    api: Api | None = None
    timeout_seconds: _Seconds = 600.0
    connect_seconds: _Seconds = 10.0
    models: tuple[str, ...] = ()
    rename: dict[str, str] = Field(default_factory=dict)
    prices: FilePath | None = None
    free: bool = False


class RouteSection(Config):
    """``[[serve.routes]]``: what happens to the calls of some models; the first that fits counts.

    Attributes:
        model: a name of a model, one of your own such as ``amp/cheap``, or a pattern.
        upstreams: names of those that answer, in order; all that have the model, if left out.
        policy: what decides: ``pass``, ``rules`` or the path of a policy file.
        arms: what may be decided for, such as ``gpt-5-mini@low``.
        samples: the most answers that may vote.
    """

    model: Annotated[str, Field(min_length=1)]
    upstreams: tuple[str, ...] = ()
    policy: _Policy = "pass"
    arms: tuple[_Arm, ...] = ()
    samples: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] = 1


class ServeSection(Config):
    """``[serve]``: what `amp serve` does where its options do not say otherwise.

    Attributes:
        host: address to listen at; ``0.0.0.0`` serves other machines, too.
        port: the same.
        accounts: the file of the keys that clients need, or ``redis://HOST:PORT/NUMBER``; none are
            needed, if left out.
        operator: name of the key that sees what all keys spend and get; the others see their own.
        max_concurrent: calls at the same time; one more is told to come back.
        max_request_mb: largest request.
        request_seconds: in which a request has to arrive.
        drain_seconds: how long calls may go on after SIGTERM.
        retries: how often the upstreams of a call are asked again.
        longest_wait_seconds: of a pause that an upstream asks for before that.
        breaker_failures: of an upstream in a row, after which calls stay away from it.
        breaker_seconds: for which they do, at first.
        policy: what decides where no route does: ``pass``, ``rules`` or the path of a policy file.
        arms: what it may decide for, such as ``gpt-5-mini@low``.
        explain: whether each decision is printed in a line.
        traffic: the file in which calls are kept, as hashes and figures, to learn from.
        keep_content: whether requests and answers are kept there, too.
        traffic_days: after so many, calls are forgotten.
        traffic_mb: of that file, beyond which the oldest are forgotten.
        shadow: share of the calls that another arm is asked, too; the key ``shadow`` pays.
        upstreams: the servers behind, by name, in the order in which they are asked.
        routes: which of them answer for which models.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    accounts: AccountsPlace | None = None
    operator: str = ""
    max_concurrent: Annotated[int, Field(ge=1)] = 512
    max_request_mb: Annotated[float, Field(ge=0.001, allow_inf_nan=False)] = 32.0
    request_seconds: _Seconds = 60.0
    drain_seconds: Annotated[int, Field(ge=0)] = 30
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    longest_wait_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    breaker_seconds: _Seconds = 5.0
    policy: _Policy = "pass"
    arms: tuple[_Arm, ...] = ()
    explain: bool = False
    traffic: FilePath | None = None
    keep_content: bool = False
    traffic_days: Annotated[float, Field(ge=0.01, allow_inf_nan=False)] = 30.0
    traffic_mb: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 1000.0
    shadow: Annotated[float, Field(ge=0, le=1)] = 0.0
    upstreams: dict[str, UpstreamSection] = Field(default_factory=dict)
    routes: tuple[RouteSection, ...] = ()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name in self.upstreams:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"an upstream is called {name[:80]!r}, expected letters, digits, '.', '_', '-'"
                )
        known = list(self.upstreams)
        for number, route in enumerate(self.routes):
            for name in route.upstreams:
                if name not in known:
                    raise ValueError(
                        f"routes.{number}.upstreams names {name!r}{did_you_mean(name, known)}"
                        f" (upstreams: {', '.join(known) or 'none is given'})"
                    )
        passing = [name for name, each in self.upstreams.items() if each.passes_keys]
        if passing and self.accounts is not None:
            raise ValueError(
                f"upstreams.{passing[0]}.passes_keys is true, expected false where there are"
                " accounts: keys of the gateway are nobody else's business"
            )
        if self.operator and self.accounts is None:
            raise ValueError(
                f"operator is {self.operator[:80]!r}, expected none where no key is needed; name"
                " the place of the keys with accounts"
            )
        for name in ("shadow", "keep_content"):
            if getattr(self, name) and self.traffic is None:
                raise ValueError(
                    f"{name} needs a file to keep it in, but traffic names none; name one"
                )
        return self

    def config(self, settings: Settings, say: Callable[[str], None] = print) -> ServeConfig:
        """What is made of it, with keys from the environment.

        Args:
            settings: those beside the section.
            say: is told decisions, if they are to be explained.

        Raises:
            InvalidInputError: if a variable that is to hold a key is not set.
        """
        alone = len(self.upstreams) == 1 and self.accounts is None
        return ServeConfig(
            [_upstream(name, each, alone) for name, each in self.upstreams.items()],
            [
                *(Route(**route.model_dump()) for route in self.routes),
                Route(policy=self.policy, arms=self.arms),
            ],
            self.host,
            self.port,
            Bounds(
                self.max_concurrent,
                round(self.max_request_mb * 1_000_000),
                self.request_seconds,
                local_only=self.host in LOOPBACK,
                operator=self.operator,
            ),
            Patience(
                self.retries,
                longest_wait_seconds=self.longest_wait_seconds,
                failures=self.breaker_failures,
                rest_seconds=self.breaker_seconds,
            ),
            settings.prices,
            self.drain_seconds,
            say if self.explain else None,
            self._watching(self.accounts or settings.accounts),
            Telemetry.of(settings),
        )

    def _watching(self, accounts: str) -> Watching | None:
        if self.traffic is None:
            return None
        if self.shadow and in_redis(accounts):
            raise InvalidInputError(
                "shadow is paid from a file of accounts, but these are in Redis; leave it out"
            )
        keep = Keep(self.traffic_days, self.traffic_mb, self.keep_content)
        return Watching(self.traffic, keep, self.shadow, Path(accounts))


class _File(Config):
    serve: ServeSection = ServeSection()


def read_section(file: Path | None, options: Mapping[str, Any]) -> ServeSection:
    """The section of a settings file, with options of a command in place of what it says.

    Args:
        file: the ``amp.toml``; None for none.
        options: by name of the field.

    Raises:
        InvalidInputError: for an unknown key or a wrong value; names the file and the field.
    """
    said = {} if file is None else read_toml(file).get(SECTION, {})
    folder = None if file is None else file.parent
    section = checked(_File, {SECTION: said}, str(file or ""), folder).serve
    return checked(ServeSection, section.model_dump() | dict(options)) if options else section


def key_in(variable: str, where: str) -> str:
    """The key that a variable holds; empty for no variable.

    Raises:
        InvalidInputError: if it is not set.
    """
    if not variable:
        return ""
    key = clean_key(os.environ.get(variable, ""), variable)
    if not key:
        raise InvalidInputError(
            f"variable {variable} is not set ({where}), expected the upstream's key in it; set it,"
            " or name none"
        )
    return key


def _upstream(name: str, section: UpstreamSection, alone: bool) -> UpstreamConfig:
    passes = alone if section.passes_keys is None else section.passes_keys
    return UpstreamConfig(
        section.url,
        key_in(section.key_env, f"serve.upstreams.{name}.key_env"),
        passes_keys=passes,
        api=section.api,
        timeout_seconds=section.timeout_seconds,
        connect_seconds=section.connect_seconds,
        name=name,
        models=section.models,
        rename=section.rename,
        prices=section.prices,
        is_free=section.free,
    )
