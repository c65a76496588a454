"""A preamble is text: what the model computes under it is what it computes for preamble and prompt as one text."""

import copy

import pytest
import torch

from clmeeval_data.errors import CaseError, EditError
from clmeeval_data.evaluation.model.edits import Edit, applied
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import read_again, read_prompts, run_suffix, suffix_of
from clmeeval_data.evaluation.model.updates import Codebook, Dense, Preamble

PREAMBLES = ["Intent: reverse xs\nCode: xs[::-1]\n", "y", "Intent: a longer example\nCode: print('text', end='')\n"]
PROMPTS = ["Intent: sort the list\nCode:", "x", "Intent: a much longer intent, with `names` and 'texts'\nCode:"]


def preamble_edit(lm, text=PREAMBLES[0]):
    return Edit((Preamble(torch.tensor(lm.encode(text)), text),), lm.fingerprint, "test", {}, ("c",))


def weight_edit(lm, layer=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    change = 0.3 * torch.randn(lm.map.d, lm.map.f, generator=generator)
    return Edit((Dense(lm.map.mlp_output_name(layer), change),), lm.fingerprint, "test")


def joined(lm, before, prompt):
    return lm.encode(before) + lm.encode(prompt)


def concatenated(lm, ids):
    """Logits of one unpadded text."""
    with torch.no_grad():
        return lm.model(input_ids=torch.tensor([ids])).logits[0]


def reference(lm, ids, tokens):
    ids = torch.tensor([ids])
    output = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=lm.pad_id
    )
    return output[0, ids.shape[1] :].tolist()


def batch_of(lm, side):
    ids = [lm.encode(prompt) for prompt in PROMPTS]
    width = max(map(len, ids))
    gaps = [[lm.pad_id] * (width - len(one)) for one in ids]
    rows = [gap + one if side == "left" else one + gap for gap, one in zip(gaps, ids, strict=True)]
    real = [
        [0] * len(gap) + [1] * len(one) if side == "left" else [1] * len(one) + [0] * len(gap)
        for gap, one in zip(gaps, ids, strict=True)
    ]
    return torch.tensor(rows), torch.tensor(real)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("positions", [False, True])
def test_a_padded_batch_has_the_logits_of_the_concatenated_texts(any_lm, side, positions):
    lm = any_lm
    edits = [preamble_edit(lm), Edit((), lm.fingerprint, "none"), preamble_edit(lm, PREAMBLES[2])]
    befores = [PREAMBLES[0], None, PREAMBLES[2]]
    ids, mask = batch_of(lm, side)
    given = {"position_ids": (mask.cumsum(-1) - 1).clamp_min(0)} if positions else {}
    with torch.no_grad(), applied(lm, edits):
        logits = lm.model(input_ids=ids, attention_mask=mask, **given).logits
    assert logits.shape[:2] == ids.shape
    for row, (before, prompt) in enumerate(zip(befores, PROMPTS, strict=True)):
        own = lm.encode(prompt)
        text = own if before is None else joined(lm, before, prompt)
        close(logits[row][mask[row].bool()], concatenated(lm, text)[-len(own) :])


def test_generation_by_transformers_equals_the_concatenated_texts(any_lm):
    lm = any_lm
    edits = [preamble_edit(lm, text) for text in PREAMBLES]
    ids, mask = batch_of(lm, "left")
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": lm.pad_id, "eos_token_id": None}
    with applied(lm, edits):
        outputs = lm.model.generate(ids, attention_mask=mask, **options)
    assert torch.equal(outputs[:, : ids.shape[1]], ids), "the preamble is not part of the caller's text"
    for row, (before, prompt) in enumerate(zip(PREAMBLES, PROMPTS, strict=True)):
        text = torch.tensor([joined(lm, before, prompt)])
        alone = lm.model.generate(text, attention_mask=torch.ones_like(text), **options)
        assert outputs[row, ids.shape[1] :].tolist() == alone[0, text.shape[1] :].tolist()


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"use_cache": False}, {"do_sample": True, "top_k": 5}, {"prompt_lookup_num_tokens": 2}],
)
def test_other_ways_to_generate_equal_the_concatenated_text(lm, options):
    ids, text = torch.tensor([lm.encode(PROMPTS[0])]), torch.tensor([joined(lm, PREAMBLES[0], PROMPTS[0])])
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": lm.pad_id, **options}
    torch.manual_seed(3)
    with preamble_edit(lm).applied(lm):
        found = lm.model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, ids.shape[1] :]
    torch.manual_seed(3)
    expected = lm.model.generate(text, attention_mask=torch.ones_like(text), **options)[0, text.shape[1] :]
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("mask", ["none", "callers", "from the cache"])
@pytest.mark.parametrize("positions", [False, True])
def test_later_passes_find_the_preamble_in_the_cache(lm, mask, positions):
    prompt, answer, before = lm.encode(PROMPTS[0]), [7, 11, 13], lm.encode(PREAMBLES[0])
    expected = concatenated(lm, before + prompt + answer)[-len(answer) :]
    found = []
    with torch.no_grad(), preamble_edit(lm).applied(lm):
        first = lm.model(input_ids=torch.tensor([prompt]), use_cache=True)
        for place, ids in ((0, answer[:1]), (1, answer[1:])):
            seen = first.past_key_values.get_seq_length()
            told = len(prompt) + place
            given = {"position_ids": torch.arange(told, told + len(ids))[None]} if positions else {}
            width = {"none": None, "callers": told + len(ids), "from the cache": seen + len(ids)}[mask]
            if mask == "from the cache" and positions:  # such a caller counts the preamble
                given["position_ids"] = torch.arange(seen, seen + len(ids))[None]
            given |= {} if width is None else {"attention_mask": torch.ones(1, width, dtype=torch.long)}
            found.append(
                lm.model(input_ids=torch.tensor([ids]), past_key_values=first.past_key_values, **given).logits[0]
            )
    close(torch.cat(found), expected)


