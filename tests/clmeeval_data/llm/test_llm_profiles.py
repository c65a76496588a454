"""What is sent to which server, and what a server's refusals change."""

import json

import pytest

from clmeeval_data.llm import ChatRequest
from clmeeval_data.llm.profiles import dialect_of

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "score": {"type": "integer"}, "kind": {"enum": ["same", "other"]}},
    "required": ["text", "score", "kind"],
    "additionalProperties": False,
}
REQUEST = ChatRequest("Rephrase.", "sort a list", SCHEMA)


def test_openai():
    body = dialect_of("api.openai.com").body("m", REQUEST)
    assert body["max_completion_tokens"] == 512
    assert "max_tokens" not in body
    assert body["response_format"]["json_schema"]["strict"] is True


def test_deepseek():
    body = dialect_of("api.deepseek.com").body("m", REQUEST)
    assert (body["max_tokens"], body["response_format"]) == (512, {"type": "json_object"})
    assert body["thinking"] == {"type": "disabled"}
    system = body["messages"][0]["content"]
    assert system.startswith("Rephrase.\n\nAnswer with one JSON object")
    assert json.dumps(SCHEMA) in system
    assert system.endswith('Example of the form: {"text": "...", "score": 1, "kind": "same"}')


def test_others():
    body = dialect_of("localhost").body("m", REQUEST)
    assert body["max_tokens"] == 512
    assert body["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    ("refuses", "complaint", "requests", "sent", "not_sent"),
    [
        ("json_schema", "'response_format.type' must be 'json_object'", 2, {"response_format"}, set()),
        ("response_format", "Unexpected keys in the request: {'response_format'}", 3, set(), {"response_format"}),
        ("max_tokens", "Unsupported parameter: 'max_tokens'", 2, {"max_completion_tokens"}, {"max_tokens"}),
        ("temperature", "Unsupported value: 'temperature' does not support 0.7", 2, {"seed"}, {"temperature"}),
        ("seed", "unknown field: seed", 2, {"temperature"}, {"seed"}),
    ],
)
@pytest.mark.parametrize("status", [400, 422, 501])
def test_a_refused_field_is_left_out_from_then_on(
    serve, client, questions, say, refuses, complaint, requests, sent, not_sent, status
):
    def script(body, attempt):
        return say.failure(status, complaint) if refuses in json.dumps(body) else say.reply()

    server = serve(script)
    chat = client(server, retries=0)
    assert all(reply.value for reply in chat.complete(questions(20)))
    assert len(server.asked) == 20 + requests - 1
    assert sent <= set(server.asked[-1])
    assert not not_sent & set(server.asked[-1])
    chat.complete(questions(30))
    assert len(server.asked) == 30 + requests - 1


def test_a_server_that_knows_nothing_but_messages(serve, client, questions, say):
    def script(body, attempt):
        unknown = sorted(set(body) - {"model", "messages", "max_tokens"})
        return say.failure(400, f"unknown field {unknown[0]}") if unknown else say.reply()

    server = serve(script)
    assert all(reply.value for reply in client(server).complete(questions(5)))
    assert set(server.asked[-1]) == {"model", "messages", "max_tokens"}
    assert "JSON schema" in server.asked[-1]["messages"][0]["content"]


def test_one_refused_request_does_not_change_the_others(serve, client, questions, say):
    """The server's message quotes the whole request, and so names every field."""

    def script(body, attempt):
        bad = body["messages"][-1]["content"] == "question 0"
        return say.failure(400, f"cannot do this: {json.dumps(body)}") if bad else say.reply()

    server = serve(script)
    replies = client(server).complete(questions(6))
    assert replies[0].flaw.startswith("refused: ")
    assert all(reply.value for reply in replies[1:])
    assert all(body["response_format"]["type"] == "json_schema" for body in server.asked[-5:])
    assert server.counts["question 0"] < 8
