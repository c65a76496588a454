"""The module names of an architecture, read from the model itself rather than from a list of known names."""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from clmeeval_data.errors import ModelError

MLP_INPUT_MAPS = 2  # at most: the gate and the input map
ATTENTION_INPUT_MAPS = (1, 3)  # one for queries, keys and values together, or one for each
MLP_NAME_PARTS = 2  # at most: a deeper map belongs to one expert of a mixture

Shapes = dict[str, tuple[int, int]]  # of linear modules, by name: (outputs, inputs)


@dataclass(frozen=True)
class ModelMap:
    """Where a decoder keeps what editing methods change.

    ``layers``: dotted name of the list of decoder layers. ``mlp_output``: name, inside a layer, of the linear map that
    writes the MLP's output (``mlp.down_proj`` in Llama). ``attention_output``: the same of the linear map that writes
    the attention's (``self_attn.o_proj``), None where there is none. ``depth`` layers, hidden size ``d``, MLP width
    ``f``. ``layer_outputs``: how many values a layer returns as a tuple; 0 where it returns the hidden states bare.
    """

    layers: str
    mlp_output: str
    attention_output: str | None
    depth: int
    d: int
    f: int
    layer_outputs: int = 0

    def mlp_output_name(self, layer: int) -> str:
        """Dotted name of a layer's MLP output map.

        Raises:
            ModelError: If the model has no such layer.
        """
        return f"{self.layer_name(layer)}.{self.mlp_output}"

    def attention_output_name(self, layer: int) -> str:
        """Dotted name of a layer's attention output map.

        Raises:
            ModelError: If the model has no such layer, or its attention no such map.
        """
        name = self.layer_name(layer)
        if self.attention_output is None:
            raise ModelError(
                f"no linear map that writes the attention's output was found in {self.layers}: "
                "a method that reads there (pmet) cannot run on this model. Choose one that edits MLPs alone."
            )
        return f"{name}.{self.attention_output}"

    def layer_name(self, layer: int) -> str:
        """Dotted name of a decoder layer.

        Raises:
            ModelError: If the model has no such layer.
        """
        if not 0 <= layer < self.depth:
            raise ModelError(f"layer {layer} does not exist: the model has layers 0 to {self.depth - 1}.")
        return f"{self.layers}.{layer}"


def read_structure(model: PreTrainedModel) -> ModelMap:
    """Find the decoder layers and the output maps of MLP and attention of a causal LM by structure.

    The decoder layers are the module list that is as long as the model is deep. The MLP output map is the last linear
    module of a layer that maps the width of its one or two siblings (a gate may stand beside the input map, or be fused
    with it) back to the hidden size; attention has three siblings, or a fused one three times as wide. It has the same
    name and shape in every layer.

    Raises:
        ModelError: If one of the two is not there; the message says which.
    """
    kind, config = type(model).__name__, model.config.get_text_config()
    depth, d = int(config.num_hidden_layers), int(config.hidden_size)
    lists = [name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    if not lists:
        raise ModelError(f"{kind} has no list of {depth} decoder layers: editing needs a stacked decoder.")
    layers = [linear_shapes(model.get_submodule(f"{lists[0]}.{layer}")) for layer in range(depth)]
    name = _mlp_output(layers[0], d)
    odd = next((layer for layer, shapes in enumerate(layers) if name is None or shapes.get(name) != layers[0][name]), 0)
    if name is None or odd:
        raise ModelError(
            f"{kind} has no dense MLP output map of {d} rows in layer {odd}, {lists[0]}.{odd}: "
            "models with mixtures of experts, other MLPs in some layers, or no MLPs are not supported."
        )
    attention = _attention_output(layers[0], _parent(name), d)
    if any(attention not in shapes for shapes in layers):
        attention = None
    return ModelMap(lists[0], name, attention, depth, d, layers[0][name][1])


def _mlp_output(shapes: Shapes, d: int) -> str | None:
    for name, (outputs, f) in reversed(shapes.items()):
        siblings = _siblings(shapes, name)
        if (
            outputs == d
            and name.count(".") < MLP_NAME_PARTS
            and 0 < len(siblings) <= MLP_INPUT_MAPS
            and all(shape in {(f, d), (2 * f, d)} for shape in siblings)
        ):
            return name
    return None


def _attention_output(shapes: Shapes, mlp: str, d: int) -> str | None:
    """The last map of d rows whose siblings make queries, keys and values of the hidden states, outside of the MLP."""
    for name, (outputs, _) in reversed(shapes.items()):
        widths = [inputs for _, inputs in _siblings(shapes, name)]
        if outputs == d and _parent(name) != mlp and len(widths) in ATTENTION_INPUT_MAPS and set(widths) == {d}:
            return name
    return None


def _siblings(shapes: Shapes, name: str) -> list[tuple[int, int]]:
    return [shape for other, shape in shapes.items() if other != name and _parent(other) == _parent(name)]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def linear_shapes(layer: nn.Module) -> Shapes:
    """(outputs, inputs) of every linear module in a layer, by name, in the order in which the layer declares them."""
    return {name: shape for name, module in layer.named_modules() if (shape := linear_shape(module))}


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
        ModelError: If the module is not linear, or its weight is offloaded (to the CPU or the disk, by accelerate).
    """
    weight = getattr(module, "weight", None)
    if linear_shape(module) is None or not isinstance(weight, Tensor):
        raise ModelError(f"{type(module).__name__} is not a linear module: its weight cannot be edited.")
    if weight.is_meta:
        raise ModelError(
            f"the weight of this {type(module).__name__} is offloaded: it cannot be read or written in place. "
            "Load the model with --device cpu, or on a GPU that holds all of it."
        )
    return weight.T if isinstance(module, Conv1D) else weight
