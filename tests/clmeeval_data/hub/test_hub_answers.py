"""Answers of a model through a Hub on loopback: published beside the dataset, loaded, and found by an evaluation."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from clmeeval_data.answers import read_manifest, read_rows
from clmeeval_data.evaluation.answers_dataset import AnswersPlan, make_answers
from clmeeval_data.hub.configurations import configurations_of
from clmeeval_data.storage import parquet_path
from tests.clmeeval_data.hub.loopback.fresh_process import LEAVE
from tests.evaluation.conftest import make_lm, sample_rows, save_model, tokenizer  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[3]
# runs each command line in turn
COMMANDS = """
import json, sys
from clmeeval_data import commands
for words in json.loads(sys.argv[1]):
    sys.argv = ["clmeeval-build", *words]
    try:
        commands.main()
    except SystemExit as ended:
        print("exit", ended.code, flush=True)
"""
LOAD = (
    """
import json, sys
from datasets import load_dataset
loaded = load_dataset("clmeeval/cnle", "answers-tiny")
whole = load_dataset("clmeeval/cnle", split="test")
json.dump([{name: list(rows) for name, rows in loaded.items()}, len(whole)], sys.stdout)
"""
    + LEAVE
)
EVALUATE = """
import sys
from clmeeval_data.evaluation.cli import main
sys.argv = ["clmeeval-evaluate", "run", "--method", "none", *sys.argv[1:]]
main()
"""
FIND = """
import json, sys
from clmeeval_data.errors import DatasetError
from clmeeval_data.hub.configurations import configurations_of
found = {}
for repo in json.loads(sys.argv[1]):
    items = list(configurations_of(repo, "answers-"))
    found[repo] = {item.name: item.manifest for item in items}
    for item in items:
        try:
            found[repo]["file"] = item.file("data/test-00000-of-00001.parquet").stat().st_size
        except DatasetError as error:
            found[repo]["file"] = str(error)
json.dump(found, sys.stdout)
"""


@pytest.fixture
def client(served, tmp_path):
    """Run Python in a fresh process that knows the Hub on loopback, with caches of its own that are empty."""

    def client(code, *arguments, token="", offline=False):
        home = tmp_path / "homes" / uuid.uuid4().hex
        home.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
        hub = {"HF_ENDPOINT": served.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT)}
        environment = {**kept, **hub, **({"HF_TOKEN": token} if token else {}), "HF_HUB_OFFLINE": str(int(offline))}
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, check=True, timeout=200
        )

    return client


@pytest.fixture
def answers(cnle_folder, tmp_path, save_model):  # noqa: F811 - a fixture
    """The answers of a tiny model to the test split, and where the model is."""
    return make_answers(AnswersPlan(cnle_folder, str(save_model(tmp_path / "tiny")), ("test",))).out


def result(folder):
    (path,) = folder.glob("*/*/none--*")
    entries = map(json.loads, (path / "records.jsonl").read_text(encoding="utf-8").splitlines())
    kept = [{key: value for key, value in entry.items() if key not in {"cost", "details"}} for entry in entries]
    return kept, json.loads((path / "run.json").read_text(encoding="utf-8"))["environment"]["unedited_answers"]


@pytest.mark.slow
def test_published_answers_are_loaded_and_used(client, served, cnle_folder, answers, writer, tmp_path):
    to_cnle = ("--repo", "clmeeval/cnle")
    published = client(
        COMMANDS,
        json.dumps(
            [
                ["publish", str(cnle_folder), *to_cnle],
                ["publish", str(answers), *to_cnle, "--config", "answers-tiny"],
                ["publish", str(answers), *to_cnle, "--config", "answers-tiny"],
            ]
        ),
        token=writer,
    )
    assert [line for line in published.stdout.splitlines() if line.startswith("exit")] == ["exit 0"] * 3, published
    head = served.repos["clmeeval/cnle"].head
    assert len(served.repos["clmeeval/cnle"].commits) == 3
    assert f"clmeeval/cnle: unchanged, at commit {head.oid}" in published.stdout

    loaded, count = json.loads(client(LOAD).stdout)
    assert loaded == {"test": [row.to_row() for row in read_rows(parquet_path(answers, "test"))]}
    assert count == 3

    words = ("--model", str(tmp_path / "tiny"), "--dataset")
    client(EVALUATE, *words, "clmeeval/cnle", "--out", str(tmp_path / "hub"))
    away = answers.rename(tmp_path / "away")
    client(EVALUATE, *words, str(cnle_folder), "--out", str(tmp_path / "local"), offline=True)
    away.rename(answers)
    found, origin = result(tmp_path / "hub")
    computed, nowhere = result(tmp_path / "local")
    assert found == computed
    assert len(found) == 3
    assert origin == {"cases": 3, "published": 3, "from": [f"clmeeval/cnle@{head.oid[:12]}/answers-tiny"]}
    assert nowhere == {"cases": 3, "published": 0, "from": []}
    (taken,) = (tmp_path / "hub").rglob("answers.jsonl")
    assert [json.loads(line)["from"] for line in taken.read_text(encoding="utf-8").splitlines()] == origin["from"] * 3


def test_configurations_are_found_and_a_hub_that_fails_has_none(client, served, answers, writer):
    files = {f"answers-tiny/{path.relative_to(answers)}": path.read_bytes() for path in answers.rglob("*.*")}
    others = {"sample/manifest.json": b"{}", "answers-x/deep/manifest.json": b"{}", "answers-y/manifest.json": b"["}
    repos = {name: f"clmeeval/{name}" for name in ("whole", "fails", "cut", "private", "damaged")}
    for repo in repos.values():
        served.create(repo, {**files, **others})
    served.repos[repos["private"]].private = True
    served.fail(rf"GET /api/datasets/{repos['fails']}", status=500, times=99)
    served.fail(rf"GET /api/datasets/{repos['cut']}", cut="reply", times=99)
    served.fail(rf".* /datasets/{repos['damaged']}/resolve/.*parquet", status=403, times=99)
    done = client(FIND, json.dumps([*repos.values(), "clmeeval/none"]))
    found = json.loads(done.stdout)
    manifest = json.loads((answers / "manifest.json").read_bytes())
    size = parquet_path(answers, "test").stat().st_size
    assert found[repos["whole"]] == {"answers-tiny": manifest, "file": size}
    assert [found[repos[name]] for name in ("fails", "cut", "private")] == [{}, {}, {}]
    assert found["clmeeval/none"] == {}
    assert found[repos["damaged"]]["answers-tiny"] == manifest
    assert "cannot be downloaded: " in found[repos["damaged"]]["file"]
    assert done.stderr.strip() == ""
    assert json.loads(client(FIND, json.dumps([repos["whole"]]), offline=True).stdout) == {repos["whole"]: {}}


def test_configurations_in_a_folder(cnle_folder, answers):
    (cnle_folder / "answers-broken").mkdir()
    (cnle_folder / "answers-broken" / "manifest.json").write_text("[]")
    (cnle_folder / "sample").mkdir()
    (cnle_folder / "sample" / "manifest.json").write_text("{}")
    (found,) = configurations_of(str(cnle_folder), "answers-")
    assert (found.name, found.origin, found.commit) == ("answers-tiny", str(answers), "")
    assert found.manifest == read_manifest(answers).as_dict()
    assert found.file("manifest.json") == answers / "manifest.json"
