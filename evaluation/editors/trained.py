"""What a method that needs training is trained with, and the file that it is left in.

``Trainer`` is the method's side: parameters, a loss, a schedule. ``clmeeval_data.evaluation.training`` is the other:
it samples, steps, checkpoints, selects on validation cases, and writes a ``Trained`` file.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from safetensors import SafetensorError
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors.contract import Case, Editor, Track, untracked
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.tensor_file import read_tensors

FORMAT = "clmeeval-trained-1"  # the one key of the file's metadata: with two their order, and the digest, would vary


@dataclass(frozen=True)
class Schedule:
    """How a method is trained, by Adam.

    ``learning_rate``: of all parameters, unless ``Trainer.groups`` says otherwise. ``weight_decay``: L2, as Adam's.
    ``clip``: largest norm of the gradient, or None. ``batch_size``: cases. ``steps``: at most. ``validate_every``: so
    often the validation loss is taken. ``patience``: validations without a better loss after which training stops;
    None for never. ``unit``: what ``steps`` and ``validate_every`` count: updates, or passes over the training cases.
    """

    learning_rate: float
    batch_size: int
    steps: int
    validate_every: int
    weight_decay: float = 0.0
    clip: float | None = None
    patience: int | None = None
    unit: Literal["steps", "epochs"] = "steps"

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "steps", "validate_every", "clip", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"Schedule.{name} is {value!r}; expected a number above 0.")


class Trainer(Protocol):
    """A method's training, seen from the loop that runs it. Inherit from it for the members that have a default.

    ``parameters``: all that is learned; the loop puts it in training mode for ``loss`` and in evaluation mode for
    ``validation_loss``, and takes its ``state_dict`` (buffers included) for the trainer's whole state: that is what is
    saved, and what a checkpoint brings back. ``schedule``: how it is trained; looked at after ``begin``.

    Randomness, dropout say, comes from torch's own generator, which the loop seeds anew for every step.
    """

    parameters: nn.Module
    schedule: Schedule

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Adam's parameter groups; by default all parameters that take a gradient, with the schedule's settings."""
        return [{"params": [value for value in self.parameters.parameters() if value.requires_grad]}]

    def begin(self, cases: Sequence[Case], track: Track = untracked) -> None:
        """Told once, before anything else, all training and validation cases; by default nothing is done with them."""
        return

    def loss(self, cases: Sequence[Case]) -> float:
        """Mean loss of a batch of cases, at most ``schedule.batch_size``; ADDS its gradient to the parameters'."""
        ...

    def validation_loss(self, cases: Sequence[Case]) -> float:
        """Mean loss of a batch of validation cases, without gradients and without a change of the state.

        The loop takes the mean over all batches, every case counting the same.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """Numbers for the file's header, as JSON values, computed with the selected state; by default none."""
        return {}

    def validation_facts(self, cases: Sequence[Case]) -> dict[str, Any]:
        """The same, of all validation cases together."""
        return {}


@dataclass(frozen=True, eq=False)
class Trained:
    """What training left: the tensors, and where they come from.

    ``method``, ``config``: of the editor. ``fingerprint``, ``model``: of its model. ``facts``: JSON values about the
    training (dataset, steps, losses). ``tensors``: on the CPU. ``digest``: SHA-256 of the file, 64 hexadecimal digits.
    """

    method: str
    config: Mapping[str, Any]
    fingerprint: str
    model: str
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    digest: str = field(default="")

    def __post_init__(self) -> None:
        if not self.digest:
            own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self.tensors.items()}
            object.__setattr__(self, "tensors", own)
            object.__setattr__(self, "digest", hashlib.sha256(self._bytes()).hexdigest())

    def save(self, path: Path) -> None:
        """Write one safetensors file (aside first, then renamed into place).

        Raises:
            ConfigError: If the file cannot be written.
        """
        try:
            with written_aside(path) as aside:
                aside.write_bytes(self._bytes())
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}. Choose a folder you may write to.") from error

    @classmethod
    def load(cls, path: Path) -> "Trained":
        """Read a file that ``save`` wrote.

        Raises:
            ConfigError: If the file is missing, damaged, or something else.
        """
        expected = "Expected a file written by 'clmeeval-evaluate train'."
        try:
            metadata, tensors = read_tensors(path)
            described = metadata.get(FORMAT)
            if described is None:
                raise ConfigError(f"{path} is a safetensors file, but not a trained file of this version. {expected}")
            return cls(**json.loads(described), tensors=tensors, digest=hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError as error:
            raise ConfigError(f"cannot read the trained file {path}: {error.strerror}. {expected}") from error
        except (SafetensorError, ValueError, TypeError) as error:
            raise ConfigError(f"{path} is not a trained file, or is damaged: {error}. {expected}") from error

    def check(self, lm: LanguageModel, method: str, settings: Mapping[str, Any] | None = None) -> None:
        """Refuse to serve another model, another method, or other settings than the training's.

        Args:
            lm: The model that is to be edited.
            method: The method that wants the tensors.
            settings: Those of the editor's settings that must be what they were in training.

        Raises:
            ConfigError: If one of them differs.
        """
        if self.method != method:
            raise ConfigError(
                f"the trained file is for {self.method}, not for {method}. "
                f"Make one with 'clmeeval-evaluate train --method {method} ...' and give it with --trained FILE."
            )
        if self.fingerprint != lm.fingerprint:
            raise ConfigError(
                f"the trained file of {method} belongs to model {self.model} ({self.fingerprint}), not to {lm.name} "
                f"({lm.fingerprint}). Train on the model, weights and precision that are to be edited."
            )
        for name, value in (settings or {}).items():
            if self.config.get(name) != value:
                raise ConfigError(
                    f"the trained file of {method} was made with {name} = {self.config.get(name)!r}; the settings say "
                    f"{value!r}. Give the training's settings, or train again with these."
                )

    def _bytes(self) -> bytes:
        header = {
            "method": self.method,
            "config": dict(self.config),
            "fingerprint": self.fingerprint,
            "model": self.model,
            "facts": dict(self.facts),
        }
        return bytes_of(dict(self.tensors), metadata={FORMAT: json.dumps(header, sort_keys=True)})


class TrainableEditor(Editor, Protocol):
    """An editor that works with what training left: ``trained``, or None before it."""

    needs_training: ClassVar[bool]
    trained: Trained | None

    def trainer(self, lm: LanguageModel) -> Trainer:
        """The method's side of a training that starts anew: the same parameters every time, from the config's seed."""
        ...


def required(trained: Trained | None, method: str) -> Trained:
    """The trained file of a method that cannot do without.

    Raises:
        ConfigError: If there is none.
    """
    if trained is None:
        raise ConfigError(
            f"{method} needs a trained file: make one with 'clmeeval-evaluate train --method {method} ...' "
            "and give it with --trained FILE."
        )
    return trained