def test_later_passes_of_a_stack_mask_what_a_short_preamble_leaves(lm):
    edits, prompt, answer = [preamble_edit(lm, text) for text in PREAMBLES], lm.encode(PROMPTS[0]), [7, 11]
    with torch.no_grad(), applied(lm, edits):
        first = lm.model(input_ids=torch.tensor([prompt] * 3), use_cache=True)
        later = lm.model(input_ids=torch.tensor([answer] * 3), past_key_values=first.past_key_values).logits
    for row, before in enumerate(PREAMBLES):
        close(later[row], concatenated(lm, lm.encode(before) + prompt + answer)[-2:])


def test_a_cache_made_without_the_preamble_goes_on_without_it(lm):
    prompt = lm.encode(PROMPTS[0])
    with torch.no_grad():
        first = lm.model(input_ids=torch.tensor([prompt]), use_cache=True)
        with preamble_edit(lm).applied(lm):
            later = lm.model(input_ids=torch.tensor([[7]]), past_key_values=first.past_key_values).logits
    close(later[0], concatenated(lm, [*prompt, 7])[-1:])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "stablelm"])
def test_the_pass_is_the_callers_in_every_other_way(make_lm, architecture):
    lm = make_lm(architecture)  # transformers leaves its own hooks behind where hidden states were asked for
    prompt, before = lm.encode(PROMPTS[0]), lm.encode(PREAMBLES[0])
    ids, n, whole = torch.tensor([prompt]), len(prompt), torch.tensor([before + prompt])
    with torch.no_grad():
        text = lm.model(input_ids=whole, output_hidden_states=True)
        labels = torch.tensor([[-100] * len(before) + prompt])
        loss = lm.model(input_ids=whole, labels=labels).loss
        with preamble_edit(lm).applied(lm):
            close(lm.model(ids).logits, text.logits[:, -n:])
            close(lm.model(ids, torch.ones_like(ids)).logits, text.logits[:, -n:])
            close(lm.model(input_ids=ids, logits_to_keep=1).logits, text.logits[:, -1:])
            close(lm.model(input_ids=ids, logits_to_keep=n + 3).logits, text.logits[:, -n:])
            kept = lm.model(input_ids=ids, logits_to_keep=torch.tensor([0, 2])).logits
            close(kept, text.logits[:, [len(before), len(before) + 2]])
            embedded = lm.model(inputs_embeds=lm.model.get_input_embeddings()(ids)).logits
            close(embedded, text.logits[:, -n:])
            states = lm.model(input_ids=ids, output_hidden_states=True).hidden_states
            for mine, theirs in zip(states, text.hidden_states, strict=True):
                close(mine, theirs[:, -n:])
            torch.testing.assert_close(lm.model(input_ids=ids, labels=ids).loss, loss, atol=1e-5, rtol=0)


