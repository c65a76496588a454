"""The baseline of the benchmarks: one edit at a time, full passes over full texts, one generate call per prompt group.

This is how the methods are usually run. It has the same objectives, settings and stopping rules as the editors, but
shares nothing with them: no cached prompt, no skipped layer, no batch over cases, no draft.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clmeeval_data.evaluation.answers import answer_lengths
from clmeeval_data.evaluation.editors.contract import Case, Editor, EditRequest
from clmeeval_data.evaluation.editors.gradients import Signals
from clmeeval_data.evaluation.editors.rome import rank_one
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.hooks import captured_inputs, captured_outputs, changed_output
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.structure import oriented_weight
from clmeeval_data.evaluation.model.updates import Codebook, Dense, LowRank, Update
from clmeeval_data.evaluation.scoring.dimensions import FLUENCY_TOKENS, FLUENCY_TOP_K


def edit(lm: LanguageModel, editor: Editor, request: EditRequest) -> Edit:
    """One edit by the method of an editor; LoRA and in-context editing run as they are, one at a time."""
    plain: dict[str, Callable[..., Sequence[Update]]] = {
        "ft": _ft,
        "grace": _grace,
        "agrace": _agrace,
        "rome": _rome,
        "memit": _memit,
        "pmet": _memit,
        "alphaedit": _memit,
        "malmen": _regression,
        "ultraedit": _regression,
    }
    if editor.name not in plain:
        return editor.edit_each(lm, [request])[0]
    return Edit(tuple(plain[editor.name](lm, editor, request)), lm.fingerprint, editor.name)


def answers(lm: LanguageModel, case: Case) -> list[str]:
    """What the edited model says to a case's prompts; a longer text is sampled, too, and thrown away."""
    texts = unedited(lm, case)
    _generate(lm, [case.prompt], FLUENCY_TOKENS, do_sample=True, top_k=FLUENCY_TOP_K)
    return texts


def unedited(lm: LanguageModel, case: Case) -> list[str]:
    """What the model, edited or not, says to a case's prompts.

    One generation for the prompt, one for the rephrased prompt, and one for the neighbours together.
    """
    target, rephrased, *near = answer_lengths(lm, case)
    groups = [([case.prompt], target), ([case.rephrased_prompt], rephrased)]
    if near:
        groups.append((list(case.neighbour_prompts), max(near)))
    return [text for prompts, tokens in groups for text in _generate(lm, prompts, tokens)]


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


def _minimise(
    parameters: Sequence[Tensor],
    config: Any,
    loss_of: Callable[[], tuple[Tensor, bool]],
    after: Callable[[], None],
) -> None:
    """Adam until ``loss_of`` says that it is enough."""
    adam = torch.optim.Adam(parameters, lr=config.learning_rate)
    for _ in range(config.steps):
        loss, enough = loss_of()
        if enough:
            return
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            after()


def _enough(config: Any, loss: Tensor, worst: Tensor) -> bool:
    return float(loss.detach()) < config.stop_loss or float(worst.detach()) < getattr(config, "stop_worst", 0.0)


def _fitted(lm: LanguageModel, config: Any, ids: Tensor, labels: Tensor) -> tuple[Tensor, bool]:
    """The mean loss of one text's target, and whether it is small enough."""
    each = _losses(lm, ids, labels)
    return each.mean(), _enough(config, each.mean(), each.max())


def _losses(lm: LanguageModel, ids: Tensor, labels: Tensor) -> Tensor:
    return _judged(lm, ids, labels)[0]


def _judged(lm: LanguageModel, ids: Tensor, labels: Tensor) -> tuple[Tensor, bool]:
    """The loss of every target token, and whether each of them is the most probable one."""
    logits = lm.model(input_ids=ids, use_cache=False).logits
    here = labels[0, 1:] != -100
    found, wanted = logits[0, :-1][here].float(), labels[0, 1:][here]
    return cross_entropy(found, wanted, reduction="none"), bool((found.argmax(-1) == wanted).all())


def _grace(lm: LanguageModel, editor: Any, request: EditRequest) -> list[Update]:
    config, module = editor.config, lm.mlp_output(editor.config.layer)
    ids, labels, last = _text(lm, request.prompt, request.target)
    key: list[Tensor] = []
    value = torch.zeros(lm.map.d, device=lm.device, requires_grad=True)

    def place(inputs: Tensor, output: Tensor) -> Tensor:
        key[:] = [inputs[0].detach()]
        return torch.cat([output[:, :last], value[None, None], output[:, last + 1 :]], 1)

    with changed_output(module, place):
        _minimise([value], config, lambda: _fitted(lm, config, ids, labels), lambda: None)
    radius, name = torch.tensor([config.radius], device=lm.device), lm.map.mlp_output_name(config.layer)
    encoder = getattr(editor, "encoder", None)
    found = key[0][last] if encoder is None else encoder(key[0][: last + 1].mean(0))
    return [Codebook(name, found[None], value.detach()[None], radius, ((0,),), encoder)]


