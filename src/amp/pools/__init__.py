"""Pools: what models answered to many tasks, recorded elsewhere, as arrays to learn and compare on.

A pool from its file::

    from amp.pools import read_pool
    pool = read_pool(Path("pool.jsonl.gz"))
    training, test = pool.halves()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amp.plugins import exported_later

if TYPE_CHECKING:
    from amp.pools.pool import Pool, PoolArm, PoolTask
    from amp.pools.pool_file import find_pools, read_pool, write_pool

__all__ = ["Pool", "PoolArm", "PoolTask", "find_pools", "read_pool", "write_pool"]

__getattr__ = exported_later(
    __name__,
    {
        "pool": ("Pool", "PoolArm", "PoolTask"),
        "pool_file": ("find_pools", "read_pool", "write_pool"),
    },
)
