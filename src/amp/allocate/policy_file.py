"""Learned policies, and heads that give up, on disk: safetensors whose header says what for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from amp.allocate.arm_values import ARM_VALUES_VERSION, ArmValues
from amp.allocate.giving_up import BEHAVIOUR_VERSION, FailureHead
from amp.allocate.mlp_policy import INPUTS_VERSION, MlpPolicy
from amp.allocate.plan_state import PLAN_STATE, PLAN_STATE_VERSION
from amp.allocate.policy import ByArm, Policy, SigmoidPolicy
from amp.allocate.router import ROUTER_VERSION, Descriptors, Router
from amp.allocate.space import Line, Space
from amp.cost import Cost, read_cost
from amp.errors import InvalidInputError
from amp.mlp import Layer, read_tensors, write_tensors
from amp.models.base import ModelCard
from amp.types import Allocation, written

SCHEMA = "amp-policy/1"
ROUTER = "router"
"""Kind of a policy that decides by value whom to ask next."""
ARM_VALUES = "arm values"
"""Kind of a policy that decides by value which arm a step of a long plan gets."""
HEAD_SCHEMA = "amp-giving-up/1"

_BUNDLED = Path(__file__).parents[1] / "data" / "policies"


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a policy takes and reaches at a trade-off, on its training tasks.

    Attributes:
        trade_off: lambda.
        tokens: mean, a task.
        success: success rate.
        dollars: mean, a task, at the model's price or that of a hosted model of its size
            (`amp.cost.costing`); None if it is not known.
    """

    trade_off: float
    tokens: float
    success: float
    dollars: float | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a policy was learned.

    Attributes:
        benchmark: on whose tasks.
        model: name of the base model.
        sha256: of its weights; empty if they are not known.
        tasks: ids of the training tasks: no evaluation may use them.
        curve: by trade-off.
        assessor: sha256 of the assessor that it was learned with; empty for the weighted sum.
        correctness: sha256 of the heads that rated the candidates; empty if none did.
        cost: what was charged while it was learned.
        price: the price that stands in for the model's own in dollars, if one does.
        trade_off: that its training chose, if it chose one: the cheapest that loses no success.
    """

    benchmark: str
    model: str
    sha256: str
    tasks: tuple[str, ...]
    curve: tuple[CurvePoint, ...] = ()
    assessor: str = ""
    correctness: str = ""
    cost: Cost = "tokens"
    price: str = ""
    trade_off: float | None = None

    def trade_off_for(self, budget: float, unit: str = "tokens") -> float:
        """The largest trade-off whose mean cost on the training tasks is at most so much.

        Between the points of the curve it is on the line that joins them.

        Args:
            budget: what a task may cost on average.
            unit: ``tokens`` or ``dollars``.

        Raises:
            InvalidInputError: if not even the cheapest is, the message says how much it takes; or
                if the curve does not say what the policy takes in this unit.
        """
        known = (p.tokens if unit == "tokens" else p.dollars for p in self.curve)
        costs = [cost for cost in known if cost is not None]
        if len(costs) < len(self.curve) or not costs:
            raise InvalidInputError(
                f"mean_{unit} is {budget:g}, but the policy does not say what it costs in {unit};"
                " set trade_off in its place"
            )
        affordable = [index for index, cost in enumerate(costs) if cost <= budget]
        if not affordable:
            lowest = f"{min(costs):.0f}" if unit == "tokens" else f"{min(costs):.3g}"
            raise InvalidInputError(
                f"mean_{unit} is {budget:g}, expected at least {lowest}, what the policy takes"
                " where it spends least"
            )
        at = affordable[-1]
        one, *further = self.curve[at:]
        if not further:
            return one.trade_off
        share = (budget - costs[at]) / (costs[at + 1] - costs[at])
        return one.trade_off + share * (further[0].trade_off - one.trade_off)


def bundled_policy(benchmark: str, card: ModelCard) -> Path | None:
    """The policy that comes with this package for a benchmark and model; None if there is none."""
    for path in sorted(_BUNDLED.rglob("*.safetensors")):
        origin = load_origin(path)
        if origin is None or origin.benchmark != benchmark:
            continue
        if origin.sha256 == card.sha256 if card.sha256 else origin.model == card.name:
            return path
    return None


def save_policy(
    policy: Policy,
    path: Path,
    origin: Origin | None = None,
    arms: Mapping[str, Allocation] | None = None,
) -> None:
    """Writes a policy: its parameters, space and rounds, and the names of what it reads.

    Where it runs and how (env, deterministic, seed, trade-off) is not a part of it. A file that
    exists is replaced only when the new one is complete.

    Args:
        policy: what to write.
        path: where.
        origin: where it was learned, if it was.
        arms: that it chooses among, if its space is that of arms (`amp.allocate.policy`).
    """
    header = {
        "schema": SCHEMA,
        "space": policy.space.to_json(),
        "max_rounds": str(policy.max_rounds),
        "max_samples": json.dumps(policy.max_samples),
    }
    if origin is not None:
        header["origin"] = json.dumps(asdict(origin))
    header["kind"] = policy.kind
    if arms is not None:
        header["arms"] = _written_arms(ByArm(policy, arms).arms)
    if policy.network is not None:
        header |= _written_features(policy.network.features)
        header["inputs"] = str(INPUTS_VERSION)
    tensors = {name: np.ascontiguousarray(values) for name, values in policy.to_tensors().items()}
    write_tensors(path, header, tensors)


def save_router(router: Router, path: Path, origin: Origin | None = None) -> None:
    """Writes a router; the trade-off at which it runs is not a part of it."""
    header = {
        "schema": SCHEMA,
        "kind": ROUTER,
        "version": str(ROUTER_VERSION),
        "arms": _written_arms(router.arms),
        "samples": json.dumps(router.samples),
        "depth": str(router.depth),
        "reference": repr(router.reference),
        "cost": router.cost,
        "descriptors": json.dumps(asdict(router.descriptors)),
    }
    if origin is not None:
        header["origin"] = json.dumps(asdict(origin))
    tensors = {name: np.ascontiguousarray(getattr(router, name)) for name in _ROUTER_TENSORS}
    write_tensors(path, header, tensors)


def load_router(path: Path) -> Router:
    """Reads a router that `save_router` wrote.

    Raises:
        InvalidInputError: if there is no such router, or it is damaged.
    """
    header, tensors = read_tensors(path, "policy", SCHEMA)
    try:
        if header["kind"] != ROUTER:
            raise InvalidInputError(f"kind is {header['kind']!r}, expected {ROUTER!r}")
        if header["version"] != str(ROUTER_VERSION):
            raise InvalidInputError(
                f"it reads tasks and votes by version {header['version']}, this is version"
                f" {ROUTER_VERSION}; train it again"
            )
        described = json.loads(header["descriptors"])
        names = ("kinds", "center", "scale")
        listed = {name: tuple(described[name]) for name in names}
        return Router(
            _read_arms(header["arms"]),
            tuple(json.loads(header["samples"])),
            int(header["depth"]),
            Descriptors(words=int(described["words"]), **listed),
            tensors["priors"],
            tensors["voices"],
            tensors["token_prices"],
            tensors["sample_prices"],
            float(header["reference"]),
            tensors["trade_offs"],
            tensors["weights"],
            cost=read_cost(header["cost"]),
        )
    except KeyError as error:
        raise InvalidInputError(f"policy {path} lacks {error}; train it again") from None
    except (AttributeError, InvalidInputError, TypeError, ValueError) as error:
        raise InvalidInputError(f"policy {path} does not fit: {error}") from None


def save_arm_values(policy: ArmValues, path: Path, origin: Origin | None = None) -> None:
    """Writes a policy by values of arms; the trade-off at which it runs is not a part of it."""
    header = {
        "schema": SCHEMA,
        "kind": ARM_VALUES,
        "version": str(ARM_VALUES_VERSION),
        "arms": _written_arms(policy.arms),
        "base": policy.base,
        **_written_features(policy.features),
    }
    if origin is not None:
        header["origin"] = json.dumps(asdict(origin))
    tensors = {name: np.ascontiguousarray(array) for name, array in policy.to_tensors().items()}
    write_tensors(path, header, tensors)


def load_arm_values(path: Path) -> ArmValues:
    """Reads a policy that `save_arm_values` wrote.

    Raises:
        InvalidInputError: if there is no such policy, or it is damaged.
    """
    header, tensors = read_tensors(path, "policy", SCHEMA)
    try:
        if header["kind"] != ARM_VALUES or header["version"] != str(ARM_VALUES_VERSION):
            raise InvalidInputError(
                f"kind is {header['kind']!r} of version {header['version']}, expected"
                f" {ARM_VALUES!r} of version {ARM_VALUES_VERSION}; train it again"
            )
        arms, features = _read_arms(header["arms"]), _read_features(header)
        return ArmValues.from_tensors(arms, features, tensors, header.get("base", ""))
    except KeyError as error:
        raise InvalidInputError(f"policy {path} lacks {error}; train it again") from None
    except (AttributeError, InvalidInputError, TypeError, ValueError) as error:
        raise InvalidInputError(f"policy {path} does not fit: {error}") from None


_ROUTER_TENSORS = (*("priors", "voices", "token_prices", "sample_prices", "trade_offs", "weights"),)
"""Arrays of a `Router`."""


def _written_arms(arms: Mapping[str, Allocation]) -> str:
    return json.dumps(
        {
            name: asdict(arm, dict_factory=written) | {"tools": sorted(arm.tools)}
            for name, arm in arms.items()
        }
    )


def _read_arms(text: str) -> dict[str, Allocation]:
    return {
        name: Allocation(**{**fields, "tools": frozenset(fields["tools"])})
        for name, fields in json.loads(text).items()
    }


def _written_features(names: tuple[str, ...]) -> dict[str, str]:
    header = {"features": json.dumps(names)}
    if not PLAN_STATE.keys().isdisjoint(names):
        header["plan_state"] = str(PLAN_STATE_VERSION)
    return header


def _read_features(header: Mapping[str, str]) -> tuple[str, ...]:
    names = tuple(json.loads(header["features"]))
    version = header.get("plan_state", str(PLAN_STATE_VERSION))
    if version != str(PLAN_STATE_VERSION):
        raise InvalidInputError(
            f"it reads the state of a plan by version {version}, this is version"
            f" {PLAN_STATE_VERSION}; train it again"
        )
    return names


def load_arms(path: Path) -> dict[str, Allocation] | None:
    """The arms that a policy of `save_policy` chooses among; None for one of a space of bounds.

    Raises:
        InvalidInputError: if there is no such policy, or it is damaged.
    """
    header, _ = read_tensors(path, "policy", SCHEMA)
    if "arms" not in header:
        return None
    try:
        return _read_arms(header["arms"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"policy {path} has damaged arms: {error}") from None


def policy_kind(path: Path) -> str:
    """Kind of the policy in a file: ``sigmoid``, ``mlp``, `ROUTER` or `ARM_VALUES`.

    Raises:
        InvalidInputError: if there is no such policy.
    """
    header, _ = read_tensors(path, "policy", SCHEMA)
    return header.get("kind", "")


def load_origin(path: Path) -> Origin | None:
    """Where a policy was learned; None if its file does not say.

    Raises:
        InvalidInputError: if there is no such policy, or what it says is damaged.
    """
    header, _ = read_tensors(path, "policy", SCHEMA)
    if "origin" not in header:
        return None
    try:
        fields = json.loads(header["origin"])
        points = tuple(CurvePoint(**point) for point in fields.pop("curve"))
        return Origin(**{**fields, "tasks": tuple(fields["tasks"]), "curve": points})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"policy {path} has a damaged origin: {error}") from None


def load_policy(
    path: Path, *, space: Space | None = None, features: tuple[str, ...] | None = None
) -> Policy:
    """Reads a policy that `save_policy` wrote.

    Args:
        path: the file.
        space: the space in which it has to allocate; None takes its own.
        features: the features that the assessor gives; None takes any.

    Raises:
        InvalidInputError: if there is no such policy, or it was made for something else.
    """
    header, tensors = read_tensors(path, "policy", SCHEMA)
    try:
        own = Space.from_json(header["space"])
        if space not in (None, own):
            raise InvalidInputError(_difference(own, space))
        max_rounds = int(header["max_rounds"])
        max_samples: int | None = json.loads(header["max_samples"])
        log_stds = tuple(tensors["log_stds"].ravel().tolist())
        if header["kind"] == "sigmoid":
            pairs = zip(tensors["w"].ravel(), tensors["b"].ravel(), strict=True)
            return SigmoidPolicy(
                space=own,
                max_rounds=max_rounds,
                max_samples=max_samples,
                lines=tuple(Line(float(w), float(b)) for w, b in pairs),
                log_stds=log_stds,
            )
        if header["kind"] != "mlp":
            raise InvalidInputError(
                f"kind is {header['kind']!r}, expected 'sigmoid' or 'mlp'; train it again"
            )
        if header["inputs"] != str(INPUTS_VERSION):
            raise InvalidInputError(
                f"it reads inputs of version {header['inputs']}, this is version {INPUTS_VERSION}"
            )
        names = _read_features(header)
        if features is not None and features != names:
            raise InvalidInputError(
                f"it reads the features {', '.join(names)}, "
                f"the assessor gives {', '.join(features)}"
            )
        first, second, output = (
            Layer(tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"])
            for number in range(3)
        )
        return MlpPolicy(
            space=own,
            max_rounds=max_rounds,
            max_samples=max_samples,
            features=names,
            mean=tensors["mean"],
            std=tensors["std"],
            layers=(first, second, output),
            log_stds=log_stds,
        )
    except KeyError as error:
        raise InvalidInputError(f"policy {path} lacks {error}; train it again") from None
    except (InvalidInputError, ValueError) as error:
        raise InvalidInputError(f"policy {path} does not fit: {error}") from None


def save_head(head: FailureHead, path: Path) -> None:
    """Writes a head as safetensors; a file that exists is replaced only when it is complete."""
    header = {
        "schema": HEAD_SCHEMA,
        "version": str(BEHAVIOUR_VERSION),
        "when": head.when,
        "benchmark": head.benchmark,
        "features": json.dumps(head.features),
    }
    tensors = {
        name: np.array(getattr(head, name), np.float64)
        for name in ("mean", "std", "weights", "bias", "survived")
    }
    write_tensors(path, header, tensors)


def load_head(path: Path) -> FailureHead:
    """Reads a head that `save_head` wrote.

    Raises:
        InvalidInputError: if there is no such file, or it was made for other features.
    """
    header, tensors = read_tensors(path, "head", HEAD_SCHEMA)
    if header.get("version") != str(BEHAVIOUR_VERSION):
        raise InvalidInputError(
            f"head {path} reads features of version {header.get('version')}, this is version"
            f" {BEHAVIOUR_VERSION}; train it again"
        )
    try:
        values = {name: tuple(tensors[name].ravel().tolist()) for name in tensors}
        (bias,) = values.pop("bias")
        return FailureHead(
            when=header["when"],  # type: ignore[arg-type]  # checked when it is made
            features=tuple(json.loads(header["features"])),
            bias=bias,
            benchmark=header.get("benchmark", ""),
            **values,
        )
    except (KeyError, TypeError, ValueError, InvalidInputError) as error:
        raise InvalidInputError(f"head {path} does not fit: {error}; train it again") from None


def _difference(own: Space, other: Space) -> str:
    name = next(n for n in asdict(own) if getattr(own, n) != getattr(other, n))
    mine, yours = (
        ", ".join(sorted(value)) if isinstance(value, frozenset) else value
        for value in (getattr(own, name), getattr(other, name))
    )
    return f"it was made for {name} {mine or 'none'}, this space has {yours or 'none'}"
