"""From a build to ``load_dataset`` in a fresh process with an empty cache, through a Hub on loopback."""

import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from clmeeval_data import storage
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.records import CNLE, SPLITS
from tests.clmeeval_data.hub.loopback.fresh_process import LEADERBOARD, PUBLISH, READ

ROOT = Path(__file__).parents[3]
CORPORA = ROOT.parent / "shared" / "data"
HELPERS = """
import json, sys
from dataclasses import asdict
from clmeeval_data import load_cnle, load_csne
from clmeeval_data.errors import DatasetError
from clmeeval_data.hub import open_split

found = {
    "records": [asdict(case) for case in load_cnle(split="train", revision="v1.0.0", config="sample")],
    "dataset": load_csne(as_dataset=True).to_list(),
    "benchmark": open_split("clmeeval/csne", "validation").benchmark.name,
}
for key, options in {
    "revision": {"revision": "v9"}, "config": {"config": "none"}, "name": {"location": "clmeeval/none"}
}.items():
    try:
        load_cnle(**options)
    except DatasetError as error:
        found[key] = str(error)
json.dump(found, sys.stdout)
"""


def rows(folder, split):
    """The rows of a split as they were built."""
    return storage.read_parquet(storage.parquet_path(folder, split), storage.benchmark_of(folder))


