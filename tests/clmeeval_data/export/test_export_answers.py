"""Answers of a model in the export for code-llmedit: where its reader asks for them, and only where they fit."""

import json
import sys

import pytest
import typer

from clmeeval_data.answers import Answer, Answering, AnswersManifest, CaseAnswers, read_manifest, write_answers
from clmeeval_data.builders import export_command
from clmeeval_data.builders.sources.released import records
from clmeeval_data.errors import DatasetError
from clmeeval_data.export import export_dataset
from clmeeval_data.records import BENCHMARKS, CNLE, CSNE, SPLITS
from clmeeval_data.shell import run_app
from clmeeval_data.storage import content_hash, write_dataset

LIMIT = 4
FOLDERS = {"cnle": "EditConala", "csne": "EditCodeSearchNet"}


def answering(model):
    return Answering(model, "0" * 16, "float32", {"answers": "greedy", "specificity_tokens": LIMIT}, "</s>")


def row_of(record):
    """A neighbour at an even place is answered in two tokens, at an odd one in three or, for some cases, in four."""
    odd = 3 + int(record.case_id[-1], 16) % 2
    near = [
        Answer(tuple(range(odd if place % 2 else 2)), " ä" * (odd if place % 2 else 2))
        for place, _ in enumerate(record.neighborhood)
    ]
    return CaseAnswers(record.case_id, f"{record.case_id}-00c0ffee", Answer((), ""), Answer((), ""), tuple(near))


def write(folder, benchmark, splits, model="codellama/CodeLlama-7b-hf", only=SPLITS):
    """Answers to a dataset's splits, as they would be made for it."""
    hashes = {split: content_hash(map(benchmark.to_row, splits[split])) for split in only}
    manifest = AnswersManifest(benchmark, answering(model), hashes, {})
    write_answers(folder, manifest, {split: [row_of(record) for record in splits[split]] for split in only})
    return folder


@pytest.fixture(params=BENCHMARKS)
def built(request, cnle_folder, cnle_splits, csne_folder, csne_splits):
    """A dataset of either benchmark: the benchmark, its folder, its records."""
    return {"cnle": (CNLE, cnle_folder, cnle_splits), "csne": (CSNE, csne_folder, csne_splits)}[request.param]


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def known_to_the_reader(model_name):
    """The name under which code-llmedit's ``prepare_requests`` looks for the answers of a model."""
    for name in ("CodeQwen1.5-7B", "CodeLlama-7b-hf", "stable-code-3b"):
        if name in model_name:
            return name
    raise NotImplementedError(model_name)


@pytest.mark.parametrize("model", ["Qwen/CodeQwen1.5-7B", "codellama/CodeLlama-7b-hf", "stable-code-3b"])
def test_the_reader_finds_an_answer_to_each_neighbour(built, tmp_path, model):
    benchmark, folder, splits = built
    answers = write(tmp_path / "answers", benchmark, splits, model)
    export_dataset(folder, "code-llmedit", out=tmp_path / "out", answers=answers)
    for split in SPLITS:
        cases = load(tmp_path / "out" / FOLDERS[benchmark.name] / f"{split}.json")
        for case, record in zip(cases, splits[split], strict=True):
            found = case["neighborhoods"]["answers"][known_to_the_reader(model)]
            assert len(found) == len(case["neighborhoods"]["items"]) == len(record.neighborhood)


def test_answers_are_filled_up_to_the_longest_of_a_case(cnle_folder, cnle_splits, tmp_path):
    answers = write(tmp_path / "answers", CNLE, cnle_splits, "org/Tiny")
    export_dataset(cnle_folder, "code-llmedit", out=tmp_path / "out", answers=answers)
    found = {
        case["case_id"]: case["neighborhoods"]["answers"] for case in load(tmp_path / "out" / "EditConala" / "all.json")
    }
    # three tokens and the end are four, which is all that may be generated; four tokens have no room for an end
    expected = [" ä ä</s></s>", " ä ä ä</s>"], [" ä ä</s></s>", " ä ä ä ä"]
    for split in SPLITS:
        for record in cnle_splits[split]:
            assert found[record.case_id] == {"Tiny": expected[int(record.case_id[-1], 16) % 2]}


