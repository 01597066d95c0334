from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.shop_catalogue import write_data

from amp.benchmarks.webshop.shop import Shop, load_shop


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def own_cache(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catalogues are built away from the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", cache)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of benchmarks' data that holds the invented catalogue."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="session")
def shop(data: Path, cache: str) -> Shop:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        return load_shop(data / "webshop", "small")
