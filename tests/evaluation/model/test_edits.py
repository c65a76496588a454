import pytest
import torch

from clmeeval_data.errors import EditError, ModelError
from clmeeval_data.evaluation.model.edits import Edit, applied
from clmeeval_data.evaluation.model.updates import Codebook, Dense, LowRank, Preamble


def snapshot(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}, vars(lm.model).keys()


def assert_untouched(lm, before):
    tensors, _ = before
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in lm.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.model.modules())
    assert not any("forward" in vars(module) for module in lm.model.modules())
    assert lm.edits_applied == 0


def some_updates(lm, seed=0, layer=1):
    torch.manual_seed(seed)
    name, (d, f) = lm.map.mlp_output_name(layer), (lm.map.d, lm.map.f)
    return {
        "low rank": LowRank(name, torch.randn(d, 1), torch.randn(1, f)),
        "dense": Dense(name, torch.randn(d, f)),
        "codebook": Codebook(name, torch.zeros(1, f), torch.randn(1, d), torch.tensor([1e9]), ((1,),)),
        "preamble": Preamble(torch.randint(1, 300, (5 + layer,)), f"text {seed}"),
    }


def edit_of(lm, kind, seed=0, layer=1):
    return Edit((some_updates(lm, seed, layer)[kind],), lm.fingerprint, "test", {"x": 1.5}, ("c",), {"loss": 0.25})


def logits_of(lm, text="Intent: sort\nCode:"):
    with torch.no_grad():
        return lm.model(input_ids=torch.tensor([lm.encode(text)])).logits


