"""Commands about models: list, pull, rm, profile."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from amp.cli.app import app, new_console, open_model, run_async
from amp.cli.options import Json

models_app = typer.Typer(help="List, get and remove local models.", no_args_is_help=True)
app.add_typer(models_app, name="models")


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """List the models of the catalog and which of them are here."""
    from rich.table import Table

    from amp.models import catalog

    here = {model.name for model in catalog.installed()}
    if as_json:
        print(json.dumps([{"name": n, "installed": n in here} for n in catalog.MODELS]))
        return
    table = Table(box=None)
    for column in ("name", "parameters", "size", "licence", "good for", "here"):
        table.add_column(column)
    for model in catalog.MODELS.values():
        table.add_row(
            model.name,
            f"{model.parameters / 1e9:.2f} B",
            f"{model.file.size_bytes / 1e6:,.0f} MB",
            model.licence,
            model.remark,
            "yes" if model.name in here else f"amp models pull {model.name}",
        )
    new_console().print(table)


@models_app.command("pull")
def models_pull(name: str) -> None:
    """Get a model; go on where an earlier try stopped. Example: amp models pull smollm2-135m"""
    from amp.models import catalog

    print(catalog.pull(name))


@models_app.command("rm")
def models_rm(name: str) -> None:
    """Remove a model from this machine."""
    from amp.models import catalog

    print(f"freed {catalog.remove(name) / 1e6:,.0f} MB")


@app.command()
def profile(
    model: Annotated[str | None, typer.Argument(help="As --model elsewhere.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure less, in seconds.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how fast a model is on this machine. Example: amp profile smollm2-135m --quick"""
    from rich.progress import Progress
    from rich.table import Table

    from amp.measure import QUICK, Plan, fit, measure
    from amp.settings import load_settings
    from amp.trace import to_json

    async def go() -> None:
        language_model = open_model(model)
        try:
            with Progress(console=new_console(stderr=True), transient=True) as bar:
                task = bar.add_task("measuring", total=None)
                measurements = await measure(
                    language_model,
                    QUICK if quick else Plan(),
                    lambda done, total, what: bar.update(
                        task, completed=done, total=total, description=what
                    ),
                )
            found = fit(language_model.card, measurements, load_settings().threads)
        finally:
            await language_model.close()
        path = found.save()
        if as_json:
            print(json.dumps(json.loads(to_json(found)) | {"file": str(path)}))
            return

        def rate(tokens: int, seconds: float) -> str:
            return f"{tokens / seconds:,.1f}" if seconds > 0.0 else "-"

        contexts, written = (128, 512, 2048), 100
        table = Table("tokens a second", title=f"{found.model} on {found.machine}", box=None)
        for context in contexts:
            table.add_column(f"after {context:,}", justify="right")
        table.add_row("reading", *(rate(c, found.seconds(c, 0)) for c in contexts))
        for n in found.batches:
            total = n * written
            rates = (rate(total, found.seconds(c, total, n, c)) for c in contexts)
            table.add_row(f"writing, {n} at a time", *rates)
        new_console().print(table)
        print(f"fitted to {len(measurements)} measurements, error {found.error:.0%}")
        print(f"profile: {path}")

    run_async(go())
