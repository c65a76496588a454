"""What a client has sent and paid for, and how much more it may."""

from clmeeval_data.errors import BudgetSpent
from clmeeval_data.llm.contract import ChatRequest, Usage
from clmeeval_data.llm.options import LlmOptions
from clmeeval_data.llm.parsing import Tokens

_ENVELOPE = 2000  # tokens that a server's template and the form of the reply in words may add to a prompt, at most
_CHARACTERS = 4  # UTF-8 takes at most so many bytes for one character, and no token is shorter than a byte


class Budget:
    """Counts requests and cost, and refuses those that would pass a bound.

    Args:
        options: With the bounds and the prices.
    """

    def __init__(self, options: LlmOptions) -> None:
        self._options = options
        self.usage = Usage()

    def count_request(self) -> None:
        """Count an HTTP request that is about to be sent.

        Raises:
            BudgetSpent: If it would be one more than the bound.
        """
        bound = self._options.max_requests
        if bound is not None and self.usage.requests >= bound:
            raise BudgetSpent(
                f"all {bound} requests of --max-requests are sent. Their replies are kept: the same command with the "
                "same bound or a larger one goes on from there."
            )
        self.usage += Usage(requests=1)

    def count_reply(self, request: ChatRequest, tokens: Tokens | None) -> None:
        """Count what a reply has cost."""
        if tokens is None:
            self.usage += Usage(cost=self.most(request))
        else:
            cost = self._cost(tokens.prompt, tokens.completion)
            self.usage += Usage(prompt_tokens=tokens.prompt, completion_tokens=tokens.completion, cost=cost)

    def count_cached(self, count: int) -> None:
        """Count requests that were answered without sending anything."""
        self.usage += Usage(cached=count)

    def most(self, request: ChatRequest) -> float:
        """The most USD that a request can cost, its prompt taken to have a token per byte."""
        prompt = sum(len(part.encode("utf-8", "replace")) for part in (request.system, request.user))
        return self._cost(prompt + _CHARACTERS * len(str(request.schema)) + _ENVELOPE, request.max_tokens)

    def allows(self, more: float) -> bool:
        """Whether so many USD more stay within the bound."""
        return self._options.max_cost is None or self.usage.cost + more <= self._options.max_cost

    def spent(self, more: float) -> BudgetSpent:
        """The error of a request that may cost more than what is left."""
        return BudgetSpent(
            f"{self.usage.cost:.6f} of --max-cost {self._options.max_cost} USD are spent, and the next request may "
            f"cost {more:.6f}. The replies are kept: the same command with a larger bound goes on from there."
        )

    def _cost(self, prompt: int, completion: int) -> float:
        return (prompt * self._options.price_in + completion * self._options.price_out) / 1e6
