"""A Hub on loopback, with real sockets: the part of the protocol that publishing and reading a dataset take.

Large files (parquet) go through LFS and are served from another host name, as the Hub does. Faults are ordered with
``hub.fail``. What must never happen is noted: in ``hub.leaks`` a token that reaches the storage host, in
``hub.unknown`` a request that this server does not know.
"""

import base64
import hashlib
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest

DATE = "2026-01-01T00:00:00.000Z"
PART = 8_000  # bytes of one part of an upload in several parts
WRITER, READER = "hf_writerwriterwriter", "hf_readerreaderreader"
ROLES = {WRITER: "write", READER: "read"}
OWNERS = {"clmeeval", "writer"}


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def commit(self, title: str, files: dict[str, bytes]) -> Commit:
        seed = f"{len(self.commits)} {title} {sorted((path, git_oid(body)) for path, body in files.items())}"
        self.commits.append(Commit(hashlib.sha1(seed.encode()).hexdigest(), title, dict(files)))
        return self.head

    def at(self, revision: str) -> Commit | None:
        oid = self.head.oid if revision == "main" else self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit.oid == oid), None)


@dataclass
class Fault:
    """Something that goes wrong with the next requests of a kind: an answer, or a connection that is cut."""

    pattern: str
    status: int
    cut: str
    times: int
    message: str
    code: str
    act: object


class RefusalError(Exception):
    def __init__(self, status: int, message: str, code: str = ""):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


def git_oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith(".parquet")


