"""The HTTP connection to a chat server: counts what is sent, keeps a deadline, and stops answers without an end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import openai

from clmeeval_data.llm.options import LlmOptions

COMPLETIONS = "/chat/completions"
_LONGEST = 4 * 2**20  # bytes of a completion that are read; the longest real ones take a few hundred thousand
_FOREIGN_HEADERS: Any = {  # what the library reads from the environment is for its own server
    "OpenAI-Organization": openai.Omit(),
    "OpenAI-Project": openai.Omit(),
}
_FILE_SECONDS = 600.0  # for a batch's requests and replies


class Closing(Exception):  # noqa: N818 - not an error: the run is ending
    """No further request is sent, because the run is ending."""


class Wire(openai.DefaultAsyncHttpxClient):
    """An HTTP client that sends requests for completions one by one through ``before_each``.

    Redirects aren't followed: a key is sent to the server that it was given for and to no other.

    Args:
        options: The server and the deadline.
        before_each: Called before each request for a completion is sent; what it raises, stops that request.
    """

    def __init__(self, options: LlmOptions, before_each: Callable[[], None]) -> None:
        super().__init__(
            auth=options.credentials,
            timeout=options.timeout,
            follow_redirects=False,
            trust_env=not options.on_loopback,  # a proxy cannot reach this machine's loopback
            verify=not (options.on_loopback and options.server.startswith("http:")),  # certificates take long to load
            event_hooks={"response": [_shorten]},
        )
        self._options = options
        self._before_each = before_each
        self.in_flight = 0
        self.closing = False

    async def send(self, request: httpx2.Request, **how: Any) -> httpx2.Response:
        """Send a request and read its whole answer."""
        if self.closing:
            raise Closing
        seconds = _FILE_SECONDS
        if request.url.path.endswith(COMPLETIONS):
            self._before_each()
            seconds = self._options.timeout
        self.in_flight += 1
        try:
            async with asyncio.timeout(seconds):
                return await super().send(request, **how)
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no whole answer within {seconds:g} s", request=request) from None
        finally:
            self.in_flight -= 1


def connect(options: LlmOptions, key: str, before_each: Callable[[], None]) -> tuple[openai.AsyncOpenAI, Wire]:
    """A client of the server and its connection; closing the client closes both."""
    wire = Wire(options, before_each)
    client = openai.AsyncOpenAI(
        base_url=options.server,
        api_key=key,
        default_headers=None if options.host == "api.openai.com" else _FOREIGN_HEADERS,
        timeout=options.timeout,
        max_retries=options.retries,
        http_client=wire,
    )
    return client, wire


class _Shortened(httpx2.AsyncByteStream):
    """An answer up to the longest length that is read."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            yield chunk
            size += len(chunk)
            if size > _LONGEST:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _shorten(response: httpx2.Response) -> None:
    if response.request.url.path.endswith(COMPLETIONS) and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Shortened(response.stream)
