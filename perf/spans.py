"""Measures how long `amp export --to otlp` takes on 10,000 steps.

The run is made up, as those of `perf.reports`. CPU seconds are those of the whole command; a
collector of this process takes the spans, and only counts bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rich.console import Console

from perf.reports import STEPS, made_run, seconds_of_children

TASKS = 1_000


class _Collector(BaseHTTPRequestHandler):
    taken = 0

    def do_POST(self) -> None:
        type(self).taken += len(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def exports() -> list[tuple[str, float, str, float]]:
    """What was measured, its value, and the promise that it keeps or breaks."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}"}
    with tempfile.TemporaryDirectory() as folder:
        run = made_run(Path(folder) / "run", 0, TASKS)
        command = [sys.executable, "-m", "amp", "export", str(run), "--to", "otlp"]
        before = seconds_of_children()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | variables)
        seconds = seconds_of_children() - before
    server.shutdown()
    Console(stderr=True).print(f"{_Collector.taken / 1e6:.1f} MB of spans were taken")
    return [(f"amp export of {TASKS * STEPS:,} steps, in CPU-s", seconds, "<", 10.0)]


if __name__ == "__main__":
    for name, value, sign, bound in exports():
        Console().print(f"{name}: {value:.2f} (promised {sign} {bound:g})")
