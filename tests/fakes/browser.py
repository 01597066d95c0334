"""A headless Chromium that is driven through its own pipe, without a package for it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
_SECONDS = 90


class Browser:
    """One tab.

    Attributes:
        events: that the browser has told of, by name.
    """

    def __init__(self, read: int, write: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._read, self._write, self._buffer, self._last, self._session = read, write, b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Asks the browser for something."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (heard := self._hear()).get("id") != self._last:
            self.events.append(heard)
        assert "error" not in heard, heard
        result: dict[str, Any] = heard["result"]
        return result

    def show(self, url: str, width: int, *, scheme: str = "light", **headers: str) -> None:
        """Opens a page and waits until it is there."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Network.setExtraHTTPHeaders", headers=headers)
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not self.told("Page.loadEventFired"):
            self.events.append(self._hear())

    def told(self, name: str) -> list[dict[str, Any]]:
        """Events of a name since the page was opened."""
        return [each["params"] for each in self.events if each.get("method") == name]

    def value(self, expression: str) -> Any:
        """What an expression in the page is."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Presses a key and lets it go."""
        codes = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " ")}
        code, text = codes.get(key) or (ord(key.upper()), key)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text,
                windowsVirtualKeyCode=code,
            )  # fmt: skip

    def write(self, text: str) -> None:
        """Writes into what has the focus."""
        self.call("Input.insertText", text=text)

    def wait(self, condition: str) -> None:
        """Waits until an expression in the page is true."""
        again = f"if ({condition}) {{ clearInterval(at); met(true); }}"
        late = f"setTimeout(() => met(false), {1000 * _SECONDS})"
        told = f"met => {{ const at = setInterval(() => {{ {again} }}, 20); {late}; }}"
        assert self.value(f"new Promise({told})"), condition

    def picture(self, top: int = 0, height: int = 0, **form: Any) -> bytes:
        """A part of the page, or all of it, as PNG unless another form is asked for."""
        width, whole = self.value("[innerWidth, document.body.getBoundingClientRect().bottom]")
        clip = {"x": 0, "y": top, "width": width, "height": height or whole, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True, **form)
        return base64.b64decode(shot["data"])

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        heard: dict[str, Any] = json.loads(message)
        return heard


@contextmanager
def browser() -> Iterator[Browser]:
    """Starts a browser, and ends it."""
    to_it, from_it = os.pipe(), os.pipe()
    # It reads what it is asked from file 3 and answers into file 4.
    shell = f'exec 3<&{to_it[0]} 4>&{from_it[1]}; exec "$@"'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                *("bash", "-c", shell, "bash", CHROMIUM, "--headless", "--no-sandbox"),
                *("--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
                *("--disable-background-networking", f"--user-data-dir={profile}"),
                "--remote-debugging-pipe",
            ],
            pass_fds=(to_it[0], from_it[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it[0])
        os.close(from_it[1])
        try:
            yield Browser(from_it[0], to_it[1])
        finally:
            process.kill()
            process.wait(_SECONDS)
            os.close(to_it[1])
            os.close(from_it[0])
