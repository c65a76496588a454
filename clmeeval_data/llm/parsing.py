"""A server's answer -> the JSON object in it, or why there is none. Replies are data: nothing in them is evaluated."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from clmeeval_data.llm.contract import ChatReply

_THOUGHTS = re.compile(r"\A.*</think>", re.DOTALL)
_MOST_STARTS = 200  # places where an object may begin; a reply with more braces that are no JSON isn't searched further
_LONGEST_REFUSAL = 300  # characters
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class Tokens(NamedTuple):
    """The tokens of a prompt and of its reply."""

    prompt: int
    completion: int


def tokens_of(body: str) -> Tokens | None:
    """What an answer says was used; None where it says nothing."""
    usage = _field(_loaded(body), "usage")
    counts = [_field(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return None
    return Tokens(*counts)


def parse(body: str, schema: Mapping[str, Any], cached: bool) -> ChatReply:
    """The reply in the body of an HTTP answer.

    Args:
        body: A chat completion as JSON.
        schema: Of the object that was asked for.
        cached: Whether it comes out of the cache.

    Returns:
        The reply with its value, or with the flaw for which it has none. Code fences, text around the object and
        thoughts before it are passed over.
    """
    completion = _loaded(body)
    choices = _field(completion, "choices")
    if not isinstance(choices, list):
        return ChatReply(None, body, "not a chat completion", cached)
    choice = choices[0] if choices else {}
    message = _field(choice, "message")
    text = _text(_field(message, "content"))
    refused = _refusal(choice, message)
    if refused:
        return ChatReply(None, text, f"refused: {refused}", cached)
    if _field(choice, "finish_reason") == "length":
        return ChatReply(None, text, "cut off", cached)
    if not text.strip():
        return ChatReply(None, text, "empty", cached)
    value, flaw = _value(text, schema)
    return ChatReply(value, text, flaw, cached)


def fault(value: Any, schema: Mapping[str, Any], name: str = "") -> str:
    """The first way in which a JSON value breaks a schema's types, required fields, bounds or choices, or ""."""
    label = f"field {name!r}" if name else "the reply"
    wanted = schema.get("type")
    kinds = [wanted] if isinstance(wanted, str) else list(wanted or ())
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{label} is {_kind(value)}, not {' or '.join(kinds)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{label} is none of {', '.join(map(repr, schema['enum']))}"
    return next(filter(None, (*_bounds(value, schema, label), *_parts(value, schema, name))), "")


def _bounds(value: Any, schema: Mapping[str, Any], label: str) -> Iterator[str]:
    if _is(value, "number"):
        if value < schema.get("minimum", value):
            yield f"{label} is below {schema['minimum']}"
        if value > schema.get("maximum", value):
            yield f"{label} is above {schema['maximum']}"


def _parts(value: Any, schema: Mapping[str, Any], name: str) -> Iterator[str]:
    if isinstance(value, dict):
        inside = f"{name}." if name else ""
        yield from (
            f"field {inside + field!r} is missing" for field in schema.get("required", ()) if field not in value
        )
        for field, part in schema.get("properties", {}).items():
            if field in value:
                yield fault(value[field], part, inside + field)
    elif isinstance(value, list) and "items" in schema:
        yield from (fault(item, schema["items"], f"{name}[{place}]") for place, item in enumerate(value))


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def _kind(value: Any) -> str:
    kinds = ("null", "boolean", "integer", "number", "string", "array", "object")
    return next(kind for kind in kinds if _is(value, kind))


def _value(text: str, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The first object in a text that fits the schema, or what is wrong with the first one."""
    flaw = ""
    for found in _objects(_THOUGHTS.sub("", text)):
        wrong = fault(found, schema)
        if not wrong:
            return found, ""
        flaw = flaw or wrong
    whole = _loaded(text)
    other = "" if whole is None else fault(whole, {"type": "object"})
    return None, flaw or other or "not JSON"


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text that don't lie in one another."""
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    start, starts = text.find("{"), 0
    while start >= 0 and starts < _MOST_STARTS:
        starts += 1
        try:
            found, end = decoder.raw_decode(text, start)
            json.dumps(found, ensure_ascii=False).encode("utf-8")  # halves of surrogate pairs can't be written anywhere
            yield found
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _loaded(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text(content: Any) -> str:
    """The text of a message, which some servers send in parts, without halves of surrogate pairs."""
    parts = content if isinstance(content, list) else [content]
    texts = (part if isinstance(part, str) else _field(part, "text") for part in parts)
    whole = "".join(text for text in texts if isinstance(text, str))
    return whole.encode("utf-8", "replace").decode("utf-8")


def _refusal(choice: Any, message: Any) -> str:
    said = " ".join(_text(_field(message, "refusal")).split())[:_LONGEST_REFUSAL]
    return said or ("content filter" if _field(choice, "finish_reason") == "content_filter" else "")
