"""A-GRACE: the encoder's loss and training, and the edits that are made with it."""

import math
from dataclasses import replace

import pytest
import torch

from clmeeval_data.errors import ConfigError, EditError
from clmeeval_data.evaluation.editors import agrace
from clmeeval_data.evaluation.editors.agrace import (
    AGrace,
    AGraceConfig,
    Embedded,
    EncoderNet,
    EncoderTrainer,
    contrastive_loss,
)
from clmeeval_data.evaluation.editors.contract import Case, EditRequest
from clmeeval_data.evaluation.editors.grace import Grace, GraceConfig
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.hparams import settings_for
from clmeeval_data.evaluation.model.edits import Edit, applied
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import read_prompts
from clmeeval_data.evaluation.training import train_editor

VALUES = {"layer": 2, "learning_rate": 0.3, "steps": 60, "start": "zero", "stop_loss": 0.005}
QUICK = {"encoder_learning_rate": 0.01, "encoder_decay": 0.0, "encoder_width": 64, "embedding": 32, "dropout": 0.0,
         "encoder_batch": 30, "encoder_patience": 100}  # fmt: skip


def config_of(**changes):
    return AGraceConfig.from_dict({**VALUES, **QUICK, **changes})


def prompts_of(rows, field):
    return [f"Intent: {row[field]}\nCode:" for row in rows]


@pytest.fixture(scope="module")
def cases(sample_rows):
    """Twenty cases; neighbours are the prompts of two others."""
    asked, rephrased = (prompts_of(sample_rows, field) for field in ("intent", "rewritten_intent"))
    return [
        Case(f"case{i:02}", asked[i], rephrased[i], "x", (asked[(i + 1) % 20], asked[(i + 7) % 20])) for i in range(20)
    ]


@pytest.fixture(scope="module")
def known(overfitted):
    """The model that knows answers, and the requests for other ones."""
    lm, pairs = overfitted
    answers = [answer for _, answer in pairs[1:] + pairs[:1]]
    return lm, [
        EditRequest(str(i), prompt, new) for i, ((prompt, _), new) in enumerate(zip(pairs, answers, strict=True))
    ]


@pytest.fixture(scope="module")
def result(known, cases, tmp_path_factory):
    """An encoder trained for a second. What is tested is whether it learns, so the training cases select it."""
    out = tmp_path_factory.mktemp("trained")
    return train_editor(known[0], AGrace(config_of()), cases, cases, out, {"name": "cnle"})


@pytest.fixture(scope="module")
def trained(result):
    return Trained.load(result.path)


@pytest.fixture
def editor(trained):
    return AGrace(config_of(), trained)


def untrained(lm, config):
    """A trained file with the first weights, for tests that do not care what the encoder has learned."""
    state = EncoderTrainer(lm, config).parameters.state_dict()
    return Trained("agrace", config.as_dict(), lm.fingerprint, lm.name, {}, state)


def answers(lm, prompts, edits, lengths):
    jobs = [Continuation(row, row, length) for row, length in enumerate(lengths)]
    return [lm.decode(ids) for ids in generate(lm, read_prompts(lm, prompts), edits, jobs)]


def encoded(encoder, lm, prompt, layer=2):
    """The query of a prompt from a plain pass of the model: mean over its tokens, then the formula."""
    seen = []
    handle = lm.mlp_output(layer).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([lm.encode(prompt)]))
    handle.remove()
    hidden = encoder["first.weight"] @ seen[0][0].mean(0) + encoder["first.bias"]
    return encoder["second.weight"] @ torch.where(hidden > 0, hidden, 0.5 * hidden) + encoder["second.bias"]


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_by_hand():
    near, far = torch.tensor([0.5, 2.0]), torch.tensor([0.25, 1.0, 3.0])
    # 0.25 + 4 for the near; 0.75^2 for the far one within the margin; five pairs
    assert float(contrastive_loss(near, far, 1.0)) == pytest.approx((0.25 + 4 + 0.5625) / 5)
    assert float(contrastive_loss(near, far, 2.0)) == pytest.approx((0.25 + 4 + 1.75**2 + 1) / 5)
    assert float(contrastive_loss(near[:0], far[:0], 1.0)) == 0


