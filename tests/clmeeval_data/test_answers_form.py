"""The configuration of answers on disk: what is written is read back, by us and by datasets, and nothing else is."""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from clmeeval_data import storage
from clmeeval_data.answers import (
    Answer,
    Answering,
    AnswersManifest,
    CaseAnswers,
    check_answers,
    config_name,
    is_answers,
    read_answers,
    read_manifest,
    read_rows,
    write_answers,
)
from clmeeval_data.answers.form import FEATURES, arrow_schema
from clmeeval_data.errors import DatasetError
from clmeeval_data.records import CNLE, SPLITS
from clmeeval_data.validate import check_dataset

ANSWERING = Answering(
    "org/Tiny-1B", "0123456789abcdef", "float32", {"answers": "greedy", "specificity_tokens": 16}, "</s>"
)


def row_of(record):
    near = tuple(Answer((7, 8 + place), f" nothing {place} – 野") for place, _ in enumerate(record.neighborhood))
    return CaseAnswers(record.case_id, f"{record.case_id}-00c0ffee", Answer((1, 2), " x"), Answer((), ""), near)


@pytest.fixture
def rows(cnle_splits):
    return {split: [row_of(record) for record in cnle_splits[split]] for split in SPLITS}


@pytest.fixture
def folder(cnle_folder, rows):
    """Answers beside a dataset, to its test and validation splits."""
    manifest = AnswersManifest(CNLE, ANSWERING, {"test": "t", "validation": "v"}, {}, {"cnle-1-ab": "too long"})
    target = cnle_folder / config_name(ANSWERING.model)
    write_answers(target, manifest, {split: rows[split] for split in ("test", "validation")})
    return target


def parquet(folder, split):
    return storage.parquet_path(folder, split)


def test_rows_and_manifest_are_read_back(folder, rows):
    manifest = read_manifest(folder)
    for split in ("validation", "test"):
        assert read_answers(parquet(folder, split), manifest, split) == rows[split]
        assert manifest.splits[split]["examples"] == 3
    assert manifest.answering == ANSWERING
    assert manifest.dataset == {"test": "t", "validation": "v"}
    assert manifest.left_out == {"cnle-1-ab": "too long"}
    assert {"clmeeval-data", "python", "pyarrow"} <= set(manifest.versions)
    assert is_answers(storage.read_manifest(folder))
    assert not is_answers(storage.read_manifest(folder.parent))
    assert check_answers(folder) == []


def test_datasets_reads_the_rows_as_they_were_written(folder, rows, tmp_path):
    from datasets import load_dataset

    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert sorted(loaded) == ["test", "validation"]
    assert loaded["test"].to_list() == [row.to_row() for row in rows["test"]]
    assert storage.content_hash(loaded["test"]) == read_manifest(folder).splits["test"]["sha256"]
    streamed = load_dataset(str(folder), split="validation", streaming=True)
    assert [CaseAnswers.from_row(row) for row in streamed] == rows["validation"]


def test_the_columns_are_those_that_datasets_makes_of_the_features(folder):
    from datasets import Features

    assert Features.from_dict(FEATURES).arrow_schema.equals(arrow_schema(), check_metadata=False)
    assert pq.read_schema(parquet(folder, "test")).equals(arrow_schema(), check_metadata=False)


def test_a_dataset_with_answers_beside_it_is_as_before(folder, cnle_splits, tmp_path):
    from datasets import load_dataset

    loaded = load_dataset(str(folder.parent), cache_dir=str(tmp_path / "cache"))
    assert {split: loaded[split].to_list() for split in loaded} == {
        split: [CNLE.to_row(record) for record in cnle_splits[split]] for split in SPLITS
    }
    assert check_dataset(folder.parent) == []
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    storage.write_dataset(folder.parent, CNLE, cnle_splits, {})
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_card_says_how_to_load_it_and_what_is_in_it(folder):
    card = DatasetCard((folder / "README.md").read_text(encoding="utf-8"))
    (entry,) = card.data["configs"]
    assert entry["config_name"] == "default"
    assert [item["path"] for item in entry["data_files"]] == ["data/validation-*", "data/test-*"]
    assert [split["num_examples"] for split in card.data["dataset_info"]["splits"]] == [3, 3]
    assert 'load_dataset("clmeeval/cnle", "answers-org--tiny-1b")' in card.text
    for split, found in read_manifest(folder).splits.items():
        assert f"| {split} | 3 | `{found['sha256']}` |" in card.text
    for fact in ("org/Tiny-1B", "0123456789abcdef", "| precision | float32 |", "| decoding: specificity_tokens | 16 |"):
        assert fact in card.text
    assert "Cases left out because the model cannot be asked them: 1;" in card.text


