"""In-context editing: an edit that is read, against the concatenated text."""

import pytest
import torch

from clmeeval_data.errors import CaseError, ConfigError, EditError
from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.editors.incontext import InContext, InContextConfig
from clmeeval_data.evaluation.hparams import settings_for
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import read_prompts


@pytest.fixture
def editor():
    return InContext(InContextConfig())


def greedy(lm, text, tokens):
    """transformers' own greedy generation after a plain text, by the unedited model."""
    ids = torch.tensor([lm.encode(text)])
    mask = torch.ones_like(ids)
    output = lm.model.generate(ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=lm.pad_id)
    new = output[0, ids.shape[1] :].tolist()
    return new[: new.index(0)] if 0 in new else new


def test_the_model_answers_as_to_the_text_with_the_example_written_out(lm, requests_, editor):
    edits = editor.edit_each(lm, requests_[:3])
    prompts = [request.prompt for request in requests_]
    jobs = [Continuation(row, edit, 8) for row in range(len(prompts)) for edit in range(len(edits))]
    outputs = generate(lm, read_prompts(lm, prompts, [1]), edits, jobs)
    for job, output in zip(jobs, outputs, strict=True):
        request = requests_[job.edit]
        assert output == greedy(lm, f"{request.prompt} {request.target}\n\n{prompts[job.prompt]}", 8)


def test_an_edit_of_several_requests_has_them_in_their_order(lm, requests_, editor):
    chosen = [requests_[0], requests_[2]]
    edit = editor.edit(lm, chosen)
    written = "".join(f"{request.prompt} {request.target}\n\n" for request in chosen)
    assert edit.updates[0].text == written
    assert edit.case_ids == ("case-0", "case-2")
    prompt = "Intent: sort\nCode:"
    found = generate(lm, read_prompts(lm, [prompt]), [edit], [Continuation(0, 0, 8)])
    assert found == [greedy(lm, written + prompt, 8)]
    assert edit.details == {"tokens": len(lm.encode(written + prompt)) - len(lm.encode(prompt))}
    one, two = editor.edit_each(lm, chosen)
    assert torch.equal((one + two).updates[0].ids, edit.updates[0].ids)


def test_the_example_has_the_tokens_that_it_has_before_a_prompt(lm, requests_, editor):
    """Line ends behind a text and line ends inside one are different tokens to some tokenizers."""
    prompt = "Intent: x\nCode:"
    request = EditRequest("a", prompt, "y = 1")
    merging = InContext(InContextConfig("{prompt} {target}\nInt"))
    edit = merging.edit(lm, [request])
    text = f"{prompt} y = 1\nInt"
    assert edit.updates[0].ids.tolist() == lm.encode(text)
    for one in requests_:
        ids = editor.edit(lm, [one]).updates[0].ids.tolist()
        assert ids + lm.encode(one.prompt) == lm.encode(f"{one.prompt} {one.target}\n\n{one.prompt}")


def test_the_instruction_is_the_users(lm):
    editor = InContext(InContextConfig("{{Remember}} {target} for {prompt}.\n"))
    edit = editor.edit(lm, [EditRequest("a", "Intent: {x}\nCode:", "{'target': {prompt}}")])
    assert edit.updates[0].text == "{Remember} {'target': {prompt}} for Intent: {x}\nCode:.\n"
    assert edit.config == {"instruction": "{{Remember}} {target} for {prompt}.\n"}


@pytest.mark.parametrize(
    "text", ["", "{prompt}", "{prompt} {target} {x}", "{prompt} {target!r}", "{prompt} {target", "{} {target}"]
)
def test_an_instruction_without_its_two_places_is_refused(text):
    with pytest.raises(ConfigError, match=r"instruction is .* expected a text with \{prompt\} and \{target\}"):
        InContextConfig.from_dict({"instruction": text})


def test_what_does_not_fit_the_context_is_a_failed_case(make_lm, requests_, editor):
    lm = make_lm("llama")
    edit = editor.edit(lm, requests_[:1])
    lm.model.config.max_position_embeddings = len(edit.updates[0].ids) + len(lm.encode(requests_[0].prompt))
    with pytest.raises(CaseError, match=r"examples before the prompt have \d+ tokens, prompt and target \d+"):
        editor.edit(lm, requests_[:1])
    with pytest.raises(CaseError, match=r"preamble and prompt have \d+ and \d+ tokens; the context of tiny-llama"):
        generate(lm, read_prompts(lm, [requests_[0].prompt]), [edit], [Continuation(0, 0, 1)])
    assert len(generate(lm, read_prompts(lm, ["x"]), [edit], [Continuation(0, 0, 1)])) == 1
    with pytest.raises(CaseError, match="target is empty"):
        editor.edit_each(lm, [EditRequest("a", "x", " ")])


def test_it_cannot_be_merged_and_survives_its_file(lm, requests_, editor, tmp_path):
    edit = editor.edit(lm, requests_[:1])
    with pytest.raises(
        EditError, match="an edit of incontext cannot be merged: its preamble is text before the prompt"
    ):
        edit.merge(lm)
    edit.save(tmp_path / "edit")
    loaded = Edit.load(tmp_path / "edit", lm)
    assert torch.equal(loaded.updates[0].ids, edit.updates[0].ids)
    assert loaded.updates[0].text == edit.updates[0].text
    assert loaded.config == edit.config


@pytest.mark.parametrize("model", ["smollm2", "CodeLlama-7b-hf", "another"])
def test_the_shipped_settings_are_the_default(model):
    assert InContextConfig.from_dict(settings_for("incontext", model, 12).values) == InContextConfig()
