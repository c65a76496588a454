"""A chat model behind an OpenAI-compatible server."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from clmeeval_data.llm.answers import Answer, Form
from clmeeval_data.llm.budget import Budget
from clmeeval_data.llm.cache import ReplyCache, default_folder, key_of
from clmeeval_data.llm.contract import ChatReply, ChatRequest, Usage
from clmeeval_data.llm.options import LlmOptions, api_key
from clmeeval_data.llm.parsing import parse
from clmeeval_data.llm.profiles import dialect_of


class ChatClient:
    """Answers requests from the cache, and the others from the server, ``concurrency`` at a time.

    The key comes from the environment: CLMEEVAL_LLM_API_KEY or, for servers elsewhere than on this machine,
    OPENAI_API_KEY. Every reply that arrives with HTTP 200 is paid for, and is committed to the cache before it is
    looked at; flawed ones too, so that the same request is never sent again. The bounds of the options hold over the
    life of a client.

    Args:
        options: The server, the model and the bounds.

    Raises:
        ConfigError: If the key cannot be sent.
    """

    def __init__(self, options: LlmOptions) -> None:
        self.options = options
        self.model = options.model
        self._key = api_key(options)
        self._budget = Budget(options)
        self._form = Form(dialect_of(options.host))

    @property
    def usage(self) -> Usage:
        """What this client has asked and paid for."""
        return self._budget.usage

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """One reply per request, in the same order; equal requests are sent once.

        A request that the server refuses or keeps failing on has a reply with a flaw, and is sent again by the next
        call. On Ctrl-C no more is sent, and what arrives within two seconds is kept. Several processes may share a
        cache; what two of them ask for at the same moment, both send.

        Raises:
            ChatError: If the server refuses the key or the model, cannot be reached, keeps refusing for the number of
                requests, or fails on several requests in a row; or if the cache cannot be written.
            BudgetSpent: If a bound would be passed. The replies received before are in the cache.
            ConfigError: If the file of the cache is something else.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._complete(requests)
        with ThreadPoolExecutor(1) as beside:  # in a notebook: a loop runs in this thread, and it can have only one
            return beside.submit(self._complete, requests).result()

    def _complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        keys = [key_of(self.options.server, self.model, request) for request in requests]
        first = dict(zip(reversed(keys), reversed(requests), strict=True))
        with ReplyCache(self.options.cache or default_folder()) as cache:
            answers = {key: Answer(body, "", True) for key in first if (body := cache.get(key)) is not None}
            missing = {key: first[key] for key in dict.fromkeys(keys) if key not in answers}
            if missing:
                answers |= asyncio.run(self._ask(cache, missing))
        return self._replies(keys, requests, answers)

    async def _ask(self, cache: ReplyCache, missing: Mapping[str, ChatRequest]) -> dict[str, Answer]:
        from clmeeval_data.llm.asking import Asking
        from clmeeval_data.llm.batch import Batching
        from clmeeval_data.llm.link import Link
        from clmeeval_data.llm.transport import connect

        client, wire = connect(self.options, self._key, self._budget.count_request)
        async with client:
            link = Link(self.options, self._key, self._budget, self._form, cache, client, wire)
            return await (Batching(link) if self.options.batch else Asking(link)).run(missing)

    def _replies(
        self, keys: Sequence[str], requests: Sequence[ChatRequest], answers: Mapping[str, Answer]
    ) -> list[ChatReply]:
        replies, seen = [], set()
        for key, request in zip(keys, requests, strict=True):
            answer = answers[key]
            cached = answer.cached or key in seen
            if answer.body is None:
                replies.append(ChatReply(None, "", answer.flaw, cached))
            else:
                replies.append(parse(answer.body, request.schema, cached))
            seen.add(key)
        self._budget.count_cached(sum(reply.cached for reply in replies))
        return replies
