"""What editing builds on, shown for every tested architecture: exact savings, edits that stay where they belong."""

import copy

import pytest
import torch
import transformers

from clmeeval_data.errors import ModelError
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.hooks import captured_inputs, captured_outputs
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import layer_input, read_again, read_prompts, run_suffix, suffix_of
from clmeeval_data.evaluation.model.probe import observed
from clmeeval_data.evaluation.model.structure import oriented_weight, read_structure
from clmeeval_data.evaluation.model.updates import Codebook, Dense, LowRank

PROMPTS = ["Intent: sort the list\nCode:", "x", "Intent: a much longer intent, with `names` and 'texts'\nCode:"]
TARGETS = ["sorted(xs)", "y = 1", "print('a longer answer', end='')"]
NAMES = {
    "llama": ("model.layers", "mlp.down_proj", "self_attn.o_proj"),
    "qwen2": ("model.layers", "mlp.down_proj", "self_attn.o_proj"),
    "stablelm": ("model.layers", "mlp.down_proj", "self_attn.o_proj"),
    "mistral": ("model.layers", "mlp.down_proj", "self_attn.o_proj"),
    "gemma": ("model.layers", "mlp.down_proj", "self_attn.o_proj"),
    "qwen3": ("model.layers", "mlp.down_proj", "self_attn.o_proj"),
    "gpt_neox": ("gpt_neox.layers", "mlp.dense_4h_to_h", "attention.dense"),
    "gpt2": ("transformer.h", "mlp.c_proj", "attn.c_proj"),
}

# --- further architectures, by the prefix of their classes' names: what their configuration needs ---------------------

