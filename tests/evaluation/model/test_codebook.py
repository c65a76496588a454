"""Codebooks whose query is an encoding of the prompt's mean key (A-GRACE)."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.codebook import Codebook, Encoder, stacked_codebooks
from clmeeval_data.evaluation.model.edits import Edit, applied
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.prefix import prompts_remembered, read_prompts, run_suffix, suffix_of
from clmeeval_data.evaluation.model.updates import Dense, LowRank, Preamble

PROMPTS = [
    "Intent: sort the list\nCode:",
    "x",
    "Intent: a much longer intent, with `names` and 'texts'\nCode:",
    "Intent: sort the lists\nCode:",
    "Code: def f(x): return x\nDescription:",
]
LAYER = 2


def net(seed, f, h=16, e=6):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(f, h), nn.LeakyReLU(0.5), nn.Dropout(0.5), nn.Linear(h, e)).eval()


def encoder_of(module):
    return Encoder(*(p.detach().clone() for p in (module[0].weight, module[0].bias, module[3].weight, module[3].bias)))


def mean_key(lm, prompt, layer=LAYER):
    """By one plain pass over one unpadded prompt."""
    seen = []
    handle = lm.mlp_output(layer).register_forward_pre_hook(lambda m, args: seen.append(args[0][0].mean(0)))
    with torch.no_grad(), handle:
        lm.model(input_ids=torch.tensor([lm.encode(prompt)]))
    return seen[0]


def book_of(lm, encoder, prompt=PROMPTS[0], radius=None, seed=0, layer=LAYER):
    """A codebook with the prompt's own key; the radius parts the other prompts in two halves."""
    queries = torch.stack([encoder(mean_key(lm, other, layer)) for other in PROMPTS])
    key = encoder(mean_key(lm, prompt, layer))
    if radius is None:
        gaps = (queries - key).norm(dim=-1).sort().values
        radius = float(gaps[2] + gaps[3]) / 2
    torch.manual_seed(seed)
    value = 3 * torch.randn(1, lm.map.d)
    return Codebook(lm.map.mlp_output_name(layer), key[None], value, torch.tensor([radius]), ((1,),), encoder)


def edit_of(lm, *updates):
    return Edit(updates, lm.fingerprint, "agrace")


@pytest.fixture
def encoder(lm):
    return encoder_of(net(0, lm.map.f))


def fires(lm, book, prompt):
    """By definition: whether the encoded mean key is within the radius."""
    return bool((book.encoder(mean_key(lm, prompt)) - book.keys[0]).norm() <= book.radii[0])


def replaced(lm, value, layer=LAYER):
    """A hook that notes at which tokens of a pass the module's output is the value."""
    seen = []
    handle = lm.mlp_output(layer).register_forward_hook(
        lambda m, args, output: seen.append((output == value.to(output.dtype)).all(-1))
    )
    return seen, handle


def batch_of(lm, side):
    ids = [lm.encode(prompt) for prompt in PROMPTS]
    width = max(map(len, ids))
    rows, mask = torch.full((len(ids), width), lm.pad_id), torch.zeros(len(ids), width, dtype=torch.long)
    for row, one in enumerate(ids):
        where = slice(width - len(one), width) if side == "left" else slice(0, len(one))
        rows[row, where], mask[row, where] = torch.tensor(one), 1
    return rows, mask


def reference(lm, prompt, tokens):
    ids = torch.tensor([lm.encode(prompt)])
    output = lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=lm.pad_id
    )
    new = output[0, ids.shape[1] :].tolist()
    return new[: new.index(0)] if 0 in new else new


# --- the encoder ----------------------------------------------------------------------------------------------------


def test_the_encoder_is_two_linear_maps_with_a_leaky_relu():
    module = net(3, 20)
    x = torch.randn(7, 4, 20)
    torch.testing.assert_close(encoder_of(module)(x), module(x))
    half = Encoder(*(tensor.bfloat16() for tensor in encoder_of(module).tensors))
    assert half(x).dtype == torch.float32


def test_no_pair_of_queries_is_further_apart_than_the_steepness_allows():
    encoder = encoder_of(net(4, 20))
    a, b = torch.randn(2000, 20), torch.randn(2000, 20)
    ratios = (encoder(a) - encoder(b)).norm(dim=-1) / (a - b).norm(dim=-1)
    assert float(ratios.max()) <= encoder.steepness
    assert encoder.steepness == pytest.approx(
        float(torch.linalg.matrix_norm(encoder.first, 2) * torch.linalg.matrix_norm(encoder.second, 2)), rel=1e-4
    )