def test_a_round_trip_with_answers_loses_nothing(built, tmp_path):
    benchmark, folder, splits = built
    answers = write(tmp_path / "answers", benchmark, splits)
    export_dataset(folder, "code-llmedit", out=tmp_path / "with", answers=answers)
    export_dataset(folder, "code-llmedit", out=tmp_path / "without")
    name = FOLDERS[benchmark.name]
    assert records(tmp_path / "with" / name / "all.json", benchmark).records == [r for s in SPLITS for r in splits[s]]
    for split in SPLITS:
        cases = load(tmp_path / "with" / name / f"{split}.json")
        for case in cases:
            case["neighborhoods"]["answers"] = {}
        assert cases == load(tmp_path / "without" / name / f"{split}.json")


def test_answers_to_one_split_are_enough_for_it(cnle_folder, cnle_splits, tmp_path):
    answers = write(tmp_path / "answers", CNLE, cnle_splits, only=("test",))
    assert export_dataset(cnle_folder, "code-llmedit", ["test"], tmp_path / "out", answers)
    with pytest.raises(DatasetError, match=r"has no answers to 3 of the 3 cases of the train split, .* with --split\."):
        export_dataset(cnle_folder, "code-llmedit", out=tmp_path / "all", answers=answers)
    assert not (tmp_path / "all").exists()


def test_answers_that_are_not_to_these_cases(cnle_folder, cnle_splits, csne_folder, tmp_path):
    answers, out = write(tmp_path / "answers", CNLE, cnle_splits), tmp_path / "out"

    def export(folder=cnle_folder, form="code-llmedit"):
        return export_dataset(folder, form, out=out, answers=answers)

    with pytest.raises(DatasetError, match="holds answers to cnle, not to csne"):
        export(csne_folder)
    for form in ("easyedit", "jsonl"):
        with pytest.raises(DatasetError, match=f"--answers is for --format code-llmedit; {form} has no place"):
            export(form=form)
    changed = {**cnle_splits, "test": cnle_splits["test"][:2]}
    write_dataset(tmp_path / "changed", CNLE, changed, {})
    with pytest.raises(
        DatasetError, match=r"answers to another test split than this one\. Run 'clmeeval-build answers"
    ):
        export(tmp_path / "changed")
    fewer = {split: [row_of(record) for record in cnle_splits[split]][:2] for split in SPLITS}
    write_answers(answers, read_manifest(answers), fewer)
    with pytest.raises(DatasetError, match=f"no answers to 1 of the 3 cases .*{cnle_splits['train'][2].case_id}"):
        export()
    (answers / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="truncated or damaged"):
        export()
    with pytest.raises(DatasetError, match="no dataset folder"):
        export_dataset(cnle_folder, "code-llmedit", out=out, answers=tmp_path / "none")
    with pytest.raises(DatasetError, match="holds no answers of a model"):
        export_dataset(cnle_folder, "code-llmedit", out=out, answers=cnle_folder)
    assert not out.exists()


def test_the_command_takes_a_folder_of_answers(cnle_folder, cnle_splits, tmp_path, monkeypatch, capsys):
    app = typer.Typer(pretty_exceptions_enable=False)
    export_command.add_to(app)
    app.command("other")(lambda: None)
    answers, out = write(tmp_path / "answers", CNLE, cnle_splits), tmp_path / "out"
    words = ["export", cnle_folder, "--format", "code-llmedit", "--answers", answers, "--out", out]
    monkeypatch.setattr(sys, "argv", ["clmeeval-build", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        run_app(app)
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "EditConala" / "all.json")
    assert load(out / "EditConala" / "all.json")[0]["neighborhoods"]["answers"]["CodeLlama-7b-hf"]
