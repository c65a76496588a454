"""LoRA against peft's own training and peft's own adapted model, on architectures with either kind of linear module."""

import copy

import peft
import pytest
import torch

from clmeeval_data.errors import ConfigError, EditError, ModelError
from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.lora import Lora, LoraConfig, adapted
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import prompts_remembered, read_prompts

QUICK = {"rank": 4, "alpha": 8.0, "learning_rate": 2e-3, "steps": 12}


@pytest.fixture(scope="module", params=["llama", "stablelm", "gpt2"])
def some_lm(request, make_lm):
    """Models with linear modules of both kinds: GPT-2's keep their weights transposed."""
    return make_lm(request.param)


def editor(**changes):
    return Lora(LoraConfig.from_dict({**QUICK, **changes}))


def state(lm):
    """All of a model that an injection could change: modules by identity, their attributes, parameters, hooks."""
    return {
        "modules": [(name, id(module)) for name, module in lm.model.named_modules()],
        "attributes": [sorted(vars(module)) for module in lm.model.modules()],
        "parameters": [(name, id(p), p.requires_grad) for name, p in lm.model.named_parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in lm.model.modules()],
        "training": [module.training for module in lm.model.modules()],
    }


def logits_of(model, text):
    with torch.no_grad():
        return model(input_ids=torch.tensor([text])).logits


def peft_twin(lm, edit, rank, alpha):
    """A copy of the model, adapted by peft, with the edit's numbers in its adapter."""
    names = [update.module for update in edit.updates]
    settings = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, lora_dropout=0.0)
    settings.fan_in_fan_out = lm.name == "tiny-gpt2"
    twin = peft.inject_adapter_in_model(settings, copy.deepcopy(lm.model)).eval()
    with torch.no_grad():
        for update in edit.updates:
            layer = twin.get_submodule(update.module)
            layer.lora_A["default"].weight.copy_(update.right)
            layer.lora_B["default"].weight.copy_(update.left / (alpha / rank))
    return twin


def tensors(edit):
    return [tensor for update in edit.updates for tensor in (update.left, update.right)]


def assert_near(first, second, atol=1e-4):
    for mine, theirs in zip(tensors(first), tensors(second), strict=True):
        scale = max(1.0, float(theirs.abs().max()))
        torch.testing.assert_close(mine / scale, theirs / scale, atol=atol, rtol=0)


