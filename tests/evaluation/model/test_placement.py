"""Models that accelerate keeps on the CPU or the disk until a layer runs: edited and asked like any other."""

import copy

import pytest
import torch

from clmeeval_data.errors import ModelError
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.model.placement import computing_device, stored_tensor
from clmeeval_data.evaluation.model.prefix import layer_input, read_again, read_prompts, run_suffix, suffix_of
from clmeeval_data.evaluation.model.updates import Codebook, Dense, LowRank

accelerate = pytest.importorskip("accelerate")

PROMPTS = ["Intent: sort the list\nCode:", "x"]


def offloaded_to_cpu(model, folder):
    return accelerate.cpu_offload(model, execution_device=torch.device("cpu"))


def offloaded_to_disk(model, folder):
    return accelerate.disk_offload(model, folder, execution_device=torch.device("cpu"))


def spread(model, folder):
    """As device_map="auto" spreads a model: some layers stay, some are on the disk."""
    names = [name for name, _ in model.named_children() if name != "model"]
    names += [f"model.{name}" for name, _ in model.model.named_children() if name != "layers"]
    places = {name: "cpu" for name in names} | {f"model.layers.{i}": ("cpu", "disk")[i % 2] for i in range(4)}
    return accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=folder, force_hooks=True)


@pytest.fixture(scope="module", params=[offloaded_to_cpu, offloaded_to_disk, spread])
def pair(request, make_lm, tmp_path_factory):
    """A model as it is, and the same with its weights elsewhere."""
    plain = make_lm("llama")
    model = request.param(copy.deepcopy(plain.model), tmp_path_factory.mktemp("weights"))
    return plain, LanguageModel(model, plain.tokenizer, plain.name)


def edits_of(lm):
    torch.manual_seed(0)
    name, d, f = lm.map.mlp_output_name(1), lm.map.d, lm.map.f
    updates = [
        LowRank(name, torch.randn(d, 1), torch.randn(1, f) * 0.1),
        Dense(name, torch.randn(d, f) * 0.1),
        Codebook(name, torch.zeros(1, f), torch.randn(1, d), torch.tensor([1e9]), ((1,),)),
    ]
    return [Edit((update,), lm.fingerprint, "test") for update in updates]


def test_the_weights_really_are_elsewhere(pair):
    plain, lm = pair
    assert lm.mlp_output(1).weight.is_meta
    assert not plain.mlp_output(1).weight.is_meta
    assert computing_device(lm.mlp_output(1)) == lm.device == torch.device("cpu")


def test_it_is_the_same_model(pair):
    plain, lm = pair
    assert lm.fingerprint == plain.fingerprint
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(stored_tensor(lm.model, name), tensor)
    assert lm.map == plain.map


def test_layers_are_skipped_and_prompts_read_again(pair):
    plain, lm = pair
    targets = [lm.encode_target(prompt, "y = 1") for prompt in PROMPTS]
    for layer in (1, 2):
        logits = []
        for one in pair:
            prefix = read_prompts(one, PROMPTS, [layer])
            suffix = suffix_of(one, prefix, targets)
            entering = layer_input(one, prefix, suffix, layer)
            prefix = read_again(one, prefix, layer)
            with torch.no_grad():
                logits.append(run_suffix(one, prefix, suffix, layer, entering))
        torch.testing.assert_close(logits[1], logits[0], atol=1e-6, rtol=1e-6)
    assert all("forward" not in vars(layer) for layer in plain.layer_modules)
    assert all("_hf_hook" in vars(lm.model.get_submodule(f"model.layers.1.mlp.{name}")) for name in ("up_proj",))


def test_edits_change_it_as_they_change_the_plain_model(pair):
    outputs = []
    for lm in pair:
        jobs = [Continuation(row, edit, 10) for row in range(len(PROMPTS)) for edit in range(3)]
        outputs.append(generate(lm, read_prompts(lm, PROMPTS, [1]), edits_of(lm), jobs))
    assert outputs[0] == outputs[1]
    assert len({tuple(text) for text in outputs[0]}) > 3, "the edits make no difference"
    assert pair[1].mlp_output(1).weight.is_meta


def test_an_offloaded_weight_cannot_be_merged_into(pair):
    _, lm = pair
    with pytest.raises(ModelError, match=r"the weight of this Linear is offloaded: .* Load the model"):
        edits_of(lm)[1].merge(lm)


def test_a_model_without_values_is_refused(make_lm):
    lm = make_lm("llama")
    lm.model.to("meta")
    lm.weights_changed()
    with pytest.raises(ModelError, match=r"the tensor model\.embed_tokens\.weight has no values"):
        lm.fingerprint  # noqa: B018


def test_auto_loads_a_model_that_edits_alike(make_lm, save_model, tmp_path):
    lm = make_lm("llama")
    loaded = load_language_model(str(save_model(tmp_path, lm)), device="auto")
    assert loaded.fingerprint == lm.fingerprint
    jobs = [Continuation(0, edit, 8) for edit in range(3)]
    found = [generate(one, read_prompts(one, PROMPTS, [1]), edits_of(one), jobs) for one in (lm, loaded)]
    assert found[0] == found[1]
