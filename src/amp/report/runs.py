"""`Run`, the one result of everything that was planned or simulated, and the figures of one run.

A run is a policy's episodes. It is read from disk (`read_runs`), or made of recorded samples
without a model (`amp.simulate`); everything in this package reads runs and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from amp.errors import InvalidInputError
from amp.models.base import ModelCard
from amp.report.metrics import Interval, Summary, summarise, wilson
from amp.report.stats import clustered_rate_interval, mean_interval, optional
from amp.trace import EPISODES, MANIFEST, read_episodes, read_manifest, settings_of
from amp.types import Episode, Usage

if TYPE_CHECKING:
    from pandas import DataFrame

_CARD = fields(ModelCard)
_NOT_SETTINGS = frozenset({"seed", "versions", "tasks", "sha256 of source_run"})

Kind = Literal["fixed", "rule", "adaptive", "control", "oracle"]
"""What a policy is: ``fixed`` gives every task the same; ``rule`` counts votes; ``adaptive``
allocates by what is known of a step; ``control`` spends as an adaptive one does without knowing
where; ``oracle`` knows the verdicts beforehand."""


@dataclass(frozen=True, slots=True)
class Run:
    """A policy's episodes.

    Attributes:
        name: what the report calls it.
        episodes: of one or several seeds; each task once a seed. Of a simulated run a seed is one
            order of the recorded samples, and its episodes have no steps.
        kind: what the policy is; the fixed ones make the fixed front.
        benchmark: its name; empty if unknown.
        model: the base model's name; empty if unknown.
        checksum: SHA-256 of the model; empty if unknown.
        prompts: versions of the prompts, as ``name/version``.
        planned: how many episodes it was to have; None if unknown.
        paths: where its traces are, one a seed.
        settings: what else its manifest says, seeds and versions aside.
        card: of the base model; None if unknown.
        larger_model: the model behind the tool of that name, or those beside the base model; empty
            without one.
    """

    name: str
    episodes: tuple[Episode, ...]
    kind: Kind = "adaptive"
    benchmark: str = ""
    model: str = ""
    checksum: str = ""
    prompts: tuple[str, ...] = ()
    planned: int | None = None
    paths: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    card: ModelCard | None = None
    larger_model: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({episode.task.seed for episode in self.episodes}))

    def to_frame(self) -> DataFrame:
        """A data frame of one row an episode: what became of the task, and each cost of it.

        Raises:
            MissingDependencyError: if pandas is not installed.
        """
        costs = [cost.name for cost in fields(Usage)]
        rows = [
            {
                "run": self.name,
                "kind": self.kind,
                "task": episode.task.id,
                "seed": episode.task.seed,
                "success": episode.success,
                "score": episode.score,
                "ended": episode.ended,
                "steps": len(episode.steps),
                "tokens": episode.usage.tokens,
                **{cost: getattr(episode.usage, cost) for cost in costs},
            }
            for episode in self.episodes
        ]
        return optional("pandas", "a data frame of a run").DataFrame(rows)


def read_run(path: Path, name: str) -> Run:
    """Reads a run directory; what is not ``fixed``, or gives episodes up, is adaptive.

    Raises:
        InvalidInputError: if it is no run, or does not say what was run.
    """
    if not (path / MANIFEST).exists() and (inside := sorted(path.glob(f"*/{MANIFEST}"))):
        raise InvalidInputError(
            f"{path} is no run, but contains {len(inside)}, such as {inside[0].parent}; name these"
        )
    manifest = read_manifest(path)
    try:
        model = manifest["model"]
        others = [str(other["name"]) for other in manifest.get("other_models", ())]
        gives_up = manifest["config"].get("planner", {}).get("give_up") is not None
        return Run(
            name=name,
            episodes=tuple(read_episodes(path)),
            kind="fixed" if manifest["allocator"] == "fixed" and not gives_up else "adaptive",
            benchmark=str(manifest["config"]["benchmark"]),
            model=str(model["name"]),
            checksum=str(model.get("sha256") or ""),
            prompts=tuple(map(str, manifest["prompts"])),
            planned=len(manifest["tasks"]),
            paths=(path,),
            card=ModelCard(**{part.name: model[part.name] for part in _CARD if part.name in model}),
            larger_model=str(manifest["config"].get("larger_model") or ", ".join(others)),
            settings={k: v for k, v in settings_of(manifest).items() if k not in _NOT_SETTINGS},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"{path / MANIFEST} does not say what was run ({error!r}); expected what amp run writes"
        ) from None


def read_runs(arguments: Sequence[str]) -> list[Run]:
    """Reads what a command names: PATH, or NAME=PATH; runs of one name are seeds of one policy.

    Without a name a run is called as its directory.

    Raises:
        InvalidInputError: if one is no run or given twice, two directories would be called alike,
            or runs of one name differ in more than their seeds.
    """
    grouped: dict[str, list[Run]] = {}
    given_as: dict[Path, str] = {}
    for argument in arguments:
        name, given, rest = argument.partition("=")
        named = bool(given and name) and not Path(argument).exists()
        path = Path(rest) if named else Path(argument)
        if path.name == EPISODES:
            path = path.parent
        called = name if named else path.resolve().name
        if (place := path.resolve()) in given_as:
            raise InvalidInputError(
                f"{given_as[place]} and {argument} are the same run; name it once"
            )
        given_as[place] = argument
        if called in grouped and not named:
            raise InvalidInputError(f"two runs are called {called!r}; name them: NAME={path}")
        grouped.setdefault(called, []).append(read_run(path, called))
    return [_joined(group) for group in grouped.values()]


def _joined(group: Sequence[Run]) -> Run:
    """Runs of one policy as one; each has another seed."""
    first, *others = group
    for other in others:
        for key in sorted({*first.settings, *other.settings}):
            one, two = first.settings.get(key), other.settings.get(key)
            if one != two:
                raise InvalidInputError(
                    f"{other.paths[0]} is no other seed of {first.paths[0]}: {key} is {two!r}, not "
                    f"{one!r}; give it another name"
                )
        if other.seeds == first.seeds:
            raise InvalidInputError(
                f"{first.paths[0]} and {other.paths[0]} are both called {first.name!r} and have "
                f"the same seed; run one with another seed, or name them apart"
            )
    return replace(
        first,
        episodes=tuple(episode for run in group for episode in run.episodes),
        planned=sum(run.planned or 0 for run in group),
        paths=tuple(path for run in group for path in run.paths),
    )


def comparable(runs: Sequence[Run], common: bool = False) -> tuple[Run, ...]:
    """The runs, if they can be compared.

    Args:
        runs: at least one.
        common: keep only the tasks (and seeds) that all of them did.

    Raises:
        InvalidInputError: if one has no episodes or did a task twice with one seed, or they differ
            in benchmark, model, prompt versions or tasks; the message says in what.
    """
    if not runs:
        raise InvalidInputError("no runs to report, expected at least 1")
    for run in runs:
        _check_episodes(run)
    names = Counter(run.name for run in runs)
    if (most := names.most_common(1)[0])[1] > 1:
        raise InvalidInputError(f"two runs are called {most[0]!r}; give each its own name")
    for run in runs[1:]:
        _check_origin(runs[0], run)
    done = [{_key(episode) for episode in run.episodes} for run in runs]
    shared = set.intersection(*done)
    if all(keys == shared for keys in done):
        return tuple(runs)
    if common and shared:
        return tuple(
            replace(run, episodes=tuple(e for e in run.episodes if _key(e) in shared))
            for run in runs
        )
    raise InvalidInputError(_task_difference(runs, done, common))


def _check_episodes(run: Run) -> None:
    if not run.episodes:
        raise InvalidInputError(
            f"run {run.name} has no episodes; run it again, or go on with it by amp run --resume"
        )
    twice = [key for key, count in Counter(map(_key, run.episodes)).items() if count > 1]
    if twice:
        raise InvalidInputError(
            f"run {run.name} did {twice[0][0]} (seed {twice[0][1]}) twice; leave one out"
        )


def _check_origin(first: Run, other: Run) -> None:
    for what, one, two in (
        ("benchmark", first.benchmark, other.benchmark),
        ("model", first.model, other.model),
        ("SHA-256 of the model", first.checksum, other.checksum),
    ):
        if one and two and one != two:
            raise InvalidInputError(
                f"runs {first.name} and {other.name} cannot be compared: {what} {one} and {two}; "
                f"a report compares allocations, with {what} the same"
            )
    # A method may have prompts of its own; what both use has to be the same version.
    versions = dict(_name_and_version(prompt) for prompt in first.prompts)
    for name, version in map(_name_and_version, other.prompts):
        if versions.get(name, version) != version:
            raise InvalidInputError(
                f"runs {first.name} and {other.name} cannot be compared: prompts "
                f"{name}/{versions[name]} and {name}/{version}, which ask differently; run one "
                "again"
            )


def _name_and_version(prompt: str) -> tuple[str, str]:
    name, _, version = prompt.rpartition("/")
    return name, version


def _task_difference(
    runs: Sequence[Run], done: Sequence[set[tuple[str, int]]], common: bool
) -> str:
    place = next(place for place, keys in enumerate(done) if keys != done[0])
    first, other = runs[0], runs[place]
    parts = []
    for run, only in ((first, done[0] - done[place]), (other, done[place] - done[0])):
        if only:
            task, seed = min(only)
            parts.append(f"{len(only)} in {run.name} alone, such as {task} (seed {seed})")
    what = f"runs {first.name} and {other.name} did not do the same tasks: {'; '.join(parts)}"
    for run in (first, other):
        if run.planned is not None and len(run.episodes) < run.planned:
            what += f"; {run.name} is unfinished ({len(run.episodes)} of {run.planned})"
    return what + (
        "; no task was done by all"
        if common
        else "; finish them, or compare on what all did: --common, or common=True in Python"
    )


def _key(episode: Episode) -> tuple[str, int]:
    return episode.task.id, episode.task.seed


def tasks_of(episodes: Iterable[Episode]) -> list[str]:
    """The task of each episode."""
    return [episode.task.id for episode in episodes]


ORACLE = "oracle (of the fixed runs)"


def oracle_of(runs: Sequence[Run], cost_of: Callable[[Episode], float]) -> Run | None:
    """The cheapest fixed run that succeeds, task by task; the cheapest if none does.

    It knows the verdicts, so no policy that chooses among these runs reaches it. It picks the
    luckiest of several samples, too, so it is a bound and no goal.

    Args:
        runs: on the same tasks and seeds.
        cost_of: cost of an episode.

    Returns:
        None with fewer than two fixed runs, where there is nothing to choose.
    """
    fixed = [run for run in runs if run.kind == "fixed"]
    if len(fixed) < 2:
        return None
    done = [{(e.task.id, e.task.seed): e for e in run.episodes} for run in fixed]
    chosen = (
        min((of_run[key] for of_run in done), key=lambda e: (e.success is not True, cost_of(e)))
        for key in done[0]
    )
    return replace(fixed[0], name=ORACLE, episodes=tuple(chosen), kind="oracle", paths=())


@dataclass(frozen=True, slots=True)
class WorkPart:
    """What one part of the work took, over all episodes of a run.

    Attributes:
        name: ``probes`` of the assessor; ``candidates``; ``verified candidates``, of rounds in
            which the model checks its answers, whose traces do not tell both apart; ``tools``.
        tokens: prompt and completion tokens.
        seconds: time inside models and tools.
    """

    name: str
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run, or the oracle.

    Attributes:
        name: its name.
        kind: that of the run.
        tasks: distinct tasks.
        seeds: runs of each.
        planned: episodes that it was to have; None if unknown.
        summary: its figures. With several seeds their interval is that over tasks, which is None
            where there is but one task.
        success_interval: of the success rate, over tasks.
        cost: mean of an episode.
        cost_interval: of that mean; None if there is but one task.
        parts: where tokens and seconds went; empty if the traces have no steps.
        ended: why episodes ended, with how many.
    """

    name: str
    kind: Kind
    tasks: int
    seeds: int
    planned: int | None
    summary: Summary
    success_interval: Interval | None
    cost: float
    cost_interval: Interval | None
    parts: tuple[WorkPart, ...]
    ended: Mapping[str, int]

    @property
    def endings(self) -> str:
        """Why episodes ended: how many, and which share where there is more than one reason."""
        whole = sum(self.ended.values())
        return ", ".join(
            f"{why} {n} ({100 * n / whole:.0f}%)" if n < whole else f"{why} {n}"
            for why, n in self.ended.items()
        )