def test_the_edit_is_the_adapted_model(some_lm, requests_):
    request = requests_[0]
    edit = editor().edit_each(some_lm, [request])[0]
    text = some_lm.encode(request.prompt) + some_lm.encode_target(request.prompt, request.target)
    with torch.no_grad(), edit.applied(some_lm):
        mine = logits_of(some_lm.model, text)
    torch.testing.assert_close(mine, logits_of(peft_twin(some_lm, edit, 4, 8.0), text), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(mine, logits_of(some_lm.model, text), atol=1e-2)
    assert [update.module for update in edit.updates] == [some_lm.map.mlp_output_name(layer) for layer in range(4)]
    assert all(update.left.shape == (32, 4) and update.right.shape == (4, 64) for update in edit.updates)


@pytest.mark.parametrize("layers", [(), (2,), (1, 3)])
def test_training_is_that_of_peft(some_lm, requests_, layers):
    """The same adapter, trained by peft's model and its own loss on the whole text, one request, no saving."""
    request = requests_[2]
    first = editor(layers=list(layers), learning_rate=1e-12, steps=1).edit_each(some_lm, [request])[0]
    zero = Edit(
        tuple(type(u)(u.module, torch.zeros_like(u.left), u.right) for u in first.updates), first.fingerprint, "lora"
    )
    twin = peft_twin(some_lm, zero, 4, 8.0)
    adapter = [p for name, p in twin.named_parameters() if "lora_" in name]
    for parameter in adapter:
        parameter.requires_grad_(True)
    target = some_lm.encode_target(request.prompt, request.target)
    ids = torch.tensor([some_lm.encode(request.prompt) + target])
    labels = ids.clone()
    labels[0, : -len(target)] = -100
    adam = torch.optim.Adam(adapter, lr=QUICK["learning_rate"])
    for _ in range(QUICK["steps"]):
        adam.zero_grad()
        twin(input_ids=ids, labels=labels).loss.backward()
        adam.step()
    edit = editor(layers=list(layers)).edit_each(some_lm, [request])[0]
    assert len(edit.updates) == (len(layers) or 4)
    for update in edit.updates:
        layer = twin.get_submodule(update.module)
        torch.testing.assert_close(update.right, layer.lora_A["default"].weight.detach(), atol=1e-4, rtol=0)
        torch.testing.assert_close(update.left, 2 * layer.lora_B["default"].weight.detach(), atol=2e-4, rtol=0)
    with torch.no_grad():
        loss = float(twin(input_ids=ids, labels=labels).loss)
    assert edit.details["loss"] == pytest.approx(loss, abs=1e-3)


@pytest.mark.parametrize("layers", [(), (2,), (1, 2)])
def test_a_batch_equals_one_at_a_time(some_lm, requests_, layers):
    one = editor(layers=list(layers))
    together = one.edit_each(some_lm, requests_)
    for edit, request in zip(together, requests_, strict=True):
        alone = one.edit_each(some_lm, [request])[0]
        assert edit.case_ids == alone.case_ids == (request.case_id,)
        assert_near(edit, alone)
    for edit, other in zip(together, reversed(one.edit_each(some_lm, requests_[::-1])), strict=True):
        assert_near(edit, other)


def test_requests_stop_on_their_own(overfitted):
    lm, known = overfitted
    asked = [EditRequest(str(i), known[i][0], known[i + 1][1]) for i in range(3)]
    asked.append(EditRequest("known", *known[5]))
    one = editor(stop_loss=0.8, steps=150, learning_rate=1e-2)
    together = one.edit_each(lm, asked)
    steps = [edit.details["steps"] for edit in together]
    assert steps[3] == 0
    assert all(0 < taken < 150 for taken in steps[:3])
    assert len(set(steps)) > 2
    assert all(edit.details["loss"] < 0.8 for edit in together)
    assert not any(update.left.any() for update in together[3].updates)
    for edit, request in zip(together, asked, strict=True):
        alone = one.edit_each(lm, [request])[0]
        assert alone.details["steps"] == edit.details["steps"]
        assert_near(edit, alone, atol=1e-3)


def test_one_edit_holds_all_requests(overfitted):
    lm, known = overfitted
    asked = [EditRequest(str(i), known[i][0], known[i + 2][1]) for i in range(3)]
    edit = editor(steps=150, learning_rate=2e-2, rank=8, stop_loss=0.02).edit(lm, asked)
    assert edit.case_ids == ("0", "1", "2")
    jobs = [Continuation(row, 0, len(lm.encode_target(one.prompt, one.target))) for row, one in enumerate(asked)]
    outputs = generate(lm, read_prompts(lm, [one.prompt for one in asked]), [edit], jobs)
    assert [lm.decode(ids) for ids in outputs] == [one.target for one in asked]


def test_the_loss_of_several_requests_is_their_mean(some_lm, requests_):
    start = {"learning_rate": 1e-12, "steps": 1}
    each = [edit.details["loss"] for edit in editor(**start).edit_each(some_lm, requests_)]
    together = editor(**start).edit(some_lm, requests_).details["loss"]
    assert together == pytest.approx(sum(each) / len(each), rel=1e-5)
    alone = editor().edit(some_lm, requests_[:1])
    assert_near(alone, editor().edit_each(some_lm, requests_[:1])[0])


def test_the_model_is_what_it_was(some_lm, requests_):
    weights = {name: tensor.clone() for name, tensor in some_lm.model.state_dict().items()}
    watched = next(some_lm.model.parameters())
    watched.requires_grad_(True)  # whatever it was is what it has to be
    try:
        before, numbers = state(some_lm), torch.random.get_rng_state()
        editor(steps=2).edit_each(some_lm, requests_[:2])
        editor(steps=2, layers=[2]).edit(some_lm, requests_[:2])
        assert state(some_lm) == before
        assert torch.equal(torch.random.get_rng_state(), numbers)
    finally:
        watched.requires_grad_(False)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in some_lm.model.state_dict().items())


