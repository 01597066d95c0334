"""Prices of models in pools."""

from __future__ import annotations

from pathlib import Path

import pytest

from amp.errors import InvalidInputError
from amp.pools.pool import PoolPrice, read_pool_prices


def test_the_users_table_wins_and_the_shipped_one_has_the_rest(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('"gpt-4" = { prompt = 1, completion = 2 }')
    prices = read_pool_prices(own)
    assert prices["gpt-4"] == PoolPrice(1, 2)
    assert prices["gpt-4o-mini"] == read_pool_prices()["gpt-4o-mini"] == PoolPrice(0.15, 0.6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"m" = { prompt = -1, completion = 2 }', "m.prompt is -1, expected"),
        ('"m" = { prompt = 1 }', "m.completion"),
        ('"m" = { prompt = 1, completion = 2, cached = 1 }', "m.cached"),
        ('"m" = 3', "m is 3, expected a table"),
    ],
)
def test_a_wrong_price_is_named_with_file_and_field(
    line: str, message: str, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(line)
    with pytest.raises(InvalidInputError) as raised:
        read_pool_prices(own)
    assert str(own) in str(raised.value)
    assert message in str(raised.value)