KINDS = ["low rank", "dense", "codebook", "preamble"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_bit_identical_after_the_block_and_after_an_exception(lm, kind):
    before, plain = snapshot(lm), logits_of(lm)
    edit = edit_of(lm, kind)
    with edit.applied(lm):
        assert not torch.equal(logits_of(lm), plain), "the edit changes nothing"
    assert_untouched(lm, before)
    with pytest.raises(RuntimeError, match="in the middle"), edit.applied(lm):
        raise RuntimeError("in the middle")
    assert_untouched(lm, before)
    assert torch.equal(logits_of(lm), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load_round_trip(lm, kind, tmp_path):
    edit = edit_of(lm, kind)
    edit.save(tmp_path / "deep" / "edit.safetensors")
    loaded = Edit.load(tmp_path / "deep" / "edit.safetensors", lm)
    assert (loaded.fingerprint, loaded.method, loaded.config, loaded.case_ids, loaded.details) == (
        edit.fingerprint, edit.method, edit.config, edit.case_ids, edit.details)  # fmt: skip
    with edit.applied(lm):
        expected = logits_of(lm)
    with loaded.applied(lm):
        assert torch.equal(logits_of(lm), expected)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["edit.safetensors"]


def test_a_low_rank_edit_is_a_small_file(lm, tmp_path):
    edit_of(lm, "low rank").save(tmp_path / "edit")
    assert (tmp_path / "edit").stat().st_size < 4 * (lm.map.d + lm.map.f) + 2000
    assert edit_of(lm, "low rank").nbytes == 4 * (lm.map.d + lm.map.f)


@pytest.mark.parametrize("kind", ["low rank", "dense"])
def test_merging_equals_applying(tiny_lm, kind):
    edit = edit_of(tiny_lm, kind)
    with edit.applied(tiny_lm):
        expected = logits_of(tiny_lm)
    fingerprint = tiny_lm.fingerprint
    edit.merge(tiny_lm)
    torch.testing.assert_close(logits_of(tiny_lm), expected, atol=1e-4, rtol=1e-4)
    assert tiny_lm.fingerprint != fingerprint
    with pytest.raises(EditError, match="belongs to model"):
        edit.merge(tiny_lm)


def test_what_is_no_change_of_weights_says_why_it_cannot_be_merged(tiny_lm):
    before = snapshot(tiny_lm)
    both = edit_of(tiny_lm, "dense") + edit_of(tiny_lm, "codebook")
    with pytest.raises(EditError, match="codebook replaces outputs at single tokens"):
        both.merge(tiny_lm)
    with pytest.raises(EditError, match="preamble is text before the prompt"):
        (edit_of(tiny_lm, "dense") + edit_of(tiny_lm, "preamble")).merge(tiny_lm)
    assert_untouched(tiny_lm, before)


def test_offloaded_weights_are_not_merged_into(tiny_lm):
    """What accelerate keeps elsewhere is on the meta device between passes: writing there would be lost."""
    both = edit_of(tiny_lm, "dense") + edit_of(tiny_lm, "low rank", layer=2)
    before = tiny_lm.mlp_output(1).weight.clone()
    tiny_lm.mlp_output(2).to("meta")
    tiny_lm._fingerprint = both.fingerprint
    with pytest.raises(ModelError, match="weight of this Linear is offloaded"):
        both.merge(tiny_lm)
    assert torch.equal(tiny_lm.mlp_output(1).weight, before)


def test_another_model_is_refused(tiny_lm, make_lm, tmp_path):
    other = make_lm("llama", seed=5)
    edit = edit_of(tiny_lm, "low rank")
    edit.save(tmp_path / "edit")
    for use in (
        lambda: Edit.load(tmp_path / "edit", other),
        lambda: edit.merge(other),
        lambda: edit.applied(other).__enter__(),
    ):
        with pytest.raises(EditError, match=f"belongs to model {tiny_lm.fingerprint}, not to {other.name}"):
            use()
    with pytest.raises(EditError, match="different models"):
        edit + edit_of(other, "low rank")
    assert other.edits_applied == 0


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_a_file_that_is_no_edit_is_refused(tmp_path, content):
    path = tmp_path / "edit"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EditError, match=r"cannot read the edit .*Expected a file written by Edit.save"):
        Edit.load(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, tmp_path / "weights")
    with pytest.raises(EditError, match="not an edit of this version"):
        Edit.load(tmp_path / "weights")


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_of_independent_edits_equals_one_at_a_time(lm, kind):
    edits = [edit_of(lm, kind, seed) for seed in range(3)]
    ids = torch.tensor([lm.encode("Intent: sort\nCode:")] * 3)
    with torch.no_grad(), applied(lm, edits):
        together = lm.model(input_ids=ids).logits
    for row, edit in enumerate(edits):
        with edit.applied(lm):
            torch.testing.assert_close(together[row], logits_of(lm)[0], atol=1e-4, rtol=1e-4)


def test_rows_say_which_edit_they_run_under(lm):
    edits = [edit_of(lm, "low rank"), edit_of(lm, "codebook", layer=2), Edit((), lm.fingerprint, "none")]
    alone = []
    for edit in edits:
        with edit.applied(lm):
            alone.append(logits_of(lm)[0])
    ids = torch.tensor([lm.encode("Intent: sort\nCode:")] * 5)
    with torch.no_grad(), applied(lm, edits) as live:
        live.rows = torch.tensor([2, 0, 1, 1, 0])
        together = lm.model(input_ids=ids).logits
        live.rows = torch.tensor([0, 3, 0, 0, 0])
        with pytest.raises(EditError, match=r"say in live\.rows"):
            lm.model(input_ids=ids)
    for row, edit in enumerate([2, 0, 1, 1, 0]):
        torch.testing.assert_close(together[row], alone[edit], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_a_sum_of_edits_is_both_edits(lm, first, second):
    one, two = edit_of(lm, first, 0, layer=1), edit_of(lm, second, 1, layer=2)
    with one.applied(lm), two.applied(lm):
        expected = logits_of(lm)
    with (one + two).applied(lm):
        torch.testing.assert_close(logits_of(lm), expected, atol=1e-4, rtol=1e-4)
    assert (one + two).case_ids == ("c", "c")


def test_a_codebook_fires_at_the_end_of_the_prompt_and_not_on_generated_tokens(lm):
    edit = edit_of(lm, "codebook")
    module, seen = lm.mlp_output(1), []
    value = edit.updates[0].values[0]
    with edit.applied(lm):  # entered first, so that this hook sees what the edit left
        handle = module.register_forward_hook(lambda m, args, output: seen.append((output == value).all(-1)))
        ids = torch.tensor([lm.encode("x = 1"), lm.encode("x = 2")])
        mask = torch.ones_like(ids)
        mask[1, 0] = 0  # left padding
        lm.model.generate(ids, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, do_sample=False, pad_token_id=0)
    handle.remove()
    prompt, *generated = seen
    assert prompt[:, -1].all()
    assert not prompt[:, :-1].any()
    assert len(generated) == 3
    assert not any(step.any() for step in generated)


def test_the_end_of_a_right_padded_prompt_is_found_by_its_mask(lm):
    edit, ids = edit_of(lm, "codebook"), torch.tensor([[*lm.encode("x = 1"), 0, 0]])
    mask = (ids != 0).long()
    with torch.no_grad(), edit.applied(lm):
        padded = lm.model(input_ids=ids, attention_mask=mask).logits[0, -3]
        torch.testing.assert_close(padded, logits_of(lm, "x = 1")[0, -1], atol=1e-4, rtol=1e-4)


def test_the_end_of_the_prompt_can_be_told_for_a_text_with_its_answer(lm):
    edit = edit_of(lm, "codebook")
    prompt, answer = lm.encode("x = 1"), [5, 6, 7]
    with torch.no_grad(), edit.applied(lm):
        first = lm.model(input_ids=torch.tensor([prompt]), use_cache=True)
        stepwise = lm.model(input_ids=torch.tensor([answer]), past_key_values=first.past_key_values).logits
    with torch.no_grad(), edit.applied(lm, lookup=torch.tensor([len(prompt) - 1])):
        whole = lm.model(input_ids=torch.tensor([prompt + answer])).logits
    torch.testing.assert_close(whole[:, len(prompt) :], stepwise, atol=1e-4, rtol=1e-4)
