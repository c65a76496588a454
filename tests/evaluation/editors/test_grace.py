import pytest
import torch

from clmeeval_data.errors import ConfigError, EditError
from clmeeval_data.evaluation.editors.grace import Grace, GraceConfig

FITS = {"layer": 2, "learning_rate": 0.3, "steps": 80, "start": "zero", "stop_loss": 0.005}


def grace(**changes):
    return Grace(GraceConfig(**{**FITS, **changes}))


def test_grace_changes_nothing_outside_its_radius(lm, requests_, sample_rows):
    edits = grace(radius=1e-4).edit_each(lm, requests_)
    others = [f"Intent: {row['intent']}\nCode:" for row in sample_rows[60:64]]
    ids = [torch.tensor([lm.encode(prompt)]) for prompt in others]
    for edit in edits:
        for text in ids:
            with torch.no_grad():
                plain = lm.model(input_ids=text).logits
                with edit.applied(lm):
                    assert torch.equal(lm.model(input_ids=text).logits, plain)


def test_grace_answers_within_its_radius(lm, requests_):
    edit = grace(radius=1e9).edit_each(lm, requests_[:1])[0]
    value, module, seen = edit.updates[0].values[0], lm.mlp_output(2), []
    with torch.no_grad(), edit.applied(lm):
        handle = module.register_forward_hook(lambda m, args, output: seen.append(output[0, -1]))
        lm.model(input_ids=torch.tensor([lm.encode("anything at all")]))
        handle.remove()
    torch.testing.assert_close(seen[0], value, atol=1e-6, rtol=1e-6)


def test_grace_keys_are_the_inputs_at_the_last_prompt_token(lm, requests_):
    edits = Grace(GraceConfig(layer=2, steps=1)).edit_each(lm, requests_)
    for edit, request in zip(edits, requests_, strict=True):
        seen = []
        handle = lm.mlp_output(2).register_forward_pre_hook(lambda m, args, seen=seen: seen.append(args[0][0, -1]))
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([lm.encode(request.prompt)]))
        handle.remove()
        torch.testing.assert_close(edit.updates[0].keys[0], seen[0], atol=1e-4, rtol=1e-4)


def test_grace_starts_where_it_is_told(lm, requests_):
    tiny = {"learning_rate": 1e-9, "steps": 1, "stop_loss": 0.0}
    zero = grace(start="zero", **tiny).edit_each(lm, requests_[:2])
    uniform = grace(start="uniform", **tiny).edit_each(lm, requests_[:2])
    assert all(float(edit.updates[0].values.abs().max()) < 1e-6 for edit in zero)
    values = torch.cat([edit.updates[0].values for edit in uniform])
    assert float(values.min()) >= -1e-6
    assert 0.3 < float(values.mean()) < 0.7
    assert not torch.allclose(values[0], values[1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer": 1, "stepz": 3}, r"has no setting 'stepz'. Known: layer"),
        ({"layer": "1"}, r"layer is '1'; expected int"),
        ({"layer": 1, "steps": True}, r"steps is True; expected int"),
        ({}, r"needs a value for layer"),
        ({"layer": 1, "steps": 0}, r"steps is 0; expected at least 1"),
        ({"layer": 1, "start": "ones"}, r"start is 'ones'; expected one of 'uniform', 'zero'"),
    ],
)
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        GraceConfig.from_dict(values)


def test_a_loss_that_is_not_a_number_is_an_error(lm, requests_):
    with pytest.raises(EditError, match=r"the loss of request 1 became nan"):
        handle = lm.layer_modules[3].register_forward_hook(lambda m, args, output: output * torch.nan)
        try:
            grace().edit_each(lm, requests_[:1])
        finally:
            handle.remove()