_agrace = _grace


def _ft(lm: LanguageModel, editor: Any, request: EditRequest) -> list[Update]:
    config, module = editor.config, lm.mlp_output(editor.config.layer)
    ids, labels, _ = _text(lm, request.prompt, request.target)
    weight, box = oriented_weight(module), config.clamp
    start = weight.detach().clone()
    weight.requires_grad_(True)
    _minimise(
        [weight],
        config,
        lambda: _fitted(lm, config, ids, labels),
        lambda: weight.clamp_(start - box, start + box),
    )
    change = weight.detach() - start
    weight.requires_grad_(False).copy_(start)
    weight.grad = None
    return [Dense(lm.map.mlp_output_name(config.layer), change)]


class _Seen(NamedTuple):
    """At the last prompt token of every context: key, MLP output, attention output, and output of the layer."""

    keys: Tensor
    values: Tensor
    attention: Tensor
    blocks: Tensor


def _look(lm: LanguageModel, editor: Any, request: EditRequest, layer: int, watched: int) -> _Seen:
    """Keys of ``layer`` and outputs of ``watched``, by whole passes over one context after another."""
    inputs = {0: lm.mlp_output(layer)}
    outputs = {0: lm.mlp_output(watched), 1: lm.attention_output(watched), 2: lm.layer_modules[watched]}
    rows = []
    for context in editor.contexts(lm):
        ids = torch.tensor([lm.encode(context + request.prompt)], device=lm.device)
        with torch.no_grad(), captured_inputs(inputs) as keys, captured_outputs(outputs) as found:
            lm.model(input_ids=ids, use_cache=False)
        rows.append([keys[0][0, -1], *(found[index][0, -1] for index in range(3))])
    return _Seen(*(torch.stack(tensors) for tensors in zip(*rows, strict=True)))


def _vectors(
    lm: LanguageModel, editor: Any, request: EditRequest, layer: int, modules: Sequence[Any], limits: Tensor
) -> Tensor:
    """The vectors that are added at the last prompt token of the modules' outputs, shape (places, d)."""
    config = editor.config
    texts = [_text(lm, context + request.prompt, request.target) for context in editor.contexts(lm)]
    neutral = torch.tensor([lm.encode(config.kl_prompt or " ")], device=lm.device)
    with torch.no_grad():
        original = lm.model(input_ids=neutral, use_cache=False).logits[0, -1].log_softmax(-1)
    deltas = torch.zeros(len(modules), lm.map.d, device=lm.device, requires_grad=True)

    def added(last: int) -> ExitStack:
        stack = ExitStack()
        for place, module in enumerate(modules):

            def add(inputs: Tensor, output: Tensor, place: int = place) -> Tensor:
                moved = output[:, last : last + 1] + deltas[place]
                return torch.cat([output[:, :last], moved, output[:, last + 1 :]], 1)

            stack.enter_context(changed_output(module, add))
        return stack

    def objective() -> tuple[Tensor, bool]:
        each, greedy = [], []
        for ids, labels, last in texts:
            with added(last):
                losses, chosen = _judged(lm, ids, labels)
            each.append(losses)
            greedy.append(chosen)
        nll, worst = torch.stack([one.mean() for one in each]).mean(), torch.cat(each).max()
        divergence = torch.zeros((), device=lm.device)
        if config.kl_factor:
            with added(neutral.shape[1] - 1):
                edited = lm.model(input_ids=neutral, use_cache=False).logits[0, -1].log_softmax(-1)
            divergence = config.kl_factor * (edited.exp() * (edited - original)).sum()
        penalty = config.decay * (deltas.norm(dim=-1) / limits.square()).sum()
        if editor.name == "pmet":
            reached = all(greedy)
            small = float(divergence.detach()) <= config.stop_kl and float(worst.detach()) < config.stop_worst
            return nll * (config.reached_factor if reached else 1.0) + divergence + penalty, reached and small
        loss = nll + divergence + penalty
        return loss, _enough(config, loss, worst)

    def project() -> None:
        sizes = deltas.norm(dim=-1).clamp_min(math.ulp(0.0))
        deltas.mul_((config.clamp * limits / sizes).clamp_max(1.0)[:, None])

    _minimise([deltas], config, objective, project)
    return deltas.detach()


