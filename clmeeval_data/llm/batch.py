"""Requests by OpenAI's Batch API: sent in one file, answered within a day, for half the price.

A batch is noted in the cache before it is created and again with its id, and is forgotten once its replies are kept. So
a run that ended in between finds its batch again, by its id or by its name at the server, and sends nothing twice.
"""

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import openai
from openai.types import Batch as ServerBatch

from clmeeval_data.errors import ChatError
from clmeeval_data.llm.answers import Answer
from clmeeval_data.llm.cache import Batch
from clmeeval_data.llm.contract import ChatRequest
from clmeeval_data.llm.link import Link
from clmeeval_data.llm.options import without_secrets
from clmeeval_data.llm.parsing import tokens_of

_MOST_REQUESTS = 50_000  # OpenAI's bounds on one batch
_MOST_BYTES = 150 * 2**20
_PAUSE = 5.0  # seconds between two tries to create a batch
_ENDED = ("completed", "expired", "cancelled")
_NAME = "clmeeval"  # the field of a batch's metadata that holds our name of it
_NO_BATCHES = "Leave --batch out if the server has no Batch API."
_GOES_ON = "The batch goes on; the same command fetches its replies."


class Batching:
    """Sends the requests of one call in batches, and waits for them.

    Args:
        link: To the server and the cache.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._place = (link.options.server, link.options.model)

    async def run(self, missing: Mapping[str, ChatRequest]) -> dict[str, Answer]:
        """The answers to all requests, by their keys.

        Raises:
            ChatError: If the server refuses the batch or cannot be reached, or the budget is spent; batches that were
                sent go on, and the next run fetches them.
        """
        try:
            batches = [batch for batch in await self._known() if not missing.keys().isdisjoint(batch.keys)]
            known = {key for batch in batches for key in batch.keys}
            spent, allowed = self._allowed({key: missing[key] for key in missing if key not in known})
            for lines in _files(self._lines(allowed)):
                batches.append(await self._send(lines))
            answers: dict[str, Answer] = {}
            for batch in batches:
                answers |= await self._replies(batch, missing)
        except openai.APIStatusError as error:
            raise self._link.refusal(error, _NO_BATCHES if error.status_code in (404, 405, 501) else "") from None
        except openai.APIConnectionError as error:
            lost = self._link.error(f"no answer: {error.__cause__}", _GOES_ON)
            raise self._link.unreachable(error) or lost from None
        if spent:
            raise spent
        return answers

    async def _known(self) -> list[Batch]:
        """The batches of earlier runs whose replies aren't kept yet."""
        found = []
        for batch in self._link.cache.batches(*self._place):
            number = batch.id or await self._id_of(batch)
            if number is None:
                self._link.cache.forget_batch(batch)
            else:
                found.append(self._noted(batch._replace(id=number)))
        return found

    def _allowed(self, missing: Mapping[str, ChatRequest]) -> tuple[ChatError | None, dict[str, ChatRequest]]:
        """The first requests, as many as the budget surely holds for, and its error where these aren't all."""
        allowed: dict[str, ChatRequest] = {}
        reserved = 0.0
        for key, request in missing.items():
            most = self._link.budget.most(request)
            if not self._link.budget.allows(reserved + most):
                return self._link.budget.spent(most), allowed
            try:
                self._link.budget.count_request()
            except ChatError as spent:
                return spent, allowed
            reserved += most
            allowed[key] = request
        return None, allowed

    def _lines(self, requests: Mapping[str, ChatRequest]) -> Iterator[tuple[str, bytes]]:
        for key, request in requests.items():
            body = self._link.form.dialect.body(self._link.options.model, request)
            line = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
            yield key, json.dumps(line).encode("ascii") + b"\n"

    async def _send(self, lines: Sequence[tuple[str, bytes]]) -> Batch:
        content = b"".join(line for _, line in lines)
        file = await self._link.client.files.create(file=("requests.jsonl", content), purpose="batch")
        batch = self._noted(Batch(uuid.uuid4().hex, None, [key for key, _ in lines]))
        return self._noted(batch._replace(id=await self._created(batch, file.id)))

    async def _created(self, batch: Batch, file: str) -> str:
        """The id of a new batch."""
        once = self._link.client.with_options(max_retries=0)  # a batch whose answer is lost may exist all the same
        for left in reversed(range(self._link.options.retries + 1)):
            try:
                created = await once.batches.create(
                    input_file_id=file,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={_NAME: batch.digest},
                )
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError):
                found = await self._id_of(batch)
                if found:
                    return found
                if not left:
                    raise
                await asyncio.sleep(min(_PAUSE, self._link.options.batch_poll))
            else:
                break
        return created.id

    async def _id_of(self, batch: Batch) -> str | None:
        """The server's id of a batch whose answer was never seen, among the newest hundred."""
        page = await self._link.client.batches.list(limit=100)
        return next((known.id for known in page.data if (known.metadata or {}).get(_NAME) == batch.digest), None)

    def _noted(self, batch: Batch) -> Batch:
        self._link.cache.note_batch(*self._place, batch)
        return batch

    async def _replies(self, batch: Batch, missing: Mapping[str, ChatRequest]) -> dict[str, Answer]:
        """The answers to a batch once it has ended, its replies kept."""
        ended = await self._ended(batch)
        found: dict[str, Answer] = {}
        for file in (ended.output_file_id, ended.error_file_id):
            if file:
                content = (await self._link.client.files.content(file)).content
                found |= self._read(content.decode("utf-8", "replace"))
        paid = {key: answer.body for key, answer in found.items() if answer.body is not None}
        self._link.cache.put(*self._place, paid.items())
        self._link.cache.forget_batch(batch)
        for key in paid.keys() & missing.keys():
            self._link.budget.count_reply(missing[key], tokens_of(paid[key]))
        none = Answer(None, f"no answer: the batch is {ended.status}", False)
        return {key: found.get(key, none) for key in batch.keys if key in missing}

    async def _ended(self, batch: Batch) -> ServerBatch:
        while True:
            try:
                state = await self._link.client.batches.retrieve(str(batch.id))
            except openai.NotFoundError:
                self._link.cache.forget_batch(batch)
                raise self._link.error(
                    f"the batch {batch.id} is unknown", "It is forgotten; the same command sends its requests again."
                ) from None
            if state.status in _ENDED:
                return state
            if state.status == "failed":
                self._link.cache.forget_batch(batch)
                reasons = "; ".join(str(error.message) for error in (state.errors and state.errors.data) or ())
                raise self._link.error(f"the batch {batch.id} failed: {reasons}", _NO_BATCHES)
            await asyncio.sleep(self._link.options.batch_poll)

    def _read(self, content: str) -> dict[str, Answer]:
        """The answers in a file of a batch; lines that are none are passed over."""
        answers = {}
        for line in content.split("\n"):
            try:
                result = json.loads(line)
                key, response = str(result["custom_id"]), result.get("response") or {}
                status, body = response.get("status_code"), json.dumps(response.get("body"))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if status == 200:
                answers[key] = Answer(without_secrets(body, self._link.options, self._link.key), "", False)
            else:
                reason: Any = result.get("error") or response.get("body")
                answers[key] = Answer(None, f"refused: {self._link.shown(json.dumps(reason))}", False)
        return answers


def _files(lines: Iterator[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """The lines in as many files as the server's bounds ask for."""
    file: list[tuple[str, bytes]] = []
    size = 0
    for key, line in lines:
        if file and (len(file) == _MOST_REQUESTS or size + len(line) > _MOST_BYTES):
            yield file
            file, size = [], 0
        file.append((key, line))
        size += len(line)
    if file:
        yield file