def test_our_generation_equals_the_concatenated_texts(any_lm):
    lm = any_lm
    edits = [preamble_edit(lm), Edit((), lm.fingerprint, "none"), preamble_edit(lm, PREAMBLES[2])]
    befores = [lm.encode(PREAMBLES[0]), [], lm.encode(PREAMBLES[2])]
    jobs, truth = [], []
    for row, prompt in enumerate(PROMPTS):
        for edit, before in enumerate(befores):
            expected = reference(lm, before + lm.encode(prompt), 8)
            expected = expected[: expected.index(0)] if 0 in expected else expected
            drafts = ((tuple(expected[:4]),), ())[row % 2]
            jobs.append(Continuation(row, edit, 8, drafts))
            truth.append(expected)
    assert generate(lm, read_prompts(lm, PROMPTS, [1]), edits, jobs) == truth
    assert len({tuple(output) for output in truth}) > len(PROMPTS), "the preambles change nothing"


def test_many_prompts_of_different_lengths_keep_their_own_preamble(lm):
    """More rows than are read in one part, which are read shortest first."""
    prompts = [f"Intent: {'word ' * (i % 7)}{i}\nCode:" for i in range(20)]
    edits = [preamble_edit(lm, text) for text in PREAMBLES] + [weight_edit(lm)]
    jobs = [Continuation(row, row % 4, 5) for row in range(20)]
    outputs = generate(lm, read_prompts(lm, prompts), edits, jobs)
    for job, output in zip(jobs, outputs, strict=True):
        before = lm.encode(PREAMBLES[job.edit]) if job.edit < 3 else []
        with Edit(edits[job.edit].updates if job.edit == 3 else (), lm.fingerprint, "x").applied(lm):
            expected = reference(lm, before + lm.encode(prompts[job.prompt]), 5)
        assert output == (expected[: expected.index(0)] if 0 in expected else expected)


def test_a_preamble_and_a_weight_edit_work_together(lm):
    before, prompt = lm.encode(PREAMBLES[0]), lm.encode(PROMPTS[0])
    both = preamble_edit(lm) + weight_edit(lm)
    with weight_edit(lm).applied(lm):
        expected, text = concatenated(lm, before + prompt), reference(lm, before + prompt, 8)
    with torch.no_grad(), both.applied(lm):
        close(lm.model(input_ids=torch.tensor([prompt])).logits[0], expected[-len(prompt) :])
        assert reference(lm, prompt, 8) == text
    found = generate(lm, read_prompts(lm, PROMPTS[:1], [1]), [both], [Continuation(0, 0, 8)])[0]
    assert found == (text[: text.index(0)] if 0 in text else text)
    assert both.changes_weights
    assert both.leaves_alone(lm, read_prompts(lm, PROMPTS[:1], [1]), [0]) == [False]


def test_a_sum_of_preambles_is_one_after_the_other(lm):
    one, two = preamble_edit(lm), preamble_edit(lm, PREAMBLES[2])
    prompt = lm.encode(PROMPTS[0])
    expected = concatenated(lm, lm.encode(PREAMBLES[0]) + lm.encode(PREAMBLES[2]) + prompt)[-len(prompt) :]
    with torch.no_grad(), (one + two).applied(lm):
        close(lm.model(input_ids=torch.tensor([prompt])).logits[0], expected)
    with torch.no_grad(), one.applied(lm), two.applied(lm):
        close(lm.model(input_ids=torch.tensor([prompt])).logits[0], expected)
    assert (one + two).preamble.text == PREAMBLES[0] + PREAMBLES[2]
    assert (one + two).case_ids == ("c", "c")


def test_prompts_that_are_read_under_a_preamble_begin_with_it(any_lm):
    lm = any_lm
    targets = [[5, 6], [7], [8, 9, 10]]
    before = lm.encode(PREAMBLES[0])
    with preamble_edit(lm).applied(lm):
        prefix = read_prompts(lm, PROMPTS, [1])
        logits = run_suffix(lm, prefix, suffix_of(lm, prefix, targets))
        again = read_again(lm, prefix, 1)
        anew = read_again(lm, prefix, 2)
    for row, (prompt, target) in enumerate(zip(PROMPTS, targets, strict=True)):
        text = before + lm.encode(prompt)
        assert prefix.tokens.ids[row][prefix.tokens.mask[row]].tolist() == text
        close(logits[row, : len(target)], concatenated(lm, text + target)[len(text) - 1 : -1])
    mask = prefix.tokens.mask[:, None, :, None]
    for found in (again, anew):
        for mine, theirs in zip(found.keys, prefix.keys, strict=True):
            torch.testing.assert_close(mine * mask, theirs * mask, atol=1e-5, rtol=1e-5)


