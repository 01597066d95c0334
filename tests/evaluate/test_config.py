"""One configuration: the command line, a TOML file and run.json are views of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from amp.allocate.policy_file import load_policy
from amp.cli.app import app, takes
from amp.errors import InvalidInputError
from amp.evaluate import Assembly, EpisodeDataset, PlannerConfig, RunConfig, manifest
from amp.evaluate.config import LIMITS, OVERRIDES, PROFILES
from amp.models.base import ModelCard
from amp.models.scripted import ScriptedModel
from amp.planner import Planner
from amp.settings import checked, load_toml
from amp.trace import RunDirectory, read_episodes, read_manifest, to_json
from amp.types import Limits

OLD = Path(__file__).parents[1] / "data" / "run-0.1"

names = st.sampled_from(["python", "path_finder", "larger_model"])
shares = st.floats(0.0, 1.0)
amounts = st.floats(1.0, 1e6)
counts = st.integers(1, 10**6)
words = st.builds("{}{}".format, st.sampled_from("abc"), st.text("axyz-:/.", max_size=8))


def planners() -> st.SearchStrategy[PlannerConfig]:
    """Every field, set or not; what excludes each other is one or the other."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "assessor": words,
        "probes": st.frozensets(st.sampled_from(["options", "next_token", "hidden"])),
        "exclude": st.frozensets(st.sampled_from(["uncertainty", "distance", "hidden"])),
        "max_samples": counts,
        "source_run": words,
        "rounds": counts,
        "agreement": shares.filter(bool),
        "answered_by": words,
        "give_up": words,
        "recall": shares,
        "depth": st.integers(-5, 99),
        "temperature": shares,
        "top_p": shares,
        "beam_width": counts,
        "tools": st.frozensets(names),
        "verification": st.integers(0, 3),
        "max_steps": counts,
        "budget_tokens": counts,
        "max_seconds": amounts,
        "max_dollars": amounts,
    }
    planned = st.sampled_from(["allocator", "method"]).flatmap(
        lambda name: st.fixed_dictionaries({}, optional={name: words})
    )
    traded = st.sampled_from(
        [("trade_off", shares), ("mean_tokens", amounts), ("profile", st.sampled_from([*PROFILES]))]
    ).flatmap(lambda item: st.fixed_dictionaries({}, optional={item[0]: item[1]}))
    rest = st.fixed_dictionaries({}, optional=fields)
    return st.tuples(planned, traded, rest).map(
        lambda parts: PlannerConfig(**{**parts[0], **parts[1], **parts[2]})
    )


runs = st.builds(
    RunConfig,
    benchmark=words,
    split=st.none() | words,
    limit=st.none() | counts,
    level=st.none() | words,
    step=st.none() | words,
    seed=st.integers(0, 99),
    model=st.none() | words | st.lists(words, min_size=1, max_size=3, unique=True).map(tuple),
    larger_model=st.none() | words,
    planner=planners(),
)


def flat(config: RunConfig) -> dict[str, Any]:
    """What is set, by name."""
    values = config.model_dump(mode="json", exclude_defaults=True)
    return {**values, **values.pop("planner", {})} | {"benchmark": config.benchmark}


def as_arguments(config: RunConfig) -> list[str]:
    """The configuration as a person types it."""
    arguments = []
    for name, value in flat(config).items():
        if name in ("benchmark", "planner"):
            continue
        if name == "tools" and not value:
            arguments.append("--no-tools")
            continue
        flag = {"tools": "--tool", "probes": "--probe"}.get(name, f"--{name.replace('_', '-')}")
        for one in value if isinstance(value, list) else [value]:
            arguments += [f"{flag}={one}"]
    return [*arguments, config.benchmark]


def as_toml(config: RunConfig) -> str:
    values = config.model_dump(mode="json", exclude_none=True)
    planner = values.pop("planner")
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return "\n".join([*lines, "[planner]", *(f"{k} = {json.dumps(v)}" for k, v in planner.items())])


