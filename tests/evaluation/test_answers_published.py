"""A run with published answers: the same records as without, and the model is not asked for what is known."""

import json
from dataclasses import replace

import pytest

from clmeeval_data import storage
from clmeeval_data.answers import Answer, read_manifest, read_rows, write_answers
from clmeeval_data.evaluation import answers as unedited
from clmeeval_data.evaluation import published_answers
from clmeeval_data.evaluation.answers import AnswersFile, answers_folder
from clmeeval_data.evaluation.answers_dataset import AnswersPlan, make_answers
from clmeeval_data.evaluation.cluster import Plan, execute
from clmeeval_data.evaluation.published_answers import take_over
from clmeeval_data.evaluation.scoring import dimensions
from clmeeval_data.evaluation.scoring.dimensions import case_of
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import write_dataset
from tests.evaluation.observer import Unwatched


@pytest.fixture(scope="module")
def splits():
    records = [
        CnleRecord(
            CNLE.case_id(f"add {i} to x", f"x += {i}"),
            f"add {i} to x",
            f"increase x by {i}",
            f"x += {i}",
            (CnleNeighbour(f"do {i} things", f"f({i})", 50.0), CnleNeighbour(f"print {i}", f"print({i})", 40.0)),
            Provenance("test", f"q{i}", f"group {i}", "Apache-2.0"),
            Rephrasing("human", "", "1"),
        )
        for i in range(7)
    ]
    return {"train": records[:1], "validation": records[1:2], "test": records[2:]}


@pytest.fixture(scope="module")
def lm(make_lm):
    return make_lm("llama")


@pytest.fixture
def model(tmp_path, lm, save_model):
    return str(save_model(tmp_path / "tiny", lm))


@pytest.fixture
def folder(tmp_path, splits):
    write_dataset(tmp_path / "data", CNLE, splits, {})
    return tmp_path / "data"


@pytest.fixture
def published(folder, model):
    """The folder of the answers to the test split."""
    return make_answers(AnswersPlan(folder, model, ("test",))).out


@pytest.fixture
def asked(monkeypatch):
    """How many prompts each call of the generation asks of the unedited model."""
    counts = []
    generate = unedited.generate

    def counted(lm, prefix, edits, jobs):
        counts.append(len(jobs))
        return generate(lm, prefix, edits, jobs)

    monkeypatch.setattr(unedited, "generate", counted)
    return counts


def run(folder, model, out, methods, **options):
    """A run from the dataset to the results, as the command makes it."""
    plan = Plan(model=model, datasets=(str(folder),), methods=tuple(methods), out=out, **options)
    return execute(plan, Unwatched())


def records(run):
    """The records of a run without what is measured, as bytes, and its summary."""
    entries = [{k: v for k, v in entry.items() if k != "cost"} for entry in run.entries().values()]
    for entry in entries:
        entry["details"] = {k: v for k, v in entry["details"].items() if "second" not in k}
    summary = {key: value for key, value in run.summary().items() if key != "cost"}
    return json.dumps([entries, summary], sort_keys=True).encode()


def taken_over(results, folder, split, cases, lm):
    """What is said of published answers that are put into a results folder."""
    return take_over(AnswersFile(results, "cnle", lm.identity), str(folder), split, cases, lm)


def origin(run):
    return run.run()["environment"]["unedited_answers"]


def test_a_run_is_the_same_with_and_without_and_the_model_is_not_asked(folder, model, published, asked, tmp_path):
    methods = ["none", "ft"]
    asked.clear()
    with_answers = run(folder, model, tmp_path / "with", methods)
    assert asked == []
    away = published.rename(tmp_path / "away")
    without = run(folder, model, tmp_path / "without", methods)
    assert sum(asked) == 5 * 4
    away.rename(published)
    for one, other in zip(with_answers, without, strict=True):
        assert records(one) == records(other)
        assert one.path.name == other.path.name
        assert origin(one) == {"cases": 5, "published": 5, "from": [str(published)]}
        assert origin(other) == {"cases": 5, "published": 0, "from": []}


def test_only_what_is_published_is_taken_and_the_rest_is_asked(folder, model, asked, tmp_path):
    out = make_answers(AnswersPlan(folder, model, ("test",), limit=2)).out
    asked.clear()
    (first,) = run(folder, model, tmp_path / "results", ["none"])
    assert sum(asked) == 3 * 4
    assert origin(first) == {"cases": 5, "published": 2, "from": [str(out)]}
    (whole,) = run(folder, model, tmp_path / "whole", ["none"])
    assert records(first) == records(whole)


def test_a_results_folder_that_has_the_answers_looks_for_none(folder, model, published, tmp_path, monkeypatch):
    (first,) = run(folder, model, tmp_path / "results", ["none"])
    monkeypatch.setattr(published_answers, "configurations_of", None)
    (second,) = run(folder, model, tmp_path / "results", ["ft"])
    assert origin(second) == origin(first)


