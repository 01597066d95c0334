"""The command that serves: a gateway in front of a model, which measures every call."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.app import app
from amp.cli.terminal import say
from amp.errors import InvalidInputError, ModelError
from amp.models.connection import clean_key
from amp.settings import Settings, load_settings

if TYPE_CHECKING:
    from amp.models.llamacpp_server import LlamaServer
    from amp.serve.traffic import Keep, Watching

_SLOTS = 4
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@app.command()
def serve(
    upstream: Annotated[
        str,
        typer.Option(
            help="Server behind the gateway, as a client's base_url has it.", metavar="URL"
        ),
    ] = "",
    upstream_key_env: Annotated[
        str,
        typer.Option(
            help="Variable with the upstream's key; without it, the clients' keys are passed on.",
            metavar="NAME",
        ),
    ] = "",
    upstream_api: Annotated[
        str | None,
        typer.Option(
            help="What the upstream speaks: openai, anthropic, both, or of OpenAI's two APIs one"
            " alone: chat or responses. Clients of another API are translated.",
            metavar="API",
        ),
    ] = None,
    accounts: Annotated[
        Path | None,
        typer.Option(help="Clients need a key of this file (amp keys), and keep to its limits."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that may be asked for; several times. All, if left out. Without"
            " --upstream, the one on this machine that is served."
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="What decides: pass gives what was asked for, rules chooses effort first, else a"
            " file of amp train --from-traffic. Routes of their own win."
        ),
    ] = "pass",
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="What may be decided for: MODEL, MODEL@EFFORT or MODEL@EFFORT xN; several times."
            " The model that is asked for at three efforts, if left out.",
            metavar="ARM",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print each decision in a line.")
    ] = False,
    replay: Annotated[
        Path | None,
        typer.Option(help="A recording (amp record) to serve as an offline model, for tests."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 serves other machines, too.")
    ] = "127.0.0.1",
    max_concurrent: Annotated[
        int, typer.Option(min=1, help="Calls at the same time; one more is told to come back.")
    ] = 512,
    max_request_mb: Annotated[float, typer.Option(min=0.001, help="Largest request.")] = 32.0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that the upstream may say nothing.")
    ] = 600.0,
    drain: Annotated[
        int, typer.Option(min=0, help="Seconds that calls may go on after SIGTERM.")
    ] = 30,
    traffic: Annotated[
        Path | None,
        typer.Option(
            help="Keep calls in this file, as hashes and figures, to learn from (amp train"
            " --from-traffic)."
        ),
    ] = None,
    keep_content: Annotated[
        bool, typer.Option("--keep-content", help="Keep requests and answers there, too.")
    ] = False,
    traffic_days: Annotated[
        float, typer.Option(min=0.01, help="Forget calls after so many days.")
    ] = 30.0,
    traffic_mb: Annotated[
        float, typer.Option(min=0.1, help="Forget the oldest beyond this size.")
    ] = 1000.0,
    shadow: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the calls that another arm is asked, too; the key shadow pays (amp keys"
            " add shadow --dollars-per-day 5).",
        ),
    ] = 0.0,
    check: Annotated[
        bool, typer.Option("--check", help="Check what was said, reach the upstream, and end.")
    ] = False,
) -> None:
    """Serve the OpenAI and Anthropic APIs in front of a model: measure calls, and decide them."""
    if not upstream and len(model or ()) > 1:
        raise InvalidInputError(
            f"--model names {len(model or ())} models, expected one where there is no --upstream"
        )
    if replay is not None and (upstream or model):
        raise InvalidInputError(
            "--replay names the model and stands for the server; leave --upstream and --model out"
        )
    from amp.serve import app as server
    from amp.serve.config import ServeConfig
    from amp.serve.exchange import Bounds
    from amp.serve.fleet import Route
    from amp.serve.sqlite_accounts import SqliteAccounts
    from amp.serve.traffic import Keep
    from amp.serve.upstream import UpstreamConfig, read_api, recorded

    settings = load_settings()
    key, models = _key_in(upstream_key_env), tuple(model or ())
    own = None
    if not upstream and replay is None:
        models = models or (settings.model,)
        own = _own_server(models[0], settings)
        upstream, key = own.address, own.api_key
    behind = (
        recorded(replay)
        if replay is not None
        else UpstreamConfig(
            upstream,
            key,
            passes_keys=accounts is None,  # keys of the gateway are nobody else's business
            api=read_api(upstream_api),
            timeout_seconds=timeout,
            models=models,
            is_free=own is not None,
        )
    )
    config = ServeConfig(
        [behind],
        host=host,
        port=port,
        bounds=Bounds(
            max_concurrent,
            round(max_request_mb * 1_000_000),
            local_only=host in _LOOPBACK,
        ),
        routes=[Route(policy=policy, arms=tuple(arm or ()))],
        prices=settings.prices,
        drain_seconds=drain,
        watching=_watching(
            traffic,
            Keep(traffic_days, traffic_mb, keep_content),
            shadow,
            accounts or settings.accounts,
        ),
        explain=say if explain else None,
    )
    shown = server.describe(behind)  # what is wrong is said before the server starts
    server.check_routes(config)
    budgets = None if accounts is None else SqliteAccounts(accounts)
    if check:
        say(shown)
        for problem in asyncio.run(server.reached(config)).values():
            if problem:
                raise ModelError(problem)
        say("the upstream answers")
        return
    listening = server.listen(config)
    say(f"amp serves http://{host}:{port}/v1 ({shown}); Ctrl-C ends it")
    if host not in _LOOPBACK and key and own is None and budgets is None:
        say("whoever reaches this address spends on the upstream's key; give --accounts, or a wall")
    server.serve(config, listening, budgets)
    if own is not None:
        own.close()


def _watching(traffic: Path | None, keep: Keep, shadow: float, accounts: Path) -> Watching | None:
    """Which traffic is kept."""
    from amp.serve.traffic import Watching

    if traffic is not None:
        return Watching(traffic, keep, shadow, accounts)
    if shadow or keep.content:
        what = "--shadow" if shadow else "--keep-content"
        raise InvalidInputError(f"{what} needs a file to keep it in; add --traffic FILE")
    return None


def _own_server(name: str, settings: Settings) -> LlamaServer:
    """The embedded server of a model on this machine, which speaks both APIs itself."""
    from amp.models.catalog import resolve
    from amp.models.llamacpp_server import LlamaServer

    return LlamaServer(
        resolve(name),
        threads=settings.threads,
        context_tokens=settings.context_tokens,
        slots=_SLOTS,
        hidden_states=False,
    )


def _key_in(variable: str) -> str:
    """The upstream's key."""
    if not variable:
        return ""
    key = clean_key(os.environ.get(variable, ""), variable)
    if not key:
        raise InvalidInputError(
            f"variable {variable} is not set; set it to the upstream's key, or leave"
            " --upstream-key-env out to pass on the clients' keys"
        )
    return key
