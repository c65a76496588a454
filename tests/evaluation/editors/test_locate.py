"""Where locate-then-edit methods look: the lookup token, the KL prompt, and the released code's positions."""

import pytest
import torch

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors.locate import LocateConfig, ask, ask_plainly, find_vectors, within
from clmeeval_data.evaluation.editors.lookup import IGNORED
from clmeeval_data.evaluation.editors.rome import RomeConfig
from clmeeval_data.evaluation.model.hooks import captured_inputs

LAYER = 1
CONTEXTS = ["", "The weather. ", "Because it is so, I would like to say that it is. "]


def keys_of(lm, ids, mask=None):
    """The keys of a plain pass over whole texts, shape (rows, tokens, f)."""
    mask = torch.ones_like(ids) if mask is None else mask
    with torch.no_grad(), captured_inputs({0: lm.mlp_output(LAYER)}) as found:
        lm.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return found[0]


def config_of(**changes):
    return LocateConfig(**{"contexts": 2, "kl_factor": 0.0, **changes})


def test_rows_come_by_request_with_the_plain_prompt_first(lm, requests_):
    rows = ask(lm, config_of(), CONTEXTS, requests_[:2], LAYER).rows
    assert rows.owner.tolist() == [0, 0, 0, 1, 1, 1]
    assert rows.first_rows() == [0, 3]
    for row, text in enumerate(context + request.prompt for request in requests_[:2] for context in CONTEXTS):
        expected = keys_of(lm, torch.tensor([lm.encode(text)]))[0, -1]
        torch.testing.assert_close(rows.keys[row], expected, atol=1e-4, rtol=1e-4)


def test_the_end_of_the_content_is_the_token_before_the_template_s_last_line(lm, requests_):
    rows = ask(lm, config_of(lookup="content_end"), [""], requests_, LAYER).rows
    for row, request in enumerate(requests_):
        ids = lm.encode(request.prompt)
        end = len(lm.encode(request.prompt.removesuffix("\nCode:"))) - 1  # the template begins a new word
        assert lm.decode(ids[: end + 1]) == request.prompt.removesuffix("\nCode:").strip()
        expected = keys_of(lm, torch.tensor([ids]))[0, end]
        torch.testing.assert_close(rows.keys[row], expected, atol=1e-4, rtol=1e-4)
        target = lm.encode_target(request.prompt, request.target)
        labels = [label for label in rows.labels[row].tolist() if label != IGNORED]
        assert labels == target
        assert rows.labels[row].tolist()[: len(ids) - 1 - end] == [IGNORED] * (len(ids) - 1 - end)


@pytest.mark.parametrize("lookup", ["prompt_end", "content_end"])
def test_a_vector_at_either_lookup_token_moves_the_model_towards_the_target(make_lm, requests_, lookup):
    lm, request = make_lm("llama"), requests_[0]
    config = config_of(lookup=lookup, contexts=0, steps=60, learning_rate=0.3, clamp=1e3, decay=0.0)
    question = ask(lm, config, [""], [request], LAYER)
    fit = find_vectors(lm, config, question, question.sizes(question.rows.values)[:, None])
    ids, target = lm.encode(request.prompt), lm.encode_target(request.prompt, request.target)
    end, text = int(question.rows.prefix.lengths[0]) - 1, torch.tensor([ids + target])
    labels = text.clone()
    labels[0, : len(ids)] = -100

    def add(module, args, output):
        output[:, end] += fit.vectors[0, 0]

    with torch.no_grad():
        before = float(lm.model(input_ids=text, labels=labels).loss)
        handle = lm.mlp_output(LAYER).register_forward_hook(add)
        after = float(lm.model(input_ids=text, labels=labels).loss)
        handle.remove()
    assert after == pytest.approx(fit.losses[0], rel=1e-3)
    assert after < before


def test_released_positions_align_the_longest_context_alone(lm, requests_):
    """Keys are those at index (length of the prompt - 1) of rows padded on the left: a token too early, or padding."""
    rows = ask(lm, config_of(positions="released"), CONTEXTS, requests_[:1], LAYER).rows
    request = requests_[0]
    target = lm.encode_target(request.prompt, request.target)
    prompts = [lm.encode(context + request.prompt) for context in CONTEXTS]
    texts = [ids + target[:-1] for ids in prompts]
    width = max(map(len, texts))
    ids = torch.tensor([[lm.pad_id] * (width - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in texts])
    keys = keys_of(lm, ids, mask)
    for row, prompt in enumerate(prompts):
        column = len(prompt) - 1
        if mask[row, column]:
            torch.testing.assert_close(rows.keys[row], keys[row, column], atol=1e-4, rtol=1e-4)
        assert rows.suffix.ids[row, 0] == ids[row, column]
        assert bool(rows.suffix.mask[row, 0]) == bool(mask[row, column])
    right = ask_plainly(lm, config_of(positions="released"), [request], LAYER)
    torch.testing.assert_close(right.keys[0], keys_of(lm, torch.tensor([prompts[0]]))[0, -1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(rows.keys[0], right.keys[0], atol=1e-3), "the plain prompt is not aligned"
    aligned = ask(lm, config_of(), CONTEXTS, [request], LAYER).rows
    torch.testing.assert_close(rows.keys[2], aligned.keys[2], atol=1e-4, rtol=1e-4)


def test_the_divergence_is_taken_on_the_neutral_prompt_or_on_the_prompt_itself(lm, requests_):
    for kl_at, prompt in (("neutral", "Intent: do nothing\nCode:"), ("prompt", requests_[0].prompt)):
        kept = ask(lm, config_of(kl_factor=1.0, kl_at=kl_at), [""], requests_[:1], LAYER).kept
        with torch.no_grad():
            expected = lm.model(input_ids=torch.tensor([lm.encode(prompt)])).logits[0, -1].log_softmax(-1)
        torch.testing.assert_close(kept.original[0], expected, atol=1e-4, rtol=1e-4)


def test_vectors_are_scaled_back_to_their_limits():
    vectors = torch.tensor([[[3.0, 4.0], [0.3, 0.4]], [[6.0, 8.0], [0.0, 0.0]]])
    found = within(vectors, torch.tensor([1, 0]), torch.tensor([[20.0, 1.0], [1.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[[0.6, 0.8], [0.3, 0.4]], [[6.0, 8.0], [0.0, 0.0]]]))


def test_reference_values_are_settings_that_exist():
    config = RomeConfig.from_dict({"layer": 1, **RomeConfig.reference})
    assert (config.lookup, config.kl_at, config.positions) == ("prompt_end", "prompt", "released")
    assert RomeConfig(layer=1).positions == "mask"
    assert RomeConfig(layer=1).kl_at == "neutral"
    with pytest.raises(ConfigError, match="expected a text, or kl_factor = 0"):
        RomeConfig(layer=1, kl_prompt="")
