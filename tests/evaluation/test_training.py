"""The loop that trains editors: against a loop written down here, stopped anywhere, and on what it must not touch."""

import json
import logging
import zlib
from dataclasses import dataclass, replace
from itertools import chain

import pytest
import torch
from torch import nn

from clmeeval_data.errors import ConfigError, DatasetError, EditError, ResultsError
from clmeeval_data.evaluation import training
from clmeeval_data.evaluation.editors.contract import Case, EditorConfig
from clmeeval_data.evaluation.editors.trained import Schedule, Trained, Trainer
from clmeeval_data.evaluation.training import read_cases, train, train_editor
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import parquet_path, write_dataset

FACTS = {"name": "cnle"}


class Net(nn.Module):
    """Two parameters of different learning rates, dropout, and a buffer that training moves."""

    def __init__(self, dropout):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.slow = nn.Parameter(torch.randn(6, generator=generator))
        self.fast = nn.Parameter(torch.randn(6, generator=generator))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs):
        return (self.dropout(inputs) * self.slow).sum(-1) + (inputs * self.fast).sum(-1).square()


def features(cases):
    """Numbers that only the case's id determines."""
    seeds = [zlib.crc32(case.case_id.encode()) for case in cases]
    return torch.stack([torch.randn(6, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


class Regression(Trainer):
    """Fits a constant; ``script`` replaces the validation losses by given ones."""

    def __init__(self, schedule, dropout=0.0, script=None, fast_rate=None):
        self.parameters, self.schedule = Net(dropout), schedule
        self.batches, self.drawn, self.begun, self.script, self.fast_rate = [], [], [], script, fast_rate

    @property
    def groups(self):
        if self.fast_rate is None:
            return super().groups
        return [{"params": [self.parameters.slow]}, {"params": [self.parameters.fast], "lr": self.fast_rate}]

    def begin(self, cases, track=training.untracked):
        self.begun = list(cases)

    def _loss(self, cases):
        return (self.parameters(features(cases)) - 3.0).square().mean()

    def loss(self, cases):
        assert self.parameters.training
        self.batches.append([case.case_id for case in cases])
        self.parameters.seen += len(cases)
        self.drawn.append(float(torch.rand(())))
        loss = self._loss(cases)
        loss.backward()
        return float(loss.detach())

    @torch.no_grad()
    def validation_loss(self, cases):
        assert not self.parameters.training
        return float(self._loss(cases)) if self.script is None else self.script.pop(0)

    def facts(self):
        return {"seen": float(self.parameters.seen), "training": self.parameters.training}

    def validation_facts(self, cases):
        return {"held": [case.case_id for case in cases]}


@dataclass(frozen=True)
class Config(EditorConfig):
    rate: float = 0.05


class Editor:
    name = "regression"
    needs_training = True
    config_class = Config

    def __init__(self, schedule=None, config=None, **options):
        self.config, self.options = config or Config(), options
        self.schedule = schedule or Schedule(learning_rate=0.05, batch_size=4, steps=30, validate_every=5)
        self.trainers = []

    def trainer(self, lm):
        self.trainers.append(Regression(self.schedule, **self.options))
        return self.trainers[-1]


@pytest.fixture(scope="module")
def lm(make_lm):
    return make_lm("llama")


def cases_of(numbers):
    return [
        Case(
            f"case{i}", f"Intent: add {i}\nCode:", f"Intent: plus {i}\nCode:", f"x += {i}", (f"Intent: sub {i}\nCode:",)
        )
        for i in numbers
    ]


CASES, HELD = cases_of(range(10)), cases_of(range(100, 106))


def run(lm, editor, out, **options):
    return train_editor(lm, editor, CASES, HELD, out, FACTS, **options)


def tensors(result):
    return Trained.load(result.path).tensors


class StoppedError(Exception):
    """What ends a training from outside."""


def stopped_after(steps):
    """A track that ends a training after so many of its steps."""

    def track(items, description, total):
        for done, item in enumerate(items):
            if done == steps:
                raise StoppedError
            yield item

    return track


# --- what is computed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.7])
def test_the_steps_are_those_of_adam_on_the_sampled_batches(lm, tmp_path, clip):
    schedule = Schedule(0.05, 4, steps=17, validate_every=17, weight_decay=0.1, clip=clip)
    editor = Editor(schedule, fast_rate=0.2, script=[2.0, 2.0, 1.0, 1.0])  # the last state is the one that is kept
    result = run(lm, editor, tmp_path)
    net, by_id = Net(0.0), {case.case_id: case for case in CASES}
    slow, fast = (torch.optim.Adam([value], lr, weight_decay=0.1) for value, lr in ((net.slow, 0.05), (net.fast, 0.2)))
    losses = []
    for batch in editor.trainers[0].batches:
        loss = (net(features([by_id[name] for name in batch])) - 3.0).square().mean()
        grads = torch.autograd.grad(loss, [net.slow, net.fast])
        norm = torch.cat(grads).norm()
        scale = 1.0 if clip is None or norm < clip else clip / (norm + 1e-6)
        net.slow.grad, net.fast.grad = (grad * scale for grad in grads)
        slow.step()
        fast.step()
        losses.append(float(loss.detach()))
    torch.testing.assert_close(tensors(result)["slow"], net.slow.detach())
    torch.testing.assert_close(tensors(result)["fast"], net.fast.detach())
    assert torch.equal(tensors(result)["frozen"], torch.ones(2))
    assert result.curve.losses == pytest.approx(losses, rel=1e-4)


def test_every_pass_reads_every_case_once_in_an_order_of_its_own(lm, tmp_path):
    editor = Editor(Schedule(0.05, 4, steps=3, validate_every=1, unit="epochs"))
    result = run(lm, editor, tmp_path)
    batches = editor.trainers[0].batches
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    assert [step for step, _ in result.curve.validations] == [0, 3, 6, 9]
    passes = [list(chain(*batches[start : start + 3])) for start in (0, 3, 6)]
    assert all(sorted(one) == sorted(case.case_id for case in CASES) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_the_seed_decides_the_order_and_the_order_of_the_cases_does_not(lm, tmp_path):
    first, again, other = Editor(), Editor(), Editor()
    same = run(lm, first, tmp_path / "a")
    turned = train_editor(lm, again, CASES[::-1], HELD[::-1], tmp_path / "b", FACTS)
    run(lm, other, tmp_path / "a", seed=1)
    assert first.trainers[0].batches == again.trainers[0].batches
    assert same.path.read_bytes() == turned.path.read_bytes()
    assert first.trainers[0].batches[0] != other.trainers[0].batches[0]
    assert len({path.name for path in (tmp_path / "a" / "cnle" / "tiny-llama").iterdir()}) == 2


def test_neither_the_model_nor_torchs_own_generator_is_changed(lm, tmp_path):
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(lm, Editor(dropout=0.5), tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())


def test_dropout_comes_from_the_seed_and_is_another_one_in_every_step(lm, tmp_path):
    editors = [Editor(dropout=0.5) for _ in range(3)]
    results = [run(lm, editors[i], tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    drawn = [editor.trainers[0].drawn for editor in editors]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0] + drawn[2])) == 60
    assert torch.equal(tensors(results[0])["slow"], tensors(results[1])["slow"])
    assert not torch.equal(tensors(results[0])["slow"], tensors(results[2])["slow"])


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_the_state_with_the_best_validation_loss_is_kept(lm, tmp_path):
    schedule = Schedule(0.05, 6, steps=10, validate_every=2)
    result = run(lm, Editor(schedule, script=[5.0, 3.0, 2.0, 4.0, 2.0, 2.5]), tmp_path)
    assert result.curve.validations == [(0, 5.0), (2, 3.0), (4, 2.0), (6, 4.0), (8, 2.0), (10, 2.5)]
    assert (result.best_step, result.best_loss) == (4, 2.0)  # the earlier of two equal ones
    short = Editor(replace(schedule, steps=4), script=[5.0, 3.0, 2.0])
    at_four = run(lm, short, tmp_path / "short")
    for name, value in tensors(at_four).items():
        assert torch.equal(tensors(result)[name], value)
    facts = Trained.load(result.path).facts
    assert facts["steps"] == 10
    assert facts["best_step"] == 4
    assert facts["validation_loss"] == {"first": 5.0, "best": 2.0}
    assert facts["seen"] == float(tensors(at_four)["seen"]), "the facts are of another state than the saved one"
    assert not facts["training"]
    assert facts["held"] == [case.case_id for case in HELD]


def test_a_training_that_helps_nothing_keeps_the_first_state(lm, tmp_path):
    result = run(lm, Editor(Schedule(0.05, 6, 4, 2), script=[1.0, 3.0, 2.0]), tmp_path)
    assert result.best_step == 0
    assert torch.equal(tensors(result)["slow"], Net(0.0).slow.detach())


def test_patience_ends_a_training(lm, tmp_path):
    script = [5.0, 4.0, 4.5, 3.0, 3.0, 3.5, 1.0]
    result = run(lm, Editor(Schedule(0.05, 6, 12, 2, patience=2), script=script), tmp_path)
    assert [loss for _, loss in result.curve.validations] == [5.0, 4.0, 4.5, 3.0, 3.0, 3.5]
    assert (result.best_step, len(result.curve.losses)) == (6, 10)


def test_the_last_state_is_validated_too(lm, tmp_path):
    result = run(lm, Editor(Schedule(0.05, 6, 6, 4)), tmp_path)
    assert [step for step, _ in result.curve.validations] == [0, 4, 6]


def test_every_validation_case_counts_the_same(lm, tmp_path):
    editor = Editor(Schedule(0.05, 4, 1, 1))  # six cases: batches of four and two
    result = run(lm, editor, tmp_path)
    with torch.no_grad():
        expected = float((Net(0.0)(features(HELD)) - 3.0).square().mean())
    assert result.curve.validations[0][1] == pytest.approx(expected, rel=1e-6)


# --- stopping and going on --------------------------------------------------------------------------------------------

LONG = Schedule(0.05, 4, steps=24, validate_every=4, weight_decay=0.01, clip=1.0)


@pytest.mark.parametrize("stops", [[2], [3], [10], [5, 4, 9], [23]])
def test_a_training_that_was_stopped_ends_with_the_same_bits(lm, tmp_path, stops):
    options = {"dropout": 0.5, "fast_rate": 0.2}
    whole = run(lm, Editor(LONG, **options), tmp_path / "whole", checkpoint_every=3)
    editor = Editor(LONG, **options)
    for steps in stops:
        with pytest.raises(StoppedError):
            run(lm, editor, tmp_path / "stopped", checkpoint_every=3, track=stopped_after(steps))
    result = run(lm, editor, tmp_path / "stopped", checkpoint_every=3)
    assert result.path.read_bytes() == whole.path.read_bytes()
    assert result.curve.losses == whole.curve.losses
    assert result.curve.validations == whole.curve.validations
    computed = sum(len(trainer.batches) for trainer in editor.trainers)
    assert computed <= len(whole.curve.losses) + 2 * len(stops), "more was computed again than since the checkpoint"


@pytest.mark.parametrize("stop", [5, 8, 10])
def test_patience_ends_a_training_that_was_stopped_where_it_ends_a_whole_one(lm, tmp_path, stop):
    schedule = replace(LONG, batch_size=6, validate_every=2, patience=2)
    script = [5.0, 3.0, 4.0, 2.0, 3.0, 2.5, 0.0]  # after 0, 2, 4, ... steps; over after 10
    whole = run(lm, Editor(schedule, script=[*script]), tmp_path / "whole")
    with pytest.raises(StoppedError):
        run(lm, Editor(schedule, script=[*script]), tmp_path / "b", checkpoint_every=1, track=stopped_after(stop))
    editor = Editor(schedule, script=script[1 + stop // 2 :])
    result = run(lm, editor, tmp_path / "b")
    assert (len(whole.curve.losses), whole.best_step) == (10, 6)
    assert len(editor.trainers[0].batches) == 10 - stop
    assert result.path.read_bytes() == whole.path.read_bytes()


def test_a_complete_training_is_returned_at_once(lm, tmp_path):
    first, second = Editor(), Editor()
    result, again = run(lm, first, tmp_path, checkpoint_every=5), run(lm, second, tmp_path)
    assert not second.trainers
    assert again == result
    assert sorted(path.name for path in result.path.parent.iterdir()) == [
        "curve.json",
        "curve.svg",
        "trained.safetensors",
    ]


def test_the_trained_file_is_written_last(lm, tmp_path, monkeypatch):
    def fails(*arguments):
        raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr(training, "draw_curve", fails)
        with pytest.raises(StoppedError):
            run(lm, Editor(), tmp_path, checkpoint_every=10)
    assert not list(tmp_path.rglob("trained.safetensors"))
    editor = Editor()
    run(lm, editor, tmp_path, checkpoint_every=10)
    assert not editor.trainers[0].batches, "the checkpoint at the last step was not taken up"


@pytest.mark.parametrize("change", ["config", "cases", "validation", "seed", "model"])
def test_another_training_has_another_folder(lm, make_lm, tmp_path, change):
    first = run(lm, Editor(), tmp_path)
    other = train_editor(
        make_lm("llama", seed=3) if change == "model" else lm,
        Editor(config=Config(0.1)) if change == "config" else Editor(),
        CASES[:-1] if change == "cases" else CASES,
        HELD[:-1] if change == "validation" else HELD,
        tmp_path,
        FACTS,
        seed=4 if change == "seed" else 0,
    )
    assert other.path != first.path
    assert other.path.parent.name.startswith("regression--")
    assert other.path.parent.parent == tmp_path / "cnle" / "tiny-llama"


def test_a_damaged_checkpoint_is_an_expected_error(lm, tmp_path):
    with pytest.raises(StoppedError):
        run(lm, Editor(), tmp_path, checkpoint_every=2, track=stopped_after(6))
    (path,) = tmp_path.rglob("checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ResultsError, match=r"cannot read .*checkpoint\.safetensors.*Remove it"):
        run(lm, Editor(), tmp_path)


def test_a_folder_that_cannot_be_written_is_an_expected_error(lm, tmp_path):
    (tmp_path / "cnle").write_text("in the way")
    with pytest.raises(ResultsError, match="Choose a folder you may write to"):
        run(lm, Editor(), tmp_path, checkpoint_every=2)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_training_at_its_step(lm, tmp_path, monkeypatch):
    loss = Regression.loss
    monkeypatch.setattr(
        Regression, "loss", lambda self, cases: loss(self, cases) if len(self.batches) < 2 else float("nan")
    )
    with pytest.raises(EditError, match=r"regression at training step 3 became nan"):
        run(lm, Editor(), tmp_path)
    assert not list(tmp_path.rglob("trained.safetensors"))


def test_a_gradient_that_is_no_number_ends_the_training_at_its_step(lm, tmp_path, monkeypatch):
    def overflows(self, cases):
        self.parameters.slow.grad = torch.full((6,), float("inf"))
        return 1.0

    monkeypatch.setattr(Regression, "loss", overflows)
    with pytest.raises(EditError, match=r"gradient of regression became inf at training step 1\. Lower"):
        run(lm, Editor(), tmp_path)


def test_a_validation_loss_that_is_no_number_ends_the_training(lm, tmp_path):
    editor = Editor(Schedule(0.05, 6, 10, 5), script=[1.0, float("nan")])
    with pytest.raises(EditError, match="on the validation cases after 5 steps became nan"):
        run(lm, editor, tmp_path)


def test_cases_that_the_model_cannot_read_are_left_out_and_counted(lm, tmp_path, caplog):
    long, empty = cases_of([50, 51])
    long = replace(long, neighbour_prompts=("many words " * 300,))
    empty = replace(empty, target=" ")
    editor = Editor()
    with caplog.at_level(logging.WARNING, "clmeeval_data"):
        result = train_editor(lm, editor, [long, *CASES, empty], HELD, tmp_path, FACTS)
    assert "2 of 12 training cases are left out." in caplog.messages
    assert {case.case_id for case in editor.trainers[0].begun} == {case.case_id for case in [*CASES, *HELD]}
    facts = Trained.load(result.path).facts
    assert facts["counts"] == {"train": 10, "validation": 6}
    assert facts["left_out"] == {"train": 2, "validation": 0}
    with pytest.raises(DatasetError, match="none of the 1 validation cases can be used with tiny-llama"):
        train_editor(lm, Editor(), CASES, [empty], tmp_path, FACTS)
    with pytest.raises(DatasetError, match="none of the 0 training cases"):
        train_editor(lm, Editor(), [], HELD, tmp_path, FACTS)


# --- the curve --------------------------------------------------------------------------------------------------------


def test_the_curve_is_kept_as_numbers_and_as_a_picture(lm, tmp_path):
    result = run(lm, Editor(), tmp_path)
    found = json.loads((result.path.parent / "curve.json").read_text())
    assert found["losses"] == result.curve.losses
    assert len(found["losses"]) == 30
    assert [step for step, _ in found["validations"]] == [0, 5, 10, 15, 20, 25, 30]
    assert found["seconds"] > 0
    picture = (result.path.parent / "curve.svg").read_text()
    assert picture.count("<path") > 3
    for text in ("training batch", "validation", f"after {result.best_step}", "regression, tiny-llama, cnle"):
        assert text in picture


def test_a_lost_curve_is_an_expected_error(lm, tmp_path):
    result = run(lm, Editor(), tmp_path)
    (result.path.parent / "curve.json").write_text("{}")
    with pytest.raises(ResultsError, match=r"cannot read .*curve\.json.* Remove its folder to train again"):
        run(lm, Editor(), tmp_path)


# --- the dataset ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory, lm):
    """A dataset whose test split is damaged, and a model."""
    root = tmp_path_factory.mktemp("training")
    lm.model.save_pretrained(root / "model")
    lm.tokenizer.save_pretrained(root / "model")
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


def test_training_by_names(folder, monkeypatch, tmp_path):
    made = []

    def editor_class(config):
        made.append(Editor(config=config))
        return made[-1]

    editor_class.needs_training, editor_class.config_class = True, Config
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