def test_a_codebook_finds_the_end_of_the_prompt_behind_a_preamble(lm):
    torch.manual_seed(0)
    value = torch.randn(1, lm.map.d)
    book = Codebook(lm.map.mlp_output_name(2), torch.zeros(1, lm.map.f), value, torch.tensor([1e9]), ((1,),))
    both = preamble_edit(lm) + Edit((book,), lm.fingerprint, "test")
    prompt, answer = lm.encode(PROMPTS[0]), [5, 6]
    seen = []

    def keep(module, args, output):
        seen.append((output == value).all(-1))

    for ids, told in ((prompt + answer, torch.tensor([len(prompt) - 1])), (prompt, None)):
        with torch.no_grad(), both.applied(lm, lookup=told), lm.mlp_output(2).register_forward_hook(keep):
            lm.model(input_ids=torch.tensor([ids]))
    end = len(lm.encode(PREAMBLES[0])) + len(prompt) - 1
    assert [one.nonzero()[:, 1].tolist() for one in seen] == [[end], [end]]


def test_the_model_is_as_it_was_after_the_block_and_after_an_exception(lm, monkeypatch):
    before, names = copy.deepcopy(lm.model.state_dict()), set(vars(lm.model))
    ids = torch.tensor([lm.encode(PROMPTS[0])])
    plain = concatenated(lm, ids[0].tolist())

    def fails(*args, **kwargs):
        raise RuntimeError("out of memory")

    with preamble_edit(lm).applied(lm):
        lm.model(input_ids=ids)
    with pytest.raises(RuntimeError, match="out of memory"), preamble_edit(lm).applied(lm), monkeypatch.context() as m:
        m.setattr(type(lm.layer_modules[2]), "forward", fails)
        lm.model(input_ids=ids)
    with pytest.raises(RuntimeError, match="out of memory"), monkeypatch.context() as m:
        prefix = read_prompts(lm, PROMPTS)
        m.setattr(type(lm.layer_modules[2]), "forward", fails)
        generate(lm, prefix, [preamble_edit(lm)], [Continuation(0, 0, 3)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in lm.model.modules())
    assert set(vars(lm.model)) == names
    assert lm.edits_applied == 0
    assert torch.equal(concatenated(lm, ids[0].tolist()), plain)


def test_what_it_cannot_do_is_said(make_lm):
    lm = make_lm("llama")
    ids, edit = torch.tensor([lm.encode(PROMPTS[0])]), preamble_edit(lm)
    with torch.no_grad(), edit.applied(lm):
        with pytest.raises(EditError, match="attention mask of 4 dimensions cannot be extended"):
            lm.model(input_ids=ids, attention_mask=torch.ones(1, 1, ids.shape[1], ids.shape[1]))
        with pytest.raises(EditError, match="cannot answer with a tuple"):
            lm.model(input_ids=ids, return_dict=False)
        lm.model.config.max_position_embeddings = ids.shape[1] + 2
        with pytest.raises(CaseError, match=r"with its preamble a text has \d+ tokens; the context of tiny-llama"):
            lm.model(input_ids=ids)
    with pytest.raises(EditError, match="cannot be merged: its preamble is text before the prompt"):
        edit.merge(lm)


def test_a_caller_that_counts_the_cache_itself_is_told(make_lm):
    lm = make_lm("llama")
    ids, edit = torch.tensor([lm.encode("sort sort sort sort")]), preamble_edit(lm)
    n = ids.shape[1]
    with torch.no_grad(), edit.applied(lm):
        cache = lm.model(input_ids=ids, use_cache=True).past_key_values
        seen = cache.get_seq_length()
        for given in ({"attention_mask": torch.ones(1, n + 3)}, {"position_ids": torch.tensor([[seen]])}):
            with pytest.raises(
                EditError, match=rf"a pass ends at token \d+ .* without its preamble, at token {n + 1}\."
            ):
                lm.model(input_ids=torch.tensor([[7]]), past_key_values=cache, **given)
        options = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        with pytest.raises(EditError, match="a static cache has no room for a preamble"):
            lm.model.generate(ids, attention_mask=torch.ones_like(ids), cache_implementation="static", **options)


def test_half_precision(make_lm):
    lm = make_lm("qwen2")
    lm.model.to(torch.bfloat16)
    lm.weights_changed()
    prompt, before = lm.encode(PROMPTS[0]), lm.encode(PREAMBLES[0])
    expected = concatenated(lm, before + prompt)[-len(prompt) :].float()
    with torch.no_grad(), preamble_edit(lm).applied(lm):
        found = lm.model(input_ids=torch.tensor([prompt])).logits[0].float()
    torch.testing.assert_close(found, expected, atol=0.05 * float(expected.abs().max()), rtol=0)