SuccessInterval = Literal["wilson", "bootstrap"]
"""How the interval of a success rate is worked out.

``wilson`` is Wilson's, of as many runs as would be worth the same if those of a task were
independent; it is right at rates near 0 and 1, too. ``bootstrap`` resamples tasks with all their
runs, as the intervals of costs and gains in the same table do.
"""


def measure_run(
    run: Run, cost_of: Callable[[Episode], float], success_interval: SuccessInterval = "wilson"
) -> RunLine:
    """The figures of one run.

    Args:
        run: with at least one episode.
        cost_of: cost of an episode.
        success_interval: how that interval is worked out. Reports of runs publish Wilson's, those
            of recorded samples the bootstrap's.
    """
    tasks, summary = tasks_of(run.episodes), summarise(run.episodes)
    several = len(set(tasks)) > 1
    succeeded = [episode.success is True for episode in run.episodes]
    sure: Interval | None
    if not several:
        sure = wilson(summary.successes, 1) if len(tasks) == 1 else None
    elif success_interval == "wilson":
        sure = clustered_rate_interval(tasks, succeeded)
    else:
        sure = mean_interval(tasks, succeeded)
    costs = [cost_of(episode) for episode in run.episodes]
    return RunLine(
        name=run.name,
        kind=run.kind,
        tasks=len(set(tasks)),
        seeds=len(run.seeds),
        planned=run.planned,
        summary=summary,
        success_interval=sure,
        cost=sum(costs) / len(costs),
        cost_interval=mean_interval(tasks, costs) if several else None,
        parts=_parts(run.episodes),
        ended=dict(Counter(episode.ended for episode in run.episodes).most_common()),
    )


def _parts(episodes: Sequence[Episode]) -> tuple[WorkPart, ...]:
    tokens: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for episode in episodes:
        for step in episode.steps:
            probe_tokens, probe_seconds = step.usage.tokens, step.usage.seconds
            for made in step.rounds:
                name = "verified candidates" if made.allocation.verification > 1 else "candidates"
                spent = made.usage
                tools = sum(use.seconds for c in made.candidates for use in c.tool_uses)
                tokens[name] += spent.tokens
                # Tools that work side by side take less time together than apart.
                seconds["tools"] += min(tools, spent.seconds)
                seconds[name] += max(0.0, spent.seconds - tools)
                probe_tokens -= spent.tokens
                probe_seconds -= spent.seconds
            tokens["probes"] += probe_tokens
            seconds["probes"] += probe_seconds
    names = ("probes", "candidates", "verified candidates", "tools")
    return tuple(
        WorkPart(name, tokens[name], seconds[name])
        for name in names
        if tokens[name] or seconds[name] > 1e-9
    )
