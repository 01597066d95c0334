"""Programs are found however they are fenced, split, stopped or typed, and run to their answer."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amp.benchmarks.gsm8k import GSM8K
from amp.cost import Ledger
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.execute.program import ends_before_program, find_program, is_fence
from amp.execute.tools.python import PythonTool
from amp.models.recorded import RecordedModel
from amp.models.scripted import ScriptedModel
from amp.types import Allocation, Candidate, Limits, Observation, StepContext, Task

PROGRAM = "x = 12\nanswer = x * 7"
DEFINITION = "def f(x):\n    return 7 * x"
USE = "answer = f(12)"
CHANGED = "x = 12\nx = x * 7\nanswer = x"
LANGUAGES = (
    *("python", "Python", "py", "python3", "ipython", "{python}", "{.python .numbered}", " python"),
    *("python3.11", 'python title="a.py"', "solve.py", "tool_code"),
)

fences = st.sampled_from(["```", "````", "~~~", "~~~~~"])
languages = st.sampled_from(LANGUAGES)
before = st.sampled_from(["", "Here is the program:\n", "1. First\n\n", "It prints the result:\n"])
after = st.sampled_from(["", "\n", "\nDone.", "\n\nOutput:\n```\n84\n```", "\n```text\n84\n```"])
ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(fences, languages, before, after, ends, st.booleans(), st.sampled_from(["", "    ", "\t"]))
def test_a_marked_block_is_the_program_whatever_stands_around_it(
    fence: str, language: str, before: str, after: str, end: str, tight: bool, indent: str
) -> None:
    closing = fence if tight else f"\n{fence}"
    block = f"{fence}{language}\n{PROGRAM}{closing}"
    block = "\n".join(indent + line for line in block.split("\n"))
    assert find_program(f"{before}{block}{after}".replace("\n", end)) == PROGRAM


@given(fences, before, after, st.booleans())
def test_a_block_without_a_language_is_the_program_if_it_has_a_result(
    fence: str, before: str, after: str, tight: bool
) -> None:
    closing = fence if tight else f"\n{fence}"
    assert find_program(f"{before}{fence}\n{PROGRAM}{closing}{after}") == PROGRAM


@pytest.mark.parametrize(
    "output", ["84", "answer: 84", "answer = 85", "print: 84", "x = 12\n84", "{'a': 84}"]
)
@pytest.mark.parametrize("said", ["Output:", "**Result:**", "This prints:", "the output is:\n"])
@pytest.mark.parametrize("language", ["", "python"])
def test_a_block_of_output_is_not_the_program(output: str, said: str, language: str) -> None:
    text = f"```{language}\n{PROGRAM}\n```\n{said}\n```\n{output}\n```\n"
    assert find_program(text) == PROGRAM


@given(
    st.lists(st.sampled_from(["", "python", "py"]), min_size=3, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_blocks_that_need_each_other_are_one_program(
    marks: list[str], open_end: bool, imports: bool
) -> None:
    definition = DEFINITION.replace("7 * x", "math.ceil(7 * x)") if imports else DEFINITION
    parts = ["import math"] * imports + [definition, USE]
    blocks = [f"```{mark}\n{part}\n```" for mark, part in zip(marks, parts, strict=False)]
    text = "\nNow this:\n".join(blocks)
    found = find_program(text.removesuffix("\n```") if open_end and marks[len(parts) - 1] else text)
    assert found == "\n".join(parts)


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (f"```python\n{PROGRAM}\n```\nUse it:\n```python\nprint(g(5))\n```", PROGRAM),
        (f"```python\nanswer = (\n```\nRather:\n```python\n{PROGRAM}\n```", PROGRAM),
        (f"```bash\npip install x\n```\nThen\n```\n{PROGRAM}\n```", PROGRAM),
        ("Run ```python answer = 84```", "answer = 84"),
        ("```answer = 84```", "answer = 84"),
        ("Here: ```python\nanswer = 84\n```", "answer = 84"),
        ("answer = 84```\nThat is it.", "answer = 84"),
        ("<code>\nanswer = 84\n</code>", "answer = 84"),
        ('<pre><code class="language-python">answer = 84</code></pre>', "answer = 84"),
        ("```pycon\n>>> x = 12\n>>> answer = x * 7\n>>> answer\n84\n```", f"{PROGRAM}\nanswer"),
        ("```\npython\nanswer = 84\n```", "answer = 84"),
        ("> ```python\n> answer = 84\n> ```", "answer = 84"),
        ("```python\nx = 1\n```", "x = 1"),
        ("```python\nanswer = (1 +\n```", "answer = (1 +"),
        ("```\n84\n```\nSo 84.", None),
        ("```json\n{}\n```", None),
        ("```python\nx = 12\n```\nThen:\n```python\nx = x * 7\nanswer = x\n```", CHANGED),
        (
            "```python\nx = 12\n```\n```\nx *= 7\nanswer = x\n```",
            CHANGED.replace("= x * 7", "*= 7"),
        ),
        (f"```python\n{PROGRAM}\n```</s>", PROGRAM),
        (f"```python\n{PROGRAM}\n```<|im_end|>", PROGRAM),
        (f"```python\n{PROGRAM}\n```.", PROGRAM),
        (f"```python\n{PROGRAM}\n```python", PROGRAM),
    ],
)
def test_which_block_is_meant(text: str, program: str | None) -> None:
    assert find_program(text) == program


@pytest.mark.parametrize("inner", ["```", "```python", "~~~"])
@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_a_docstring_may_hold_fences(inner: str, quotes: str) -> None:
    closing = inner[:3]
    program = (
        f"def f():\n    {quotes}Doc:\n    {inner}\n    f()\n    {closing}\n    {quotes}\n"
        "    return 84\nanswer = f()"
    )
    assert find_program(f"```python\n{program}\n```\nDone.") == program


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("x\u00a0= 12\nanswer = x * 7", PROGRAM),
        ("x = 12\nanswer\u202f=\u3000x \u00d7 7", PROGRAM),
        ("\ufeffx = 12\nanswer = x * 7", PROGRAM),
        ("answer = 90 \u2212 6", "answer = 90 - 6"),
        ("answer = int(\u201c84\u201d)", 'answer = int("84")'),
        ("if 1:\n\u00a0\u00a0\u00a0\u00a0answer = 84", "if 1:\n    answer = 84"),
        ("s = 'a\u00a0\u2212'\nanswer\u00a0= 84", "s = 'a\u00a0\u2212'\nanswer = 84"),
    ],
)
def test_typography_is_put_right_outside_of_strings(typed: str, meant: str) -> None:
    assert find_program(f"```python\n{typed}\n```") == meant


async def test_an_object_is_an_error_of_the_program_and_never_a_number() -> None:
    tool = PythonTool()
    for value in (
        *("map(int, [12])", "(x for x in [84])", "lambda: 84", "sum", "object()", "iter([84])"),
        *("[map(int, [1])]", "__import__('itertools').count(84)", "int"),
    ):
        for program in (f"answer = {value}", f"print({value})"):
            if "count" in program and "print" in program:
                continue  # prints count(84): a text like any other
            use = await tool.use(f"```python\n{program}\n```")
            assert use is not None
            plain = program in ("print(sum)", "print(int)")
            assert (use.error is None) == plain, program
            context = StepContext(Task("t", "?"), Observation())
            allocation = Allocation(tools=frozenset({"python"}))
            assert GSM8K().prompts.read(context, allocation, "", (use,)) is None


# --------------------------------------------------------------------------- stop strings

GSM = GSM8K()
CONTEXT = StepContext(GSM.tasks("demo")[0], Observation())


def solve(
    model: ScriptedModel | RecordedModel,
    *,
    beams: int = 1,
    depth: int = 0,
    limits: Limits = Limits(),
) -> tuple[tuple[Candidate, ...], Meter]:
    allocation = Allocation(
        depth=depth, temperature=0.7, beam_width=beams, tools=frozenset({"python"})
    )
    meter = Meter(model, Ledger(limits))
    executor = Executor(GSM.prompts, GSM.tools)
    return asyncio.run(executor.execute(CONTEXT, allocation, meter)), meter


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(
    "text",
    [
        f"Here is the program:\n```\n{PROGRAM}\n```\nDone.",
        f"12 boxes of 7 are many. It is 5.\n```\n{PROGRAM}\n```\n",
        f"```python\n{DEFINITION}\n```\nNow use it:\n```python\n{USE}\n```\n",
        f"```bash\npip install x\n```\nThen\n```python\n{PROGRAM}\n```\n",
        f"```python\n{PROGRAM}\n```\nOutput:\n```\n84\n```\n",
    ],
)
def test_a_stop_string_does_not_take_the_program_away(text: str, depth: int) -> None:
    model = ScriptedModel([text])
    candidates, meter = solve(model, beams=2, depth=depth)
    assert [candidate.action for candidate in candidates] == ["84", "84"]
    again = text.count("```python") != 1 or "bash" in text
    assert len(model.requests) == 1 + again
    assert all(request.prompt.stop == ("\n```\n",) for request in model.requests[:1])
    assert bool(meter.take_notes()) == again
    assert meter.ledger.usage.completion_tokens >= sum(c.completion_tokens for c in candidates) > 0


def test_a_program_with_an_error_is_not_asked_for_again() -> None:
    model = ScriptedModel(["```python\nnum_i pads = 20\nanswer = num_i pads"])
    solve(model)
    assert len(model.requests) == 1


def test_a_model_that_writes_no_programs_is_asked_again_once_an_episode() -> None:
    async def rounds(model: ScriptedModel) -> None:
        meter, executor = Meter(model, Ledger(Limits())), Executor(GSM.prompts, GSM.tools)
        allocation = Allocation(temperature=0.7, beam_width=2, tools=frozenset({"python"}))
        for _ in range(3):
            await executor.execute(CONTEXT, allocation, meter)

    prose = ScriptedModel(["Let me think about the tulips."])
    asyncio.run(rounds(prose))
    assert len(prose.requests) == 3 + 1
    late = ScriptedModel([f"Here is the program:\n```\n{PROGRAM}\n```\n"])
    asyncio.run(rounds(late))
    assert len(late.requests) == 3 + 3


def test_where_limits_or_a_recording_allow_no_second_answer_the_first_stands(
    tmp_path: Path,
) -> None:
    text = f"Here is the program:\n```\n{PROGRAM}\n```\n"
    (only,), meter = solve(ScriptedModel([text]), limits=Limits(tokens=240))
    assert (only.action, only.text) == (None, "Here is the program:")
    assert any("ended too early" in note for note in meter.take_notes())

    path = tmp_path / "old.sqlite"  # versions before recorded the first answer alone
    prose = ScriptedModel(["Here is the program:"])
    recorded = RecordedModel(prose, path, mode="record")
    prompt = GSM.prompts.solve(CONTEXT, Allocation(tools=frozenset({"python"})))
    asyncio.run(Meter(recorded, Ledger(Limits())).generate(prompt, temperature=0.7))
    asyncio.run(recorded.close())
    replay = RecordedModel(None, path, mode="replay")
    (only,), meter = solve(replay)
    asyncio.run(replay.close())
    assert (only.action, only.text) == (None, "Here is the program:")
    assert any("ended too early" in note for note in meter.take_notes())


def test_only_a_fence_alone_is_a_fence() -> None:
    assert all(is_fence(stop) for stop in ("```", "\n```\n", "~~~", "\n````"))
    assert not any(is_fence(stop) for stop in ("\n", "", "```python", "\n\n", "Observation", "`"))


@settings(max_examples=200)
@given(st.text(alphabet="`~ pyton\n=answ1:>()'\"\\\u00a0\t#"))
def test_no_text_makes_it_fail(text: str) -> None:
    found = find_program(text)
    assert found is None or isinstance(found, str)
    assert isinstance(ends_before_program(text), bool)


@given(st.lists(st.sampled_from(["```", "```python", "~~~", "x = 1", "answer = 2", ""])))
def test_what_is_found_stands_in_the_text(lines: list[str]) -> None:
    found = find_program("\n".join(lines))
    if found is not None:
        assert set(found.split("\n")) <= {*lines, ""}


def test_fences_of_any_length_nest() -> None:
    for outer, inner in itertools.permutations(["```", "````", "`````"], 2):
        program = f"s = '''\n{inner}\n'''\nanswer = 84"
        if len(inner) < len(outer):
            assert find_program(f"{outer}python\n{program}\n{outer}\nEnd") == program


@pytest.mark.parametrize(
    "loop",
    ["for i in range(4):\n    t += 1", "while t < 84:\n    t = t + 1", "if t:\n    t = t + 4"],
)
def test_what_a_loop_changes_comes_from_an_earlier_block(loop: str) -> None:
    text = f"```python\nt = 80\n```\nThen:\n```python\n{loop}\nanswer = t\n```"
    assert find_program(text) == f"t = 80\n{loop}\nanswer = t"


def test_what_a_loop_sets_first_comes_from_nowhere() -> None:
    last = "for i in range(4):\n    t = 80\n    t += i\nanswer = t"
    assert find_program(f"```python\nt = 1\n```\n```python\n{last}\n```") == last


def test_odd_code_of_a_model_warns_nobody_and_is_read_all_the_same() -> None:
    first = "pattern = '\\d'\nbase = 1or 2"
    text = f"```python\n{first}\n```\nand\n```python\nanswer = base\n```"
    with warnings.catch_warnings(record=True, action="always") as told:
        assert find_program(text) == f"{first}\nanswer = base"
    assert not told
