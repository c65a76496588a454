"""The loop that trains editors: against a loop written down here, stopped anywhere, and on what it must not touch."""

from dataclasses import replace
from itertools import chain

import pytest
import torch

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.editors.trained import Schedule, Trained

LONG = Schedule(0.05, 4, steps=24, validate_every=4, weight_decay=0.01, clip=1.0)


def tensors(result):
    return Trained.load(result.path).tensors


class StoppedError(Exception):
    """What ends a training from outside."""


def stopped_after(steps):
    """A track that ends a training after so many of its steps."""

    def track(items, description, total):
        for done, item in enumerate(items):
            if done == steps:
                raise StoppedError
            yield item

    return track


# --- what is computed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.7])
def test_the_steps_are_those_of_adam_on_the_sampled_batches(tmp_path, clip, make_editor, run, cases, net):
    schedule = Schedule(0.05, 4, steps=17, validate_every=17, weight_decay=0.1, clip=clip)
    editor = make_editor(schedule, fast_rate=0.2, script=[2.0, 2.0, 1.0, 1.0])  # the last state is the one that is kept
    result = run(editor, tmp_path)
    by_id = {case.case_id: case for case in cases}
    slow, fast = (torch.optim.Adam([value], lr, weight_decay=0.1) for value, lr in ((net.slow, 0.05), (net.fast, 0.2)))
    losses = []
    for batch in editor.trainers[0].batches:
        loss = (net([by_id[name] for name in batch]) - 3.0).square().mean()
        grads = torch.autograd.grad(loss, [net.slow, net.fast])
        norm = torch.cat(grads).norm()
        scale = 1.0 if clip is None or norm < clip else clip / (norm + 1e-6)
        net.slow.grad, net.fast.grad = (grad * scale for grad in grads)
        slow.step()
        fast.step()
        losses.append(float(loss.detach()))
    torch.testing.assert_close(tensors(result)["slow"], net.slow.detach())
    torch.testing.assert_close(tensors(result)["fast"], net.fast.detach())
    assert torch.equal(tensors(result)["frozen"], torch.ones(2))
    assert result.curve.losses == pytest.approx(losses, rel=1e-4)


def test_every_pass_reads_every_case_once_in_an_order_of_its_own(tmp_path, make_editor, run, cases):
    editor = make_editor(Schedule(0.05, 4, steps=3, validate_every=1, unit="epochs"))
    result = run(editor, tmp_path)
    batches = editor.trainers[0].batches
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    assert [step for step, _ in result.curve.validations] == [0, 3, 6, 9]
    passes = [list(chain(*batches[start : start + 3])) for start in (0, 3, 6)]
    assert all(sorted(one) == sorted(case.case_id for case in cases) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_the_seed_decides_the_order_and_the_order_of_the_cases_does_not(tmp_path, make_editor, run, cases, held):
    first, again, other = make_editor(), make_editor(), make_editor()
    same = run(first, tmp_path / "a")
    turned = run(again, tmp_path / "b", cases=cases[::-1], validation=held[::-1])
    run(other, tmp_path / "a", seed=1)
    assert first.trainers[0].batches == again.trainers[0].batches
    assert same.path.read_bytes() == turned.path.read_bytes()
    assert first.trainers[0].batches[0] != other.trainers[0].batches[0]
    assert len({path.name for path in (tmp_path / "a" / "cnle" / "tiny-llama").iterdir()}) == 2


def test_neither_the_model_nor_torchs_own_generator_is_changed(lm, tmp_path, make_editor, run):
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(make_editor(dropout=0.5), tmp_path)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())


def test_dropout_comes_from_the_seed_and_is_another_one_in_every_step(tmp_path, make_editor, run):
    editors = [make_editor(dropout=0.5) for _ in range(3)]
    results = [run(editors[i], tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    drawn = [editor.trainers[0].drawn for editor in editors]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0] + drawn[2])) == 60
    assert torch.equal(tensors(results[0])["slow"], tensors(results[1])["slow"])
    assert not torch.equal(tensors(results[0])["slow"], tensors(results[2])["slow"])


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_the_state_with_the_best_validation_loss_is_kept(tmp_path, make_editor, run, held):
    schedule = Schedule(0.05, 6, steps=10, validate_every=2)
    result = run(make_editor(schedule, script=[5.0, 3.0, 2.0, 4.0, 2.0, 2.5]), tmp_path)
    assert result.curve.validations == [(0, 5.0), (2, 3.0), (4, 2.0), (6, 4.0), (8, 2.0), (10, 2.5)]
    assert (result.best_step, result.best_loss) == (4, 2.0)  # the earlier of two equal ones
    short = make_editor(replace(schedule, steps=4), script=[5.0, 3.0, 2.0])
    at_four = run(short, tmp_path / "short")
    for name, value in tensors(at_four).items():
        assert torch.equal(tensors(result)[name], value)
    facts = Trained.load(result.path).facts
    assert facts["steps"] == 10
    assert facts["best_step"] == 4
    assert facts["validation_loss"] == {"first": 5.0, "best": 2.0}
    assert facts["seen"] == float(tensors(at_four)["seen"]), "the facts are of another state than the saved one"
    assert not facts["training"]
    assert facts["held"] == [case.case_id for case in held]


