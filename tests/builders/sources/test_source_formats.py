"""Rows out of files of every form, sound and damaged."""

import gzip
import json
import re
import tracemalloc

import pytest

from clmeeval_data.builders.sources import Skipped, Unreadable, formats
from clmeeval_data.builders.sources.fields import is_number, text_or_none, unusable
from clmeeval_data.builders.sources.formats import excerpt, read_rows
from clmeeval_data.errors import SourceError

ROWS = [{"a": number, "b": f"text {number} – ü 🥕"} for number in range(1000)]
COLUMNS = {"a": ("a",), "b": ("b",)}
ANY = re.compile("")


def rows_of(path, columns=COLUMNS, wanted=ANY):
    return list(read_rows(path, columns, wanted))


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.json.gz", "x.parquet"])
@pytest.mark.parametrize("as_name", [None, "x"])
def test_the_form_is_told_by_the_content(tmp_path, write, name, as_name):
    path = write(tmp_path / name, ROWS)
    assert rows_of(path.rename(tmp_path / (as_name or name))) == ROWS


def test_an_archive_gives_the_members_that_are_wanted(tmp_path, write, pack):
    content = {name: write(tmp_path / name, ROWS[:3]).read_bytes() for name in ("x.jsonl.gz", "x.json", "x.parquet")}
    members = {
        "corpus/b.jsonl.gz": content["x.jsonl.gz"],
        "corpus/a.json": content["x.json"],
        "corpus/c.parquet": content["x.parquet"],
        "corpus/readme.txt": b"read me",
        "__MACOSX/corpus/._a.json": b"\0\5\26\7",
        "corpus/._a.json": b"\0\5\26\7",
    }
    path = pack(tmp_path / "x.zip", members)
    assert rows_of(path, wanted=re.compile(r"\.(jsonl?|parquet)")) == ROWS[:3] * 3
    with pytest.raises(SourceError, match=r"x.zip has no member .* matches 'mined'; found corpus/b.jsonl.gz, corpus/a"):
        rows_of(path, wanted=re.compile("mined"))


def test_columns_may_have_several_names_and_may_be_missing(tmp_path, write):
    path = write(tmp_path / "x.jsonl", [{"old": 1, "new": 2, "other": 0}, {"new": 3}, {}])
    assert rows_of(path, {"value": ("old", "new")}) == [{"value": 1}, {"value": 3}, {}]


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\n \r\n", b""])
def test_a_byte_order_mark_and_blank_lines_are_passed_over(tmp_path, start):
    path = tmp_path / "x.jsonl"
    path.write_bytes(start + b'{"a": 1}\r\n\n  \n{"a": 2}')
    assert rows_of(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1,', "not JSON"),
        (b"\0\0\0\0", "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b"17", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not JSON"),
    ],
)
def test_a_damaged_line_is_a_row_of_its_own(tmp_path, line, reason):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    first, damaged, last = rows_of(path)
    assert (first, last) == ({"a": 1}, {"a": 3})
    assert damaged["unreadable"] == reason
    assert damaged["text"].startswith("x.jsonl:2: ")
    assert len(damaged["text"]) < 250
    damaged["text"].encode()
    path.write_bytes(line + b'\n{"a": 3}\n')  # also where it comes first
    if not line.startswith(b"["):
        assert [row.get("unreadable") for row in rows_of(path)] == [reason, None]


def test_a_line_without_end_is_damage_and_the_next_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_LONGEST", 1000)
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * 5000 + b'"}\n{"a": 2}\n')
    assert [row.get("unreadable", row) for row in rows_of(path)] == ["a line too long", {"a": 2}]


def test_a_field_that_is_called_like_damage_is_none(tmp_path, write):
    path = write(tmp_path / "x.jsonl", [{"unreadable": "not really"}])
    assert rows_of(path) == [{}]


@pytest.mark.parametrize(
    "text", ["[]", "[{}]", ' [\n{"a": 1} , {"a": "]"},{"a": [1, {}]}\n] \n', '[{"a": 1}, 7, {"a": 2}]']
)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_an_array_is_read_item_by_item(tmp_path, monkeypatch, text, chunk):
    monkeypatch.setattr(formats, "_CHUNK", chunk)
    path = tmp_path / "x.json"
    path.write_text(text)
    expected = [item if isinstance(item, dict) else None for item in json.loads(text)]
    assert [None if "unreadable" in row else row for row in rows_of(path)] == expected


@pytest.mark.parametrize(
    "text", ["[", "[{", '[{"a": 1}', '[{"a": 1},', '[{"a": 1} {"a"', '[{"a": 1}, nothing]', "[" * 5000]
)
def test_an_array_that_breaks_off_is_an_error(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"x.json: the JSON array is damaged or breaks off at item \d"):
        rows_of(path)


