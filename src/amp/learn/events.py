"""The metrics of a training for TensorBoard, where that is installed (the extra [train] has it)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def installed() -> bool:
    """Whether `scalars` writes anything."""
    return find_spec("tensorboard") is not None


@contextmanager
def scalars(
    directory: Path, updates: int
) -> Iterator[Callable[[Mapping[str, int | float | None]], None]]:
    """Opens an event file and yields what adds the metrics of an update to it, one scalar each.

    Args:
        directory: where the event files are.
        updates: how many there were. What earlier files say of later ones is not shown any more.
    """
    if not installed():
        yield lambda metrics: None
        return
    # Here, since the import takes as long as several updates.
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(directory, purge_step=updates + 1) as writer:

        def add(metrics: Mapping[str, int | float | None]) -> None:
            step = int(metrics["update"] or 0)
            for name, value in metrics.items():
                if value is not None and name != "update":
                    writer.add_scalar(name, value, step)
            # As in metrics.jsonl: a training that is killed has noted every update.
            writer.flush()

        yield add
