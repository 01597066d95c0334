"""The report in a browser: nothing of others runs, nothing hangs over, keys suffice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.browser import CHROMIUM, Browser, browser
from tests.fakes.files import ROOT
from tests.fakes.runs import run, step

from amp.report.lattice_page import ArmShown, PlanShown, StepShown, lattice_page
from amp.report.pages import run_page
from amp.report.report import make_report
from amp.report.runs import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
]

AXE = ROOT / ".venv" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
HOSTILE = (
    "</script><img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
)
LONG = HOSTILE + "m" * 200


def hostile_runs() -> tuple[Run, Run]:
    """Two runs of long plans that part at the second step, all of whose texts are hostile."""
    made = []
    for name, other in (("fixed " + LONG, "left"), ("adaptive " + LONG, "right")):
        steps = (step(90, LONG), step(80, LONG + other), *[step(70, LONG)] * 4)
        one = run(name, [True, False, True], 100)
        episodes = (replace(e, steps=steps, ended=LONG) for e in one.episodes)
        made.append(replace(one, episodes=tuple(episodes), benchmark=LONG, model=LONG))
    return made[0], replace(made[1], kind="adaptive")


def check(tab: Browser, width: int) -> None:
    """What holds at each width, in light and dark."""
    tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.value("document.title") != "ran"
    assert tab.value("document.querySelectorAll('img').length") == 0
    assert LONG in tab.value("document.body.textContent")
    assert tab.value("document.documentElement.scrollWidth") <= width
    # The policy has refused nothing, and lets nothing of others run.
    assert [each["entry"]["text"] for each in tab.told("Log.entryAdded")] == []


def drawn(tab: Browser) -> None:
    """Waits until plotly has drawn every figure."""
    waiting = (
        "[...document.querySelectorAll('.plotly-graph-div')].some(d => !d.querySelector('svg'))"
    )
    tab.value(
        "new Promise(done => { const look = () =>"
        f" {waiting} ? setTimeout(look, 50) : done(); look(); }})"
    )


def test_the_report_is_well_in_a_browser(tmp_path: Path) -> None:
    runs = hostile_runs()
    page = tmp_path / "report.html"
    page.write_text(run_page(make_report(runs), runs), encoding="utf-8")
    with browser() as tab:
        for width in (1280, 420):
            for scheme in ("light", "dark"):
                tab.show(page.as_uri(), width, scheme=scheme)
                drawn(tab)
                check(tab, width)
                if (width, scheme) in ((1280, "light"), (420, "dark")):  # some 20 s each
                    assert serious_faults(tab) == []
                (tmp_path / f"{width}-{scheme}.png").write_bytes(tab.picture())
        opened_and_filtered_by_keys(tab)
        refused(tab, page)


def test_plans_on_a_lattice_are_well_in_a_browser(tmp_path: Path) -> None:
    arms = tuple(ArmShown(f"{n}{LONG}", LONG, (LONG,), "goes on", 5e9, n / 4) for n in range(3))
    one = StepShown((arms[0].name,), arms[2].name, 0.5, arms, {"plan_left": 0.5})
    same = StepShown((arms[2].name,), arms[2].name, 0.0, arms)
    run, _ = hostile_runs()
    plans = [PlanShown(LONG, e, e, (one, *[same] * 5)) for e in run.episodes]
    page = tmp_path / "plans.html"
    page.write_text(lattice_page(LONG, plans, "FLOPs", 0.9), encoding="utf-8")
    with browser() as tab:
        for width, scheme in ((1280, "light"), (420, "dark")):
            tab.show(page.as_uri(), width, scheme=scheme)
            check(tab, width)
            assert serious_faults(tab) == []
        tab.value("document.getElementById('parting').click()")
        shown = "[...document.querySelectorAll('li')].filter(one => one.offsetHeight).length"
        assert tab.value(shown) == len(plans)


def serious_faults(tab: Browser) -> list[object]:
    """What axe finds; nothing without it (make .venv/axe/built)."""
    if not AXE.exists():
        return []
    tab.value(AXE.read_text(encoding="utf-8") + ";0")
    found = tab.value("axe.run().then(told => [told.passes.length, told.violations])")
    assert found[0] > 10
    return [
        (one["id"], [node["html"] for node in one["nodes"]][:3])
        for one in found[1]
        if one["impact"] in ("serious", "critical")
    ]


def opened_and_filtered_by_keys(tab: Browser) -> None:
    """The tab goes through filter, task and step; Space and Enter do the rest."""
    tab.value("document.querySelectorAll('details').forEach(one => one.open = false)")
    tab.value("document.getElementById('parting').focus()")
    height = "document.querySelector('.timeline li.same').getBoundingClientRect().height"
    shown = (
        "[...document.querySelectorAll('.plan')[0].querySelectorAll('li')]"
        ".filter(one => one.checkVisibility({visibilityProperty: true})).length"
    )
    tab.press("Tab")
    assert tab.value("document.activeElement.parentElement.className") == "plan"
    tab.press("Enter")
    assert tab.value("document.querySelector('.plan').open")
    assert tab.value(shown) == 12
    tab.press("Tab")
    tab.press("Enter")
    assert tab.value("document.activeElement.parentElement.open")
    assert tab.value("document.activeElement.closest('li') !== null")
    tab.value("document.getElementById('parting').focus()")
    tab.press(" ")
    assert tab.value("document.getElementById('parting').checked")
    assert tab.value(height) == 0
    assert tab.value(shown) == 2


def refused(tab: Browser, page: Path) -> None:
    """Even a text that escaping missed could not run."""
    html = page.read_text(encoding="utf-8")
    missed = HOSTILE.removeprefix("</script>")
    page.write_text(html.replace("<main>", f"<main>{missed}"), encoding="utf-8")
    tab.show(page.as_uri(), 1280)
    drawn(tab)
    assert tab.value("document.title") != "ran"
    said = json.dumps([each["entry"]["text"] for each in tab.told("Log.entryAdded")])
    assert said.count("Content Security Policy") >= 2