def test_the_same_answers_give_the_same_bytes(folder, rows, tmp_path):
    write_answers(tmp_path / "again", read_manifest(folder), {split: rows[split] for split in ("validation", "test")})
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(names) == 4
    assert names == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)


def test_answers_that_are_interchangeable():
    assert ANSWERING.is_same(Answering("other", "0123456789abcdef", "float32", dict(ANSWERING.decoding), ""))
    assert not ANSWERING.is_same(Answering("org/Tiny-1B", "0" * 16, "float32", ANSWERING.decoding, "</s>"))
    assert not ANSWERING.is_same(Answering("org/Tiny-1B", ANSWERING.fingerprint, "float16", ANSWERING.decoding, "</s>"))
    assert not ANSWERING.is_same(
        Answering("org/Tiny-1B", ANSWERING.fingerprint, "float32", {"answers": "beam"}, "</s>")
    )


@pytest.mark.parametrize(
    ("model", "dtype", "name"),
    [
        ("smollm2", "float32", "answers-smollm2"),
        ("codellama/CodeLlama-7b-hf", "float32", "answers-codellama--codellama-7b-hf"),
        ("Qwen/CodeQwen1.5-7B", "bfloat16", "answers-qwen--codeqwen1.5-7b-bfloat16"),
        ("mein modell (neu)", "float32", "answers-mein-modell-neu"),
        ("../..", "float32", "answers-unnamed"),
    ],
)
def test_the_name_of_a_configuration(model, dtype, name):
    assert config_name(model, dtype) == name


# Damage


def damaged_manifest(change):
    def damage(folder):
        path = folder / "manifest.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        change(found)
        path.write_text(json.dumps(found), encoding="utf-8")

    return damage


def cut(folder):
    path = parquet(folder, "test")
    path.write_bytes(path.read_bytes()[:-100])


def repeat(folder):
    shutil.copy(parquet(folder, "validation"), parquet(folder, "test"))
    damaged_manifest(lambda found: found["splits"].update(test=found["splits"]["validation"]))(folder)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (cut, r"test-00000-of-00001\.parquet is truncated or damaged"),
        (lambda folder: parquet(folder, "test").unlink(), r"test-00000-of-00001\.parquet is missing"),
        (lambda f: shutil.copy(parquet(f, "validation"), parquet(f, "test")), "not hold the answers that its manifest"),
        (lambda f: shutil.copy(parquet(f.parent, "test"), parquet(f, "test")), "does not have the columns of answers"),
        (lambda folder: (folder / "README.md").unlink(), r"README\.md is missing"),
        (lambda folder: (folder / "data" / "more.parquet").write_bytes(b""), "is not a file of these answers"),
        (lambda folder: (folder / "manifest.json").unlink(), r"has no manifest\.json"),
        (lambda folder: (folder / "manifest.json").write_text("["), "cannot be read as JSON"),
        (damaged_manifest(lambda found: found.pop("kind")), "holds no answers of a model"),
        (damaged_manifest(lambda found: found.update(schema_version="0.9")), r"schema version '0\.9'"),
        (damaged_manifest(lambda found: found.pop("answers")), "the manifest of .* is not whole"),
        (damaged_manifest(lambda found: found["answers"].update(more=1)), "the manifest of .* is not whole"),
        (damaged_manifest(lambda found: found.update(splits={"dev": {}})), r"is not whole \(splits dev\)"),
        (damaged_manifest(lambda found: found.update(splits={})), r"is not whole \(splits none\)"),
        (repeat, "occurs 2 times"),
    ],
)
def test_what_is_damaged_is_said(folder, damage, problem):
    damage(folder)
    problems = check_answers(folder)
    assert problems
    assert all("\n" not in each for each in problems)
    assert any(re.search(problem, each) for each in problems)


def test_no_answer_is_not_written(folder, tmp_path):
    with pytest.raises(DatasetError, match="there is no answer to write"):
        write_answers(tmp_path / "none", read_manifest(folder), {"test": []})
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot write the answers"):
        write_answers(tmp_path / "file", read_manifest(folder), {"test": read_rows(parquet(folder, "test"))})
