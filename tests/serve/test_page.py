"""The page of a gateway: sums that add up, charts within their frames, texts that stay texts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.two_models import CHEAP, DEAR, priced, question, two_models
from tests.fakes.upstream import serving
from tests.serve.running import Running, gateway
from tests.serve.test_desk import PRICES, Office

from amp.allocate.policy_file import CurvePoint
from amp.models.base import ModelCard
from amp.serve.accounts.sqlite import SqliteAccounts
from amp.serve.app import make_app
from amp.serve.config import ServeConfig
from amp.serve.decide.base import CallArm, CallDecision, Forecast
from amp.serve.decide.memory import Spending, Sums
from amp.serve.exchange import Bounds
from amp.serve.page import view as charts
from amp.serve.page.view import ChartPoint, chart, money, page_of, view
from amp.serve.traffic.sums import sums_in
from amp.serve.traffic.tables import (
    WHOLE_EPISODE,
    Answer,
    Call,
    Shadowed,
    TrafficFile,
    write_call,
    write_outcome,
    write_shadow,
)
from amp.serve.traffic.writer import Traffic
from amp.serve.upstreams.fleet import Route
from amp.serve.upstreams.upstream import UpstreamConfig
from amp.usage import Usage


def card(name: str, price: float) -> ModelCard:
    return ModelCard(
        name,
        dollars_per_million_prompt_tokens=price,
        dollars_per_million_cached_tokens=price / 10,
        dollars_per_million_completion_tokens=4 * price,
    )


CARDS = {name: card(name, price) for name, price in (("a", 1.0), ("b", 3.0), ("c", 0.5))}
CARDS["unknown"] = replace(card("unknown", 1.0), dollars_per_million_prompt_tokens=None)
MODELS = st.sampled_from(sorted(CARDS))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, str, CallDecision, Usage]:
    """Key, route and model of a call, what it got, and its usage without dollars."""
    arms = draw(
        st.lists(st.builds(CallArm, MODELS, samples=st.integers(1, 3)), min_size=1, max_size=4)
    )
    forecasts = tuple(Forecast(arm, masked=draw(st.sampled_from(("", "no")))) for arm in arms)
    tokens = st.integers(0, 10_000)
    usage = Usage(1, draw(tokens) + 500, draw(st.integers(0, 500)), draw(tokens))
    names = st.sampled_from(("", "ann", "bob"))
    decision = CallDecision(draw(st.sampled_from(arms)), "rules", "", forecasts)
    return draw(names), draw(st.sampled_from(("*", "amp/x"))), draw(MODELS), decision, usage


def booked(
    made: Sequence[tuple[str, str, str, CallDecision, Usage]], surcharge: float = 0.0
) -> Spending:
    books = Spending()
    for key, route, asked, decision, usage in made:
        own = CARDS[decision.arm.model]
        paid = cost(usage, own) + surcharge
        books.note(key, route, asked, decision, CARDS, replace(usage, dollars=paid))
    return books


def cost(usage: Usage, own: ModelCard) -> float:
    price = own.dollars_per_million_prompt_tokens or 0.0
    fresh = usage.prompt_tokens - 0.9 * usage.cached_prompt_tokens
    return price * (fresh + 4.0 * usage.completion_tokens) / 1e6


@pytest.mark.slow
@given(st.lists(calls(), max_size=8), st.sampled_from((0.0, 0.01)))
@settings(max_examples=40, deadline=None)
def test_sums_by_key_and_by_route_are_sums_of_the_same(made: Any, surcharge: float) -> None:
    books = booked(made, surcharge)
    whole = sum(books.by_key().values(), Sums())
    by_route = sum(books.by_route().values(), Sums())
    assert whole.usage.model_calls == by_route.usage.model_calls == len(made)
    assert whole.usage.dollars == pytest.approx(by_route.usage.dollars)
    assert whole.dearest.calls == by_route.dearest.calls <= len(made)
    assert whole.dearest.saved == pytest.approx(by_route.dearest.saved)
    # The dearest arm is never cheaper, and what was asked for never dearer than that.
    assert whole.dearest.saved >= -1e-12
    for key in ("", "ann", "bob"):
        own = booked([each for each in made if each[0] == key], surcharge)
        assert books.by_key(key) == own.by_key()
        assert books.by_route(key) == own.by_route()


@pytest.mark.slow
@given(calls())
@settings(max_examples=40, deadline=None)
def test_what_was_asked_for_saves_nothing(call: Any) -> None:
    key, route, _, decision, usage = call
    arm = decision.arm
    alone = replace(decision, forecasts=(Forecast(arm),))
    (sums,) = booked([(key, route, arm.model, alone, usage)], 0.01).by_key().values()
    assert sums.asked.saved == pytest.approx(0.0, abs=1e-12)
    assert sums.dearest.saved == pytest.approx(0.0, abs=1e-12)
    assert sums.asked.calls == (arm.model != "unknown")


def test_another_model_is_priced_at_the_same_tokens() -> None:
    usage = Usage(1, 1_000, 400, 100)
    offers = tuple(Forecast(CallArm(name)) for name in ("b", "a", "c"))
    books = booked([("ann", "*", "b", CallDecision(CallArm("a"), "rules", "", offers), usage)])
    sums = books.by_key()["ann"]
    assert sums.asked.other == pytest.approx(cost(usage, CARDS["b"]))
    assert sums.asked.saved == sums.dearest.saved
    assert sums.asked.saved == pytest.approx(2 * cost(usage, CARDS["a"]))


def test_an_arm_that_could_not_be_chosen_is_no_saving() -> None:
    usage = Usage(1, 1_000, 400, 100)
    offers = (Forecast(CallArm("a")), Forecast(CallArm("b"), masked="may cost $1"))
    sums = booked(
        [("", "*", "b", CallDecision(CallArm("a"), "rules", "", offers), usage)]
    ).by_key()[""]
    assert (sums.dearest.calls, sums.dearest.saved) == (1, 0.0)
    assert sums.asked.calls == 0


@pytest.mark.slow
@given(st.floats(-1e6, 1e6))
def test_an_amount_is_read_as_it_was(dollars: float) -> None:
    text = money(dollars)
    assert re.fullmatch(r"-?\$[\d,]+\.\d{2,9}", text)
    assert float(re.sub("[$,]", "", text)) == pytest.approx(dollars, rel=6e-3, abs=1e-9)


PLACES = st.builds(
    ChartPoint, st.text(), st.floats(0, 1e9), st.floats(0, 1), st.just(""), st.booleans()
)  # fmt: skip


@pytest.mark.slow
@given(st.lists(PLACES, max_size=30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_chart_stays_within_its_frame(places: list[ChartPoint], line: bool) -> None:
    made = chart("", "", places, line=line)
    assert len(made["dots"]) == len(made["rows"]) == min(26, len(places))
    for x, y, _, _ in made["dots"]:
        assert charts.LEFT <= x <= charts.WIDTH - charts.RIGHT
        assert charts.TOP - 0.1 <= y <= charts.HEIGHT - charts.BOTTOM + 0.1
    across = [x for x, *_ in made["dots"]]
    assert across == sorted(across)


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prices") / "prices.toml"
    path.write_text(PRICES)
    return path


def used(prices: Path, key: str, episode: str, model: str) -> Office:
    office = Office(prices, "small@low", "large")
    ruling = office.decide(headers={"x-amp-episode": episode}, model=model)
    office.desk.begun(ruling, key)
    office.desk.settled(ruling, 200, Usage(1, 1_000, 0, 100, dollars=0.0014))
    return office


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[tuple[str, tuple[str, ...]]] = set()
        self.texts = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.texts += data


async def read(office: Office) -> tuple[Tags, str]:
    html, policy = await page_of(office.desk, None, None)
    tags = Tags()
    tags.feed(html.decode())
    return tags, policy


NASTY = st.one_of(
    st.text(),
    st.sampled_from(
        (
            "</td><script>alert(1)</script>",
            "'\"><img src=x onerror=alert(1)>",
            "{{ 7 * 7 }}",
            "&lt;",
        )
    ),
)


@pytest.mark.slow
@given(
    NASTY,
    NASTY.filter(lambda text: len(text) <= 200 and text.isprintable()),
    NASTY.filter(lambda text: 0 < len(text) <= 500 and text.isprintable()),
)
@settings(max_examples=30, deadline=None)
async def test_whatever_clients_call_things_is_text(
    prices: Path, key: str, episode: str, model: str
) -> None:
    plain, _ = await read(used(prices, "ann", "ticket", "small"))
    page, policy = await read(used(prices, key, episode, model))
    assert page.tags == plain.tags
    shown = "".join(model.split())[:300].encode("utf-8", "replace").decode()
    assert shown in "".join(page.texts.split())
    assert "script" not in {tag for tag, _ in page.tags}
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


async def test_a_name_without_end_does_not_fill_the_page(prices: Path) -> None:
    html, _ = await page_of(used(prices, "k" * 100_000, "x", "m" * 500).desk, None, None)
    assert b"m" * 300 + b"..." in html
    assert len(html) < 30_000


def test_a_key_sees_its_own_alone(prices: Path) -> None:
    office = used(prices, "ann", "of ann", "small")
    ruling = office.decide(headers={"x-amp-episode": "of bob"}, model="large")
    office.desk.begun(ruling, "bob")
    office.desk.settled(ruling, 200, Usage(1, 1_000, 0, 100, dollars=0.014))
    mine = view(office.desk, None, "bob", 0.0)
    assert "ann" not in json.dumps(mine)
    assert [row[0] for row in mine["by_key"]] == ["bob"]
    assert [row[0] for row in view(office.desk, None, None, 0.0)["by_key"]] == ["bob", "ann"]


def test_the_curve_of_a_learned_policy_is_for_those_who_see_all(
    prices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = used(prices, "ann", "", "small")
    curve = (
        *(CurvePoint(at, 50.0, 0.7, 0.001) for at in (0.0, 0.5)),
        CurvePoint(1.0, 90.0, 0.9, 0.01),
    )
    ((route, _),) = office.desk.routes()
    monkeypatch.setattr(office.desk, "routes", lambda: [(route, Curved(curve))])
    (made,) = view(office.desk, None, None, 0.0)["charts"]
    assert made["title"] == "Policy curved"
    assert [row[1] for row in made["rows"]] == ["0, 0.5", "1 (runs here)"]
    assert view(office.desk, None, "ann", 0.0)["charts"] == []


class Curved:
    """Of a policy what the page reads."""

    name, trade_off = "curved", 1.0

    def __init__(self, curve: tuple[CurvePoint, ...]) -> None:
        self.curve = curve


# ------------------------------------------------------------------------------------ traffic


@st.composite
def watched(draw: st.DrawFn) -> list[tuple[Call, Shadowed | None]]:
    found = []
    for number in range(draw(st.integers(1, 8))):
        usage = Usage(1, 10, 0, 5, dollars=draw(st.sampled_from((0.0, 1.0, 2.5))))
        key, episode = draw(st.sampled_from(("ann", "bob"))), draw(st.sampled_from(("", "e", "f")))
        arm = draw(st.sampled_from(("cheap", "dear")))
        call = Call(
            *(key, episode, number, "openai", arm, "rules", "", "kind", {}, 10, usage),
            *(draw(st.sampled_from((200, 200, 500))), "request", "answer"),
            id=(number + 1) << 10,
        )
        shadow = None
        if draw(st.booleans()):
            own = Answer(10, 5, draw(st.sampled_from((1.0, 3.0))), "x")
            same = draw(st.sampled_from((True, False, None)))
            drawn = draw(st.sampled_from(("cheap", "dear")))
            shadow = Shadowed(call.id, drawn, "dear", same, 0.5, own, Answer(10, 5, 3.0, "y"))
        found.append((call, shadow))
    return found


@pytest.mark.slow
@given(watched(), st.sampled_from((None, "ann", "nobody")))
@settings(max_examples=25, deadline=None)
def test_sums_of_traffic_are_those_of_its_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, key: str | None
) -> None:
    file = TrafficFile(tmp_path_factory.mktemp("traffic") / "t.sqlite")
    with file.file.transaction() as connection:
        for call, shadow in rows:
            write_call(connection, call)
            if shadow:
                write_shadow(connection, shadow)
        write_outcome(connection, "ann", "e", WHOLE_EPISODE, 1.0, "")
        write_outcome(connection, "bob", "f", WHOLE_EPISODE, 0.25, "")
        found = sums_in(connection, key)
    kept = [each for each in file.labelled() if key in (None, each.call.key)]
    file.close()
    shadowed = [each for each in kept if each.shadow]
    assert sum(one.calls for one in found.held) == len(shadowed)
    assert sum(one.same for one in found.held) == sum(
        bool(each.shadow and each.shadow.same) for each in shadowed
    )
    assert sum(one.calls for one in found.judged) == sum(e.success is not None for e in kept)
    assert (found.measured is None) == (not shadowed)
    if found.measured is not None:
        assert found.measured.paid == sum(each.call.usage.dollars for each in shadowed)
        assert found.measured.dear == 3.0 * len(shadowed)
        assert found.measured.saved == 1.0 - found.measured.paid / found.measured.dear
        assert (found.measured.error is None) == (found.measured.episodes == 1)


@pytest.mark.slow
async def test_traffic_that_cannot_be_read_is_said_in_a_line(prices: Path, tmp_path: Path) -> None:
    traffic = Traffic(tmp_path / "t.sqlite")
    (tmp_path / "t.sqlite").rename(tmp_path / "away.sqlite")
    html, _ = await page_of(used(prices, "ann", "x", "small").desk, traffic, None)
    assert "Traffic can't be read" in html.decode()
    assert "vanished while in use" in html.decode()
    traffic.close()


# ------------------------------------------------------------------------------------ who may


async def seen(url: str, path: str = "/", **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=60) as client:
        return await client.get(url + path, headers=headers)


async def ask(amp: Running, **headers: str) -> None:
    async with httpx2.AsyncClient(timeout=60) as client:
        body = question("You add two numbers.", 1, 2)
        got = await client.post(f"{amp.v1}/chat/completions", json=body, headers=headers)
        assert got.status_code == 200


@pytest.mark.slow
async def test_without_keys_this_machine_sees_all(tmp_path: Path) -> None:
    route = Route("amp/auto", arms=(CHEAP, DEAR))
    async with (
        serving(two_models) as upstream,
        gateway(upstream.url, routes=[route], prices=priced(tmp_path)) as amp,
    ):
        assert "No call was charged yet" in (await seen(amp.url)).text
        await ask(amp)
        page = await seen(amp.url)
        assert page.status_code == 200
        assert "amp/auto" in page.text
        for option in ("--accounts FILE", "--policy rules", "--traffic FILE --shadow"):
            assert option in page.text
        assert page.headers["cache-control"] == "no-store"
        assert "script" not in page.headers["content-security-policy"]
        async with httpx2.AsyncClient(timeout=60) as client:
            assert (await client.head(amp.url)).status_code == 200
            assert (await client.post(amp.url, content=b"{}")).status_code == 405
        # A name that leads here from a web page of others.
        assert (await seen(amp.url, host="evil.example")).status_code == 403
        assert len(upstream.asked) == 1


@pytest.mark.slow
async def test_with_keys_each_sees_its_own_and_the_operator_all(tmp_path: Path) -> None:
    accounts = SqliteAccounts(tmp_path / "accounts.sqlite")
    ann, bob, boss = (accounts.accounts.add(name) for name in ("ann", "bob", "boss"))
    bounds = Bounds(operator="boss")
    async with (
        serving(two_models) as upstream,
        gateway(
            UpstreamConfig(upstream.url, passes_keys=False), prices=priced(tmp_path),
            routes=[Route("amp/auto", arms=(CHEAP, DEAR))], accounts=accounts, bounds=bounds,
        ) as amp,
    ):  # fmt: skip
        await ask(amp, authorization=f"Bearer {ann}")
        nobody = await seen(amp.url)
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"].startswith("Basic ")
        async with httpx2.AsyncClient(timeout=60) as client:
            pages = {
                name: (await client.get(amp.url, auth=httpx2.BasicAuth("any", key))).text
                for name, key in (("ann", ann), ("bob", bob), ("boss", boss))
            }
        assert "<b>ann</b>" in pages["ann"]
        assert "amp/auto" in pages["ann"]
        assert "amp/auto" not in pages["bob"]
        assert "No call was charged yet" in pages["bob"]
        assert re.search(r">ann</td>", pages["boss"])
        assert not any(key in page for key in (ann, bob, boss) for page in pages.values())
        for key, count in ((ann, 1), (bob, 0), (boss, 1)):
            told = await seen(amp.url, "/v1/amp/decisions", authorization=f"Bearer {key}")
            assert len(told.json()["decisions"]) == count
        for odd in ("Basic", "Basic !!!", "Basic /w==", "Digest x"):
            assert (await seen(amp.url, authorization=odd)).status_code == 401


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8080", 200),
        ("::1", "localhost", 200),
        ("10.0.0.9", "127.0.0.1:8080", 403),
        ("127.0.0.1", "evil.example", 403),
    ],
)
@pytest.mark.slow
async def test_another_machine_sees_nothing_without_a_key(
    address: str, host: str, status: int
) -> None:
    told = ServeConfig(
        [UpstreamConfig("http://127.0.0.1:9/v1", name="up")], bounds=Bounds(local_only=False)
    )
    transport = httpx2.ASGITransport(make_app(told), client=(address, 4711))
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        assert (await client.get("/")).status_code == status
        assert (await client.get("/v1/amp/decisions")).status_code == status
