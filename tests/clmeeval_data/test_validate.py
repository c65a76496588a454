import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from clmeeval_data.records import CNLE, CSNE, CnleNeighbour, Provenance
from clmeeval_data.storage import parquet_path, write_dataset
from clmeeval_data.validate import Problem, check_dataset


def problems_of(tmp_path, splits):
    write_dataset(tmp_path / "d", CNLE, splits, {})
    return check_dataset(tmp_path / "d")


def renamed(record, **changes):
    """A changed record with the id that belongs to it."""
    changed = replace(record, **changes)
    return replace(changed, case_id=CNLE.case_id(changed.intent, changed.snippet))


def test_a_good_dataset_has_no_problem(cnle_folder, csne_folder):
    assert check_dataset(cnle_folder) == []
    assert check_dataset(str(csne_folder)) == []


def test_a_problem_reads_as_one_line():
    assert str(Problem("test cnle-1", "snippet is empty")) == "test cnle-1: snippet is empty"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"intent": "  "}, ["intent is empty"]),
        ({"rewritten_intent": ""}, ["rewritten_intent is empty"]),
        ({"snippet": "\n"}, ["snippet is empty"]),
        ({"rewritten_intent": "sort list number 6 by length "}, ["rewritten_intent is the same as intent"]),
        ({"intent": "call rows_6.sort(key=len) now"}, ["intent contains the snippet"]),
        ({"rewritten_intent": "do rows_6.sort(key=len)"}, ["rewritten_intent contains the snippet"]),
        ({"intent": "sort\0 it"}, ["intent holds a null byte"]),
        ({"provenance": Provenance("s", "", "\0g", "MIT")}, ["provenance.group holds a null byte"]),
        ({"provenance": Provenance(" ", "", "g", "")}, ["provenance.source is empty", "provenance.licence is empty"]),
    ],
)
def test_a_bad_text_is_reported(tmp_path, cnle_splits, change, expected):
    record = renamed(cnle_splits["test"][0], **change)
    cnle_splits["test"][0] = record
    assert problems_of(tmp_path, cnle_splits) == [Problem(f"test {record.case_id}", what) for what in expected]


@pytest.mark.parametrize(
    ("neighbours", "expected"),
    [
        ([("a", " rows_6.sort(key=len)", 50.0)], ["neighborhood[0] has the same snippet as the case"]),
        (
            [("a", "b", 9.0), ("sort list number 6 by length", "c", 8.0)],
            ["neighborhood[1] has the same intent as the case"],
        ),
        ([("a", "b", 9.0), ("c", "d", 9.5)], ["neighborhood is not sorted by falling similarity"]),
        ([("a", "b", 9.0), ("c", "d", 9.0)], []),
        ([("a", "b", 100.0), ("c", "d", 0.0)], []),
        ([("a", "b", 100.5)], ["neighborhood[0].similarity is 100.5, expected 0 to 100"]),
        ([("a", "b", -0.5)], ["neighborhood[0].similarity is -0.5, expected 0 to 100"]),
        ([("a", "b", float("nan"))], ["neighborhood[0].similarity is nan, expected 0 to 100"]),
        ([("", "b", 1.0)], ["neighborhood[0].intent is empty"]),
    ],
)
def test_bad_neighbours_are_reported(tmp_path, cnle_splits, neighbours, expected):
    record = replace(cnle_splits["test"][0], neighborhood=tuple(CnleNeighbour(*values) for values in neighbours))
    cnle_splits["test"][0] = record
    assert [problem.what for problem in problems_of(tmp_path, cnle_splits)] == expected


def test_neighbours_of_the_other_benchmark_are_checked_by_its_fields(tmp_path, csne_splits):
    record = csne_splits["train"][0]
    twin = replace(record.neighborhood[0], code_doc=record.code_doc)
    csne_splits["train"][0] = replace(record, neighborhood=(twin,))
    write_dataset(tmp_path / "d", CSNE, csne_splits, {})
    assert check_dataset(tmp_path / "d") == [
        Problem(f"train {record.case_id}", "neighborhood[0] has the same code_doc as the case")
    ]


def test_an_id_that_does_not_belong_to_its_texts(tmp_path, cnle_splits):
    wanted = cnle_splits["test"][0].case_id
    cnle_splits["test"][0] = replace(cnle_splits["test"][0], case_id="cnle-1")
    assert problems_of(tmp_path, cnle_splits) == [
        Problem("test cnle-1", f"case_id is not that of its intent and snippet: {wanted}")
    ]


def test_the_same_case_in_two_splits(tmp_path, cnle_splits):
    twin = cnle_splits["train"][0]
    cnle_splits["test"].append(replace(twin, provenance=replace(twin.provenance, group="another")))
    assert problems_of(tmp_path, cnle_splits) == [Problem(twin.case_id, "occurs 2 times: train, test")]


