"""Some of a model's layers, run alone: all that is needed to see what an edit of one layer does to the next ones."""

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clmeeval_data.evaluation.model.hooks import captured_inputs, captured_outputs, ended_after, skipped_layers
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import Tokens


@dataclass(frozen=True)
class LayerRun:
    """What layers compute: shapes (rows, tokens, width).

    ``entering``: per layer, its input. ``keys``: per layer, the input of its MLP output map. ``values``: per layer, the
    output of that map. ``output``: of the last layer that ran.
    """

    entering: dict[int, Tensor]
    keys: dict[int, Tensor]
    values: dict[int, Tensor]
    output: Tensor


@torch.no_grad()
def run_layers(lm: LanguageModel, tokens: Tokens, entering: Tensor | None, first: int, last: int) -> LayerRun:
    """Run the layers from ``first`` to ``last``, both included, over whole texts; the layers above do not run.

    Args:
        lm: The model, with the edits that are in force.
        tokens: The texts.
        entering: Input of layer ``first``, shape (rows, tokens, d); None runs the layers below it, too.
        first: The first layer that is looked at.
        last: The last layer that runs.
    """
    layers = range(first, last + 1)
    modules: dict[int, nn.Module] = {layer: lm.mlp_output(layer) for layer in layers}
    with ExitStack() as stack:
        inputs = stack.enter_context(captured_inputs({layer: lm.layer_modules[layer] for layer in layers}))
        keys = stack.enter_context(captured_inputs(modules))
        values = stack.enter_context(captured_outputs(modules))
        output = stack.enter_context(captured_outputs({last: lm.layer_modules[last]}))
        if entering is not None and first:
            stack.enter_context(skipped_layers(lm.layer_modules, first, entering))
        stack.enter_context(ended_after(lm.layer_modules[last]))
        lm.model(
            input_ids=tokens.ids,
            attention_mask=tokens.mask.long(),
            position_ids=tokens.positions(),
            use_cache=False,
            logits_to_keep=1,
        )
    return LayerRun(inputs, keys, values, output[last])
