import torch

from clmeeval_data.evaluation.model.hooks import captured_inputs
from clmeeval_data.evaluation.model.prefix import (
    PromptMemory,
    Tokens,
    layer_input,
    prompts_remembered,
    read_again,
    read_prompts,
    run_suffix,
    suffix_of,
)

PROMPTS = ["Intent: sort the list\nCode:", "x", "Intent: a much longer intent, with `names` and 'texts'\nCode:"]
TARGETS = ["sorted(xs)", "y = 1", "print('a longer answer', end='')"]


def full_logits(lm, prompt, target):
    """Logits at the positions that predict the target, by one plain pass over one unpadded text."""
    ids = lm.encode(prompt) + target
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0]
    return logits[len(ids) - len(target) - 1 : -1]


def test_positions_start_at_zero_behind_left_padding():
    tokens = Tokens(torch.zeros(2, 4), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]], dtype=torch.bool))
    assert tokens.positions().tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_reading_a_padded_batch_gives_the_logits_of_single_full_passes(lm):
    targets = [lm.encode_target(p, t) for p, t in zip(PROMPTS, TARGETS, strict=True)]
    prefix = read_prompts(lm, PROMPTS)
    logits = run_suffix(lm, prefix, suffix_of(lm, prefix, targets))
    for row, (prompt, target) in enumerate(zip(PROMPTS, targets, strict=True)):
        torch.testing.assert_close(logits[row, : len(target)], full_logits(lm, prompt, target), atol=1e-4, rtol=1e-4)


def test_skipping_the_layers_below_changes_nothing(lm):
    targets = [lm.encode_target(p, t) for p, t in zip(PROMPTS, TARGETS, strict=True)]
    prefix = read_prompts(lm, PROMPTS)
    suffix = suffix_of(lm, prefix, targets)
    whole = run_suffix(lm, prefix, suffix)
    for layer in (1, 2, 3):
        ran = []
        handles = [m.mlp.register_forward_hook(lambda *a, ran=ran: ran.append(1)) for m in lm.layer_modules]
        part = run_suffix(lm, prefix, suffix, layer, layer_input(lm, prefix, suffix, layer))
        for handle in handles:
            handle.remove()
        real = suffix.mask
        torch.testing.assert_close(part[real], whole[real], atol=1e-5, rtol=1e-5)
        assert len(ran) == layer + 1 + lm.map.depth - layer, "layer_input runs the layers up to it, the suffix the rest"
    assert not any("forward" in vars(module) for module in lm.layer_modules)


def test_select_repeats_rows_and_cuts_shared_padding(lm):
    prefix = read_prompts(lm, PROMPTS, [1])
    twice = prefix.select([1, 1])
    assert twice.tokens.ids.shape == (2, len(lm.encode("x")))
    assert twice.tokens.mask.all()
    alone = read_prompts(lm, ["x"], [1])
    torch.testing.assert_close(twice.keys[2][:1], alone.keys[2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(twice.entering[1][:1], alone.entering[1], atol=1e-5, rtol=1e-5)


def test_reading_again_from_a_layer_equals_reading_from_the_start(lm):
    prefix = read_prompts(lm, PROMPTS, [2])
    module = lm.mlp_output(2)
    handle = module.register_forward_hook(lambda m, args, output: output * 1.5)
    try:
        again, fresh = read_again(lm, prefix, 2), read_prompts(lm, PROMPTS)
        without_inputs = read_again(lm, read_prompts(lm, PROMPTS), 2)
    finally:
        handle.remove()
    mask = prefix.tokens.mask[:, None, :, None]
    for found in (again, without_inputs):
        for mine, theirs in zip(found.keys + found.values, fresh.keys + fresh.values, strict=True):
            torch.testing.assert_close(mine * mask, theirs * mask, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(again.keys[3] * mask, prefix.keys[3] * mask), "the hook had no effect above its layer"


def test_what_is_kept_of_the_layers_above_a_change_is_read_again(lm):
    prefix = read_prompts(lm, PROMPTS, [0, 1, 2, 3])
    bare = read_prompts(lm, PROMPTS, [1])
    with lm.mlp_output(1).register_forward_hook(lambda m, args, output: output * 1.5):
        again, fresh = read_again(lm, prefix, 1), read_prompts(lm, PROMPTS, [0, 1, 2, 3])
        asked = read_again(lm, bare, 1, pooled=[3])
    mask = prefix.tokens.mask[:, :, None]
    for layer in range(4):
        for kind in ("looked_up", "pooled"):
            mine, theirs = getattr(again, kind)[layer], getattr(fresh, kind)[layer]
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
            changed = not torch.allclose(mine, getattr(prefix, kind)[layer], atol=1e-5)
            assert changed == (layer > 1), "layer 1 has its input as it was"
        torch.testing.assert_close(again.entering[layer] * mask, fresh.entering[layer] * mask, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(asked.pooled[3], fresh.pooled[3], atol=1e-5, rtol=1e-5)
    assert set(asked.pooled) == {1, 3}


def test_remembered_prompts_are_not_read_twice_unless_an_edit_is_applied(lm):
    prefix = read_prompts(lm, PROMPTS, [1])
    with prompts_remembered(lm, PROMPTS, prefix) as memory:
        assert isinstance(memory, PromptMemory)
        with captured_inputs({0: lm.layer_modules[0]}) as seen:
            assert read_prompts(lm, PROMPTS, [1]) is prefix
            assert read_prompts(lm, PROMPTS[2:]).rows == 1
            assert not seen, "the model ran although the prompts were remembered"
            read_prompts(lm, PROMPTS, [2])
            assert seen, "an input that was not kept has to be read"
            seen.clear()
            lm.edits_applied += 1
            read_prompts(lm, PROMPTS, [1])
            lm.edits_applied -= 1
            assert seen, "under an edit the prompts have to be read"
    assert lm.memory is None
