import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from clmeeval_data.errors import CaseError, ModelError
from clmeeval_data.evaluation.model import lm as lm_module
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.model.structure import oriented_weight, read_structure


def test_a_transposed_weight_is_seen_the_right_way_round():
    model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=3, n_head=4, vocab_size=50))
    found = read_structure(model)
    assert (found.layers, found.mlp_output, found.d, found.f) == ("transformer.h", "mlp.c_proj", 32, 128)
    module = model.get_submodule(found.mlp_output_name(1))
    inputs = torch.randn(2, 128)
    torch.testing.assert_close(module(inputs), inputs @ oriented_weight(module).T + module.bias)
    with torch.no_grad():
        oriented_weight(module).add_(1.0)
    torch.testing.assert_close(module(inputs), inputs @ oriented_weight(module).T + module.bias)


def test_a_tokenizer_without_padding_and_end_is_refused(lm, tokenizer):
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ModelError, match="neither a padding nor an end-of-text token"):
        LanguageModel(lm.model, bare, "bare")


def test_prompt_and_target_ids_are_the_ids_of_the_whole_text(lm, requests_):
    for request in requests_:
        whole = lm.tokenizer(f"{request.prompt} {request.target}", add_special_tokens=False).input_ids
        assert lm.encode(request.prompt) + lm.encode_target(request.prompt, request.target) == whole
        assert lm.decode(lm.encode_target(request.prompt, request.target)) == request.target


def test_special_tokens_are_not_decoded(lm):
    assert lm.decode([*lm.encode("x = 1"), lm.tokenizer.eos_token_id]) == "x = 1"


@pytest.mark.parametrize(
    ("prompt", "target", "message"),
    [
        ("", "x", "the prompt is empty"),
        ("Code:", "", "the target is empty"),
        ("Code:", " \n", "the target is empty"),
        ("x" * 5000, "y", r"the prompt has \d+ tokens and the context of tiny-\w+ 256"),
        ("Code:", "y " * 300, r"prompt and target have \d+ tokens; the context of tiny-\w+ holds 256"),
    ],
)
def test_a_case_that_cannot_be_encoded_says_why(lm, prompt, target, message):
    with pytest.raises(CaseError, match=message):
        lm.encode_target(prompt, target)


def test_a_target_that_merges_with_the_prompt_is_an_error(lm, monkeypatch):
    real = lm.encode("Code:")
    monkeypatch.setattr(LanguageModel, "encode", lambda self, prompt: [*real[:-1], 1])
    with pytest.raises(CaseError, match="merges the end of the prompt with the target 'x'"):
        lm.encode_target("Code:", "x")


def test_the_fingerprint_is_of_the_weights(make_lm):
    first, same, other = make_lm("llama"), make_lm("llama"), make_lm("llama", seed=3)
    assert first.fingerprint == same.fingerprint
    assert first.fingerprint != other.fingerprint
    with torch.no_grad():
        same.mlp_output(2).weight.mul_(1.01)
    same.weights_changed()
    assert first.fingerprint != same.fingerprint


def test_a_saved_model_is_loaded_by_its_path(tiny_lm, save_model, tmp_path):
    folder = save_model(tmp_path / "my-model", tiny_lm)
    loaded = load_language_model(str(folder))
    assert loaded.name == "my-model"
    assert loaded.fingerprint == tiny_lm.fingerprint
    half = load_language_model(str(folder), dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    assert half.fingerprint != loaded.fingerprint


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("./nowhere", {}, r"no model folder ./nowhere. Expected a folder written by save_pretrained"),
        ("org/unknown-model", {}, r"cannot load model 'org/unknown-model'"),
        ("smollm2", {"dtype": "int3"}, r"unknown dtype 'int3'. Expected one of float32"),
        ("smollm2", {"device": "warp"}, r"device 'warp' cannot be used"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line(name, options, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_language_model(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_a_precision_that_the_device_cannot_compute_is_refused_before_anything_is_loaded(monkeypatch, error):
    def missing(device, dtype):
        raise error("\"addmm_impl_cpu_\" not implemented for 'Half'\nmore")

    monkeypatch.setattr(lm_module, "_compute_something", missing)
    monkeypatch.setattr(lm_module, "AutoTokenizer", None)
    with pytest.raises(ModelError, match=r"float16 cannot be computed on cpu: .*not implemented.* Expected float32"):
        load_language_model("./nowhere", dtype="float16")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_probe_of_a_precision_passes_where_it_is_computed(dtype):
    lm_module._compute_something(torch.device("cpu"), lm_module.DTYPES[dtype])