# --- a codebook with an encoder, as a value -------------------------------------------------------------------------


def test_encoded_keys_are_inserted_as_they_are(lm, encoder):
    book = book_of(lm, encoder, radius=0.1)
    key = encoder(mean_key(lm, PROMPTS[2]))
    grown = book.insert(key, torch.ones(lm.map.d), 0.1, (2,))
    assert torch.equal(grown.keys, torch.stack([book.keys[0], key]))
    assert grown.encoder is encoder
    near = book.insert(book.keys[0] + 0.01, torch.ones(lm.map.d), 0.1, (2,))
    assert float(near.radii[1]) == pytest.approx(0.01 * 6**0.5 / 2, rel=1e-3)


def test_adding_codebooks_needs_one_encoder(lm, encoder):
    one, other = book_of(lm, encoder, radius=1e-3), book_of(lm, encoder, PROMPTS[2], radius=1e-3)
    same = replace(other, encoder=encoder_of(net(0, lm.map.f)))
    assert torch.equal(one.plus(other).keys, one.plus(same).keys)
    assert len(one.plus(other).labels) == 2
    for different in (replace(other, encoder=encoder_of(net(1, lm.map.f))), replace(other, encoder=None)):
        with pytest.raises(EditError, match=r"two codebooks of .* have different encoders: [^\n]*$"):
            edit_of(lm, one) + edit_of(lm, different)


def test_the_file_has_a_shared_encoder_once(lm, encoder, tmp_path):
    books = book_of(lm, encoder), book_of(lm, encoder, layer=3), replace(book_of(lm, encoder, layer=1), encoder=None)
    other = book_of(lm, encoder_of(net(1, lm.map.f)), layer=0)
    edit = edit_of(lm, *books, other)
    edit.save(tmp_path / "edit")
    loaded = Edit.load(tmp_path / "edit", lm)
    assert loaded.updates[0].encoder is loaded.updates[1].encoder
    assert loaded.updates[2].encoder is None
    for mine, theirs in zip(loaded.updates, edit.updates, strict=True):
        assert mine.module == theirs.module
        assert mine.labels == theirs.labels
        assert (mine.encoder is None) == (theirs.encoder is None)
        assert mine.encoder is None or mine.encoder.equals(theirs.encoder)
    size = 4 * sum(tensor.numel() for tensor in encoder.tensors)
    assert edit.nbytes - 2 * size == edit_of(lm, *(replace(book, encoder=None) for book in edit.updates)).nbytes
    assert (tmp_path / "edit").stat().st_size < edit.nbytes + 3000


def test_to_be_used_in_the_first_call_only_is_kept(lm, encoder, tmp_path):
    edit = replace(edit_of(lm, book_of(lm, encoder)), first_call_only=True)
    edit.save(tmp_path / "edit")
    assert Edit.load(tmp_path / "edit", lm).first_call_only
    plain = edit_of(lm)
    assert not plain.first_call_only
    assert (edit + plain).first_call_only
    assert (plain + edit).first_call_only
    assert not (plain + plain).first_call_only


# --- in a forward pass ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_it_fires_where_the_encoded_mean_of_the_prompts_own_tokens_is_near(any_lm, side):
    lm, encoder = any_lm, encoder_of(net(0, any_lm.map.f))
    book = book_of(lm, encoder)
    ids, mask = batch_of(lm, side)
    with torch.no_grad(), edit_of(lm, book).applied(lm):
        seen, handle = replaced(lm, book.values[0])
        with handle:  # learned positions are right only where they are told
            lm.model(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp_min(0))
    expected = [fires(lm, book, prompt) for prompt in PROMPTS]
    assert sorted(expected) == [False, False, True, True, True]
    for row, prompt in enumerate(PROMPTS):
        last = ids.shape[1] - 1 if side == "left" else len(lm.encode(prompt)) - 1
        assert seen[0][row].nonzero()[:, 0].tolist() == ([last] if expected[row] else [])


