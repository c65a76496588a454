"""The losses of target tokens and their gradient, against torch's own cross-entropy over all positions."""

from contextlib import contextmanager

import pytest
import torch
from torch.nn.functional import cross_entropy

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.lookup import IGNORED, scored_losses, spread
from clmeeval_data.evaluation.editors.texts import losses_of, read_texts
from clmeeval_data.evaluation.model.hooks import changed_output
from clmeeval_data.evaluation.model.prefix import read_prompts, run_suffix, suffix_of


@pytest.mark.parametrize("scale", [1.0, 60.0], ids=["usual", "far apart"])
def test_losses_and_gradient_are_those_of_cross_entropy(scale):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(7, 31, generator=generator) * scale).requires_grad_(True)
    labels = torch.randint(0, 31, (7,), generator=generator)
    weights = torch.randn(7, generator=generator)
    expected = cross_entropy(logits, labels, reduction="none")
    (wanted,) = torch.autograd.grad((expected * weights).sum(), logits)
    found = scored_losses(logits, labels)
    (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)


def test_no_token_has_no_loss():
    assert scored_losses(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_spread_puts_each_token_in_its_place():
    labels = torch.tensor([[IGNORED, 4, 2], [1, IGNORED, IGNORED]])
    each = spread(torch.tensor([0.5, 1.5, 2.5]), labels)
    assert each.tolist() == [[0.0, 0.5, 1.5], [2.5, 0.0, 0.0]]


def test_the_scored_positions_have_the_logits_of_all_positions(lm):
    prefix = read_prompts(lm, ["Intent: a\nCode:", "Intent: something longer\nCode:", "x"])
    suffix = suffix_of(lm, prefix, [[5, 6, 7], [8], [9, 10]])
    scored = torch.tensor([[True, False, True], [True, False, False], [False, True, False]])
    whole = run_suffix(lm, prefix, suffix)
    torch.testing.assert_close(run_suffix(lm, prefix, suffix, scored=scored), whole[scored], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_texts_loss_is_that_of_one_whole_pass(lm, layer):
    requests = [
        EditRequest("a", "Intent: sort the list\nCode:", "sorted(values)"),
        EditRequest("b", "Intent: x\nCode:", "open(name).read().split()"),
        EditRequest("c", "Intent: a much longer intent, with `names`\nCode:", "y"),
    ]
    texts = read_texts(lm, requests, [0, 1, 2], layer)
    expected = []
    for request in requests:
        prompt, target = lm.encode(request.prompt), lm.encode_target(request.prompt, request.target)
        logits = lm.model(input_ids=torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
        expected.append(cross_entropy(logits, torch.tensor(target)))
    torch.testing.assert_close(texts.losses(lm), torch.stack(expected), atol=1e-5, rtol=1e-5)
    parts = texts.by_length(lm, 2)
    assert len(parts) > 1 and all(part.kept for part in parts)
    order = torch.cat([part.owner for part in parts])
    for losses in ([part.losses(lm) for part in parts], losses_of(lm, parts)):
        torch.testing.assert_close(torch.cat(losses), torch.stack(expected)[order], atol=1e-5, rtol=1e-5)


def test_parts_are_in_force_one_by_one_and_the_head_reads_them_together(lm):
    requests = [EditRequest(str(n), f"Intent: {'x ' * n}\nCode:", "y = " + "z" * n) for n in (1, 9, 30)]
    parts = read_texts(lm, requests, [0, 1, 2], 1).by_length(lm, 1)
    head, seen, entered = lm.model.get_output_embeddings(), [], []
    handle = head.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[1]))

    @contextmanager
    def in_force(part):
        entered.append(int(part.owner))
        with changed_output(lm.mlp_output(1), lambda x, output: output * int(part.owner)):
            yield

    together = losses_of(lm, parts, in_force)
    handle.remove()
    assert seen == [sum(int(part.scored.sum()) for part in parts)]
    assert sorted(entered) == [0, 1, 2]
    for part, losses in zip(parts, together, strict=True):
        with in_force(part):
            torch.testing.assert_close(losses, part.losses(lm), atol=1e-5, rtol=1e-5)


def test_a_step_computes_no_linear_map_below_the_change(lm, monkeypatch):
    requests = [EditRequest("a", "Intent: sort\nCode:", "x.sort()")]
    (part,) = read_texts(lm, requests, [0], 1).by_length(lm, 8)
    computed, whole = [], torch.nn.functional.linear

    def linear(x, weight, *bias):
        computed.append(id(weight))
        return whole(x, weight, *bias)

    weights = {id(weight) for module in lm.layer_modules[:2] for weight in module.parameters()}
    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    part.losses(lm)
    assert computed and not weights & set(computed)
