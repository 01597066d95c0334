"""Ways to run the gateway elsewhere: what the files in deploy/ make is what they promise."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.dockerfile import carry_out
from tests.fakes.files import ROOT

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy"
TOOLS = ROOT / ".venv" / "deploy"
CHARTS = [
    (),
    (
        "upstreamKey.secret=provider",
        "accounts.file.enabled=true",
        "accounts.file.storageClass=fast",
    ),
    ("accounts.redis.secret=redis", "replicas=3", "args={--policy=rules,--explain}"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="amp-image-") as name:
        made = Path(name)
        made.chmod(0o755)
        (made / "bin").mkdir()
        system = Path("/usr/bin/python3.11")
        (made / "bin" / "python").symlink_to(system if system.exists() else sys.executable)
        yield made


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_the_steps_of_the_dockerfile_make_a_gateway_that_runs_without_rights(folder: Path) -> None:
    image = carry_out(DEPLOY / "Dockerfile", ROOT, folder)
    other = (folder / "bin" / "python").resolve().is_relative_to("/usr") and os.geteuid() == 0
    rights = {"user": image.user[0], "group": image.user[1]} if other and image.user else {}
    options = {"cwd": image.here(image.workdir), "env": image.environment(), **rights}
    port = free_port()
    program = shutil.which(image.entrypoint[0], path=image.environment()["PATH"])
    assert program == f"{image.root}/venv/bin/amp"
    command = [program, *image.entrypoint[1:], "--upstream", "http://127.0.0.1:9/v1"]
    gateway = subprocess.Popen(  # type: ignore[call-overload]  # the options are those of both
        [*command, "--port", str(port), "--accounts", "accounts.sqlite"],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        check = [part.replace("8080", str(port)) for part in image.healthcheck]
        deadline = time.monotonic() + 30
        while subprocess.run(check, check=False, capture_output=True, **options).returncode:  # type: ignore[call-overload]  # as above
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert b"amp_calls_running" in answer.read()
    finally:
        gateway.terminate()
        said, _ = gateway.communicate(timeout=30)
    assert gateway.returncode == 0
    assert f"amp serves http://0.0.0.0:{port}/v1" in said
    (accounts,) = Path(image.here("/data")).glob("*.sqlite")
    if rights:
        assert accounts.stat().st_uid == 10001
    installed = {path.name for path in image.root.glob("venv/lib/*/site-packages/*")}
    assert installed >= {"redis", "jinja2"}
    assert not installed & {"xllamacpp", "torch", "openai", "anthropic"}


def test_compose_starts_what_the_dockerfile_makes() -> None:
    compose = (DEPLOY / "compose.yaml").read_text()
    assert "dockerfile: deploy/Dockerfile" in compose
    for part in (
        "--accounts=redis://redis:6379/0",
        "--appendonly",
        "noeviction",
        "read_only: true",
    ):
        assert part in compose
    assert "gateway:8080" in (DEPLOY / "prometheus.yml").read_text()


@pytest.mark.parametrize("values", CHARTS, ids=["plain", "budgets", "several"])
def test_the_chart_is_sound_and_fits_the_schemas_of_kubernetes(
    values: tuple[str, ...], tmp_path: Path
) -> None:
    helm = needs_tools() / "helm"
    settings = [option for value in values for option in ("--set", value)]
    run(helm, "lint", "--strict", DEPLOY / "chart", *settings)
    made = run(helm, "template", "release", DEPLOY / "chart", *settings)
    (tmp_path / "made.yaml").write_text(made)
    run(TOOLS / "bin" / "kubernetes-validate", "--strict", tmp_path / "made.yaml")
    assert ("PersistentVolumeClaim" in made) == ("accounts.file.enabled=true" in values)
    assert ("name: UPSTREAM_KEY" in made) == ("upstreamKey.secret=provider" in values)
    assert ("--accounts=$(ACCOUNTS)" in made) == ("accounts.redis.secret=redis" in values)
    assert "runAsNonRoot: true" in made


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("upstream=nonsense", "'/upstream'"),
        ("colour=red", "'colour'"),
        ("accounts.file.enabled=true,replicas=2", "set it to 1, or use accounts.redis"),
        ("accounts.file.enabled=true,accounts.redis.secret=x", "choose one"),
    ],
)
def test_the_chart_refuses_values_that_it_cannot_keep(value: str, said: str) -> None:
    helm = needs_tools() / "helm"
    command: list[str | Path] = [helm, "template", "release", DEPLOY / "chart", "--set", value]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode
    assert said in done.stderr


def test_chart_and_package_have_one_version() -> None:
    told = (DEPLOY / "chart" / "Chart.yaml").read_text()
    version = (ROOT / "pyproject.toml").read_text().partition('\nversion = "')[2].partition('"')[0]
    assert f"appVersion: {json.dumps(version)}" in told


def needs_tools() -> Path:
    """Where helm and the schemas are; skips the test where nobody has fetched them."""
    if not (TOOLS / "built").exists():
        pytest.skip(f"no {TOOLS}; fetch helm and the schemas: make test-deploy")
    return TOOLS


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
