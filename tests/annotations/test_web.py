"""A study over HTTP: who may ask, what is refused, and that what was rated outlives a kill."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Barrier, Thread
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from amp.annotations.collect import AnnotationItem, annotation_items
from amp.annotations.store import read_annotations
from amp.annotations.study import Study
from amp.annotations.web import MAX_BODY, StudyServer, page
from amp.errors import InvalidInputError
from amp.trace import EPISODES, to_json
from amp.types import Complexity, Episode, Observation, StepRecord, Task, Usage

ITEMS = [AnnotationItem("task", step, "goal", f"state {step}") for step in range(30)]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Client:
    """Asks as the page does, unless told otherwise."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.host, self.token = parts.netloc, parts.fragment

    def ask(
        self, path: str, body: object = None, *, method: str = "", raw: bytes | None = None,
        headers: Mapping[str, str | None] = MappingProxyType({}),
    ) -> Answer:  # fmt: skip
        sent: dict[str, str | None] = {"Host": self.host, "Authorization": f"Bearer {self.token}"}
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        if body is not None or raw is not None:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
            method = method or "POST"
        sent |= headers
        connection = HTTPConnection(self.host, timeout=60)
        try:
            connection.putrequest(method or "GET", path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(content)
            got = connection.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            connection.close()


@contextmanager
def serving(study: Study) -> Iterator[StudyServer]:
    with StudyServer(study) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "annotations.jsonl"


@pytest.fixture
def server(path: Path) -> Iterator[StudyServer]:
    with serving(Study(ITEMS, path, ("ann", "ben"))) as server:
        yield server


@pytest.fixture
def ann(server: StudyServer) -> Client:
    return Client(server.addresses["ann"])


def test_the_token_says_who_rates(server: StudyServer, ann: Client, path: Path) -> None:
    ben = Client(server.addresses["ben"])
    assert ann.ask("/rate", {"at": 0, "rating": 4, "why": "long"}).json["said"] == "rated 4"
    assert ben.ask("/rate", {"at": 0, "rating": 2}).json["raters"] == {"ann": 1, "ben": 1}
    assert ben.ask("/view").json["step"] == dataclasses.asdict(ITEMS[1]) | {
        "plan": [],
        "options": [],
    }
    assert [(n.by, n.complexity, n.why) for n in read_annotations(path).good] == [
        ("person:ann", 0.75, "long"),
        ("person:ben", 0.25, ""),
    ]
    assert ann.ask("/undo", {"at": 1}).json["why"] == "long"
    assert ann.ask("/skip", {"at": 0}).json["at"] == 1


def test_who_has_no_token_gets_the_page_and_nothing_else(ann: Client, path: Path) -> None:
    assert ann.ask("/", headers={"Authorization": None}).body == page()[0]
    for given in (None, "", "Bearer", "Bearer ", f"Basic {ann.token}", f"Bearer {ann.token}x",
                  f"Bearer {ann.token[:-1]}", "Bearer \xff"):  # fmt: skip
        for answer in (
            ann.ask("/view", headers={"Authorization": given}),
            ann.ask("/rate", {"at": 0, "rating": 1}, headers={"Authorization": given}),
        ):
            assert answer.status == 401
            assert "open the one that amp annotate printed" in answer.json["error"]
    assert not path.exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://HOST"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example:80"}, 421),
        ({"Host": None}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Length": None}, 411),
        ({"Content-Length": "-1"}, 411),
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": str(MAX_BODY + 1)}, 413),
    ],
)
def test_what_another_page_could_send_is_refused(
    ann: Client, path: Path, headers: dict[str, str | None], status: int
) -> None:
    headers = {name: value and value.replace("HOST", ann.host) for name, value in headers.items()}
    answer = ann.ask("/rate", {"at": 0, "rating": 1}, headers=headers)
    assert (answer.status, "error" in answer.json) == (status, True)
    assert not path.exists()
    if "Host" in headers or "Origin" in headers or "Sec-Fetch-Site" in headers:
        assert ann.ask("/", headers=headers).status == status
    port = ann.host.rpartition(":")[2]
    own = {"Origin": f"http://localhost:{port}", "Host": f"localhost:{port}"}
    assert ann.ask("/rate", {"at": 0, "rating": 1}, headers=own).status == 200


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no JSON"),
        (b"\xff", "utf-8"),
        (b"[1]", "a JSON list"),
        (b"{}", "rating is None, expected an integer"),
        (b'{"rating": true, "at": 0}', "rating is True, expected an integer"),
        (b'{"rating": 2.5, "at": 0}', "rating is 2.5"),
        (b'{"rating": 6, "at": 0}', "rating is 6, expected 1 to 5"),
        (b'{"rating": 1}', "at is None"),
        (b'{"rating": 1, "at": 0, "why": 3}', "why is 3, expected text"),
        (b'{"rating": 1, "at": 0, "why": "\\ud800"}', "why is not UTF-8"),
        (b'{"rating": 1, "at": 0, "why": "' + b"x" * 2001 + b'"}', "why has 2001 characters"),
        (b"[" * 10000, "no JSON"),
    ],
)
def test_a_request_that_is_wrong_is_told_so(
    ann: Client, path: Path, raw: bytes, reason: str
) -> None:
    answer = ann.ask("/rate", raw=raw)
    assert (answer.status, reason in answer.json["error"]) == (400, True), answer.body
    assert not path.exists()