def test_every_call_of_transformers_generation_decides_alike(lm, encoder):
    """The released code decides so in the first call only: later queries are means over no token."""
    book = book_of(lm, encoder)
    ids, mask = batch_of(lm, "left")
    expected = [fires(lm, book, prompt) for prompt in PROMPTS]
    outputs = []
    for _ in range(2):
        with edit_of(lm, book).applied(lm):
            seen, handle = replaced(lm, book.values[0])
            with handle:
                options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": lm.pad_id}
                outputs.append(lm.model.generate(ids, attention_mask=mask, **options))
        prompt, *generated = seen
        assert prompt[:, -1].tolist() == expected
        assert not prompt[:, :-1].any()
        assert len(generated) == 3
        assert not any(step.any() for step in generated)
    assert torch.equal(*outputs)


def test_the_answer_is_no_part_of_the_query_where_the_end_of_the_prompt_is_told(lm, encoder):
    book = book_of(lm, encoder)
    for prompt in PROMPTS:
        ids = lm.encode(prompt)
        with torch.no_grad(), edit_of(lm, book).applied(lm, lookup=torch.tensor([len(ids) - 1])):
            seen, handle = replaced(lm, book.values[0])
            with handle:
                lm.model(input_ids=torch.tensor([ids + [5, 6, 7, 8] * 5]))
        assert seen[0][0].nonzero()[:, 0].tolist() == ([len(ids) - 1] if fires(lm, book, prompt) else [])


def test_a_pass_over_the_end_of_a_prompt_alone_cannot_decide(lm, encoder):
    book = book_of(lm, encoder)
    prefix = read_prompts(lm, PROMPTS[:1])
    told = edit_of(lm, book).applied(lm, lookup=torch.tensor([0]))
    with told, pytest.raises(EditError, match="this pass reads its end alone"):
        run_suffix(lm, prefix, suffix_of(lm, prefix, [[1]]))


def test_a_stack_runs_every_row_under_its_own_codebook_and_encoder(lm, encoder):
    other = encoder_of(net(1, lm.map.f, h=8, e=3))
    plain = Codebook(lm.map.mlp_output_name(LAYER), torch.zeros(2, lm.map.f), torch.ones(2, lm.map.d),
                     torch.tensor([0.1, 1e9]), ((1,), (2,)))  # fmt: skip
    books = [book_of(lm, encoder, seed=1), book_of(lm, other, seed=2), plain, book_of(lm, encoder, PROMPTS[2], seed=3)]
    edits = [*(edit_of(lm, book) for book in books), edit_of(lm)]
    for prompt in PROMPTS:
        ids = torch.tensor([lm.encode(prompt)])
        with torch.no_grad():
            with applied(lm, edits) as live:
                live.rows = torch.tensor([3, 0, 4, 1, 2, 0])
                together = lm.model(input_ids=ids.repeat(6, 1)).logits
            for row, edit in enumerate([3, 0, 4, 1, 2, 0]):
                with edits[edit].applied(lm):
                    alone = lm.model(input_ids=ids).logits[0]
                torch.testing.assert_close(together[row], alone, atol=1e-4, rtol=1e-4)


def test_a_shared_encoder_runs_once_for_the_batch(lm, encoder, monkeypatch):
    calls = []
    call = Encoder.__call__

    def counted(self, pooled):
        calls.append(len(pooled))
        return call(self, pooled)

    shared = [book_of(lm, encoder, prompt) for prompt in PROMPTS]
    views = [replace(book, encoder=Encoder(*(t[:] for t in encoder.tensors))) for book in shared]
    own = [replace(book, encoder=encoder_of(net(0, lm.map.f))) for book in shared]
    monkeypatch.setattr(Encoder, "__call__", counted)
    inputs = torch.randn(5, 3, lm.map.f)
    for books, expected in ((shared, [5]), (views, [5]), (own, [1] * 5)):
        change = stacked_codebooks(books, torch.device("cpu"))
        calls.clear()
        change(inputs, torch.zeros(5, 3, lm.map.d), torch.arange(5), torch.full((5,), 2))
        assert calls == expected


# --- in generation after a prefix -----------------------------------------------------------------------------------


