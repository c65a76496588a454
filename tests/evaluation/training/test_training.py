"""What a training reads and leaves: folder, files, dataset and curve, and what goes wrong."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from clmeeval_data.errors import ConfigError, DatasetError, EditError, ResultsError
from clmeeval_data.evaluation import training
from clmeeval_data.evaluation.editors.trained import Schedule, Trained
from clmeeval_data.evaluation.training import read_cases, train
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import parquet_path, write_dataset

# --- folder and files -------------------------------------------------------------------------------------------------


def test_a_complete_training_is_returned_at_once(tmp_path, make_editor, run):
    first, second = make_editor(), make_editor()
    result, again = run(first, tmp_path, checkpoint_every=5), run(second, tmp_path)
    assert not second.trainers
    assert again == result
    assert sorted(path.name for path in result.path.parent.iterdir()) == [
        "curve.json",
        "curve.svg",
        "trained.safetensors",
    ]


def test_the_trained_file_is_written_last(tmp_path, monkeypatch, make_editor, run):
    def fails(*arguments):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(training, "draw_curve", fails)
        with pytest.raises(RuntimeError, match="killed"):
            run(make_editor(), tmp_path, checkpoint_every=10)
    assert not list(tmp_path.rglob("trained.safetensors"))
    editor = make_editor()
    run(editor, tmp_path, checkpoint_every=10)
    assert not editor.trainers[0].batches, "the checkpoint at the last step was not taken up"


@pytest.mark.parametrize("change", ["config", "cases", "validation", "seed", "model"])
def test_another_training_has_another_folder(lm, make_lm, tmp_path, change, make_editor, run, cases, held):
    first = run(make_editor(), tmp_path)
    other = run(
        make_editor(config=make_editor.config_class(0.1)) if change == "config" else make_editor(),
        tmp_path,
        lm=make_lm("llama", seed=3) if change == "model" else lm,
        cases=cases[:-1] if change == "cases" else cases,
        validation=held[:-1] if change == "validation" else held,
        seed=4 if change == "seed" else 0,
    )
    assert other.path != first.path
    assert other.path.parent.name.startswith("regression--")
    assert other.path.parent.parent == tmp_path / "cnle" / "tiny-llama"


def test_a_folder_that_cannot_be_written_is_an_expected_error(tmp_path, make_editor, run):
    (tmp_path / "cnle").write_text("in the way")
    with pytest.raises(ResultsError, match="Choose a folder you may write to"):
        run(make_editor(), tmp_path, checkpoint_every=2)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_training_at_its_step(tmp_path, monkeypatch, make_editor, run):
    loss = make_editor.trainer_class.loss

    def fails(self, cases):
        return loss(self, cases) if len(self.batches) < 2 else float("nan")

    monkeypatch.setattr(make_editor.trainer_class, "loss", fails)
    with pytest.raises(EditError, match=r"regression at training step 3 became nan"):
        run(make_editor(), tmp_path)
    assert not list(tmp_path.rglob("trained.safetensors"))


def test_a_gradient_that_is_no_number_ends_the_training_at_its_step(tmp_path, monkeypatch, make_editor, run):
    def overflows(self, cases):
        self.parameters.slow.grad = torch.full((6,), float("inf"))
        return 1.0

    monkeypatch.setattr(make_editor.trainer_class, "loss", overflows)
    with pytest.raises(EditError, match=r"gradient of regression became inf at training step 1\. Lower"):
        run(make_editor(), tmp_path)


def test_a_validation_loss_that_is_no_number_ends_the_training(tmp_path, make_editor, run):
    editor = make_editor(Schedule(0.05, 6, 10, 5), script=[1.0, float("nan")])
    with pytest.raises(EditError, match="on the validation cases after 5 steps became nan"):
        run(editor, tmp_path)


def test_cases_that_the_model_cannot_read_are_left_out_and_counted(tmp_path, caplog, make_editor, run, cases, held):
    long = replace(cases[0], case_id="long", neighbour_prompts=("many words " * 300,))
    empty = replace(cases[1], case_id="empty", target=" ")
    editor = make_editor()
    with caplog.at_level(logging.WARNING, "clmeeval_data"):
        result = run(editor, tmp_path, cases=[long, *cases, empty])
    assert "2 of 12 training cases are left out." in caplog.messages
    assert {case.case_id for case in editor.trainers[0].begun} == {case.case_id for case in [*cases, *held]}
    facts = Trained.load(result.path).facts
    assert facts["counts"] == {"train": 10, "validation": 6}
    assert facts["left_out"] == {"train": 2, "validation": 0}
    with pytest.raises(DatasetError, match="none of the 1 validation cases can be used with tiny-llama"):
        run(make_editor(), tmp_path, validation=[empty])
    with pytest.raises(DatasetError, match="none of the 0 training cases"):
        run(make_editor(), tmp_path, cases=[])


# --- the curve --------------------------------------------------------------------------------------------------------


def test_the_curve_is_kept_as_numbers_and_as_a_picture(tmp_path, make_editor, run):
    result = run(make_editor(), tmp_path)
    found = json.loads((result.path.parent / "curve.json").read_text())
    assert found["losses"] == result.curve.losses
    assert len(found["losses"]) == 30
    assert [step for step, _ in found["validations"]] == [0, 5, 10, 15, 20, 25, 30]
    assert found["seconds"] > 0
    picture = (result.path.parent / "curve.svg").read_text()
    assert picture.count("<path") > 3
    for text in ("training batch", "validation", f"after {result.best_step}", "regression, tiny-llama, cnle"):
        assert text in picture


def test_a_lost_curve_is_an_expected_error(tmp_path, make_editor, run):
    result = run(make_editor(), tmp_path)
    (result.path.parent / "curve.json").write_text("{}")
    with pytest.raises(ResultsError, match=r"cannot read .*curve\.json.* Remove its folder to train again"):
        run(make_editor(), tmp_path)


# --- the dataset ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory, lm, save_model):
    """A dataset whose test split is damaged, and a model."""
    root = tmp_path_factory.mktemp("training")
    save_model(root / "model", lm)
    records = [
        CnleRecord(
            CNLE.case_id(f"add {i} to x", f"x += {i}"),
            f"add {i} to x",
            f"increase x by {i}",
            f"x += {i}",
            (CnleNeighbour(f"do {i} things", f"f({i})", 50.0),),
            Provenance("test", f"q{i}", f"group {i}", "Apache-2.0"),
            Rephrasing("human", "", "1"),
        )
        for i in range(12)
    ]
    write_dataset(root / "data", CNLE, {"train": records[:6], "validation": records[6:10], "test": records[10:]}, {})
    parquet_path(root / "data", "test").write_bytes(b"not parquet")
    return root


def test_the_test_split_is_not_opened(folder, monkeypatch):
    opened = []
    open_split = training.open_split
    monkeypatch.setattr(training, "open_split", lambda *given: opened.append(given[1]) or open_split(*given))
    cases = read_cases(str(folder / "data"))
    assert opened == ["train", "validation"]
    assert cases.name == "cnle"
    assert [len(cases.train), len(cases.validation)] == [6, 4]
    first = next(case for case in cases.train if case.target == "x += 3")
    assert first.prompt == "Intent: add 3 to x\nCode:"
    assert first.rephrased_prompt == "Intent: increase x by 3\nCode:"
    assert first.neighbour_prompts == ("Intent: do 3 things\nCode:",)


def test_limits_take_the_first_cases(folder):
    whole, some = read_cases(str(folder / "data")), read_cases(str(folder / "data"), 2, 3)
    assert some.train == whole.train[:2]
    assert some.validation == whole.validation[:3]
    for limits in ((0, None), (None, -1)):
        with pytest.raises(ConfigError, match="expected 1 or more"):
            read_cases(str(folder / "data"), *limits)


def test_training_by_names(folder, monkeypatch, tmp_path, make_editor):
    made = []

    def editor_class(config):
        made.append(make_editor(config=config))
        return made[-1]

    editor_class.needs_training, editor_class.config_class = True, make_editor.config_class
    monkeypatch.setattr(training, "EDITORS", {"regression": editor_class, "none": object})
    common = {"model": str(folder / "model"), "dataset": str(folder / "data"), "out": tmp_path}
    result = train(method="regression", overrides=[("rate", 2)], limit=5, validation_limit=1, seed=3, **common)
    trained = Trained.load(result.path)
    assert result.path.parent.parent == tmp_path / "cnle" / "model"
    assert (trained.config, trained.facts["seed"]) == ({"rate": 2.0}, 3)
    assert trained.facts["counts"] == {"train": 5, "validation": 1}
    assert trained.facts["dataset"] == {"name": "cnle", "location": str(folder / "data")}
    with pytest.raises(ConfigError, match="none needs no training"):
        train(method="none", **common)
    with pytest.raises(ConfigError, match=r"Config has no setting 'steps'"):
        train(method="regression", overrides=[("steps", 2)], **common)
