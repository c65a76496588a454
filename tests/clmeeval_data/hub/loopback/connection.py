"""One connection to a Hub on loopback: how requests are read, answers written, and connections cut."""

import json
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote

from tests.clmeeval_data.hub.loopback.repositories import Hub


class RefusalError(Exception):
    def __init__(self, status: int, message: str, code: str = ""):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    disable_nagle_algorithm = True
    hub: Hub
    routes: list

    def log_message(self, *_args):
        pass

    def do_GET(self):
        self.path_only, _, query = self.path.partition("?")
        self.query = {key: values[0] for key, values in parse_qs(query).items()}
        with self.hub.lock:
            fault = self.hub.fault_for(f"{self.command} {self.path_only}")
        self.cut = fault.cut if fault else ""
        if self.cut == "request":
            self.rfile.read(int(self.headers.get("Content-Length") or 2_000) // 2)
            return self.hang_up()
        body = self.read_body()
        if fault and fault.act:
            fault.act()
        if fault and fault.status:
            told = fault.message or "as the test ordered"
            return self.reply(fault.status, {"error": told}, {"X-Error-Code": fault.code} if fault.code else {})
        try:
            with self.hub.lock:
                self.serve(body)
        except RefusalError as refused:
            headers = {"X-Error-Code": refused.code} if refused.code else {}
            self.reply(refused.status, {"error": refused.message}, {**headers, "X-Error-Message": refused.message})
        return None

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - names of http.server

    def read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(2)

    def reply(self, status, content=b"", headers=()):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        if self.cut == "reply":
            return self.hang_up()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        given = {"Content-Type": kind, "Content-Length": str(len(body)), **dict(headers)}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if self.cut == "half" else body)
        return self.hang_up() if self.cut == "half" else None

    def serve(self, body):
        for method, pattern, name in self.routes:
            found = re.fullmatch(pattern, self.path_only)
            if found and self.command in method:
                parts = {key: unquote(value) if value else "" for key, value in found.groupdict().items()}
                if parts.pop("kind", "") == "spaces":
                    parts["name"] = f"spaces/{parts['name']}"
                return getattr(self, name)(body, **parts)
        self.hub.unknown.append(f"{self.command} {self.path}")
        raise RefusalError(404, f"no such thing: {self.command} {self.path}")
