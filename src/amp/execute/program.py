"""Finds the program in what a model wrote: which of its fenced blocks, and where each one ends.

Everything here reads text once and never runs it, so a hostile answer costs as much time as a
harmless one of its length.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

from amp.execute.base import LONGEST_ANSWER

_PYTHON = re.compile(r"(?:i?py(?:thon)?[\d.]*|pycon|(?:tool_)?code|\S+\.py)?", re.IGNORECASE)
_OPENS = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(`{3,}|~{3,})(.*)")
_AT_END = re.compile(r"(`{3,}|~{3,})[ \t]*([A-Za-z][\w+.#-]{0,20})?[ \t]*$")
_NAMES_LANGUAGE = re.compile(r"[{.\s]*\w")  # and is no full stop or end mark behind a fence
_LANGUAGE = re.compile(r"[\s{.]*([^\s{}`~:]*)")
_SAYS_OUTPUT = re.compile(
    r"\b(?:outputs?|prints?|printed|results?|displays?|returns?|console)\b.*:\W*$", re.IGNORECASE
)
_TAG = re.compile(r"<(/?)(?:code|python)\b[^<>\n]{0,60}>", re.IGNORECASE)
_IS_DONE = re.compile(
    r"^[ \t]*answer[ \t]*=|####[ \t]*[-$\d]|\\boxed|\banswer(?: is\b|:)",
    re.MULTILINE | re.IGNORECASE,
)
_SETS_ANSWER = re.compile(r"^[ \t]*answer[ \t]*=", re.MULTILINE)

# Typography that models and web pages put into code, outside of strings always a mistake.
_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2007\u2008\u2009\u200a\u202f\u3000", " "),
        **dict.fromkeys("\ufeff\u200b\u200c\u200d\u2060\u00ad", ""),
        **dict.fromkeys("\u2212\u2013\u2010\u2011", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
        **{"\u00d7": "*", "\u22c5": "*", "\u00f7": "/", "\uff1d": "=", "\uff1a": ":"},
        **{"\uff08": "(", "\uff09": ")", "\uff0c": ","},
    }
)
_STRING_OR_REST = re.compile(
    r"""(?P<string>'''(?:.|\n)*?'''|\"\"\"(?:.|\n)*?\"\"\"
    |'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")|\\.|[^'"\\]+|.""",
    re.VERBOSE,
)
_MOST_CHOICES = 4  # blocks with a result that are tried, the last ones
# Of blocks that hold fences themselves, how many beginnings and ends are tried.
_MOST_STARTS = 2
_MOST_ENDS = 2


_quiet = partial(warnings.catch_warnings, action="ignore")
"""Python's warnings here are about the model's code, not ours."""


def parse(source: str) -> ast.Module | None:
    """The syntax of a program; None if it is no Python, or too long to be read."""
    if len(source) > LONGEST_ANSWER:
        return None
    try:
        with _quiet():
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@lru_cache(maxsize=32)  # the same answer is asked about several times in a row
def find_program(text: str) -> str | None:
    """Returns the program in a text, or None.

    Fences are of backticks or tildes; one closes with at least as many of them as it opened with,
    on a line of their own or at the end of a line of code. Of the fenced blocks that are Python and
    have a result, that is, assign `answer` or print, it is in this order: the last one that is
    closed and marked as Python; the last closed one without a mark, those last that the text
    announces as output; the one that the end of the text leaves open (a stop string takes its
    closing fence away). All before a lone closing fence counts as marked, since a prefix of the
    answer may have opened the block; without any fence the whole text may be the program.

    A block that uses names of earlier blocks is joined to these, and one that uses names of nowhere
    is left out where another will do. Typography in code, such as
    no-break spaces, is put right where nothing else makes it Python. Where no block has a result,
    the last one that was meant as a program is returned, so that its error can be told.

    No more than the first `LONGEST_ANSWER` characters are read.
    """
    blocks = _read(text)
    results = [number for number, block in enumerate(blocks) if block.has_result]
    for wanted in _IN_ORDER:
        if numbers := [number for number in results if wanted(blocks[number])]:
            joined = [_joined(blocks, number) for number in numbers[-_MOST_CHOICES:]]
            return next((code for code, whole in reversed(joined) if whole), joined[-1][0])
    around = _around_inner_fences(text)
    if around is not None:
        return around
    closed = [block for block in blocks if block.closed]
    marked = [block.code for block in closed if block.marked]
    meant = [block.code for block in closed if _SETS_ANSWER.search(block.code)]
    return next(reversed(marked or meant), None)


def ends_before_program(text: str) -> bool:
    """Whether a text that a fence as stop string ended lacks the program that it may have begun.

    That is so if it has none, unless it states an answer in words or its end is a program with an
    error: other prose, a block that only sets names, one in another language, or one that the fence
    does not close since it stands in a string or is another one goes on behind it.
    """
    if find_program(text) is not None:
        return False
    open_blocks = [block for block in _read(text) if not block.closed]
    if not open_blocks:
        return _IS_DONE.search(text) is None
    last = open_blocks[-1]
    in_text = last.fence != "```" or any(last.body.count(mark) % 2 for mark in ("'''", '"""'))
    return not last.body or bool(last.names[0]) or in_text


