"""One call's requests on their way to the server: several at a time, each reply kept as soon as it is there."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
import openai

from clmeeval_data.errors import ClmeevalError
from clmeeval_data.llm.answers import Answer
from clmeeval_data.llm.contract import ChatRequest
from clmeeval_data.llm.link import Link
from clmeeval_data.llm.options import without_secrets
from clmeeval_data.llm.parsing import tokens_of
from clmeeval_data.llm.profiles import Dialect
from clmeeval_data.llm.transport import COMPLETIONS, Closing

_MOMENT = 2.0  # seconds that Ctrl-C waits for replies that are on their way
_LOOK = 0.05  # seconds between two looks at whether they have come
_FAILURES_IN_A_ROW = 3  # requests that fail after all their retries, before the server counts as broken
_REFUSED_FORMS = (400, 422, 501)  # how servers say that they don't know a field
_REFUSED_REQUESTS = (*_REFUSED_FORMS, 413, 414, 415, 451)


class Asking:
    """Sends the requests of one call.

    Until a first reply has come, requests go one at a time: a wrong key, an unknown model or a field that the server
    doesn't know costs one refused request, whatever the concurrency.

    Args:
        link: To the server and the cache.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: deque[tuple[str, ChatRequest]] = deque()
        self._answers: dict[str, Answer] = {}
        self._alone = asyncio.Lock()
        self._paid = asyncio.Condition()
        self._reserved: list[float] = []

    async def run(self, missing: Mapping[str, ChatRequest]) -> dict[str, Answer]:
        """The answers to all requests, by their keys.

        Raises:
            ChatError: If no retry mends what is wrong, or the budget is spent; what was under way is kept.
        """
        self._waiting.extend(missing.items())
        count = min(self._link.options.concurrency, len(missing))
        workers = {asyncio.create_task(self._work()) for _ in range(count)}
        try:
            done, running = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            await self._settle(running, self._link.options.timeout)
        except asyncio.CancelledError:
            await self._settle(workers, _MOMENT)
            raise
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        for worker in done:
            worker.result()
        return self._answers

    async def _settle(self, workers: set[asyncio.Task[None]], seconds: float) -> None:
        """Let replies arrive that are on their way, and send nothing more."""
        self._link.wire.closing = True
        clock = asyncio.get_running_loop()
        end = clock.time() + seconds
        while any(not worker.done() for worker in workers) and self._link.wire.in_flight and clock.time() < end:
            await asyncio.wait(workers, timeout=_LOOK)

    async def _work(self) -> None:
        while self._waiting and not self._link.wire.closing:
            key, request = self._waiting.popleft()
            body = self._link.cache.get(key)  # another process may have asked meanwhile
            if body is not None:
                self._answers[key] = Answer(body, "", True)
                continue
            try:
                async with self._within_budget(request):
                    self._answers[key] = await self._first_or_any(key, request)
            except Closing:
                return

    @asynccontextmanager
    async def _within_budget(self, request: ChatRequest) -> AsyncIterator[None]:
        """Wait until the budget surely holds for this request beside those under way."""
        budget, most = self._link.budget, self._link.budget.most(request)
        async with self._paid:
            await self._paid.wait_for(lambda: not self._reserved or budget.allows(sum(self._reserved) + most))
            if not budget.allows(most):  # and nothing else is under way
                raise budget.spent(most)
            self._reserved.append(most)
        try:
            yield
        finally:
            self._reserved.remove(most)
            async with self._paid:
                self._paid.notify_all()

    async def _first_or_any(self, key: str, request: ChatRequest) -> Answer:
        if not self._link.form.proven:
            async with self._alone:
                if not self._link.form.proven:
                    return await self._answer_or_close(key, request)
        return await self._answer_or_close(key, request)

    async def _answer_or_close(self, key: str, request: ChatRequest) -> Answer:
        """The answer; after an error nothing more is sent."""
        try:
            return await self._answer(key, request)
        except ClmeevalError:
            self._link.wire.closing = True
            raise

    async def _answer(self, key: str, request: ChatRequest) -> Answer:
        """The answer, in the simplest form that the server makes necessary."""
        dialect = self._link.form.dialect
        while True:
            try:
                body = await self._send(dialect, request)
            except openai.APIStatusError as error:
                simpler = dialect.below(error.message) if error.status_code in _REFUSED_FORMS else None
                if simpler is None:
                    return self._refused(error)
                dialect = simpler
            except openai.APIConnectionError as error:
                return self._unanswered(error)
            else:
                return self._received(key, request, body, dialect)

    async def _send(self, dialect: Dialect, request: ChatRequest) -> str:
        response = await self._link.client.post(
            COMPLETIONS, cast_to=httpx2.Response, body=dialect.body(self._link.options.model, request)
        )
        return without_secrets(response.content.decode("utf-8", "replace"), self._link.options, self._link.key)

    def _received(self, key: str, request: ChatRequest, body: str, dialect: Dialect) -> Answer:
        options = self._link.options
        self._link.cache.put(options.server, options.model, [(key, body)])
        self._link.budget.count_reply(request, tokens_of(body))
        self._link.form.works(dialect)
        return Answer(body, "", False)

    def _refused(self, error: openai.APIStatusError) -> Answer:
        status, message = error.status_code, self._link.shown(error.message)
        if status in _REFUSED_REQUESTS:
            return Answer(None, f"refused: {message}", False)
        if status not in (408, 409) and status < 500:
            raise self._link.refusal(error)
        return self._failed(message)

    def _unanswered(self, error: openai.APIConnectionError) -> Answer:
        unreachable = self._link.unreachable(error)
        if unreachable:
            raise unreachable
        return self._failed(str(error.__cause__) or type(error.__cause__).__name__)

    def _failed(self, what: str) -> Answer:
        """The answer of a request that failed with all its retries, if the server isn't broken as a whole."""
        tries = self._link.options.retries + 1
        if self._link.form.fails() >= _FAILURES_IN_A_ROW:
            raise self._link.error(f"failed on {_FAILURES_IN_A_ROW} requests in a row, {tries} times each: {what}")
        return Answer(None, f"no answer in {tries} tries: {self._link.shown(what)}", False)
