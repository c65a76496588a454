"""The pass over a corpus: which tokens count, how sums are taken, what is refused."""

import itertools

import pytest
import torch

from clmeeval_data.errors import ConfigError, EditError, ModelError, SourceError
from clmeeval_data.evaluation.model import corpus as corpus_module
from clmeeval_data.evaluation.model import statistics
from clmeeval_data.evaluation.model.corpus import Corpus, corpus_of_texts
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.statistics import key_statistics


def keys_of(lm, texts, layer):
    """The truth: the keys of all tokens, one text at a time through the whole model."""
    found = []
    handle = lm.mlp_output(layer).register_forward_hook(lambda module, args, output: found.append(args[0][0].double()))
    for text in texts:
        ids = lm.tokenizer(text, add_special_tokens=False).input_ids[: lm.context_length]
        if ids:
            with torch.no_grad():
                lm.model(torch.tensor([ids]))
    handle.remove()
    return torch.cat(found)


def test_the_second_moment_is_that_of_all_tokens(lm, corpus, texts, relative_error):
    found = key_statistics(lm, corpus, [2], 100_000)[2]
    keys = keys_of(lm, texts, 2)
    assert (found.layer, found.count) == (2, len(keys))
    assert found.second_moment.dtype == torch.float32
    assert found.second_moment.shape == (lm.map.f, lm.map.f)
    assert relative_error(found.second_moment, keys.T @ keys / len(keys)) < 1e-6
    assert torch.equal(found.second_moment, found.second_moment.T)


def test_padding_does_not_count(tiny_lm, monkeypatch, texts, relative_error):
    pair = [texts[0], texts[1]]
    assert len(tiny_lm.encode(pair[0])) > 2 * len(tiny_lm.encode(pair[1]))
    widths = []
    real = type(tiny_lm.model).forward
    monkeypatch.setattr(
        type(tiny_lm.model), "forward", lambda self, **given: [widths.append(given["input_ids"]), real(self, **given)]
    )
    found = key_statistics(tiny_lm, corpus_of_texts("pair", pair), [1], 100_000)[1]
    monkeypatch.undo()
    assert [ids.shape[0] for ids in widths] == [2], "the two texts were to be read in one padded batch"
    keys = keys_of(tiny_lm, pair, 1)
    assert found.count == len(keys) < widths[0].numel()
    assert relative_error(found.second_moment, keys.T @ keys / len(keys)) < 1e-6


def test_windows_and_batches_change_nothing_but_rounding(tiny_lm, corpus, texts, small_parts, relative_error):
    found = key_statistics(tiny_lm, corpus, [1], 100_000)[1]
    keys = keys_of(tiny_lm, texts, 1)
    assert found.count == len(keys)
    assert relative_error(found.second_moment, keys.T @ keys / len(keys)) < 1e-6


def test_several_layers_in_one_pass_equal_single_passes(tiny_lm, corpus, tmp_path):
    together = key_statistics(tiny_lm, corpus, [3, 0, 2], 500)
    assert list(together) == [3, 0, 2]
    for layer, found in together.items():
        alone = key_statistics(tiny_lm, corpus, [layer], 500, cache=tmp_path / f"alone-{layer}")[layer]
        assert torch.equal(found.second_moment, alone.second_moment)
        assert found.layer == layer


def test_the_budget_cuts_the_last_text(tiny_lm, corpus, texts, relative_error):
    keys = keys_of(tiny_lm, texts, 1)[:333]
    found = key_statistics(tiny_lm, corpus, [1], 333)[1]
    assert found.count == 333
    assert relative_error(found.second_moment, keys.T @ keys / 333) < 1e-6


def test_the_budget_is_cut_at_windows_too(tiny_lm, corpus, texts, small_parts, relative_error):
    keys = keys_of(tiny_lm, texts, 1)[:333]
    found = key_statistics(tiny_lm, corpus, [1], 333)[1]
    assert found.count == 333
    assert relative_error(found.second_moment, keys.T @ keys / 333) < 1e-6


def test_no_more_texts_are_read_than_the_budget_needs(tiny_lm, texts):
    read = []
    endless = Corpus("endless", "0" * 64, lambda: (read.append(text) or text for text in itertools.cycle(texts)))
    assert key_statistics(tiny_lm, endless, [0], 50)[0].count == 50
    needed = next(n for n in range(1, 99) if sum(len(tiny_lm.tokenizer(t).input_ids) for t in texts[:n]) >= 50)
    assert len(read) == needed


def test_long_texts_are_cut_at_the_context(tiny_lm, monkeypatch, relative_error):
    long = "x = 1\n" * 400
    assert len(tiny_lm.tokenizer(long).input_ids) > 2 * tiny_lm.context_length
    found = key_statistics(tiny_lm, corpus_of_texts("long", [long, "y = 2"]), [1], 100_000)[1]
    keys = keys_of(tiny_lm, [long, "y = 2"], 1)
    assert found.count == len(keys) == tiny_lm.context_length + len(tiny_lm.encode("y = 2"))
    assert relative_error(found.second_moment, keys.T @ keys / len(keys)) < 1e-6
    monkeypatch.setattr(corpus_module, "LONGEST_TEXT", 100)
    shorter = key_statistics(tiny_lm, corpus_of_texts("longer", [long]), [1], 100_000)[1]
    assert shorter.count == 100


