"""MEMIT, PMET and AlphaEdit against dense algebra and against weights edited one layer after another."""

import copy

import pytest
import torch

from clmeeval_data.errors import ConfigError, EditError
from clmeeval_data.evaluation.editors.alphaedit import AlphaEdit, AlphaEditConfig
from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.memit import Memit, MemitConfig
from clmeeval_data.evaluation.editors.pmet import Pmet, PmetConfig
from clmeeval_data.evaluation.model.hooks import captured_inputs, captured_outputs

LAYERS = (1, 2)
QUICK = {"layers": LAYERS, "steps": 6, "contexts": 0, "kl_factor": 0.0, "corpus": "train"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLMEEVAL_CACHE", str(tmp_path))


@pytest.fixture
def corpus(sample_rows):
    return [EditRequest(str(i), f"Intent: {r['intent']}\nCode:", r["snippet"]) for i, r in enumerate(sample_rows[:60])]


@pytest.fixture
def make(lm, corpus):
    """A prepared editor."""

    def made(cls, config, on=lm, train=corpus):
        editor = cls(config)
        editor.prepare(on, train)
        return editor

    return made


def second_moment(editor, lm, layer):
    return editor.statistics(lm)[layer].regularised.double()


def looked_up(lm, prompt, layer, last):
    """At the last token of a prompt: key of a layer, MLP output and block output of the last edited one, in float64."""
    with (
        torch.no_grad(),
        captured_inputs({0: lm.mlp_output(layer)}) as keys,
        captured_outputs({0: lm.mlp_output(last), 1: lm.layer_modules[last]}) as outputs,
    ):
        lm.model(input_ids=torch.tensor([lm.encode(prompt)]))
    return [tensor[0, -1].double() for tensor in (keys[0], outputs[0], outputs[1])]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("cls", "config"), [(Memit, MemitConfig), (Pmet, PmetConfig)])
def test_the_solution_equals_a_dense_one_in_double_precision(lm, make, cls, config, count):
    editor = make(cls, config(**QUICK, weight=50.0))
    keys = torch.randn(count, lm.map.f, generator=torch.Generator().manual_seed(0)) * 3
    for layer in LAYERS:
        K = keys.double().T
        system = 50.0 * second_moment(editor, lm, layer) + K @ K.T
        dense = torch.linalg.solve(system, K).T
        found = editor.solve(lm, layer, keys)
        assert float((found - dense).norm() / dense.norm()) < 1e-6


def test_alphaedit_equals_its_dense_formula(lm, make):
    editor = make(AlphaEdit, AlphaEditConfig(**QUICK, weight=2.0, threshold=0.2))
    keys = torch.randn(3, lm.map.f, generator=torch.Generator().manual_seed(0)) * 3
    for layer in LAYERS:
        values, vectors = torch.linalg.eigh(editor.statistics(lm)[layer].second_moment.double())
        assert 0 < int((values < 0.2).sum()) < lm.map.f, "a null space of nothing, or of all, proves nothing"
        P = vectors[:, values < 0.2] @ vectors[:, values < 0.2].T
        K = keys.double().T
        dense = torch.linalg.solve(P @ K @ K.T + 2.0 * torch.eye(len(P)).double(), P @ K).T
        assert float((editor.solve(lm, layer, keys) - dense).norm() / dense.norm()) < 1e-6


def test_alphaedit_leaves_the_outputs_of_protected_keys_as_they_are(lm, make, corpus, requests_):
    editor = make(AlphaEdit, AlphaEditConfig(**QUICK, threshold=1e-7), train=corpus[:1])  # fewer tokens than f
    edits = editor.edit_each(lm, requests_[:2])
    for edit in edits:
        for layer, update in zip(LAYERS, edit.updates, strict=True):
            assert float(update.delta().norm()) > 1e-4, "nothing was written"
            with torch.no_grad(), captured_inputs({0: lm.mlp_output(layer)}) as keys:
                for request in corpus[:1]:
                    lm.model(input_ids=torch.tensor([lm.encode(f"{request.prompt} {request.target}")]))
                    before = keys[0][0] @ lm.mlp_output(layer).weight.T
                    change = keys[0][0] @ update.delta().T
                    assert float(change.norm() / before.norm()) < 1e-5


@pytest.mark.parametrize(("cls", "config"), [(Memit, MemitConfig), (Pmet, PmetConfig)])
def test_layers_are_written_one_after_another_against_dense_algebra_on_real_weights(
    make_lm, corpus, requests_, cls, config
):
    lm, request = make_lm("llama"), requests_[1]
    editor = cls(config(**QUICK, weight=5.0))
    editor.prepare(lm, corpus)
    edit = editor.edit_each(lm, [request])[0]
    plain = copy.deepcopy(lm)
    _, mlp, block = looked_up(plain, request.prompt, LAYERS[-1], LAYERS[-1])
    start = block if cls is Memit else mlp
    # what the last layer was left with is what it wrote, so the wanted output is what it had reached plus its residual
    wanted = None
    for place, layer in enumerate(LAYERS):
        key, mlp, block = looked_up(plain, request.prompt, layer, LAYERS[-1])
        reached = block if cls is Memit else mlp
        left = edit.updates[place].left[:, 0].double()
        share = len(LAYERS) - place if cls is Memit else (len(LAYERS) - place) ** 0.5
        residual = left * share
        if wanted is None:
            wanted = reached + residual
            assert float((wanted - start).norm()) > 0.01
        torch.testing.assert_close(wanted - reached, residual, atol=2e-4 * float(wanted.norm()), rtol=0)
        C = second_moment(editor, lm, layer)
        dense = torch.linalg.solve(5.0 * C + torch.outer(key, key), key)
        written = edit.updates[place].right[0].double()
        torch.testing.assert_close(written, dense, atol=1e-4 * float(dense.norm()), rtol=0)
        with torch.no_grad():
            plain.mlp_output(layer).weight.add_(torch.outer(left, dense).float())


