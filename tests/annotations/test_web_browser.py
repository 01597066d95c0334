"""Rating in a browser: keys suffice, nothing of a model runs, and there is no fault of access."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.annotations.test_web import Client, serving
from tests.fakes.browser import CHROMIUM, Browser, browser

from amp.annotations.collect import AnnotationItem
from amp.annotations.store import parse_annotations
from amp.annotations.study import Study
from amp.annotations.web import StudyServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
]

AXE = Path(__file__).parents[2] / ".venv/axe/node_modules/axe-core/axe.min.js"
"""Where `make .venv/axe/built` puts it."""

HOSTILE = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>{{7*7}}"
LONG = HOSTILE + "m" * 200
ITEMS = [
    AnnotationItem(
        f"task {LONG}",
        step,
        f"goal {LONG}",
        f"state {step}\n{LONG}",
        (LONG,) * step,
        (LONG, "go") * step,
    )
    for step in range(3)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "annotations.jsonl"


@pytest.fixture
def server(path: Path) -> Iterator[StudyServer]:
    with serving(Study(ITEMS, path, ("ann", "ben"))) as server:
        yield server


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as tab:
        yield tab


def opened(tab: Browser, address: str, width: int = 1280, scheme: str = "light") -> None:
    tab.show("about:blank", width, scheme=scheme)
    tab.show(address, width, scheme=scheme)
    tab.wait("view !== null")


def press(tab: Browser, key: str, said: str) -> None:
    """Presses a key and waits for what the page says of it."""
    tab.value("say('')")
    tab.press(key)
    tab.wait(f"!busy && document.getElementById('said').textContent.startsWith({said!r})")


def rated(path: Path) -> list[tuple[str, int, float, str]]:
    text = path.read_text() if path.exists() else ""
    return [(n.by[7:], n.step, n.complexity, n.why) for n in parse_annotations(text).good]


def text(tab: Browser, name: str) -> Any:
    return tab.value(f"document.getElementById({name!r}).textContent")


def test_steps_are_rated_by_keys(tab: Browser, server: StudyServer, path: Path) -> None:
    address = server.addresses["ann"]
    opened(tab, address)
    assert text(tab, "who") == "ann: 0 of 3 steps rated"
    press(tab, "4", "rated 4")
    assert rated(path) == [("ann", 0, 0.75, "")]
    press(tab, "w", "")
    tab.write("it takes 2 keys")
    tab.press("5")  # a digit of the reason, and no rating
    assert tab.value("document.activeElement.value") == "it takes 2 keys5"
    opened(tab, address)  # what is not sent yet outlives a reload
    assert tab.value("document.getElementById('why').value") == "it takes 2 keys5"
    press(tab, "w", "")
    tab.press("Escape")
    press(tab, "2", "rated 2")
    assert rated(path)[1:] == [("ann", 1, 0.25, "it takes 2 keys5")]
    assert tab.value("document.getElementById('why').value") == ""
    press(tab, "s", "skipped")
    assert text(tab, "title").startswith("Step 3 of task")
    press(tab, "u", "taken back: 2")
    assert tab.value("document.getElementById('why').value") == "it takes 2 keys5"
    assert len(rated(path)) == 1
    press(tab, "1", "rated 1")
    press(tab, "5", "rated 5")
    assert text(tab, "title") == "Nothing is left to be rated. Thank you."
    for key in ("1", "s", "w"):
        tab.press(key)
    assert rated(path)[1:] == [("ann", 1, 0.0, "it takes 2 keys5"), ("ann", 2, 1.0, "")]
    opened(tab, address)
    assert text(tab, "who") == "ann: 3 of 3 steps rated"
    press(tab, "u", "taken back: 5")
    assert text(tab, "title").startswith("Step 3 of task")


def test_buttons_do_what_keys_do(tab: Browser, server: StudyServer, path: Path) -> None:
    opened(tab, server.addresses["ann"], 420)
    tab.value("document.querySelectorAll('.rate')[2].click()")
    tab.wait("!busy && view.rated === 1")
    tab.value("document.getElementById('undo').click()")
    tab.wait("!busy && view.rated === 0")
    assert tab.value("document.querySelector('.was').textContent").startswith("3moderate")
    tab.value("document.querySelectorAll('.rate')[0].focus()")
    tab.press("Enter")
    tab.wait("!busy && view.rated === 1")
    assert rated(path) == [("ann", 0, 0.0, "")]


def test_a_second_tab_rates_nothing_twice(tab: Browser, server: StudyServer, path: Path) -> None:
    opened(tab, server.addresses["ann"])
    other = Client(server.addresses["ann"])
    assert other.ask("/rate", {"at": 0, "rating": 5}).status == 200
    press(tab, "1", "nothing was changed")
    assert rated(path) == [("ann", 0, 1.0, "")]
    assert text(tab, "title").startswith("Step 2 of task")


def test_a_key_that_is_held_rates_one_step(tab: Browser, server: StudyServer, path: Path) -> None:
    opened(tab, server.addresses["ann"])
    tab.value(
        "for (const repeat of [false, true, true])"
        " document.dispatchEvent(new KeyboardEvent('keydown', {key: '2', repeat}));"
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: '3'}))"
    )
    tab.wait("!busy && view.rated > 0")
    assert rated(path) == [("ann", 0, 0.25, "")]


def test_others_show_as_numbers(tab: Browser, server: StudyServer) -> None:
    ben = Client(server.addresses["ben"])
    ben.ask("/rate", {"at": 0, "rating": 5, "why": "secret"})
    opened(tab, server.addresses["ann"])
    ben.ask("/rate", {"at": 1, "rating": 5, "why": "secret"})
    tab.value("look()")
    tab.wait("!busy && document.getElementById('names').textContent.includes('2 of 3')")
    assert text(tab, "names") == "ann0 of 3ben2 of 3"
    assert "secret" not in tab.value("JSON.stringify(view) + document.body.textContent")


def test_an_address_without_its_token_shows_nothing(tab: Browser, server: StudyServer) -> None:
    root = server.addresses["ann"].partition("#")[0]
    tab.show(root, 1280)
    assert tab.value("document.getElementById('work').hidden")
    tab.show("about:blank", 1280)
    tab.show(f"{root}#wrong", 1280)
    tab.wait("document.getElementById('said').textContent.includes('not of this study')")
    assert tab.value("document.getElementById('work').hidden")


def test_a_server_that_ended_is_told_and_the_reason_stays(tab: Browser, path: Path) -> None:
    with serving(Study(ITEMS, path, ("ann",))) as server:
        opened(tab, server.addresses["ann"])
    tab.press("w")
    tab.write("kept")
    tab.press("Escape")
    press(tab, "3", "amp annotate can't be reached")
    assert tab.value("document.getElementById('why').value") == "kept"
    assert rated(path) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_of_a_model_runs_and_nothing_hangs_over(
    tab: Browser, server: StudyServer, width: int, scheme: str
) -> None:
    opened(tab, server.addresses["ann"], width, scheme)
    press(tab, "3", "rated 3")
    assert tab.value("document.title") == "amp annotate"
    assert tab.value("document.querySelectorAll('script').length") == 1
    assert tab.value("document.querySelectorAll('img, iframe').length") == 0
    assert LONG in text(tab, "goal")
    assert tab.value("document.documentElement.scrollWidth") <= width
    # Neither has the policy had anything to refuse.
    assert [each["entry"]["text"] for each in tab.told("Log.entryAdded")] == []
    refused = "try { document.body.innerHTML = '<p>'; 'taken' } catch { 'refused' }"
    assert tab.value(refused) == "refused"


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core; make .venv/axe/built")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_axe_finds_no_fault(tab: Browser, server: StudyServer, width: int, scheme: str) -> None:
    root, _, _ = server.addresses["ann"].partition("#")
    found = []
    for address, rating in ((root, 0), (server.addresses["ann"], 0), (server.addresses["ann"], 3)):
        tab.show("about:blank", width, scheme=scheme)
        tab.show(address, width, scheme=scheme)
        tab.value(AXE.read_text("utf-8") + "; 0")
        if address != root:
            tab.wait("view !== null")
            for _ in range(rating):
                press(tab, "2", "rated 2")
        ran = tab.value("axe.run(document).then(found => JSON.stringify(found.violations))")
        found += [(each["id"], each["impact"], each["help"]) for each in json.loads(ran)]
    assert found == []
