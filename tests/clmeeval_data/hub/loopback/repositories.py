"""What a Hub on loopback holds: repositories with their commits and tags, and the large files beside them."""

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.clmeeval_data.hub.loopback.faults import Faults

DATE = "2026-01-01T00:00:00.000Z"
WRITER, READER = "hf_writerwriterwriter", "hf_readerreaderreader"
ROLES = {WRITER: "write", READER: "read"}
OWNERS = {"clmeeval", "writer"}
NEW_DATASET = {".gitattributes": b"*.parquet filter=lfs\n"}
NEW_SPACE = {  # what the Hub puts into a new Space of static pages
    ".gitattributes": b"*.parquet filter=lfs\n",
    "README.md": b"---\ntitle: New\nsdk: static\n---\n",
    "index.html": b"<h1>Welcome to your static Space!</h1>\n",
    "style.css": b"body {}\n",
}


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


def git_oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith(".parquet")


class Hub(Faults):
    """What the server holds, for tests to look at and to change. The names of Spaces begin with ``spaces/``.

    What must never happen is noted: in ``leaks`` a token that reaches the storage host, in ``unknown`` a request that
    the server does not know.
    """

    def __init__(self):
        super().__init__()
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.leaks: list[str] = []
        self.unknown: list[str] = []
        self.in_parts = False
        self.xet: Path | None = None
        self.xet_hashes: dict[str, str] = {}
        self.lock = threading.RLock()
        self.url = self.storage = ""

    def create(self, name, files=None, private=False):
        self.repos[name] = Repo(private)
        first = NEW_SPACE if name.startswith("spaces/") else NEW_DATASET
        self.repos[name].commit("initial commit", {**first, **(files or {})})
        return self.repos[name]

    def announce_xet(self, body, xet_hash):
        """Let the Hub know a large file whose bytes the client keeps in the store at ``xet``."""
        self.blobs[sha256(body)] = body
        self.xet_hashes[sha256(body)] = xet_hash
