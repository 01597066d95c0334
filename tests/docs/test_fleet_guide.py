"""The configurations of docs/guides/fleet.md fit the programs that they are for."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

yaml: Any = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "fleet.md").read_text(encoding="utf-8")
FLAGS: dict[str, Any] = json.loads(
    (ROOT / "tests" / "data" / "vllm-serve.json").read_text(encoding="utf-8")
)["flags"]


def blocks(kind: str) -> list[str]:
    return re.findall(
        rf"^``` \{{ {re.escape(kind)} \}}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE
    )


CONFIGS: list[dict[str, Any]] = [
    config
    for block in blocks(".yaml .ray")
    for application in yaml.safe_load(block)["applications"]
    for config in application["args"]["llm_configs"]
]


def test_the_flags_of_vllm_are_known_and_take_such_values() -> None:
    (command,) = blocks(".sh .vllm")
    program, verb, model, *words = shlex.split(command)
    assert (program, verb) == ("vllm", "serve")
    assert "/" in model
    while words:
        kind = FLAGS[words.pop(0)]
        if kind == "switch":
            continue
        value = words.pop(0)
        assert not value.startswith("--")
        if kind == "number":
            assert value.isdecimal()
        elif isinstance(kind, list):
            assert list(json.loads(value)) == kind


def test_flags_in_the_text_are_known() -> None:
    prose = re.sub(r"^```.*?^```$", "", GUIDE, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`(--[a-z-]+)`", prose)) <= set(FLAGS)


def test_there_is_a_configuration_for_each_router() -> None:
    routers = [
        each["deployment_config"]["request_router_config"]["request_router_class"]
        for each in CONFIGS
    ]
    assert [router.rpartition(".")[2] for router in routers] == [
        "ConsistentHashRouter",
        "PrefixCacheAffinityRouter",
    ]


@pytest.mark.parametrize("config", CONFIGS)
def test_rays_own_validator_takes_the_configuration(config: dict[str, Any]) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("pyarrow")
    pytest.importorskip("grpc_reflection")
    from ray.llm._internal.serve.core.configs.llm_config import LLMConfig

    # The validator loads the router, and by its public name that takes an engine.
    inside = "ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router"
    config = json.loads(json.dumps(config).replace("ray.serve.llm.request_router", inside))
    assert LLMConfig.model_validate(config).model_id == "qwen3-8b"
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        LLMConfig.model_validate({**config, "engine_kwarg": {}})


@pytest.mark.parametrize("config", CONFIGS)
def test_rays_routers_exist_and_take_these_arguments(config: dict[str, Any]) -> None:
    """Read from their sources, since importing them takes an engine."""
    ray = pytest.importorskip("ray")
    routed = config["deployment_config"]["request_router_config"]
    name = routed["request_router_class"].rpartition(".")[2]
    folder = Path(ray.__file__).parent
    files = {
        "ConsistentHashRouter": folder / "serve/experimental/consistent_hash_router.py",
        "PrefixCacheAffinityRouter": folder
        / "llm/_internal/serve/routing_policies/prefix_aware/prefix_aware_router.py",
    }
    source = files[name].read_text(encoding="utf-8")
    assert f"class {name}" in source
    known = re.findall(r'kwargs\.get\(\s*"(\w+)"', source) or re.findall(
        r"(\w+): Optional", source.split("def initialize_state(", 1)[1].split("):", 1)[0]
    )
    assert set(routed["request_router_kwargs"]) <= set(known)
