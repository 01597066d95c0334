"""Programs of every shape reach their answer in both API dialects, whether stops hold or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.faults.honest import DIALECTS, Call, Dialect, Reply
from tests.faults.server import Server, serving
from tests.faults.test_server import make

from amp.benchmarks.gsm8k import GSM8K
from amp.cost import Ledger
from amp.execute.executor import Executor
from amp.execute.meter import Meter
from amp.types import Allocation, Candidate, Limits, Observation, StepContext, Task

GSM = GSM8K()
CONTEXT = StepContext(Task("t", "A box holds 12 eggs. How many in 7 boxes?"), Observation())

DEFINED = "```python\ndef f(x):\n    return 7 * x\n```\n"
IMPORTED = "```python\nimport math\n```\n```python\ndef f(x):\n    return math.ceil(x)\n```\n"
SHAPES = {
    "bare fence after prose": "Here is the program:\n```\nanswer = 84\n```\nDone.",
    "prose that ends in a number": "There are 7 boxes of 12.\n```\nanswer = 84\n```\n",
    "fence closed on the code's line": "```python\nanswer = 84```",
    "no-break spaces": "```python\nx\u00a0= 12\nanswer = x * 7\n```\n",
    "output behind it": "```python\nanswer = 84\nprint(answer)\n```\n\nOutput:\n```\n85\n```\n",
    "ends of Windows": "```python\r\nanswer = 84\r\n```\r\nOutput:\r\n```\r\n85\r\n```\r\n",
    "two blocks": f"{DEFINED}Now:\n```python\nanswer = f(12)\n```",
    "three blocks": f"{IMPORTED}And:\n```\nanswer = f(84)\n```\n",
    "another language first": "```bash\npip install x\n```\nThen:\n```\nanswer = 84\n```\n",
    "tildes": "~~~python\nanswer = 84\n~~~\nDone.",
    "tildes without a language": "So:\n~~~\nanswer = 84\n~~~\nDone.",
    "four backticks": "````python\nt = '''\n```\n'''\nanswer = 84\n````\n",
    "a fence in a string": "```python\nt = '''\n```\n'''\nanswer = 84\n```\n",
    "a tag": "<code>\nanswer = 84\n</code>",
    "a transcript": "```pycon\n>>> x = 12\n>>> answer = x * 7\n>>> answer\n84\n```\n",
    "only the answer in words": "12 * 7 = 84, so the answer is 12 * 7 = 84.",
}
ERRORS = {
    "an object": "```python\nboxes = [12] * 7\nanswer = map(int, boxes)\n```\n",
    "a printed object": "```python\nprint(map(int, [84]))\n```\n",
    "a function": "```python\nanswer = lambda: 84\n```\n",
    "no name": "```python\nanswer = eggs * 7\n```\n",
}


async def solved(
    dialect: Dialect, text: str, *, stops: bool, depth: int, beams: int = 1
) -> tuple[tuple[Candidate, ...], Server]:
    """The candidates of a server that says a text, and the server."""
    with serving(text) as server:
        if stops:
            server.reply = _stopping(server, text)  # type: ignore[method-assign]  # of this one
        model = make(dialect, server.of(dialect))
        allocation = Allocation(
            depth=depth, temperature=0.7, beam_width=beams, tools=frozenset({"python"})
        )
        executor = Executor(GSM.prompts, GSM.tools)
        found = await executor.execute(CONTEXT, allocation, Meter(model, Ledger(Limits())))
        await model.close()
        return found, server


def _stopping(server: Server, text: str) -> Callable[..., Reply]:
    """Replies with the text up to the first stop string, as servers do."""
    reply = server.reply

    def stopped(dialect: Dialect, quirks: tuple[str, ...], call: Call) -> Reply:
        server.text = text
        for stop in call.stop:
            server.text = server.text.split(stop)[0]
        return reply(dialect, quirks, call)

    return stopped


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_is_read(dialect: Dialect, stops: bool, shape: str) -> None:
    for depth in (0, 2):
        found, server = await solved(dialect, SHAPES[shape], stops=stops, depth=depth, beams=2)
        assert [candidate.action for candidate in found] == ["84", "84"], (shape, depth)
        assert len(server.asked) <= 4


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", ERRORS)
async def test_what_is_no_value_is_an_error_and_no_answer(dialect: Dialect, kind: str) -> None:
    (only,), _ = await solved(dialect, ERRORS[kind], stops=True, depth=0)
    assert only.action is None
    assert only.failure is not None
    assert only.failure.startswith("python: ")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_second_asking_is_on_the_bill_and_without_the_fence(dialect: Dialect) -> None:
    text = SHAPES["bare fence after prose"]
    (only,), server = await solved(dialect, text, stops=True, depth=0)
    stops: list[Any] = [body.get("stop") or body.get("stop_sequences") for body in server.asked]
    assert stops == [["\n```\n"], None]
    assert only.completion_tokens >= server.bill[1] > 0
