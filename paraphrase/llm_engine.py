"""Rewordings by a chat model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clmeeval_data.errors import ConfigError
from clmeeval_data.llm import ChatReply, ChatRequest
from clmeeval_data.paraphrase.enclosure import NOTE, enclosed
from clmeeval_data.paraphrase.engine import Setting

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"rewritten": {"type": "string"}},
    "required": ["rewritten"],
    "additionalProperties": False,
}

_REPLY = (
    'Answer with one JSON object that has the single field "rewritten", without anything before or after it. '
    'Example: {"rewritten": %s}'
)
_EXAMPLE_INTENT = "How can I put the items of `a` in descending order?"
_EXAMPLE_FUNCTION = "def total(items):\n    return sum(each for each in items)"
_INTENT = "\n".join(
    (
        "You reword requests about Python programming. You get one request and write the same request in other words.",
        "- It must ask for exactly the same code: add nothing, leave nothing out, and don't answer it.",
        "- Change the words and the structure of the sentence, not only a word or two.",
        "- Keep all names, numbers, quoted strings and whatever stands in backticks or quotes as they are.",
        "- Write one plain English sentence without quotes around it.",
        NOTE,
        _REPLY % json.dumps(_EXAMPLE_INTENT),
    )
)
_FUNCTION = "\n".join(
    (
        "You rewrite Python functions. You get one function and write a function with the same meaning in other code.",
        "- For all inputs it must return, raise and change the same as before. Don't fix its faults.",
        "- Keep its name, its parameters in their order with their defaults, its decorators and its annotations.",
        "- Rename local variables, and use equivalent loops, conditions, comprehensions and string formatting.",
        "- Write the whole function and nothing else, without a docstring, a code fence or an example.",
        NOTE,
        _REPLY % json.dumps(_EXAMPLE_FUNCTION),
    )
)
_OWN_TOKENS = 200  # for the JSON around a rewording, and for a rewording that is longer than a short prompt
_CHARACTERS_PER_TOKEN = 2  # in JSON, where quotes and line feeds are escaped, at the least


class LlmEngine:
    """Asks a chat model for another wording of an intent, or for other code with the meaning of a function.

    What it gives is a model's: only the checks stand between it and a dataset. A reply without a wording gives None.

    Args:
        setting: With the chat model, the seed, and whether the prompts are code.

    Raises:
        ConfigError: If the setting has no chat model.
    """

    name = "llm"
    version = "1"

    def __init__(self, setting: Setting) -> None:
        if setting.chat is None:
            raise ConfigError(
                "engine 'llm' has no language model to ask. Give --llm-base-url and --llm-model, "
                "and the key in the environment variable CLMEEVAL_LLM_API_KEY where the server wants one."
            )
        self._chat = setting.chat
        self.model = setting.chat.model
        self._seed = setting.seed
        self._system = _FUNCTION if setting.code else _INTENT
        self._label = "The function" if setting.code else "The request"
        self._flaws: dict[str, str] = {}

    def rewrite(self, prompts: Sequence[str]) -> list[str | None]:
        """The model's wording of each prompt; None where its reply holds none.

        Raises:
            ChatError: If the model can't be asked, or the budget is spent.
        """
        replies = self._chat.complete([self._request(prompt) for prompt in prompts])
        self._flaws = {}
        return [self._wording(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]

    def flaw(self, prompt: str) -> str:
        """Why the last ``rewrite`` gave no wording of this prompt: what is wrong with the reply, without its words."""
        return self._flaws.get(prompt, "no rewording")

    def _request(self, prompt: str) -> ChatRequest:
        return ChatRequest(
            system=self._system,
            user=enclosed(self._label, prompt),
            schema=SCHEMA,
            seed=self._seed,
            max_tokens=_OWN_TOKENS + len(prompt) // _CHARACTERS_PER_TOKEN,
            version=f"rephrase-{self.version}",
        )

    def _wording(self, prompt: str, reply: ChatReply) -> str | None:
        text = None if reply.value is None else reply.value.get("rewritten")
        text = text.strip() if isinstance(text, str) else ""
        if text and text not in (_EXAMPLE_INTENT, _EXAMPLE_FUNCTION):
            return text
        self._flaws[prompt] = "repeats the example" if text else reply.flaw.partition(":")[0] or "empty"
        return None
