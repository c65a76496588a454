import pytest
import torch

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.ft import FineTuning, FtConfig
from clmeeval_data.evaluation.editors.lookup import read_lookup
from clmeeval_data.evaluation.editors.rome import Rome, RomeConfig

FITS = {"layer": 1, "learning_rate": 0.3, "steps": 100, "contexts": 2, "stop_loss": 0.01, "clamp": 200.0, "decay": 1e-5}


def rome(**changes):
    return Rome(RomeConfig(**{**FITS, **changes}))


def test_rome_writes_the_wanted_value_for_the_key(lm, requests_):
    config = RomeConfig(layer=1, steps=15, contexts=2, clamp=10.0)
    editor = Rome(config)
    edits = editor.edit_each(lm, requests_)
    prompts = [request.prompt for request in requests_]
    lookup = read_lookup(lm, prompts, [[1]] * len(prompts), range(len(prompts)), 1)
    for row, edit in enumerate(edits):
        update = edit.updates[0]
        assert update.left.shape == (lm.map.d, 1)
        weight, key = lm.mlp_output(1).weight.double(), lookup.keys[row].double()
        written = (weight + update.delta().double()) @ key
        # the wanted change has the length that the method reports
        wanted = edit.details["delta_norm"] * float(lookup.values[row].norm())
        change = written - lookup.values[row].double()
        assert float(change.norm()) == pytest.approx(wanted, rel=1e-4)
        with edit.applied(lm):
            edited = read_lookup(lm, [prompts[row]], [[1]], [0], 1)
        torch.testing.assert_close(edited.values[0].double(), written, atol=1e-4 * float(written.norm()), rtol=0)
        torch.testing.assert_close(edited.keys[0], lookup.keys[row], atol=1e-5, rtol=1e-5)


def test_rome_finds_a_value_whose_loss_survives_the_write(overfitted):
    lm, known = overfitted
    request = EditRequest("0", known[0][0], known[1][1])
    edit = rome(contexts=0, kl_factor=0.0, kl_prompt="").edit_each(lm, [request])[0]
    target = lm.encode_target(request.prompt, request.target)
    ids = torch.tensor([lm.encode(request.prompt) + target])
    labels = ids.clone()
    labels[0, : -len(target)] = -100
    with torch.no_grad(), edit.applied(lm):
        after = float(lm.model(input_ids=ids, labels=labels).loss)
    with torch.no_grad():
        before = float(lm.model(input_ids=ids, labels=labels).loss)
    assert before > 2
    assert after < 0.2


def test_rome_keeps_delta_within_its_clamp(lm, requests_):
    for edit in Rome(RomeConfig(layer=1, steps=15, contexts=0, clamp=0.5)).edit_each(lm, requests_):
        assert edit.details["delta_norm"] <= 0.5 + 1e-5


def test_rome_stays_nearer_to_the_original_on_its_neutral_prompt_with_the_kl_term(overfitted):
    lm, known = overfitted
    requests = [EditRequest("0", known[0][0], known[1][1])]
    prompt = known[5][0]

    def divergence(kl_factor):
        edit = rome(contexts=0, kl_factor=kl_factor, kl_prompt=prompt, steps=30).edit_each(lm, requests)[0]
        ids = torch.tensor([lm.encode(prompt)])
        with torch.no_grad():
            original = lm.model(input_ids=ids).logits[0, -1].log_softmax(-1)
            with edit.applied(lm):
                edited = lm.model(input_ids=ids).logits[0, -1].log_softmax(-1)
        return float((edited.exp() * (edited - original)).sum())

    assert divergence(5.0) < 0.5 * divergence(0.0)


def test_rome_contexts_come_from_the_model_and_the_seed(lm):
    editor = Rome(RomeConfig(layer=1, contexts=3))
    contexts = editor.contexts(lm)
    assert contexts[0] == ""
    assert len(contexts) == 4
    assert contexts[1].startswith("The")
    assert all(context.endswith(". ") for context in contexts[1:])
    assert Rome(RomeConfig(layer=1, contexts=3)).contexts(lm) == contexts
    assert Rome(RomeConfig(layer=1, contexts=3, seed=1)).contexts(lm) != contexts


def test_the_edit_sees_its_request_under_earlier_edits(overfitted):
    lm, known = overfitted
    requests = [EditRequest(str(i), known[i][0], known[i + 3][1]) for i in range(2)]
    first = FineTuning(FtConfig(layer=2, learning_rate=0.05, clamp=1.0, steps=60)).edit_each(lm, requests[:1])[0]
    with first.applied(lm):
        second = rome().edit_each(lm, requests[1:])[0]
    alone = rome().edit_each(lm, requests[1:])[0]
    assert not torch.allclose(second.updates[0].left, alone.updates[0].left)