def test_answers_that_were_computed_before_come_first(folder, model, published, tmp_path):
    away = published.rename(tmp_path / "away")
    run(folder, model, tmp_path / "results", ["none"], limit=2)
    away.rename(published)
    (second,) = run(folder, model, tmp_path / "results", ["none"])
    assert origin(second) == {"cases": 5, "published": 3, "from": [str(published)]}


# What does not fit


def rewritten(published, **changes):
    """The published answers with another description."""
    manifest = read_manifest(published)
    rows = {"test": read_rows(storage.parquet_path(published, "test"))}
    write_answers(published, replace(manifest, answering=replace(manifest.answering, **changes)), rows)


def with_rows(published, change):
    """The published answers with other rows."""
    rows = [change(row) for row in read_rows(storage.parquet_path(published, "test"))]
    write_answers(published, read_manifest(published), {"test": rows})


def with_prompt(answer):
    return lambda row: replace(row, prompt=answer(row.prompt))


def change_manifest(published):
    path = published / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"splits"', '"slits"'), encoding="utf-8")


def damage(path):
    path.write_bytes(path.read_bytes()[:-40])


PARQUET = "data/test-00000-of-00001.parquet"


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda out: rewritten(out, fingerprint="0" * 16), None),
        (lambda out: rewritten(out, dtype="bfloat16"), None),
        (lambda out: rewritten(out, decoding={**dimensions.decoding(), "specificity_tokens": 8}), None),
        (lambda out: (out / "manifest.json").unlink(), None),
        (lambda out: (out / "manifest.json").write_text("{"), None),
        (lambda out: with_rows(out, lambda row: replace(row, key=f"{row.case_id}-00000000")), None),
        (change_manifest, "is not whole"),
        (lambda out: damage(out / PARQUET), "truncated or damaged"),
        (lambda out: (out / PARQUET).unlink(), "is missing"),
        (
            lambda out: storage.parquet_path(out.parent, "test").replace(out / PARQUET),
            "not have the columns of answers",
        ),
        (lambda out: with_rows(out, with_prompt(lambda old: Answer((10**6, *old.ids[1:]), old.text))), "5 answers of"),
        (lambda out: with_rows(out, with_prompt(lambda old: Answer((-1, *old.ids[1:]), old.text))), "5 answers of"),
        (lambda out: with_rows(out, with_prompt(lambda old: Answer(old.ids[1:], old.text))), "5 answers of"),
        (lambda out: with_rows(out, with_prompt(lambda old: Answer(old.ids * 9, old.text * 9))), "5 answers of"),
        (lambda out: with_rows(out, lambda row: replace(row, neighbours=row.neighbours[:1])), "5 answers of"),
    ],
)
def test_what_does_not_fit_is_computed(folder, lm, published, splits, tmp_path, caplog, change, warning):
    cases = [case_of(CNLE, record) for record in splits["test"]]
    change(published)
    said = taken_over(tmp_path / "results", folder, "test", cases, lm)
    assert said == {"cases": 5, "published": 0, "from": []}
    assert not answers_folder(tmp_path / "results", "cnle", lm.identity).exists()
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == (warning is not None)
    assert all(warning in line and "\n" not in line and "computed instead" in line for line in lines)


def test_one_bad_answer_does_not_spoil_the_others(folder, lm, published, splits, tmp_path, caplog):
    cases = [case_of(CNLE, record) for record in splits["test"]]
    worst = cases[1].case_id
    with_rows(published, lambda row: replace(row, prompt=Answer((1,), "?")) if row.case_id == worst else row)
    said = taken_over(tmp_path, folder, "test", cases, lm)
    assert said == {"cases": 5, "published": 4, "from": [str(published)]}
    assert "1 answers of" in caplog.text


def test_another_split_or_dataset_has_no_answers(folder, lm, published, splits, tmp_path):
    cases = [case_of(CNLE, record) for record in splits["validation"]]
    assert taken_over(tmp_path, folder, "validation", cases, lm)["published"] == 0
    for location in (tmp_path / "none", "clmeeval/cnle", ""):  # tests are offline: nothing is said about the Hub
        assert taken_over(tmp_path, location, "validation", cases, lm)["published"] == 0


def test_changed_texts_are_asked(folder, model, published, splits, asked, tmp_path):
    changed = replace(splits["test"][0], rewritten_intent="another wording")
    write_dataset(folder, CNLE, {**splits, "test": [changed, *splits["test"][1:]]}, {})
    asked.clear()
    (done,) = run(folder, model, tmp_path / "results", ["none"])
    assert sum(asked) == 4
    assert origin(done)["published"] == 4
