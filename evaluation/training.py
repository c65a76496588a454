"""Training what some editors need, once for a model and a dataset: resumable, and selected on validation cases.

    <out>/<dataset>/<model>/<method>--<hash>/checkpoint.safetensors  while it runs
                                             curve.json, curve.svg   losses by step
                                             trained.safetensors     written last: its existence means complete

The test split is never read. A training that was stopped goes on from its checkpoint and, on a device that computes
reproducibly (the CPU does), ends with the very tensors that it would have ended with.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import CaseError, ConfigError, DatasetError, EditError, ResultsError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Case, Track, untracked
from clmeeval_data.evaluation.editors.lookup import check_finite
from clmeeval_data.evaluation.editors.trained import TrainableEditor, Trained, Trainer
from clmeeval_data.evaluation.hparams import Settings, settings_for
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.results import slug, write_json
from clmeeval_data.evaluation.scoring.dimensions import case_of, cases_hash
from clmeeval_data.hub import open_split

TRAINED, CHECKPOINT, CURVE, PICTURE = "trained.safetensors", "checkpoint.safetensors", "curve.json", "curve.svg"
CHECKPOINT_EVERY = 100  # steps
CURRENT, BEST, ADAM = "current.", "best.", "adam."  # beginnings of the names in a checkpoint

logger = logging.getLogger(__name__)


@dataclass
class Curve:
    """How a training went.

    ``losses``: of every step's batch, before its update. ``validations``: (steps taken, validation loss), the first
    before any step. ``seconds``: wall time of the steps and validations, over all sittings.
    """

    losses: list[float] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def best(self) -> tuple[int, float]:
        """Steps and loss of the lowest validation loss, the earliest of equals."""
        return min(self.validations, key=lambda taken: taken[1])

    @property
    def waited(self) -> int:
        """How many validations there were since the best."""
        return sum(step > self.best[0] for step, _ in self.validations)


class TrainingResult(NamedTuple):
    """A finished training: its file, how it went, and the steps and validation loss at which it was best."""

    path: Path
    curve: Curve
    best_step: int
    best_loss: float


class TrainingCases(NamedTuple):
    """What a dataset offers for training: the name of its benchmark, and two of its splits."""

    name: str
    train: list[Case]
    validation: list[Case]


def train(
    *,
    model: str,
    dataset: str,
    method: str,
    out: Path,
    limit: int | None = None,
    validation_limit: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    settings: Settings | None = None,
    overrides: Sequence[tuple[str, Any]] = (),
    track: Track = untracked,
) -> TrainingResult:
    """Train a method for a model on a dataset; the same call again goes on, or returns what is complete.

    Args:
        model: ``smollm2``, a folder, or a Hub id.
        dataset: A folder or a Hub id.
        method: Name of a method that needs training.
        out: The folder under which trained files are kept.
        limit: Use only the first cases of the train split.
        validation_limit: The same of the validation split.
        device: A torch device, or "auto".
        dtype: Precision of the model.
        seed: Of the order of the cases and of dropout.
        settings: Instead of those shipped for the model.
        overrides: Settings on top.
        track: Shows the advance.

    Raises:
        ClmeevalError: If the dataset, the model, the method or the folder cannot be used, or the loss diverges.
    """
    cls = EDITORS[method]
    if not getattr(cls, "needs_training", False):
        raise ConfigError(f"{method} needs no training: give it to 'clmeeval-evaluate run' as it is.")
    cases = read_cases(dataset, limit, validation_limit)
    lm = load_language_model(model, device, dtype)
    values = (settings or settings_for(method, lm.name, lm.map.depth)).values | dict(overrides)
    editor = cls(cls.config_class.from_dict(values))
    facts = {"name": cases.name, "location": dataset}
    return train_editor(lm, editor, cases.train, cases.validation, out, facts, seed=seed, track=track)


def read_cases(location: str, limit: int | None = None, validation_limit: int | None = None) -> TrainingCases:
    """The first cases of the train split and of the validation split. The test split is not opened.

    Raises:
        DatasetError: If the dataset or one of the splits cannot be read.
        ConfigError: If a limit is below 1.
    """
    for name, number in (("limit", limit), ("validation_limit", validation_limit)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} is {number}; expected 1 or more.")
    opened = [open_split(location, split) for split in ("train", "validation")]
    parts = [
        [case_of(split.benchmark, record) for record in split.records[:number]]
        for split, number in zip(opened, (limit, validation_limit), strict=True)
    ]
    return TrainingCases(opened[0].benchmark.name, *parts)


def train_editor(
    lm: LanguageModel,
    editor: TrainableEditor,
    cases: Sequence[Case],
    validation: Sequence[Case],
    out: Path,
    dataset_facts: Mapping[str, Any],
    *,
    seed: int = 0,
    track: Track = untracked,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> TrainingResult:
    """Train an editor; a training that was stopped goes on, a complete one is returned as it is.

    Cases that the model cannot read are left out. The order in which they are given changes nothing.

    Args:
        lm: The model.
        editor: The method with its settings; its ``trained`` is not looked at.
        cases: To learn from.
        validation: To choose the state that is kept.
        out: The folder under which trained files are kept.
        dataset_facts: JSON values for the file; ``name`` is the dataset's.
        seed: Of the order of the cases and of dropout.
        track: Shows the advance.
        checkpoint_every: Steps between two checkpoints.

    Raises:
        DatasetError: If no training or no validation case can be used.
        EditError: If a loss or a gradient is not a finite number.
        ResultsError: If the folder cannot be written, or its checkpoint cannot be read.
    """
    identity = {
        "fingerprint": lm.fingerprint,
        "method": editor.name,
        "config": editor.config.as_dict(),
        "train": cases_hash(cases),
        "validation": cases_hash(validation),
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    folder = out / slug(dataset_facts["name"]) / slug(lm.name) / f"{editor.name}--{digest}"
    if (folder / TRAINED).exists():
        curve = _read_curve(folder / CURVE)
        return TrainingResult(folder / TRAINED, curve, *curve.best)
    kept, held = _readable(lm, cases, "training"), _readable(lm, validation, "validation")
    trainer = editor.trainer(lm)
    trainer.begin([*kept, *held], track)
    loop = _Loop(editor.name, trainer, kept, held, seed, folder / CHECKPOINT, checkpoint_every)
    loop.run(track)
    curve = loop.curve
    facts = {
        "dataset": dict(dataset_facts),
        "seed": seed,
        "cases": {"train": identity["train"], "validation": identity["validation"]},
        "counts": {"train": len(kept), "validation": len(held)},
        "left_out": {"train": len(cases) - len(kept), "validation": len(validation) - len(held)},
        "steps": len(curve.losses),
        "best_step": curve.best[0],
        "validation_loss": {"first": curve.validations[0][1], "best": curve.best[1]},
        **trainer.facts(),
        **trainer.validation_facts(held),
    }
    write_json(folder / CURVE, asdict(curve))
    draw_curve(curve, f"{editor.name}, {lm.name}, {dataset_facts['name']}", folder / PICTURE)
    state = trainer.parameters.state_dict()
    Trained(editor.name, editor.config.as_dict(), lm.fingerprint, lm.name, facts, state).save(folder / TRAINED)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return TrainingResult(folder / TRAINED, curve, *curve.best)


@dataclass
class _Loop:
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
        with _saved(self.path) as aside:
            save_file(tensors, aside, metadata={"curve": json.dumps(asdict(self.curve))})

    def _resume(self) -> None:
        try:
            with safe_open(str(self.path), framework="pt") as file:
                self.curve = _curve_of(json.loads((file.metadata() or {})["curve"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
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


def draw_curve(curve: Curve, title: str, path: Path) -> None:
    """The losses by step as an SVG picture: the batches', the validation cases', and the state that was kept."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "clmeeval", "svg.fonttype": "none"}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot(title=title, xlabel="steps", ylabel="loss")
        axes.plot(range(1, len(curve.losses) + 1), curve.losses, linewidth=0.8, alpha=0.6, label="training batch")
        steps, losses = zip(*curve.validations, strict=True)
        axes.plot(steps, losses, marker=".", label="validation")
        axes.plot(*curve.best, marker="o", linestyle="", label=f"kept: {curve.best[1]:.4g} after {curve.best[0]}")
        axes.legend()
        with _saved(path) as aside:
            figure.savefig(aside, format="svg", metadata={"Date": None})


