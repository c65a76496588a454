"""Small corpora, a web server with faults, and the real corpora where they are at hand."""

import gzip
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def json_lines(rows: list) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_rows(path: Path, rows: list) -> Path:
    """Rows in the form that the file's name says: .jsonl, .json (an array), .parquet, each also with .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.name.removesuffix(".gz")
    if plain.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    content = json_lines(rows) if plain.endswith(".jsonl") else json.dumps(rows, indent=1).encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@dataclass
class Server:
    """Serves one file under every path, and does one fault per request while there are any left.

    ``tag`` and ``changed`` are the validators that it sends; ``ranges`` is whether it knows ranges.
    """

    content: bytes = b""
    tag: str | None = '"v1"'
    changed: str | None = None
    ranges: bool = True
    claimed: int | None = None
    url: str = ""
    faults: list[Callable[["Handler"], None]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)

    def answer(self, *statuses: int) -> None:
        """The next requests are answered with these statuses and nothing else."""
        self.faults += [lambda handler, status=status: handler.refuse(status) for status in statuses]

    def cut(self, *places: int) -> None:
        """The next answers end at these places of the file."""
        self.faults += [lambda handler, place=place: handler.send(stop=place) for place in places]

    def part(self, sent: tuple[int, int], promised: tuple[int, int]) -> None:
        """The next answer holds these bytes, and says that it holds those."""

        def fault(handler: "Handler") -> None:
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {promised[0]}-{promised[1]}/{len(self.content)}")
            handler.send_header("Content-Length", str(sent[1] - sent[0]))
            handler.end_headers()
            handler.wfile.write(self.content[slice(*sent)])

        self.faults.append(fault)

    def asked(self) -> list[str | None]:
        """The ranges that were asked for."""
        return [request.get("Range") for request in self.requests]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_HTTPServer"

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        state = self.server.state
        state.requests.append({"path": self.path, **dict(self.headers)})
        if state.faults:
            state.faults.pop(0)(self)
        else:
            self.send()

    def refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, stop: int | None = None) -> None:
        state = self.server.state
        start, total = self._start(), len(state.content)
        if start >= total > 0:
            self.refuse(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        for name, value in (("ETag", state.tag), ("Last-Modified", state.changed)):
            if value is not None:
                self.send_header(name, value)
        self.send_header("Content-Length", str(state.claimed or total - start))
        self.end_headers()
        self.wfile.write(state.content[start:stop])
        self.close_connection = self.close_connection or stop is not None or state.claimed is not None

    def _start(self) -> int:
        state, asked = self.server.state, self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, state.tag, state.changed)
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked and same and state.ranges else 0


class _HTTPServer(ThreadingHTTPServer):
    state: Server
    daemon_threads = True


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    with _HTTPServer(("127.0.0.1", 0), Handler) as running:
        running.state = state
        state.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()


@pytest.fixture
def write() -> Callable[..., Path]:
    return write_rows


@pytest.fixture
def pack() -> Callable[..., Path]:
    return write_zip


@pytest.fixture(scope="session")
def corpora(root: Path) -> Path:
    """The folder with the real corpora."""
    folder = root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real corpora are not at {folder.relative_to(root.parent)} beside the checkout")
    return folder
