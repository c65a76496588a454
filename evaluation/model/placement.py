"""Where a module's weights are, when accelerate keeps them on the CPU or the disk until the module runs."""

from typing import Any

import torch
from torch import Tensor, nn

from clmeeval_data.errors import ModelError


def computing_device(module: nn.Module) -> torch.device:
    """Where a module with a weight computes: the weight's device, or the one that an offloaded weight is brought to."""
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and not weight.is_meta:
        return weight.device
    devices = [hook.execution_device for hook in _placing_hooks(module) if hook.execution_device is not None]
    return torch.device(devices[0]) if devices else torch.device("cpu")


def stored_tensor(model: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its dotted name, read from where it is kept if it is offloaded.

    Raises:
        ModelError: If its values are nowhere.
    """
    parent, _, own = name.rpartition(".")
    module = model.get_submodule(parent)
    tensor = getattr(module, own)
    if isinstance(tensor, Tensor) and not tensor.is_meta:
        return tensor
    for hook in _placing_hooks(module):
        if hook.weights_map is not None:
            return torch.as_tensor(hook.weights_map[own])
    raise ModelError(f"the tensor {name} has no values: the model is not fully loaded.")


def _placing_hooks(module: nn.Module) -> list[Any]:
    """The hooks by which accelerate moves a module's weights, known by their attributes: it need not be installed."""
    hook = getattr(module, "_hf_hook", None)
    return [one for one in getattr(hook, "hooks", [hook]) if hasattr(one, "execution_device")]