def test_the_gradient_of_the_loss_is_right():
    torch.manual_seed(0)
    vectors = (torch.randn(9, 3, dtype=torch.double) / 3).requires_grad_(True)
    places = [[0, 1, 2, 3], [4, 5, 6], [7, 8, 0, 4]]

    def loss(vectors):
        embedded = Embedded(vectors, places)
        return contrastive_loss(embedded.near(), torch.cat([embedded.far(), embedded.between()]), 1.0)

    assert torch.autograd.gradcheck(loss, vectors)


def test_equal_texts_give_a_finite_gradient():
    vectors = torch.ones(3, 4, requires_grad=True)
    embedded = Embedded(vectors, [[0, 1, 2]])
    contrastive_loss(embedded.near(), embedded.far(), 1.0).backward()
    assert torch.isfinite(vectors.grad).all()


def test_the_pairs_by_brute_force():
    torch.manual_seed(1)
    vectors, places = torch.randn(10, 5), [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9, 0]]
    embedded = Embedded(vectors, places)

    def distance(i, j):
        return math.sqrt(sum((a - b) ** 2 for a, b in zip(vectors[i].tolist(), vectors[j].tolist(), strict=True)))

    assert embedded.near().tolist() == pytest.approx([distance(0, 1), distance(4, 5), distance(6, 7)])
    far = [(0, 2), (0, 3), (6, 8), (6, 9), (6, 0)]
    assert embedded.far().tolist() == pytest.approx([distance(*pair) for pair in far])
    others = [(0, 4), (0, 5), (0, 6), (0, 7), (4, 0), (4, 1), (4, 6), (4, 7), (6, 0), (6, 1), (6, 4), (6, 5)]
    assert sorted(embedded.between().tolist()) == pytest.approx(sorted(distance(*pair) for pair in others))


@pytest.mark.parametrize("far", ["neighbours", "batch"])
def test_the_trainers_loss_is_that_of_the_texts_read_one_by_one(lm, cases, far):
    config = config_of(far=far, margin=1.3)
    trainer = EncoderTrainer(lm, config)
    some = cases[:4]
    trainer.begin(some)
    state = trainer.parameters.state_dict()
    vector = {prompt: encoded(state, lm, prompt) for case in some for prompt in case.prompts}

    def distance(first, second):
        return float((vector[first] - vector[second]).norm())

    costs = [distance(case.prompt, case.rephrased_prompt) ** 2 for case in some]
    costs += [max(0, 1.3 - distance(case.prompt, near)) ** 2 for case in some for near in case.neighbour_prompts]
    expected = sum(costs) / len(costs)
    if far == "batch":
        texts = [(case, text) for case in some for text in case.prompts[:2]]
        between = [
            max(0, 1.3 - distance(case.prompt, text)) ** 2
            for case in some
            for owner, text in texts
            if owner is not case
        ]
        expected += sum(between) / len(between)
    assert trainer.validation_loss(some) == pytest.approx(expected, rel=1e-3)
    assert trainer.loss(some) == pytest.approx(expected, rel=1e-3)
    first = trainer.parameters.first.weight.grad.clone()
    trainer.loss(some)
    torch.testing.assert_close(trainer.parameters.first.weight.grad, 2 * first)  # the gradient is added


def test_every_text_is_read_once_for_the_whole_training(lm, cases, monkeypatch, tmp_path):
    read = []
    monkeypatch.setattr(
        agrace, "read_prompts", lambda lm, prompts, layers: read.extend(prompts) or read_prompts(lm, prompts, layers)
    )
    train_editor(lm, AGrace(config_of(encoder_epochs=3)), cases[:12], cases[12:], tmp_path, {"name": "cnle"})
    assert sorted(read) == sorted({prompt for case in cases for prompt in case.prompts})


@pytest.mark.parametrize(("pairs", "expected"), [(1, 1), (30, 10), (64, 21)])
def test_a_batch_holds_whole_cases_of_so_many_pairs(lm, cases, pairs, expected):
    trainer = EncoderTrainer(lm, config_of(encoder_batch=pairs))
    trainer.begin(cases[:2])
    assert trainer.schedule.batch_size == expected  # every case has three pairs


def test_the_schedule_is_that_of_the_settings(lm):
    config = config_of(encoder_decay=0.2, encoder_epochs=9, encoder_patience=3)
    schedule = EncoderTrainer(lm, config).schedule
    assert (schedule.learning_rate, schedule.weight_decay, schedule.clip) == (0.01, 0.2, None)
    assert (schedule.steps, schedule.validate_every, schedule.patience, schedule.unit) == (9, 1, 3, "epochs")


# --- the encoder ------------------------------------------------------------------------------------------------------


