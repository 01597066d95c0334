"""`amp keys`: virtual keys of the gateway, their limits, and what they spent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from amp.cli.app import Json, app
from amp.cli.terminal import new_console, say, say_json
from amp.errors import InvalidInputError
from amp.settings import load_settings

if TYPE_CHECKING:
    from amp.serve.accounts.base import Keys
    from amp.serve.accounts.budgets import Spend
    from amp.serve.accounts.keys import Key


keys_app = typer.Typer(help="Keys of the gateway, and their budgets.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

_File = Annotated[
    str | None,
    typer.Option(
        "--accounts",
        help="The file of the keys, or redis://HOST:PORT/NUMBER; the setting accounts if left out.",
        metavar="PLACE",
    ),
]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called.")]


def _place(told: str | None) -> str:
    return told or load_settings().accounts


@contextmanager
def _opened(place: str | None, *, create: bool = False) -> Iterator[Keys]:
    from amp.serve.accounts.base import open_keys

    accounts = open_keys(_place(place), create=create)
    try:
        yield accounts
    finally:
        accounts.close()


@keys_app.command("add")
def keys_add(
    name: _Name,
    dollars_per_day: Annotated[float | None, typer.Option(help="Dollars in a day of UTC.")] = None,
    dollars_per_month: Annotated[float | None, typer.Option(help="Dollars in a month.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Tokens in a day.")] = None,
    requests_per_day: Annotated[int | None, typer.Option(help="Calls in a day.")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="Calls at one time.")] = None,
    episode_dollars: Annotated[float | None, typer.Option(help="Dollars in an episode.")] = None,
    accounts: _File = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once. Example: amp keys add ann --dollars-per-day 5"""
    from amp.serve.accounts.keys import KeyLimits

    limits = KeyLimits(
        dollars_per_day,
        dollars_per_month,
        tokens_per_day,
        requests_per_day,
        max_concurrent,
        episode_dollars,
    )
    limits.stored()  # refuses wrong ones before a file is made
    with _opened(accounts, create=True) as opened:
        token = opened.add(name, limits)
    if as_json:
        say_json({"name": name, "key": token})
        return
    say(token)
    say("keep it: only a hash of it is kept here, so it can't be shown again", error=True)


@keys_app.command("list")
def keys_list(accounts: _File = None, as_json: Json = False) -> None:
    """Show all keys and their limits. Example: amp keys list --json"""
    with _opened(accounts) as opened:
        keys = opened.keys()
    if as_json:
        say_json([_described(key) for key in keys])
        return
    from rich.table import Table

    from amp.serve.accounts.budgets import day_of

    table = Table(box=None)
    for column in ("name", "key", "made", "limits"):
        table.add_column(column, overflow="fold")
    for key in keys:
        revoked = "" if key.revoked is None else f"revoked on {day_of(key.revoked)}"
        table.add_row(
            key.name, f"amp-{key.prefix}-...", day_of(key.created), revoked or _limits(key)
        )
    new_console().print(table)


@keys_app.command("revoke")
def keys_revoke(name: _Name, accounts: _File = None, as_json: Json = False) -> None:
    """Refuse a key from now on. Example: amp keys revoke ann"""
    with _opened(accounts) as opened:
        opened.revoke(name)
    if as_json:
        say_json({"name": name, "revoked": True})
    else:
        say(f"{name} is revoked; what it spent stays in amp keys spend")


@keys_app.command("spend")
def keys_spend(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of this key alone.")] = None,
    accounts: _File = None,
    as_json: Json = False,
) -> None:
    """Show what keys spent today and this month. Example: amp keys spend ann"""
    from amp.serve.accounts.budgets import shown

    with _opened(accounts) as opened:
        spends = opened.spend(name)
    if as_json:
        say_json([_spent(spend) for spend in spends])
        return
    from rich.table import Table

    table = Table(box=None)
    table.add_column("name", overflow="fold")
    for column in ("period", "spent", "limit", "reserved", "tokens", "calls", "overrun", "lost"):
        table.add_column(column, justify="right")
    for spend in spends:
        limits = spend.key.limits
        for sums, limit in (
            (spend.day, limits.dollars_per_day),
            (spend.month, limits.dollars_per_month),
        ):
            table.add_row(
                spend.key.name,
                sums.period,
                shown(sums.dollars),
                "-" if limit is None else f"${limit:,.2f}",
                shown(sums.held_dollars),
                f"{sums.tokens:,}",
                f"{sums.requests:,}",
                shown(sums.over_dollars),
                shown(sums.lost_dollars),
            )
    new_console().print(table)


