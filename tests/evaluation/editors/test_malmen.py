"""MALMEN: the edits that are made with a trained network, and what it refuses."""

import json

import pytest
import torch
from torch.nn.functional import cross_entropy

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors.malmen import Malmen, MalmenConfig
from clmeeval_data.evaluation.editors.trained import Trained


@pytest.fixture
def cases(malmen_cases):
    return malmen_cases


@pytest.fixture
def editor(lm, cases, malmen_config, shaken, trained_file):
    """An editor whose network has seen the cases, twice, and has learned nothing."""
    config = malmen_config()
    trainer = shaken(Malmen(config).trainer(lm))
    for _ in range(2):
        trainer.loss(cases)
    return Malmen(config, trained_file(lm, Malmen(config), trainer))


# --- edits ------------------------------------------------------------------------------------------------------------


def test_a_batch_of_edits_equals_one_at_a_time(lm, cases, editor):
    requests = [case.request for case in cases]
    together = editor.edit_each(lm, requests)
    for edit, request in zip(together, requests, strict=True):
        alone, pooled = editor.edit_each(lm, [request])[0], editor.edit(lm, [request])
        assert edit.case_ids == alone.case_ids == pooled.case_ids == (request.case_id,)
        for mine, *others in zip(edit.updates, alone.updates, pooled.updates, strict=True):
            for other in others:
                scale = float(other.delta().abs().max())
                torch.testing.assert_close(mine.delta(), other.delta(), atol=1e-4 * scale, rtol=0)


def test_an_edit_is_what_training_saw(lm, cases, malmen_config, shaken, trained_file):
    """The loss of the trainer's edits, taken from the editor's file and applied as any edit is."""
    config = malmen_config(locality=0.0)
    trainer = shaken(Malmen(config).trainer(lm))
    trainer.loss(cases)
    editor = Malmen(config, trained_file(lm, Malmen(config), trainer))
    losses = []
    for case, edit in zip(cases, editor.edit_each(lm, [case.request for case in cases]), strict=True):
        target = lm.encode_target(case.rephrased_prompt, case.target)
        ids = torch.tensor([lm.encode(case.rephrased_prompt) + target])
        with torch.no_grad(), edit.applied(lm):
            logits = lm.model(input_ids=ids).logits[0, -len(target) - 1 : -1]
        losses.append(float(cross_entropy(logits, ids[0, -len(target) :])))
    assert trainer.validation_loss(cases) == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    together = editor.edit(lm, [case.request for case in cases])
    assert together.case_ids == tuple(case.case_id for case in cases)


def test_the_model_is_as_it_was(lm, cases, untouched, editor, malmen_config, monkeypatch):
    requests, trainer = [case.request for case in cases], Malmen(malmen_config()).trainer(lm)
    editor.edit_each(lm, requests)
    editor.edit(lm, requests)
    trainer.loss(cases)
    trainer.validation_loss(cases)
    assert untouched()

    def fails(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(lm.layer_modules[3], "forward", fails)
    for computed in (lambda: editor.edit_each(lm, requests), lambda: trainer.loss(cases)):
        with pytest.raises(RuntimeError, match="out of memory"):
            computed()
    monkeypatch.undo()
    assert untouched()


# --- bad input --------------------------------------------------------------------------------------------------------


def test_without_a_trained_file_there_is_no_edit(lm, cases, malmen_config):
    editor = Malmen(malmen_config())
    for computed in (lambda: editor.prepare(lm, []), lambda: editor.edit_each(lm, [cases[0].request]),
                     lambda: editor.inputs([])):  # fmt: skip
        with pytest.raises(ConfigError, match="malmen needs a trained file"):
            computed()


def test_a_file_of_another_model_method_or_setting_is_refused(make_lm, malmen_config, trained_file):
    lm, config = make_lm("llama"), malmen_config()
    file = trained_file(lm, Malmen(config))
    with pytest.raises(ConfigError, match="belongs to model tiny-llama"):
        Malmen(config, file).prepare(make_lm("llama", seed=1), [])
    other = Trained("agrace", file.config, file.fingerprint, file.model, {}, file.tensors)
    with pytest.raises(ConfigError, match="is for agrace, not for malmen"):
        Malmen(config, other).prepare(lm, [])
    for name, value in (("layers", (1, 3)), ("rank", 7), ("blocks", 1)):
        with pytest.raises(ConfigError, match=rf"was made with {name} = .*; the settings say"):
            Malmen(malmen_config(**{name: value}), file).prepare(lm, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"rate": torch.ones(3)}, r"tensor rate has shape \(3,\); these settings .* need \(2,\)"),
        (lambda t: {n: v for n, v in t.items() if n != "log_ridge"}, r"log_ridge has shape None; .* need \(2,\)"),
        (lambda t: t | {"more": torch.ones(1)}, r"tensor more has shape \(1,\); .* need None"),
    ],
)
def test_tensors_that_do_not_fit_are_named_in_one_line(lm, change, message, malmen_config, trained_file):
    config = malmen_config()
    file = trained_file(lm, Malmen(config))
    damaged = Trained(file.method, file.config, file.fingerprint, file.model, {}, change(dict(file.tensors)))
    with pytest.raises(ConfigError, match=message) as caught:
        Malmen(config, damaged).prepare(lm, [])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"needs a value for layers"),
        ({"layers": []}, r"layers is \(\); expected one or more layers, lowest first"),
        ({"layers": [1], "rank": 0}, r"rank is 0; expected at least 1"),
        ({"layers": [1], "eta": -1.0}, r"eta is -1.0; expected a number above 0"),
        ({"layers": [1], "locality": -1}, r"locality is -1.0; expected 0 or more"),
        ({"layers": [1], "blocks": -1}, r"blocks is -1; expected 0 or more"),
        ({"layers": [1], "patience": 0}, r"patience is 0; expected at least 1"),
        ({"layers": [1], "together": 1}, r"together is 1; expected bool"),
    ],
)
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        MalmenConfig.from_dict(values)


def test_the_configuration_round_trips_through_json():
    config = MalmenConfig.from_dict({"layers": [1, 3], "patience": 3})
    assert MalmenConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