def test_dropout_works_in_training_and_is_off_at_inference(known, cases):
    config = config_of(dropout=0.5)
    lm, requests = known
    trainer = EncoderTrainer(lm, config)
    trainer.begin(cases)
    trainer.parameters.train()
    losses = {trainer.loss(cases) for _ in range(3)}
    assert len(losses) == 3
    trainer.parameters.eval()
    assert trainer.validation_loss(cases) == trainer.validation_loss(cases)
    file = untrained(lm, config)
    edit = AGrace(config, file).edit_each(lm, requests[:1])[0]
    expected = encoded(file.tensors, lm, requests[0].prompt)
    torch.testing.assert_close(edit.updates[0].keys[0], expected, atol=1e-4, rtol=1e-4)


def test_the_first_weights_are_those_of_torch_and_come_from_the_seed():
    net, again, other = EncoderNet(64, 16, 8, 0.5, 0), EncoderNet(64, 16, 8, 0.5, 0), EncoderNet(64, 16, 8, 0.5, 1)
    for name, value in net.state_dict().items():
        bound = 1 / math.sqrt(64 if name.startswith("first") else 16)
        assert float(value.abs().max()) <= bound
        assert float(value.std()) == pytest.approx(bound / math.sqrt(3), rel=0.6)  # uniform
        assert torch.equal(value, again.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])
    linear = torch.nn.Linear(64, 16)
    assert float(linear.weight.detach().std()) == pytest.approx(float(net.first.weight.detach().std()), rel=0.1)


