import json
import os
import subprocess
import sys

import datasets
import huggingface_hub
import pytest

from clmeeval_data.errors import DatasetError
from clmeeval_data.hub import load_cnle, load_csne, open_split
from clmeeval_data.records import BENCHMARKS, CNLE, CSNE, SPLITS
from clmeeval_data.schema import features
from tests.clmeeval_data.hub.loopback.fresh_process import LEAVE

LOAD = (
    """
import json, sys
from datasets import load_dataset

name = sys.argv[1]
whole = load_dataset(name)
test = load_dataset(name, split="test")
stream = load_dataset(name, split="test", streaming=True)
json.dump({
    "counts": {split: len(rows) for split, rows in whole.items()},
    "features": [part.features.to_dict() for part in (*whole.values(), test, stream)],
    "rows": [list(whole["test"]), list(test), list(stream)],
}, sys.stdout)
"""
    + LEAVE
)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_load_dataset_reads_a_folder_in_the_working_directory(name, request, tmp_path):
    request.getfixturevalue(f"{name}_folder")
    records = request.getfixturevalue(f"{name}_splits")["test"]
    caches = {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_CACHE": str(tmp_path / "hf" / "datasets")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, f"clmeeval/{name}"],
        cwd=tmp_path,
        env={**os.environ, **caches, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["counts"] == dict.fromkeys(SPLITS, 3)
    documented = json.loads(json.dumps(features(BENCHMARKS[name]).to_dict()))
    assert found["features"] == [documented] * 5
    assert found["rows"] == [[BENCHMARKS[name].to_row(record) for record in records]] * 3


def test_a_folder_gives_typed_records(cnle_folder, cnle_splits, csne_folder, csne_splits):
    assert load_cnle(str(cnle_folder), "train") == cnle_splits["train"]
    assert load_csne(str(csne_folder)) == csne_splits["test"]
    benchmark, records = open_split(str(csne_folder), "validation")
    assert benchmark is CSNE
    assert records == csne_splits["validation"]


def test_the_default_is_the_folder_in_the_working_directory(cnle_folder, cnle_splits, monkeypatch):
    monkeypatch.chdir(cnle_folder.parents[1])
    assert load_cnle() == cnle_splits["test"]


def test_the_other_benchmark_is_refused(cnle_folder):
    with pytest.raises(DatasetError, match=r"is a cnle dataset, expected csne\. Load it with load_cnle\(\)\."):
        load_csne(str(cnle_folder))


@pytest.mark.parametrize("location", ["anything", "clmeeval/cnle"])
def test_an_unknown_split_is_refused_before_anything_is_loaded(location):
    with pytest.raises(DatasetError, match=rf"unknown split 'dev' of {location}\. Known: train, validation, test\."):
        open_split(location, "dev")


def test_a_revision_of_a_folder_is_refused(cnle_folder):
    with pytest.raises(DatasetError, match=r"revision 'v1' was asked for, but .*cnle is a folder here"):
        load_cnle(str(cnle_folder), revision="v1")


@pytest.mark.parametrize("location", ["", "./clmeeval/cnle", "/no/such/folder", "a/b/c", "~/cnle"])
def test_a_path_that_is_no_folder_is_not_looked_for_on_the_hub(location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DatasetError, match=r"no dataset folder '.*'\. Build one with 'clmeeval-build cnle --out FOLDER'"
    ):
        open_split(location, "test")


def test_a_file_is_no_dataset(cnle_folder):
    with pytest.raises(DatasetError, match=r"no dataset folder '.*README\.md'"):
        open_split(str(cnle_folder / "README.md"), "test")


def test_neither_a_folder_nor_reachable_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DatasetError, match=r"'clmeeval/cnel' is not a folder here, and its test split cannot"
    ) as caught:
        open_split("clmeeval/cnel", "test", cache_dir=tmp_path / "cache")
    assert "Build one with 'clmeeval-build cnle --out FOLDER', or check" in str(caught.value)
    assert "\n" not in str(caught.value)


# The Hub, played by a folder: what is asked of it, and what is made of its answers


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Serve folders under ids, and note what was asked for."""

    class Hub:
        def __init__(self):
            self.folders = {"someone/edits": tmp_path / "clmeeval" / "cnle"}
            self.asked = []

        def load_dataset(self, name, split, revision, cache_dir):
            self.asked.append((name, split, revision, cache_dir))
            return real_load(str(self.folders[name]), split=split, cache_dir=str(tmp_path / "cache"))

        def download(self, name, file, repo_type, revision, cache_dir):
            self.asked.append((name, file, revision, cache_dir))
            assert repo_type == "dataset"
            path = self.folders[name] / file
            if not path.exists():
                raise huggingface_hub.errors.LocalEntryNotFoundError("no manifest there")
            return str(path)

    real_load = datasets.load_dataset
    played = Hub()
    monkeypatch.setattr(datasets, "load_dataset", played.load_dataset)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", played.download)
    monkeypatch.chdir(tmp_path)
    return played


def test_a_dataset_on_the_hub_gives_the_same_records(hub, cnle_folder, cnle_splits, tmp_path):
    assert load_cnle("someone/edits", "train", revision="v1", cache_dir=tmp_path / "c") == cnle_splits["train"]
    assert hub.asked == [
        ("someone/edits", "train", "v1", str(tmp_path / "c")),
        ("someone/edits", "manifest.json", "v1", tmp_path / "c"),
    ]


@pytest.mark.parametrize("manifest", [None, "not json", "[]"])
def test_without_a_manifest_the_columns_tell_the_benchmark(hub, cnle_folder, cnle_splits, manifest):
    (cnle_folder / "manifest.json").unlink()
    if manifest:
        (cnle_folder / "manifest.json").write_text(manifest)
    assert open_split("someone/edits", "test") == (CNLE, cnle_splits["test"])


def test_another_schema_version_on_the_hub(hub, cnle_folder):
    path = cnle_folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": "2.0"}))
    with pytest.raises(DatasetError, match=r"someone/edits has schema version '2\.0', this package reads '1\.0'"):
        open_split("someone/edits", "test")


def publish(folder, splits, change):
    """Make a dataset that somebody else wrote, with changed rows and no manifest."""
    for split in SPLITS:
        rows = [CNLE.to_row(record) for record in splits[split]]
        datasets.Dataset.from_list([change(row) for row in rows]).to_parquet(folder / f"{split}.parquet")


def test_a_missing_column_on_the_hub_is_named(hub, tmp_path, cnle_splits):
    hub.folders["someone/edits"] = tmp_path / "theirs"
    publish(tmp_path / "theirs", cnle_splits, lambda row: {name: row[name] for name in row if name != "snippet"})
    with pytest.raises(DatasetError, match="someone/edits is not in the schema of cnle: column 'snippet' is missing"):
        open_split("someone/edits", "test")


def test_a_column_of_another_type_on_the_hub_is_named(hub, tmp_path, cnle_splits):
    hub.folders["someone/edits"] = tmp_path / "theirs"
    publish(tmp_path / "theirs", cnle_splits, lambda row: {**row, "snippet": 7})
    with pytest.raises(DatasetError, match="column 'snippet' is int64, expected string"):
        open_split("someone/edits", "test")


def test_a_dataset_of_something_else_on_the_hub(hub, tmp_path, cnle_splits):
    hub.folders["someone/edits"] = tmp_path / "theirs"
    publish(tmp_path / "theirs", cnle_splits, lambda row: {"text": row["intent"], "label": 1})
    with pytest.raises(DatasetError, match=r"has neither column 'intent' or 'code', but text, label\. Expected"):
        open_split("someone/edits", "test")


def test_a_split_that_the_hub_does_not_have(hub, tmp_path, cnle_splits):
    hub.folders["someone/edits"] = tmp_path / "theirs"
    publish(tmp_path / "theirs", cnle_splits, lambda row: row)
    (tmp_path / "theirs" / "validation.parquet").unlink()
    with pytest.raises(DatasetError, match="its validation split cannot be loaded from the Hub"):
        open_split("someone/edits", "validation")


def test_extra_columns_on_the_hub_are_left_out(hub, tmp_path, cnle_splits):
    hub.folders["someone/edits"] = tmp_path / "theirs"
    publish(tmp_path / "theirs", cnle_splits, lambda row: {**row, "votes": 3})
    assert open_split("someone/edits", "test").records == cnle_splits["test"]
