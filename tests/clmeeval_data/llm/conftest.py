"""A scripted chat server on loopback, with real sockets, and a client of it."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from clmeeval_data.llm import ChatClient, ChatRequest, LlmOptions

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["text"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Say:
    """One answer: its status, body and headers, seconds before it, and whether the connection is cut in its middle."""

    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    wait: float = 0.0
    cut: bool = False
    trickle: bool = False


def completion(content, *, finish="stop", usage=(100, 10), **message) -> bytes:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return json.dumps(body).encode()


def reply(content='{"text": "fine"}', *, wait=0.0, **rest) -> Say:
    return Say(body=completion(content, **rest), wait=wait)


def failure(status, message="something is wrong", retry_after=None) -> Say:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Say(status, json.dumps({"error": {"message": message}}).encode(), headers)


def cut() -> Say:
    return Say(body=completion("half of it"), cut=True)


class Scripted:
    """The server: answers as its script says, given a request's body and which of the same user text it is, from 0."""

    def __init__(self, script: Callable[[dict, int], Say]) -> None:
        self.script = script
        self.asked: list[dict] = []
        self.headers: list[Message] = []
        self.paths: list[str] = []
        self.counts: Counter[str] = Counter()
        self.now = self.most_at_once = 0
        self.other: Callable[[str, str, bytes], Say | None] = lambda method, path, body: None
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"scripted": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @contextmanager
    def counted(self, body: dict, headers: Message, path: str) -> Iterator[int]:
        user = body["messages"][-1]["content"]
        with self._lock:
            self.asked.append(body)
            self.headers.append(headers)
            self.paths.append(path)
            attempt = self.counts[user]
            self.counts[user] += 1
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        try:
            yield attempt
        finally:
            with self._lock:
                self.now -= 1

    def requests_until(self, count: int) -> None:
        """Wait until so many requests have come."""
        end = time.monotonic() + 60
        while len(self.asked) < count:
            assert time.monotonic() < end, f"only {len(self.asked)} of {count} requests came"
            time.sleep(0.005)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    wbufsize = -1  # one packet per answer
    disable_nagle_algorithm = True
    scripted: Scripted

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = self.scripted.other("POST", self.path, content)
        if said is None:
            body = json.loads(content)
            with self.scripted.counted(body, self.headers, self.path) as attempt:
                said = self.scripted.script(body, attempt)
                time.sleep(said.wait)
        self._say(said)

    def do_GET(self) -> None:
        self._say(self.scripted.other("GET", self.path, b"") or Say(404, b"{}"))

    def _say(self, said: Say) -> None:
        with suppress(ConnectionError):
            self.send_response(said.status)
            for name, value in {"Content-Type": "application/json", **said.headers}.items():
                self.send_header(name, value)
            if said.trickle:
                self._trickle()
                return
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body[: len(said.body) // 2] if said.cut else said.body)
            self.wfile.flush()
        self.close_connection = self.close_connection or said.cut

    def _trickle(self) -> None:
        """Spaces, which JSON allows before a value, without an end."""
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"1\r\n \r\n")
            self.wfile.flush()
            time.sleep(0.01)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., Scripted]]:
    """Start a server: serve(script), or serve(answer, ...) for what each request hears in turn."""
    running = []

    def start(*answers) -> Scripted:
        script = answers[0] if callable(answers[0]) else lambda body, attempt: answers[min(attempt, len(answers) - 1)]
        running.append(Scripted(script))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def say() -> SimpleNamespace:
    """The ways to answer."""
    return SimpleNamespace(reply=reply, failure=failure, cut=cut, Say=Say, completion=completion)


@pytest.fixture
def questions() -> Callable[..., list[ChatRequest]]:
    """Different requests."""
    return lambda count: [ChatRequest("Rephrase.", f"question {number}", SCHEMA) for number in range(count)]


@pytest.fixture
def options(tmp_path) -> Callable[..., LlmOptions]:
    """Options for a server, with a cache of the test's own."""

    def make(server, **rest) -> LlmOptions:
        return LlmOptions(**{"base_url": server.url, "model": "tiny", "cache": tmp_path / "cache", **rest})

    return make


@pytest.fixture
def client(options) -> Callable[..., ChatClient]:
    """A client of a server."""
    return lambda server, **rest: ChatClient(options(server, **rest))


@pytest.fixture(autouse=True)
def quick_and_without_keys(monkeypatch) -> None:
    """No key of this machine's user is sent, and the library's first pause is short."""
    for name in ("CLMEEVAL_LLM_API_KEY", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
