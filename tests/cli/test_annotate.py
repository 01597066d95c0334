"""The commands about annotations, driven by lines, and by single keys on a real terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from tests.fakes.command import Amp, Outcome, outcome

from amp.annotations.store import SCALE, Annotation, read_annotations, write_annotations
from amp.cli.terminal import shown as escaped
from amp.trace import EPISODES, to_json
from amp.types import Complexity, Episode, Observation, StepRecord, Task, Usage

OUT = Path("annotations.jsonl")
EVIL = "[red]goal\x1b[2J\x9b\x07 of\u202e"


@pytest.fixture
def amp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Amp:
    """Runs a command in this process, in an empty directory, with what is typed as its input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str, typed: str = "") -> Outcome:
        monkeypatch.setattr(sys, "stdin", StringIO(typed))
        return outcome(monkeypatch, capsys, *arguments)

    return call


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two tasks with two steps each."""
    path = tmp_path / "run"
    path.mkdir()
    steps = tuple(
        StepRecord(Observation(f"state {i}"), (), Complexity(0.0), f"[b]act {i}[/b]", Usage())
        for i in range(2)
    )
    episodes = [
        Episode(Task(f"t/{n}", f"{EVIL} {n}"), steps, True, 1.0, Usage(), "done") for n in range(2)
    ]
    (path / EPISODES).write_text("".join(to_json(episode) + "\n" for episode in episodes))
    return path


def complexities() -> list[float]:
    return [note.complexity for note in read_annotations(OUT).good]


def test_steps_are_rated_taken_back_skipped_and_resumed(amp: Amp, run: Path) -> None:
    first = amp("annotate", str(run), "--by", "ann", typed="2\nx\nU\n3\ns\n5\nq\n1\n")
    assert (first.code, first.error) == (0, "")
    assert complexities() == [0.5, 1.0]
    positions = re.findall(r"^(\d) of 4   .*q quit(.*)$", first.out, re.MULTILINE)
    assert [f"{number} {said.strip()}".strip() for number, said in positions] == [
        "1",
        "2 rated 2",
        "2 no such key",
        "1 taken back",
        "2 rated 3",
        "3 skipped until next time",
        "4 rated 5",
    ]
    assert first.out.endswith("2 of 4 steps are rated by ann, in annotations.jsonl\n")
    again = amp("annotate", str(run), "--by", "ann", typed="1\n1\nu\nu\nu\nu\nu\n")
    assert "nothing is left to be rated" in again.out
    assert again.out.count("there is no rating to take back") == 1
    assert "0 of 4 steps" in again.out
    assert OUT.read_text() == ""


def test_a_step_is_shown_without_its_outcome_and_without_what_steers_a_terminal(
    amp: Amp, run: Path
) -> None:
    shown = amp("annotate", str(run), "--by", "ann", typed="1\n1\n1\n").out
    assert "[red]goal\\x1b[2J\\x9b\\x07 of\\u202e 0" in shown
    assert escaped(shown) == shown
    for screen in shown.split("╭")[1:]:
        step = int(re.findall(r"step (\d) of t/", screen)[0])
        assert ("1. [b]act 0[/b]" in screen) == (step == 2)
        assert "act 1" not in screen
        assert f"state {step - 1}" in screen
    assert all(f"  {rating}  " in shown for rating in range(1, 6))


def test_one_seed_is_one_order_and_a_limit_takes_its_beginning(amp: Amp, run: Path) -> None:
    def places(*options: str) -> list[tuple[str, int]]:
        OUT.unlink(missing_ok=True)
        assert amp("annotate", str(run), "--by", "ann", *options, typed="1\n" * 9).code == 0
        return [(note.task, note.step) for note in read_annotations(OUT).good]

    whole = places()
    assert places("--limit", "3") == whole[:3]
    assert any(places("--seed", str(seed)) != whole for seed in range(1, 6))


def test_two_annotators_learn_how_far_they_agree(amp: Amp, run: Path) -> None:
    alone = amp("annotate", str(run), "--by", "ann", typed="1\n2\n5\n")
    assert "alpha" not in alone.out
    both = amp("annotate", str(run), "--by", "bob", typed="1\n2\n5\n4\n")
    said = "agreement of 2 annotators on 3 shared steps: Krippendorff's alpha 1.00 (ordinal)"
    assert said in both.out
    assert said in amp("annotations", "agreement", str(OUT)).out
    result = json.loads(amp("annotations", "agreement", str(OUT), "--json").out)
    assert result == {
        "alpha": 1.0,
        "level": "ordinal",
        "annotators": ["person:ann", "person:bob"],
        "shared_steps": 3,
    }


def test_agreement_spans_files_and_counts_rules_when_asked(amp: Amp, tmp_path: Path) -> None:
    for number, by in enumerate(("person:ann", "person:bob", "rule:count")):
        notes = [Annotation("t", step, 0.5, by, "goal") for step in range(2)]
        write_annotations(tmp_path / f"{number}.jsonl", notes)
    Path("0.jsonl").write_text(Path("0.jsonl").read_text() + "wrong\x1b\n")
    files = ("0.jsonl", "1.jsonl", "2.jsonl")
    outcome = amp("annotations", "agreement", *files)
    assert "2 annotators on 2 shared steps is undefined" in outcome.out
    assert outcome.error == "0.jsonl line 3 is left out: no JSON\n"
    assert "3 annotators" in amp("annotations", "agreement", *files, "--rules").out


def test_a_report_holds_raters_to_each_other_and_to_a_rule(amp: Amp) -> None:
    notes = [
        Annotation(
            f"t{step}", 0, ((step + (by == "ben" and step % 3 == 0)) % 5) / 4, f"person:{by}", "g"
        )
        for by in ("ann", "ben")
        for step in range(12)
    ]
    write_annotations(OUT, notes)
    lines = [f"t{step},0,{(step % 5) / 4},rule:needs" for step in range(12)]
    Path("needs.csv").write_text("\n".join(["task,step,complexity,by", *lines, "t,0,9,rule:needs"]))
    outcome = amp("annotations", "report", str(OUT), "needs.csv")
    assert outcome.error == "needs.csv line 14 is left out: complexity is 9.0, expected 0 to 1\n"
    assert "person:ann rated 12 steps\nperson:ben rated 12 steps\n" in outcome.out
    assert re.search(
        r"^Krippendorff's alpha 0\.\d\d \(ordinal; 95 % CI .*; 12 steps\)$", outcome.out, re.M
    )
    (row,) = re.findall(r"^person:ann +rule:needs .*$", outcome.out, re.M)
    assert row.split()[2:6] == ["12", "12", "100.0%", "+1.00"]
    told = json.loads(amp("annotations", "report", str(OUT), "needs.csv", "--json").out)
    assert [each["one"] for each in told["rules"]] == ["person:ann", "person:ben", "mean of raters"]
    assert told["alpha"]["rows"] == 12
    assert told["alpha"]["interval"]["low"] < told["alpha"]["value"]


def test_importing_says_what_was_left_out_and_adds_nothing_twice(amp: Amp) -> None:
    Path("r.csv").write_text("task,step,rating,by\na,0,3,ann\na,1,9,ann\na,2,5,ann\n")
    first = amp("annotations", "import", "r.csv")
    assert first.out == ("added to annotations.jsonl: 2; there already: 0; lines left out: 1\n")
    assert first.error == "r.csv line 3 is left out: rating is 9, expected 1 to 5\n"
    assert amp("annotations", "import", "r.csv").out.endswith("already: 2; lines left out: 1\n")
    assert complexities() == [0.5, 1.0]


def test_human_solutions_become_annotations(amp: Amp, tmp_path: Path) -> None:
    rows = [
        {"question": f"{n}?", "answer": f"<<{n}+1={n + 1}>>\nSo.\n#### {n + 1}"} for n in range(9)
    ]
    (tmp_path / "gsm8k").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "gsm8k" / "train.jsonl").write_text(text)
    command = ("annotations", "solutions", "--data", str(tmp_path), "--out", str(OUT))
    outcome = amp(*command, "--limit", "3")
    assert outcome.out == "added to annotations.jsonl: 6 annotations of 3 problems\n"
    assert {note.by for note in read_annotations(OUT).good} == {"rule:human_solution"}


def test_steps_are_drawn_by_benchmark_and_level(amp: Amp, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    text = (run / EPISODES).read_text().replace("t/", "u/")
    (other / EPISODES).write_text(text)
    manifest = {"config": {"benchmark": "babyai", "level": "GoTo", "planner": {}}}
    (other / "run.json").write_text(json.dumps(manifest))
    command = ("annotate", str(run), str(other), "--sample", "5", "--seed", "3")
    outcome = amp(*command, "--by", "ann", typed="1\n" * 9)
    assert re.match(r"5 of 8 steps: [23] of babyai GoTo, [23] of unknown\n", outcome.out)
    first = [note.place for note in read_annotations(OUT).good]
    assert len(first) == 5
    amp(*command, "--by", "ben", typed="1\n" * 9)
    assert [note.place for note in read_annotations(OUT).good][5:] == first


def test_annotations_go_out_and_come_back(amp: Amp, run: Path) -> None:
    notes = [
        Annotation("t", 0, 0.5, "person:ann", "g", why="so"),
        Annotation("t", 0, 0.3, "rule:x", "g"),
    ]
    write_annotations(OUT, notes)
    told = amp("annotations", "export", str(OUT), str(OUT), "--out", "a.csv").out
    assert told == "written to a.csv: 2 annotations\n"
    told = amp("annotations", "export", str(OUT), "--out", "a.json").out
    assert "1 annotations; left out, as they are no person's ratings from 1 to 5: 1" in told
    for file, expected in (("a.csv", notes), ("a.json", notes[:1])):
        assert amp("annotations", "import", file, "--out", f"{file}.jsonl").code == 0
        assert list(read_annotations(Path(f"{file}.jsonl")).good) == expected
    told = amp("annotations", "tasks", str(run), "--sample", "3", "--out", "s.json").out
    assert told.endswith("written to s.json: 3 steps\n")
    assert len(json.loads(Path("s.json").read_text())) == 3
    assert Path("s.xml").read_text().startswith("<View>")
    assert amp("annotations", "tasks", str(run), "--out", "s.csv").code == 0
    assert Path("s.csv").read_text().count("state 0") == 2
    Path("bad.json").write_text(
        '[{"data": {}, "annotations": [{}]}, ' + Path("a.json").read_text()[1:]
    )
    outcome = amp("annotations", "import", "bad.json", "--out", "b.jsonl")
    assert outcome.error == "bad.json task 1 is left out: expected annotations with a result\n"


def test_sheets_of_several_people_come_back_beside_what_rules_say(amp: Amp, run: Path) -> None:
    needed = [Annotation(f"t/{n}", 1, n / 1, "rule:needed", "g", "state 1") for n in range(2)]
    write_annotations(Path("needed.jsonl"), needed)
    command = ("annotations", "sheets", str(run), "--by", "ann", "--by", "ben", "--out", "sheets")
    told = amp(*command, "--among", "needed.jsonl").out
    assert told.count("steps.csv with 2 steps") == 2
    for name in ("ann", "ben"):
        folder = Path("sheets") / name
        assert all(f"**{rating}**" in (folder / "instructions.md").read_text() for rating in SCALE)
        sheet = (folder / "steps.csv").read_text()
        assert "needed" not in sheet
        assert "act 1" not in sheet  # what was done in the step
        filled = sheet.replace(f",,,{name}", f",4,so,{name}")
        (folder / "ratings.csv").write_text(filled)
    told = amp("annotations", "scores", str(run), "--out", "scores.jsonl").out
    assert told == "added to scores.jsonl: 4 annotations of 2 episodes, by complexity, words\n"
    files = ["sheets/ann/ratings.csv", "sheets/ben/ratings.csv", "scores.jsonl", "needed.jsonl"]
    found = json.loads(
        amp("annotations", "report", *files, "--against", "rule:needed", "--json").out
    )
    assert {pair["one"]: pair["steps"] for pair in found["rules"]} == {
        "person:ann": 2, "person:ben": 2, "mean of raters": 2, "rule:complexity": 2,
    }  # fmt: skip
    assert found["pairs"][0]["same"] == 1.0
    told = amp("annotations", "export", "scores.jsonl", "--among", files[0], "--out", "o.csv").out
    assert told == "written to o.csv: 2 annotations\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ("annotate", "run", "--by", "ann", "--by", "ben"),
            "--by is given several times; add --web",
        ),
        (("annotate", "run", "--by", "a", "--sample", "9"), "cannot draw 9 steps: the runs have 4"),
        (("annotate", "run", "--web", "--by", "a", "--by", "a"), "name 'a' is there twice"),
        (("annotate", "run", "--web", "--by", "a", "--host", "256.1.1.1"), "cannot listen at 256"),
        (("annotations", "tasks", "run", "--out", "a.txt"), "--out is a.txt, expected NAME.csv"),
        (("annotations", "sheets", "run", "--by", "a/b", "--out", "o"), "--by is 'a/b'"),
        (
            ("annotations", "sheets", "run", "--by", "a", "--by", "a", "--out", "o"),
            "--by is 'a', expected a name for each",
        ),
        (("annotate", "run", "--by", "a", "--among", "a.jsonl"), "a.jsonl annotates none of the"),
        (
            ("annotations", "scores", "run", "--score", "entropy", "--out", "o"),
            "no step of run has entropy",
        ),
        (("annotate", "nowhere", "--by", "ann"), "no trace at nowhere"),
        (("annotate", "run", "--by", "a:b"), "name is 'a:b'"),
        (("annotate", "empty.jsonl", "--by", "ann"), "empty.jsonl has no steps"),
        (
            ("annotate", "run", "--by", "ann", "--out", "run"),
            "run cannot be written: Is a dir",
        ),
        (("annotations", "agreement", "nowhere"), "nowhere cannot be read"),
        (("annotations", "import", "empty.jsonl"), "empty.jsonl has no column task"),
        (("annotations", "solutions", "--split", "test", "--out", "o"), "split is 'test'"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    amp: Amp, run: Path, arguments: tuple[str, ...], named: str
) -> None:
    Path("empty.jsonl").write_text("")
    write_annotations(Path("a.jsonl"), [Annotation("another", 0, 0.5, "rule:x", "g")])
    outcome = amp(*arguments)
    assert (outcome.code, outcome.error.count("\n")) == (2, 1), outcome.error
    assert outcome.error.startswith(f"amp: {named}")


class Terminal:
    """`amp annotate` on a terminal of its own."""

    def __init__(self, run: Path) -> None:
        self._ours, self._its = pty.openpty()
        self.before = self.settings()
        # Opening it makes it the terminal of the child's session, so that Ctrl-C reaches the child.
        take = "import os; os.close(os.open(os.ttyname(0), os.O_RDWR))"
        command = f"{take}; from amp.cli import main; main()"
        self.child = subprocess.Popen(
            [sys.executable, "-c", command, "annotate", str(run), "--by", "ann"],
            stdin=self._its,
            stdout=self._its,
            stderr=self._its,
            cwd=run.parent,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
            start_new_session=True,
        )

    def settings(self) -> object:
        return termios.tcgetattr(self._its)

    def shows(self, text: str, seconds: float = 60) -> bool:
        """Waits until the terminal shows a text; whether it did."""
        shown = ""
        deadline = time.monotonic() + seconds
        while text not in shown and time.monotonic() < deadline:
            if select.select([self._ours], [], [], 0.1)[0]:
                shown += os.read(self._ours, 65536).decode()
        return text in shown

    def answers(self, keys: str, text: str) -> bool:
        """Presses keys; whether the terminal then shows a text.

        What is pressed in the moment before the program waits for a key does not count, so it is
        pressed again where nothing comes of it.
        """
        for _ in range(10):
            os.write(self._ours, keys.encode())
            if self.shows(text, seconds=2):
                return True
        return False

    def ends(self, code: int) -> None:
        assert self.child.wait(timeout=60) == code
        assert self.settings() == self.before

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self._ours)
        os.close(self._its)


@pytest.fixture
def terminal(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.chdir(run.parent)
    opened = Terminal(run)
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("leave", ["q", "\x03", "\x04"])
def test_single_keys_rate_on_a_terminal_and_it_is_left_as_it_was(
    terminal: Terminal, leave: str
) -> None:
    assert terminal.shows("1 of 4")
    assert terminal.answers("3", "rated 3")
    assert complexities() == [0.5]
    assert terminal.answers("\x1b[1;5C", "no such key")  # Ctrl and an arrow
    assert terminal.answers("5", "rated 5")
    assert terminal.answers("u", "taken back")
    assert terminal.answers(leave, "1 of 4 steps are rated by ann")
    terminal.ends(0)
    assert complexities() == [0.5]


@pytest.mark.slow
def test_a_terminal_is_left_as_it_was_when_the_program_is_told_to_end(terminal: Terminal) -> None:
    assert terminal.shows("1 of 4")
    assert terminal.answers("x", "no such key")
    assert terminal.settings() != terminal.before
    terminal.child.send_signal(signal.SIGTERM)
    terminal.ends(128 + signal.SIGTERM)
