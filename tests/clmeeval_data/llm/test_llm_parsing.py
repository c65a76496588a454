import json

import pytest

from clmeeval_data.llm.parsing import Tokens, fault, parse, tokens_of

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "inner": {"type": "object", "properties": {"deep": {"type": "number"}}, "required": ["deep"]},
        "maybe": {"type": ["string", "null"]},
        "sure": {"type": "boolean"},
    },
    "required": ["text"],
}


def said(content, finish="stop", **message):
    choice = {"finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return parse(json.dumps({"choices": [choice]}), SCHEMA, cached=False)


FINE = [
    '{"text": "x"}',
    ' \n{"text": "x"}\n\n ',
    '```json\n{"text": "x"}\n```',
    '```\n{"text": "x"}\n```\nI hope this helps!',
    'Sure, here is the JSON: {"text": "x"} Anything else?',
    '{"txt": "no"} was wrong, this is right: {"text": "x"}',
    '<think>Perhaps {"text": "first thought"}?</think>\n{"text": "x"}',
    'In set notation {a, b}, so {"text": "x"}',
    "{" * 50 + '{"text": "x"}',
    '{"text": "x"}{"text": "y"}',
]


@pytest.mark.parametrize("content", FINE)
def test_the_object_is_found(content):
    reply = said(content)
    assert (reply.value, reply.flaw, reply.text) == ({"text": "x"}, "", content)


@pytest.mark.parametrize(
    ("value", "flaw"),
    [
        ({}, "field 'text' is missing"),
        ({"text": None}, "field 'text' is null, not string"),
        ({"text": 3}, "field 'text' is integer, not string"),
        ({"text": "x", "score": "3"}, "field 'score' is string, not integer"),
        ({"text": "x", "score": True}, "field 'score' is boolean, not integer"),
        ({"text": "x", "score": 3.5}, "field 'score' is number, not integer"),
        ({"text": "x", "score": 0}, "field 'score' is below 1"),
        ({"text": "x", "score": 6}, "field 'score' is above 5"),
        ({"text": "x", "kind": "c"}, "field 'kind' is none of 'a', 'b'"),
        ({"text": "x", "tags": ["a", 1]}, "field 'tags[1]' is integer, not string"),
        ({"text": "x", "inner": {}}, "field 'inner.deep' is missing"),
        ({"text": "x", "inner": {"deep": "1"}}, "field 'inner.deep' is string, not number"),
        ({"text": "x", "maybe": 1}, "field 'maybe' is integer, not string or null"),
        ({"text": "x", "sure": 1}, "field 'sure' is integer, not boolean"),
    ],
)
def test_wrong_and_missing_fields(value, flaw):
    reply = said(json.dumps(value))
    assert (reply.value, reply.flaw) == (None, flaw)


@pytest.mark.parametrize(
    "value",
    [
        {"text": "", "score": 5, "kind": "a", "tags": [], "inner": {"deep": 1}, "maybe": None, "sure": False},
        {"text": "x", "score": 3.0, "unknown": {"fields": "stay"}},
    ],
)
def test_values_that_fit(value):
    assert said(json.dumps(value)).value == value


@pytest.mark.parametrize(
    ("content", "flaw"),
    [
        ("", "empty"),
        (None, "empty"),
        (" \n\t ", "empty"),
        ([], "empty"),
        ("certainly!", "not JSON"),
        ("{'text': 'python, not JSON'}", "not JSON"),
        ('{"text": "no end', "not JSON"),
        ('{"text": NaN}', "not JSON"),
        ('{"text": "half a character: \\ud800"}', "not JSON"),
        ('["text"]', "the reply is array, not object"),
        ('"text"', "the reply is string, not object"),
        ("12", "the reply is integer, not object"),
        ("[" * 100_000, "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        ("{" * 100_000, "not JSON"),
        ('{"text": ' + "9" * 10_000 + "}", "not JSON"),
        ("__import__('os').system('true') {}", "field 'text' is missing"),
    ],
)
def test_replies_without_a_usable_object(content, flaw):
    assert said(content).flaw == flaw


def test_parts_of_a_message_are_joined():
    assert said([{"type": "text", "text": '{"text": '}, {"type": "text", "text": '"x"}'}]).value == {"text": "x"}


def test_a_cut_off_reply_has_no_value():
    reply = said('{"text": "x', finish="length")
    assert (reply.value, reply.flaw, reply.text) == (None, "cut off", '{"text": "x')


def test_refusals():
    assert said(None, refusal="I can't help\nwith that.").flaw == "refused: I can't help with that."
    assert said("", finish="content_filter").flaw == "refused: content filter"


@pytest.mark.parametrize(
    "body", ["", "<html>", "null", "[]", '{"error": {"message": "x"}}', '{"choices": 1}', "[" * 99_999]
)
def test_answers_that_are_no_completions(body):
    reply = parse(body, SCHEMA, cached=True)
    assert (reply.value, reply.flaw, reply.text, reply.cached) == (None, "not a chat completion", body, True)


@pytest.mark.parametrize("choices", [[], [None], [{}], [{"message": None}], [{"message": {"content": 3}}]])
def test_completions_without_a_message_are_empty(choices):
    assert parse(json.dumps({"choices": choices}), SCHEMA, cached=False).flaw == "empty"


def test_tokens():
    assert tokens_of('{"usage": {"prompt_tokens": 3, "completion_tokens": 4}}') == Tokens(3, 4)
    for body in ("", "{}", '{"usage": null}', '{"usage": {"prompt_tokens": 3}}'):
        assert tokens_of(body) is None
    assert tokens_of('{"usage": {"prompt_tokens": -1, "completion_tokens": 4}}') is None


def test_a_schema_that_asks_for_nothing_takes_anything():
    assert fault({"a": [1, {"b": None}]}, {}) == ""
