"""What is asked of a chat model and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class ChatRequest:
    """One question. All of it, with the server and the model, is the key under which its reply is cached.

    Args:
        system: The fixed part: what to do.
        user: The changing part: what to do it with.
        schema: JSON schema of the reply, whose type is "object".
        seed: Asks for another reply to the same question where it differs.
        temperature: Of the sampling.
        max_tokens: The longest reply, in tokens.
        version: Of the prompt's wording; it isn't sent.
    """

    system: str
    user: str
    schema: Mapping[str, Any]
    seed: int = 0
    temperature: float = 0.7
    max_tokens: int = 512
    version: str = ""


@dataclass(frozen=True)
class Usage:
    """What was asked and paid for.

    Args:
        requests: HTTP requests for chat completions that were sent, those that failed and were sent again included; in
            a batch, the requests in it.
        cached: Requests that were answered without sending anything.
        prompt_tokens: As the server counted them, over the replies that were received.
        completion_tokens: The same of the replies.
        cost: USD; 0.0 without prices. A reply whose server states no usage is counted at the most it can have cost.
    """

    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.cached + other.cached,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
        )


@dataclass(frozen=True)
class ChatReply:
    """What came of one request.

    Args:
        value: The JSON object, with the required fields and of the types of the schema; None where there is none.
        text: The reply as it came.
        flaw: Why there is no value: "empty", "not JSON", "cut off", "refused: ..."; "" where there is one.
        cached: Whether nothing was sent for it.
    """

    value: Mapping[str, Any] | None
    text: str
    flaw: str
    cached: bool


class ChatModel(Protocol):
    """Something that answers requests."""

    model: str

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """One reply per request, in the same order."""