def test_the_same_case_twice_in_a_split(tmp_path, cnle_splits):
    cnle_splits["test"].append(cnle_splits["test"][0])
    assert problems_of(tmp_path, cnle_splits) == [Problem(cnle_splits["test"][0].case_id, "occurs 2 times: test, test")]


def test_a_group_in_two_splits(tmp_path, cnle_splits):
    provenance = cnle_splits["train"][0].provenance
    cnle_splits["test"][0] = replace(cnle_splits["test"][0], provenance=provenance)
    cnle_splits["test"][1] = replace(cnle_splits["test"][1], provenance=provenance)
    assert problems_of(tmp_path, cnle_splits) == [Problem("group question-0", "is in more than one split: test, train")]


def rewrite(folder, change):
    """Rewrite the test split with changed rows or another table."""
    path = parquet_path(folder, "test")
    pq.write_table(change(pq.read_table(path)), path)


def test_content_that_the_manifest_does_not_know(cnle_folder):
    rewrite(cnle_folder, lambda table: table.slice(1))
    assert check_dataset(cnle_folder) == [
        Problem("test", "has 2 cases, manifest.json says 3"),
        Problem("test", "its content is not what manifest.json says: the sha256 differ"),
    ]


def test_a_split_without_cases(cnle_folder):
    rewrite(cnle_folder, lambda table: table.slice(3))
    assert Problem("test", "has no case") in check_dataset(cnle_folder)


def test_a_manifest_without_splits(cnle_folder):
    path = cnle_folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "splits": {"train": 3}}))
    assert check_dataset(cnle_folder) == [
        Problem(split, "manifest.json says nothing about this split") for split in ("train", "validation", "test")
    ]


def test_columns_and_version_of_the_parquet_file(cnle_folder):
    rewrite(
        cnle_folder,
        lambda table: table.append_column("votes", [[1, 2, 3]]).replace_schema_metadata({"clmeeval_schema": "2"}),
    )
    assert check_dataset(cnle_folder) == [
        Problem("test", "unknown column 'votes'"),
        Problem("test", "the parquet file carries schema version '2', expected '1.0'"),
    ]


def test_a_missing_column(cnle_folder):
    rewrite(cnle_folder, lambda table: table.drop_columns(["snippet"]))
    (problem,) = check_dataset(cnle_folder)
    assert problem.where == "test"
    assert "column 'snippet' is missing" in problem.what


def test_nulls_are_named_and_do_not_stop_the_checks(cnle_folder):
    def with_nulls(table):
        rows = table.to_pylist()
        rows[0].update(intent=None, neighborhood=None)
        rows[1]["provenance"] = None
        rows[2]["case_id"] = None
        return table.from_pylist(rows, schema=table.schema)

    ids = pq.read_table(parquet_path(cnle_folder, "test"))["case_id"].to_pylist()
    rewrite(cnle_folder, with_nulls)
    found = check_dataset(cnle_folder)
    assert found[1:] == [
        Problem(f"test {ids[0]}", "intent is null"),
        Problem(f"test {ids[0]}", "neighborhood is null"),
        Problem(f"test {ids[1]}", "provenance is null"),
        Problem("test row 2", "case_id is null"),
    ]


def test_bytes_that_are_no_text(cnle_folder):
    path = parquet_path(cnle_folder, "test")
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["intent"] = "@@@@"
    pq.write_table(table.from_pylist(rows, schema=table.schema), path, compression="none", use_dictionary=False)
    path.write_bytes(
        path.read_bytes().replace(b"@@@@", b"\xed\xa0\xbd@")
    )  # a lone surrogate, as broken writers leave it
    (problem,) = check_dataset(cnle_folder)
    assert problem.where == "test"
    assert "is truncated or damaged ('utf-8' codec can't decode" in problem.what


def test_every_damaged_file_is_reported(cnle_folder):
    parquet_path(cnle_folder, "train").unlink()
    parquet_path(cnle_folder, "validation").write_bytes(b"PAR1")
    (cnle_folder / "README.md").unlink()
    extra = cnle_folder / "data" / "test-00001-of-00002.parquet"
    extra.write_bytes(b"")
    rewrite(cnle_folder, lambda table: table.slice(1))
    where = [problem.where for problem in check_dataset(cnle_folder)]
    assert where == [str(cnle_folder / "README.md"), str(extra), "train", "validation", "test", "test"]


@pytest.mark.parametrize("kind", ["absent", "empty", "file", "other"])
def test_something_else_than_a_dataset_is_one_problem(tmp_path, kind):
    path = tmp_path / kind
    if kind == "file":
        path.write_text("x")
    elif kind != "absent":
        path.mkdir()
    if kind == "other":
        (path / "manifest.json").write_text('{"name": "web app"}')
    (problem,) = check_dataset(path)
    assert problem.where == str(path)