@keys_app.command("share")
def keys_share(
    name: Annotated[str, typer.Argument(metavar="BUDGET", help="What the budget is called.")],
    floor: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=AMOUNT",
            help="A key that draws from it, and what that is sure of; repeat for each.",
        ),
    ],
    dollars: Annotated[float | None, typer.Option(help="Of all keys together.")] = None,
    tokens: Annotated[int | None, typer.Option(help="In place of dollars.")] = None,
    at_once: Annotated[int, typer.Option(help="Calls under way at the same time.")] = 64,
    accounts: _File = None,
    as_json: Json = False,
) -> None:
    """Let keys draw from one budget. Example: amp keys share team --dollars 5 --floor ann=1"""
    from amp.serve.accounts.base import open_shared

    if (dollars is None) == (tokens is None):
        raise InvalidInputError("a shared budget is of --dollars or of --tokens; give one of them")
    unit: Literal["dollars", "tokens"] = "dollars" if tokens is None else "tokens"
    total = dollars if tokens is None else tokens
    assert total is not None  # one of them is given
    with closing(open_shared(_place(accounts))) as keys:
        keys.share(name, total, dict(map(_floor, floor)), unit, at_once)
        (state,) = keys.shared(name)
    if as_json:
        say_json(asdict(state))
    else:
        say(f"{name}: {total:g} {unit} for {', '.join(state.shares)}")


@keys_app.command("shared")
def keys_shared(
    name: Annotated[
        str | None, typer.Argument(metavar="[BUDGET]", help="This budget alone.")
    ] = None,
    accounts: _File = None,
    as_json: Json = False,
) -> None:
    """Show what is left of budgets that keys share. Example: amp keys shared team"""
    from amp.serve.accounts.base import open_shared

    with closing(open_shared(_place(accounts))) as keys:
        states = keys.shared(name)
    if as_json:
        say_json([asdict(state) for state in states])
        return
    from rich.table import Table

    table = Table(box=None)
    table.add_column("budget", overflow="fold")
    table.add_column("key", overflow="fold")
    for column in ("floor", "spent", "reserved", "free now"):
        table.add_column(column, justify="right")
    for state in states:
        shown = _dollars if state.unit == "dollars" else "{:,}".format
        table.add_row(f"{state.name}: {shown(state.total)} {state.unit}")
        for key, share in state.shares.items():
            amounts = (share.floor, share.spent, share.held, share.free)
            table.add_row("", key, *map(shown, amounts))
    new_console().print(table)


def _floor(told: str) -> tuple[str, float]:
    key, _, amount = told.rpartition("=")
    try:
        return key, float(amount)
    except ValueError:
        raise InvalidInputError(f"--floor {told}: expected KEY=AMOUNT, such as ann=0.50") from None


def _dollars(amount: float) -> str:
    from amp.serve.accounts.budgets import shown
    from amp.serve.accounts.keys import nano

    return shown(nano(amount))


def _limits(key: Key) -> str:
    from amp.serve.accounts.keys import LIMITS

    found = ((name, getattr(key.limits, name)) for name in LIMITS)
    return ", ".join(f"{name} {value:g}" for name, value in found if value is not None) or "none"


def _described(key: Key) -> dict[str, Any]:
    return {name: value for name, value in asdict(key).items() if name != "id"}


def _spent(spend: Spend) -> dict[str, Any]:
    """For machines: dollars beside the nano-dollars that are counted."""
    from amp.serve.accounts.keys import NANO

    def told(sums: dict[str, Any]) -> dict[str, Any]:
        return {name: value / NANO if "dollars" in name else value for name, value in sums.items()}

    return {
        "name": spend.key.name,
        "open_calls": spend.open_calls,
        "day": told(asdict(spend.day)),
        "month": told(asdict(spend.month)),
    }