def _rome(lm: LanguageModel, editor: Any, request: EditRequest) -> list[Update]:
    layer = editor.config.layer
    seen = _look(lm, editor, request, layer, layer)
    delta = _vectors(lm, editor, request, layer, [lm.mlp_output(layer)], seen.values[:1].norm(dim=-1))[0]
    direction = seen.keys.mean(0)
    if editor.config.covariance == "keys":
        moment = editor.statistics(lm)[layer].regularised.double()
        direction = torch.linalg.solve(moment, direction.double()).float()
    return [rank_one(lm.map.mlp_output_name(layer), delta, seen.keys[0], direction)]


def _memit(lm: LanguageModel, editor: Any, request: EditRequest) -> list[Update]:
    """MEMIT, PMET and AlphaEdit: whole passes after every layer, and a dense f x f system for each."""
    config, last = editor.config, editor.config.layers[-1]
    seen = _look(lm, editor, request, last, last)
    if editor.name == "pmet":
        room = config.attention_clamp / config.clamp
        limits = torch.stack([seen.attention[0].norm() * room, seen.values[0].norm()])
        modules = [lm.attention_output(last), lm.mlp_output(last)]
        wanted = seen.values[0] + _vectors(lm, editor, request, last, modules, limits)[1]
    else:
        limits = seen.blocks[:1].norm(dim=-1)
        wanted = seen.blocks[0] + _vectors(lm, editor, request, last, [lm.mlp_output(last)], limits)[0]
    updates: list[LowRank] = []
    with ExitStack() as stack:
        for place, layer in enumerate(config.layers):
            seen = _look(lm, editor, request, layer, last)
            others = seen.keys[1:].mean(0) if len(seen.keys) > 1 else seen.keys[0]
            key = ((seen.keys[0] + others) / 2).double()
            left = len(config.layers) - place
            reached = seen.values[0] if editor.name == "pmet" else seen.blocks[0]
            residual = (wanted - reached) / (left**0.5 if editor.name == "pmet" else left)
            solved = _dense_solution(editor, lm, layer, key)
            updates.append(LowRank(lm.map.mlp_output_name(layer), residual[:, None], solved[None].float()))
            stack.enter_context(Edit((updates[-1],), lm.fingerprint, editor.name).applied(lm))
    return list(updates)


def _dense_solution(editor: Any, lm: LanguageModel, layer: int, key: Tensor) -> Tensor:
    statistics, config = editor.statistics(lm)[layer], editor.config
    if editor.name == "alphaedit":
        basis = statistics.null_space(config.threshold)
        projector = basis @ basis.T
        system = projector @ torch.outer(key, key) + config.weight * torch.eye(len(key), dtype=key.dtype)
        return torch.linalg.solve(system, projector @ key)
    system = config.weight * statistics.regularised.double() + torch.outer(key, key)
    return torch.linalg.solve(system, key)


def _regression(lm: LanguageModel, editor: Any, request: EditRequest) -> list[Update]:
    """MALMEN and UltraEdit: one whole pass forward and back, and a dense f x f system for each layer."""
    layers = editor.config.layers
    ids, labels, _ = _text(lm, request.prompt, request.target)
    modules = {layer: lm.mlp_output(layer) for layer in layers}
    here = labels[0, 1:] != -100
    first = lm.layer_modules[0].register_forward_hook(lambda module, args, output: output.requires_grad_(True))
    with torch.enable_grad(), captured_inputs(modules) as inputs, captured_outputs(modules) as outputs:
        loss = _losses(lm, ids, labels).mean()
    first.remove()
    slopes = torch.autograd.grad(loss, [outputs[layer] for layer in layers])
    keys = torch.stack([inputs[layer][0, :-1][here].detach() for layer in layers])
    gradients = torch.stack([slope[0, :-1][here] for slope in slopes])
    values, ridge = editor.values(lm, Signals(keys, gradients, float(loss.detach())))
    updates: list[Update] = []
    for layer, key, value, c in zip(layers, keys.double(), values.double(), ridge.double(), strict=True):
        system = key.T @ key + c * torch.eye(key.shape[1], dtype=key.dtype, device=key.device)
        updates.append(Dense(lm.map.mlp_output_name(layer), torch.linalg.solve(system, key.T @ value).T.float()))
    return updates
