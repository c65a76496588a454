import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clmeeval_data import storage
from clmeeval_data.errors import DatasetError
from clmeeval_data.records import CNLE, CSNE, SPLITS
from clmeeval_data.schema import arrow_schema
from clmeeval_data.storage import (
    benchmark_of,
    content_hash,
    parquet_path,
    read_jsonl,
    read_manifest,
    read_split,
    write_dataset,
)
from clmeeval_data.validate import check_dataset


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Writing and reading


def test_records_round_trip_exactly(cnle_folder, cnle_splits, csne_folder, csne_splits):
    for folder, splits in ((cnle_folder, cnle_splits), (csne_folder, csne_splits)):
        assert {split: read_split(folder, split) for split in SPLITS} == splits
    assert benchmark_of(cnle_folder) is CNLE
    assert benchmark_of(csne_folder) is CSNE


def test_a_case_without_neighbours_round_trips(tmp_path, cnle_records):
    lone = replace(cnle_records[0], neighborhood=())
    write_dataset(
        tmp_path / "d", CNLE, {"train": [lone], "validation": cnle_records[1:2], "test": cnle_records[2:3]}, {}
    )
    assert read_split(tmp_path / "d", "train") == [lone]


def test_a_dataset_is_these_files(cnle_folder):
    assert sorted(contents(cnle_folder)) == [
        "README.md",
        "croissant.json",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        "manifest.json",
    ]
    assert [path.name for path in cnle_folder.parent.iterdir()] == ["cnle"], "something was left beside the dataset"


def test_same_records_same_bytes(tmp_path, cnle_folder, cnle_splits):
    manifest = read_manifest(cnle_folder)
    write_dataset(tmp_path / "again", CNLE, cnle_splits, manifest)
    assert contents(tmp_path / "again") == contents(cnle_folder)


def test_parquet_is_written_for_diffs_and_paging(cnle_folder):
    with pq.ParquetFile(parquet_path(cnle_folder, "test")) as file:
        column = file.metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert column.has_offset_index


def test_many_rows_are_drawn_one_at_a_time_and_written_as_if_at_once(tmp_path, cnle_records):
    numbers = range(20_500)
    many = (replace(cnle_records[0], case_id=f"cnle-{number}") for number in numbers)
    write_dataset(tmp_path / "d", CNLE, {"train": many, "validation": cnle_records[1:2], "test": cnle_records[2:3]}, {})
    rows = [CNLE.to_row(replace(cnle_records[0], case_id=f"cnle-{number}")) for number in numbers]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=arrow_schema(CNLE)).combine_chunks(),
        tmp_path / "at_once.parquet",
        compression="zstd",
        use_content_defined_chunking=True,
        write_page_index=True,
        row_group_size=10_000,
    )
    assert parquet_path(tmp_path / "d", "train").read_bytes() == (tmp_path / "at_once.parquet").read_bytes()
    found = read_manifest(tmp_path / "d")["splits"]["train"]
    assert found == {"examples": 20_500, "sha256": content_hash(rows)}
    assert len(read_split(tmp_path / "d", "train")) == 20_500


def test_what_was_left_out_is_kept_beside_the_data_and_replaced_with_it(cnle_folder, cnle_splits):
    rows = [{"reason": "too short", "target": "\ud83d"}, {"reason": "too long"}]
    for _ in range(2):
        write_dataset(cnle_folder, CNLE, cnle_splits, {}, iter(rows))
        assert list(read_jsonl(cnle_folder / "dropped.jsonl.gz")) == rows
    assert check_dataset(cnle_folder) == []
    loaded = datasets.load_dataset(str(cnle_folder), cache_dir=str(cnle_folder.parent / "cache"))
    assert {split: len(loaded[split]) for split in loaded} == {"train": 3, "validation": 3, "test": 3}
    write_dataset(cnle_folder, CNLE, cnle_splits, {})
    assert not (cnle_folder / "dropped.jsonl.gz").exists()


def test_manifest_keeps_what_was_given_and_adds_counts_hashes_and_versions(cnle_folder, cnle_splits):
    manifest = read_manifest(cnle_folder)
    assert manifest["command"] == "clmeeval-build cnle --seed 0"
    assert (manifest["benchmark"], manifest["schema_version"]) == ("cnle", "1.0")
    assert manifest["splits"]["test"] == {
        "examples": 3,
        "sha256": content_hash(CNLE.to_row(record) for record in cnle_splits["test"]),
    }
    assert set(manifest["versions"]) == {"clmeeval-data", "datasets", "pyarrow", "python"}