LAYOUT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 256}
LLAMA = {**LAYOUT, "intermediate_size": 64, "num_key_value_heads": 2}
GPT = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256}
EXPERTS = {**LLAMA, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
SLIDING = {**LLAMA, "head_dim": 8, "sliding_window": 8}
FITTING = {
    "Gemma2": SLIDING,
    "Gemma3": SLIDING,
    "Mistral": {**LLAMA, "sliding_window": 8},
    "Phi3": LLAMA,
    "Starcoder2": LLAMA,
    "Bloom": {"hidden_size": 32, "n_layer": 4, "n_head": 4},
    "Falcon": LAYOUT,
    "CodeGen": {**GPT, "n_ctx": 256, "rotary_dim": 4},
    "GPTJ": {**GPT, "rotary_dim": 4},
    "Mpt": {"d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 256},
}
REFUSED = {
    "OPT": ({**LAYOUT, "ffn_dim": 64, "word_embed_proj_dim": 32}, r"gives fc2 inputs of shape \(3, 64\) for 3 rows"),
    "Mixtral": ({**LLAMA, "num_local_experts": 2}, r"no dense MLP output map of 32 rows in layer 0, model\.layers\.0"),
    "Qwen2Moe": ({**EXPERTS, "shared_expert_intermediate_size": 16}, r"no dense MLP output map .* in layer 0"),
    "Jamba": ({**EXPERTS, "use_mamba_kernels": False}, r"no dense MLP output map .* in layer 1"),
    "Mamba": ({"hidden_size": 32, "num_hidden_layers": 2}, r"no dense MLP output map .* or no MLPs"),
    "RecurrentGemma": (
        {**LLAMA, "lru_width": 32, "attention_window_size": 8},
        r"keeps other states than one key and one value per token in some layers \(LinearAttentionLayer\)",
    ),
}


def model_of(name, settings, vocabulary=400):
    names = {"Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM")}
    config_class, model_class = names.get(name, (f"{name}Config", f"{name}ForCausalLM"))
    torch.manual_seed(0)
    ids = {"vocab_size": vocabulary, "eos_token_id": 0, "pad_token_id": 0, "bos_token_id": None}
    config = getattr(transformers, config_class)(**settings, **ids, initializer_range=0.2, init_std=0.2)
    model = getattr(transformers, model_class)(config)
    model.generation_config.use_cache = True
    return model


@pytest.fixture(scope="module", params=list(FITTING))
def further_lm(request, tokenizer):
    return LanguageModel(model_of(request.param, FITTING[request.param], len(tokenizer)), tokenizer, request.param)


# --- what is computed once is what a plain pass computes --------------------------------------------------------------


def targets_of(lm):
    return [lm.encode_target(prompt, target) for prompt, target in zip(PROMPTS, TARGETS, strict=True)]


def plain_logits(lm, prompt, target):
    """Logits at the positions that predict the target, by one plain pass over one unpadded text."""
    ids = lm.encode(prompt) + target
    with torch.no_grad():
        return lm.model(input_ids=torch.tensor([ids])).logits[0, len(ids) - len(target) - 1 : -1]


def greedy(lm, prompt, tokens):
    """transformers' own greedy generation, one text at a time."""
    ids = torch.tensor([lm.encode(prompt)])
    mask = torch.ones_like(ids)
    output = lm.model.generate(ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=lm.pad_id)
    new = output[0, ids.shape[1] :].tolist()
    return new[: new.index(0)] if 0 in new else new  # 0 ends a text


def assert_near(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5 * max(1.0, float(expected.abs().max())), rtol=0)


def check_savings(lm):
    targets, prefix = targets_of(lm), read_prompts(lm, PROMPTS)
    suffix = suffix_of(lm, prefix, targets)
    with torch.no_grad():
        whole = run_suffix(lm, prefix, suffix)
        for row, (prompt, target) in enumerate(zip(PROMPTS, targets, strict=True)):
            assert_near(whole[row, : len(target)], plain_logits(lm, prompt, target))
        for layer in (1, 3):
            part = run_suffix(lm, prefix, suffix, layer, layer_input(lm, prefix, suffix, layer))
            assert_near(part[suffix.mask], whole[suffix.mask])
    assert not any("forward" in vars(module) for module in lm.layer_modules)


def check_generation(lm, edit):
    """With and without drafts, right and wrong ones, and rows that stop at different lengths."""
    lengths, drafts = (24, 9, 15), []
    with edit.applied(lm):
        truth = [greedy(lm, prompt, length) for prompt, length in zip(PROMPTS, lengths, strict=True)]
    for row, right in enumerate((3, 0, 5)):
        drafts.append((tuple(truth[row][:right] + [9] * 8), tuple(truth[row])))
    jobs = [Continuation(row, 0, length) for row, length in enumerate(lengths)]
    jobs += [Continuation(row, 0, length, drafts[row]) for row, length in enumerate(lengths)]
    jobs += [Continuation(row, 0, length, drafts[row][:1]) for row, length in enumerate(lengths)]
    assert generate(lm, read_prompts(lm, PROMPTS, [1]), [edit], jobs) == truth * 3


def unedited(lm):
    return Edit((), lm.fingerprint, "none")


def rank_two(lm, layer=1):
    """A change of a weight that is as large as the weight."""
    torch.manual_seed(0)
    left, right = torch.randn(lm.map.d, 2), torch.randn(2, lm.map.f)
    return Edit((LowRank(lm.map.mlp_output_name(layer), left * 0.1, right * 0.1),), lm.fingerprint, "test")


def test_the_modules_are_found(any_lm, architecture):
    assert (any_lm.map.layers, any_lm.map.mlp_output, any_lm.map.attention_output) == NAMES[architecture]
    assert (any_lm.map.depth, any_lm.map.d, any_lm.map.f) == (4, 32, 64)
    assert any_lm.layer_modules[2] is any_lm.model.get_submodule(f"{NAMES[architecture][0]}.2")


def test_a_layer_adds_what_the_two_output_maps_write(any_lm):
    """So they are the right modules: nothing else reaches the residual stream."""
    layer = {0: any_lm.layer_modules[1]}
    maps = {"mlp": any_lm.mlp_output(1), "attention": any_lm.attention_output(1)}
    with torch.no_grad(), captured_inputs(layer) as entering, captured_outputs({**layer, **maps}) as left:
        any_lm.model(input_ids=torch.tensor([any_lm.encode(PROMPTS[0])]))
    assert_near(entering[0] + left["attention"] + left["mlp"], left[0])


def test_prompts_and_suffixes_give_the_logits_of_plain_passes(any_lm):
    check_savings(any_lm)


def test_reading_again_from_a_layer_equals_reading_from_the_start(any_lm):
    prefix = read_prompts(any_lm, PROMPTS, [2])
    with rank_two(any_lm, 2).applied(any_lm):
        again, fresh = read_again(any_lm, prefix, 2), read_prompts(any_lm, PROMPTS)
    real = prefix.tokens.mask[:, None, :, None]
    for mine, theirs in zip(again.keys + again.values, fresh.keys + fresh.values, strict=True):
        assert_near(mine * real, theirs * real)
    assert not torch.allclose(again.keys[3] * real, prefix.keys[3] * real), "the edit had no effect above its layer"


def test_generation_equals_that_of_transformers(any_lm):
    check_generation(any_lm, unedited(any_lm))


def test_generation_under_an_edit_equals_that_of_transformers(any_lm):
    check_generation(any_lm, rank_two(any_lm))


def test_generation_ends_where_the_context_does(make_lm, architecture):
    prompt = PROMPTS[2]
    lm = make_lm(architecture, max_position_embeddings=64)
    length = len(lm.encode(prompt))
    jobs = [Continuation(0, 0, 60), Continuation(0, 0, 60, ((7,) * 59,)), Continuation(1, 0, 60)]
    outputs = generate(lm, read_prompts(lm, [prompt, "x"]), [unedited(lm)], jobs)
    assert outputs[0] == outputs[1] == greedy(lm, prompt, 64 - length)
    assert outputs[2] == greedy(lm, "x", 60)


# --- an edit changes what it should, and nothing else -----------------------------------------------------------------


def states(lm, text):
    """Input of every layer, and the logits, each of shape (tokens, width)."""
    with torch.no_grad(), captured_inputs(dict(enumerate(lm.layer_modules))) as entering:
        logits = lm.model(input_ids=torch.tensor([lm.encode(text)])).logits
    return [*(entering[layer][0] for layer in range(lm.map.depth)), logits[0]]


def test_a_weight_edit_is_that_change_of_the_weight(any_lm):
    edit, before = rank_two(any_lm, 1), states(any_lm, PROMPTS[0])
    with edit.applied(any_lm):
        after = states(any_lm, PROMPTS[0])
    twin = LanguageModel(copy.deepcopy(any_lm.model), any_lm.tokenizer, any_lm.name)
    with torch.no_grad():
        oriented_weight(twin.mlp_output(1)).add_(edit.updates[0].delta())
    merged = LanguageModel(copy.deepcopy(any_lm.model), any_lm.tokenizer, any_lm.name)
    edit.merge(merged)
    for mine, theirs, of_merged in zip(after, states(twin, PROMPTS[0]), states(merged, PROMPTS[0]), strict=True):
        assert_near(mine, theirs)
        assert torch.equal(theirs, of_merged)
    assert all(torch.equal(after[i], before[i]) for i in (0, 1)), "a layer below the edit, or its own input, changed"
    assert not torch.allclose(after[2], before[2])


def test_a_dense_edit_equals_the_same_edit_of_low_rank(any_lm):
    thin = rank_two(any_lm)
    thick = Edit((Dense(thin.updates[0].module, thin.updates[0].delta()),), any_lm.fingerprint, "test")
    with thin.applied(any_lm):
        expected = states(any_lm, PROMPTS[0])
    with thick.applied(any_lm):
        for mine, theirs in zip(states(any_lm, PROMPTS[0]), expected, strict=True):
            assert_near(mine, theirs)


def test_a_codebook_changes_the_last_prompt_token_above_its_layer(any_lm):
    lm, before = any_lm, states(any_lm, PROMPTS[0])
    book = Codebook(
        lm.map.mlp_output_name(1), torch.zeros(1, lm.map.f), torch.ones(1, lm.map.d), torch.tensor([1e9]), ((1,),)
    )
    with Edit((book,), lm.fingerprint, "test").applied(lm):
        after = states(lm, PROMPTS[0])
    assert all(torch.equal(after[i], before[i]) for i in (0, 1))
    for mine, theirs in zip(after[2:], before[2:], strict=True):
        assert torch.equal(mine[:-1], theirs[:-1]), "an earlier token changed"
        assert not torch.allclose(mine[-1], theirs[-1])


# --- further architectures --------------------------------------------------------------------------------------------


def test_architectures_that_were_never_named_fit_as_well(further_lm):
    """Sliding windows, layers that return tuples, distances counted by slots, parallel layers, fused maps."""
    assert further_lm.map.attention_output is not None
    check_savings(further_lm)
    check_generation(further_lm, unedited(further_lm))
    check_generation(further_lm, rank_two(further_lm))


def test_the_context_is_what_the_configuration_says(further_lm):
    no_limit = further_lm.name == "Bloom"  # its attention counts distances
    assert further_lm.context_length == (1 << 20 if no_limit else 256)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_edited_is_refused_by_name(name):
    settings, missing = REFUSED[name]
    model = model_of(name, settings)
    with pytest.raises(ModelError, match=missing) as caught:
        observed(model.eval(), read_structure(model))
    assert str(caught.value).startswith(type(model).__name__)
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_run_on_a_padded_batch_is_refused(make_lm, monkeypatch):
    lm = make_lm("llama")
    forward = type(lm.model).forward

    def strict(self, input_ids, past_key_values=None, position_ids=None, **kwargs):
        if position_ids is not None:
            raise TypeError("positions are not supported\nsee the manual")
        return forward(self, input_ids, past_key_values=past_key_values, **kwargs)

    monkeypatch.setattr(type(lm.model), "forward", strict)
    with pytest.raises(
        ModelError, match=r"LlamaForCausalLM cannot run on a padded batch .* positions are not supported$"
    ):
        observed(lm.model, read_structure(lm.model))


def test_a_model_that_ignores_padding_is_refused(make_lm, monkeypatch):
    lm = make_lm("llama")
    forward = type(lm.model).forward

    def careless(self, *args, attention_mask=None, **kwargs):
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(lm.model), "forward", careless)
    with pytest.raises(ModelError, match=r"answers a text differently when it is padded .* \(by \d+% of the logits"):
        observed(lm.model, read_structure(lm.model))


def test_a_model_without_finite_logits_is_refused(make_lm):
    lm = make_lm("llama")
    with torch.no_grad():
        lm.mlp_output(3).weight.fill_(torch.inf)
    with pytest.raises(ModelError, match="logits of LlamaForCausalLM are not finite"):
        observed(lm.model, read_structure(lm.model))


def test_a_missing_attention_map_is_named_when_it_is_asked_for(make_lm):
    lm = make_lm("llama")
    for layer in lm.layer_modules:
        layer.self_attn.extra = torch.nn.Linear(32, 7)  # a fourth sibling: not an attention that is understood
    other = LanguageModel(lm.model, lm.tokenizer, "odd")
    assert other.map.attention_output is None
    with pytest.raises(ModelError, match=r"no linear map that writes the attention's output was found in model"):
        other.attention_output(1)
    with pytest.raises(ModelError, match="layer 9 does not exist"):
        lm.attention_output(9)
