"""Pools: what models answered to many tasks, recorded elsewhere, as arrays to learn and compare on.

A pool from its file::

    from amp.pools import read_pool
    pool = read_pool(Path("pool.jsonl.gz"))
    training, test = pool.halves()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amp.pools.pool import Pool, PoolArm, PoolTask
    from amp.pools.pool_file import find_pools, read_pool, write_pool

_PLACES = {
    "pool": ("Pool", "PoolArm", "PoolTask"),
    "pool_file": ("find_pools", "read_pool", "write_pool"),
}

__all__ = ["Pool", "PoolArm", "PoolTask", "find_pools", "read_pool", "write_pool"]


def __getattr__(name: str) -> Any:
    """Imports only the name that is used."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
