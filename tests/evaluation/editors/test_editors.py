"""One suite for all registered methods, on several architectures; a new method is picked up by itself."""

import inspect

import pytest
import torch

from clmeeval_data.errors import ConfigError, EditError, ModelError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.grace import Grace, GraceConfig
from clmeeval_data.evaluation.editors.lookup import read_lookup
from clmeeval_data.evaluation.editors.rome import Rome, RomeConfig
from clmeeval_data.evaluation.model.edits import Edit, applied
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import read_prompts

SETTINGS = {  # what each method needs to fit a target on a tiny model
    "none": {},
    "ft": {"layer": 2, "learning_rate": 0.05, "clamp": 1.0, "steps": 60},
    "grace": {"layer": 2, "learning_rate": 0.3, "steps": 80, "start": "zero", "stop_loss": 0.005},
    "rome": {"layer": 1, "learning_rate": 0.3, "steps": 100, "contexts": 2, "stop_loss": 0.01, "clamp": 200.0,
             "decay": 1e-5},
}  # fmt: skip


def editor_of(method, **changes):
    cls = EDITORS[method]
    return cls(cls.config_class.from_dict({**SETTINGS[method], **changes}))


@pytest.fixture(params=list(EDITORS))
def method(request):
    return request.param


def weights(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def answers(lm, prompts, edits, lengths):
    jobs = [Continuation(row, row, length) for row, length in enumerate(lengths)]
    return generate(lm, read_prompts(lm, prompts), edits, jobs)


def tensors_of(edit):
    return [value for update in edit.updates for value in vars(update).values() if isinstance(value, torch.Tensor)]


def test_every_method_has_settings_here():
    assert set(SETTINGS) == set(EDITORS)


def test_a_method_names_its_source(method):
    assert "Source:" in inspect.getdoc(EDITORS[method])
    assert EDITORS[method].name == method
    assert EDITORS[method].summary


def test_the_model_is_bit_identical_after_editing(lm, requests_, method):
    before = weights(lm)
    editor = editor_of(method, **({} if method == "none" else {"steps": 3}))
    editor.prepare(lm, requests_)
    editor.edit_each(lm, requests_)
    editor.edit(lm, requests_[:2])
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in lm.model.modules())


def test_the_model_is_bit_identical_after_an_exception(lm, requests_, method, monkeypatch):
    if method == "none":
        pytest.skip("computes nothing that could fail")
    before, calls = weights(lm), []
    forward = type(lm.layer_modules[3]).forward

    def fails(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 12:
            raise RuntimeError("out of memory")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(lm.layer_modules[3]), "forward", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        editor_of(method).edit_each(lm, requests_)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in lm.model.modules())
    assert lm.edits_applied == 0


def test_a_batch_of_edits_equals_one_at_a_time(lm, requests_, method):
    editor = editor_of(method, **({} if method == "none" else {"steps": 20}))
    together = editor.edit_each(lm, requests_)
    prompts = [request.prompt for request in requests_]
    lengths = [len(lm.encode_target(request.prompt, request.target)) for request in requests_]
    batch = answers(lm, prompts, together, lengths)
    for row, request in enumerate(requests_):
        alone = editor.edit_each(lm, [request])[0]
        assert together[row].case_ids == alone.case_ids == (request.case_id,)
        for mine, theirs in zip(tensors_of(together[row]), tensors_of(alone), strict=True):
            scale = max(1.0, float(theirs.abs().max()))
            torch.testing.assert_close(mine / scale, theirs / scale, atol=1e-4, rtol=0)
        assert batch[row] == answers(lm, prompts[row : row + 1], [alone], lengths[row : row + 1])[0]


def test_the_same_seed_gives_the_same_edit(lm, requests_, method):
    first, second = (editor_of(method).edit_each(lm, requests_[:1])[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(first), tensors_of(second), strict=True))


def test_an_edit_survives_its_file(lm, requests_, method, tmp_path):
    edit = editor_of(method).edit_each(lm, requests_[:1])[0]
    edit.save(tmp_path / "edit.safetensors")
    loaded = Edit.load(tmp_path / "edit.safetensors", lm)
    assert answers(lm, [requests_[0].prompt], [loaded], [12]) == answers(lm, [requests_[0].prompt], [edit], [12])


def test_a_weight_edit_answers_the_same_when_merged(make_lm, requests_, method):
    lm = make_lm("stablelm")
    edit = editor_of(method).edit_each(lm, requests_[:1])[0]
    expected = answers(lm, [requests_[0].prompt], [edit], [12])
    if not edit.changes_weights and edit.updates:
        with pytest.raises(EditError, match="cannot be merged"):
            edit.merge(lm)
        return
    edit.merge(lm)
    assert answers(lm, [requests_[0].prompt], [Edit((), lm.fingerprint, "none")], [12]) == expected


def test_effectiveness_rises_on_a_model_that_knows_other_answers(overfitted, method):
    lm, known = overfitted
    shifted = known[1:] + known[:1]
    requests = [EditRequest(f"{i}", p, new) for i, ((p, _), (_, new)) in enumerate(zip(known, shifted, strict=True))]
    prompts, lengths = [r.prompt for r in requests], [len(lm.encode_target(r.prompt, r.target)) for r in requests]
    edits = editor_of(method).edit_each(lm, requests)
    outputs = [lm.decode(ids) for ids in answers(lm, prompts, edits, lengths)]
    right = sum(output == request.target for output, request in zip(outputs, requests, strict=True))
    if method == "none":
        assert outputs == [answer for _, answer in known], "the fixture does not know its answers"
        assert right == 0
    else:
        assert right >= 9, list(zip(outputs, (r.target for r in requests), strict=True))