def is_fence(stop: str) -> bool:
    """Whether a stop string is a fence, which may open a block as well as close it."""
    return stop.strip()[:3] in ("```", "~~~") and not stop.strip().strip("`~")


@dataclass(frozen=True)
class _Block:
    """One block that may be a program.

    Attributes:
        body: its text.
        start: number of its first line.
        marked: whether it is marked as Python.
        closed: whether a fence closes it.
        output: whether the line before it announces output.
        fence: what it opened with.
    """

    body: str
    start: int
    marked: bool
    closed: bool
    output: bool = False
    fence: str = "```"

    @cached_property
    def _parsed(self) -> tuple[str, ast.Module | None]:
        code = _tidied(self.body, unmarked=not self.marked)
        tree = parse(code)
        if tree is None and (mended := _mended(code)) != code:
            tree = parse(mended)
            code = code if tree is None else mended
        return code, tree

    @property
    def code(self) -> str:
        """Its program."""
        return self._parsed[0]

    @property
    def tree(self) -> ast.Module | None:
        """Its syntax; None if it is no Python."""
        return self._parsed[1]

    @cached_property
    def has_result(self) -> bool:
        """Whether it is Python that assigns `answer` or prints."""
        return self.tree is not None and _has_result(self.tree)

    @cached_property
    def names(self) -> tuple[frozenset[str], frozenset[str]]:
        """The names that it sets, and those that it takes from elsewhere."""
        return _names(self.code)


_IN_ORDER: tuple[Callable[[_Block], bool], ...] = (
    lambda block: block.closed and block.marked,
    lambda block: block.closed and not block.output,
    lambda block: not block.closed,
    lambda block: True,
)


def _read(text: str) -> list[_Block]:
    """The blocks of a text that may be programs, in its order."""
    too_long = len(text) > LONGEST_ANSWER
    text = _cut(text)
    if "```" not in text and "~~~" not in text:
        tagged = _TAG.sub(lambda tag: "\n```\n" if tag[1] else "\n```python\n", text)
        if tagged == text:
            whole = _Block(text, 0, marked=False, closed=False)
            return [whole] if whole.has_result and not too_long else []
        text = tagged
    return list(_blocks(text.split("\n")))


def _cut(text: str) -> str:
    return text[:LONGEST_ANSWER].replace("\r\n", "\n").replace("\r", "\n")


def _blocks(lines: Sequence[str]) -> Iterator[_Block]:
    """Reads fences line by line; a fence that names a language opens a block wherever it is."""
    fence = ""  # of the block that is open
    start, language, output = 0, "", False
    fences = 0
    for number, line in enumerate(lines):
        before, mark, info = _fence_of(line)
        if not mark:
            continue
        fences += 1
        if fence and mark.startswith(fence) and (not info or not before.strip()):
            body = [*lines[start:number], *([before] if before.strip() else [])]
            if info:  # a new block begins where the last one was never closed
                if _is_python(language):
                    yield _Block("\n".join(body), start, bool(language.strip()), closed=False)
                start, language, fence, output = number + 1, info, mark, False
                continue
            if _is_python(language):
                yield _Block("\n".join(body), start, bool(language.strip()), True, output)
            fence = ""
        elif not fence:
            if fences == 1 and not info:  # it may close what a prefix of the answer opened
                head = _Block("\n".join([*lines[:number], before]), 0, marked=True, closed=True)
                if head.has_result or head.names[0]:
                    yield head
                    continue
            inner = _on_one_line(before, mark, info)
            if inner is not None:
                language, body_text = inner
                if _is_python(language):
                    yield _Block(body_text, number, bool(language), closed=True)
                continue
            start, language, fence = number + 1, info, mark
            output = _SAYS_OUTPUT.search(_last_words(lines, number, before)) is not None
    if fence and _is_python(language):
        yield _Block("\n".join(lines[start:]), start, bool(language.strip()), False, fence=fence)
    elif fence:
        yield _Block("", start, marked=False, closed=False)


def _fence_of(line: str) -> tuple[str, str, str]:
    """What stands before a fence in a line, the fence, and what follows it; empty if it has none.

    A fence stands at the beginning of a line or at its end.
    """
    if match := _OPENS.match(line):
        info = match[2].strip()
        return "", match[1], info if _NAMES_LANGUAGE.match(info) else ""
    tail = max(0, len(line) - 80)
    if match := _AT_END.search(line, tail):
        return line[: match.start()], match[1], match[2] or ""
    return "", "", ""


def _on_one_line(before: str, mark: str, info: str) -> tuple[str, str] | None:
    """Language and text of a block that begins and ends in one line; None if this is none."""
    if mark[:3] in info:
        inner = info[: info.index(mark[:3])]
    elif mark[:3] in before and not info:
        inner = before[before.index(mark[:3]) :].lstrip(mark[0])
    else:
        return None
    word, _, rest = inner.strip().partition(" ")
    return (word, rest) if word and _PYTHON.fullmatch(word) else ("", inner)


