"""Whether a model computes as editing takes for granted: seen in two short passes before anything is edited."""

from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from clmeeval_data.errors import ModelError
from clmeeval_data.evaluation.model.hooks import captured_inputs, captured_outputs
from clmeeval_data.evaluation.model.placement import computing_device
from clmeeval_data.evaluation.model.structure import ModelMap

CACHE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)  # exactly these: one key and one value per token
TEXTS = [[0, 1, 2], [1, 2, 3], [1, 2, 0]]  # the text 1 2 3: padded on the left, whole, and without its last token
MASKS = [[0, 1, 1], [1, 1, 1], [1, 1, 0]]
NEXT = [[3], [4], [0]]  # what the texts go on with
NEXT_MASKS = [[*mask, new] for mask, new in zip(MASKS, (1, 1, 0), strict=True)]
EXACT, ROUGH = 1e-3, 0.1  # allowed difference, as a share of the logits' range: in full and in half precision
HALF = (torch.float16, torch.bfloat16)


@dataclass
class _Seen:
    """What two passes showed.

    ``keys``: per layer, in the cache. ``logits``: (3, 3, vocabulary) of the first pass, ``later``: (3, 1, vocabulary)
    of the second. What went into the layers and into and out of the maps, and what a layer returned, in the second.
    """

    keys: list[Tensor | None]
    logits: Tensor
    later: Tensor
    entering: dict[int, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    returned: object


def observed(model: PreTrainedModel, names: ModelMap) -> ModelMap:
    """The map of a model, completed by how its layers return their output, after a check that editing works on it.

    Raises:
        ModelError: If the model keeps no key and value per token, runs its layers or MLPs on other shapes than (rows,
            tokens, width), or answers a padded text differently; the message says which.
    """
    kind = type(model).__name__
    _check_cache_kind(model, kind)
    try:
        seen = _two_passes(model, names)
    except Exception as error:  # whatever it is that the model cannot do
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{kind} cannot run on a padded batch of texts with a growing cache of keys and values, "
            f"which editing needs: {reason}"
        ) from error
    _check_shapes(seen, names, kind)
    _check_padding(seen, kind, model.dtype)
    attention = seen.outputs.get("attention")
    plain = attention is not None and attention.shape == (len(NEXT), 1, names.d)
    return replace(
        names,
        attention_output=names.attention_output if plain else None,
        layer_outputs=len(seen.returned) if isinstance(seen.returned, tuple) else 0,
    )


def _check_cache_kind(model: PreTrainedModel, kind: str) -> None:
    found = {type(layer) for layer in DynamicCache(config=model.config).layers}
    other = sorted(layer.__name__ for layer in found if layer not in CACHE_LAYERS)
    if other:
        raise ModelError(
            f"{kind} keeps other states than one key and one value per token in some layers ({', '.join(other)}): "
            "editing needs a plain cache of keys and values in all of them."
        )


@torch.no_grad()
def _two_passes(model: PreTrainedModel, names: ModelMap) -> _Seen:
    layers = {layer: model.get_submodule(names.layer_name(layer)) for layer in range(names.depth)}
    maps: dict[str, nn.Module] = {"mlp": model.get_submodule(names.mlp_output_name(0))}
    if names.attention_output is not None:
        maps["attention"] = model.get_submodule(names.attention_output_name(0))
    cache, returned = DynamicCache(), []
    with ExitStack() as stack:
        entering = stack.enter_context(captured_inputs(layers))
        inputs, outputs = stack.enter_context(captured_inputs(maps)), stack.enter_context(captured_outputs(maps))
        handle = layers[0].register_forward_hook(lambda module, args, output: returned.append(output))
        stack.callback(handle.remove)
        logits = _pass(model, cache, TEXTS, MASKS)
        later = _pass(model, cache, NEXT, NEXT_MASKS)
    keys = [layer.keys if isinstance(layer, DynamicLayer) else None for layer in cache.layers]
    return _Seen(keys, logits, later, entering, inputs, outputs, returned[-1])


def _pass(model: PreTrainedModel, cache: DynamicCache, ids: list[list[int]], masks: list[list[int]]) -> Tensor:
    device = computing_device(model.get_input_embeddings())
    mask = torch.tensor(masks, device=device)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)[:, -len(ids[0]) :]
    logits: Tensor = model(
        input_ids=torch.tensor(ids, device=device),
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    ).logits
    return logits.float()


def _check_shapes(seen: _Seen, names: ModelMap, kind: str) -> None:
    rows, width = len(NEXT), len(NEXT_MASKS[0])
    for index, keys in enumerate(seen.keys):
        if keys is None or keys.dim() != 4 or keys.shape[0] != rows or keys.shape[2] != width:
            raise ModelError(f"{kind} keeps no keys of shape (rows, heads, tokens, width) in its cache, layer {index}.")
    if len(seen.keys) != names.depth or len(seen.entering) != names.depth:
        raise ModelError(
            f"{kind} ran {len(seen.entering)} and cached {len(seen.keys)} of its {names.depth} layers: "
            "editing needs a cache of keys and values in every one."
        )
    odd = [tuple(hidden.shape) for hidden in seen.entering.values() if hidden.shape != (rows, 1, names.d)]
    if odd:
        raise ModelError(f"{kind} gives its layers inputs of shape {odd[0]}; expected (rows, tokens, {names.d}).")
    into = tuple(seen.inputs["mlp"].shape)
    if into != (rows, 1, names.f):
        raise ModelError(
            f"{kind} gives {names.mlp_output} inputs of shape {into} for {rows} rows of one token; expected "
            f"({rows}, 1, {names.f}): editing has to tell rows and tokens apart there."
        )


def _check_padding(seen: _Seen, kind: str, dtype: torch.dtype) -> None:
    whole, size = seen.logits[1], float(seen.logits[1].max() - seen.logits[1].min())
    pairs = [(seen.logits[0, 2], whole[1]), (seen.logits[2, 1], whole[1]), (seen.later[0, 0], whole[2])]
    if not torch.isfinite(whole).all():
        raise ModelError(f"the logits of {kind} are not finite. Load it in float32 or bfloat16.")
    gap = max(float((one - other).abs().max()) for one, other in pairs)
    if not gap <= (ROUGH if dtype in HALF else EXACT) * size:
        raise ModelError(
            f"{kind} answers a text differently when it is padded or read in two parts (by {gap / size:.0%} of the "
            "logits' range): editing needs a model whose answers depend on the text alone."
        )
