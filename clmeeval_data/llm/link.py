"""What is shared by the two ways of asking a server, one by one and in batches."""

from dataclasses import dataclass

import httpx2
import openai

from clmeeval_data.errors import ChatError
from clmeeval_data.llm.answers import Form
from clmeeval_data.llm.budget import Budget
from clmeeval_data.llm.cache import ReplyCache
from clmeeval_data.llm.options import LlmOptions, without_secrets
from clmeeval_data.llm.transport import Wire

_LONGEST_MESSAGE = 300
_ADVICE = {
    401: "Set CLMEEVAL_LLM_API_KEY to a key of this server.",
    402: "The account is empty: the same command goes on once it isn't.",
    403: "The key isn't allowed to do this; set CLMEEVAL_LLM_API_KEY to one that is.",
    404: "Check the name of the model, and the address; most end in /v1.",
    429: "The server's limits hold for longer than the retries: ask fewer at a time, or run the same command later.",
}
_ADDRESS = "Check the address; most end in /v1."
_SERVER = "See to the server; the same command goes on from there."


@dataclass(frozen=True)
class Link:
    """The options and the key, the counts, the form of requests, the cache and the connection of one call."""

    options: LlmOptions
    key: str
    budget: Budget
    form: Form
    cache: ReplyCache
    client: openai.AsyncOpenAI
    wire: Wire

    def shown(self, text: str) -> str:
        """What a server says, as one line of bounded length and without secrets."""
        line = " ".join(without_secrets(text, self.options, self.key).split())
        return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."

    def error(self, what: str, advice: str = _SERVER) -> ChatError:
        """The error that something is wrong with the server or the model as a whole."""
        return ChatError(
            f"{self.options.server}, model {self.options.model!r}: {self.shown(what).rstrip('.')}. {advice}"
        )

    def refusal(self, error: openai.APIStatusError, advice: str = "") -> ChatError:
        """The error that the server refuses what no other request would mend."""
        return self.error(f"refused: {error.message}", advice or _ADVICE.get(error.status_code, _ADDRESS))

    def unreachable(self, error: openai.APIConnectionError) -> ChatError | None:
        """The error that no connection can be made; None where one was made and lost, or was slow."""
        cause = error.__cause__
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return self.error(f"cannot be reached: {cause}", "Check the address, and that the server runs.")
        return None