def test_with_a_small_weight_one_layer_writes_exactly_what_was_wanted(lm, make, requests_):
    editor = make(Memit, MemitConfig(**{**QUICK, "layers": (2,)}, weight=1e-9))
    edit = editor.edit_each(lm, requests_[:1])[0]
    _, _, before = looked_up(lm, requests_[0].prompt, 2, 2)
    with edit.applied(lm):
        _, _, after = looked_up(lm, requests_[0].prompt, 2, 2)
    wanted = before + edit.updates[0].left[:, 0].double()
    torch.testing.assert_close(after, wanted, atol=1e-4 * float(wanted.norm()), rtol=0)


def test_a_large_weight_of_the_corpus_keeps_the_update_small(lm, make, requests_):
    editors = [make(Memit, MemitConfig(**QUICK, weight=weight)) for weight in (1.0, 100.0, 10_000.0)]
    sizes = [float(editor.edit_each(lm, requests_[:1])[0].updates[0].delta().norm()) for editor in editors]
    assert sizes[0] > sizes[1] > sizes[2]


def test_keys_are_half_the_plain_prompt_s_and_half_the_other_contexts(lm, make, requests_):
    editor = make(Memit, MemitConfig(**{**QUICK, "contexts": 2, "steps": 1, "layers": (1,)}))
    edit = editor.edit_each(lm, requests_[:1])[0]
    prompt = requests_[0].prompt
    plain, *others = (looked_up(lm, context + prompt, 1, 1)[0] for context in editor.contexts(lm))
    mean = (plain + torch.stack(others).mean(0)) / 2
    expected = editor.solve(lm, 1, mean[None].float())[0]
    torch.testing.assert_close(edit.updates[0].right[0].double(), expected, atol=1e-4 * float(expected.norm()), rtol=0)


def test_requests_written_together_are_solved_for_together(lm, make, requests_):
    editor = make(Memit, MemitConfig(**{**QUICK, "layers": (2,)}, weight=1e-9))
    edit = editor.edit(lm, requests_[:3])
    assert edit.updates[0].left.shape == (lm.map.d, 3)
    for index, request in enumerate(requests_[:3]):
        _, _, before = looked_up(lm, request.prompt, 2, 2)
        with edit.applied(lm):
            _, _, after = looked_up(lm, request.prompt, 2, 2)
        wanted = before + edit.updates[0].left[:, index].double()
        torch.testing.assert_close(after, wanted, atol=1e-3 * float(wanted.norm()), rtol=0)


def test_pmet_does_not_write_the_attention_s_vector(lm, make, requests_):
    edit = make(Pmet, PmetConfig(**QUICK)).edit_each(lm, requests_[:1])[0]
    assert [update.module for update in edit.updates] == [lm.map.mlp_output_name(layer) for layer in LAYERS]


def test_pmet_stops_once_the_target_is_the_most_probable_and_the_divergence_small(overfitted, corpus):
    lm, known = overfitted
    editor = Pmet(PmetConfig(**{**QUICK, "steps": 60}, learning_rate=0.3, clamp=50.0))
    editor.prepare(lm, corpus)
    answered = EditRequest("0", *known[0])
    assert editor.edit_each(lm, [answered])[0].details["steps"] == 0
    assert 0 < editor.edit_each(lm, [EditRequest("1", known[0][0], known[1][1])])[0].details["steps"] < 60


@pytest.mark.parametrize(("cls", "config"), [(Memit, MemitConfig), (Pmet, PmetConfig), (AlphaEdit, AlphaEditConfig)])
def test_without_statistics_a_line_says_what_to_call(lm, requests_, cls, config):
    with pytest.raises(EditError, match=r"needs key statistics of tiny-\w+: call prepare"):
        cls(config(**QUICK)).edit_each(lm, requests_)
    with pytest.raises(EditError, match="no training split"):
        cls(config(**QUICK)).prepare(lm, [])


def test_the_corpus_is_part_of_what_determines_the_edits(corpus):
    editor = Memit(MemitConfig(**QUICK))
    assert editor.inputs(corpus) == editor.inputs(list(corpus))
    assert editor.inputs(corpus) != editor.inputs(corpus[1:])


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1)])
def test_layers_have_an_order(layers):
    with pytest.raises(ConfigError, match="expected one or more layers, lowest first"):
        MemitConfig(layers=layers)


def test_layers_are_read_from_lists():
    assert MemitConfig.from_dict({"layers": [1, 2]}).layers == (1, 2)
    with pytest.raises(ConfigError, match=r"layers is \[1, '2'\]; expected a list of int"):
        MemitConfig.from_dict({"layers": [1, "2"]})
