"""What an action in the shop looks like against the instruction, from the pages that were read."""

from __future__ import annotations

from collections.abc import Sequence

from amp.benchmarks.webshop.browser import (
    BACK_TO_SEARCH,
    BUY,
    NEXT,
    PREVIOUS,
    SEPARATOR,
    SUB_PAGES,
    parse_action,
)
from amp.benchmarks.webshop.environment import (
    ShoppingRequest,
    cheaper,
    content_words,
    read_request,
)
from amp.benchmarks.webshop.prompts import is_results, situation_of
from amp.execute.choice_step import choice_looks
from amp.types import Candidate, StepContext


def plausibility(context: StepContext, candidate: Candidate) -> dict[str, float]:
    """`choice_looks`, and what the page tells of the action.

    Of a search: ``query_lacks``, ``query_adds`` (shares of words) and ``searched`` (how often it
    was made before). Of a click, what it does: ``buys``, ``opens``, ``selects``, ``reads``,
    ``turns``, ``leaves``. Where it is about a product: ``over_limit`` (its lowest price is not
    below the limit) and ``words_missing`` (share of the wanted words that are not read there). On
    the page of a product: ``options_left`` and ``options_lacking``, how many of the wanted options
    are not chosen, and how many of these are not offered; ``selects_wanted``, one that is left.
    """
    looks = choice_looks(context, candidate)
    parts = parse_action(candidate.action or "")
    if parts is None:
        return looks
    name, argument = parts
    request = read_request(context.task.goal)
    if name == "search":
        return looks | _of_search(argument, context)
    pieces = context.observation.state.split(SEPARATOR)
    if is_results(pieces):
        return looks | _of_result(argument, pieces, request)
    return looks | _of_product(argument, pieces, context, request)


def _of_search(query: str, context: StepContext) -> dict[str, float]:
    wanted, asked = content_words(context.task.goal), content_words(query)
    earlier = [parse_action(step.action or "") for step in context.steps]
    return {
        "query_lacks": len(content_words(context.task.goal, query)) / max(1, len(wanted)),
        "query_adds": len(content_words(query, context.task.goal)) / max(1, len(asked)),
        "searched": earlier.count(("search", query)),
    }


def _does(text: str) -> dict[str, float]:
    return {
        "buys": float(text == BUY),
        "reads": float(text in SUB_PAGES),
        "turns": float(text in (NEXT, PREVIOUS)),
        "leaves": float(text == BACK_TO_SEARCH),
    }


def _of_result(text: str, pieces: Sequence[str], request: ShoppingRequest) -> dict[str, float]:
    """Of a click on a page of results."""
    looks = _does(text)
    for link, title, price in zip(pieces, pieces[1:], pieces[2:], strict=False):
        if link.lower() == text and price.startswith("$"):
            return looks | {"opens": 1.0} | _of_text(f"{title} {price}", request)
    return looks | {"opens": 0.0}


def _of_product(
    text: str, pieces: Sequence[str], context: StepContext, request: ShoppingRequest
) -> dict[str, float]:
    """Of a click on the page of a product, or on a part of it."""
    looks = _does(text)
    if not any(piece.startswith("Price: ") for piece in pieces):
        return looks
    here = situation_of(context, context.observation.actions or ())
    left = [
        (value, option)
        for name, value in request.options
        if (option := f"{name}: {value}") not in here.chosen
    ]
    is_value = not any(looks.values())
    return {
        **looks,
        "selects": float(is_value),
        "selects_wanted": float(is_value and any(value == text for value, _ in left)),
        "options_left": float(len(left)),
        "options_lacking": float(sum(option not in here.clicks for _, option in left)),
        **_of_text(" ".join(pieces[2:]), request),
    }


def _of_text(text: str, request: ShoppingRequest) -> dict[str, float]:
    """Of what is read about a product."""
    wanted = content_words(request.words)
    missing = content_words(request.words, text)
    limit = request.price_limit
    return {
        "over_limit": float(limit is not None and not cheaper(text, limit)),
        "words_missing": len(missing) / max(1, len(wanted)),
    }