def test_only_what_is_there_is_answered_and_every_answer_is_guarded(ann: Client) -> None:
    answers = {
        "/": ann.ask("/"),
        "/view": ann.ask("/view"),
        "/view?x": ann.ask("/view?x"),
        "/rate": ann.ask("/rate"),
        "/../page.html": ann.ask("/../page.html"),
        "DELETE": ann.ask("/", method="DELETE"),
    }
    assert [a.status for a in answers.values()] == [200, 200, 404, 404, 404, 501]
    for answer in answers.values():
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "python" not in str(answer.headers).lower()
    for name in ("/", "/view", "/rate"):
        assert "default-src 'none'" in answers[name].headers["content-security-policy"]


def test_the_pages_policy_allows_what_is_on_it_and_no_html_from_text() -> None:
    html, policy = page()
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 2
    text = html.decode()
    assert re.findall(r" on\w+=| style=|innerHTML|outerHTML|insertAdjacent|eval\(", text) == []
    assert re.findall(r"(?:src|href)=", text) == []


def test_nothing_in_an_answer_tells_what_came_of_an_episode(path: Path) -> None:
    seen = []
    for success, action in ((True, "good"), (False, "bad")):
        steps = tuple(
            StepRecord(
                Observation(f"state {i}"), (), Complexity(0.1), action if i else "go", Usage()
            )
            for i in range(2)
        )
        one = Episode(Task("t", "goal"), steps, success, float(success), Usage(), action)
        with serving(Study(annotation_items([one]), path, ("ann",))) as server:
            client = Client(server.addresses["ann"])
            answers = [client.ask("/view").body, client.ask("/rate", {"at": 0, "rating": 3}).body]
        path.unlink()
        seen.append(answers)
    assert seen[0] == seen[1]


def test_one_step_that_many_tabs_rate_at_once_is_rated_once(ann: Client, path: Path) -> None:
    tabs = 8
    gate = Barrier(tabs)
    told: list[str] = []

    def rate(number: int) -> None:
        gate.wait()
        told.append(ann.ask("/rate", {"at": 0, "rating": 1 + number % 5}).json["said"])

    threads = [Thread(target=rate, args=(number,)) for number in range(tabs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_annotations(path).good) == 1
    assert sum(each.startswith("rated") for each in told) == 1


def test_a_file_that_cannot_be_written_loses_nothing(ann: Client, path: Path) -> None:
    path.mkdir()
    answer = ann.ask("/rate", {"at": 0, "rating": 1})
    assert (answer.status, "cannot be read" in answer.json["error"]) == (500, True)
    path.rmdir()
    assert ann.ask("/rate", {"at": 0, "rating": 1}).json["rated"] == 1


def test_an_address_that_is_taken_is_one_line(server: StudyServer, path: Path) -> None:
    study = Study(ITEMS, path, ("ann",))
    for host, port in (("127.0.0.1", server.server_port), ("256.1.1.1", 0)):
        with pytest.raises(InvalidInputError, match=rf"cannot listen at {re.escape(host)} port"):
            StudyServer(study, host, port)


@pytest.mark.slow
def test_what_was_answered_outlives_a_kill(tmp_path: Path, path: Path) -> None:
    steps = tuple(
        StepRecord(Observation(f"state {i}"), (), Complexity(0.0), f"act {i}", Usage())
        for i in range(30)
    )
    one = Episode(Task("t", "goal"), steps, True, 1.0, Usage(), "done")
    (tmp_path / EPISODES).write_text(to_json(one) + "\n")
    arguments = ["annotate", str(tmp_path), "--web", "--by", "ann", "--by", "ben"]
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "amp", *arguments, "--out", str(path)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        assert process.stdout is not None
        with process.stdout as told:
            found = re.match(r"ann: (\S+)$", told.readline())
            assert found, "no address"
            client = Client(found[1])
            before = client.ask("/view").json
            for number in range(3):
                at = before["at"] + number
                assert client.ask("/rate", {"at": at, "rating": 5}).json["rated"] == at + 1
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert [note.step for note in read_annotations(path).good] == list(range(at + 1))
    assert before["at"] == 3
