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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.errors import CaseError, ConfigError, DatasetError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Case, Track, untracked
from clmeeval_data.evaluation.editors.trained import TrainableEditor, Trained
from clmeeval_data.evaluation.hparams import Settings, settings_for
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.results import slug
from clmeeval_data.evaluation.scoring.dimensions import case_of, cases_hash
from clmeeval_data.evaluation.training.curve import Curve, draw_curve
from clmeeval_data.evaluation.training.loop import Loop
from clmeeval_data.hub import commit_of, open_split

TRAINED, CHECKPOINT, CURVE, PICTURE = "trained.safetensors", "checkpoint.safetensors", "curve.json", "curve.svg"
CHECKPOINT_EVERY = 100  # steps

logger = logging.getLogger(__name__)


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
    revision: str | None = None,
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
        revision: A tag, branch or commit of the dataset on the Hub.
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
    commit = commit_of(dataset, revision)
    cases = read_cases(dataset, limit, validation_limit, commit or revision)
    lm = load_language_model(model, device, dtype)
    values = (settings or settings_for(method, lm.name, lm.map.depth)).values | dict(overrides)
    editor = cls(cls.config_class.from_dict(values))
    facts: dict[str, Any] = {"name": cases.name, "location": dataset}
    if revision is not None:
        facts |= {"revision": revision, "commit": commit}
    return train_editor(lm, editor, cases.train, cases.validation, out, facts, seed=seed, track=track)


def read_cases(
    location: str, limit: int | None = None, validation_limit: int | None = None, revision: str | None = None
) -> TrainingCases:
    """The first cases of the train split and of the validation split. The test split is not opened.

    Args:
        location: A dataset folder, or an id on the Hub.
        limit: How many cases of the train split at most.
        validation_limit: The same of the validation split.
        revision: A branch, tag or commit on the Hub.

    Raises:
        DatasetError: If the dataset, the revision or one of the splits cannot be read.
        ConfigError: If a limit is below 1.
    """
    for name, number in (("limit", limit), ("validation_limit", validation_limit)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} is {number}; expected 1 or more.")
    opened = [open_split(location, split, revision) for split in ("train", "validation")]
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
        curve = Curve.read(folder / CURVE)
        return TrainingResult(folder / TRAINED, curve, *curve.best)
    kept, held = _readable(lm, cases, "training"), _readable(lm, validation, "validation")
    trainer = editor.trainer(lm)
    trainer.begin([*kept, *held], track)
    loop = Loop(editor.name, trainer, kept, held, seed, folder / CHECKPOINT, checkpoint_every)
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
    curve.write(folder / CURVE)
    draw_curve(curve, f"{editor.name}, {lm.name}, {dataset_facts['name']}", folder / PICTURE)
    state = trainer.parameters.state_dict()
    Trained(editor.name, editor.config.as_dict(), lm.fingerprint, lm.name, facts, state).save(folder / TRAINED)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return TrainingResult(folder / TRAINED, curve, *curve.best)


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