def check_generation(lm, edits, layers, tokens=6):
    jobs = [Continuation(row, edit, tokens) for row in range(len(PROMPTS)) for edit in range(len(edits))]
    outputs = generate(lm, read_prompts(lm, PROMPTS, layers), edits, jobs)
    for job, output in zip(jobs, outputs, strict=True):
        with edits[job.edit].applied(lm):
            assert output == reference(lm, PROMPTS[job.prompt], tokens), job
    return outputs


@pytest.mark.parametrize("layers", [(), (LAYER,), (1, LAYER), (3,)])
def test_generation_decides_like_a_whole_pass_whatever_was_kept(lm, encoder, layers):
    books = [book_of(lm, encoder, seed=1), book_of(lm, encoder_of(net(1, lm.map.f)), PROMPTS[2], seed=2)]
    outputs = check_generation(lm, [*(edit_of(lm, book) for book in books), edit_of(lm)], layers)
    by_edit = [outputs[edit::3] for edit in range(3)]
    assert 0 < sum(a != b for a, b in zip(by_edit[0], by_edit[2], strict=True)) < len(PROMPTS)


@pytest.mark.parametrize("layers", [(LAYER,), (0, 1, 2, 3)])
@pytest.mark.parametrize("changed", [1, 2, 3])
def test_a_weight_edit_below_the_codebook_changes_its_queries(lm, encoder, layers, changed):
    """The prefix was read before the weights changed: what it keeps of the layers above is of no use."""
    torch.manual_seed(5)
    weights = LowRank(lm.map.mlp_output_name(changed), torch.randn(lm.map.d, 2), 0.5 * torch.randn(2, lm.map.f))
    with edit_of(lm, weights).applied(lm):
        moved = book_of(lm, encoder, seed=1)
    check_generation(lm, [edit_of(lm, weights, moved), edit_of(lm, moved), edit_of(lm, weights)], layers, 3)


def test_a_codebook_below_that_fires_is_part_of_the_query_above(lm, encoder):
    lower = Codebook(lm.map.mlp_output_name(1), torch.zeros(1, lm.map.f), 20 * torch.ones(1, lm.map.d),
                     torch.tensor([1e9]), ((1,),))  # fmt: skip
    plain = encoder(mean_key(lm, PROMPTS[3]))
    with edit_of(lm, lower).applied(lm):
        moved = encoder(mean_key(lm, PROMPTS[3]))
    upper = book_of(lm, encoder, PROMPTS[3], radius=float((plain - moved).norm()) / 2, seed=1)
    for key in (plain, moved):  # near either without or with the lower codebook's value in the mean
        book = replace(upper, keys=key[None])
        check_generation(lm, [edit_of(lm, lower, book), edit_of(lm, lower), edit_of(lm, book)], (1, LAYER), 3)


def test_behind_a_preamble_the_query_is_that_of_the_whole_text(lm, encoder):
    before = "Intent: reverse xs\nCode: xs[::-1]\n"
    preamble = Preamble(torch.tensor(lm.encode(before)), before)
    with edit_of(lm, preamble).applied(lm):
        book = book_of(lm, encoder, seed=1)
    ids = torch.tensor([lm.encode(before) + lm.encode(PROMPTS[0])])
    with torch.no_grad(), edit_of(lm, replace(book, radii=torch.tensor([1e-3]))).applied(lm):
        seen, handle = replaced(lm, book.values[0])
        with handle:
            lm.model(input_ids=ids)
    assert seen[0][0].nonzero()[:, 0].tolist() == [ids.shape[1] - 1], "its key is not that of the concatenated text"
    check_generation(lm, [edit_of(lm, preamble, book), edit_of(lm, preamble), edit_of(lm, book)], (LAYER,), 4)


def test_a_query_that_a_prefix_cannot_keep_is_refused(lm, encoder):
    attention = f"{lm.map.layer_name(1)}.self_attn.o_proj"
    book = Codebook(attention, torch.zeros(1, 6), torch.ones(1, lm.map.d), torch.ones(1), ((1,),), encoder)
    with pytest.raises(EditError, match=r"keeps no mean input of .*o_proj.* Expected an MLP output map"):
        generate(lm, read_prompts(lm, PROMPTS), [edit_of(lm, book)], [Continuation(0, 0, 2)])


