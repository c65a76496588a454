"""Modules that compute some tokens alone, or nothing at all: the same numbers, and the model as before."""

import pytest
import torch

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.texts import read_texts
from clmeeval_data.evaluation.model.hooks import changed_output, computed_at, recorded, replayed
from clmeeval_data.evaluation.model.prefix import read_prompts

HERE = torch.tensor([[True, False, True], [False, False, False]])


@pytest.fixture
def hidden(lm):
    return torch.randn(2, 3, lm.map.d, generator=torch.Generator().manual_seed(1))


def watched(module):
    """Shapes that a module is called with."""
    seen = []
    return seen, module.register_forward_hook(lambda _, args, output: seen.append(tuple(args[0].shape)))


def test_the_tokens_asked_for_are_computed_and_the_others_are_zero(lm, hidden):
    whole = lm.last_mlp(hidden)
    with computed_at(lm.last_mlp, HERE):
        part = lm.last_mlp(hidden)
    torch.testing.assert_close(part[HERE], whole[HERE], atol=1e-6, rtol=1e-5)
    assert (part[~HERE] == 0).all()
    assert (whole[~HERE] != 0).any()
    assert "forward" not in vars(lm.last_mlp)


def test_tokens_in_front_of_those_that_are_told_are_not_needed(lm, hidden):
    longer = torch.cat([torch.ones(2, 4, lm.map.d), hidden], 1)
    with computed_at(lm.last_mlp, HERE):
        part = lm.last_mlp(longer)
    torch.testing.assert_close(part[:, 4:][HERE], lm.last_mlp(hidden)[HERE], atol=1e-6, rtol=1e-5)
    assert (part[:, :4] == 0).all()


def test_the_gradient_is_that_of_the_tokens_asked_for(lm, hidden):
    slopes = []
    for positions in (None, HERE):
        leaf = hidden.clone().requires_grad_(True)
        if positions is None:
            found = lm.last_mlp(leaf)
        else:
            with computed_at(lm.last_mlp, positions):
                found = lm.last_mlp(leaf)
        found[HERE].square().sum().backward()
        slopes.append(leaf.grad)
    torch.testing.assert_close(slopes[1], slopes[0], atol=1e-5, rtol=1e-5)


def test_a_module_that_somebody_looks_into_computes_everywhere(lm, hidden):
    whole = lm.last_mlp(hidden)
    seen, handle = watched(lm.mlp_output(lm.map.depth - 1))
    with computed_at(lm.last_mlp, HERE):
        part = lm.last_mlp(hidden)
    handle.remove()
    assert torch.equal(part, whole)
    assert seen == [(2, 3, lm.map.f)]


def test_a_module_that_takes_more_than_hidden_states_computes_everywhere(hidden):
    class Adding(torch.nn.Module):
        def forward(self, hidden, residual):
            return hidden + residual

    module = Adding()
    with computed_at(module, HERE):
        assert torch.equal(module(hidden, hidden), 2 * hidden)
        assert torch.equal(module(hidden, residual=hidden), 2 * hidden)


def test_the_module_is_as_before_after_an_error(lm, hidden):
    with pytest.raises(ZeroDivisionError), computed_at(lm.last_mlp, HERE):
        raise ZeroDivisionError
    assert "forward" not in vars(lm.last_mlp)


def tokens_of_last_mlp(lm, monkeypatch):
    """How many tokens the last MLP computes, call by call."""
    seen, whole = [], type(lm.last_mlp).forward

    def counted(self, hidden):
        if self is lm.last_mlp:
            seen.append(hidden.shape[:-1].numel())
        return whole(self, hidden)

    monkeypatch.setattr(type(lm.last_mlp), "forward", counted)
    return seen


def test_reading_prompts_computes_one_token_of_each_in_the_last_mlp(lm, monkeypatch):
    seen = tokens_of_last_mlp(lm, monkeypatch)
    read_prompts(lm, ["a longer prompt", "short", "one more of them"])
    assert sum(seen) == 3


def test_a_prompts_last_layer_can_still_be_read(lm):
    last = lm.map.depth - 1
    prefix = read_prompts(lm, ["a longer prompt", "short"], [last])
    for row, prompt in enumerate(("a longer prompt", "short")):
        alone = read_prompts(lm, [prompt], [last])
        torch.testing.assert_close(prefix.pooled[last][row], alone.pooled[last][0], atol=1e-5, rtol=1e-5)
        assert alone.pooled[last].abs().sum() > 0


def test_training_on_texts_computes_their_targets_alone_in_the_last_mlp(lm, monkeypatch):
    requests = [EditRequest("one", "Intent: sort\nCode:", "x.sort()"), EditRequest("two", "Intent: a\nCode:", "b")]
    texts = read_texts(lm, requests, [0, 1], 1)
    seen = tokens_of_last_mlp(lm, monkeypatch)
    texts.losses(lm)
    assert seen == [sum(len(lm.encode_target(r.prompt, r.target)) for r in requests)]


def test_what_is_recorded_is_replayed_without_computing_and_hooks_still_run(lm, hidden, monkeypatch):
    mlp, output = lm.last_mlp, lm.mlp_output(lm.map.depth - 1)
    maps = [module for module in mlp.modules() if isinstance(module, torch.nn.Linear)]
    with changed_output(output, lambda x, found: found + 1), recorded(maps) as kept:
        whole = mlp(hidden)
    assert set(kept) == set(maps)
    torch.testing.assert_close(kept[output] + 1, whole)

    def computes(*args):
        raise AssertionError("a map is computed again")

    monkeypatch.setattr(torch.nn.Linear, "forward", computes)
    with replayed(kept), changed_output(output, lambda x, found: found.mul_(2)):
        for _ in range(2):
            torch.testing.assert_close(mlp(hidden), 2 * kept[output].clone())
    assert not any("forward" in vars(module) for module in maps)


def test_modules_that_are_called_twice_are_not_recorded(hidden):
    first, second = torch.nn.Linear(hidden.shape[-1], 3), torch.nn.Linear(hidden.shape[-1], 4)
    with recorded([first, second]) as kept:
        first(hidden)
        first(hidden)
        second(hidden)
    assert set(kept) == {second}
    assert "forward" not in vars(first)
