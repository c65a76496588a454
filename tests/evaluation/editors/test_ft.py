import torch

from clmeeval_data.evaluation.editors.ft import FineTuning, FtConfig
from clmeeval_data.evaluation.model.edits import applied

FITS = {"layer": 2, "learning_rate": 0.05, "clamp": 1.0, "steps": 60}


def ft(**changes):
    return FineTuning(FtConfig(**{**FITS, **changes}))


def test_ft_stays_in_its_box_and_stops_when_it_fits(lm, requests_):
    for edit in ft(clamp=0.01, steps=10).edit_each(lm, requests_):
        change = edit.updates[0].change
        assert 0 < float(change.abs().max()) <= 0.01 + 1e-7
    easy = ft(stop_loss=1e9).edit_each(lm, requests_[:1])[0]
    assert easy.details["steps"] == 0
    assert not easy.updates[0].change.any()


def test_ft_equals_plain_fine_tuning_of_the_weight(make_lm, requests_):
    lm, request = make_lm("llama"), requests_[2]
    edit = ft(learning_rate=1e-3, clamp=1.0, steps=5).edit_each(lm, [request])[0]
    target = lm.encode_target(request.prompt, request.target)
    ids = torch.tensor([lm.encode(request.prompt) + target])
    labels = ids.clone()
    labels[0, : -len(target)] = -100
    weight = lm.mlp_output(2).weight
    start = weight.detach().clone()
    weight.requires_grad_(True)
    adam = torch.optim.Adam([weight], lr=1e-3)
    for _ in range(5):
        adam.zero_grad()
        lm.model(input_ids=ids, labels=labels).loss.backward()
        adam.step()
    torch.testing.assert_close(edit.updates[0].change, weight.detach() - start, atol=2e-5, rtol=0)


def test_edits_of_different_rows_do_not_mix(lm, requests_):
    """Row i under edit i is row i under edit i, whatever stands in the other rows."""
    edits = ft(steps=5).edit_each(lm, requests_[:2])
    text = torch.tensor([lm.encode(requests_[0].prompt)] * 2)
    with torch.no_grad():
        with applied(lm, edits):
            mixed = lm.model(input_ids=text).logits
        with applied(lm, [edits[0], edits[0]]):
            same = lm.model(input_ids=text).logits
    torch.testing.assert_close(mixed[0], same[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(mixed[1], same[1])