def test_prompts_that_are_left_alone_are_those_at_which_it_does_not_fire(lm, encoder):
    book = book_of(lm, encoder)
    near = [fires(lm, book, prompt) for prompt in PROMPTS]
    prefix = read_prompts(lm, PROMPTS, [LAYER])
    rows = [4, 0, 1, 2, 3, 1]
    assert edit_of(lm, book).leaves_alone(lm, prefix, rows) == [not near[row] for row in rows]
    plain = replace(book, keys=prefix.looked_up[LAYER][:1], radii=torch.tensor([0.5]), encoder=None)
    keys = torch.stack([prefix.looked_up[LAYER][row] for row in rows])
    far = ((keys - keys[1]).norm(dim=-1) > 0.5).tolist()
    assert edit_of(lm, plain).leaves_alone(lm, prefix, rows) == far
    weights = Dense(book.module, torch.zeros(lm.map.d, lm.map.f))
    assert edit_of(lm).leaves_alone(lm, prefix, rows) == [True] * 6
    assert edit_of(lm, book, weights).leaves_alone(lm, prefix, rows) == [False] * 6
    assert edit_of(lm, book).leaves_alone(lm, read_prompts(lm, PROMPTS, [1]), rows) == [False] * 6
    upper = replace(book, module=lm.map.mlp_output_name(3))
    assert edit_of(lm, book, upper).leaves_alone(lm, prefix, rows) == [False] * 6, "layer 3 was not kept"


def test_rounding_never_makes_it_leave_alone_a_prompt_at_its_edge(lm, encoder):
    book = book_of(lm, encoder, PROMPTS[2])
    gap = (encoder(mean_key(lm, PROMPTS[0])) - book.keys[0]).norm()
    for share, alone in ((1.0 - 1e-5, False), (1.0 + 1e-5, False), (0.2, True)):
        at_edge = replace(book, radii=share * gap[None])
        assert edit_of(lm, at_edge).leaves_alone(lm, read_prompts(lm, PROMPTS, [LAYER]), [0]) == [alone]


def test_pooled_keys_survive_selection_and_memory(lm):
    prefix = read_prompts(lm, PROMPTS * 5, [1, LAYER])  # more than one part
    for layer in (1, LAYER):
        assert prefix.pooled[layer].shape == (25, lm.map.f)
        for row in range(25):
            expected = mean_key(lm, PROMPTS[row % 5], layer)
            torch.testing.assert_close(prefix.pooled[layer][row], expected, atol=1e-5, rtol=1e-4)
    chosen = prefix.select([7, 2, 7])
    assert torch.equal(chosen.pooled[LAYER], prefix.pooled[LAYER][[7, 2, 7]])
    summed = chosen.summed(LAYER) + chosen.looked_up[LAYER]
    torch.testing.assert_close(summed, chosen.pooled[LAYER] * chosen.lengths, atol=1e-4, rtol=1e-5)
    with prompts_remembered(lm, PROMPTS, prefix.select(range(5))):
        assert torch.equal(read_prompts(lm, PROMPTS[2:3], [LAYER]).pooled[LAYER], prefix.pooled[LAYER][2:3])


def test_half_precision_pools_in_full(make_lm):
    lm = make_lm("llama")
    lm.model.to(torch.bfloat16)
    lm.weights_changed()
    encoder = encoder_of(net(0, lm.map.f))
    prefix = read_prompts(lm, PROMPTS, [LAYER])
    assert prefix.pooled[LAYER].dtype == torch.float32
    keys = encoder(prefix.pooled[LAYER])
    gaps = (keys - keys[0]).norm(dim=-1).sort().values
    radius = (gaps[2:3] + gaps[3:4]) / 2
    values = torch.randn(1, lm.map.d, generator=torch.Generator().manual_seed(0)).bfloat16()
    book = Codebook(lm.map.mlp_output_name(LAYER), keys[:1], values, radius, ((1,),), encoder)
    near = ((keys - keys[0]).norm(dim=-1) <= radius).tolist()
    ids, mask = batch_of(lm, "left")
    with torch.no_grad(), edit_of(lm, book).applied(lm):
        seen, handle = replaced(lm, values[0])
        with handle:
            lm.model(input_ids=ids, attention_mask=mask)
            generate_jobs = [Continuation(row, 0, 2) for row in range(len(PROMPTS))]
    assert seen[0][:, -1].tolist() == near
    assert len(generate(lm, prefix, [edit_of(lm, book)], generate_jobs)) == len(PROMPTS)
