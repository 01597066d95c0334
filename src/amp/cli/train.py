"""The command that learns a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amp.cli.app import INTERRUPTED, app, new_console
from amp.cli.options import Data, Json
from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from amp.allocate.weights import Origin
    from amp.learn.recipe import Recipe


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file; configs/ has some.")],
    out: Annotated[Path, typer.Option(help="Directory of the training, and of the policy.")],
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the one in --out.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Learn a policy from a recording: imitate its oracle, then PPO.

    Example: amp train configs/train-gsm8k.toml --out runs/policy
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from amp.allocate.weights import load_origin
    from amp.benchmarks import load_benchmark
    from amp.learn.fromrecording import learn, material_of
    from amp.learn.recipe import read_recipe
    from amp.learn.train import CHECKPOINT, POLICY, Metrics
    from amp.settings import load_settings
    from amp.trace import to_json

    chosen = read_recipe(recipe)
    if seed is not None:
        chosen = chosen.model_copy(update={"ppo": {**chosen.ppo, "seed": seed}})
    if out.joinpath(POLICY).exists() and not resume:
        raise InvalidInputError(f"{out} holds a policy already; resume it or choose another --out")
    benchmark = load_benchmark(chosen.benchmark, data=data or load_settings().data)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=new_console(stderr=True),
    )
    try:
        with bars:
            tabled = bars.add_task("tasks worked out", total=None)
            material = material_of(chosen, benchmark, lambda task: bars.advance(tabled))
            bars.update(tabled, total=len(material.table.tasks))
            learned = bars.add_task("decisions learned from", total=chosen.settings.decisions)

            def note(metrics: Metrics) -> None:
                success, tokens = metrics["success"], metrics["tokens"]
                bars.update(
                    learned,
                    completed=int(metrics["decisions"] or 0),
                    description=f"PPO: success {success:.2f}, {tokens:.0f} tokens",
                )

            learn(chosen, material, out, resume=resume, on_update=note)
    except KeyboardInterrupt:
        if out.joinpath(CHECKPOINT).exists():
            new_console(stderr=True).print(f"interrupted; go on with --out {out} --resume")
        raise typer.Exit(INTERRUPTED) from None
    origin = load_origin(out / POLICY)
    assert origin is not None  # just saved with it
    if as_json:
        print(to_json(origin))
    else:
        _show(origin, out, chosen)


def _show(origin: Origin, out: Path, recipe: Recipe) -> None:
    from amp.cli.policy import cost_curve
    from amp.learn.events import installed
    from amp.learn.train import ASSESSOR, METRICS, POLICY

    console = new_console()
    console.print(cost_curve(origin))
    if recipe.learn:
        events = (
            "event files for TensorBoard"
            if installed()
            else "no event files: TensorBoard is not installed"
        )
        console.print(f"metrics: {out / METRICS}, and {events}", soft_wrap=True)
    if recipe.assessor is not None:
        console.print(f"assessor: {out / ASSESSOR}  (run the policy with it)", soft_wrap=True)
    path = out / POLICY
    console.print(f"policy: {path}  (amp policy show {path})", soft_wrap=True)