def _is_python(info: str) -> bool:
    """Whether what stands behind an opening fence names Python, or nothing."""
    match = _LANGUAGE.match(info)
    return match is not None and _PYTHON.fullmatch(match[1]) is not None


def _last_words(lines: Sequence[str], number: int, before: str) -> str:
    """The end of what was said last before a block."""
    said = [line.strip() for line in (*lines[max(0, number - 3) : number], before) if line.strip()]
    return said[-1][-200:] if said else ""


def _joined(blocks: Sequence[_Block], number: int) -> tuple[str, bool]:
    """The program of a block, after those of the earlier blocks whose names it uses.

    And whether that is all names that it uses.
    """
    parts = [blocks[number].code]
    missing = blocks[number].names[1]
    for block in reversed(blocks[:number]):
        if block.tree is not None and not block.output and block.names[0] & missing:
            parts.append(block.code)
            missing = (missing - block.names[0]) | block.names[1]
    return "\n".join(reversed(parts)), not missing


def _around_inner_fences(text: str) -> str | None:
    """The program that holds fences itself, in a docstring: from a fence to a later one."""
    lines = _cut(text).split("\n")
    fences = [(i, *_fence_of(line)) for i, line in enumerate(lines) if _fence_of(line)[1]]
    starts = [i for i, _, _, info in fences if info and _is_python(info)][:_MOST_STARTS]
    for start in [*starts, -1] if fences else []:  # -1: one that a prefix of the answer opened
        ends = [i for i, _, _, info in fences if i > start and not info]
        for end in [*ends[-_MOST_ENDS:][::-1], len(lines)]:
            block = _Block("\n".join(lines[start + 1 : end]), start, marked=True, closed=True)
            if block.has_result:
                return block.code
    return None


def _tidied(body: str, *, unmarked: bool) -> str:
    """A block's lines without common indentation, marks of quotation and prompts of Python."""
    lines = textwrap.dedent(body).strip("\n").split("\n")
    if all(line.startswith(">") and line[:3] != ">>>" for line in lines):
        lines = textwrap.dedent("\n".join(line[1:] for line in lines)).strip("\n").split("\n")
    if unmarked and len(lines) > 1 and lines[0].strip().lower() in ("python", "python3", "py"):
        lines = lines[1:]
    if lines[0].startswith(">>>"):
        lines = [line[4:] for line in lines if line.startswith((">>>", "..."))]
    return "\n".join(lines)


def _mended(code: str) -> str:
    """The code with plain signs for typographic ones, outside of its strings."""
    if len(code) > LONGEST_ANSWER:
        return code
    return _STRING_OR_REST.sub(
        lambda part: part[0] if part["string"] else part[0].translate(_TYPOGRAPHY), code
    )


def _has_result(tree: ast.Module) -> bool:
    declared = {
        id(node.target)  # "answer: 84" declares and assigns nothing
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and node.value is None
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="answer", ctx=ast.Store()) if id(node) not in declared:
                return True
            case ast.Call(func=ast.Name(id="print")):
                return True
    return False


_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__"}


def _names(code: str) -> tuple[frozenset[str], frozenset[str]]:
    """The names that a program sets, and those that it takes from elsewhere; parses only."""
    try:
        with _quiet():
            table = symtable.symtable(code, "<program>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(), frozenset()
    bound: set[str] = set()
    used: set[str] = set()
    tables = [table]
    while tables:
        scope = tables.pop()
        tables += scope.get_children()
        for symbol in scope.get_symbols():
            if scope is not table and not symbol.is_global():
                continue
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                bound.add(symbol.get_name())
            if symbol.is_referenced():
                used.add(symbol.get_name())
    return frozenset(bound), frozenset((used - bound) | _used_early(code)) - _BUILTINS


def _used_early(code: str) -> set[str]:
    """The names that an assignment of a program changes before any statement has set them."""
    tree = parse(code)
    return _early(tree.body, set()) if tree is not None else set()


def _early(statements: Sequence[ast.stmt], bound: set[str]) -> set[str]:
    """The names that statements change before any has set them; adds to those that are bound."""
    early: set[str] = set()
    for statement in statements:
        match statement:
            case ast.Assign(targets=targets, value=value):
                early |= (_named(value) & _named(*targets)) - bound
            case ast.AugAssign(target=target):
                early |= _named(target) - bound
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound |= {alias.asname or alias.name for alias in names}
            case ast.For(target=target, body=body, orelse=after):
                bound |= _named(target)
                early |= _early([*body, *after], bound)
            case ast.While(body=body, orelse=after) | ast.If(body=body, orelse=after):
                early |= _early([*body, *after], bound)
            case ast.With(body=body) | ast.Try(body=body):
                early |= _early(body, bound)
        bound |= _named(statement)
    return early


def _named(*nodes: ast.AST) -> set[str]:
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}
