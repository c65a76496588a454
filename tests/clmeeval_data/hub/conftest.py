"""A Hub on loopback for tests, and this process's client set up for it."""

import json
import time

import pytest

from clmeeval_data.records import CNLE
from clmeeval_data.storage import write_dataset
from tests.clmeeval_data.hub.loopback.fresh_process import READ, in_fresh_process
from tests.clmeeval_data.hub.loopback.repositories import READER, WRITER
from tests.clmeeval_data.hub.loopback.server import serving


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on loopback, and this process's client set up for it: online, no token, a cache of its own, no pauses."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
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


@pytest.fixture
def results(tmp_path):
    """An empty results folder."""
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def write_run(results):
    """A function that writes a run: with cases of some numbers, the last ones failed; incomplete with a total above."""
    from clmeeval_data.evaluation.results import RunFolder, RunIdentity
    from clmeeval_data.evaluation.scoring.metrics import ngram_entropy, text_scores
    from clmeeval_data.evaluation.scoring.signature import signature
    from clmeeval_data.evaluation.scoring.summary import summarise

    def entry(method, number, fails):
        case = {"prompt": f"sort {number}", "rephrased_prompt": "order", "target": f"sorted(rows, key=len)[{number}]"}
        case["neighbour_prompts"] = ["print the working directory"]
        if fails:
            return {"id": f"case-{number}", "error": {"type": "CaseError", "message": "none"}, "case": case}
        after = case["target"] if (number + len(method)) % 2 else f"print(rows, end='{method}')"
        return {
            "id": f"case-{number}",
            "error": None,
            "case": case,
            "outputs": {
                "effectiveness": {"before": "pass", "after": after},
                "generalisation": {"before": "pass", "after": after},
                "specificity": [{"before": "import os", "after": "import os"}],
                "fluency": {"after": "a b c d"},
            },
            "scores": {
                "effectiveness": text_scores(after, case["target"], code=True),
                "generalisation": text_scores(after, case["target"], code=True),
                "specificity": {**text_scores("import os", "import os", code=False), "exact_match_all": 1.0},
                "fluency": {"ngram_entropy": ngram_entropy("a b c d")},
            },
            "cost": {"edit_seconds": 0.5 + number, "peak_bytes": 1_000_000, "batch_size": 1},
        }

    def write(method, numbers, total=None, dataset="cnle", config=None, failed=0, under=results):
        entries = [entry(method, number, number >= len(numbers) - failed) for number in numbers]
        total = len(entries) if total is None else total
        identity = RunIdentity(
            dataset={"name": dataset, "split": "test", "schema": 1, "n": total, "cases": "ab12cd34"},
            model={"name": "tiny", "fingerprint": "0123456789", "dtype": "float32"},
            method={"name": method, "config": config or {}},
            decoding={"strategy": "greedy"},
            seed=0,
        )
        folder = RunFolder(under / identity.folder)
        folder.open(identity, {"versions": {"clmeeval-data": "0.1.0"}, "device": "cpu"})
        folder.journal.append(entries)
        if len(entries) == total:
            folder.finish({"hash": identity.hash, **summarise(entries, total), "signature": signature(folder.run())})
        return folder

    return write


@pytest.fixture
def client(served, tmp_path):
    """Run Python in a fresh process that knows the Hub on loopback, with caches of its own that are empty."""

    def client(code, *arguments, token="", xet=False, endpoint=None):
        return in_fresh_process(tmp_path / "homes", endpoint or served.url, code, *arguments, token=token, xet=xet)

    return client


@pytest.fixture
def read(client):
    """What ``load_dataset`` gives to each of some calls, in one fresh process."""

    def read(endpoint=None, **calls):
        done = client(READ, calls, endpoint=endpoint)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return read


@pytest.fixture
def releases(served, cnle_folder, cnle_splits, tmp_path):
    """A dataset on the Hub, tagged v1, whose newest commit has a test case less and further answers: both commits."""

    def files_of(folder):
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    newer = tmp_path / "newer"
    write_dataset(newer, CNLE, {**cnle_splits, "test": cnle_splits["test"][:2]}, {})
    repo = served.create("clmeeval/cnle", {**files_of(cnle_folder), "answers-old/manifest.json": b"{}"})
    repo.tags["v1"] = old = repo.head.oid
    repo.commit("second release", {**repo.head.files, **files_of(newer), "answers-new/manifest.json": b"{}"})
    return old, repo.head.oid
