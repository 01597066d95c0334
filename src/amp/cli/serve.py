"""The command that serves: a gateway in front of a model, which measures every call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amp.cli.app import app
from amp.cli.terminal import say
from amp.errors import InvalidInputError, ModelError
from amp.settings import Settings, load_settings, settings_file

if TYPE_CHECKING:
    from amp.models.llamacpp_server import LlamaServer
    from amp.serve.accounts.base import Accounts
    from amp.serve.config import ServeConfig, ServeSection

_SLOTS = 4


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
        str | None,
        typer.Option(
            help="Clients need a key of this file or redis://HOST:PORT/NUMBER (amp keys), and keep"
            " to its limits.",
            metavar="PLACE",
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            help="Name of the key that sees the figures of all keys, at / and /v1/amp/decisions.",
            metavar="NAME",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model that may be asked for; several times. All, if left out. Without"
            " --upstream, the one on this machine that is served."
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="What decides: pass gives what was asked for, rules chooses effort first, else a"
            " file of amp train --from-traffic. Routes of their own win."
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="What may be decided for: MODEL, MODEL@EFFORT or MODEL@EFFORT xN; several times."
            " The model that is asked for at three efforts, if left out.",
            metavar="ARM",
        ),
    ] = None,
    explain: Annotated[
        bool | None, typer.Option("--explain", help="Print each decision in a line.")
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(help="A recording (amp record) to serve as an offline model, for tests."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen at, else 8080.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen at, else 127.0.0.1; 0.0.0.0 serves other machines."),
    ] = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(min=1, help="Calls at the same time, else 512; one more has to come back."),
    ] = None,
    max_request_mb: Annotated[
        float | None, typer.Option(min=0.001, help="Largest request, else 32.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds that the upstream may say nothing, else 600."),
    ] = None,
    drain: Annotated[
        int | None, typer.Option(min=0, help="Seconds that calls may go on after SIGTERM, else 30.")
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(
            help="Keep calls in this file, as hashes and figures, to learn from (amp train"
            " --from-traffic)."
        ),
    ] = None,
    keep_content: Annotated[
        bool | None, typer.Option("--keep-content", help="Keep requests and answers there, too.")
    ] = None,
    traffic_days: Annotated[
        float | None, typer.Option(min=0.01, help="Forget calls after so many days, else 30.")
    ] = None,
    traffic_mb: Annotated[
        float | None, typer.Option(min=0.1, help="Forget the oldest beyond this size, else 1000.")
    ] = None,
    shadow: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the calls that another arm is asked, too; the key shadow pays (amp keys"
            " add shadow --dollars-per-day 5).",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check what was said, reach the upstreams, and end.")
    ] = False,
) -> None:
    """Serve the OpenAI and Anthropic APIs in front of a model: measure calls, and decide them."""
    if replay is not None and (upstream or model):
        raise InvalidInputError(
            "--replay names the model and stands for the server; leave --upstream and --model out"
        )
    from amp.serve import app as server
    from amp.serve.accounts.base import open_accounts
    from amp.serve.config import LOOPBACK, read_section
    from amp.serve.upstreams.upstream import UpstreamConfig, read_api, recorded

    options: dict[str, Any] = {
        "accounts": accounts,
        "operator": operator,
        "policy": policy,
        "arms": arm or None,
        "explain": explain,
        "port": port,
        "host": host,
        "max_concurrent": max_concurrent,
        "max_request_mb": max_request_mb,
        "drain_seconds": drain,
        "traffic": traffic,
        "keep_content": keep_content,
        "traffic_days": traffic_days,
        "traffic_mb": traffic_mb,
        "shadow": shadow,
    }
    one = {
        "--upstream-key-env": ("key_env", upstream_key_env or None),
        "--upstream-api": ("api", read_api(upstream_api)),
        "--timeout": ("timeout_seconds", timeout),
        "--model": ("models", model or None),
    }
    said = {name: value for name, value in one.values() if value is not None}
    if upstream:
        options |= {"upstreams": {"upstream": {"url": upstream, **said}}, "routes": []}

    def told() -> ServeSection:
        given = {name: value for name, value in options.items() if value is not None}
        return read_section(settings_file(), given)

    section, own = told(), None
    behind: list[UpstreamConfig] = []  # in place of those that were told
    if replay is not None:
        behind = [recorded(replay)]
    elif not section.upstreams:
        settings = load_settings()
        name = _only(model, settings.model)
        own = _own_server(name, settings)
        behind = [
            UpstreamConfig(
                own.address,
                own.api_key,
                api="chat+messages",  # its Responses say nothing of a cap, nor how tools are called
                name="local",
                models=(name,),
                is_free=True,
            )
        ]
    elif not upstream and said:
        given = " and ".join(option for option, (_, value) in one.items() if value is not None)
        raise InvalidInputError(
            f"{given} without --upstream, expected that in section serve.upstreams of"
            f" {settings_file()}"
        )

    def config() -> ServeConfig:
        anew = told()
        if anew.accounts != section.accounts:  # else keys would be passed on that are nobody's
            raise InvalidInputError("serve.accounts is another place now; restart to change it")
        found = anew.config(load_settings(), say)
        return replace(found, upstreams=behind) if behind else found

    now = config()
    shown = [server.describe(each) for each in now.upstreams]  # wrong ones are said before a start
    server.check(now)
    budgets = None if section.accounts is None else open_accounts(section.accounts)
    if check:
        _check(now, shown, budgets)
        return
    listening = server.listen(now)
    root = f"http://{now.host}:{now.port}"
    say(f"amp serves {root}/v1 ({'; '.join(shown)}), figures at {root}/; Ctrl-C ends it")
    pays = not behind and any(each.key for each in now.upstreams)
    if now.host not in LOOPBACK and pays and budgets is None:
        say("whoever reaches this address spends on the upstream's key; give --accounts, or a wall")
    server.serve(now, listening, budgets, again=config)
    if own is not None:
        own.close()


def _only(models: list[str] | None, usual: str) -> str:
    """The one model on this machine.

    Raises:
        InvalidInputError: if there are several.
    """
    if models and len(models) > 1:
        raise InvalidInputError(
            f"--model names {len(models)} models, expected one where there is no --upstream"
        )
    return models[0] if models else usual


def _check(config: ServeConfig, shown: list[str], accounts: Accounts | None) -> None:
    """Says of each upstream whether it answers.

    Raises:
        ModelError: if one does not, or the accounts do not.
    """
    from amp.serve.app import reached

    problems = asyncio.run(reached(config, accounts))
    for line, problem in zip(shown, problems.values(), strict=True):
        say(f"{line}: {problem or 'it answers'}")
    if silent := [name for name, problem in problems.items() if problem]:
        raise ModelError(
            f"{len(silent)} of {len(problems)} upstreams cannot be used: {', '.join(silent)}"
        )


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
        name=name,
    )