def test_the_hidden_width_is_a_quarter_of_f_unless_given(lm):
    widths = {
        given: EncoderTrainer(lm, config_of(encoder_width=given)).parameters.first.out_features for given in (0, 9)
    }
    assert widths == {0: lm.map.f // 4, 9: 9}


def test_near_texts_end_up_within_the_radius_and_far_ones_outside(known, trained, cases):
    lm, _ = known
    first = EncoderTrainer(lm, config_of()).parameters.state_dict()

    def right(state):
        vector = {prompt: encoded(state, lm, prompt) for case in cases for prompt in case.prompts}
        pairs = [(case.prompt, other, other == case.rephrased_prompt) for case in cases for other in case.prompts[1:]]
        return [(float((vector[a] - vector[b]).norm()) <= 1) == near for a, b, near in pairs]

    assert sum(right(first)) < 40, "the encoder does not need training: the test shows nothing"
    assert all(right(trained.tensors))
    assert trained.facts["near_within_radius"] == 1.0
    assert trained.facts["far_outside_radius"] == 1.0


def test_the_facts_count_the_pairs_on_their_side(lm, cases):
    config = config_of(radius=0.4)
    trainer = EncoderTrainer(lm, config)
    trainer.begin(cases)
    state = trainer.parameters.state_dict()
    gaps = [
        [float((encoded(state, lm, case.prompt) - encoded(state, lm, other)).norm()) for other in case.prompts[1:]]
        for case in cases
    ]
    facts = trainer.validation_facts(cases)
    assert facts["near_within_radius"] == pytest.approx(sum(near <= 0.4 for near, *_ in gaps) / 20)
    assert facts["far_outside_radius"] == pytest.approx(sum(gap > 0.4 for _, *far in gaps for gap in far) / 40)
    alone = [replace(case, neighbour_prompts=()) for case in cases]
    assert trainer.validation_facts(alone)["far_outside_radius"] is None
    assert math.isfinite(trainer.validation_loss(alone))


def test_the_epoch_with_the_best_validation_loss_is_kept(known, cases, tmp_path):
    lm, _ = known
    config = config_of(encoder_learning_rate=0.003, encoder_epochs=60, encoder_patience=5)
    result = train_editor(lm, AGrace(config), cases[:12], cases[12:], tmp_path, {"name": "cnle"})
    steps = [step for step, _ in result.curve.validations]
    assert steps == list(range(0, len(result.curve.losses) + 1, 2))  # an epoch is two batches of ten cases
    losses = [loss for _, loss in result.curve.validations]
    best = losses.index(min(losses))
    assert 0 < best < len(losses) - 1, "the best epoch is at an end: the test shows nothing"
    assert (result.best_step, len(losses)) == (2 * best, best + 1 + 5)
    trainer = EncoderTrainer(lm, config)
    trainer.begin(cases)
    trainer.parameters.load_state_dict(Trained.load(result.path).tensors)
    trainer.parameters.eval()
    assert trainer.validation_loss(cases[12:]) == pytest.approx(min(losses), rel=1e-5)


# --- the edits --------------------------------------------------------------------------------------------------------


def test_a_rephrased_prompt_gets_the_target_where_grace_leaves_it_alone(known, cases, editor):
    lm, requests = known
    chosen = requests[:6]
    rephrased = [case.rephrased_prompt for case in cases[:6]]
    assert [case.prompt for case in cases[:6]] == [request.prompt for request in chosen]
    targets = [request.target for request in chosen]
    lengths = [len(lm.encode_target(request.prompt, request.target)) for request in chosen]
    unedited = answers(lm, rephrased, [Edit((), lm.fingerprint, "none")] * 6, lengths)
    plain = Grace(GraceConfig(**VALUES)).edit_each(lm, chosen)
    edits = editor.edit_each(lm, chosen)
    assert answers(lm, [request.prompt for request in chosen], plain, lengths) == targets
    assert answers(lm, [request.prompt for request in chosen], edits, lengths) == targets
    assert answers(lm, rephrased, plain, lengths) == unedited
    found = answers(lm, rephrased, edits, lengths)
    assert sum(answer == target for answer, target in zip(found, targets, strict=True)) >= 5, (found, targets)
    neighbours = [case.neighbour_prompts[0] for case in cases[:6]]
    before = answers(lm, neighbours, [Edit((), lm.fingerprint, "none")] * 6, lengths)
    assert answers(lm, neighbours, edits, lengths) == before


def test_the_values_are_those_of_grace_and_the_keys_are_encoded(known, editor, trained):
    lm, requests = known
    plain = Grace(GraceConfig(**VALUES)).edit_each(lm, requests[:3])
    for edit, other, request in zip(editor.edit_each(lm, requests[:3]), plain, requests, strict=False):
        (book,), (same,) = edit.updates, other.updates
        assert torch.equal(book.values, same.values)
        assert (book.labels, book.module, float(book.radii)) == (same.labels, same.module, 1.0)
        assert edit.details == other.details
        torch.testing.assert_close(book.keys[0], encoded(trained.tensors, lm, request.prompt), atol=1e-4, rtol=1e-4)
        assert (edit.method, edit.config, edit.case_ids) == ("agrace", editor.config.as_dict(), (request.case_id,))


def test_a_batch_of_edits_equals_one_at_a_time(lm, requests_):
    config = config_of()
    editor = AGrace(config, untrained(lm, config))
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    together = editor.edit_each(lm, requests_)
    prompts = [request.prompt for request in requests_]
    lengths = [len(lm.encode_target(request.prompt, request.target)) for request in requests_]
    batch = answers(lm, prompts, together, lengths)
    for row, request in enumerate(requests_):
        alone = editor.edit_each(lm, [request])[0]
        for name in ("keys", "values"):
            mine, theirs = getattr(together[row].updates[0], name), getattr(alone.updates[0], name)
            scale = max(1.0, float(theirs.abs().max()))
            torch.testing.assert_close(mine / scale, theirs / scale, atol=1e-4, rtol=0)
        assert batch[row] == answers(lm, prompts[row : row + 1], [alone], lengths[row : row + 1])[0]
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in lm.model.modules())


def test_the_model_is_unchanged_after_an_exception(lm, requests_, monkeypatch):
    config, calls = config_of(), []
    editor = AGrace(config, untrained(lm, config))
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    forward = type(lm.layer_modules[3]).forward

    def fails(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 12:
            raise RuntimeError("out of memory")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(lm.layer_modules[3]), "forward", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        editor.edit_each(lm, requests_)
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in lm.model.modules())


def test_one_edit_holds_several_requests(known, editor):
    lm, requests = known
    edit = editor.edit(lm, requests[:3])
    assert edit.case_ids == ("0", "1", "2")
    assert edit.updates[0].keys.shape == (3, 32)
    lengths = [len(lm.encode_target(request.prompt, request.target)) for request in requests[:3]]
    prompts = read_prompts(lm, [request.prompt for request in requests[:3]])
    jobs = [Continuation(row, 0, length) for row, length in enumerate(lengths)]
    outputs = [lm.decode(ids) for ids in generate(lm, prompts, [edit], jobs)]
    assert outputs == [request.target for request in requests[:3]]