def from_arguments(arguments: list[str]) -> RunConfig:
    seen: list[RunConfig] = []
    command = typer.Typer()

    @command.command()
    @takes(RunConfig, arguments=("benchmark",), without=("permuted",))
    def see(config: RunConfig) -> None:
        seen.append(config)

    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return seen[0]


@given(runs)
def test_the_command_line_toml_and_run_json_are_views_of_one_configuration(
    tmp_path_factory: pytest.TempPathFactory, config: RunConfig
) -> None:
    assert from_arguments(as_arguments(config)) == config

    assert checked(RunConfig, json.loads(config.model_dump_json())) == config

    file = tmp_path_factory.mktemp("views") / "run.toml"
    file.write_text(as_toml(config))
    read = load_toml(RunConfig, file)
    planner = config.planner  # its paths are relative to the file
    paths = {name: getattr(planner, name) for name in ("assessor", "source_run", "give_up")}
    beside = {name: path and file.parent / path for name, path in paths.items()}
    assert read == config.replace(planner=planner.replace(**beside))


def test_equal_configurations_are_written_alike() -> None:
    made = [
        checked(PlannerConfig, {"probes": probes, "tools": probes[:2]}).model_dump_json()
        for probes in (["options", "hidden", "next_token"], ["hidden", "options", "next_token"])
    ]
    assert made[0] == made[1]


def test_overrides_and_limits_are_the_fields_of_their_types() -> None:
    config = PlannerConfig(
        depth=2, tools=frozenset(), max_steps=3, budget_tokens=4, max_dollars=5.0
    )
    assert config.overrides == {"depth": 2, "tools": frozenset()}
    assert config.limits == Limits(steps=3, tokens=4, dollars=5.0)
    assert {*OVERRIDES, *LIMITS} <= set(PlannerConfig.model_fields)