def test_an_array_with_bytes_that_are_no_text_is_damaged_there_alone(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'[{"a": "\xff"}, {"a": "fine"}]')
    bad, fine = rows_of(path)
    assert "lone surrogate" in unusable(bad, ("a",)).reason
    assert unusable(fine, ("a",)) is None


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.json.gz", "x.zip", "x.parquet"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_archive_is_an_error(tmp_path, write, pack, name, damage):
    path = tmp_path / name
    if name == "x.zip":
        pack(path, {"x.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)})
    else:
        write(path, ROWS)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        middle = len(content) // 2
        content[middle : middle + 40] = bytes(255 - value for value in content[middle : middle + 40])
    path.write_bytes(content)
    with pytest.raises(
        SourceError, match=r"x\.\w+.* (cannot be read after row \d+|is damaged|breaks off).* Get the file"
    ):
        rows_of(path)


def test_what_came_before_the_damage_is_given(tmp_path, write):
    path = write(tmp_path / "x.jsonl.gz", ROWS * 20)
    path.write_bytes(path.read_bytes()[:-20])
    found = []
    with pytest.raises(SourceError, match=r"cannot be read after row \d{4,5} \("):
        found.extend(read_rows(path, COLUMNS, ANY))
    assert found[:1000] == ROWS


def test_a_page_about_the_file_is_not_the_file(tmp_path):
    for name in ("x.jsonl", "x"):
        (tmp_path / name).write_text("<!DOCTYPE html><title>not found</title>")
        with pytest.raises(SourceError, match=r"begins with b'<!DOCTYPE html><titl'. Expected JSON lines"):
            rows_of(tmp_path / name)
    (tmp_path / "x").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SourceError, match="begins with b'version https"):
        rows_of(tmp_path / "x")


def test_an_empty_file_has_no_rows_and_a_missing_one_is_an_error(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    assert rows_of(tmp_path / "empty") == rows_of(tmp_path / "empty.gz") == []
    with pytest.raises(SourceError, match=r"none cannot be read after row 0 \(No such file"):
        rows_of(tmp_path / "none")


def test_an_encrypted_archive_is_an_error(tmp_path, pack):
    path = pack(tmp_path / "x.zip", {"x.jsonl": b'{"a": 1}'})
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flag that says "encrypted", in both headers
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(
        SourceError, match=r"x.zip/x.jsonl cannot be unpacked .*encrypted.* Unpack the archive yourself"
    ):
        rows_of(path)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.json.gz", "x.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, write, name):
    path = write(tmp_path / name, [{"a": number, "b": "x" * 10_000} for number in range(4000)])  # 40 MB
    for _row in read_rows(write(tmp_path / f"small-{name}", ROWS), COLUMNS, ANY):
        pass
    tracemalloc.start()
    count = sum(1 for _row in read_rows(path, COLUMNS, ANY))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4000
    assert peak < 10 * 2**20


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"a": "x", "b": None}, None),
        ({"a": "x", "b": " "}, None),
        ({"a": "x", "b": "y"}, None),
        ({"a": " "}, Skipped("field 'a' is empty", '{"a": " "}')),
        ({}, Unreadable("field 'a' is missing", "{}")),
        ({"a": None}, Unreadable("field 'a' is null", '{"a": null}')),
        ({"a": 1}, Unreadable("field 'a' is a int, expected text", '{"a": 1}')),
        ({"a": "x\0"}, Unreadable("field 'a' holds a null byte", '{"a": "x\\u0000"}')),
        ({"a": "\ud800"}, Unreadable("field 'a' holds a lone surrogate", '{"a": "\\ud800"}')),
        ({"a": "x", "b": ["y"]}, Unreadable("field 'b' is a list, expected text", '{"a": "x", "b": ["y"]}')),
        ({"unreadable": "not JSON", "text": "x:1: {"}, Unreadable("not JSON", "x:1: {")),
    ],
)
def test_why_a_row_makes_no_pair(row, expected):
    assert unusable(row, ("a",), optional=("b",)) == expected


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, True), (0.5, True), (10**400, True), (True, False), ("1", False), (None, False), (float("nan"), False)],
)
def test_what_is_a_number(value, number):
    assert is_number(value) is number


def test_texts_that_may_be_missing_and_excerpts():
    assert text_or_none({"a": " x "}, "a") == "x"
    assert text_or_none({"a": " "}, "a") is text_or_none({}, "a") is text_or_none({"a": None}, "a") is None
    assert excerpt("x" * 1000) == "x" * 200
    assert excerpt({"a": "ü\udc00"}) == '{"a": "ü\\udc00"}'
