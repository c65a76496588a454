"""The module names of an architecture, read from the model itself rather than from a list of known names."""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from clmeeval_data.errors import ModelError

MLP_INPUT_MAPS = 2  # at most: the gate and the input map


@dataclass(frozen=True)
class ModelMap:
    """Where a decoder keeps what editing methods change.

    ``layers``: dotted name of the list of decoder layers. ``mlp_output``: name, inside a layer, of the linear map that
    writes the MLP's output (``mlp.down_proj`` in Llama). ``depth`` layers, hidden size ``d``, MLP width ``f``.
    """

    layers: str
    mlp_output: str
    depth: int
    d: int
    f: int

    def mlp_output_name(self, layer: int) -> str:
        """Dotted name of a layer's MLP output map.

        Raises:
            ModelError: If the model has no such layer.
        """
        return f"{self.layer_name(layer)}.{self.mlp_output}"

    def layer_name(self, layer: int) -> str:
        """Dotted name of a decoder layer.

        Raises:
            ModelError: If the model has no such layer.
        """
        if not 0 <= layer < self.depth:
            raise ModelError(f"layer {layer} does not exist: the model has layers 0 to {self.depth - 1}.")
        return f"{self.layers}.{layer}"


def read_structure(model: PreTrainedModel) -> ModelMap:
    """Find the decoder layers and the MLP output map of a causal LM by structure.

    The decoder layers are the module list that is as long as the model is deep. The MLP output map is the last linear
    module of a layer that maps the width of its one or two siblings (a gate may stand beside the input map, or be fused
    with it) back to the hidden size; attention has three siblings, or a fused one three times as wide.

    Raises:
        ModelError: If one of the two is not there; the message says which.
    """
    config = model.config.get_text_config()
    depth, d = int(config.num_hidden_layers), int(config.hidden_size)
    layers = [
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if not layers:
        raise ModelError(
            f"{type(model).__name__} has no list of {depth} decoder layers: editing needs a stacked decoder."
        )
    first = model.get_submodule(f"{layers[0]}.0")
    linear = {name: shape for name, module in first.named_modules() if (shape := linear_shape(module))}
    for name, (outputs, f) in reversed(linear.items()):
        siblings = [shape for other, shape in linear.items() if other != name and _parent(other) == _parent(name)]
        if outputs == d and 0 < len(siblings) <= MLP_INPUT_MAPS and all(s in {(f, d), (2 * f, d)} for s in siblings):
            return ModelMap(layers[0], name, depth, d, f)
    raise ModelError(
        f"{type(model).__name__} has no dense MLP output map of {d} rows in its layers: "
        "models with mixtures of experts or fused MLPs are not supported."
    )


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(outputs, inputs) of a linear module, whatever way round it keeps its weight; None for other modules."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if isinstance(module, Conv1D):
        return module.weight.shape[1], module.weight.shape[0]
    return None


def oriented_weight(module: nn.Module) -> Tensor:
    """The weight of a linear module as a (outputs, inputs) view: what is written into it is written into the module.

    Raises:
        ModelError: If the module is not linear.
    """
    weight = getattr(module, "weight", None)
    if linear_shape(module) is None or not isinstance(weight, Tensor):
        raise ModelError(f"{type(module).__name__} is not a linear module: its weight cannot be edited.")
    return weight.T if isinstance(module, Conv1D) else weight