def test_an_edit_survives_its_file(known, cases, editor, tmp_path):
    lm, requests = known
    edit = editor.edit_each(lm, requests[:1])[0]
    edit.save(tmp_path / "edit.safetensors")
    loaded = Edit.load(tmp_path / "edit.safetensors", lm)
    prompts = list(cases[0].prompts)
    expected = answers(lm, prompts, [edit] * 4, [12] * 4)
    assert answers(lm, prompts, [loaded] * 4, [12] * 4) == expected
    assert expected != answers(lm, prompts, [Edit((), lm.fingerprint, "none")] * 4, [12] * 4)
    with pytest.raises(EditError, match="cannot be merged"):
        loaded.merge(lm)


def test_the_query_is_the_mean_over_the_prompts_own_tokens_in_every_pass(known, editor):
    """The released code takes it over no token from its second pass on, so that the edit never fires again."""
    lm, requests = known
    edit = editor.edit_each(lm, requests[:1])[0]
    ids = torch.tensor([lm.encode(requests[0].prompt)])
    padded = torch.cat([torch.full((1, 5), lm.pad_id), ids], 1)
    mask = torch.tensor([[0] * 5 + [1] * ids.shape[1]])
    first = lm.encode_target(requests[0].prompt, requests[0].target)[0]
    with torch.no_grad(), applied(lm, [edit]):
        for _ in range(3):
            assert int(lm.model(input_ids=ids).logits[0, -1].argmax()) == first
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        logits = lm.model(input_ids=padded, attention_mask=mask, position_ids=positions).logits
        assert int(logits[0, -1].argmax()) == first
    assert not edit.first_call_only


def test_the_released_behaviour_is_a_switch(known, trained):
    lm, requests = known
    config = config_of(**AGraceConfig.reference)
    edit = AGrace(config, trained).edit_each(lm, requests[:1])[0]
    assert edit.first_call_only
    assert edit.config["query"] == "first_call"


# --- refusals and settings --------------------------------------------------------------------------------------------


def test_nothing_works_without_a_trained_file(known):
    lm, requests = known
    editor = AGrace(config_of())
    message = r"agrace needs a trained file: .*train --method agrace .* --trained FILE"
    for call in (
        lambda: editor.inputs(requests),
        lambda: editor.prepare(lm, requests),
        lambda: editor.edit(lm, requests[:2]),
        lambda: editor.edit_each(lm, requests[:1]),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_the_trained_file_is_part_of_what_determines_the_edits(editor, trained, result):
    assert editor.inputs(()) == {"trained": trained.digest}
    assert len(trained.digest) == 64
    assert AGrace.needs_training


def test_a_file_of_another_model_method_or_training_is_refused(known, trained, make_lm):
    lm, requests = known
    editor = AGrace(config_of(), trained)
    editor.prepare(lm, ())
    with pytest.raises(ConfigError, match="belongs to model"):
        editor.edit_each(make_lm("llama", seed=1, hidden_size=64, intermediate_size=128), requests[:1])
    with pytest.raises(ConfigError, match="is for malmen, not for agrace"):
        AGrace(config_of(), replace(trained, method="malmen")).prepare(lm, ())
    for change in ({"layer": 1}, {"margin": 2.0}, {"encoder_epochs": 99}, {"far": "batch"}):
        with pytest.raises(ConfigError, match=f"made with {next(iter(change))} = "):
            AGrace(config_of(**change), trained).prepare(lm, ())
    for change in ({"radius": 2.0}, {"steps": 3}, {"learning_rate": 1.0}, {"seed": 5}, {"query": "first_call"}):
        AGrace(config_of(**change), trained).prepare(lm, ())  # these are of the values alone


@pytest.mark.parametrize("name", ["encoder_batch", "encoder_epochs", "encoder_patience", "embedding", "margin",
                                  "encoder_learning_rate", "steps"])  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(name):
    with pytest.raises(ConfigError, match=rf"AGraceConfig.{name} is 0.*; expected"):
        config_of(**{name: 0})
    with pytest.raises(ConfigError, match=r"AGraceConfig.dropout is 1.0; expected"):
        config_of(dropout=1)


def test_the_published_settings_are_the_paper_s():
    config = AGraceConfig.from_dict(settings_for("agrace", "CodeLlama-7b-hf", 32).values)
    assert config.edited_layers == (27,)
    assert (config.encoder_learning_rate, config.encoder_decay, config.encoder_batch) == (1e-4, 1e-4, 64)
    assert (config.encoder_epochs, config.encoder_patience, config.radius, config.dropout) == (100, 5, 1.0, 0.5)