def test_the_path_of_a_policy_is_relative_to_the_file_and_a_name_is_none(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    for given_as, read in {
        "learned.safetensors": str(tmp_path / "learned.safetensors"),
        "heuristic": "heuristic",
        "auto": "auto",
        "amp": "auto",  # its name in version 0.1
        "of-a-package": "of-a-package",
    }.items():
        file.write_text(f'allocator = "{given_as}"\n')
        assert load_toml(PlannerConfig, file).allocator == read


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"allocator": "fixed", "method": "react"}, "allocator and method exclude each other"),
        ({"trade_off": 0.5, "mean_tokens": 300.0}, "trade_off and mean_tokens exclude each other"),
        ({"budget_tokens": 0}, "budget_tokens is 0, expected at least 1"),
        ({"look": "hidden"}, "unknown key 'look'"),
        ({"dept": 2}, "unknown key 'dept'; did you mean 'depth'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as refused:
        checked(PlannerConfig, values)
    assert "\n" not in str(refused.value)


def test_an_assessor_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amp.assess.base import Training, WeightedAssessor
    from amp.assess.neural import save_assessor
    from amp.mlp import read_tensors

    model = ScriptedModel([""])
    path = tmp_path / "cam.safetensors"
    save_assessor(WeightedAssessor(), Training(model.card.name, "gsm8k"), path)
    opened: list[Path] = []

    def counted(file: Path, *rest: str) -> Any:
        opened.append(file)
        return read_tensors(file, *rest)

    monkeypatch.setattr("amp.assess.neural.read_tensors", counted)
    config = RunConfig(benchmark="gsm8k", planner=PlannerConfig(assessor=path))
    assembly = Assembly.of(config.planner, config.load_benchmark())
    assert not assembly.needs_hidden_states
    assembly.planner(model)
    manifest(config, assembly, model, [])
    assert opened == [path]


def test_named_heads_are_read_once_and_those_of_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from amp.assess.base import Training
    from amp.assess.correctness import Correctness, Head, save_correctness
    from amp.mlp import Layer, read_tensors

    model, path = ScriptedModel([""]), tmp_path / "heads.safetensors"
    one = np.ones(1, np.float32)
    layers = (Layer(np.zeros((2, 1), np.float32), one),)
    rater = Correctness({"text": Head(("length",), one, one, layers)})
    save_correctness(rater, Training(model.card.name, "gsm8k", model.card.sha256), path)
    opened: list[Path] = []

    def counted(file: Path, *rest: str) -> Any:
        opened.append(file)
        return read_tensors(file, *rest)

    monkeypatch.setattr("amp.assess.correctness.read_tensors", counted)
    config = RunConfig(benchmark="gsm8k", planner=PlannerConfig(correctness=str(path)))
    benchmark = config.load_benchmark()
    assembly = Assembly.of(config.planner, benchmark)
    planner = assembly.planner(model)
    assert isinstance(planner, Planner)
    assert planner.rater is not None
    assert opened == [path]
    assert manifest(config, assembly, model, [])["correctness"] == "heads"
    unrated = Assembly.of(PlannerConfig(correctness="none"), benchmark)
    assert "correctness" not in manifest(config, unrated, model, [])
    with pytest.raises(InvalidInputError, match="trained on model scripted , this is other"):
        assembly.planner(ScriptedModel([""], card=ModelCard("other")))
    save_correctness(rater, Training(model.card.name, "babyai"), path)
    with pytest.raises(InvalidInputError, match="trained on babyai, this is gsm8k"):
        Assembly.of(config.planner, benchmark)
    with pytest.raises(InvalidInputError, match="no file 'atuo'.* did you mean 'auto'"):
        Assembly.of(PlannerConfig(correctness="atuo"), benchmark)
    for values in ({"correctness": str(path)}, {"vote": "plain"}):
        named = PlannerConfig.model_validate({"method": "self_consistency", **values})
        with pytest.raises(InvalidInputError, match="is for allocators, not for self_consist"):
            Assembly.of(named, benchmark)


@pytest.mark.slow
def test_a_run_of_version_0_1_is_reported_shown_and_learned_from(tmp_path: Path) -> None:
    dataset = EpisodeDataset.from_run(OLD)
    assert (dataset.card.name, len(dataset.episodes)) == ("qwen2.5-coder-1.5b", 2)
    again = checked(RunConfig, read_manifest(OLD)["config"])
    assert again.planner == PlannerConfig(allocator="heuristic", probes=frozenset({"hidden"}))

    for command in (["report", str(OLD)], ["trace", "show", str(OLD)]):
        assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0

    more = RunDirectory.create(tmp_path / "more", json.loads((OLD / "run.json").read_text()))
    for number in range(6):  # as few tasks as can be learned from
        for episode in read_episodes(OLD):
            task = replace(episode.task, id=f"{episode.task.id}/{number}")
            more.append(replace(episode, task=task))
    assert '"look"' not in to_json(next(more.episodes()))
    text = (more.path / "episodes.jsonl").read_text().replace('"probe":', '"look":')
    (more.path / "episodes.jsonl").write_text(text)
    out = tmp_path / "cam.safetensors"
    command = ["assess", "train", str(more.path), "--kind", "neural", "--out", str(out)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert (done.exit_code, out.is_file()) == (0, True), done.output


def test_an_assessor_of_version_0_1_is_refused_in_one_line() -> None:
    trained = OLD.with_name("assessor-0.1.safetensors")
    config = RunConfig(benchmark="gsm8k", planner=PlannerConfig(assessor=trained))
    with pytest.raises(InvalidInputError) as refused:
        Assembly.of(config.planner, config.load_benchmark())
    assert str(refused.value) == (
        f"assessor {trained} does not fit: it reads features of version 1, this is version 2; train"
        " it again"
    )


def test_a_policy_of_version_0_1_is_read() -> None:
    read = load_policy(OLD.with_name("policy-0.1.safetensors"))
    assert (read.max_rounds, read.max_samples) == (4, 4)


def test_a_run_of_version_0_1_is_not_gone_on_with(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    command = ["run", "gsm8k", "--split", "demo", "--model", "random", "--resume"]
    with pytest.raises(InvalidInputError, match=r"can be read but not resumed") as refused:
        CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run")], catch_exceptions=False)
    assert "\n" not in str(refused.value)