def built(folder, *arguments):
    """A dataset from the command that a user gives."""
    command = [sys.executable, "-m", "clmeeval_data.builders.cli", *arguments, "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return folder


def test_published_datasets_load_in_a_fresh_process(client, read, served, tmp_path, csne_folder, writer):
    cnle, small = built(tmp_path / "cnle", "cnle"), built(tmp_path / "small", "cnle", "--limit", "30")
    to_cnle, to_csne = ("--repo", "clmeeval/cnle"), ("--repo", "clmeeval/csne")
    commands = [
        [str(small), *to_cnle, "--config", "sample"],
        [str(cnle), *to_cnle, "--tag", "v1.0.0"],
        [str(csne_folder), *to_csne, "--tag", "v1.0.0", "--private"],
        [str(cnle), *to_cnle, "--tag", "v1.0.0"],
        [str(cnle), *to_cnle, "--dry-run"],
        [str(cnle), "--repo", "somebody/cnle"],
    ]
    published = client(PUBLISH, commands, token=writer)
    lines = published.stdout.splitlines()
    oid = served.repos["clmeeval/cnle"].head.oid
    assert [line for line in lines if line.startswith("exit")] == ["exit 0"] * 5 + ["exit 2"], published
    assert lines[2:4] == [f"clmeeval/cnle: published in commit {oid}, tagged v1.0.0", "exit 0"]
    assert f"clmeeval/cnle: unchanged, at commit {oid}" in lines
    assert published.stderr.count("\n") == 1
    assert published.stderr.startswith("error: somebody/cnle cannot be created on the Hub: this token may not do that.")
    assert served.repos["clmeeval/csne"].private and "somebody/cnle" not in served.repos

    served.repos["clmeeval/csne"].private = False
    found = read(
        whole=[["clmeeval/cnle"], {}],
        csne=[["clmeeval/csne"], {"revision": "v1.0.0"}],
        split=[["clmeeval/cnle"], {"split": "validation"}],
        stream=[["clmeeval/cnle"], {"split": "test", "streaming": True}],
        tagged=[["clmeeval/cnle"], {"split": "train", "revision": "v1.0.0"}],
        config=[["clmeeval/cnle", "sample"], {}],
        config_stream=[["clmeeval/cnle", "sample"], {"split": "test", "streaming": True, "revision": "v1.0.0"}],
    )
    assert found["whole"] == {split: rows(cnle, split) for split in SPLITS}
    assert found["csne"] == {split: rows(csne_folder, split) for split in SPLITS}
    assert found["split"] == rows(cnle, "validation")
    assert found["stream"] == rows(cnle, "test")
    assert found["tagged"] == rows(cnle, "train")
    assert found["config"] == {split: rows(small, split) for split in SPLITS}
    assert found["config_stream"] == rows(small, "test")
    assert sum(len(rows(small, split)) for split in SPLITS) == 30

    helped = client(HELPERS)
    assert helped.returncode == 0, helped.stderr
    found = json.loads(helped.stdout)
    assert found["records"] == json.loads(json.dumps(rows(small, "train")))
    assert found["dataset"] == rows(csne_folder, "test")
    assert found["benchmark"] == "csne"
    assert "cannot be loaded from the Hub at revision 'v9': " in found["revision"]
    assert "its test split of its configuration 'none' cannot be loaded from the Hub: " in found["config"]
    assert "'clmeeval/none' is not a folder here, and its test split cannot be loaded from the Hub: " in found["name"]


def test_a_reader_sees_the_old_release_until_the_new_one_is_whole(
    client, read, served, tmp_path, cnle_folder, cnle_splits, writer
):
    new = tmp_path / "new" / "cnle"
    storage.write_dataset(new, CNLE, {**cnle_splits, "test": cnle_splits["test"][:2]}, {})
    command = [str(new), "--repo", "clmeeval/cnle", "--tag", "v1.1.0"]
    first = [str(cnle_folder), "--repo", "clmeeval/cnle", "--tag", "v1.0.0"]
    commit = "POST .*/commit/"
    served.fail(commit, act=lambda: served.fail(commit, status=500))  # the second one fails
    failed = client(PUBLISH, [first, command], token=writer)
    assert failed.stdout.endswith("tagged v1.0.0\nexit 0\nexit 2\n"), failed.stderr
    assert failed.stderr.startswith(
        "error: clmeeval/cnle cannot be published: the Hub failed (500: as the test ordered)."
    )
    assert failed.stderr.count("\n") == 1
    calls = {"whole": [["clmeeval/cnle"], {}], "old": [["clmeeval/cnle"], {"split": "test", "revision": "v1.0.0"}]}
    before = {split: rows(cnle_folder, split) for split in SPLITS}
    assert read(**calls) == {"whole": before, "old": before["test"]}
    assert client(PUBLISH, [command], token=writer).stdout.endswith("tagged v1.1.0\nexit 0\n")
    assert read(**calls) == {"whole": {split: rows(new, split) for split in SPLITS}, "old": before["test"]}


def test_the_default_upload_path(client, served, tmp_path, cnle_folder, writer):
    """Through Xet, whose client keeps a store in a folder where the Hub names one (which is not documented)."""
    hf_xet = pytest.importorskip("hf_xet", reason="the client of Xet storage is not installed")
    served.xet = tmp_path / "store"
    served.xet.mkdir()
    paths = [storage.parquet_path(cnle_folder, split) for split in SPLITS]
    for path, info in zip(paths, hf_xet.hash_files([str(path) for path in paths]), strict=True):
        served.announce_xet(path.read_bytes(), info.hash)
    command = [str(cnle_folder), "--repo", "clmeeval/cnle", "--tag", "v1.0.0"]
    published = client(PUBLISH, [command, command], token=writer, xet=True)
    assert published.stdout.count("exit 0") == 2, published.stderr
    assert len(served.repos["clmeeval/cnle"].commits) == 2
    loaded = client(READ, {"whole": [["clmeeval/cnle"], {}]}, xet=True)
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["whole"] == {split: rows(cnle_folder, split) for split in SPLITS}
    assert not [line for line in served.asked if line.startswith("PUT") or "/blob/" in line]
    assert {line.split("/")[-2] for line in served.asked if "xet" in line} == {"xet-write-token", "xet-read-token"}
    assert sum(path.stat().st_size for path in served.xet.rglob("*") if path.is_file()) > 0


def test_published_results_load_in_a_fresh_process(client, read, served, results, write_run, writer):
    for method in ("none", "grace"):
        write_run(method, range(3))
    to = ["--repo", "clmeeval/results", "--space", "clmeeval/leaderboard", "--tag", "v1.0.0"]
    for verb in ("published in commit", "unchanged, at commit"):
        published = client(LEADERBOARD, ["publish", str(results), *to], token=writer)
        assert (published.returncode, published.stderr) == (0, "")
        assert [line.split(": ")[1].startswith(verb) for line in published.stdout.splitlines()] == [True, True]
    found = read(
        whole=[["clmeeval/results"], {}],
        split=[["clmeeval/results"], {"split": "runs", "revision": "v1.0.0"}],
        stream=[["clmeeval/results"], {"split": "runs", "streaming": True}],
    )
    assert found["whole"] == {"runs": found["split"]}
    assert found["split"] == found["stream"]
    runs = load_runs([results])
    assert [(row["method"], row["hash"], row["cases_total"]) for row in found["split"]] == [
        (run.method, run.hash, 3) for run in runs
    ]
    exact = ("effectiveness", "exact_match")
    assert [row["effectiveness_exact_match_mean"] for row in found["split"]] == [
        run.estimates[exact].mean for run in runs
    ]
    ranked = client(LEADERBOARD, ["clmeeval/results"])
    assert (ranked.returncode, ranked.stderr) == (0, "")
    assert f"signature {runs[0].signature}" in " ".join(ranked.stdout.split())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not CORPORA.is_dir(), reason="needs the corpora in ../shared/data")
def test_real_corpora_load_in_a_fresh_process(client, read, served, tmp_path, writer):
    functions = tmp_path / "codesearchnet_python_test.jsonl.gz"  # its first part: all of it takes minutes
    with gzip.open(CORPORA / functions.name) as whole, gzip.open(functions, "wb") as part:
        part.writelines(itertools.islice(whole, 1_000))
    conala = CORPORA / "conala_curated_train.jsonl.gz"
    folders = {
        "cnle": built(tmp_path / "cnle", "cnle", "--source", f"conala-curated={conala}"),
        "csne": built(tmp_path / "csne", "csne", "--source", f"codesearchnet={functions}"),
    }
    commands = [[str(folder), "--repo", f"clmeeval/{name}", "--tag", "v1.0.0"] for name, folder in folders.items()]
    served.in_parts = True
    published = client(PUBLISH, commands, token=writer)
    assert published.stdout.count("exit 0") == 2, published.stderr
    found = read(**{name: [[f"clmeeval/{name}"], {"revision": "v1.0.0"}] for name in folders})
    assert found == {name: {split: rows(folder, split) for split in SPLITS} for name, folder in folders.items()}
