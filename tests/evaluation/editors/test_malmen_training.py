"""MALMEN: the gradients of its network, and what training makes of it."""

import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from clmeeval_data.evaluation.editors import hypernetwork, malmen
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.editors.gradients import RidgeSystem
from clmeeval_data.evaluation.editors.hypernetwork import Hypernetwork
from clmeeval_data.evaluation.editors.malmen import Malmen
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import read_prompts
from clmeeval_data.evaluation.training import train_editor


@pytest.fixture
def cases(malmen_cases):
    return malmen_cases


@pytest.fixture
def fitted(malmen_config, trained_file):
    """A function that trains for a short time: Adam with the trainer's own groups and clipping."""

    def fit(lm, train, steps, **changes):
        config = malmen_config(**changes)
        trainer = Malmen(config).trainer(lm)
        adam, order = torch.optim.Adam(trainer.groups, config.learning_rate), torch.Generator().manual_seed(0)
        losses = []
        for _ in range(steps):
            batch = [train[i] for i in torch.randperm(len(train), generator=order)[: config.batch_size].tolist()]
            adam.zero_grad()
            losses.append(trainer.loss(batch))
            torch.nn.utils.clip_grad_norm_(trainer.parameters.parameters(), config.clip)
            adam.step()
        return Malmen(config, trained_file(lm, Malmen(config), trainer)), losses

    return fit


# --- the same with one text at a time, dense weights, and autograd through everything ---------------------------------


def plain_losses(lm, config, state, cases, signals, normalise, batches):
    """Mean loss of the cases; ``state``: the net's tensors, some of which take gradients."""
    total = 0.0
    for batch in batches:
        changed = {}
        for index, layer in enumerate(config.layers):
            keys, slopes = (torch.cat([signals[i][kind][index] for i in batch]) for kind in (0, 1))
            x = normalise(torch.cat([keys, slopes], -1))
            for block in range(config.blocks):
                p = {n: state[f"blocks.{block}.{n}"] for n in ("down", "up", "bias", "scale", "shift")}
                x = x + p["scale"][index] * torch.relu(x @ p["down"] @ p["up"] + p["bias"]) + p["shift"][index]
            k, g = x[:, : lm.map.f], x[:, lm.map.f :]
            values = -state["start"] * state["rate"][index] * torch.einsum("nf,nf->n", keys, k)[:, None] * g
            ridge = state["log_ridge"][index].exp() * torch.eye(lm.map.f, dtype=keys.dtype)
            shift = torch.linalg.solve(keys.T @ keys + ridge, keys.T @ values)
            name = lm.map.mlp_output_name(layer) + ".weight"
            weight = lm.model.get_parameter(name)
            changed[name] = weight + (shift if weight.shape == shift.shape else shift.T)
        total = total + sum(plain_loss(lm, config, cases[i], changed) for i in batch) / len(cases)
    return total


def plain_loss(lm, config, case, changed):
    def logits_of(ids):
        return functional_call(lm.model, changed, kwargs={"input_ids": torch.tensor([ids]), "use_cache": False}).logits

    target = lm.encode_target(case.rephrased_prompt, case.target)
    ids = lm.encode(case.rephrased_prompt) + target
    loss = cross_entropy(logits_of(ids)[0, -len(target) - 1 : -1], torch.tensor(target))
    for prompt in case.neighbour_prompts:
        ids = lm.encode(prompt)
        start = len(ids) - 1
        while len(ids) - start < config.kept_tokens:
            token = int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if token in lm.stop_ids:
                break
            ids.append(token)
        kept = lm.model(input_ids=torch.tensor([ids])).logits[0, start:].log_softmax(-1)
        edited = logits_of(ids)[0, start:].log_softmax(-1)
        divergence = (kept.exp() * (kept - edited)).sum(-1).mean()
        loss = loss + config.locality * divergence / len(case.neighbour_prompts)
    return loss


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_gradients_by_hand_equal_full_autograd_in_double_precision(
    make_lm, cases, architecture, together, monkeypatch, malmen_config, shaken, plain_signals
):
    monkeypatch.setattr(hypernetwork, "CHUNK_ROWS", 7)  # several chunks
    lm, chosen = make_lm(architecture), [cases[2], cases[4], cases[0]]
    lm.model.double()
    config = malmen_config(together=together, locality=0.7)
    trainer = shaken(Malmen(config).trainer(lm))
    trainer.parameters.double()
    loss = trainer.loss(chosen)

    state = {name: value.detach().clone() for name, value in trainer.parameters.state_dict().items()}
    learned = dict(trainer.parameters.named_parameters())
    for name in learned:
        state[name].requires_grad_(True)
    signals = [plain_signals(lm, case, config.layers)[:2] for case in chosen]
    rows = torch.cat([torch.cat(pair, -1).flatten(0, 1) for pair in signals])
    mean, std = rows.mean(0), rows.std(0)
    batches = [[0, 1, 2]] if together else [[0], [1], [2]]
    expected = plain_losses(lm, config, state, chosen, signals, lambda x: (x - mean) / std, batches)
    expected.backward()

    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert {"rate", "log_ridge", "blocks.0.down", "blocks.1.shift"} <= set(learned)
    for name, value in learned.items():
        size = float(state[name].grad.norm())
        assert size > 0, name
        assert float((value.grad - state[name].grad).norm()) < 1e-5 * size, name

    alone = plain_losses(lm, config, state, chosen, signals, lambda x: (x - mean) / std, [[0], [1], [2]])
    assert trainer.validation_loss(chosen) == pytest.approx(float(alone.detach()), rel=1e-6)