def test_content_hash_is_the_sha256_of_canonical_json_lines():
    rows = [{"b": 0.1, "a": "ü\n"}, {"a": [], "b": None}]
    lines = b'{"a":"\\u00fc\\n","b":0.1}\n{"a":[],"b":null}\n'
    assert content_hash(rows) == hashlib.sha256(lines).hexdigest()
    assert content_hash(reversed(rows)) != content_hash(rows)


def test_new_folders_can_be_read_by_others(cnle_folder):
    umask = os.umask(0)
    os.umask(umask)
    assert cnle_folder.stat().st_mode & 0o777 == 0o777 & ~umask


# Replacing


def test_a_dataset_is_replaced_as_a_whole(cnle_folder, csne_splits):
    write_dataset(cnle_folder, CSNE, csne_splits, {})
    assert benchmark_of(cnle_folder) is CSNE
    assert read_split(cnle_folder, "train") == csne_splits["train"]
    assert [path.name for path in cnle_folder.parent.iterdir()] == ["cnle"]


def test_files_that_no_build_wrote_survive_a_replacement(cnle_folder, cnle_splits):
    (cnle_folder / ".git").mkdir()
    (cnle_folder / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (cnle_folder / "notes.txt").write_text("mine")
    (cnle_folder / "data" / "test-00001-of-00002.parquet").write_bytes(b"left over")
    write_dataset(cnle_folder, CNLE, cnle_splits, {})
    assert (cnle_folder / ".git" / "HEAD").read_text() == "ref: refs/heads/main"
    assert (cnle_folder / "notes.txt").read_text() == "mine"
    assert len(list((cnle_folder / "data").iterdir())) == 3


def test_an_empty_folder_is_filled(tmp_path, cnle_splits):
    (tmp_path / "empty").mkdir()
    write_dataset(tmp_path / "empty", CNLE, cnle_splits, {})
    assert read_split(tmp_path / "empty", "test") == cnle_splits["test"]


def test_a_link_to_a_dataset_stays_a_link(tmp_path, cnle_folder, cnle_splits):
    link = tmp_path / "link"
    link.symlink_to(cnle_folder, target_is_directory=True)
    write_dataset(link, CNLE, cnle_splits, {"command": "new"})
    assert link.is_symlink()
    assert read_manifest(cnle_folder)["command"] == "new"


def test_another_folder_is_left_as_it_is(tmp_path, cnle_splits):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("three years of work")
    with pytest.raises(DatasetError, match=r"home is a folder that holds something else.*Choose another --out"):
        write_dataset(tmp_path / "home", CNLE, cnle_splits, {})
    assert contents(tmp_path) == {"home/thesis.tex": b"three years of work"}


@pytest.mark.parametrize("manifest", ['{"name": "some web app", "version": "1"}', "[]", "not json"])
def test_a_folder_with_the_manifest_of_something_else_is_left_as_it_is(tmp_path, cnle_splits, manifest):
    (tmp_path / "app" / "data").mkdir(parents=True)
    (tmp_path / "app" / "manifest.json").write_text(manifest)
    with pytest.raises(DatasetError, match="app is a folder that holds something else"):
        write_dataset(tmp_path / "app", CNLE, cnle_splits, {})
    assert contents(tmp_path) == {"app/manifest.json": manifest.encode()}


def test_a_file_is_left_as_it_is(tmp_path, cnle_splits):
    (tmp_path / "cnle").write_text("a file")
    with pytest.raises(DatasetError, match="is a file, not a dataset of ours"):
        write_dataset(tmp_path / "cnle", CNLE, cnle_splits, {})
    assert (tmp_path / "cnle").read_text() == "a file"


@pytest.mark.parametrize("step", ["write_card", "_write_parquet"])
def test_a_failure_in_the_middle_leaves_the_old_dataset_whole(cnle_folder, csne_splits, monkeypatch, step):
    before = contents(cnle_folder)

    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, step, fail)
    with pytest.raises(
        DatasetError, match=r"cannot write the dataset .*cnle: No space left on device\. Choose a folder"
    ):
        write_dataset(cnle_folder, CSNE, csne_splits, {})
    assert contents(cnle_folder) == before
    assert [path.name for path in cnle_folder.parent.iterdir()] == ["cnle"]