@pytest.mark.parametrize("fails_at", [2, 9])
def test_the_model_is_what_it_was_after_an_exception(some_lm, requests_, monkeypatch, fails_at):
    kind, calls = type(some_lm.layer_modules[3]), []
    forward = kind.forward

    def fails(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > fails_at:
            raise RuntimeError("out of memory")
        return forward(self, *args, **kwargs)

    before = state(some_lm)
    monkeypatch.setattr(kind, "forward", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        editor().edit_each(some_lm, requests_)
    assert state(some_lm) == before


@pytest.mark.parametrize("injected", [1, 6])
def test_the_model_is_what_it_was_after_an_injection_that_failed_halfway(some_lm, requests_, monkeypatch, injected):
    update, calls = peft.tuners.lora.LoraLayer.update_layer, []

    def fails(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > injected:
            raise RuntimeError("no room for another adapter")
        return update(self, *args, **kwargs)

    before = state(some_lm)
    monkeypatch.setattr(peft.tuners.lora.LoraLayer, "update_layer", fails)
    with pytest.raises(RuntimeError, match="no room"):
        editor().edit_each(some_lm, requests_[:2])
    assert state(some_lm) == before
    monkeypatch.undo()
    assert editor(steps=1).edit_each(some_lm, requests_[:1])


def test_a_model_that_holds_adapters_already_is_refused(make_lm, requests_):
    lm = make_lm("llama")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"])
    lm.model = peft.inject_adapter_in_model(settings, lm.model)
    with pytest.raises(ModelError, match="holds adapters of peft already"):
        editor().edit_each(lm, requests_[:1])
    assert isinstance(lm.layer_modules[0].self_attn.q_proj, peft.tuners.lora.LoraLayer)


def test_the_first_a_depends_on_seed_and_case_alone(some_lm, requests_):
    config = LoraConfig(rank=3)
    modules = [some_lm.map.mlp_output_name(layer) for layer in (0, 2)]

    def first(names, modules=modules, config=config):
        with adapted(some_lm, modules, config, names) as adapters:
            return {name: tensors(Edit(adapters.updates(i), "", "lora")) for i, name in enumerate(names)}

    both, swapped = first(["a", "b"]), first(["b", "a"])
    for name in ("a", "b"):
        assert all(torch.equal(x, y) for x, y in zip(both[name], swapped[name], strict=True))
    left, right = both["a"][0], both["a"][1]
    assert not left.any()
    assert 0.9 / 8 < float(right.abs().max()) <= 1 / 8  # +-1 / sqrt(f), f = 64
    assert abs(float(right.mean())) < 0.03
    assert not torch.equal(right, both["b"][1])
    assert not torch.equal(right, both["a"][3])  # of the other module
    assert torch.equal(right, first(["a"], modules[:1])["a"][1])
    assert not torch.equal(right, first(["a"], config=LoraConfig(rank=3, seed=1))["a"][1])


def test_an_edit_under_an_earlier_one_continues_it(some_lm, requests_):
    earlier = editor(layers=[1]).edit_each(some_lm, requests_[:1])[0]
    later = editor(layers=[1, 2], steps=1, learning_rate=1e-12)
    with earlier.applied(some_lm):
        under = later.edit_each(some_lm, requests_[:1])[0]
    assert under.details["loss"] == pytest.approx(earlier.details["loss"], abs=1e-4)
    assert later.edit_each(some_lm, requests_[:1])[0].details["loss"] > earlier.details["loss"] + 0.01


def test_prompts_that_were_read_already_change_nothing(some_lm, requests_):
    one = editor(layers=[2])
    plain = one.edit_each(some_lm, requests_)
    prompts = [request.prompt for request in requests_]
    prefix = read_prompts(some_lm, prompts, one.config.edited_layers)
    with prompts_remembered(some_lm, prompts, prefix):
        remembered = one.edit_each(some_lm, requests_)
    for first, second in zip(plain, remembered, strict=True):
        assert_near(first, second)


def test_layers_below_the_lowest_adapted_one_do_not_run_in_training(make_lm, requests_):
    lm, calls = make_lm("llama"), {0: 0, 2: 0}
    for layer in (0, 2):
        module = lm.layer_modules[layer].mlp
        module.register_forward_hook(lambda *_, layer=layer: calls.__setitem__(layer, calls[layer] + 1))
    editor(layers=[2], steps=10).edit_each(lm, requests_[:1])
    assert calls[2] >= 11
    assert calls[0] <= 2


def test_half_precision_trains_adapters_in_float32(make_lm, requests_):
    lm = make_lm("llama")
    lm.model.to(torch.bfloat16)
    edit = editor(steps=20).edit_each(lm, requests_[:1])[0]
    start = editor(steps=1, learning_rate=1e-12).edit_each(lm, requests_[:1])[0]
    assert {tensor.dtype for tensor in tensors(edit)} == {torch.float32}
    assert edit.details["loss"] < start.details["loss"] - 0.1


def test_a_loss_that_is_not_a_number_names_its_case(make_lm, requests_):
    lm = make_lm("llama")
    lm.layer_modules[3].register_forward_hook(lambda m, args, output: output * torch.nan)
    before = state(lm)
    with pytest.raises(EditError, match="the loss of case-1 became nan"):
        editor().edit_each(lm, requests_[1:2])
    assert state(lm) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": 0}, "rank is 0; expected at least 1"),
        ({"alpha": 0}, "alpha is 0.0; expected a number above 0"),
        ({"layers": [1, 1]}, r"layers is \(1, 1\); expected every layer once"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": -1}, "learning_rate is -1.0"),
        ({"dropout": 0.1}, "has no setting 'dropout'"),
    ],
)
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        LoraConfig.from_dict(values)


def test_a_layer_that_does_not_exist_is_named(some_lm):
    with pytest.raises(ModelError, match="layer 9 does not exist: the model has layers 0 to 3"):
        editor(layers=[1, 9]).prepare(some_lm, [])
    assert LoraConfig(layers=(9, 4)).edited_layers == (4, 9)
    assert LoraConfig().edited_layers == (0,)