def test_a_training_that_helps_nothing_keeps_the_first_state(tmp_path, make_editor, run, net):
    result = run(make_editor(Schedule(0.05, 6, 4, 2), script=[1.0, 3.0, 2.0]), tmp_path)
    assert result.best_step == 0
    assert torch.equal(tensors(result)["slow"], net.slow.detach())


def test_patience_ends_a_training(tmp_path, make_editor, run):
    script = [5.0, 4.0, 4.5, 3.0, 3.0, 3.5, 1.0]
    result = run(make_editor(Schedule(0.05, 6, 12, 2, patience=2), script=script), tmp_path)
    assert [loss for _, loss in result.curve.validations] == [5.0, 4.0, 4.5, 3.0, 3.0, 3.5]
    assert (result.best_step, len(result.curve.losses)) == (6, 10)


def test_the_last_state_is_validated_too(tmp_path, make_editor, run):
    result = run(make_editor(Schedule(0.05, 6, 6, 4)), tmp_path)
    assert [step for step, _ in result.curve.validations] == [0, 4, 6]


def test_every_validation_case_counts_the_same(tmp_path, make_editor, run, held, net):
    editor = make_editor(Schedule(0.05, 4, 1, 1))  # six cases: batches of four and two
    result = run(editor, tmp_path)
    with torch.no_grad():
        expected = float((net(held) - 3.0).square().mean())
    assert result.curve.validations[0][1] == pytest.approx(expected, rel=1e-6)


# --- stopping and going on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [[2], [3], [10], [5, 4, 9], [23]])
def test_a_training_that_was_stopped_ends_with_the_same_bits(tmp_path, stops, make_editor, run):
    options = {"dropout": 0.5, "fast_rate": 0.2}
    whole = run(make_editor(LONG, **options), tmp_path / "whole", checkpoint_every=3)
    editor = make_editor(LONG, **options)
    for steps in stops:
        with pytest.raises(StoppedError):
            run(editor, tmp_path / "stopped", checkpoint_every=3, track=stopped_after(steps))
    result = run(editor, tmp_path / "stopped", checkpoint_every=3)
    assert result.path.read_bytes() == whole.path.read_bytes()
    assert result.curve.losses == whole.curve.losses
    assert result.curve.validations == whole.curve.validations
    computed = sum(len(trainer.batches) for trainer in editor.trainers)
    assert computed <= len(whole.curve.losses) + 2 * len(stops), "more was computed again than since the checkpoint"


@pytest.mark.parametrize("stop", [5, 8, 10])
def test_patience_ends_a_training_that_was_stopped_where_it_ends_a_whole_one(tmp_path, stop, make_editor, run):
    schedule = replace(LONG, batch_size=6, validate_every=2, patience=2)
    script = [5.0, 3.0, 4.0, 2.0, 3.0, 2.5, 0.0]  # after 0, 2, 4, ... steps; over after 10
    whole = run(make_editor(schedule, script=[*script]), tmp_path / "whole")
    with pytest.raises(StoppedError):
        run(make_editor(schedule, script=[*script]), tmp_path / "b", checkpoint_every=1, track=stopped_after(stop))
    editor = make_editor(schedule, script=script[1 + stop // 2 :])
    result = run(editor, tmp_path / "b")
    assert (len(whole.curve.losses), whole.best_step) == (10, 6)
    assert len(editor.trainers[0].batches) == 10 - stop
    assert result.path.read_bytes() == whole.path.read_bytes()


def test_a_damaged_checkpoint_is_an_expected_error(tmp_path, make_editor, run):
    with pytest.raises(StoppedError):
        run(make_editor(), tmp_path, checkpoint_every=2, track=stopped_after(6))
    (path,) = tmp_path.rglob("checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ResultsError, match=r"cannot read .*checkpoint\.safetensors.*Remove it"):
        run(make_editor(), tmp_path)
