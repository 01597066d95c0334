"""Reads and writes the files of pools (docs/pools.md): one JSON object a line, one line a task.

A file that AMP has written begins with a line ``{"pool": {...}}``: name, order of the arms, and
notes on what was estimated when it was imported. Files of others need none.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from amp.errors import InvalidInputError
from amp.files import read_file, replace_file
from amp.mlp import Floats, Mask
from amp.pools.pool import (
    CHARACTERS_PER_TOKEN,
    NO_ANSWER,
    AnswerLengths,
    Pool,
    PoolArm,
    PoolPrice,
    PoolTask,
    line_to_add,
    read_pool_prices,
)
from amp.pools.rows import PoolRow, RowError, read_row
from amp.settings import Config, checked

_SUFFIXES = (".jsonl.gz", ".jsonl")


class _Header(Config):
    """First line of a file that AMP has written."""

    name: str
    """Of the pool."""
    arms: tuple[str, ...] = ()
    """Their names, in order."""
    estimated: tuple[str, ...] = ()
    """Names of the arms whose completion tokens are estimates."""
    notes: tuple[str, ...] = ()
    """`Pool.notes`."""


def find_pools(path: Path) -> tuple[Path, ...]:
    """Files of pools: a file itself, or those in a directory and in the directories in it.

    Raises:
        InvalidInputError: if there is none.
    """
    path = path.expanduser()
    if not path.is_dir():
        return (path,)
    found = [file for folder in ("*", "*/*") for file in sorted(path.glob(folder))]
    pools = tuple(file for file in found if file.name.endswith(_SUFFIXES) and file.is_file())
    if not pools:
        raise InvalidInputError(f"{path} holds no pool, expected a file .jsonl or .jsonl.gz in it")
    return pools


def read_pool(
    path: Path,
    *,
    prices: Path | None = None,
    characters_per_token: float = CHARACTERS_PER_TOKEN,
    unknown_tokens: float | None = None,
    keep_good: bool = False,
) -> Pool:
    """Reads a pool.

    Args:
        path: a file ``.jsonl`` or ``.jsonl.gz``, or a directory with one.
        prices: the user's table of prices, which wins over the one that comes with AMP.
        characters_per_token: what characters are divided by where no tokens are recorded.
        unknown_tokens: completion tokens of samples without any length; None for the mean of their
            arm.
        keep_good: leaves out faulty rows, and arms without a price, and notes each.

    Raises:
        InvalidInputError: if the file cannot be read, or a row is faulty; names the first line and
            field. With `keep_good`, if nothing good is left.
    """
    files = find_pools(path)
    if len(files) > 1:
        named = ", ".join(str(file) for file in files[:3])
        raise InvalidInputError(f"{path} holds {len(files)} pools ({named}, ...); name one of them")
    path = files[0]
    if not characters_per_token > 0 or not math.isfinite(characters_per_token):
        raise InvalidInputError(
            f"characters per token are {characters_per_token:g}, expected a number above 0"
        )
    header, rows, faults = _read_rows(path)
    table = read_pool_prices(prices)
    arms = dict.fromkeys(header.arms if header else ())
    arms |= dict.fromkeys(arm for row in rows for arm in row.arms)
    unpriced = [arm for arm in arms if PoolArm.of(arm).model not in table]
    faults += [(_line_of(arm, rows), _no_price(arm)) for arm in unpriced]
    faults.sort()
    if faults and not keep_good:
        line, fault = faults[0]
        more = f" (faults in all: {len(faults):,}; --keep-good leaves those rows out)"
        raise InvalidInputError(f"{path}:{line}: {fault}{more if len(faults) > 1 else ''}")
    for arm in unpriced:
        del arms[arm]
    bare = [row for row in rows if arms.keys().isdisjoint(row.arms)]
    faults = sorted([*faults, *((row.line, "no arm with a price is left") for row in bare)])
    rows = [row for row in rows if not arms.keys().isdisjoint(row.arms)]
    if not rows or not arms:
        why = f"the first fault: line {faults[0][0]}: {faults[0][1]}" if faults else "it is empty"
        raise InvalidInputError(f"{path} holds no good row of a pool; {why}")
    pool = _assemble(
        header or _Header(name=_name_of(path)),
        rows,
        [PoolArm.of(arm) for arm in arms],
        table,
        characters_per_token,
        unknown_tokens,
    )
    notes = (*pool.notes, *(f"left out, line {line}: {fault}" for line, fault in faults))
    return replace(pool, notes=notes)


def _name_of(path: Path) -> str:
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return path.resolve().parent.name if name == "pool" else name


def _no_price(arm: str) -> str:
    model = PoolArm.of(arm).model
    return (
        f"arm {arm!r}: no price is known for model {model}; add this line with its dollars per"
        f" million tokens to a table, and name that as --prices or as prices of a study's"
        f" configuration: {line_to_add(model)}"
    )


def _line_of(arm: str, rows: Iterable[PoolRow]) -> int:
    return next((row.line for row in rows if arm in row.arms), 1)


def _read_rows(path: Path) -> tuple[_Header | None, list[PoolRow], list[tuple[int, str]]]:
    """The header, the good rows, and the faults by line."""
    content = read_file(path)
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InvalidInputError(f"{path} is damaged: {error}") from None
    header: _Header | None = None
    rows: list[PoolRow] = []
    faults: list[tuple[int, str]] = []
    line_of_id: dict[str, int] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            values = _object(line)
            if not line_of_id and not faults and values.keys() == {"pool"}:
                header = checked(_Header, values["pool"], f"{path}:{number}")
                continue
            row = read_row(number, values)
            if row.id in line_of_id:
                raise RowError(f"id {row.id!r} is that of line {line_of_id[row.id]}, too")
            line_of_id[row.id] = number
            rows.append(row)
        except RowError as error:
            faults.append((number, str(error)))
    # What AMP has written was checked when it was read first, before answers were made alike.
    lacking = {} if header else _by_gold(rows)
    faults += lacking.items()
    return header, [row for row in rows if row.line not in lacking], faults


def _object(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line.decode())
        if b"\\u" in line:  # or half a character could be escaped, which no file can hold
            json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RowError("it holds half a character (a lone surrogate), expected Unicode") from None
    except RecursionError:
        raise RowError("it is nested too deeply, expected a few levels") from None
    except ValueError as error:
        raise RowError(f"it is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise RowError(f"it holds a {type(values).__name__}, expected an object with id and arms")
    return values


def _by_gold(rows: Sequence[PoolRow]) -> dict[int, str]:
    """Faults that only the whole pool shows: gold that is missing, or contradicted.

    A pool in which no row has a gold is right by what it says of each answer.
    """
    has_gold = any(row.gold is not None for row in rows)
    otherwise = {row.kind for row in rows if row.judged_otherwise}
    faults = {}
    for row in rows:
        if has_gold and row.gold is None:
            faults[row.line] = "gold is missing, expected one as in other rows, or none in any row"
        elif row.contradiction and row.kind not in otherwise:
            faults[row.line] = row.contradiction
    return faults


def _assemble(
    header: _Header,
    rows: Sequence[PoolRow],
    arms: Sequence[PoolArm],
    table: Mapping[str, PoolPrice],
    divisor: float,
    unknown_tokens: float | None,
) -> Pool:
    most = max(len(row.arms.get(arm.name, ())) for row in rows for arm in arms)
    shape = len(rows), len(arms), most
    there, right = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    answer = np.full(shape, NO_ANSWER, dtype=np.intp)
    tokens, characters, prompts, log_prob = (np.full(shape, np.nan) for _ in range(4))
    answers, tasks = [], []
    first_of_question: dict[tuple[str, str | None], str] = {}
    for task, row in enumerate(rows):
        known: dict[str, int] = {}
        for index, arm in enumerate(arms):
            for number, sample in enumerate(row.arms.get(arm.name, ())):
                place = task, index, number
                there[place], right[place] = True, sample.right
                if sample.answer is not None:
                    answer[place] = known.setdefault(sample.answer, len(known))
                tokens[place] = _or_nan(sample.completion_tokens)
                characters[place] = _or_nan(sample.completion_chars)
                prompts[place] = _or_nan(sample.prompt_tokens)
                log_prob[place] = _or_nan(sample.log_prob)
        answers.append(tuple(known))
        tasks.append(_task(row, divisor, first_of_question))
    of_kind = {kind: number for number, kind in enumerate(dict.fromkeys(t.kind for t in tasks))}
    kinds = np.array([of_kind[task.kind] for task in tasks], dtype=np.intp)
    prices = [table[arm.model] for arm in arms]
    lengths = AnswerLengths(there, tokens, characters / divisor, kinds, unknown_tokens)
    completion, notes = lengths.complete(arms, prices)
    of_task = np.array([_or_nan(task.prompt_tokens) for task in tasks])
    notes += _complete_prompts(prompts, there, of_task, rows)
    notes += _uneven(there, arms)
    guesses = sum(bool(price.guess) for price in prices)
    if guesses:
        notes.append(f"prices of {guesses} of {len(arms)} arms are guesses (see the price table)")
    per_token = np.array([[price.prompt, price.completion] for price in prices]) / 1e6
    dollars = prompts * per_token[:, None, 0] + completion * per_token[:, None, 1]
    estimated = np.array([arm.name in header.estimated for arm in arms])
    estimated |= (there & np.isnan(tokens)).any(axis=(0, 2))
    return Pool(
        header.name,
        tuple(tasks),
        tuple(arms),
        tuple(answers),
        answer,
        there,
        right,
        prompts,
        completion,
        dollars,
        log_prob,
        estimated,
        tuple(dict.fromkeys((*header.notes, *notes))),
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _task(
    row: PoolRow, divisor: float, first_of_question: dict[tuple[str, str | None], str]
) -> PoolTask:
    """The task of a row.

    Rows with the same question and gold are one group unless the file says more. The question alone
    does not tell: it may be cut off, or be the same sentence about different pictures.
    """
    prompt = row.prompt_tokens
    if prompt is None and row.prompt_chars is not None:
        prompt = row.prompt_chars / divisor
    if prompt is None and row.question:
        prompt = len(row.question) / divisor
    group = row.group
    if group is None:
        key = row.question, row.gold
        group = first_of_question.setdefault(key, row.id) if row.question else row.id
    return PoolTask(
        row.id, row.kind, group, row.question, row.gold, prompt, row.difficulty, row.extra
    )


def _complete_prompts(
    prompts: Floats, there: Mask, of_task: Floats, rows: Sequence[PoolRow]
) -> list[str]:
    """Fills prompts that no sample records with the length of their question; returns notes."""
    exact = np.array([row.prompt_tokens is not None for row in rows])
    missing = there & np.isnan(prompts)
    prompts[missing] = np.broadcast_to(of_task[:, None, None], prompts.shape)[missing]
    unknown = there & np.isnan(prompts)
    estimated = missing & ~unknown & ~exact[:, None, None]
    prompts[unknown] = 0.0
    notes = []
    if estimated.any():
        notes.append(
            f"prompt tokens of {estimated.sum():,} of {there.sum():,} samples are those of the"
            " question's characters: instructions and examples around it are not counted"
        )
    if unknown.any():
        notes.append(f"prompt tokens of {unknown.sum():,} samples are unknown and count as 0")
    return notes


def _uneven(there: Mask, arms: Sequence[PoolArm]) -> list[str]:
    """Notes on arms that have not the same number of samples for each task."""
    counts = there.sum(axis=2)
    uneven = []
    for arm, of_arm in zip(arms, counts.T, strict=True):
        usual, _ = Counter(of_arm.tolist()).most_common(1)[0]
        others = int((of_arm != usual).sum())
        if others:
            uneven.append(f"{arm.name} {usual} but for {others:,} tasks")
    if not uneven:
        return []
    named = "; ".join(uneven[:3]) + ("; ..." if len(uneven) > 3 else "")
    return [f"arms of unequal sample counts: {len(uneven)} of {len(arms)} ({named})"]


def require_pool_name(path: Path) -> None:
    """Refuses a name that is not that of a pool's file.

    Raises:
        InvalidInputError: if it does not end in ``.jsonl`` or ``.jsonl.gz``.
    """
    if not path.name.endswith(_SUFFIXES):
        raise InvalidInputError(f"{path} is no name of a pool, expected one in .jsonl or .jsonl.gz")


def write_pool(pool: Pool, path: Path) -> None:
    """Writes a pool in the canonical form: fields by their own names, all lengths in tokens.

    With the same prices it reads back to the same pool. It is compressed if its name ends in .gz.

    Raises:
        InvalidInputError: if the file cannot be written, or its name is not that of a pool.
    """
    require_pool_name(path)
    names = [arm.name for arm in pool.arms]
    estimated = [name for name, is_so in zip(names, pool.estimated, strict=True) if is_so]
    header = {"name": pool.name, "arms": names, "estimated": estimated, "notes": pool.notes}
    lines = [{"pool": header}, *(_row(pool, task) for task in range(len(pool.tasks)))]
    content = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines).encode()
    replace_file(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _row(pool: Pool, index: int) -> dict[str, Any]:
    task = pool.tasks[index]
    own = {
        "id": task.id,
        "kind": task.kind,
        "group": task.group,
        "question": task.question,
        "gold": task.gold,
        "prompt_tokens": task.prompt_tokens,
        "difficulty": task.difficulty,
    }
    arms = {
        arm.name: [
            _sample(pool, (index, number, sample))
            for sample in np.flatnonzero(pool.there[index, number]).tolist()
        ]
        for number, arm in enumerate(pool.arms)
        if pool.there[index, number].any()
    }
    return {**task.extra, **own, "arms": arms}


def _sample(pool: Pool, place: tuple[int, int, int]) -> dict[str, Any]:
    answer = int(pool.answer[place])
    amounts = {
        "completion_tokens": float(pool.completion_tokens[place]),
        "prompt_tokens": float(pool.prompt_tokens[place]),
        "log_prob": float(pool.log_prob[place]),
    }
    return {
        "answer": None if answer == NO_ANSWER else pool.answers[place[0]][answer],
        "correct": int(pool.right[place]),
    } | {name: amount for name, amount in amounts.items() if not math.isnan(amount)}
