"""What a recording holds, in figures."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from amp.errors import RecordingError
from amp.models.base import ModelCard
from amp.models.recordingstore import Store


@dataclass(frozen=True, slots=True)
class Contents:
    """What a recording holds, in figures.

    Attributes:
        model: what it was made with.
        prompts: versions of the prompts.
        requests: different prompts with their sampling that were answered in words.
        samples: of how many requests there are how many samples, by the number of samples.
        probes: prompts of which the next token's probabilities were read, to choose or to look.
        hidden: those among the probes with a hidden state.
        scores: texts whose probability was read.
        tool_runs: runs of tools.
        prompt_tokens: tokens of all these prompts, once a request.
        completion_tokens: tokens written, over all samples and probes.
        file_bytes: size of the file, with what is not merged into it yet.
    """

    model: ModelCard
    prompts: tuple[str, ...]
    requests: int
    samples: dict[int, int]
    probes: int
    hidden: int
    scores: int
    tool_runs: int
    prompt_tokens: int
    completion_tokens: int
    file_bytes: int


def contents(path: Path) -> Contents:
    """Counts what a recording holds.

    Raises:
        RecordingError: if it is missing, damaged, no recording, or empty.
    """
    store = Store(path, write=False)
    try:
        identity, sizes, versions = store.identity(), store.sizes(), store.versions()
    finally:
        store.close()
    if identity is None:
        raise RecordingError(f"recording {path} is empty; fill it with amp record")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        ask = connection.execute
        samples = dict(ask(_SAMPLES_BY_REQUEST).fetchall())
        (hidden,) = ask("SELECT count(hidden) FROM probes").fetchone()
        read, written = ask(_TOKENS).fetchone()
    log = path.with_name(f"{path.name}-wal")
    return Contents(
        model=identity[0],
        prompts=tuple(sorted(versions.values())),
        requests=sum(samples.values()),
        samples=samples,
        probes=sizes["probes"],
        hidden=hidden,
        scores=sizes["scores"],
        tool_runs=sizes["tool_uses"],
        prompt_tokens=read,
        completion_tokens=written,
        file_bytes=sum(file.stat().st_size for file in (path, log) if file.exists()),
    )


_SAMPLES_BY_REQUEST = (
    "SELECT n, count(*) FROM (SELECT count(*) AS n FROM samples GROUP BY key) GROUP BY n ORDER BY n"
)
# Every sample's row has the prompt of the call that would begin with it.
_TOKENS = (
    "SELECT coalesce(sum(read), 0), coalesce(sum(written), 0) FROM ("
    "SELECT max(prompt_tokens) AS read, sum(completion_tokens) AS written FROM samples GROUP BY key"
    " UNION ALL SELECT prompt_tokens, completion_tokens FROM probes"
    " UNION ALL SELECT prompt_tokens, 0 FROM scores)"
)
