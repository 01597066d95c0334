"""Starts rivals: where their programs are, and servers in processes of their own.

No rival is a dependency: each is installed from its list of pinned versions (`tests/clients`) by
`make test-rivals`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amp.errors import MissingDependencyError, ModelError

ENVIRONMENTS = Path(".venv/clients")
AUTO = "auto"
"""The model that LiteLLM's router answers for."""

_SECONDS = 600.0
"""A rival may take so long to listen."""
_LITELLM = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a table of prices
    # It would ask each client for a key, which costs time.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs.

    Attributes:
        url: its address, with /v1.
        process: its number.
    """

    url: str
    process: int


def program(environments: Path, environment: str, name: str) -> str:
    """A program of a rival's environment.

    Raises:
        MissingDependencyError: if it is not there.
    """
    path = environments / environment / "bin" / name
    if not path.exists():
        raise MissingDependencyError(f"no {path}; build it: make test-rivals")
    return str(path)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@asynccontextmanager
async def server(port: int, *command: str, **variables: str) -> AsyncIterator[Serving]:
    """A server in a process of its own, once it takes connections.

    Raises:
        ModelError: if it ends, or does not listen.
    """
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", **variables}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=DEVNULL, stderr=DEVNULL, env=environment
    )
    try:
        try:
            async with asyncio.timeout(_SECONDS):
                while not await _listens(port):
                    if process.returncode is not None:
                        raise ModelError(f"{command[0]} ends with status {process.returncode}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ModelError(f"{command[0]} does not listen after {_SECONDS:.0f} s") from None
        yield Serving(f"http://127.0.0.1:{port}/v1", process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def optillm(
    environments: Path, upstream: str, approach: str, model: str
) -> AsyncIterator[Serving]:
    """OptiLLM's server with one of its approaches."""
    command = [program(environments, "optillm", "optillm"), "--approach", approach]
    command += ["--base-url", upstream, "--model", model, "--port", str(port := free_port())]
    async with server(port, *command, OPENAI_API_KEY="any", HF_HUB_OFFLINE="1") as serving:
        yield serving


@asynccontextmanager
async def litellm(
    environments: Path,
    upstream: str,
    models: Sequence[str],
    routing: Mapping[str, Any] | None = None,
) -> AsyncIterator[Serving]:
    """LiteLLM's proxy in front of models; with a `routing` its router answers for `AUTO`."""
    listed: list[dict[str, Any]] = []
    for model in models:
        place = {"model": f"openai/{model}", "api_base": upstream, "api_key": "any"}
        listed.append({"model_name": model, "litellm_params": place})
    if routing is not None:
        router = {
            "model": "auto_router/complexity_router",
            "complexity_router_config": routing,
            "complexity_router_default_model": models[0],
        }
        listed.append({"model_name": AUTO, "litellm_params": router})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(json.dumps({"model_list": listed}))  # which is YAML, too
        command = [program(environments, "litellm-proxy", "litellm"), "--config", str(path)]
        command += ["--host", "127.0.0.1", "--port", str(port := free_port())]
        async with server(port, *command, **_LITELLM) as serving:
            yield serving


async def printed_by(*command: str, told: str) -> str:
    """What a program prints that is told something.

    Raises:
        ModelError: if it fails; says what it complained of.
    """
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, errors = await process.communicate(told.encode())
    if process.returncode:
        raise ModelError(f"{command[0]} fails: {errors.decode()[-2000:]}")
    return out.decode()