def test_a_text_with_half_a_character_is_read(tiny_lm):
    assert key_statistics(tiny_lm, corpus_of_texts("odd", ["a = '\ud800'"]), [0], 100)[0].count > 3


def test_the_forward_ends_at_the_highest_layer_and_leaves_no_trace(tiny_lm, corpus):
    ran = []
    handles = [
        tiny_lm.model.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
        for name in ("model.layers.0", "model.layers.1", "model.layers.2", "model.layers.1.mlp.down_proj", "lm_head")
    ]
    key_statistics(tiny_lm, corpus, [0, 1], 100)
    for handle in handles:
        handle.remove()
    assert set(ran) == {"model.layers.0", "model.layers.1.mlp.down_proj"}
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in tiny_lm.model.modules())
    ids = torch.tensor([tiny_lm.encode("a = 1")])
    assert tiny_lm.model(ids).logits.shape == (1, ids.shape[1], len(tiny_lm.tokenizer))


def test_weights_that_wait_elsewhere_stay_there(make_lm, corpus, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    expected = key_statistics(make_lm("llama"), corpus, [0, 1], 300, cache=tmp_path / "whole")
    lm = make_lm("llama")
    accelerate.cpu_offload(lm.model, execution_device="cpu")
    found = key_statistics(lm, corpus, [0, 1], 300)
    assert all(torch.equal(found[layer].second_moment, expected[layer].second_moment) for layer in (0, 1))
    assert all(parameter.is_meta for parameter in lm.model.parameters())


def test_no_hook_stays_after_an_exception(tiny_lm, corpus, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(tiny_lm.model.model.layers[1], "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        key_statistics(tiny_lm, corpus, [0, 1], 100)
    assert not any(module._forward_pre_hooks for module in tiny_lm.model.modules())


def test_what_cannot_be_done_is_said(tiny_lm, corpus):
    with pytest.raises(ConfigError, match="token budget of key statistics is 0; expected 1 or more"):
        key_statistics(tiny_lm, corpus, [1], 0)
    with pytest.raises(ModelError, match="layer 4 does not exist"):
        key_statistics(tiny_lm, corpus, [1, 4], 10)
    with pytest.raises(SourceError, match="the corpus empty holds no text"):
        key_statistics(tiny_lm, corpus_of_texts("empty", ["", ""]), [1], 10)
    edit = Edit((), tiny_lm.fingerprint, "none", {}, (), {})
    with edit.applied(tiny_lm), pytest.raises(EditError, match="with an edit applied"):
        key_statistics(tiny_lm, corpus, [1], 10)
    assert key_statistics(tiny_lm, corpus, [], 10) == {}


def test_keys_that_are_not_finite_are_refused(tiny_lm, corpus):
    tiny_lm.model.model.layers[1].mlp.up_proj.weight.fill_(float("inf"))
    tiny_lm.weights_changed()
    with pytest.raises(ModelError, match="the keys of layer 1 are not finite"):
        key_statistics(tiny_lm, corpus, [1], 100)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_in_half_precision(make_lm, corpus, texts, dtype, relative_error):
    lm = make_lm("qwen2")
    lm.model.to(dtype)
    found = key_statistics(lm, corpus, [2], 100_000)[2]
    keys = keys_of(lm, texts, 2)
    truth = keys.T @ keys / len(keys)
    assert found.second_moment.dtype == torch.float32
    # padding makes the model itself round elsewhere: far less than products in half precision would be off
    assert relative_error(found.second_moment, truth) < {torch.bfloat16: 2e-3, torch.float16: 3e-4}[dtype]


def test_products_are_taken_in_full_precision(monkeypatch):
    settings, seen = torch.backends.cuda.matmul, []
    real = torch.Tensor.__matmul__

    def product(left, right):
        seen.append((settings.fp32_precision, left.dtype, right.dtype))
        return real(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    before = settings.fp32_precision
    settings.fp32_precision = "tf32"
    try:
        sums = statistics._Sums()
        sums.add(0, torch.ones(2, 3, dtype=torch.bfloat16))
        assert settings.fp32_precision == "tf32"
    finally:
        settings.fp32_precision = before
    assert seen == [("ieee", torch.float32, torch.float32)]
    assert sums.of[0].dtype == torch.float64


def test_sums_are_in_double_precision():
    sums = statistics._Sums()
    sums.add(0, torch.full((1, 1), 4096.0))
    for _ in range(1000):
        sums.add(0, torch.full((1, 1), 0.5))
    assert float(sums.of[0]) == 4096.0**2 + 250  # in float32 each addition would be lost


def test_the_mean_is_symmetric_to_the_last_bit():
    total = torch.tensor([[2.0, 1.0 + 1e-7], [1.0, 3.0]], dtype=torch.float64)
    found = statistics._Sums({0: total}, tokens=2).statistics(0).second_moment
    assert torch.equal(found, found.T)
    assert torch.allclose(found, torch.tensor([[1.0, 0.5], [0.5, 1.5]]))
