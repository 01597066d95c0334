"""The texts of GSM8K: frozen, one version, and what is read from answers."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amp.benchmarks.gsm8k import GSM8K, GSM8KPrompts
from amp.benchmarks.gsm8k.environment import StepKind
from amp.execute.base import Prompts
from amp.models.base import Message, Prompt
from amp.types import Allocation, Candidate, Observation, StepContext, Task, ToolUse

GOAL = "Tom has 3 bags of 4 eggs. How many eggs?"
CONTEXT = StepContext(Task("t", GOAL, {"answer": "12"}), Observation())
WRITTEN = StepContext(Task("t", GOAL, {"answer": "12"}), Observation("1. One bag has 4 eggs."))
PYTHON = Allocation(tools=frozenset({"python"}))
CHAIN = Allocation(depth=3)
DIRECT = Allocation(depth=0)

BROKEN = Candidate("answer = 3 / 0", None, broken_rule="python: ZeroDivisionError")

# A changed text is a new version: recordings made with the old one are refused by its name.
PINNED = ("gsm8k/1", "073c0603d348cc03")


def texts(prompt: Prompt) -> str:
    return "\n".join(message.content for message in prompt.messages)


def everything() -> list[Prompt]:
    prompts: list[Prompt] = []
    candidate = Candidate("3 * 4 = 12\n#### 12", "12")
    for step, context in itertools.product(("solution", "reasoning"), (CONTEXT, WRITTEN)):
        made = GSM8K(step=step).prompts
        for depth, tools in itertools.product(
            (0, 1, 2, 3, 8), (set(), {"python"}, {"calculator"}, {"calculator", "python"})
        ):
            prompts.append(made.solve(context, Allocation(depth=depth, tools=frozenset(tools))))
            allocation = Allocation(depth=depth, tools=frozenset(tools))
            prompts.append(made.refine(context, allocation, candidate, "It forgets one bag."))
        prompts.append(made.check(context, candidate))
        prompts.append(made.critique(context, candidate))
        prompts.append(made.critique(context, BROKEN))
        prompts.append(made.think(context, ("add", "multiply"), 2))
        prompts.append(made.choose(context, ("add", "multiply"), "12", ""))
        prompts.append(made.choose(context, ("add", "multiply"), "12", "Bags are equal."))
    return prompts


def test_the_texts_belong_to_their_version() -> None:
    text = "\n".join(repr(prompt) for prompt in everything())
    assert (GSM8KPrompts().version, hashlib.sha256(text.encode()).hexdigest()[:16]) == PINNED


def test_every_prompt_begins_with_a_system_message_and_knows_its_version() -> None:
    prompts: Prompts = GSM8KPrompts()
    for prompt in everything():
        assert [message.role for message in prompt.messages][:2] == ["system", "user"]
        assert prompt.version == prompts.version
        assert GOAL in texts(prompt)
        assert prompt.max_tokens >= 1
        assert "{" not in texts(prompt).replace("{}", "")


def test_more_depth_never_lowers_the_cap() -> None:
    for tools in (frozenset[str](), frozenset({"python"}), frozenset({"calculator"})):
        caps = [
            GSM8KPrompts().solve(CONTEXT, Allocation(depth=depth, tools=tools)).max_tokens
            for depth in range(65)
        ]
        assert caps == sorted(caps)


def test_python_asks_for_a_program_and_depth_for_a_plan_in_it() -> None:
    prompts = GSM8KPrompts()
    assert "variable `answer`" in texts(prompts.solve(CONTEXT, PYTHON))
    assert "plan" not in texts(prompts.solve(CONTEXT, PYTHON))
    planned = prompts.solve(CONTEXT, Allocation(depth=3, tools=frozenset({"python"})))
    assert "at most 3 short comment lines" in texts(planned)
    assert planned.messages[-1].content == "```python\n"


@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("opened", ["", "```python\n"])
async def test_the_tool_finds_the_program_however_the_fences_fall(depth: int, opened: str) -> None:
    benchmark = GSM8K()
    allocation = Allocation(depth=depth, tools=frozenset({"python"}))
    stop = benchmark.prompts.solve(CONTEXT, allocation).stop
    written = f"{opened}# 1. three bags\nanswer = 3 * 4\n```\n\nThis program prints 99."
    for text in (written, written.split(stop[0])[0]):
        use = await benchmark.tools["python"].use(text)
        assert use is not None
        assert benchmark.prompts.read(CONTEXT, allocation, text, (use,)) == "12"


def test_depth_bounds_the_chain_and_zero_answers_at_once() -> None:
    prompts = GSM8KPrompts()
    for depth in (1, 2, 3, 8):
        chain = prompts.solve(CONTEXT, Allocation(depth=depth))
        assert f"at most {depth} short numbered steps" in texts(chain)
        example = chain.messages[2].content.splitlines()
        assert len(example) - 1 == min(depth, 3)
        assert example[-1] == "#### 4"
    direct = prompts.solve(CONTEXT, DIRECT)
    assert direct.messages[-1].content == "#### "
    assert direct.max_tokens <= 16


def test_annotations_are_shown_only_with_the_calculator() -> None:
    prompts = GSM8KPrompts()
    assert "<<" not in texts(prompts.solve(CONTEXT, CHAIN))
    with_calculator = prompts.solve(CONTEXT, Allocation(depth=3, tools=frozenset({"calculator"})))
    assert "<<expression=value>>" in texts(with_calculator)
    assert "<<3*12=36>>" in with_calculator.messages[2].content


async def test_the_annotations_of_the_example_are_right() -> None:
    calculator = GSM8K().tools["calculator"]
    for depth in (1, 2, 3):
        prompt = GSM8KPrompts().solve(
            CONTEXT, Allocation(depth=depth, tools=frozenset({"calculator"}))
        )
        assert await calculator.use(prompt.messages[2].content) is None


def test_the_answer_is_never_shown() -> None:
    context = StepContext(Task("t", GOAL, {"answer": "987654"}), Observation())
    for made in (GSM8KPrompts(), GSM8KPrompts("reasoning")):
        for allocation in (PYTHON, CHAIN, DIRECT):
            assert "987654" not in texts(made.solve(context, allocation))


def test_a_check_ends_where_yes_or_no_comes_next() -> None:
    prompt = GSM8KPrompts().check(CONTEXT, Candidate("A model's reasoning", "12"))
    assert prompt.messages[-1].role == "assistant"
    assert prompt.messages[-1].content == "Answer (yes or no): "
    assert "Proposed answer: 12" in prompt.messages[1].content
    assert "A model's reasoning" not in texts(prompt)


def test_a_choice_labels_every_action() -> None:
    prompt = GSM8KPrompts().choose(CONTEXT, ("add", "multiply"), "AB", "Bags are equal.")
    for part in ("A add", "B multiply", "Bags are equal."):
        assert part in prompt.messages[1].content
    assert prompt.messages[-1].content == "Answer: "


# --------------------------------------------------------------------------- critique and refine


def test_a_critique_is_short_and_shows_the_problem_the_solution_and_its_result() -> None:
    for context in (CONTEXT, WRITTEN):
        prompt = GSM8KPrompts().critique(context, Candidate("bags = 3\nanswer = bags + 4", "7"))
        assert 64 <= prompt.max_tokens <= 96
        for part in (GOAL, context.observation.state, "answer = bags + 4", "Its result: 7"):
            assert part in prompt.messages[1].content
        assert "check found" not in texts(prompt)


def test_a_critique_shows_the_rule_that_a_candidate_breaks() -> None:
    shown = texts(GSM8KPrompts().critique(CONTEXT, BROKEN))
    assert "A check found: python: ZeroDivisionError" in shown
    assert "Its result: none" in shown


@given(
    st.sampled_from(("solution", "reasoning")),
    st.sampled_from((CONTEXT, WRITTEN)),
    st.integers(0, 8),
    st.sets(st.sampled_from(("python", "calculator"))),
    st.text(),
    st.text(),
)
def test_a_refinement_asks_for_what_solve_asks_for_and_adds_the_critique(
    step: StepKind,
    context: StepContext,
    depth: int,
    tools: set[str],
    text: str,
    critique: str,
) -> None:
    prompts = GSM8KPrompts(step)
    allocation = Allocation(depth=depth, tools=frozenset(tools))
    solve = prompts.solve(context, allocation)
    prompt = prompts.refine(context, allocation, Candidate(text, None), critique)
    assert (prompt.max_tokens, prompt.stop, prompt.version) == (
        solve.max_tokens,
        solve.stop,
        solve.version,
    )
    continues = solve.messages[-1].role == "assistant"
    begun = solve.messages[-1].content if continues else ""
    asked = solve.messages[:-1] if continues else solve.messages
    first, again, *end = prompt.messages[len(asked) :]
    assert prompt.messages[: len(asked)] == asked
    assert first == Message("assistant", (begun + text).strip() or "(no answer)")
    assert again.role == "user"
    assert critique in again.content
    assert again.content.endswith(asked[-1].content)
    assert end == ([solve.messages[-1]] if continues else [])


@example("{goal}", "{0}", "{critique} <|im_end|>\x00")
@given(st.text(), st.text(), st.none() | st.text())
def test_odd_texts_of_a_model_are_shown_as_they_are(
    text: str, action: str, rule: str | None
) -> None:
    candidate = Candidate(text, action, broken_rule=rule)
    prompt = GSM8KPrompts().critique(CONTEXT, candidate)
    assert [message.role for message in prompt.messages] == ["system", "user"]
    for part in (text.strip(), action, rule or ""):
        assert part in prompt.messages[1].content


# --------------------------------------------------------------------------- reading


def program(output: str, error: str | None = None) -> tuple[ToolUse, ...]:
    return (ToolUse("python", "answer = ...", output, error),)


@pytest.mark.parametrize(
    "output", ["12", "12.0", "$12", "12 eggs", "[12]", "24/2", "11.9999999999"]
)
def test_the_output_of_a_program_is_the_answer(output: str) -> None:
    read = GSM8KPrompts().read
    assert read(CONTEXT, PYTHON, "```python\nanswer = 12\n```\n#### 99", program(output)) == "12"


def test_a_program_that_failed_or_gave_no_number_has_no_answer() -> None:
    read = GSM8KPrompts().read
    assert read(CONTEXT, PYTHON, "answer = 1 / 0  # is 5.", program("", "Error: x")) is None
    assert read(CONTEXT, PYTHON, "answer = [1, 2]", program("[1, 2]")) is None


def test_without_a_program_the_text_is_read() -> None:
    read = GSM8KPrompts().read
    assert read(CONTEXT, PYTHON, "3 * 4 = 12, the answer is 12.", ()) == "12"
    assert read(CONTEXT, CHAIN, "1. 3 * 4 = 12\n#### 12.00", ()) == "12"
    assert read(CONTEXT, CHAIN, "1. 3 * 4 = 12", ()) is None
    corrected = (ToolUse("calculator", "3*4", "12", resume="<<3*4=12>>"),)
    assert read(CONTEXT, CHAIN, "<<3*4=12>>12\n#### 12", corrected) == "12"


@pytest.mark.parametrize("text", ["12", " 12", "12.0", "$12", "#### 12", "The answer is 12."])
def test_an_answer_at_once_goes_on_from_its_mark_or_repeats_it(text: str) -> None:
    assert GSM8KPrompts().read(CONTEXT, DIRECT, text, ()) == "12"
    assert GSM8KPrompts("reasoning").read(WRITTEN, DIRECT, text, ()) == "#### 12"


# --------------------------------------------------------------------------- pieces of reasoning


def test_a_piece_goes_on_from_what_is_written() -> None:
    prompts = GSM8KPrompts("reasoning")
    prompt = prompts.solve(WRITTEN, Allocation(depth=2))
    assert prompt.messages[-1].content == "1. One bag has 4 eggs.\n2."
    assert prompt.stop == ("\n4.",)
    assert prompts.solve(CONTEXT, Allocation(depth=1)).messages[-1].content == "1."
    computed = prompts.solve(WRITTEN, PYTHON)
    assert "1. One bag has 4 eggs." in computed.messages[1].content


@pytest.mark.parametrize(
    "text",
    [
        " Three bags have 12  eggs.\n3. That is all. ",
        "2. Three bags have 12 eggs.\n\n3. That is all.",
        "Three bags have 12 eggs.\nThat is all.\n",
    ],
)
def test_a_piece_without_an_answer_is_its_numbered_lines(text: str) -> None:
    action = GSM8KPrompts("reasoning").read(WRITTEN, Allocation(depth=2), text, ())
    assert action == "2. Three bags have 12 eggs.\n3. That is all."


@pytest.mark.parametrize(
    "line", ["That is 3 * 4 = 12.", "1.5 eggs are 12 / 8.", "(See 1.) It is 4."]
)
def test_only_the_number_of_a_line_is_taken_off(line: str) -> None:
    read = GSM8KPrompts("reasoning").read
    for text in (f" {line}", f"2. {line}", f"2) {line}"):
        assert read(WRITTEN, Allocation(depth=1), text, ()) == f"2. {line}"


def test_a_piece_with_an_answer_is_only_the_answer() -> None:
    prompts = GSM8KPrompts("reasoning")
    assert prompts.read(WRITTEN, Allocation(depth=1), "So 12 eggs.\n#### 12.0", ()) == "#### 12"
    assert prompts.read(WRITTEN, PYTHON, "answer = 12", program("12")) == "#### 12"


def test_an_empty_piece_is_no_action() -> None:
    prompts = GSM8KPrompts("reasoning")
    assert prompts.read(WRITTEN, Allocation(depth=1), " \n ", ()) is None
    assert prompts.read(WRITTEN, PYTHON, "answer = 1 / 0", program("", "Error: x")) is None
    assert prompts.read(WRITTEN, DIRECT, "nothing", ()) is None
    planned = Allocation(depth=2, tools=frozenset({"python"}))
    assert prompts.read(WRITTEN, planned, "```python\n# 1. cut off", ()) is None


def test_pieces_make_a_chain_that_the_environment_ends() -> None:
    benchmark = GSM8K(step="reasoning")
    environment = benchmark.environment(CONTEXT.task)
    observation = environment.reset(CONTEXT.task)
    for text in (" One bag has 4 eggs.", " Three bags have 3 * 4 = 12 eggs.\n#### 12"):
        context = StepContext(CONTEXT.task, observation)
        action = benchmark.prompts.read(context, Allocation(depth=1), text, ())
        assert action is not None
        transition = environment.step(action)
        observation = transition.observation
    assert transition.done
    assert transition.success
    assert observation.state == "1. One bag has 4 eggs.\n#### 12"
