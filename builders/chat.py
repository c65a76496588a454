"""The chat model of a command: which one it is as a plain value, and the client once it is used."""

from dataclasses import dataclass
from functools import cached_property

from clmeeval_data.llm import ChatClient, LlmOptions


@dataclass(frozen=True)
class Chat:
    """A chat model that is opened when it is first used, and then stays open with its budget.

    It can be sent to a worker as long as it isn't open; each worker then opens its own, with a budget of its own.
    """

    options: LlmOptions

    @cached_property
    def model(self) -> ChatClient:
        """The client.

        Raises:
            ConfigError: If the key in the environment can't be sent.
        """
        return ChatClient(self.options)

    @property
    def identity(self) -> dict[str, str]:
        """What decides the replies: the server, without credentials, and the model."""
        return {"base_url": self.options.server, "model": self.options.model}

    @property
    def words(self) -> list[str]:
        """The same as options of a command line."""
        return ["--llm-base-url", self.options.server, "--llm-model", self.options.model]

    @property
    def spent(self) -> str:
        """What it has been asked so far, for people."""
        usage = self.model.usage
        return f"{usage.requests} requests sent, {usage.cached} answered from the cache, {usage.cost:.4f} USD"
