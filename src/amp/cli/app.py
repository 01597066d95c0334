"""The application, and what its commands share: options, opening a model, running to the end.

Options that set a configuration are made of it (`options_of`): each field is an option of its name,
with its docstring as help. So a field that is added can be set on the command line.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from typer.core import TyperGroup

from amp.cli.terminal import say
from amp.errors import InvalidInputError, did_you_mean
from amp.evaluate.config import LIMITS, OVERRIDES, PlannerConfig, RunConfig
from amp.files import require_output_directory, require_output_file
from amp.settings import Config, checked
from amp.types import ProbeKind

if TYPE_CHECKING:
    from amp.models.base import LanguageModel


INTERRUPTED = 130

_BOXES = {
    "Begin here": ("demo", "solve", "run"),
    "Look at what came of it": ("trace", "report", "export"),
    "What is on this machine": ("benchmarks", "models", "data", "profile"),
    "Many runs, or none": ("sweep", "record", "simulate", "pools", "lattices"),
    "Serve": ("serve", "keys"),
    "Learn": ("train", "policy", "assess", "annotate", "annotations"),
}
"""The boxes of `amp --help`: what people try first comes first."""


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        boxed = [name for names in _BOXES.values() for name in names]
        return [*boxed, *sorted(set(self.commands) - set(boxed))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command: Any = super().get_command(ctx, cmd_name)
        for box, names in _BOXES.items():
            if cmd_name in names and command is not None:
                command.rich_help_panel = box
        if command is not None:
            _without_types_below(command, ctx)
        return command

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        _without_types(*self.params, option)
        return option


def _without_types(*options: Any) -> None:
    """Has --help show ``--json`` and not ``--json <bool>``: nothing follows a flag."""
    for option in options:
        if getattr(option, "is_flag", False):
            option.metavar = ""


def _without_types_below(command: Any, ctx: Any) -> None:
    _without_types(*command.params, command.get_help_option(ctx))
    for inner in getattr(command, "commands", {}).values():
        _without_types_below(inner, ctx)


app = typer.Typer(
    name="amp",
    cls=_Commands,
    help="Plan with a language model and give each step the compute that it needs.",
    epilog="Example: amp run babyai --level BabyAI-GoToLocal-v0 --limit 10 --allocator heuristic",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"amp {version('adaptive-meta-planning')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_tell_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    # Declared for --help alone: `main` takes the flag off, wherever it stands.
    return


CostName = Annotated[
    str,
    typer.Option(
        "--cost",
        help="What is compared, of all alike: tokens, written (tokens), flops, dollars, seconds.",
    ),
]
"""Of a command that compares; `amp.cost.read_cost` reads it."""


def larger_recording(recordings: Sequence[Path] | None) -> list[Path]:
    """The larger model has a recording of its own beside that of the base model."""
    return [path.with_stem(f"{path.stem}-larger") for path in recordings or ()][:1]


def count_models(
    names: Sequence[str], record: Sequence[Path] | None, replay: Sequence[Path] | None
) -> int:
    """How many models a command has: those that it names, or else a replay's.

    Raises:
        InvalidInputError: if there is not one recording for each.
    """
    count = max(1, len(names) or len(replay or ()))
    for flag, files in (("--record", record), ("--replay", replay)):
        if files and len(files) != count:
            raise InvalidInputError(
                f"{flag} names {len(files)} for {count} models; name one recording for each, in"
                " the order of --model"
            )
    return count


@asynccontextmanager
async def open_models(
    names: Sequence[str],
    record: Sequence[Path] | None = None,
    replay: Sequence[Path] | None = None,
    prompts: tuple[str, ...] = (),
    hidden_states: bool = False,
) -> AsyncIterator[list[LanguageModel]]:
    """Opens the models of a command, the base model first, each with a recording if any has one."""
    models: list[LanguageModel] = []
    try:
        for place in range(count_models(names, record, replay)):
            models.append(
                open_model(
                    names[place] if names else None,
                    record[place] if record else None,
                    replay[place] if replay else None,
                    prompts,
                    hidden_states and not models,
                )
            )
        yield models
    finally:
        for model in models:
            await model.close()


def open_model(
    name: str | None,
    record: Path | None = None,
    replay: Path | None = None,
    prompts: tuple[str, ...] = (),
    hidden_states: bool = False,
) -> LanguageModel:
    """Opens a model by name, with a recording if one is given."""
    from amp.models.recorded import RecordedModel
    from amp.models.registry import is_called, load_model
    from amp.settings import load_settings

    if record is not None and replay is not None:
        raise InvalidInputError("--record and --replay exclude each other; leave one out")
    if replay is not None:
        recorded = RecordedModel(None, replay, mode="replay", prompts=prompts)
        if name is not None and not is_called(recorded.card, name):
            recorded.recording.close()
            raise InvalidInputError(
                f"--model is {name}, but {replay} holds answers of {recorded.card.name};"
                " leave --model out"
            )
        return recorded
    settings = load_settings()
    name = name or settings.model
    key = settings.api_key
    model = load_model(
        name,
        base_url=settings.base_url,
        api_key=None if key is None else key.get_secret_value(),
        prefix=settings.prefix,
        thinking=settings.thinking,
        threads=settings.threads,
        context_tokens=settings.context_tokens,
        prices=settings.prices,
        hidden_states=hidden_states,
    )
    if record is None:
        return model
    return RecordedModel(model, record, mode="record", prompts=prompts)


Result = TypeVar("Result")


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def output_file(path: Path | None) -> Path | None:
    """Callback of options that name a file to be written: refuses one before any work is done."""
    if path is not None:
        require_output_file(path)
    return path


def output_files(paths: list[Path] | None) -> list[Path] | None:
    """Likewise for an option that is repeated."""
    for path in paths or ():
        require_output_file(path)
    return paths


def output_directory(path: Path | None) -> Path | None:
    """Likewise for a directory."""
    if path is not None:
        require_output_directory(path)
    return path


_MODEL = " ".join((RunConfig.model_fields["model"].description or "").split())

Model = Annotated[
    str | None,
    typer.Option(help=_MODEL.partition("; the first")[0] + "."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", metavar="<str>", help=_MODEL.removesuffix(".") + "; repeat for several."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Directory of the benchmarks' data; the setting data if left out."),
]
Probe = Annotated[
    list[str] | None,
    typer.Option(
        help=f"{(PlannerConfig.model_fields['probes'].description or '').removesuffix('.')}; "
        "repeat for several."
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(
        callback=output_file, help="Keep all answers in this recording; reuse those it has."
    ),
]
Replay = Annotated[Path | None, typer.Option(help="Take all answers from this recording.")]
Records = Annotated[
    list[Path] | None,
    typer.Option(
        "--record",
        metavar="<path>",
        callback=output_files,
        help="Keep all answers in this recording; reuse those it has. One for each model.",
    ),
]
Replays = Annotated[
    list[Path] | None,
    typer.Option(
        "--replay",
        metavar="<path>",
        help="Take all answers from this recording; one for each model.",
    ),
]
MaxSteps = Annotated[int | None, typer.Option(help="Limit of plan steps an episode.")]


def probes_of(names: list[str] | None) -> frozenset[ProbeKind]:
    """What --probe names.

    Raises:
        InvalidInputError: if it names something else.
    """
    known: tuple[ProbeKind, ...] = get_args(ProbeKind)
    for name in names or ():
        if name not in known:
            raise InvalidInputError(
                f"unknown probe {name!r}{did_you_mean(name, known)} (probes: {', '.join(known)})"
            )
    return frozenset(probe for probe in known if probe in (names or ()))


# --------------------------------------------------------------------------- configurations

_NAMES = {"tools": "tool", "probes": "probe", "budget_tokens": "max_tokens_total"}
"""Options that are called otherwise than their field: repeated ones are in the singular, and all
limits begin alike."""
_FORMER = {"budget_tokens": ("--budget-tokens",)}
"""What options were called earlier; it still works."""

Command = Callable[..., None]


def takes(
    kind: type[Config], *, arguments: Collection[str] = (), without: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Gives a command the options of a configuration in place of its parameter ``config``.

    Args:
        kind: the configuration; what is nested in it comes with its own options.
        arguments: fields that stand in the command without a name.
        without: fields that cannot be set.
    """

    def decorated(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        options = list(options_of(kind, arguments, without))
        names = [option.name for option in options]

        def called(**values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            command(config=config_of(kind, given), **values)

        # The order is that of --help: what is planned, how, and what else the command has.
        others = [other.replace(kind=other.KEYWORD_ONLY) for other in own if other.name != "config"]
        shown = [*options, *others]
        called.__dict__["__signature__"] = inspect.Signature(shown)
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        return called

    return decorated


def options_of(
    kind: type[Config], arguments: Collection[str] = (), without: Collection[str] = ()
) -> Iterator[inspect.Parameter]:
    """The options of a configuration as parameters of a command, required ones first."""
    fields = [(name, field) for name, field in kind.model_fields.items() if name not in without]
    for name, field in sorted(fields, key=lambda item: not item[1].is_required()):
        if isinstance(field.default, Config):
            yield from options_of(type(field.default), arguments, without)
            continue
        value = _value_type(field.annotation)
        said = " ".join((field.description or "").split())
        if name in arguments:
            yield _parameter(name, Annotated[value, typer.Argument(help=said)])
            continue
        if is_list := get_origin(value) is list:
            said = f"{said.removesuffix('.')}; repeat for several."
        elif isinstance(field.default, int | float | str) and field.default is not False:
            said = f"{said.removesuffix('.')}; {field.default} if left out."
        flags = _flag(name), *_FORMER.get(name, ())
        shown = typer.Option(
            *flags,
            help=said,
            rich_help_panel=_panel(kind, name),
            metavar=_choices(field.annotation),
        )
        yield _parameter(name, Annotated[value | None, shown], None)
        if is_list and name == "tools":
            shown = typer.Option("--no-tools", help="No tools.", rich_help_panel=_panel(kind, name))
            yield _parameter("no_tools", Annotated[bool, shown], False)


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _panel(kind: type[Config], name: str) -> str:
    """The box of --help that an option stands in."""
    if name in OVERRIDES:
        return "Given to every step, whatever the allocator says"
    if name in LIMITS:
        return "Limits of an episode"
    return "How to plan" if issubclass(kind, PlannerConfig) else "What to run"


def config_of(kind: type[Config], options: dict[str, Any]) -> Any:
    """A configuration from the values of `options_of`.

    Raises:
        InvalidInputError: for a value that does not fit; names the option.
    """
    options = {name: value for name, value in options.items() if value not in (None, [])}
    if options.pop("no_tools", False):
        if named := options.get("tools"):
            raise InvalidInputError(f"--tool {named[0]} and --no-tools exclude each other")
        options["tools"] = []

    def values_of(one: type[Config]) -> dict[str, Any]:
        nested = {
            n: f.default for n, f in one.model_fields.items() if isinstance(f.default, Config)
        }
        inner = {name: values_of(type(config)) for name, config in nested.items()}
        return {n: v for n, v in options.items() if n in one.model_fields} | inner

    try:
        return checked(kind, values_of(kind))
    except InvalidInputError as error:
        raise InvalidInputError(_as_options(str(error))) from None


def _flag(field: str) -> str:
    return f"--{_NAMES.get(field, field).replace('_', '-')}"


def _as_options(message: str) -> str:
    """A message that begins with a field, or with two that exclude each other, with its options."""

    def option(match: re.Match[str]) -> str:
        return _flag(match[0])

    message = re.sub(r"^planner(\.|: )", "", message)
    message = re.sub(r"^(\w+)\.\d+ ", r"\1 ", message)
    message = re.sub(r"(?<= and )\w+(?= exclude each other)", option, message)
    return re.sub(r"^\w+", option, message)


def _choices(annotation: Any) -> str | None:
    """What --help calls the value of a field with few possible ones."""
    return "|".join(get_args(annotation)) if get_origin(annotation) is Literal else None


def _value_type(annotation: Any) -> Any:
    """The type that the command line reads for a field: lists for sets, and nothing for None."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is Literal:
        return str  # the configuration says in its own words what it expects
    return list[str] if get_origin(annotation) in (frozenset, tuple) else annotation
