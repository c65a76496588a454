"""The signals and the regression that MALMEN and UltraEdit share, and UltraEdit."""

import json

import pytest
import torch

from clmeeval_data.errors import ConfigError, EditError, ModelError
from clmeeval_data.evaluation.editors import gradients
from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.gradients import Normaliser, read_signals, ridge_update
from clmeeval_data.evaluation.editors.ultraedit import UltraEdit, UltraEditConfig
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import prompts_remembered, read_prompts
from clmeeval_data.evaluation.model.updates import Dense, LowRank

LAYERS = (1, 2)


def answers(lm, requests, edits, under):
    jobs = [
        Continuation(row, edit, len(lm.encode_target(request.prompt, request.target)))
        for row, (request, edit) in enumerate(zip(requests, under, strict=True))
    ]
    prefix = read_prompts(lm, [request.prompt for request in requests])
    return [lm.decode(ids) for ids in generate(lm, prefix, edits, jobs)]


@pytest.fixture
def train(sample_rows):
    return [EditRequest(f"t{i}", f"Intent: {r['intent']}\nCode:", r["snippet"]) for i, r in enumerate(sample_rows[:20])]


def prepared(lm, train, **changes):
    editor = UltraEdit(UltraEditConfig(**{"layers": LAYERS, "eta": 0.05, **changes}))
    editor.prepare(lm, train)
    return editor


# --- keys and gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [(0, 3), (1, 2), (3,)])
def test_signals_equal_those_of_whole_texts_one_at_a_time(any_lm, requests_, layers, plain_signals):
    lm = any_lm
    for one, request in zip(read_signals(lm, requests_, layers), requests_, strict=True):
        keys, slopes, loss = plain_signals(lm, request, layers)
        assert one.keys.shape == keys.shape == (len(layers), one.keys.shape[1], lm.map.f)
        torch.testing.assert_close(one.keys, keys, atol=1e-5 * float(keys.abs().max()), rtol=0)
        torch.testing.assert_close(one.gradients, slopes, atol=1e-5 * float(slopes.abs().max()), rtol=0)
        assert one.loss == pytest.approx(loss, rel=1e-5)


def test_a_requests_signals_do_not_depend_on_what_is_read_with_it(lm, requests_, sample_rows):
    others = [EditRequest("o", f"Intent: {row['intent']}\nCode:", row["snippet"]) for row in sample_rows[30:43]]
    alone = [read_signals(lm, [request], LAYERS)[0] for request in requests_]
    for crowd in (requests_, [*others, *requests_], [*requests_[::-1], *others]):
        found = read_signals(lm, crowd, LAYERS)
        for request, expected in zip(requests_, alone, strict=True):
            one = found[crowd.index(request)]
            for mine, theirs in ((one.keys, expected.keys), (one.gradients, expected.gradients)):
                torch.testing.assert_close(mine, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


def test_prompts_that_were_read_are_not_read_again(lm, requests_, monkeypatch):
    prompts = [request.prompt for request in requests_]
    expected = read_signals(lm, requests_, LAYERS)
    with prompts_remembered(lm, prompts, read_prompts(lm, prompts, [1])):
        monkeypatch.setattr(type(lm), "context_length", 0)  # a prompt that is read anew would be refused
        monkeypatch.setattr(type(lm), "encode_target", lambda lm, prompt, target: lm.tokenizer(" " + target).input_ids)
        found = read_signals(lm, requests_, LAYERS)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.gradients, other.gradients, atol=1e-6, rtol=1e-4)


def test_signals_are_those_of_the_model_under_the_edits_in_force(make_lm, requests_, plain_signals):
    lm = make_lm("llama")
    name = lm.map.mlp_output_name(1)
    earlier = LowRank(name, torch.full((lm.map.d, 1), 0.1), torch.full((1, lm.map.f), 0.1))
    edit = Edit((earlier,), lm.fingerprint, "test")
    with edit.applied(lm):
        found = read_signals(lm, requests_, LAYERS)
    plain = read_signals(lm, requests_, LAYERS)
    edit.merge(lm)
    for one, before, request in zip(found, plain, requests_, strict=True):
        keys, slopes, _ = plain_signals(lm, request, LAYERS)
        torch.testing.assert_close(one.keys, keys, atol=1e-4 * float(keys.abs().max()), rtol=0)
        torch.testing.assert_close(one.gradients, slopes, atol=1e-4 * float(slopes.abs().max()), rtol=0)
        assert not torch.allclose(before.gradients, slopes, rtol=1e-2)


