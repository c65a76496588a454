"""Datasets and JSON lines that cannot be read as they are, and JSON lines as such."""

import gzip
import json

import pyarrow.parquet as pq
import pytest

from clmeeval_data.errors import DatasetError, SourceError
from clmeeval_data.storage import (
    parquet_path,
    read_jsonl,
    read_manifest,
    read_split,
    write_jsonl,
)


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# What cannot be read


def test_no_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"no dataset folder .*nothing. Build one: clmeeval-build"):
        read_split(tmp_path / "nothing", "test")


def test_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(DatasetError, match=r"has no manifest\.json, so it is not a dataset of ours"):
        read_split(tmp_path, "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"[]", "holds a list, not a JSON object"),
    ],
)
def test_a_damaged_manifest(cnle_folder, content, message):
    (cnle_folder / "manifest.json").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"manifest\.json {message}.*Build the dataset again\."):
        read_manifest(cnle_folder)


def test_an_unknown_split(cnle_folder):
    with pytest.raises(DatasetError, match=r"unknown split 'dev' of .*Known: train, validation, test\."):
        read_split(cnle_folder, "dev")


def test_another_schema_version(cnle_folder):
    change_manifest(cnle_folder, schema_version="0.9")
    with pytest.raises(DatasetError, match=r"schema version '0\.9', this package reads '1\.0'\. Build it again"):
        read_split(cnle_folder, "test")


def test_another_benchmark(cnle_folder):
    change_manifest(cnle_folder, benchmark="humaneval")
    with pytest.raises(DatasetError, match=r"holds the benchmark 'humaneval'\. Expected one of cnle, csne\."):
        read_split(cnle_folder, "test")


@pytest.mark.parametrize("keep", [0, 100, -1, -500])
def test_a_truncated_parquet_file(cnle_folder, keep):
    path = parquet_path(cnle_folder, "test")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        DatasetError, match=r"test-00000-of-00001\.parquet is truncated or damaged \(.+\)\. Build"
    ) as caught:
        read_split(cnle_folder, "test")
    assert "\n" not in str(caught.value)
    assert len(read_split(cnle_folder, "train")) == 3


def test_damaged_bytes_in_the_middle(cnle_folder):
    path = parquet_path(cnle_folder, "test")
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="is truncated or damaged"):
        read_split(cnle_folder, "test")


def test_a_missing_parquet_file(cnle_folder):
    parquet_path(cnle_folder, "test").unlink()
    with pytest.raises(DatasetError, match=r"test-00000-of-00001\.parquet is missing"):
        read_split(cnle_folder, "test")


def test_a_missing_column_is_named(cnle_folder):
    path = parquet_path(cnle_folder, "test")
    pq.write_table(pq.read_table(path).drop_columns(["rewritten_intent"]), path)
    with pytest.raises(DatasetError, match="column 'rewritten_intent' is missing"):
        read_split(cnle_folder, "test")


def test_a_null_is_named_by_its_row(cnle_folder):
    path = parquet_path(cnle_folder, "test")
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[1]["neighborhood"][0]["snippet"] = None
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(DatasetError, match=r"row 1 of .*parquet is not a cnle record \(a field is null\)"):
        read_split(cnle_folder, "test")


# JSON lines


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "deep/er/rows.jsonl"])
def test_json_lines_round_trip(tmp_path, name):
    rows = [{"a": "zwei\nZeilen \u2028 \ud83d"}, {}, {"b": [1, 0.1, None, {"c": True}]}]
    write_jsonl(tmp_path / name, rows)
    assert list(read_jsonl(tmp_path / name)) == rows
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == ["rows.jsonl" + name.partition(".jsonl")[2]]


def test_compressed_json_lines_are_byte_stable(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "one.jsonl.gz", [{"a": 1}])
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    write_jsonl(tmp_path / "two.jsonl.gz", [{"a": 1}])
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


def test_json_lines_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot write .*rows\.jsonl: "):
        write_jsonl(tmp_path / "file" / "rows.jsonl", [])


def test_empty_lines_and_a_byte_order_mark_are_skipped(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}')
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == [{"a": 1}, {"a": 2}]


def test_json_lines_are_read_one_at_a_time(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\nbroken\n')
    rows = read_jsonl(tmp_path / "rows.jsonl")
    assert next(rows) == {"a": 1}
    with pytest.raises(SourceError, match=r"rows\.jsonl:2: not JSON"):
        next(rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": ', "not JSON"),
        (b"[1]", "a JSON list, expected an object"),
        (b'"a"', "a JSON str, expected an object"),
        (b'{"a": "\xff"}', "not JSON"),
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_bad_line_is_named_by_path_and_number(tmp_path, name, line, message):
    content = b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(SourceError, match=rf"{name}:3: {message}"):
        list(read_jsonl(tmp_path / name))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"no file .*rows\.jsonl"):
        list(read_jsonl(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-20], lambda _: b"not gzip", lambda packed: packed[:60] + b"\0" * 60]
)
def test_a_damaged_archive_is_named(tmp_path, damage):
    rows = "".join(f'{{"number": {number**5}}}\n' for number in range(2000)).encode()
    (tmp_path / "rows.jsonl.gz").write_bytes(damage(gzip.compress(rows)))
    with pytest.raises(SourceError, match=r"rows\.jsonl\.gz( cannot be read after line|:\d+)"):
        list(read_jsonl(tmp_path / "rows.jsonl.gz"))
