"""A-GRACE: the encoder's loss and its training."""

import math
from dataclasses import replace

import pytest
import torch

from clmeeval_data.evaluation.editors import agrace
from clmeeval_data.evaluation.editors.agrace import AGrace, Embedded, EncoderNet, EncoderTrainer, contrastive_loss
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.model.prefix import read_prompts
from clmeeval_data.evaluation.training import train_editor


@pytest.fixture
def cases(agrace_cases):
    return agrace_cases


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
def test_the_trainers_loss_is_that_of_the_texts_read_one_by_one(lm, cases, far, agrace_config, plain_query):
    config = agrace_config(far=far, margin=1.3)
    trainer = EncoderTrainer(lm, config)
    some = cases[:4]
    trainer.begin(some)
    state = trainer.parameters.state_dict()
    vector = {prompt: plain_query(state, lm, prompt) for case in some for prompt in case.prompts}

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


def test_every_text_is_read_once_for_the_whole_training(lm, cases, monkeypatch, tmp_path, agrace_config):
    read = []
    monkeypatch.setattr(
        agrace, "read_prompts", lambda lm, prompts, layers: read.extend(prompts) or read_prompts(lm, prompts, layers)
    )
    train_editor(lm, AGrace(agrace_config(encoder_epochs=3)), cases[:12], cases[12:], tmp_path, {"name": "cnle"})
    assert sorted(read) == sorted({prompt for case in cases for prompt in case.prompts})


@pytest.mark.parametrize(("pairs", "expected"), [(1, 1), (30, 10), (64, 21)])
def test_a_batch_holds_whole_cases_of_so_many_pairs(lm, cases, pairs, expected, agrace_config):
    trainer = EncoderTrainer(lm, agrace_config(encoder_batch=pairs))
    trainer.begin(cases[:2])
    assert trainer.schedule.batch_size == expected  # every case has three pairs


def test_the_schedule_is_that_of_the_settings(lm, agrace_config):
    config = agrace_config(encoder_decay=0.2, encoder_epochs=9, encoder_patience=3)
    schedule = EncoderTrainer(lm, config).schedule
    assert (schedule.learning_rate, schedule.weight_decay, schedule.clip) == (0.01, 0.2, None)
    assert (schedule.steps, schedule.validate_every, schedule.patience, schedule.unit) == (9, 1, 3, "epochs")


# --- the encoder ------------------------------------------------------------------------------------------------------


def test_dropout_works_in_training_and_is_off_at_inference(known, cases, agrace_config, plain_query, trained_file):
    config = agrace_config(dropout=0.5)
    lm, requests = known
    trainer = EncoderTrainer(lm, config)
    trainer.begin(cases)
    trainer.parameters.train()
    losses = {trainer.loss(cases) for _ in range(3)}
    assert len(losses) == 3
    trainer.parameters.eval()
    assert trainer.validation_loss(cases) == trainer.validation_loss(cases)
    file = trained_file(lm, AGrace(config))
    edit = AGrace(config, file).edit_each(lm, requests[:1])[0]
    expected = plain_query(file.tensors, lm, requests[0].prompt)
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


def test_the_hidden_width_is_a_quarter_of_f_unless_given(lm, agrace_config):
    widths = {
        given: EncoderTrainer(lm, agrace_config(encoder_width=given)).parameters.first.out_features for given in (0, 9)
    }
    assert widths == {0: lm.map.f // 4, 9: 9}


def test_near_texts_end_up_within_the_radius_and_far_ones_outside(
    known, agrace_trained, cases, agrace_config, plain_query
):
    lm, _ = known
    first = EncoderTrainer(lm, agrace_config()).parameters.state_dict()

    def right(state):
        vector = {prompt: plain_query(state, lm, prompt) for case in cases for prompt in case.prompts}
        pairs = [(case.prompt, other, other == case.rephrased_prompt) for case in cases for other in case.prompts[1:]]
        return [(float((vector[a] - vector[b]).norm()) <= 1) == near for a, b, near in pairs]

    assert sum(right(first)) < 40, "the encoder does not need training: the test shows nothing"
    assert all(right(agrace_trained.tensors))
    assert agrace_trained.facts["near_within_radius"] == 1.0
    assert agrace_trained.facts["far_outside_radius"] == 1.0


def test_the_facts_count_the_pairs_on_their_side(lm, cases, agrace_config, plain_query):
    config = agrace_config(radius=0.4)
    trainer = EncoderTrainer(lm, config)
    trainer.begin(cases)
    state = trainer.parameters.state_dict()
    vector = {prompt: plain_query(state, lm, prompt) for case in cases for prompt in case.prompts}
    gaps = [[float((vector[case.prompt] - vector[other]).norm()) for other in case.prompts[1:]] for case in cases]
    facts = trainer.validation_facts(cases)
    assert facts["near_within_radius"] == pytest.approx(sum(near <= 0.4 for near, *_ in gaps) / 20)
    assert facts["far_outside_radius"] == pytest.approx(sum(gap > 0.4 for _, *far in gaps for gap in far) / 40)
    alone = [replace(case, neighbour_prompts=()) for case in cases]
    assert trainer.validation_facts(alone)["far_outside_radius"] is None
    assert math.isfinite(trainer.validation_loss(alone))


def test_the_epoch_with_the_best_validation_loss_is_kept(known, cases, tmp_path, agrace_config):
    lm, _ = known
    config = agrace_config(encoder_learning_rate=0.003, encoder_epochs=60, encoder_patience=5)
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