def test_half_precision_keeps_the_digits_of_small_gradients(make_lm, requests_, monkeypatch):
    def error():
        lm = make_lm("llama")
        lm.model.half()
        with torch.no_grad():
            lm.model.lm_head.weight.mul_(1e-3)  # gradients below float16's normal numbers
        found = [one.gradients for one in read_signals(lm, requests_, LAYERS)]
        lm.model.float()
        exact = [one.gradients for one in read_signals(lm, requests_, LAYERS)]
        assert all(one.dtype == torch.float32 for one in found)
        return max(float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True))

    scaled = error()
    monkeypatch.setattr(gradients, "HALF_SCALE", 1.0)
    assert scaled < 0.05
    assert error() > 2 * scaled


# --- the regression ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "kind"), [(1, LowRank), (7, LowRank), (24, Dense), (40, Dense)])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
def test_both_forms_of_the_regression_equal_the_dense_solve(n, kind, ridge):
    generator = torch.Generator().manual_seed(n)
    keys, values = torch.randn(n, 24, generator=generator), torch.randn(n, 10, generator=generator)
    update = ridge_update("m", keys, values, torch.tensor(ridge))
    wide, eye = keys.double(), torch.eye(24, dtype=torch.float64)
    expected = torch.linalg.solve(wide.T @ wide + ridge * eye, wide.T @ values.double()).T
    assert type(update) is kind
    torch.testing.assert_close(update.delta().double(), expected, atol=1e-6 * float(expected.abs().max()), rtol=0)
    if kind is LowRank:
        assert (update.left.shape, update.right.shape) == ((10, n), (n, 24))


@pytest.mark.parametrize("n", [3, 30])
def test_keys_that_cannot_be_solved_for_are_an_error(n):
    keys = torch.full((n, 24), torch.nan)
    with pytest.raises(EditError, match=r"ridge 1 cannot be solved. Raise the ridge, or use float32"):
        ridge_update("m", keys, torch.ones(n, 10), torch.tensor(1.0))


def test_running_statistics_equal_those_of_all_rows_at_once():
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(6) + 3.0
    normaliser = Normaliser(6)
    torch.testing.assert_close(normaliser(rows), rows)
    for part in rows.split([1, 2, 30, 17]):
        normaliser.update(part)
    expected = (rows[:, 1:] - rows[:, 1:].mean(0)) / rows[:, 1:].std(0)
    torch.testing.assert_close(normaliser(rows)[:, 1:], expected, atol=1e-5, rtol=1e-5)
    assert not normaliser(rows)[:, 0].any()  # the first feature never varies, and is only centred
    assert normaliser(torch.full((1, 6), 4.0))[0, 0] == 1.0


# --- UltraEdit --------------------------------------------------------------------------------------------------------


def test_an_edit_is_the_papers_formula(lm, requests_, train, plain_signals):
    edit = prepared(lm, train, ridge=2.0).edit(lm, requests_[:2])
    seen = [plain_signals(lm, request, LAYERS)[:2] for request in train]
    rows = torch.cat([torch.cat(pair, -1).flatten(0, 1) for pair in seen]).double()
    mean, std = rows.mean(0), rows.std(0)
    mine = [plain_signals(lm, request, LAYERS)[:2] for request in requests_[:2]]
    for index, update in enumerate(edit.updates):
        keys, slopes = (torch.cat([pair[kind][index] for pair in mine]).double() for kind in (0, 1))
        near, steep = ((torch.cat([keys, slopes], -1) - mean) / std).split([lm.map.f, lm.map.d], -1)
        values = -0.05 * near.norm(dim=-1, keepdim=True) ** 2 * steep
        eye = torch.eye(lm.map.f, dtype=torch.float64)
        expected = torch.linalg.solve(keys.T @ keys + 2.0 * eye, keys.T @ values).T
        assert update.module == lm.map.mlp_output_name(LAYERS[index])
        torch.testing.assert_close(update.delta().double(), expected, atol=1e-3 * float(expected.abs().max()), rtol=0)


def test_a_batch_of_edits_equals_one_at_a_time(lm, requests_, train):
    editor = prepared(lm, train)
    together = editor.edit_each(lm, requests_)
    for edit, request in zip(together, requests_, strict=True):
        alone = editor.edit_each(lm, [request])[0]
        pooled = editor.edit(lm, [request])
        assert edit.case_ids == alone.case_ids == (request.case_id,)
        for mine, *others in zip(edit.updates, alone.updates, pooled.updates, strict=True):
            for other in others:
                torch.testing.assert_close(
                    mine.delta(), other.delta(), atol=1e-4 * float(other.delta().abs().max()), rtol=0
                )


def test_edits_do_not_depend_on_earlier_ones_nor_on_the_order_of_the_training_requests(lm, requests_, train):
    editor = prepared(lm, train)
    first = editor.edit_each(lm, requests_[:1])[0]
    editor.edit_each(lm, requests_[1:])
    again = editor.edit_each(lm, requests_[:1])[0]
    turned = prepared(lm, train[::-1]).edit_each(lm, requests_[:1])[0]
    for update, same, other in zip(first.updates, again.updates, turned.updates, strict=True):
        assert torch.equal(update.left, same.left)
        torch.testing.assert_close(update.left, other.left, atol=1e-4 * float(update.left.abs().max()), rtol=0)


