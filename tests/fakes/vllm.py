"""As much of vLLM's server as models ask of it, strict about the fields of requests.

Its tokens are characters, its template puts a role before each message, and a character's
log-probability is that of `log_prob`, wherever it stands.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.server import Answer, Question

DESCRIPTION: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "vllm-openapi.json").read_text(encoding="utf-8")
)
_SCHEMAS = DESCRIPTION["components"]["schemas"]
TOP = 5


def log_prob(character: str) -> float:
    return -0.01 * (ord(character) % 97 + 1)


def template(fields: dict[str, Any]) -> str:
    parts = [f"<{each['role']}>{each['content']}" for each in fields["messages"]]
    whole = "</>".join(parts)
    if fields.get("continue_final_message"):
        return whole
    return whole + "</><assistant>" if fields.get("add_generation_prompt", True) else whole + "</>"


@dataclass
class Vllm:
    """A server for `tests.fakes.server.serving`.

    Attributes:
        lacks: fields that this version does not have, and does not describe.
        strict: whether it refuses them, else it ignores them.
        refuses: fields that it has and refuses all the same.
        describes: whether it has an ``/openapi.json``.
        thinks: tokens that it thinks, whatever the budget.
        chats: requests for chats that it answered.
        paths: what it was asked for, in order.
    """

    lacks: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    describes: bool = True
    strict: bool = True
    thinks: int = 0
    chats: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def __call__(self, question: Question) -> Answer:
        self.paths.append(question.path)
        fields = json.loads(question.body) if question.body else {}
        if question.path == "/openapi.json" and self.describes:
            return self._answer(self._description())
        if question.path == "/tokenize":
            chat = "messages" in fields
            self._check(fields, "TokenizeChatRequest" if chat else "TokenizeCompletionRequest")
            text = template(fields) if chat else fields["prompt"]
            tokens = [ord(character) for character in text]
            return self._answer({"count": len(tokens), "max_model_len": 4096, "tokens": tokens})
        if question.path == "/v1/chat/completions":
            return self._chat(fields)
        return self._answer({"detail": "Not Found"}, 404)

    def _description(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads(json.dumps(DESCRIPTION))
        for name in self.lacks:
            del described["components"]["schemas"]["ChatCompletionRequest"]["properties"][name]
        return described

    def _check(self, fields: dict[str, Any], schema: str) -> None:
        unknown = fields.keys() - _SCHEMAS[schema]["properties"].keys()
        assert not unknown or not self.strict, f"vLLM knows no {unknown}"

    def _chat(self, fields: dict[str, Any]) -> Answer:
        self._check(fields, "ChatCompletionRequest")
        refused = self.refuses | self.lacks if self.strict else self.refuses
        for name in sorted(refused & fields.keys()):
            return self._answer({"error": {"message": f"{name} is not supported"}}, 400)
        self.chats.append(fields)
        text = template(fields)
        message = {"role": "assistant", "content": "A", "reasoning": "x" * self.thinks or None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        if fields.get("logprobs"):
            wanted = fields.get("logprob_token_ids") or [ord("~") + i for i in range(TOP)]
            entry = {**self._token(ord("A")), "top_logprobs": [self._token(w) for w in wanted]}
            thought = [{**self._token(ord("x")), "top_logprobs": []}] * self.thinks
            choice["logprobs"] = {"content": [*thought, entry]}
        usage = {"prompt_tokens": len(text), "completion_tokens": 1 + self.thinks}
        answer: dict[str, Any] = {
            "choices": [choice] * fields.get("n", 1),
            "usage": {**usage, "total_tokens": sum(usage.values())},
        }
        if fields.get("prompt_logprobs") is not None:
            answer["prompt_logprobs"] = [None, *self._scored(text[1:])]
        if fields.get("return_token_ids"):
            answer["prompt_token_ids"] = [ord(character) for character in text]
        return self._answer(answer)

    @staticmethod
    def _token(token: int) -> dict[str, Any]:
        return {"token": chr(token), "logprob": log_prob(chr(token)), "bytes": None}

    @staticmethod
    def _scored(text: str) -> Sequence[dict[str, Any]]:
        likeliest = {"9": {"logprob": -0.001, "rank": 1, "decoded_token": "\t"}}
        return [
            {str(ord(c)): {"logprob": log_prob(c), "rank": 2, "decoded_token": c}, **likeliest}
            for c in text
        ]

    @staticmethod
    def _answer(body: dict[str, Any], status: int = 200) -> Answer:
        return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
