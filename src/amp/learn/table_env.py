"""A table of recorded samples as an environment: many episodes at once, each a lookup.

All that can be seen is worked out once for every subset of the samples of a task (`subsets`); an
episode shuffles the samples of each arm and goes from subset to subset. So neither a policy nor an
assessor that learns here can read a feature that tells the order of the samples
(`subsets.ORDERED`): it is refused. `subsets.without` takes it from an assessor.

What every subset of the samples of a task shows, and is worth.

What an assessor says of a step depends on which samples were drawn, not on their order, but for the
features in `ORDERED`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from amp.allocate.batch import Mask
from amp.allocate.distributions import TOOLS_FROM
from amp.allocate.mlp_policy import EXTRAS, observe
from amp.allocate.space import REALS, Space
from amp.assess.base import Assessor
from amp.assess.neural import NeuralAssessor
from amp.errors import InvalidInputError
from amp.execute.select import vote
from amp.learn.rollout import Allocations, BatchObservation, Ints, StepResult, allocations
from amp.mlp import Floats, Layer
from amp.simulate.samples import Arm, SampleTable, TaskSamples
from amp.types import Allocation, Evidence, StepContext

ORDERED = frozenset({"divergence"})
"""Features that tell the order of the samples."""


@dataclass(frozen=True, slots=True, eq=False)
class Subsets:
    """Of one task; a subset is a number with a bit for each sample, as in `tables.Table`.

    Attributes:
        shown: shape (subsets, features + `inputs.EXTRAS`), NaN where one is missing.
        assessed: shape (subsets, inputs), what `NeuralAssessor.encode` makes of each; of width 0
            where another assessor is asked.
        right: shape (subsets,), whether the vote is right.
    """

    shown: Floats
    assessed: Floats
    right: Mask


def subsets(
    row: TaskSamples,
    table: SampleTable,
    features: tuple[str, ...],
    assessor: Assessor,
    context: StepContext,
) -> Subsets:
    """Works out all subsets of the samples of a task.

    Args:
        row: the task.
        table: the table that it is of.
        features: names of the features that are shown.
        assessor: says how complex the step is.
        context: the step before anything is drawn.
    """
    samples = [
        (draw, bool(arm.allocation.tools))
        for arm in table.arms
        for draw in row.by_arm[arm.name].samples
    ]
    count = 1 << len(samples)
    network = assessor.network
    width = 0 if network is None else 3 * len(network.names)
    made = Subsets(
        np.empty((count, len(features) + len(EXTRAS))),
        np.empty((count, width), np.float32),
        np.zeros(count, np.bool_),
    )
    for subset in range(count):
        known = [sample for bit, sample in enumerate(samples) if subset >> bit & 1]
        candidates = tuple(draw.candidate for draw, _ in known)
        with_tools = sum(tools for _, tools in known)
        evidence = Evidence(candidates, rounds=int(bool(known)), with_tools=with_tools)
        now = replace(context, evidence=evidence)
        seen = assessor.observe(now)
        if network is not None:
            made.assessed[subset] = network.encode(seen)
        made.shown[subset] = np.array(
            observe(features, now, assessor.score(seen), trade_off=0.0, budget_share=1.0), float
        )
        winner = vote(candidates)
        made.right[subset] = winner is not None and known[candidates.index(winner)][0].right
    return made


def without(assessor: NeuralAssessor, names: Collection[str]) -> NeuralAssessor:
    """The assessor to which these features are missing for good: it does not read them any more.

    It says of every step what the whole one says where they cannot be had.
    """
    count = len(assessor.names)
    kept = [index for index, name in enumerate(assessor.names) if name not in names]
    gone = sorted(set(range(count)) - set(kept))
    first, *others = assessor.layers
    missing = first.weight[[2 * count + index for index in gone]].sum(0)
    rows = [block * count + index for block in range(3) for index in kept]
    return replace(
        assessor,
        names=tuple(assessor.names[index] for index in kept),
        mean=assessor.mean[kept],
        std=assessor.std[kept],
        layers=(Layer(first.weight[rows], first.bias + missing), *others),
    )


MAX_SAMPLES = 12
"""Of all arms together: every subset of them is worked out."""


@dataclass(frozen=True, slots=True, eq=False)
class TableEnv:
    """SampleTable as a `VectorEnv`: what every subset of the samples of a task shows, and is worth.

    A subset is a number in which bit ``arm * samples + index`` stands for a sample.

    Attributes:
        space: where allocations move. Each has to be an arm with some beam width.
        max_rounds: rounds a task at most.
        max_samples: of one arm: as many as the table has.
        features: names of the features that are shown.
        difficulties: failure rate of each task over all samples.
        tasks: their ids.
        shown: shape (tasks, subsets, features + `inputs.EXTRAS`), NaN where one is missing; rounds
            and trade-off are 0 here.
        assessed: shape (tasks, subsets, 3 * features of the assessor), its inputs; of width 0 where
            it is no `NeuralAssessor`.
        right: shape (tasks, subsets), whether the vote is right.
        completion_tokens: shape (tasks, arms, samples).
        prompt_tokens: shape (tasks, arms), of a call.
        arms: what a sample of each is allocated.
    """

    space: Space
    max_rounds: int
    max_samples: int
    features: tuple[str, ...]
    difficulties: Floats
    tasks: tuple[str, ...]
    shown: Floats
    assessed: Floats
    right: Mask
    completion_tokens: Ints
    prompt_tokens: Ints
    arms: tuple[Allocation, ...]

    @classmethod
    def from_samples(
        cls,
        table: SampleTable,
        space: Space,
        features: tuple[str, ...],
        assessor: Assessor,
        contexts: Mapping[str, StepContext],
        max_rounds: int,
        on_task: Callable[[str], None] = lambda task: None,
    ) -> TableEnv:
        """Works a table of recorded samples out.

        Args:
            table: the recorded samples, equally many of every arm.
            space: where a policy is to move.
            features: names of the features that it is to see.
            assessor: says how complex a step is; must not want a look. A `NeuralAssessor` may
                learn with the policy.
            contexts: each task's first step, by its id.
            max_rounds: rounds a task at most.
            on_task: is told of each task when it is done.

        Raises:
            InvalidInputError: if the arms have unequally or too many samples or leave a way to ask
                open, the assessor wants a look, a feature of it or of the policy tells the order
                of the samples, or a call shares no prompt.
        """
        (samples, *others) = table.samples.values()
        if any(other != samples for other in others):
            raise InvalidInputError(f"samples by arm are {table.samples}, expected equally many")
        if len(table.arms) * samples > MAX_SAMPLES:
            raise InvalidInputError(
                f"{len(table.arms)} arms of {samples} samples have"
                f" {2 ** (len(table.arms) * samples):,} subsets a task, expected at most"
                f" {2**MAX_SAMPLES:,}; take fewer samples or arms"
            )
        if assessor.probes:
            raise InvalidInputError(
                f"the assessor probes {', '.join(sorted(assessor.probes))} first, which this"
                " environment has no price for; take one that does not look"
            )
        read = () if assessor.network is None else assessor.network.names
        if ordered := sorted(ORDERED.intersection((*features, *read))):
            raise InvalidInputError(
                f"feature {ordered[0]} depends on the order of the samples; leave it out"
            )
        check_arms(table.arms, space)
        if not table.shared_prompt:
            raise InvalidInputError(f"samples of {table.card.name} share no prompt, expected that")
        known = []
        for row in table.tasks:
            known.append(subsets(row, table, features, assessor, contexts[row.task]))
            on_task(row.task)
        cells = [[row.by_arm[arm.name] for arm in table.arms] for row in table.tasks]
        return cls(
            space=space,
            max_rounds=max_rounds,
            max_samples=samples,
            features=features,
            difficulties=np.array(
                [np.mean([not d.right for cell in row for d in cell.samples]) for row in cells]
            ),
            tasks=tuple(row.task for row in table.tasks),
            shown=np.array([one.shown for one in known]),
            assessed=np.array([one.assessed for one in known]),
            right=np.array([one.right for one in known]),
            completion_tokens=np.array(
                [
                    [[d.usage.completion_tokens for d in cell.samples] for cell in row]
                    for row in cells
                ]
            ),
            prompt_tokens=np.array([[cell.prompt_tokens for cell in row] for row in cells]),
            arms=tuple(arm.allocation for arm in table.arms),
        )

    def part(self, tasks: Ints) -> TableEnv:
        """The same of some tasks, by index."""
        return replace(
            self,
            difficulties=self.difficulties[tasks],
            tasks=tuple(self.tasks[index] for index in tasks),
            shown=self.shown[tasks],
            assessed=self.assessed[tasks],
            right=self.right[tasks],
            completion_tokens=self.completion_tokens[tasks],
            prompt_tokens=self.prompt_tokens[tasks],
        )

    def arm_of(self, wanted: Allocations) -> Ints:
        """Index of the arm that each allocation asks for.

        Raises:
            InvalidInputError: if there is none for one of them.
        """
        reals = [name for name in REALS if name != "beam_width"]
        asked = np.column_stack([*(getattr(wanted, name) for name in reals), wanted.tools])
        known = np.array(
            [
                [*(getattr(arm, name) for name in reals), *(t in arm.tools for t in self._tools)]
                for arm in self.arms
            ],
            float,
        )
        fits = np.isclose(asked[:, None], known).all(-1)
        if not (found := fits.any(1)).all():
            one = asked[int((~found).argmax())].tolist()
            raise InvalidInputError(
                f"the table has no arm for {dict(zip([*reals, *self._tools], one, strict=True))};"
                " narrow the space to what was recorded"
            )
        return np.asarray(fits.argmax(1), np.intp)

    @property
    def with_tools(self) -> Mask:
        """Whether each arm has a tool, shape (arms,)."""
        return np.array([bool(arm.tools) for arm in self.arms])

    @property
    def _tools(self) -> tuple[str, ...]:
        return self.space.tool_names

    @property
    def trade_off_column(self) -> int:
        """Where a view has the trade-off."""
        return len(self.features) + EXTRAS.index("trade_off")

    def reset(self, tasks: Ints, rng: np.random.Generator) -> TableEpisodes:
        """Begins one episode a task, the samples of every arm in an order of chance."""
        shape = (len(tasks), len(self.arms), self.max_samples)
        return TableEpisodes(self, tasks, rng.random(shape).argsort(-1))


class TableEpisodes:
    """Episodes under way on a table.

    Args:
        table: the table.
        tasks: index of the task of each episode.
        orders: shape (episodes, arms, samples), in which order samples are drawn.

    Attributes:
        subset: the samples drawn so far, as in `Table`; one number an episode.
    """

    def __init__(self, table: TableEnv, tasks: Ints, orders: Ints) -> None:
        self._table = table
        self._tasks = tasks
        self._orders = orders
        self.subset = np.zeros(len(tasks), np.intp)
        self._taken = np.zeros((len(tasks), len(table.arms)), np.intp)
        self._rounds = np.zeros(len(tasks), np.intp)

    def observe(self, rows: Ints) -> BatchObservation:
        """What is known now in these rows."""
        table = self._table
        values = np.array(table.shown[self._tasks[rows], self.subset[rows]])
        values[:, len(table.features) + EXTRAS.index("rounds")] = np.log1p(self._rounds[rows])
        free = np.zeros((len(rows), len(table.space.draws)), np.bool_)
        free[:, 0] = self._rounds[rows] > 0
        free[:, 1:TOOLS_FROM] = [
            max(np.ptp(table.space.depths(False)), np.ptp(table.space.depths(True))) > 0,
            *(np.ptp(getattr(table.space, name)) > 0 for name in REALS[1:]),
        ]
        free[:, TOOLS_FROM:] = (self.left(rows) > 0).all(1, keepdims=True)
        return BatchObservation(values, free, table.assessed[self._tasks[rows], self.subset[rows]])

    def step(self, rows: Ints, latents: Floats) -> StepResult:
        """Draws the samples that the latents ask for, or settles the task by the vote so far."""
        table = self._table
        tokens = np.zeros(len(rows))
        going = np.asarray(latents[:, 0] <= 0)
        asking = rows[going]
        if len(asking):
            tokens[going] = self._ask(asking, latents[going])
            self._rounds[asking] += 1
        done = ~going | (self._rounds[rows] >= table.max_rounds) | ~self.left(rows).any(1)
        right = np.asarray(table.right[self._tasks[rows], self.subset[rows]])
        return StepResult(tokens, (right & done).astype(float), done)

    def left(self, rows: Ints) -> Ints:
        """Samples left without tools and with them, shape (rows, 2), as `constraints.options`."""
        table, taken = self._table, self._taken[rows]
        return np.stack(
            [
                table.max_samples * int((table.with_tools == tools).any())
                - taken[:, table.with_tools == tools].sum(1)
                for tools in (False, True)
            ],
            1,
        )

    def _ask(self, rows: Ints, latents: Floats) -> Floats:
        """Draws the next samples of an arm in each row; returns the tokens of the call."""
        table, left = self._table, self.left(rows)
        latents = np.array(latents)
        latents[left[:, 0] == 0, TOOLS_FROM:] = 1.0
        wanted = allocations(table.space, latents)
        arm = table.arm_of(wanted)
        count = np.minimum(wanted.beam_width, left[np.arange(len(rows)), wanted.tools.any(1) * 1])
        tasks, first = self._tasks[rows], self._taken[rows, arm]
        tokens = table.prompt_tokens[tasks, arm]
        for index in range(table.max_samples):
            drawn = (index >= first) & (index < first + count)
            sample = self._orders[rows, arm, index]
            tokens = tokens + table.completion_tokens[tasks, arm, sample] * drawn
            self.subset[rows] |= drawn * (1 << (arm * table.max_samples + sample))
        self._taken[rows, arm] += count
        return tokens.astype(float)


def check_arms(arms: Sequence[Arm], space: Space) -> None:
    """Sees to it that there is an arm without tools, and one with them if the space has some.

    A policy decides whether to use a tool wherever both ways exist in its space.

    Raises:
        InvalidInputError: if one of them is not there.
    """
    for tools in (False, True)[: 1 + bool(space.tools)]:
        if not any(bool(arm.allocation.tools) == tools for arm in arms):
            raise InvalidInputError(
                f"no arm {'has a tool' if tools else 'is without tools'}"
                f" ({', '.join(arm.name for arm in arms)}), but a policy here may ask"
                f" {'with one' if tools else 'without'}; name such an arm, too"
            )
