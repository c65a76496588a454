"""The file that training leaves, and what it refuses."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors.trained import Schedule, Trained, required
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.updates import Dense


@pytest.fixture(scope="module")
def lm(make_lm):
    return make_lm("llama")


@pytest.fixture
def trained(lm):
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(4, 4, generator=generator)
    tensors = {
        "weight": square,
        "transposed": square.T,  # shares the memory of the first
        "half": square.bfloat16(),
        "count": torch.tensor(3),
        "empty": torch.zeros(0, 5),
    }
    facts = {"dataset": {"name": "cnle"}, "steps": 7, "validation_loss": {"first": 1.5, "best": 1 / 3}}
    return Trained("malmen", {"layer": 2, "rate": 1e-6}, lm.fingerprint, lm.name, facts, tensors)


def test_a_trained_file_comes_back_as_it_was(trained, lm, tmp_path):
    trained.save(tmp_path / "new" / "trained.safetensors")
    loaded = Trained.load(tmp_path / "new" / "trained.safetensors")
    for name in ("method", "config", "fingerprint", "model", "facts", "digest"):
        assert getattr(loaded, name) == getattr(trained, name)
    assert loaded.tensors.keys() == trained.tensors.keys()
    for name, tensor in trained.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)
    loaded.check(lm, "malmen", {"layer": 2})


def test_the_digest_is_that_of_the_file(trained, tmp_path):
    trained.save(tmp_path / "trained.safetensors")
    assert trained.digest == hashlib.sha256((tmp_path / "trained.safetensors").read_bytes()).hexdigest()


def test_the_digest_follows_the_content_and_nothing_else(trained):
    again = replace(
        trained, tensors=dict(reversed(trained.tensors.items())), config={"rate": 1e-6, "layer": 2}, digest=""
    )
    assert again.digest == trained.digest
    changed = {**trained.tensors, "weight": trained.tensors["weight"] + 1e-6}
    assert replace(trained, tensors=changed, digest="").digest != trained.digest
    assert replace(trained, facts={}, digest="").digest != trained.digest


def test_training_on_after_the_file_was_made_does_not_change_it(lm):
    weight = torch.zeros(3)
    trained = Trained("malmen", {}, lm.fingerprint, lm.name, {}, {"weight": weight})
    weight += 1
    assert torch.equal(trained.tensors["weight"], torch.zeros(3))


def test_the_file_is_plain_safetensors(trained, tmp_path):
    trained.save(tmp_path / "trained.safetensors")
    with safe_open(str(tmp_path / "trained.safetensors"), framework="pt") as file:
        (described,) = file.metadata().values()
        assert torch.equal(file.get_tensor("weight"), trained.tensors["weight"])
    assert json.loads(described)["facts"] == trained.facts


def damaged(path, kind, trained, lm):
    if kind == "folder":
        path.mkdir()
    elif kind == "edit":
        Edit((Dense("model.layers.0.mlp.down_proj", torch.zeros(2, 2)),), lm.fingerprint, "ft").save(path)
    elif kind == "another safetensors file":
        save_file({"weight": torch.zeros(2)}, path)
    elif kind == "text":
        path.write_text("a" * 400)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "older header":
        save_file({"weight": torch.zeros(2)}, path, metadata={"clmeeval-trained-1": json.dumps({"method": "malmen"})})
    elif kind in {"cut", "cut in the header"}:
        trained.save(path)
        path.write_bytes(path.read_bytes()[: 40 if kind == "cut in the header" else -10])


KINDS = ["missing", "folder", "edit", "another safetensors file", "text", "empty", "older header", "cut",
         "cut in the header"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_trained_file_is_refused_in_one_line(kind, trained, lm, tmp_path):
    path = tmp_path / "trained.safetensors"
    damaged(path, kind, trained, lm)
    with pytest.raises(ConfigError, match=r"Expected a file written by 'clmeeval-evaluate train'") as caught:
        Trained.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_an_expected_error(trained, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot write .*Choose a folder"):
        trained.save(tmp_path / "file" / "trained.safetensors")
    assert (tmp_path / "file").read_text() == "in the way"


def test_another_model_method_or_setting_is_refused(trained, lm, make_lm):
    trained.check(lm, "malmen")
    with pytest.raises(ConfigError, match=r"belongs to model tiny-llama .*not to tiny-llama") as caught:
        trained.check(make_lm("llama", seed=1), "malmen")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"is for malmen, not for agrace. Make one with .*train --method agrace"):
        trained.check(lm, "agrace")
    with pytest.raises(ConfigError, match=r"made with layer = 2; the settings say 3"):
        trained.check(lm, "malmen", {"layer": 3})
    with pytest.raises(ConfigError, match=r"made with depth = None"):
        trained.check(lm, "malmen", {"depth": 3})


def test_a_method_that_needs_training_says_how_to_get_it(trained):
    assert required(trained, "malmen") is trained
    with pytest.raises(ConfigError, match=r"malmen needs a trained file: .*train --method malmen .* --trained FILE\.$"):
        required(None, "malmen")


@pytest.mark.parametrize("name", ["learning_rate", "batch_size", "steps", "validate_every", "clip", "patience"])
def test_a_schedule_refuses_what_cannot_be(name):
    good = {"learning_rate": 0.1, "batch_size": 4, "steps": 10, "validate_every": 2, "clip": None, "patience": None}
    Schedule(**good)
    with pytest.raises(ConfigError, match=rf"Schedule.{name} is 0; expected a number above 0"):
        Schedule(**{**good, name: 0})