def test_one_edit_holds_several_requests(overfitted, method):
    if method == "none":
        pytest.skip("holds nothing")
    lm, known = overfitted
    requests = [EditRequest(str(i), known[i][0], known[i + 1][1]) for i in range(2)]
    edit = editor_of(method).edit(lm, requests)
    assert edit.case_ids == ("0", "1")
    prompts, lengths = [r.prompt for r in requests], [len(lm.encode_target(r.prompt, r.target)) for r in requests]
    jobs = [Continuation(row, 0, length) for row, length in enumerate(lengths)]
    outputs = [lm.decode(ids) for ids in generate(lm, read_prompts(lm, prompts), [edit], jobs)]
    assert outputs[1] == requests[1].target
    if method != "rome":  # its second update may undo the first: that is what sequential editing measures
        assert outputs[0] == requests[0].target


def test_the_edit_sees_its_request_under_earlier_edits(overfitted):
    lm, known = overfitted
    requests = [EditRequest(str(i), known[i][0], known[i + 3][1]) for i in range(2)]
    first = editor_of("ft").edit_each(lm, requests[:1])[0]
    with first.applied(lm):
        second = editor_of("rome").edit_each(lm, requests[1:])[0]
    alone = editor_of("rome").edit_each(lm, requests[1:])[0]
    assert not torch.allclose(second.updates[0].left, alone.updates[0].left)


# --- the methods' own algebra -----------------------------------------------------------------------------------------


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
    edit = editor_of("rome", contexts=0, kl_factor=0.0, kl_prompt="").edit_each(lm, [request])[0]
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
        edit = editor_of("rome", contexts=0, kl_factor=kl_factor, kl_prompt=prompt, steps=30).edit_each(lm, requests)[0]
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


def test_grace_changes_nothing_outside_its_radius(lm, requests_, sample_rows):
    edits = editor_of("grace", radius=1e-4).edit_each(lm, requests_)
    others = [f"Intent: {row['intent']}\nCode:" for row in sample_rows[60:64]]
    ids = [torch.tensor([lm.encode(prompt)]) for prompt in others]
    for edit in edits:
        for text in ids:
            with torch.no_grad():
                plain = lm.model(input_ids=text).logits
                with edit.applied(lm):
                    assert torch.equal(lm.model(input_ids=text).logits, plain)


def test_grace_answers_within_its_radius(lm, requests_):
    edit = editor_of("grace", radius=1e9).edit_each(lm, requests_[:1])[0]
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
    zero = editor_of("grace", start="zero", **tiny).edit_each(lm, requests_[:2])
    uniform = editor_of("grace", start="uniform", **tiny).edit_each(lm, requests_[:2])
    assert all(float(edit.updates[0].values.abs().max()) < 1e-6 for edit in zero)
    values = torch.cat([edit.updates[0].values for edit in uniform])
    assert float(values.min()) >= -1e-6
    assert 0.3 < float(values.mean()) < 0.7
    assert not torch.allclose(values[0], values[1])


def test_ft_stays_in_its_box_and_stops_when_it_fits(lm, requests_):
    for edit in editor_of("ft", clamp=0.01, steps=10).edit_each(lm, requests_):
        change = edit.updates[0].change
        assert 0 < float(change.abs().max()) <= 0.01 + 1e-7
    easy = editor_of("ft", stop_loss=1e9).edit_each(lm, requests_[:1])[0]
    assert easy.details["steps"] == 0
    assert not easy.updates[0].change.any()


def test_ft_equals_plain_fine_tuning_of_the_weight(make_lm, requests_):
    lm, request = make_lm("llama"), requests_[2]
    edit = editor_of("ft", learning_rate=1e-3, clamp=1.0, steps=5).edit_each(lm, [request])[0]
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


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_layer_that_does_not_exist_is_named(lm, requests_, method):
    if method == "none":
        pytest.skip("has no layer")
    with pytest.raises(ModelError, match=r"layer 99 does not exist: the model has layers 0 to 3"):
        editor_of(method, layer=99).prepare(lm, [])


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


def test_configurations_round_trip_through_json(method):
    config = editor_of(method).config
    assert type(config).from_dict(config.as_dict()) == config


def test_a_loss_that_is_not_a_number_is_an_error(lm, requests_):
    with pytest.raises(EditError, match=r"the loss of request 1 became nan"):
        handle = lm.layer_modules[3].register_forward_hook(lambda m, args, output: output * torch.nan)
        try:
            editor_of("grace").edit_each(lm, requests_[:1])
        finally:
            handle.remove()


def test_edits_of_different_rows_do_not_mix(lm, requests_):
    """Row i under edit i is row i under edit i, whatever stands in the other rows."""
    edits = editor_of("ft", steps=5).edit_each(lm, requests_[:2])
    text = torch.tensor([lm.encode(requests_[0].prompt)] * 2)
    with torch.no_grad():
        with applied(lm, edits):
            mixed = lm.model(input_ids=text).logits
        with applied(lm, [edits[0], edits[0]]):
            same = lm.model(input_ids=text).logits
    torch.testing.assert_close(mixed[0], same[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(mixed[1], same[1])
