"""Tensors with a few lines of text in one safetensors file: what edits, statistics and trained editors are kept in."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from clmeeval_data.atomic import written_aside


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a file: aside first, then renamed into place. ``header`` becomes the file's metadata.

    Raises:
        OSError: If it cannot be written.
        SafetensorError: If it cannot be written, as the library sees it.
    """
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_aside(path) as aside:
        save_file(own, aside, metadata=dict(header))


def read_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header and the tensors of a file.

    Raises:
        OSError: If it is missing or cannot be read.
        SafetensorError: If it is damaged, or something else.
    """
    with safe_open(str(path), framework="pt", device=str(device)) as file:
        names = file.keys()
        return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors in a file, which are not read.

    Raises:
        OSError: If it is missing or cannot be read.
        SafetensorError: If it is damaged, or something else.
    """
    with safe_open(str(path), framework="pt") as file:
        return set(file.keys())
