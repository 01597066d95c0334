"""`amp annotate`: people rate how complex steps are, in the terminal or in the browser.

Reading single keys from a terminal, and whole lines from anything else.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from amp.cli.app import app, output_file
from amp.cli.terminal import new_console, say, shown, shown_in_line
from amp.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from amp.annotations.collect import Agreement, AnnotationItem, AnnotationSession
    from amp.annotations.store import AnnotatedState, BadLine
    from amp.types import Episode


QUIT = "q"
_END_OF_INPUT = "\x04"


@contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """Gives a function that waits for the next key and returns it in lower case.

    On a terminal that is a key pressed from now on, without Enter. Otherwise it is a line. The end
    of the input, Ctrl-D on a terminal, is `QUIT`. The terminal is put back as it was, whatever ends
    the block.
    """
    if not sys.stdin.isatty():
        yield _line
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def key() -> str:
        # What was typed before a step was shown is no rating of that step.
        termios.tcflush(terminal, termios.TCIFLUSH)
        # All that one key sends, of which the first character tells keys apart: the digits in
        # the sequence of an arrow key are no ratings.
        pressed = os.read(terminal, 64).decode("utf-8", "replace")[:1].lower()
        return QUIT if pressed in ("", _END_OF_INPUT) else pressed

    handler = signal.signal(signal.SIGTERM, _leave)
    tty.setcbreak(terminal)
    try:
        yield key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, handler)


def _line() -> str:
    line = sys.stdin.readline()
    return line.strip().lower() if line else QUIT


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_KEYS = "1-5 rate   u undo   s skip   q quit"
_NOTHING_LEFT = "nothing is left to be rated   u undo   q quit"

Out = Annotated[
    Path, typer.Option(callback=output_file, help="File of annotations; its lines are kept.")
]


Runs = Annotated[list[Path], typer.Argument(help="Run directories whose steps are rated.")]
Sample = Annotated[
    int | None,
    typer.Option(min=1, help="Steps to draw, as many of each benchmark and level as they have."),
]
Among = Annotated[
    Path | None,
    typer.Option(help="Only steps that this file annotates, as by a rule; its ratings are hidden."),
]
Seed = Annotated[int, typer.Option(help="Draw and order of the steps; use one seed for all.")]


@app.command()
def annotate(
    run: Runs,
    by: Annotated[list[str], typer.Option(help="Your name; with --web of each person.")],
    out: Out = Path("annotations.jsonl"),
    limit: Annotated[int | None, typer.Option(min=1, help="Steps at most.")] = None,
    sample: Sample = None,
    seed: Seed = 0,
    among: Among = None,
    web: Annotated[
        bool, typer.Option("--web", help="Rate in the browser, several at once.")
    ] = False,
    host: Annotated[str, typer.Option(help="With --web: address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --web: 0 for any that is free.")
    ] = 0,
) -> None:
    """Rate how complex runs' steps are. Example: amp annotate runs/gsm8k --by ann

    In the browser: amp annotate runs/gsm8k --web --by ann --by ben
    """
    items = items_of_runs(run, sample, seed, among)[:limit]
    if web:
        _rate_in_browser(items, out, by, host, port)
    elif len(by) > 1:
        raise InvalidInputError("--by is given several times; add --web, or rate one by one")
    else:
        _rate_in_terminal(items, out, by[0])
    _tell_rated(items, out, by)


def items_of_runs(
    runs: list[Path], sample: int | None, seed: int, among: Path | None
) -> list[AnnotationItem]:
    """The steps of runs; those that are drawn are told by stratum."""
    from amp.annotations.collect import annotation_items, sample_items
    from amp.trace import read_episodes

    strata: dict[str, str] = {}
    episodes: list[Episode] = []
    for run in runs:
        benchmark, level = _benchmark_of(run)
        for episode in read_episodes(run):
            episodes.append(episode)
            own = episode.task.data.get("level", level)
            strata[episode.task.id] = " ".join(str(part) for part in (benchmark, own) if part)
    items = annotation_items(episodes, seed)
    if not items:
        raise InvalidInputError(f"{', '.join(map(str, runs))} has no steps")
    if among is not None:
        annotated = places_of(among)
        items = [item for item in items if item.place in annotated]
        if not items:
            raise InvalidInputError(f"{among} annotates none of the steps of the runs")
    if sample is None:
        return items
    drawn = sample_items(items, strata, sample, seed)
    found = Counter(strata[item.task] or "unknown" for item in drawn)
    parts = (f"{count} of {name}" for name, count in sorted(found.items()))
    say(f"{len(drawn)} of {len(items)} steps: {', '.join(parts)}")
    return drawn


def places_of(file: Path) -> set[AnnotatedState]:
    """The steps that a file annotates."""
    from amp.annotations.exchange import import_annotations

    found = import_annotations(file)
    report_bad_lines(file, found.bad)
    return {annotation.place for annotation in found.good}


def _benchmark_of(run: Path) -> tuple[str, str]:
    """Benchmark and level of a run, as far as it tells."""
    from amp.trace import MANIFEST, read_manifest

    if not (run / MANIFEST).exists():  # a file of episodes alone
        return "", ""
    config = read_manifest(run)["config"]
    return str(config.get("benchmark") or ""), str(config.get("level") or "")


def _rate_in_browser(
    items: list[AnnotationItem], out: Path, names: list[str], host: str, port: int
) -> None:
    from amp.annotations.study import Study
    from amp.annotations.web import StudyServer

    with StudyServer(Study(items, out, names), host, port) as server:
        for name, address in server.addresses.items():
            say(f"{name}: {address}")
        say(f"An address is one person's alone. Ratings go to {out}; Ctrl-C ends.")
        sys.stdout.flush()  # a pipe would keep the addresses until the end
        if host not in _LOOPBACK:
            say(f"{host} may be reached from elsewhere, and nothing is encrypted", error=True)
        with suppress(KeyboardInterrupt):  # every rating is on disk
            server.serve_forever()


def _rate_in_terminal(items: list[AnnotationItem], out: Path, name: str) -> None:
    from amp.annotations.collect import AnnotationSession

    session = AnnotationSession(items, out, name)
    with suppress(KeyboardInterrupt):  # every rating is on disk
        _rate(session, new_console())


def _tell_rated(items: list[AnnotationItem], out: Path, names: list[str]) -> None:
    from amp.annotations.collect import AnnotationSession, measure_agreement
    from amp.annotations.store import read_annotations

    sessions = {name: AnnotationSession(items, out, name) for name in names}
    report_bad_lines(out, sessions[names[0]].bad)
    for name, session in sessions.items():
        say(f"{session.rated} of {session.total} steps are rated by {name}, in {out}")
    if any(session.rated for session in sessions.values()):
        found = measure_agreement(read_annotations(out).good)
        if len(found.annotators) > 1:
            say(agreement_text(found))


def _rate(session: AnnotationSession, console: Console) -> None:
    """Shows steps and follows keys until there is nothing left, or the person quits."""
    from amp.annotations.store import SCALE

    said = ""
    with keys() as next_key:
        while True:
            _show(session, console, said)
            key = next_key()
            if key == "u":
                said = "taken back" if session.undo() else "there is no rating to take back"
            elif key == QUIT or session.current is None:
                return
            elif key == "s":
                session.skip()
                said = "skipped until next time"
            elif key in map(str, SCALE):
                session.rate(int(key))
                said = f"rated {key}"
            else:
                said = "no such key"


def _show(session: AnnotationSession, console: Console, said: str) -> None:
    from amp.annotations.store import SCALE

    if sys.stdin.isatty():
        console.clear()
    item = session.current
    if item is not None:
        console.print(_panel(item))
        position = f"{session.position} of {session.total}"
        for rating, meaning in SCALE.items():
            console.print(f"  {rating}  {meaning}")
    else:
        position = f"{session.total} of {session.total}"
    line = [position, _KEYS if item is not None else _NOTHING_LEFT, said]
    console.print("   ".join(filter(None, line)), style="bold")


def _panel(item: AnnotationItem) -> RenderableType:
    """A step as it is shown: without its result, and its control characters as escapes."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    plan = [f"{number}. {action}" for number, action in enumerate(item.plan, start=1)]
    sections = {
        "goal": item.goal,
        "plan so far": "\n".join(plan) or "nothing yet",
        "state": item.state,
        "options": "\n".join(item.options),
    }
    texts = [
        Text.assemble((f"{name}\n", "bold cyan"), shown(content), "\n")
        for name, content in sections.items()
        if content
    ]
    title = Text(shown_in_line(f"step {item.step + 1} of {item.task}"))
    return Panel(Group(*texts), title=title, title_align="left")


def report_bad_lines(path: Path, bad: tuple[BadLine, ...]) -> None:
    for line in bad:
        reason = shown_in_line(line.reason)
        say(f"{path} {line.what} {line.number} is left out: {reason}", error=True)


def agreement_text(found: Agreement) -> str:
    people = f"{len(found.annotators)} annotators on {found.shared_steps} shared steps"
    if found.alpha is None:
        return f"agreement of {people} is undefined: too few steps, or all ratings are equal"
    return f"agreement of {people}: Krippendorff's alpha {found.alpha:.2f} ({found.level})"
