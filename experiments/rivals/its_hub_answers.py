"""Answers of its-hub to problems: told as one JSON object on stdin, printed as one.

It runs in the environment of its-hub and knows nothing of amp. The algorithms are the library's,
with the budget that its server has by default; the server itself drops the caller's cap and
temperature. Its vote compares what a pattern finds, as its guide has it. The calls of a problem are
made one after the other, and a tie is drawn with a seed of the problem, so a run can be repeated.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

from its_hub.api import ChatMessage
from its_hub.core.algorithms.adaptive_self_consistency import AdaptiveSelfConsistency
from its_hub.core.algorithms.bon import BestOfN
from its_hub.core.algorithms.self_consistency import (
    SelfConsistency,
    create_regex_projection_function,
)
from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
from its_hub.core.orchestrator import LMOrchestrator
from its_hub.core.reward_models.llm_judge import LLMJudge

BUDGET = 4


class OneByOne:
    """Makes calls one after the other, and draws what follows them with a seed."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._own = LMOrchestrator()

    async def agenerate(self, model: Any, asked: list[Any], **options: Any) -> list[Any]:
        """As the library's own, whose calls come in no certain order."""
        found = []
        for each in asked:
            found += await self._own.agenerate(model, [each], **options)
        random.seed(self._seed)
        return found


async def main(told: dict[str, Any]) -> dict[str, Any]:
    """The answer to each problem, with the completion tokens that its-hub counts itself."""
    at = {"endpoint": told["url"], "api_key": "any", "model_name": told["model"]}
    cap, temperature = told["max_tokens"], told["temperature"]
    model = OpenAICompatibleLanguageModel(**at, max_completion_tokens=cap, temperature=temperature)
    judge = OpenAICompatibleLanguageModel(**at, temperature=0.0)
    project = create_regex_projection_function(told["pattern"])
    gate = asyncio.Semaphore(told["at_once"])

    async def answer(name: str, messages: list[dict[str, str]]) -> tuple[str, dict[str, Any]]:
        calls = OneByOne(name)
        if told["algorithm"] == "best-of-n":
            algorithm = BestOfN(LLMJudge(judge), orchestrator=calls)
        else:
            kinds = {"self-consistency": SelfConsistency, "adaptive": AdaptiveSelfConsistency}
            algorithm = kinds[told["algorithm"]](
                consistency_space_projection_func=project, orchestrator=calls
            )
        asked = [ChatMessage(role=each["role"], content=each["content"]) for each in messages]
        async with gate:
            found = await algorithm.ainfer(model, asked, BUDGET, return_response_only=False)
        return name, {"text": found.the_one["content"], "told": found.usage.completion_tokens}

    try:
        return dict(await asyncio.gather(*(answer(*each) for each in told["problems"].items())))
    finally:
        await model.close()
        await judge.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
