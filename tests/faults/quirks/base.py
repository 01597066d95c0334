"""A switch of the model server: it spoils one thing of an honest answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.honest import DIALECTS, Call, Dialect, Reply

Change = Callable[[Call, Reply], object]


@dataclass(frozen=True)
class Quirk:
    """One switch.

    Attributes:
        name: as it stands in a path.
        change: spoils a reply; does nothing where the request gives no cause.
        dialects: where servers have it.
    """

    name: str
    change: Change
    dialects: tuple[Dialect, ...] = DIALECTS


QUIRKS: dict[str, Quirk] = {}


def quirk(name: str, *dialects: Dialect) -> Callable[[Change], Change]:
    """Registers a function as the quirk of that name."""

    def register(change: Change) -> Change:
        QUIRKS[name] = Quirk(name, change, dialects or DIALECTS)
        return change

    return register


def of(dialect: Dialect) -> list[str]:
    """Names of all quirks of a dialect."""
    return [name for name, quirk in QUIRKS.items() if dialect in quirk.dialects]


def family(
    name: str, values: dict[str, Any], put: Callable[[Reply, Any], object], *dialects: Dialect
) -> None:
    """One quirk for each value that is put into one place of an answer."""

    def putting(value: Any) -> Change:
        return lambda call, reply: reply.status == 200 and put(reply, value)

    for label, value in values.items():
        QUIRKS[f"{name}-{label}"] = Quirk(f"{name}-{label}", putting(value), dialects or DIALECTS)