def test_a_failing_swap_puts_the_old_dataset_back(cnle_folder, cnle_splits, monkeypatch):
    before = contents(cnle_folder)
    rename = Path.rename

    def rename_only_back(self, target):
        if ".new-" in self.name:
            raise OSError(18, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_only_back)
    with pytest.raises(DatasetError, match="Invalid cross-device link"):
        write_dataset(cnle_folder, CNLE, cnle_splits, {"command": "new"})
    assert contents(cnle_folder) == before
    assert [path.name for path in cnle_folder.parent.iterdir()] == ["cnle"]


KILLED = """
import os, signal, sys
from pathlib import Path
from clmeeval_data import storage
from clmeeval_data.records import CNLE, SPLITS

folder, step, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
splits = {split: storage.read_split(folder, split) for split in SPLITS}
called = [0]

def dying(original):
    def call(*arguments):
        called[0] += 1
        if called[0] > count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    return call

if step == "rename":
    Path.rename = dying(Path.rename)
else:
    setattr(storage, step, dying(getattr(storage, step)))
storage.write_dataset(folder, CNLE, splits, {"command": "new"})
"""


@pytest.mark.parametrize(
    ("step", "count"), [("_write_parquet", 1), ("write_card", 0), ("rename", 0), ("rename", 1), ("rename", 2)]
)
def test_a_writer_killed_anywhere_is_made_good_by_the_next_one(cnle_folder, cnle_splits, tmp_path, step, count):
    """The last three: before the old dataset moves away, before the new one takes its place, and before mine moves."""
    (cnle_folder / "notes.txt").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, cnle_folder, step, str(count)],
        env={**os.environ, "PYTHONPATH": str(Path(storage.__file__).parents[1])},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(list(cnle_folder.parent.iterdir())) > 1 or not cnle_folder.exists(), "it died too late"
    write_dataset(cnle_folder, CNLE, cnle_splits, {"command": "newest"})
    assert read_manifest(cnle_folder)["command"] == "newest"
    assert (cnle_folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in cnle_folder.parent.iterdir()] == ["cnle"]


def test_other_folders_with_a_similar_name_are_not_touched(tmp_path, cnle_folder, cnle_splits):
    for name in (".cnle2.new-1", ".cnle.newer", "cnle.old-1"):
        (cnle_folder.parent / name).mkdir()
    write_dataset(cnle_folder, CNLE, cnle_splits, {})
    assert {path.name for path in cnle_folder.parent.iterdir()} == {"cnle", ".cnle2.new-1", ".cnle.newer", "cnle.old-1"}


def test_an_interrupt_leaves_nothing_behind(tmp_path, cnle_splits, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_card", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "clmeeval" / "cnle", CNLE, cnle_splits, {})
    assert list((tmp_path / "clmeeval").iterdir()) == []


def test_a_destination_that_cannot_be_written_is_one_line(tmp_path, cnle_splits):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot write the dataset") as caught:
        write_dataset(tmp_path / "file" / "cnle", CNLE, cnle_splits, {})
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_destination_is_one_line(tmp_path, cnle_splits):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(DatasetError, match="Permission denied"):
        write_dataset(tmp_path / "locked" / "cnle", CNLE, cnle_splits, {})


# What cannot be written


@pytest.mark.parametrize("split", SPLITS)
def test_an_empty_split_is_named_with_all_counts(tmp_path, cnle_splits, split):
    cnle_splits[split] = []
    with pytest.raises(DatasetError, match=rf"the {split} split would be empty \(.*{split} 0.*raise --limit"):
        write_dataset(tmp_path / "d", CNLE, cnle_splits, {})
    assert not (tmp_path / "d").exists()


def test_an_absent_split_is_an_empty_one(tmp_path, cnle_records):
    with pytest.raises(DatasetError, match="the validation and test split would be empty"):
        write_dataset(tmp_path / "d", CNLE, {"train": cnle_records}, {})


def test_an_unknown_split_is_named(tmp_path, cnle_splits):
    with pytest.raises(DatasetError, match=r"unknown split 'dev'. Known: train, validation, test\."):
        write_dataset(tmp_path / "d", CNLE, {**cnle_splits, "dev": []}, {})


@pytest.mark.parametrize("change", [{"snippet": "print('\ud83d')"}, {"intent": 7}])
def test_a_record_that_does_not_fit_the_schema_is_refused(tmp_path, cnle_splits, change):
    cnle_splits["test"][0] = replace(cnle_splits["test"][0], **change)
    with pytest.raises(DatasetError, match=r"a record of test-00000-of-00001\.parquet does not fit the schema of cnle"):
        write_dataset(tmp_path / "d", CNLE, cnle_splits, {})
    assert list(tmp_path.iterdir()) == []