def test_the_small_system_equals_the_large_one():
    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(2, 3, 9, width, generator=generator) for width in (40, 16))
    ridge = torch.tensor([0.1, 1.0, 30.0])
    dual = keys.double().mT @ RidgeSystem(keys, ridge).solve(values)
    wide = keys.double()
    system = wide.mT @ wide + ridge[:, None, None] * torch.eye(40, dtype=torch.float64)
    primal = torch.linalg.solve(system, wide.mT @ values.double())
    torch.testing.assert_close(dual, primal, atol=1e-6 * float(primal.abs().max()), rtol=0)


def test_a_network_that_has_learned_nothing_says_the_papers_product():
    net = Hypernetwork(layers=2, f=8, d=4, rank=3, blocks=2, eta=0.5, seed=0)
    keys, slopes = (torch.randn(2, 5, width, generator=torch.Generator().manual_seed(1)) for width in (8, 4))
    expected = -0.5 * keys.square().sum(-1, keepdim=True) * slopes  # no statistics yet: [k~; g~] is [k; g]
    torch.testing.assert_close(net.values(keys, slopes), expected)


# --- training ---------------------------------------------------------------------------------------------------------


def test_gradients_add_up_and_a_repeated_step_reads_nothing_anew(lm, cases, monkeypatch, malmen_config, shaken):
    trainer = shaken(Malmen(malmen_config()).trainer(lm))
    trainer.loss(cases)
    trainer.parameters.zero_grad()
    frozen = {name: value.clone() for name, value in trainer.parameters.named_buffers()}
    monkeypatch.setattr(trainer.parameters.normaliser, "update", lambda rows: None)
    monkeypatch.setattr(malmen, "read_signals", None)
    monkeypatch.setattr(malmen, "run_layers", None)
    first = trainer.loss(cases)
    once = {name: value.grad.clone() for name, value in trainer.parameters.named_parameters()}
    assert trainer.loss(cases) == first
    for name, value in trainer.parameters.named_parameters():
        torch.testing.assert_close(value.grad, 2 * once[name])
    assert all(torch.equal(value, frozen[name]) for name, value in trainer.parameters.named_buffers())


def test_a_step_runs_no_layer_below_the_lowest_edited_one(lm, cases, malmen_config):
    trainer, ran = Malmen(malmen_config(layers=(2, 3))).trainer(lm), []
    trainer.begin(cases)
    handles = [
        module.register_forward_hook(lambda *args, layer=layer: ran.append(layer))
        for layer, block in enumerate(lm.layer_modules)
        for module in [block.self_attn]
    ]
    trainer.loss(cases)
    for handle in handles:
        handle.remove()
    assert set(ran) == {2, 3}


def test_what_does_not_fit_into_memory_is_read_again(lm, cases, monkeypatch, malmen_config, shaken):
    trainer, tight = shaken(Malmen(malmen_config()).trainer(lm)), shaken(Malmen(malmen_config()).trainer(lm))
    expected = [trainer.loss(cases[:3]), trainer.loss(cases[3:]), trainer.validation_loss(cases)]
    monkeypatch.setattr(malmen, "KEPT_BYTES", max(r.nbytes for r in trainer._readings.values()))
    tight.begin(cases)
    assert [tight.loss(cases[:3]), tight.loss(cases[3:]), tight.validation_loss(cases)] == pytest.approx(expected)
    assert 1 <= len(tight._readings) < len(cases)


def test_begin_reads_the_cases_and_shows_it(lm, cases, malmen_config):
    trainer, seen = Malmen(malmen_config()).trainer(lm), []
    trainer.begin(cases, lambda steps, description, total: seen.append((description, total)) or steps)
    assert seen == [("reading the cases", 1)]
    assert list(trainer._readings) == cases


