import pytest
import torch

from clmeeval_data.evaluation.editors.grace import Grace, GraceConfig
from clmeeval_data.evaluation.editors.rome import Rome, RomeConfig
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, Sampling, generate
from clmeeval_data.evaluation.model.prefix import read_prompts

PROMPTS = ["Intent: sort the list\nCode:", "x", "Intent: a much longer intent, with `names` and 'texts'\nCode:"]


def unedited(lm):
    return Edit((), lm.fingerprint, "none")


def reference(lm, prompt, tokens):
    """transformers' own greedy generation, one text at a time."""
    ids = torch.tensor([lm.encode(prompt)])
    mask = torch.ones_like(ids)
    output = lm.model.generate(ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=lm.pad_id)
    new = output[0, ids.shape[1] :].tolist()
    return new[: new.index(0)] if 0 in new else new  # 0 ends a text


def test_a_batch_equals_one_at_a_time(lm):
    lengths = [12, 5, 9]
    jobs = [Continuation(row, 0, length) for row, length in enumerate(lengths)]
    outputs = generate(lm, read_prompts(lm, PROMPTS), [unedited(lm)], jobs)
    assert outputs == [reference(lm, prompt, length) for prompt, length in zip(PROMPTS, lengths, strict=True)]


@pytest.mark.parametrize("seed", range(6))
def test_drafts_never_change_the_output(lm, seed):
    generator = torch.Generator().manual_seed(seed)
    prefix, jobs, truth = read_prompts(lm, PROMPTS), [], []
    for row, prompt in enumerate(PROMPTS):
        greedy = reference(lm, prompt, 10)
        right = int(torch.randint(0, 11, (), generator=generator))
        wrong = torch.randint(
            1, 300, (int(torch.randint(0, 6, (), generator=generator)),), generator=generator
        ).tolist()
        drafts = (tuple(greedy[:right] + wrong), tuple(greedy), tuple(wrong))[
            int(torch.randint(0, 2, (), generator=generator)) :
        ]
        jobs += [Continuation(row, 0, 10, drafts), Continuation(row, 0, 7)]
        truth += [greedy, greedy[:7]]
    assert generate(lm, prefix, [unedited(lm)], jobs) == truth


def test_a_right_draft_costs_one_pass(lm):
    greedy = reference(lm, PROMPTS[0], 10)
    passes = []
    handle = lm.model.register_forward_pre_hook(lambda *a: passes.append(1))
    prefix = read_prompts(lm, PROMPTS[:1])
    passes.clear()
    generate(lm, prefix, [unedited(lm)], [Continuation(0, 0, 10, (tuple(greedy),))])
    handle.remove()
    assert len(passes) == 1


def test_the_end_of_text_token_ends_a_row_and_is_not_returned(tiny_lm):
    prefix = read_prompts(tiny_lm, PROMPTS)
    outputs = generate(tiny_lm, prefix, [unedited(tiny_lm)], [Continuation(row, 0, 6) for row in range(3)])
    stop = outputs[0][3]
    tiny_lm.stop_ids = frozenset([stop])
    jobs = [Continuation(row, 0, 6, drafts) for row in range(3) for drafts in ((), (tuple(outputs[row]),))]
    stopped = generate(tiny_lm, prefix, [unedited(tiny_lm)], jobs)
    cut = [output[: output.index(stop)] if stop in output else output for output in outputs]
    assert stopped == [text for text in cut for _ in range(2)]
    assert not any(stop in text for text in stopped)


def test_sampling_depends_on_its_seed_alone(lm):
    prefix = read_prompts(lm, PROMPTS)
    sampled = [Continuation(row, 0, 8, sampling=Sampling(5, f"seed {row}")) for row in range(3)]
    together = generate(lm, prefix, [unedited(lm)], [*sampled, Continuation(1, 0, 20)])[:3]
    alone = [generate(lm, read_prompts(lm, [PROMPTS[one.prompt]]), [unedited(lm)], [
        Continuation(0, 0, 8, sampling=one.sampling)])[0] for one in sampled]  # fmt: skip
    assert together == alone
    other = generate(lm, prefix, [unedited(lm)], [Continuation(0, 0, 8, sampling=Sampling(5, "another seed"))])[0]
    assert other != together[0]


def test_sampling_takes_the_token_at_which_the_distribution_passes_the_number():
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0])
    top = torch.tensor([3.0, 2.0, 1.0]).softmax(-1)
    sampling = Sampling(3, "x")
    assert sampling.choose(logits, 0.0) == 1
    assert sampling.choose(logits, float(top[0]) + 1e-3) == 3
    assert sampling.choose(logits, 0.9999999) == 2
    numbers = sampling.uniforms(2000)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(float(numbers.mean()) - 0.5) < 0.03


@pytest.mark.parametrize("method", ["grace", "rome"])
def test_every_row_runs_under_its_own_edit(lm, requests_, method):
    editor = {"grace": Grace(GraceConfig(layer=2, steps=15)), "rome": Rome(RomeConfig(layer=1, steps=10, contexts=0))}[
        method
    ]
    edits = editor.edit_each(lm, requests_)
    prompts = [request.prompt for request in requests_] + PROMPTS
    jobs = [Continuation(row, edit, 8) for row in range(len(prompts)) for edit in range(len(edits))]
    together = generate(lm, read_prompts(lm, prompts, [1]), edits, jobs)
    for job, output in zip(jobs, together, strict=True):
        with edits[job.edit].applied(lm):
            assert output == reference(lm, prompts[job.prompt], 8)
