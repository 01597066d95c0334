"""The page of a gateway in a browser: nothing hostile runs, nothing hangs over, keys suffice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from tests.fakes.browser import CHROMIUM, Browser, browser
from tests.fakes.two_models import CHEAP, DEAR, EASY, HARD, priced, question, two_models
from tests.fakes.upstream import serving
from tests.serve.running import Running, gateway

from amp.serve.accounts.keys import KeyLimits
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.serve.exchange import Bounds
from amp.serve.traffic.writer import Watching
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.upstream import UpstreamConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
]

HOSTILE = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>{{7*7}}"
LONG = HOSTILE.ljust(200, "m")  # no name of an episode is longer
ROUTES = [
    Route("amp/auto", policy="rules", arms=(CHEAP, f"{CHEAP}@high", DEAR)),
    Route("*", policy="rules"),
]


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Running, dict[str, str]]]:
    """A gateway that has been in use, by clients who are not all friendly, and its keys."""
    books = SqliteAccounts(folder / "accounts.sqlite")
    keys = {name: books.accounts.add(name) for name in ("ann", "bob", "boss", HOSTILE[:64])}
    books.accounts.add("shadow", KeyLimits(dollars_per_day=1.0))
    watching = Watching(folder / "t.sqlite", shadow=1.0, accounts=folder / "accounts.sqlite")
    async with (
        serving(two_models) as upstream,
        gateway(
            UpstreamConfig(upstream.url, key="sk-of-the-gateway"), routes=ROUTES,
            prices=priced(folder), accounts=books, watching=watching,
            bounds=Bounds(operator="boss"),
        ) as amp,
        httpx2.AsyncClient(timeout=60) as client,
    ):  # fmt: skip
        for at in range(24):
            key = keys[("ann", "bob", HOSTILE[:64])[at % 3]]
            headers = {"authorization": f"Bearer {key}", "x-amp-episode": f"ticket {at // 6}"}
            body = question(HARD if at % 4 == 0 else EASY, at, 7)
            if at % 5 == 0:
                body["model"] = DEAR
            if at % 8 == 0:
                body["model"] = LONG
                headers["x-amp-episode"] = LONG
            answer = await client.post(f"{amp.v1}/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            if at % 6 == 5:
                said = {"episode": f"ticket {at // 6}", "success": at % 4 / 3}
                await asyncio.sleep(0.3)
                await client.post(f"{amp.v1}/amp/outcome", json=said, headers=headers)
        await asyncio.sleep(0.5)
        yield amp, keys


def look(url: str, keys: dict[str, str], folder: Path) -> None:
    with browser() as tab:
        for width in (1280, 420):
            for scheme in ("light", "dark"):
                tab.show(url, width, scheme=scheme, authorization=f"Bearer {keys['boss']}")
                check(tab, width)
                (folder / f"{width}-{scheme}.png").write_bytes(tab.picture())
        opened_by_keys(tab)


def check(tab: Browser, width: int) -> None:
    assert tab.value("document.title") == "amp serve: spend and decisions"
    assert tab.value("document.querySelectorAll('script, img, iframe').length") == 0
    assert LONG in tab.value("document.body.textContent")
    tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.value("document.documentElement.scrollWidth") <= width
    if width < 700:  # where a row is a block, not even tables scroll
        wide = (
            "[...document.querySelectorAll('.wide')].map(one => one.scrollWidth - one.clientWidth)"
        )
        assert max(tab.value(wide)) <= 0
    tab.value("document.querySelectorAll('details').forEach((one, at) => one.open = at == 0)")
    # Neither has the policy had anything to refuse.
    assert [each["entry"]["text"] for each in tab.told("Log.entryAdded")] == []


def opened_by_keys(tab: Browser) -> None:
    first = "document.querySelector('details')"
    was = tab.value(f"{first}.open")
    for _ in range(10):
        tab.press("Tab")
        if tab.value(f"document.activeElement === {first}.querySelector('summary')"):
            break
    tab.press("Enter")
    assert tab.value(f"{first}.open") is not was


async def test_the_page_is_well_in_a_browser(tmp_path: Path) -> None:
    async with served(tmp_path) as (amp, keys):
        await asyncio.to_thread(look, amp.url, keys, tmp_path)
