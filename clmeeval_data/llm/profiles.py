"""How servers differ in what they call things and in what they can do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from clmeeval_data.llm.contract import ChatRequest

Structure = Literal["json_schema", "json_object", "text"]
Limit = Literal["max_tokens", "max_completion_tokens"]

_NEXT_STRUCTURE: Mapping[Structure, Structure] = {"json_schema": "json_object", "json_object": "text"}
_OTHER_LIMIT: Mapping[Limit, Limit] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
_STRUCTURE_WORDS = ("response_format", "response format", "json_schema", "json_object", "structured output", "grammar")
_SIZE_WORDS = ("context", "too large", "at most", "exceed", "at least")  # the number is refused, not its name
_EXAMPLES = {"string": "...", "integer": 1, "number": 0.5, "boolean": True, "array": [], "object": {}, "null": None}


@dataclass(frozen=True)
class Dialect:
    """The form of a request that a server understands.

    Args:
        structure: How the reply's form is asked for; without json_schema the prompt describes it too.
        limit: What the largest number of tokens is called.
        temperature: Whether the temperature is sent.
        seed: Whether the seed is sent.
        extra: Fields of this provider alone.
        swapped: Whether the limit's other name was tried before.
        simplicity: How many complaints of the server it already takes into account.
    """

    structure: Structure = "json_schema"
    limit: Limit = "max_tokens"
    temperature: bool = True
    seed: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    swapped: bool = False
    simplicity: int = 0

    def body(self, model: str, request: ChatRequest) -> dict[str, Any]:
        """The request as it is sent."""
        system = request.system if self.structure == "json_schema" else _with_form(request)
        roles = (("system", system), ("user", request.user))
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": role, "content": _unicode(text)} for role, text in roles if text],
            self.limit: request.max_tokens,
            **self.extra,
        }
        if self.temperature:
            body["temperature"] = request.temperature
        if self.seed:
            body["seed"] = request.seed
        if self.structure == "json_schema":
            named = {"name": "reply", "schema": dict(request.schema), "strict": _is_strict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self.structure == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def below(self, complaint: str) -> "Dialect | None":
        """The next simpler form, without what the server complains about; None where it names nothing of this form."""
        text = complaint.lower()
        change: dict[str, Any]
        if self.structure != "text" and any(word in text for word in _STRUCTURE_WORDS):
            change = {"structure": _NEXT_STRUCTURE[self.structure]}
        elif self.limit in text and not self.swapped and not any(word in text for word in _SIZE_WORDS):
            change = {"limit": _OTHER_LIMIT[self.limit], "swapped": True}
        elif self.temperature and "temperature" in text:
            change = {"temperature": False}
        elif self.seed and "seed" in text:
            change = {"seed": False}
        elif any(name in text for name in self.extra):
            change = {"extra": {}}
        else:
            return None
        return replace(self, simplicity=self.simplicity + 1, **change)


_PROFILES: Mapping[str, Dialect] = {
    "api.openai.com": Dialect(limit="max_completion_tokens"),
    "api.deepseek.com": Dialect("json_object", extra={"thinking": {"type": "disabled"}}),
}


def dialect_of(host: str) -> Dialect:
    """The form to begin with: what is known of the provider, or the one that vLLM, Ollama and llama.cpp understand."""
    return _PROFILES.get(host, Dialect())


def _with_form(request: ChatRequest) -> str:
    """The system message with the form of the reply in words, for servers that aren't given the schema."""
    properties = request.schema.get("properties", {})
    example = {name: _example(part) for name, part in properties.items()}
    form = (
        "Answer with one JSON object and nothing else. It must follow this JSON schema:\n"
        f"{json.dumps(request.schema, ensure_ascii=False)}\n"
        f"Example of the form: {json.dumps(example, ensure_ascii=False)}"
    )
    return f"{request.system}\n\n{form}" if request.system else form


def _example(schema: Mapping[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    return _EXAMPLES.get(kind if isinstance(kind, str) else kind[0])


def _is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether a schema meets what OpenAI asks of a strict one: every field required, and no others."""
    names = set(schema.get("properties", {}))
    return schema.get("additionalProperties") is False and names == set(schema.get("required", ()))


def _unicode(text: str) -> str:
    """The text without halves of surrogate pairs, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
