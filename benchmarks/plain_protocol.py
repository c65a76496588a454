"""The baseline of the benchmarks: one edit at a time, full passes over full texts, one generate call per prompt group.

This is how the methods are usually run. It has the same objectives, settings and stopping rules as the editors, but
shares nothing with them: no cached prompt, no skipped layer, no batch over cases, no draft.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clmeeval_data.evaluation.answers import answer_lengths
from clmeeval_data.evaluation.editors.contract import Case, Editor, EditRequest
from clmeeval_data.evaluation.editors.rome import rank_one
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.hooks import changed_output
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.updates import Codebook, Dense, Update
from clmeeval_data.evaluation.scoring.dimensions import FLUENCY_TOKENS, FLUENCY_TOP_K


def edit(lm: LanguageModel, editor: Editor, request: EditRequest) -> Edit:
    """One edit by the method of an editor."""
    update: dict[str, Callable[..., Update]] = {"ft": _ft, "grace": _grace, "rome": _rome}
    return Edit((update[editor.name](lm, editor, request),), lm.fingerprint, editor.name)


def answers(lm: LanguageModel, case: Case) -> list[str]:
    """What the model, edited or not, says to a case's prompts; a longer text is sampled, too, and thrown away."""
    target, rephrased, *near = answer_lengths(lm, case)
    groups = [([case.prompt], target), ([case.rephrased_prompt], rephrased), (list(case.neighbour_prompts), max(near))]
    texts = [text for prompts, tokens in groups for text in _generate(lm, prompts, tokens)]
    _generate(lm, [case.prompt], FLUENCY_TOKENS, do_sample=True, top_k=FLUENCY_TOP_K)
    return texts


def _generate(lm: LanguageModel, prompts: list[str], tokens: int, **options: Any) -> list[str]:
    inputs = lm.tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    options = options or {"do_sample": False}
    output = lm.model.generate(**inputs.to(lm.device), max_new_tokens=tokens, pad_token_id=lm.pad_id, **options)
    return [lm.decode(row) for row in output[:, inputs.input_ids.shape[1] :].tolist()]


def _text(lm: LanguageModel, prompt: str, target: str) -> tuple[Tensor, Tensor, int]:
    """Ids and labels of prompt and target, shape (1, tokens), and the index of the last prompt token."""
    ids = lm.encode(prompt) + lm.encode_target(prompt, target)
    last = len(lm.encode(prompt)) - 1
    labels = torch.tensor([[-100] * (last + 1) + ids[last + 1 :]], device=lm.device)
    return torch.tensor([ids], device=lm.device), labels, last


def _loss(lm: LanguageModel, ids: Tensor, labels: Tensor) -> Tensor:
    logits = lm.model(input_ids=ids, use_cache=False).logits
    return cross_entropy(logits[0, :-1].float(), labels[0, 1:])


def _minimise(parameter: Tensor, config: Any, loss_of: Callable[[], Tensor], after: Callable[[], None]) -> None:
    adam = torch.optim.Adam([parameter], lr=config.learning_rate)
    for _ in range(config.steps):
        loss = loss_of()
        if float(loss.detach()) < config.stop_loss:
            return
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            after()


def _grace(lm: LanguageModel, editor: Any, request: EditRequest) -> Update:
    config, module = editor.config, lm.mlp_output(editor.config.layer)
    ids, labels, last = _text(lm, request.prompt, request.target)
    key: list[Tensor] = []
    value = torch.zeros(lm.map.d, device=lm.device, requires_grad=True)

    def place(inputs: Tensor, output: Tensor) -> Tensor:
        key[:] = [inputs[0, last].detach()]
        return torch.cat([output[:, :last], value[None, None], output[:, last + 1 :]], 1)

    with changed_output(module, place):
        _minimise(value, config, lambda: _loss(lm, ids, labels), lambda: None)
    radius, name = torch.tensor([config.radius], device=lm.device), lm.map.mlp_output_name(config.layer)
    return Codebook(name, key[0][None], value.detach()[None], radius, ((0,),))


def _ft(lm: LanguageModel, editor: Any, request: EditRequest) -> Update:
    config, module = editor.config, lm.mlp_output(editor.config.layer)
    ids, labels, _ = _text(lm, request.prompt, request.target)
    weight = module.weight
    start = weight.detach().clone()
    weight.requires_grad_(True)
    clamp = config.clamp
    _minimise(weight, config, lambda: _loss(lm, ids, labels), lambda: weight.clamp_(start - clamp, start + clamp))
    change = weight.detach() - start
    weight.requires_grad_(False).copy_(start)
    weight.grad = None
    return Dense(lm.map.mlp_output_name(config.layer), change)


def _rome(lm: LanguageModel, editor: Any, request: EditRequest) -> Update:
    config, module = editor.config, lm.mlp_output(editor.config.layer)
    texts = [_text(lm, context + request.prompt, request.target) for context in editor.contexts(lm)]
    seen: list[tuple[Tensor, Tensor]] = []
    for ids, _, last in texts:

        def keep(inputs: Tensor, output: Tensor, last: int = last) -> Tensor:
            seen.append((inputs[0, last], output[0, last]))
            return output

        with torch.no_grad(), changed_output(module, keep):
            lm.model(input_ids=ids, use_cache=False)
    keys, size = torch.stack([key for key, _ in seen]), float(seen[0][1].norm())
    neutral = torch.tensor([lm.encode(config.kl_prompt or " ")], device=lm.device)
    with torch.no_grad():
        original = lm.model(input_ids=neutral, use_cache=False).logits[0, -1].log_softmax(-1)
    delta = torch.zeros(lm.map.d, device=lm.device, requires_grad=True)

    def logits_of(ids: Tensor, last: int) -> Tensor:
        def add(inputs: Tensor, output: Tensor) -> Tensor:
            return torch.cat([output[:, :last], output[:, last : last + 1] + delta, output[:, last + 1 :]], 1)

        with changed_output(module, add):
            logits: Tensor = lm.model(input_ids=ids, use_cache=False).logits
        return logits

    def objective() -> Tensor:
        rows = [cross_entropy(logits_of(ids, last)[0, :-1], labels[0, 1:]) for ids, labels, last in texts]
        loss = torch.stack(rows).mean() + config.decay * delta.norm() / size**2
        if config.kl_factor:
            edited = logits_of(neutral, neutral.shape[1] - 1)[0, -1].log_softmax(-1)
            loss = loss + config.kl_factor * (edited.exp() * (edited - original)).sum()
        return loss

    def project() -> None:
        delta.mul_(min(1.0, config.clamp * size / max(float(delta.norm()), math.ulp(0.0))))

    _minimise(delta, config, objective, project)
    return rank_one(lm.map.mlp_output_name(config.layer), delta.detach(), keys[0], keys.mean(0))
