"""How the comparison of all policies reads: on the terminal, as Markdown, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from amp.cli.app import new_console
from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from amp.evaluate.compare import Comparison
    from amp.evaluate.results import Duel, Results, Row

_ROWS = (
    *("kind", "policy", "success", "written", "tokens", "calls"),
    *("above the front", "of the oracle's gain", "tokens saved", "p (Holm)"),
)
_DUELS = ("policy", "against", "success gained", "tokens saved", "won : lost", "p")
_WORDS = frozenset({"kind", "policy", "against"})


def show(found: Results) -> None:
    """Prints it for people."""
    from rich.table import Table

    console = new_console()
    for header, lines in _tables(found):
        table = Table(box=None)
        for name in header:
            table.add_column(name, justify="left" if name in _WORDS else "right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for note in _caption(found):
        console.print(note, markup=False)


def markdown(found: Results) -> str:
    """The same as Markdown."""
    lines = []
    for header, rows in _tables(found):
        lines += [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join([*lines, *_caption(found)])


def write_csv(found: Results, path: Path) -> None:
    """Writes the rows without the duels: figures unrounded, an interval as two columns.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    from amp.evaluate import tabular

    heads = (
        *("kind", "policy", "reference", "success", "success", "completion_tokens", "tokens"),
        *("calls", "above_front", "above_front", "oracle_share", "tokens_saved", "tokens_saved"),
        "p_holm",
    )
    rows: list[tuple[tabular.Value, ...]] = []
    for row in found.rows:
        saving = None if row.versus is None else row.versus.savings["tokens"]
        rows.append(
            (
                *(row.kind, row.name, int(row.name == found.reference)),
                *(row.success, row.interval, row.completion_tokens, row.tokens, row.calls),
                *(row.above_front, row.above_front_interval, row.oracle_share),
                None if saving is None else saving.share,
                None if saving is None else saving.interval,
                row.holm,
            )
        )
    table = tabular.Table(path.stem, "", tuple(map(tabular.Column, heads)), tuple(rows))
    try:
        tabular.write_csv([table], path.parent)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from None


def _tables(found: Results) -> list[tuple[tuple[str, ...], list[list[str]]]]:
    tables: list[tuple[tuple[str, ...], list[list[str]]]] = []
    tables.append((_ROWS, [_row(found, row) for row in found.rows]))
    if found.duels:
        tables.append((_DUELS, [_duel(duel) for duel in found.duels]))
    return tables


def _row(found: Results, row: Row) -> list[str]:
    front = ""
    if row.kind != "fixed" and row.above_front is not None and row.above_front_interval is not None:
        low, high = row.above_front_interval.low, row.above_front_interval.high
        front = f"{row.above_front:+.3f} ({low:+.2f} to {high:+.2f})"
    return [
        row.kind,
        f"{row.name} (reference)" if row.name == found.reference else row.name,
        f"{row.success:.3f} ({row.interval.low:.2f}-{row.interval.high:.2f})",
        *(f"{row.completion_tokens:.0f}", f"{row.tokens:.0f}", f"{row.calls:.1f}"),
        front,
        "" if row.oracle_share is None else f"{row.oracle_share:.0%}",
        "" if row.versus is None else _saved(row.versus),
        "" if row.holm is None else f"{row.holm:.2f}",
    ]


def _duel(duel: Duel) -> list[str]:
    return [
        *(duel.policy, duel.against),
        f"{duel.gain:+.3f} ({duel.interval.low:+.2f} to {duel.interval.high:+.2f})",
        _saved(duel.comparison),
        f"{duel.comparison.won} : {duel.comparison.lost}",
        f"{duel.comparison.p_value:.2f}",
    ]


def _saved(comparison: Comparison) -> str:
    saving = comparison.savings["tokens"]
    if saving.interval is None:
        return f"{saving.share:.0%}"
    return f"{saving.share:.0%} ({saving.interval.low:.0%} to {saving.interval.high:.0%})"


def _caption(found: Results) -> list[str]:
    smallest = "" if found.detectable is None else f"; detectable: {found.detectable:.2f}"
    return [
        f"{found.tasks} tasks, samples in {found.runs} orders{smallest}",
        "of the oracle's gain: success above the front by that of the oracle, each at its own "
        "tokens",
    ]
