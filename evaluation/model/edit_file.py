"""The file of an edit: one safetensors file with the updates' tensors, and a JSON header that says what they are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.codebook import Codebook, Encoder
from clmeeval_data.evaluation.model.preamble import Preamble
from clmeeval_data.evaluation.model.tensor_file import read_tensors, write_tensors
from clmeeval_data.evaluation.model.updates import Dense, LowRank, Update

FORMAT = "clmeeval-edit-1"
KINDS: dict[str, type[LowRank] | type[Dense] | type[Codebook] | type[Preamble]] = {
    "low_rank": LowRank,
    "dense": Dense,
    "codebook": Codebook,
    "preamble": Preamble,
}
_TENSORS = {
    LowRank: ("left", "right"),
    Dense: ("change",),
    Codebook: ("keys", "values", "radii"),
    Preamble: ("ids",),
}
_ENCODER = ("first", "first_bias", "second", "second_bias")


def tensors_of(updates: Sequence[Update]) -> dict[str, Tensor]:
    """The tensors of updates by their names in a file; an encoder that several codebooks share is there once."""
    tensors = {f"{index}.{name}": t for index, update in enumerate(updates) for name, t in _own(update).items()}
    for index, encoder in enumerate(_encoders(updates)):
        tensors |= {f"encoder{index}.{name}": getattr(encoder, name) for name in _ENCODER}
    return tensors


def write_edit(path: Path, updates: Sequence[Update], header: Mapping[str, Any]) -> None:
    """Write updates, and what the header says of them (JSON values): aside first, then renamed into place."""
    places = [encoder.place for encoder in _encoders(updates)]
    described = [_described(update, places) for update in updates]
    text = json.dumps({"updates": described, **header})
    write_tensors(path, tensors_of(updates), {"format": FORMAT, "edit": text})


def read_edit(path: Path) -> tuple[tuple[Update, ...], dict[str, Any]]:
    """The updates in a file, on the CPU, and its header.

    Raises:
        EditError: If the file is missing or is not an edit.
    """
    try:
        metadata, tensors = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise EditError(f"{path} is not an edit of this version. Expected a file written by Edit.save.")
        header = json.loads(metadata["edit"])
        return _updates(header["updates"], tensors), header
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise EditError(f"cannot read the edit {path}: {error}. Expected a file written by Edit.save.") from error


def _own(update: Update) -> dict[str, Tensor]:
    return {name: getattr(update, name) for name in _TENSORS[type(update)]}


def _encoders(updates: Sequence[Update]) -> list[Encoder]:
    """The different encoders of the codebooks, in the order of their first use."""
    found = (update.encoder for update in updates if isinstance(update, Codebook) and update.encoder is not None)
    return list({encoder.place: encoder for encoder in found}.values())


def _described(update: Update, encoders: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    kind = next(name for name, cls in KINDS.items() if isinstance(update, cls))
    described: dict[str, Any] = {"kind": kind, "module": update.module}
    if isinstance(update, Codebook):
        described["labels"] = update.labels
        described["encoder"] = None if update.encoder is None else encoders.index(update.encoder.place)
    if isinstance(update, Preamble):
        described["text"] = update.text
    return described


def _updates(described: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> tuple[Update, ...]:
    used = sorted({one["encoder"] for one in described if one.get("encoder") is not None})
    encoders = {index: Encoder(*(tensors[f"encoder{index}.{name}"] for name in _ENCODER)) for index in used}
    return tuple(_update(index, one, tensors, encoders) for index, one in enumerate(described))


def _update(
    index: int, described: Mapping[str, Any], tensors: Mapping[str, Tensor], encoders: Mapping[int, Encoder]
) -> Update:
    kind = KINDS[described["kind"]]
    fields: dict[str, Any] = {name: tensors[f"{index}.{name}"] for name in _TENSORS[kind]}
    if kind is Preamble:
        return Preamble(fields["ids"], described["text"])
    if kind is Codebook:
        labels, encoder = tuple(tuple(label) for label in described["labels"]), described.get("encoder")
        fields |= {"labels": labels, "encoder": None if encoder is None else encoders[encoder]}
    made: Update = kind(**{"module": described["module"], **fields})
    return made
