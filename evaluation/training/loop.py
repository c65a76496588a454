"""The steps of a training: sample, step, validate, checkpoint; a stopped one goes on to the very same end."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from clmeeval_data.errors import EditError, ResultsError
from clmeeval_data.evaluation.editors.contract import Case, Track
from clmeeval_data.evaluation.editors.lookup import check_finite
from clmeeval_data.evaluation.editors.trained import Trainer
from clmeeval_data.evaluation.model.tensor_file import read_tensors, write_tensors
from clmeeval_data.evaluation.training.curve import Curve

CURRENT, BEST, ADAM = "current.", "best.", "adam."  # beginnings of the names in a checkpoint

logger = logging.getLogger(__name__)


@dataclass
class Loop:
    """The steps of one training. Afterwards the trainer has the state with the best validation loss."""

    name: str
    trainer: Trainer
    cases: Sequence[Case]
    validation: Sequence[Case]
    seed: int
    path: Path
    checkpoint_every: int
    curve: Curve = field(default_factory=Curve)
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        schedule = self.trainer.schedule
        self.batches = math.ceil(len(self.cases) / schedule.batch_size)  # of one pass
        unit = self.batches if schedule.unit == "epochs" else 1
        self.steps, self.validate_every = schedule.steps * unit, schedule.validate_every * unit
        self.adam = torch.optim.Adam(self.trainer.groups, schedule.learning_rate, weight_decay=schedule.weight_decay)

    def run(self, track: Track) -> None:
        """All steps that are missing, until the last or until patience ends."""
        if self.path.exists():
            self._resume()
        else:
            self._validate()
        patience = self.trainer.schedule.patience or math.inf
        missing = range(len(self.curve.losses) + 1, self.steps + 1)
        for step in track(missing, f"training {self.name}", len(missing)):
            if self.curve.waited >= patience:
                break
            started = time.perf_counter()
            self._step(step)
            if step % self.validate_every == 0 or step == self.steps:
                self._validate()
            self.curve.seconds += time.perf_counter() - started
            if step % self.checkpoint_every == 0:
                self._save()
        self.trainer.parameters.load_state_dict(self.best)
        self.trainer.parameters.eval()

    def _step(self, step: int) -> None:
        trainer, clip = self.trainer, self.trainer.schedule.clip
        self.adam.zero_grad(set_to_none=True)
        trainer.parameters.train()
        with _seeded(f"step|{self.seed}|{step}"):
            loss = trainer.loss(self._batch(step))
        check_finite(loss, f"{self.name} at training step {step}")
        learned = [value for group in self.adam.param_groups for value in group["params"]]
        norm = float(clip_grad_norm_(learned, math.inf if clip is None else clip))
        if not math.isfinite(norm):
            advice = "Lower the learning rate, or use float32."
            raise EditError(f"the gradient of {self.name} became {norm} at training step {step}. {advice}")
        self.adam.step()
        self.curve.losses.append(loss)

    def _batch(self, step: int) -> list[Case]:
        """The cases of a step, counted from 1. Every pass is a permutation that seed and pass alone determine."""
        done, place = divmod(step - 1, self.batches)
        order = torch.randperm(len(self.cases), generator=_generator(f"order|{self.seed}|{done}")).tolist()
        size = self.trainer.schedule.batch_size
        return [self.cases[index] for index in order[place * size : (place + 1) * size]]

    def _validate(self) -> None:
        trainer, cases, taken = self.trainer, self.validation, len(self.curve.losses)
        size = trainer.schedule.batch_size
        trainer.parameters.eval()
        parts = [cases[start : start + size] for start in range(0, len(cases), size)]
        with _seeded(f"validation|{self.seed}"):
            loss = math.fsum(trainer.validation_loss(part) * len(part) for part in parts) / len(cases)
        check_finite(loss, f"{self.name} on the validation cases after {taken} steps")
        self.curve.validations.append((taken, loss))
        logger.info("%s: validation loss %.4f after %d steps", self.name, loss, taken)
        if self.curve.best[0] == taken:
            self.best = _copied(trainer.parameters.state_dict())

    def _save(self) -> None:
        tensors = {CURRENT + name: value for name, value in _copied(self.trainer.parameters.state_dict()).items()}
        tensors |= {BEST + name: value for name, value in self.best.items()}
        for index, moments in self.adam.state_dict()["state"].items():
            tensors |= {f"{ADAM}{index}.{name}": value for name, value in _copied(moments).items()}
        try:
            write_tensors(self.path, tensors, {"curve": json.dumps(self.curve.as_dict())})
        except (OSError, SafetensorError) as error:
            raise ResultsError(f"cannot write {self.path}: {error}. Choose a folder you may write to.") from error

    def _resume(self) -> None:
        try:
            header, tensors = read_tensors(self.path)
            self.curve = Curve.from_dict(json.loads(header["curve"]))
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise ResultsError(f"cannot read {self.path}: {error}. Remove it to train from the beginning.") from error
        self.best = _below(tensors, BEST)
        self.trainer.parameters.load_state_dict(_below(tensors, CURRENT))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, ADAM).items():
            index, kind = name.split(".")
            moments.setdefault(int(index), {})[kind] = value
        self.adam.load_state_dict({"state": moments, "param_groups": self.adam.state_dict()["param_groups"]})
        logger.info("%s: goes on after step %d", self.name, len(self.curve.losses))


@contextmanager
def _seeded(text: str) -> Iterator[None]:
    """Inside the block torch's own generators are seeded by the text; afterwards they are what they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(_generator(text).initial_seed())
        yield


def _generator(text: str) -> torch.Generator:
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now, on the CPU."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def _below(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
