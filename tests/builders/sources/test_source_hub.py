"""Corpora on the Hub, against a small server on loopback that speaks as much of it as reading takes.

The client reads its settings on import, so it runs in a process of its own.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "a" * 40
ROWS = [
    {
        "repository_name": "owner/project",
        "func_path_in_repository": "a.py",
        "func_name": f"f{number}",
        "whole_func_string": f'def f{number}():\n    """Return {number}."""\n    return {number}',
        "func_documentation_string": f"Return {number}.",
        "func_code_url": f"https://github.com/owner/project/blob/c0ffee/a.py#L{number}",
    }
    for number in range(6)
]
READ = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from clmeeval_data.builders.sources import SourceOptions, open_source, read
from clmeeval_data.errors import ClmeevalError
spec, offline, cache = sys.argv[1:]
try:
    options = SourceOptions(offline=offline == "offline", cache=Path(cache) if cache else None)
    source = open_source(spec, "csne", options)
    print(json.dumps({"pairs": [asdict(pair) for pair in read(source)], "files": [asdict(f) for f in source.files()]}))
except ClmeevalError as error:
    print(json.dumps({"error": str(error)}))
"""


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    asked: list[str]
    commits: list[str]

    def log_message(self, *_args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if path in ("/api/datasets/owner/name", "/api/datasets/owner/name/revision/v1"):
            siblings = [{"rfilename": name} for name in (*self.files, "README.md", "java/train-00000-of-00001.parquet")]
            body = json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
            self.reply(200, body.encode(), {"Content-Type": "application/json"})
        elif found := re.fullmatch(r"/datasets/owner/name/resolve/(?:v1|main)/(.*)", path):
            content = self.files[found[1]]
            commit = self.commits.pop(0) if len(self.commits) > 1 else self.commits[0]
            digest = hashlib.sha256(content).hexdigest()
            self.reply(200, content, {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "X-Linked-ETag": f'"{digest}"'})
        elif path.startswith("/api/datasets/owner/name/revision/"):
            self.reply(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id: v9"})
        else:
            self.reply(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def reply(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(tmp_path, write):
    """Reads a source in a process of its own; gives what it printed."""
    names = (
        "python/test-00000-of-00001.parquet",
        "python/train-00000-of-00002.parquet",
        "python/train-00001-of-00002.parquet",
    )
    files = {
        name: write(tmp_path / "served" / name, ROWS[2 * place : 2 * place + 2]).read_bytes()
        for place, name in enumerate(names)
    }
    handler = type("Handler", (Hub,), {"files": files, "asked": [], "commits": [COMMIT]})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": f"http://127.0.0.1:{running.server_port}",
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }

        def call(spec, offline="", cache=""):
            command = [sys.executable, "-c", READ, spec, offline, cache]
            done = subprocess.run(
                command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
            )
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        call.asked, call.served = handler.asked, files
        call.moves_on = lambda: handler.commits.extend(["b" * 40] * 9)
        yield call
        running.shutdown()
        thread.join()


def test_the_files_of_one_commit_are_read_and_then_kept(hub, tmp_path):
    found = hub("codesearchnet=owner/name@v1")
    assert [pair["func_name"] for pair in found["pairs"]] == [f"f{number}" for number in range(6)]
    assert found["pairs"][3]["prompt"] == "def f3():\n    return 3"
    assert found["pairs"][3]["target"] == "Return 3."
    assert found["pairs"][3]["provenance"] == {
        "source": "codesearchnet",
        "origin": ROWS[3]["func_code_url"],
        "group": "owner/project",
        "licence": "LicenseRef-unknown",
    }
    described = [(file["address"], file["revision"], file["sha256"]) for file in found["files"]]
    assert described == [
        (f"hf://datasets/owner/name/{name}", COMMIT, hashlib.sha256(content).hexdigest())
        for name, content in hub.served.items()
    ]
    assert not [line for line in hub.asked if "java" in line or "README" in line]

    hub.asked.clear()
    assert hub("codesearchnet=owner/name@v1", "offline") == found
    assert hub(f"codesearchnet=owner/name@{COMMIT}", "offline") == found
    error = hub("codesearchnet=owner/name", "offline")["error"]
    assert error.startswith("owner/name is not on this machine, and nothing is downloaded offline: ")
    assert hub.asked == []


def test_a_commit_that_changes_meanwhile_is_an_error(hub):
    hub.moves_on()
    assert hub("codesearchnet=owner/name") == {
        "error": "owner/name has changed on the Hub while it was read. Run the command again."
    }


def test_a_cache_of_its_own_is_used(hub, tmp_path):
    assert len(hub("codesearchnet=owner/name", cache=str(tmp_path / "mine"))["pairs"]) == 6
    assert (tmp_path / "mine" / "hub").is_dir()
    assert not list((tmp_path / "home").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("codesearchnet=owner/other", "owner/other cannot be read on the Hub: "),
        ("codesearchnet=owner/name@v9", "owner/name@v9 cannot be read on the Hub: "),
        ("codesearchnet=https://huggingface.co/datasets/owner/other", "owner/other cannot be read on the Hub: "),
    ],
)
def test_what_is_not_there_is_one_line(hub, spec, message):
    error = hub(spec)["error"]
    assert error.startswith(message)
    assert error.endswith("Check the id, the revision and the network, or give the path of a copy.")
    assert "\n" not in error