def test_only_training_steps_change_the_statistics(lm, cases, malmen_config, trained_file):
    config = malmen_config()
    trainer = Malmen(config).trainer(lm)
    trainer.loss(cases[:3])
    before = {name: value.clone() for name, value in trainer.parameters.state_dict().items()}
    trainer.validation_loss(cases)
    editor = Malmen(config, trained_file(lm, Malmen(config), trainer))
    first = editor.edit_each(lm, [cases[0].request])[0]
    editor.edit_each(lm, [case.request for case in cases])
    again = editor.edit_each(lm, [cases[0].request])[0]
    assert all(torch.equal(a.left, b.left) for a, b in zip(first.updates, again.updates, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in trainer.parameters.state_dict().items())
    tokens = sum(len(lm.encode_target(case.prompt, case.target)) for case in cases[:3])
    assert int(before["normaliser.count"]) == tokens * len(config.layers)
    trainer.loss(cases[3:4])
    assert not torch.equal(trainer.parameters.normaliser.mean, before["normaliser.mean"])


def test_the_step_size_has_a_learning_rate_of_its_own(lm, cases, malmen_config):
    trainer = Malmen(malmen_config(eta=1e-4, eta_learning_rate=3e-5, learning_rate=1e-6)).trainer(lm)
    adam = torch.optim.Adam(trainer.groups, 1e-6)
    before = {name: value.detach().clone() for name, value in trainer.parameters.named_parameters()}
    torch.testing.assert_close(trainer.parameters.eta, torch.full((2,), 1e-4))
    trainer.loss(cases)
    adam.step()
    moved = (trainer.parameters.eta - 1e-4).abs()
    torch.testing.assert_close(moved, torch.full((2,), 3e-5), rtol=1e-3, atol=0)
    others = {name: value.detach() for name, value in trainer.parameters.named_parameters() if name != "rate"}
    largest = max(float((value - before[name]).abs().max()) for name, value in others.items())
    assert largest == pytest.approx(1e-6, rel=0.1)
    assert trainer.facts() == {"eta": trainer.parameters.eta.tolist(), "ridge": trainer.parameters.ridge.tolist()}
    assert {id(p) for group in trainer.groups for p in group["params"]} == set(map(id, trainer.parameters.parameters()))


def test_training_twice_with_one_seed_gives_the_same_tensors(lm, cases, fitted):
    first, second, other = (fitted(lm, cases, 3, seed=seed)[0].trained for seed in (0, 0, 1))
    assert first.digest == second.digest
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())
    assert not torch.equal(first.tensors["blocks.0.down"], other.tensors["blocks.0.down"])


def test_a_training_ends_in_a_file_that_edits(lm, cases, tmp_path, malmen_config):
    config = malmen_config(steps=3, validate_every=1, batch_size=2)
    result = train_editor(lm, Malmen(config), cases[:5], cases[5:], tmp_path, {"name": "cnle"})
    file = Trained.load(result.path)
    editor = Malmen(config, file)
    editor.prepare(lm, [])
    assert editor.inputs([]) == {"trained": file.digest}
    assert len(file.facts["eta"]) == len(file.facts["ridge"]) == 2
    edit = editor.edit_each(lm, [cases[0].request])[0]
    assert all(update.left.any() for update in edit.updates)


@pytest.mark.parametrize("together", [True, False])
def test_effectiveness_rises_on_a_model_that_knows_other_answers(
    overfitted, together, malmen_config, trained_file, fitted
):
    lm, known = overfitted

    def case(i, shift):
        prompt, target = known[i][0], known[(i + shift) % 10][1]
        others = (known[(i + 5) % 10][0], known[(i + 7) % 10][0])
        return Case(f"{i}-{shift}", prompt, prompt.replace("Intent: ", "Intent: please "), target, others)

    train = [case(i, shift) for i in range(10) for shift in range(2, 10)]
    requests = [case(i, 1).request for i in range(10)]
    settings = {"layers": (2, 3), "rank": 16, "eta": 5e-3, "eta_learning_rate": 1e-2, "kept_tokens": 1,
                "together": together}  # fmt: skip

    def right(editor):
        jobs = [Continuation(row, row, 1) for row in range(10)]
        prefix = read_prompts(lm, [request.prompt for request in requests])
        outputs = [lm.decode(ids) for ids in generate(lm, prefix, editor.edit_each(lm, requests), jobs)]
        return sum(output == request.target for output, request in zip(outputs, requests, strict=True))

    config = malmen_config(**settings)
    untrained = Malmen(config).trainer(lm)
    for start in range(0, len(train), 8):
        untrained.loss(train[start : start + 8])  # the statistics, without a step
    assert right(Malmen(config, trained_file(lm, Malmen(config), untrained))) <= 2
    learned, losses = fitted(lm, train, 40, **settings)
    assert right(learned) >= 7
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])
