"""Refusals in all kinds of words: learned once, logged, and what is no refusal stays an error."""

from __future__ import annotations

import pytest

from amp.models.base import Capabilities
from amp.models.refusals import Refusals, blamed
from amp.models.reply import RefusedError, reason_of

BODY = {
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    **{"max_tokens": 9, "n": 3, "seed": 1, "stop": ["x"], "temperature": 0.5, "top_p": 0.9},
    **{"logprobs": True, "top_logprobs": 20},
}
SENT = {"n", "seed", "stop", "temperature", "top_p", "logprobs", "system", "max_tokens"}


def refused(body: object, status: int = 400) -> RefusedError:
    reason, places = reason_of(body)
    return RefusedError(reason, reason, status, places)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "Unsupported parameter: 'stop'", "param": "stop"}}, "stop"),
        ({"error": {"message": "Only one completion choice is allowed"}}, "n"),
        ({"detail": [{"loc": ["body", "n"], "msg": "Extra inputs are not permitted"}]}, "n"),
        ({"detail": [{"loc": ["body", "top_logprobs"], "msg": "Not permitted"}]}, "logprobs"),
        ({"detail": "Unknown field seed"}, "seed"),
        ([{"error": {"message": 'Unknown name "seed": Cannot find field.'}}], "seed"),
        ({"error": {"message": "Unrecognized request argument supplied: top_p"}}, "top_p"),
        ({"error": "m does not support parameters: ['logprobs']"}, "logprobs"),
        ({"message": "This model does not support returning log probabilities"}, "logprobs"),
        ({"error": {"message": "System role not supported"}}, "system"),
        ({"error": {"message": "messages[0].role: must be user or assistant"}}, "system"),
        ({"error": {"message": "bad", "param": "messages[0].role"}}, "system"),
        ({"error": {"message": "Conversation roles must alternate user/assistant"}}, "system"),
        ({"error": {"message": "Developer instruction is not enabled for m"}}, "system"),
        ({"error": {"message": "temperature and top_p cannot both be specified"}}, "top_p"),
        ({"error": {"message": "Only the default (1) value of temperature"}}, "temperature"),
        ({"errors": [{"detail": "stop sequences are not available"}]}, "stop"),
        ({"error": {"error": {"message": "seed: unknown. Known: temperature, top_p"}}}, "seed"),
        ("unexpected keyword argument 'seed'", "seed"),
        # A value out of range is the caller's mistake.
        ({"error": {"message": "temperature is too high"}}, None),
        ({"error": {"message": "must be at most 1", "param": "temperature"}}, None),
        ({"error": {"message": "max_tokens must be at most 5"}}, None),
        ({"error": {"message": "The request is odd"}}, None),
        ({"error": {"message": "The system is on fire; no answer"}}, None),
    ],
)
def test_what_a_refusal_is_about(body: object, expected: str | None) -> None:
    assert blamed(refused(body), SENT) == expected


class Server:
    """Refuses whatever holds one of these fields, with this error."""

    def __init__(self, fields: set[str], error: RefusedError) -> None:
        self.fields, self.error = fields, error
        self.asked: list[set[str]] = []

    async def send(self, body: dict[str, object], retry: bool) -> dict[str, object]:
        self.asked.append(set(body))
        if self.fields & set(body):
            raise self.error
        return {"fine": True}


def body_without(names: object) -> dict[str, object]:
    assert isinstance(names, set)
    gone = names | ({"top_logprobs"} if "logprobs" in names else set())
    return {name: value for name, value in BODY.items() if name not in gone}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("field", ["n", "seed", "stop", "temperature", "top_p", "logprobs"])
async def test_where_no_field_is_named_it_is_found_and_only_it_is_given_up(
    field: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals("m")
    server = Server({field}, refused({"error": "Bad Request"}, status))
    for _ in range(2):
        await refusals.ask(body_without, server.send, thinks=False)
    assert refusals.refused_fields(thinks=False) == {field}
    assert set(BODY) - server.asked[-1] <= {field, "top_logprobs"}
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        f"model m refuses {field}"
    ]


@pytest.mark.parametrize("said", ["context too long", "content policy", "model x does not exist"])
async def test_what_no_field_can_cause_is_asked_once(said: str) -> None:
    server = Server(set(BODY), refused({"error": said}))
    with pytest.raises(RefusedError, match=said):
        await Refusals("m").ask(body_without, server.send, thinks=False)
    assert len(server.asked) == 1


async def test_what_breaks_a_server_is_left_out_of_one_request_only() -> None:
    refusals = Refusals("m")
    server = Server({"logprobs"}, refused({"error": "NaN is not JSON compliant"}, 500))
    await refusals.ask(body_without, server.send, thinks=False)
    assert not refusals.refused_fields(thinks=False)


async def test_fewer_likely_tokens_are_asked_for_where_only_their_number_is_refused() -> None:
    refusals = Refusals("m")

    async def send(body: dict[str, object], retry: bool) -> dict[str, object]:
        if body["top_logprobs"] != 5:
            raise refused({"error": "top_logprobs is 20, must be at most 5"})
        return {}

    def body_of(names: object) -> dict[str, object]:
        return BODY | {"top_logprobs": refusals.most_top}

    await refusals.ask(body_of, send, thinks=False)
    assert refusals.capabilities(Capabilities(log_probs=True)).log_probs


async def test_the_first_refusal_is_told_where_nothing_helps() -> None:
    server = Server({"messages"}, refused({"error": "odd"}))
    with pytest.raises(RefusedError, match="odd"):
        await Refusals("m").ask(body_without, server.send, thinks=False)
    assert len(server.asked) <= len(BODY) + 1


async def test_a_model_that_refuses_some_parameter_is_asked_without_each() -> None:
    refusals = Refusals("m")
    said = "The model does not support one of the request parameters"
    server = Server({"seed"}, refused({"error": said}))
    await refusals.ask(body_without, server.send, thinks=False)
    assert refusals.refused_fields(thinks=False) == {"seed"}
