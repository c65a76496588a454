"""A-GRACE: the edits that are made with a trained encoder, and what it refuses."""

from dataclasses import fields, replace

import pytest
import torch

from clmeeval_data.errors import ConfigError, EditError
from clmeeval_data.evaluation.editors.agrace import AGrace, AGraceConfig
from clmeeval_data.evaluation.editors.grace import Grace, GraceConfig
from clmeeval_data.evaluation.hparams import settings_for
from clmeeval_data.evaluation.model.edits import Edit, applied
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import read_prompts


@pytest.fixture
def cases(agrace_cases):
    return agrace_cases


@pytest.fixture
def editor(agrace_config, agrace_trained):
    return AGrace(agrace_config(), agrace_trained)


@pytest.fixture
def grace(agrace_config):
    """GRACE with the settings that A-GRACE has in common with it."""
    config = agrace_config()
    return Grace(GraceConfig(**{field.name: getattr(config, field.name) for field in fields(GraceConfig)}))


def answers(lm, prompts, edits, lengths):
    jobs = [Continuation(row, row, length) for row, length in enumerate(lengths)]
    return [lm.decode(ids) for ids in generate(lm, read_prompts(lm, prompts), edits, jobs)]


# --- the edits --------------------------------------------------------------------------------------------------------


def test_a_rephrased_prompt_gets_the_target_where_grace_leaves_it_alone(known, cases, editor, grace):
    lm, requests = known
    chosen = requests[:6]
    rephrased = [case.rephrased_prompt for case in cases[:6]]
    assert [case.prompt for case in cases[:6]] == [request.prompt for request in chosen]
    targets = [request.target for request in chosen]
    lengths = [len(lm.encode_target(request.prompt, request.target)) for request in chosen]
    unedited = answers(lm, rephrased, [Edit((), lm.fingerprint, "none")] * 6, lengths)
    plain = grace.edit_each(lm, chosen)
    edits = editor.edit_each(lm, chosen)
    assert answers(lm, [request.prompt for request in chosen], plain, lengths) == targets
    assert answers(lm, [request.prompt for request in chosen], edits, lengths) == targets
    assert answers(lm, rephrased, plain, lengths) == unedited
    found = answers(lm, rephrased, edits, lengths)
    assert sum(answer == target for answer, target in zip(found, targets, strict=True)) >= 5, (found, targets)
    neighbours = [case.neighbour_prompts[0] for case in cases[:6]]
    before = answers(lm, neighbours, [Edit((), lm.fingerprint, "none")] * 6, lengths)
    assert answers(lm, neighbours, edits, lengths) == before


def test_the_values_are_those_of_grace_and_the_keys_are_encoded(known, editor, agrace_trained, plain_query, grace):
    lm, requests = known
    plain = grace.edit_each(lm, requests[:3])
    for edit, other, request in zip(editor.edit_each(lm, requests[:3]), plain, requests, strict=False):
        (book,), (same,) = edit.updates, other.updates
        assert torch.equal(book.values, same.values)
        assert (book.labels, book.module, float(book.radii)) == (same.labels, same.module, 1.0)
        assert edit.details == other.details
        query = plain_query(agrace_trained.tensors, lm, request.prompt)
        torch.testing.assert_close(book.keys[0], query, atol=1e-4, rtol=1e-4)
        assert (edit.method, edit.config, edit.case_ids) == ("agrace", editor.config.as_dict(), (request.case_id,))


def test_a_batch_of_edits_equals_one_at_a_time(lm, requests_, untouched, agrace_config, trained_file):
    config = agrace_config()
    editor = AGrace(config, trained_file(lm, AGrace(config)))
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
    assert untouched()


def test_the_model_is_unchanged_after_an_exception(lm, requests_, untouched, monkeypatch, agrace_config, trained_file):
    config, calls = agrace_config(), []
    editor = AGrace(config, trained_file(lm, AGrace(config)))
    forward = type(lm.layer_modules[3]).forward

    def fails(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 12:
            raise RuntimeError("out of memory")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(lm.layer_modules[3]), "forward", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        editor.edit_each(lm, requests_)
    assert untouched()


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


def test_the_released_behaviour_is_a_switch(known, agrace_trained, agrace_config):
    lm, requests = known
    config = agrace_config(**AGraceConfig.reference)
    edit = AGrace(config, agrace_trained).edit_each(lm, requests[:1])[0]
    assert edit.first_call_only
    assert edit.config["query"] == "first_call"


# --- refusals and settings --------------------------------------------------------------------------------------------


def test_nothing_works_without_a_trained_file(known, agrace_config):
    lm, requests = known
    editor = AGrace(agrace_config())
    message = r"agrace needs a trained file: .*train --method agrace .* --trained FILE"
    for call in (
        lambda: editor.inputs(requests),
        lambda: editor.prepare(lm, requests),
        lambda: editor.edit(lm, requests[:2]),
        lambda: editor.edit_each(lm, requests[:1]),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_the_trained_file_is_part_of_what_determines_the_edits(editor, agrace_trained):
    assert editor.inputs(()) == {"trained": agrace_trained.digest}
    assert len(agrace_trained.digest) == 64
    assert AGrace.needs_training


def test_a_file_of_another_model_method_or_training_is_refused(known, agrace_trained, make_lm, agrace_config):
    lm, requests = known
    editor = AGrace(agrace_config(), agrace_trained)
    editor.prepare(lm, ())
    with pytest.raises(ConfigError, match="belongs to model"):
        editor.edit_each(make_lm("llama", seed=1, hidden_size=64, intermediate_size=128), requests[:1])
    with pytest.raises(ConfigError, match="is for malmen, not for agrace"):
        AGrace(agrace_config(), replace(agrace_trained, method="malmen")).prepare(lm, ())
    for change in ({"layer": 1}, {"margin": 2.0}, {"encoder_epochs": 99}, {"far": "batch"}):
        with pytest.raises(ConfigError, match=f"made with {next(iter(change))} = "):
            AGrace(agrace_config(**change), agrace_trained).prepare(lm, ())
    for change in ({"radius": 2.0}, {"steps": 3}, {"learning_rate": 1.0}, {"seed": 5}, {"query": "first_call"}):
        AGrace(agrace_config(**change), agrace_trained).prepare(lm, ())  # these are of the values alone


@pytest.mark.parametrize("name", ["encoder_batch", "encoder_epochs", "encoder_patience", "embedding", "margin",
                                  "encoder_learning_rate", "steps"])  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(name, agrace_config):
    with pytest.raises(ConfigError, match=rf"AGraceConfig.{name} is 0.*; expected"):
        agrace_config(**{name: 0})
    with pytest.raises(ConfigError, match=r"AGraceConfig.dropout is 1.0; expected"):
        agrace_config(dropout=1)


def test_the_published_settings_are_the_paper_s():
    config = AGraceConfig.from_dict(settings_for("agrace", "CodeLlama-7b-hf", 32).values)
    assert config.edited_layers == (27,)
    assert (config.encoder_learning_rate, config.encoder_decay, config.encoder_batch) == (1e-4, 1e-4, 64)
    assert (config.encoder_epochs, config.encoder_patience, config.radius, config.dropout) == (100, 5, 1.0, 0.5)
