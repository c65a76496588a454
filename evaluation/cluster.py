"""Where runs are computed: here, all methods on all datasets one after another, with one model loaded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Editor
from clmeeval_data.evaluation.hparams import Settings, settings_for
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.results import RunFolder
from clmeeval_data.evaluation.runner import TestSet, run_method
from clmeeval_data.hub import open_split


@dataclass(frozen=True)
class Plan:
    """What to evaluate. ``settings``: of the plan's one method, instead of the shipped ones; ``overrides``: on top."""

    model: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    out: Path
    split: str = "test"
    limit: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 16
    seed: int = 0
    settings: Settings | None = None
    overrides: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for name in self.methods:
            EDITORS[name]
        if len(self.methods) > 1 and (self.settings or self.overrides):
            raise ConfigError(f"settings are for one method, not for {', '.join(self.methods)}. Give one --method.")
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise ConfigError(f"--batch-size is {self.batch_size}, --limit {self.limit}; expected 1 or more.")


class Observer(Protocol):
    """Is told how a plan advances."""

    def begin(self, dataset: str, method: str, cases: int) -> None:
        """A method starts on a dataset."""

    def advance(self, cases: int) -> None:
        """Cases were finished, now or in an earlier run."""


def execute(plan: Plan, observer: Observer) -> list[RunFolder]:
    """Run a plan; what is complete is not run again.

    Raises:
        ClmeevalError: If a dataset, the model, a method or the results folder cannot be used.
    """
    tests = [read_tests(dataset, plan.split, plan.limit) for dataset in plan.datasets]
    lm = load_language_model(plan.model, plan.device, plan.dtype)
    folders = []
    for dataset in tests:
        for method in plan.methods:
            editor = make_editor(method, lm, plan.settings, plan.overrides)
            observer.begin(dataset.benchmark.name, method, len(dataset.cases))
            folders.append(
                run_method(
                    lm,
                    dataset,
                    editor,
                    plan.out,
                    seed=plan.seed,
                    batch_size=plan.batch_size,
                    progress=observer.advance,
                )
            )
    return folders


def read_tests(location: str, split: str, limit: int | None) -> TestSet:
    """The cases of a split, the first ``limit`` of them, with the training requests.

    Raises:
        DatasetError: If the dataset or the split cannot be read.
    """
    opened = open_split(location, split)
    train = opened.records if split == "train" else open_split(location, "train").records
    return TestSet.of(opened.benchmark, split, opened.records[:limit], train)


def make_editor(
    method: str, lm: LanguageModel, settings: Settings | None = None, overrides: Sequence[tuple[str, Any]] = ()
) -> Editor:
    """A method with its settings for a model.

    Raises:
        UnknownNameError: If no method has that name.
        ConfigError: If a setting cannot be used.
    """
    cls = EDITORS[method]
    values = (settings or settings_for(method, lm.name, lm.map.depth)).values | dict(overrides)
    editor: Editor = cls(cls.config_class.from_dict(values))
    return editor
