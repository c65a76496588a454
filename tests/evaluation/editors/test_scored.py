"""The losses of target tokens and their gradient, against torch's own cross-entropy over all positions."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.lookup import IGNORED, scored_losses, spread
from clmeeval_data.evaluation.editors.texts import read_texts
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
    parts = texts.by_length(2)
    found = {int(owner): loss for part in parts for owner, loss in zip(part.owner, part.losses(lm), strict=True)}
    torch.testing.assert_close(torch.stack([found[i] for i in range(3)]), torch.stack(expected), atol=1e-5, rtol=1e-5)