def test_effectiveness_rises_on_a_model_that_knows_other_answers(overfitted):
    lm, known = overfitted
    requests = [EditRequest(str(i), known[i][0], known[(i + 1) % 10][1]) for i in range(10)]
    train = [EditRequest(f"t{i}", known[i][0], known[(i + 4) % 10][1]) for i in range(10)]
    editor = prepared(lm, train, layers=(2,), eta=0.3)
    outputs = answers(lm, requests, editor.edit_each(lm, requests), range(10))
    assert sum(output == request.target for output, request in zip(outputs, requests, strict=True)) >= 9
    weak = prepared(lm, train, layers=(2,), eta=1e-6)
    outputs = answers(lm, requests, weak.edit_each(lm, requests), range(10))
    assert outputs == [answer for _, answer in known]
    both = [editor.edit(lm, requests[:2])]
    assert answers(lm, requests[:2], both, [0, 0]) == [request.target for request in requests[:2]]


def test_the_model_is_as_it_was(lm, requests_, train, untouched, monkeypatch):
    editor = prepared(lm, train)
    editor.edit_each(lm, requests_)
    editor.edit(lm, requests_)
    assert untouched()

    def fails(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gradients, "run_suffix", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        editor.edit_each(lm, requests_)
    assert untouched()


def test_statistics_come_from_training_requests_spread_over_the_split(lm, train):
    editor = UltraEdit(UltraEditConfig(layers=LAYERS, samples=5))
    seen = []
    editor.prepare(lm, train, lambda steps, description, total: seen.append((description, total)) or steps)
    assert seen == [("statistics of keys and gradients", 1)]
    assert editor._chosen(train) == train[::4]
    tokens = sum(len(lm.encode_target(request.prompt, request.target)) for request in train[::4])
    assert int(next(iter(editor._normalisers.values())).count) == tokens * len(LAYERS)


def test_what_determines_the_edits_names_the_training_requests(train):
    editor = UltraEdit(UltraEditConfig(layers=LAYERS))
    one, other = editor.inputs(train), editor.inputs(train[1:])
    assert json.loads(json.dumps(one)) == one
    assert one == editor.inputs([EditRequest("another id", r.prompt, r.target) for r in train])
    assert one["train"]["requests"] == 20
    assert one["train"]["digest"] != other["train"]["digest"]


def test_without_training_requests_there_are_no_statistics(lm, requests_, train):
    editor = UltraEdit(UltraEditConfig(layers=LAYERS))
    with pytest.raises(ConfigError, match=r"none of 0 can be read. Give a dataset with a train split"):
        editor.prepare(lm, [])
    empty = EditRequest("e", "Intent: x\nCode:", " ")
    with pytest.raises(ConfigError, match="none of 1 can be read"):
        editor.prepare(lm, [empty])
    with pytest.raises(ConfigError, match=r"no statistics of tiny-.*Call prepare"):
        editor.edit_each(lm, requests_)
    editor.prepare(lm, [empty, *train])
    assert len(editor.edit_each(lm, requests_)) == len(requests_)
    with pytest.raises(ModelError, match=r"layer 99 does not exist: the model has layers 0 to 3"):
        UltraEdit(UltraEditConfig(layers=(1, 99))).prepare(lm, train)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"needs a value for layers"),
        ({"layers": []}, r"layers is \(\); expected one or more layers, lowest first"),
        ({"layers": [2, 1]}, r"layers is \(2, 1\); expected one or more layers, lowest first"),
        ({"layers": "2"}, r"layers is '2'; expected a list of int"),
        ({"layers": [2], "eta": 0}, r"eta is 0.0; expected a number above 0"),
        ({"layers": [2], "ridge": 0}, r"ridge is 0.0; expected a number above 0"),
        ({"layers": [2], "samples": 0}, r"samples is 0; expected at least 1"),
    ],
)
def test_a_wrong_setting_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        UltraEditConfig.from_dict(values)


def test_the_configuration_round_trips_through_json():
    config = UltraEditConfig.from_dict({"layers": [1, 3], "eta": 1})
    assert config.edited_layers == (1, 3)
    assert UltraEditConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert config.as_dict() == json.loads(json.dumps(config.as_dict()))


def test_a_loss_that_is_not_a_number_is_an_error(lm, requests_):
    handle = lm.layer_modules[3].register_forward_hook(lambda m, args, output: output * torch.nan)
    try:
        with pytest.raises(EditError, match=r"the loss of case-0 became nan"):
            read_signals(lm, requests_, LAYERS)
    finally:
        handle.remove()
