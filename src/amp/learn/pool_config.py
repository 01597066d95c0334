"""How a pool is studied: which pool, which arms, what is compared; one TOML file.

`amp.learn.pool_study` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from amp.errors import InvalidInputError
from amp.execute.checks import CHECKS, Check, load_check
from amp.learn.routing import RoutingSettings
from amp.pools.pool import Pool, PoolArm
from amp.pools.pool_file import read_pool
from amp.settings import Config, FilePath, load_toml
from amp.simulate.pool_draws import joined
from amp.types import Allocation

Family = Literal["votes", "cascade", "chain", "logistic", "neighbours", "kind"]
Count = Annotated[int, Field(ge=1)]


class PoolStudyConfig(Config):
    """How a pool is studied; a file `configs/pools/NAME.toml`."""

    pool: str = ""
    """Its folder below ``pools`` in the data directory."""
    file: FilePath | None = None
    """Or the path of its file."""
    prices: FilePath | None = None
    """A table of prices, which wins over the one that comes with AMP."""
    unknown_tokens: Annotated[float, Field(ge=0.0)] | None = None
    """Tokens of answers of unknown length; the mean of their arm if left out."""
    keep_good: bool = False
    """Whether faulty rows are left out; else they are refused."""
    join: Mapping[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """New arms by name, each of some that stand in for each other (`pool_draws.joined`)."""
    arms: tuple[str, ...] = ()
    """That the study is about; all of them if left out."""
    complete: bool = False
    """Whether tasks are left out for which an arm lacks some of its samples."""
    check: str | None = None
    """An exact check of answers (`amp.execute.checks.CHECKS`) that all policies may rely on."""
    whole_below: Count | None = None
    """Answers of so many characters or more were cut off by the pool's makers: not checked."""
    dear: str
    """The arm whose votes are the goal to reach at less cost."""
    votes: Count = 3
    """How many votes."""
    rules: Annotated[tuple[Family, ...], Field(min_length=1)] = (
        *("votes", "cascade", "chain", "logistic", "neighbours"),
    )
    """Families of rules to tune."""
    orders: Count = 10
    """Of the samples of each test task."""
    training_orders: Count = 4
    """Of the samples of each training task that settings are chosen on."""
    parts: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Kinds of tasks that are looked at alone, too, by the name of each part."""
    routing: RoutingSettings = RoutingSettings()
    """How the router is learned."""
    ask: Mapping[str, Allocation] = Field(default_factory=dict)
    """By arm how it is asked live, where that is more than a model of the arm's name at temperature
    0: the name of its model, depth, temperature, tools. Learning does not depend on it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.pool) == (self.file is not None):
            found = "both are" if self.pool else "neither is"
            raise ValueError(f"pool and file: {found} there, expected one of them")
        if self.check is not None and self.check not in CHECKS:
            raise ValueError(f"check is {self.check!r}, expected {' or '.join(CHECKS)}")
        if self.whole_below is not None and self.check is None:
            raise ValueError("whole_below says what is not checked, and check is missing")
        if self.arms and self.dear not in self.arms:
            raise ValueError(f"dear is {self.dear!r}, expected one of arms")
        return self

    def allocation(self, arm: str) -> Allocation:
        """What a sample of an arm is allocated on live models."""
        asked = self.ask.get(arm)
        if asked is None:
            return Allocation(model=arm)
        return asked if asked.model else replace(asked, model=PoolArm.of(arm).model)

    @cached_property
    def exact(self) -> Check | None:
        """The check, which says nothing of answers that were cut off; it remembers what it said."""
        if self.check is None:
            return None
        check, most = load_check(self.check), self.whole_below

        @cache
        def whole(question: str, answer: str) -> bool | None:
            cut_off = most is not None and len(answer) >= most
            return None if cut_off else check(question, answer)

        return whole


def load_pool_study(path: Path) -> PoolStudyConfig:
    """Reads how to study a pool.

    Raises:
        InvalidInputError: as `amp.settings.load_toml`.
    """
    return load_toml(PoolStudyConfig, path)


def load_studied_pool(config: PoolStudyConfig, data: Path | None = None) -> Pool:
    """Reads the pool, with the arms and the tasks that the study is about.

    Args:
        config: which.
        data: the data directory.

    Raises:
        InvalidInputError: if there is no such pool, arm or kind, or no task is complete.
    """
    path = config.file
    if path is None:
        if data is None:
            raise InvalidInputError(
                f"pool is {config.pool!r}, but no data directory is known; name it with --data"
            )
        path = data / "pools" / config.pool
        if not path.exists():
            raise InvalidInputError(
                f"pool is {config.pool!r}, but there is no {path}; file names a pool elsewhere"
            )
    pool = read_pool(
        path,
        prices=config.prices,
        unknown_tokens=config.unknown_tokens,
        keep_good=config.keep_good,
    )
    for name, arms in config.join.items():
        pool = joined(pool, name, arms)
    pool = pool.with_arms(config.arms or [arm.name for arm in pool.arms])
    pool.with_arms([config.dear, *config.ask])
    kinds = {task.kind for task in pool.tasks}
    for part, named in config.parts.items():
        if unknown := [kind for kind in named if kind not in kinds]:
            raise InvalidInputError(
                f"part {part!r} names {unknown[0]!r}, expected kinds of pool {pool.name}:"
                f" {', '.join(sorted(kinds))}"
            )
    if config.complete:
        counts = pool.there.sum(2)
        whole = np.flatnonzero((counts == counts.max(0)).all(1))
        if not len(whole):
            raise InvalidInputError(
                f"no task of pool {pool.name} has all samples of all arms; leave complete out"
            )
        pool = pool.part(whole)
    return asked(pool)


def asked(pool: Pool) -> Pool:
    """The pool without tasks that none of its arms was asked on."""
    return pool.part(np.flatnonzero(pool.there.any((1, 2))))