@contextmanager
def _saved(path: Path) -> Iterator[Path]:
    try:
        with written_aside(path) as aside:
            yield aside
    except (OSError, SafetensorError) as error:
        raise ResultsError(f"cannot write {path}: {error}. Choose a folder you may write to.") from error


def _readable(lm: LanguageModel, cases: Sequence[Case], purpose: str) -> list[Case]:
    """The cases that the model can read, in the order of their ids."""
    kept = []
    for case in sorted(cases, key=lambda case: case.case_id):
        try:
            for prompt in case.neighbour_prompts:
                lm.encode(prompt)
            for prompt in (case.prompt, case.rephrased_prompt):
                lm.encode_target(prompt, case.target)
        except CaseError as error:
            logger.info("%s case %s is left out: %s", purpose, case.case_id, error)
            continue
        kept.append(case)
    if not kept:
        raise DatasetError(f"none of the {len(cases)} {purpose} cases can be used with {lm.name}: check the split.")
    if len(kept) < len(cases):
        logger.warning("%d of %d %s cases are left out.", len(cases) - len(kept), len(cases), purpose)
    return kept


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


def _curve_of(values: Mapping[str, Any]) -> Curve:
    return Curve(list(values["losses"]), [(int(s), float(v)) for s, v in values["validations"]], values["seconds"])


def _read_curve(path: Path) -> Curve:
    try:
        return _curve_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"cannot read {path}: {error}. Remove its folder to train again.") from error