class Hub:
    """What the server holds, for tests to look at and to change."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.leaks: list[str] = []
        self.unknown: list[str] = []
        self.hit: list[str] = []
        self.in_parts = False
        self.xet: Path | None = None
        self.xet_hashes: dict[str, str] = {}
        self.lock = threading.RLock()
        self.url = self.storage = ""

    def fail(self, pattern, status=0, cut="", times=1, message="", code="", act=None):
        """Let the next requests whose "METHOD path" the pattern matches go wrong.

        ``cut``: "request" reads half of what is sent, "reply" does what is asked and says nothing, "half" sends half of
        the answer. ``act`` is called before the request is served, as somebody else would who comes in between.
        """
        self.faults.append(Fault(pattern, status, cut, times, message, code, act))

    def create(self, name, files=None, private=False):
        self.repos[name] = Repo(private)
        self.repos[name].commit("initial commit", {".gitattributes": b"*.parquet filter=lfs\n", **(files or {})})
        return self.repos[name]

    def announce_xet(self, body, xet_hash):
        """Let the Hub know a large file whose bytes the client keeps in the store at ``xet``."""
        self.blobs[sha256(body)] = body
        self.xet_hashes[sha256(body)] = xet_hash

    def fault_for(self, line):
        with self.lock:
            self.asked.append(line)
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, line):
                    fault.times -= 1
                    self.hit.append(fault.pattern)
                    return fault
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    disable_nagle_algorithm = True
    hub: Hub

    def log_message(self, *_args):
        pass

    def do_GET(self):
        self.path_only, _, query = self.path.partition("?")
        self.query = {key: values[0] for key, values in parse_qs(query).items()}
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
        for method, pattern, name in ROUTES:
            found = re.fullmatch(pattern, self.path_only)
            if found and self.command in method:
                parts = {key: unquote(value) if value else "" for key, value in found.groupdict().items()}
                return getattr(self, name)(body, **parts)
        self.hub.unknown.append(f"{self.command} {self.path}")
        raise RefusalError(404, f"no such thing: {self.command} {self.path}")

    # who may do what

    def role(self):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in ROLES:
            raise RefusalError(401, "Invalid credentials in Authorization header")
        return ROLES.get(token, "")

    def repo(self, name, writing=False) -> Repo:
        role, repo = self.role(), self.hub.repos.get(name)
        if repo is None or (repo.private and role != "write"):
            raise RefusalError(404 if role else 401, "Repository not found", "RepoNotFound")
        if writing:
            self.may_write(role, name)
        return repo

    def may_write(self, role, name):
        if not role:
            raise RefusalError(401, "Invalid username or password.")
        if role != "write" or name.partition("/")[0] not in OWNERS:
            raise RefusalError(403, f"You don't have the rights to write under the namespace {name.partition('/')[0]}")

    def commit_of(self, name, rev) -> Commit:
        found = self.repo(name).at(rev or "main")
        if found is None:
            raise RefusalError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        return found

    # repositories

    def create(self, body):
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        self.may_write(self.role(), name)
        if name in self.hub.repos:
            url = f"{self.hub.url}/datasets/{name}"
            return self.reply(409, {"error": "You already created this dataset repo", "id": name, "url": url})
        self.hub.create(name, private=asked.get("visibility") == "private")
        return self.reply(200, {"url": f"{self.hub.url}/datasets/{name}", "id": name, "name": name})

    def validate(self, body):
        has_yaml = json.loads(body)["content"].startswith("---\n")
        self.reply(200 if has_yaml else 400, {"errors": [] if has_yaml else [{"message": "no YAML"}], "warnings": []})

    def info(self, _body, name, rev=""):
        commit = self.commit_of(name, rev)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        plain = {"gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [], "lastModified": DATE}
        shown = {"_id": "1", "id": name, "author": name.partition("/")[0], "sha": commit.oid, "siblings": siblings}
        self.reply(200, {**plain, **shown, "private": self.repo(name).private})

    def refs(self, _body, name):
        repo = self.repo(name)
        branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head.oid}
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repo.tags.items()]
        self.reply(200, {"branches": [branch], "tags": tags, "converts": []})

    def tag(self, body, name, rev):
        repo, tag = self.repo(name, writing=True), json.loads(body)["tag"]
        commit = self.commit_of(name, rev)
        if tag in repo.tags:
            raise RefusalError(409, f"Tag reference exists already: {tag}")
        repo.tags[tag] = commit.oid
        self.reply(200, {})

    # files

    def entry(self, commit, path):
        body = commit.files[path]
        shown = {"type": "file", "path": path, "size": len(body), "oid": git_oid(body)}
        if is_large(path):
            shown["oid"] = git_oid(b"pointer " + sha256(body).encode())
            shown["lfs"] = {"oid": sha256(body), "size": len(body), "pointerSize": 134}
        return {**shown, "lastCommit": {"id": commit.oid, "title": commit.title, "date": DATE}}

    def folder(self, path):
        return {"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode())}

    def tree(self, _body, name, rev, path=""):
        commit, prefix = self.commit_of(name, rev), f"{path}/" if path else ""
        below = [file for file in sorted(commit.files) if file.startswith(prefix)]
        if path and not below:
            raise RefusalError(404, f"{path} does not exist on {rev}", "EntryNotFound")
        folders = {str(parent) for file in below for parent in Path(file).parents} - {"."}
        deep = self.query.get("recursive", "").lower() in ("1", "true")
        inside = [item for item in (*sorted(folders), *below) if item.startswith(prefix) and item != path]
        shown = [item for item in inside if deep or "/" not in item.removeprefix(prefix)]
        self.reply(200, [self.entry(commit, item) if item in below else self.folder(item) for item in shown])

    def paths_info(self, body, name, rev):
        commit, found = self.commit_of(name, rev), []
        for path in parse_qs(body.decode()).get("paths", []):
            if path in commit.files:
                found.append(self.entry(commit, path))
            elif any(file.startswith(f"{path}/") for file in commit.files):
                found.append(self.folder(path))
        self.reply(200, found)

    def resolve(self, _body, name, rev, path):
        commit = self.commit_of(name, rev)
        if path not in commit.files:
            raise RefusalError(404, f"{path} does not exist on {rev}", "EntryNotFound")
        body = commit.files[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{git_oid(body)}"', "Accept-Ranges": "bytes"}
        if is_large(path):
            self.hub.blobs[sha256(body)] = body
            linked = {"X-Linked-Size": str(len(body)), "X-Linked-ETag": f'"{sha256(body)}"'}
            if sha256(body) in self.hub.xet_hashes:
                token = f'<{self.hub.url}/api/datasets/{name}/xet-read-token/{rev}>; rel="xet-auth"'
                linked |= {"X-Xet-Hash": self.hub.xet_hashes[sha256(body)], "Link": token}
            return self.reply(302, b"", {**headers, **linked, "Location": f"{self.hub.storage}/blob/{sha256(body)}"})
        return self.ranged(body, headers)

    def blob(self, _body, oid):
        self.note_leak()
        self.ranged(self.hub.blobs[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def ranged(self, body, headers):
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not found:
            return self.reply(200, body, headers)
        start, end = int(found[1]), min(int(found[2] or len(body) - 1), len(body) - 1)
        if start >= len(body):
            return self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        wanted = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
        return self.reply(206, body[start : end + 1], {**headers, **wanted})

    # uploads

    def preupload(self, body, name, rev):
        held = self.repo(name, writing=True) and self.commit_of(name, rev).files
        answers = []
        for item in json.loads(body)["files"]:
            path = item["path"]
            oid = held.get(path) and (sha256(held[path]) if is_large(path) else git_oid(held[path]))
            mode = "lfs" if is_large(path) else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.reply(200, {"files": answers})

    def batch(self, body, name):
        self.repo(name, writing=True)
        objects = []
        for item in json.loads(body)["objects"]:
            oid, size = item["oid"], item["size"]
            shown = {"oid": oid, "size": size}
            if oid not in self.hub.blobs:
                upload = {"href": f"{self.hub.storage}/lfs/{oid}"}
                if self.hub.in_parts:
                    count = -(-size // PART)
                    urls = {f"{part:05}": f"{self.hub.storage}/lfs/{oid}/{part}" for part in range(1, count + 1)}
                    upload = {"href": f"{self.hub.url}/complete/{oid}", "header": {"chunk_size": str(PART), **urls}}
                shown["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/verify"}}
            objects.append(shown)
        self.reply(200, {"transfer": "multipart" if self.hub.in_parts else "basic", "objects": objects})

    def xet_token(self, _body, name, rev):
        self.commit_of(name, rev)
        given = {"casUrl": f"local://{self.hub.xet}", "accessToken": "none", "exp": 4_102_444_800}
        names = ("X-Xet-Cas-Url", "X-Xet-Access-Token", "X-Xet-Token-Expiration")
        self.reply(200, given, dict(zip(names, map(str, given.values()), strict=True)))

    def put(self, body, oid, part=""):
        self.note_leak()
        if part:
            self.hub.parts.setdefault(oid, {})[int(part)] = body
            return self.reply(200, b"", {"ETag": f'"{part}"'})
        return self.store(oid, body)

    def complete(self, body, oid):
        numbers = [part["partNumber"] for part in json.loads(body)["parts"]]
        return self.store(oid, b"".join(self.hub.parts[oid][number] for number in numbers))

    def store(self, oid, body):
        if sha256(body) != oid:
            raise RefusalError(400, "the content is not what was announced")
        self.hub.blobs[oid] = body
        return self.reply(200, {})

    def verify(self, body):
        asked = json.loads(body)
        self.reply(200 if len(self.hub.blobs.get(asked["oid"], b"")) == asked["size"] else 404, {})

    def commit(self, body, name, rev):
        repo, lines = self.repo(name, writing=True), [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit", repo.head.oid) != repo.head.oid:
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.head.files)
        for item in lines[1:]:
            value = item["value"]
            match item["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.hub.blobs:
                        raise RefusalError(400, "LFS pointer pointed to a file that does not exist")
                    files[value["path"]] = self.hub.blobs[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        made = repo.commit(header["summary"], files)
        url = f"{self.hub.url}/datasets/{name}/commit/{made.oid}"
        self.reply(200, {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})

    def note_leak(self):
        if self.headers.get("Authorization"):
            self.hub.leaks.append(f"{self.command} {self.path}")


NAME, REV = r"(?P<name>[^/]+/[^/]+)", r"(?P<rev>[^/]+)"
ROUTES = [
    ("POST", "/api/repos/create", "create"),
    ("POST", "/api/validate-yaml", "validate"),
    ("GET", rf"/api/datasets/{NAME}", "info"),
    ("GET", rf"/api/datasets/{NAME}/revision/{REV}", "info"),
    ("GET", rf"/api/datasets/{NAME}/refs", "refs"),
    ("GET", rf"/api/datasets/{NAME}/tree/{REV}(?:/(?P<path>.+))?", "tree"),
    ("POST", rf"/api/datasets/{NAME}/paths-info/{REV}", "paths_info"),
    ("POST", rf"/api/datasets/{NAME}/preupload/{REV}", "preupload"),
    ("GET", rf"/api/datasets/{NAME}/xet-(?:read|write)-token/{REV}", "xet_token"),
    ("POST", rf"/api/datasets/{NAME}/commit/{REV}", "commit"),
    ("POST", rf"/api/datasets/{NAME}/tag/{REV}", "tag"),
    ("POST", rf"/datasets/{NAME}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?", "put"),
    ("POST", r"/complete/(?P<oid>[0-9a-f]{64})", "complete"),
    ("POST", "/verify", "verify"),
    (("GET", "HEAD"), rf"/datasets/{NAME}/resolve/{REV}/(?P<path>.+)", "resolve"),
    (("GET", "HEAD"), r"/blob/(?P<oid>[0-9a-f]{64})", "blob"),
]


@contextmanager
def serving():
    """A Hub that answers on a free port of loopback until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.storage = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on loopback, and this process's client set up for it: online, with no token, and quick to try again."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    pause = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(min(seconds, 0.01)))
    with serving() as running:
        yield running
        close_session()
    assert running.leaks == running.unknown == []


@pytest.fixture
def served():
    """A Hub on loopback for clients in processes of their own."""
    with serving() as running:
        yield running
    assert running.leaks == running.unknown == []


@pytest.fixture(scope="session")
def writer():
    """A token with write access to what clmeeval owns."""
    return WRITER


@pytest.fixture(scope="session")
def reader():
    """A token without write access."""
    return READER
