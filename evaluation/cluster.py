"""Where runs are computed: here, all methods on all datasets one after another, with one model loaded once."""

import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Editor
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.hparams import Settings, settings_for
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.published_answers import take_over
from clmeeval_data.evaluation.results import RunFolder
from clmeeval_data.evaluation.runner import TestSet, run_methods
from clmeeval_data.hub import open_split

T = TypeVar("T")
Compat = Literal["right", "reference"]


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    ``settings``: of the plan's one method, instead of the shipped ones; ``overrides``: on top. ``trained``: files of
    methods that need training. ``compat``: "reference" repeats the released code's defects where a method has switches
    for them.
    """

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
    trained: tuple[Path, ...] = ()
    compat: Compat = "right"

    def __post_init__(self) -> None:
        switches = [name for name in self.methods if EDITORS[name].config_class.reference]
        if len(set(self.methods)) < len(self.methods):
            raise ConfigError(f"a method is named twice in {', '.join(self.methods)}.")
        if len(self.methods) > 1 and (self.settings or self.overrides):
            raise ConfigError(f"settings are for one method, not for {', '.join(self.methods)}. Give one --method.")
        if self.compat not in typing.get_args(Compat):
            raise ConfigError(f"--compat is {self.compat!r}; expected one of {', '.join(typing.get_args(Compat))}.")
        if self.compat == "reference" and not switches:
            known = [name for name, cls in EDITORS.items() if cls.config_class.reference]
            raise ConfigError(
                f"--compat reference changes nothing of {', '.join(self.methods)}. Methods with released behaviour to "
                f"repeat: {', '.join(known)}."
            )
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise ConfigError(f"--batch-size is {self.batch_size}, --limit {self.limit}; expected 1 or more.")


class Observer(Protocol):
    """Is told how a plan advances."""

    def begin(self, dataset: str, method: str, cases: int) -> None:
        """A method is about to run on a dataset."""

    def advance(self, method: str, cases: int) -> None:
        """A method has finished cases of the dataset it was last begun on, now or in an earlier run."""

    def track(self, steps: Iterable[T], description: str, total: int) -> Iterable[T]:
        """Something that takes long and is not a case: yields its steps."""


def execute(plan: Plan, observer: Observer) -> list[RunFolder]:
    """Run a plan; what is complete is not run again.

    Raises:
        ClmeevalError: If a dataset, the model, a method or the results folder cannot be used.
    """
    tests = [read_tests(dataset, plan.split, plan.limit) for dataset in plan.datasets]
    lm = load_language_model(plan.model, plan.device, plan.dtype)
    trained = _trained(plan, lm)
    folders = []
    for location, dataset in zip(plan.datasets, tests, strict=True):
        editors = []
        for method in plan.methods:
            overrides = [*_compat(plan, method), *plan.overrides]
            editors.append(make_editor(method, lm, plan.settings, overrides, trained.get(method)))
            observer.begin(dataset.benchmark.name, method, len(dataset.cases))
        taken = take_over(plan.out, location, dataset.benchmark.name, plan.split, dataset.cases, lm)
        folders += run_methods(
            lm,
            dataset,
            editors,
            plan.out,
            seed=plan.seed,
            batch_size=plan.batch_size,
            progress=observer.advance,
            track=observer.track,
            environment={"unedited_answers": taken},
        )
    return folders


def _trained(plan: Plan, lm: LanguageModel) -> dict[str, Trained]:
    """The trained files by method."""
    found: dict[str, Trained] = {}
    for path in plan.trained:
        trained = Trained.load(path)
        if trained.method not in plan.methods:
            raise ConfigError(f"{path} is a trained {trained.method}, which is not run. Add --method {trained.method}.")
        if trained.method in found:
            raise ConfigError(f"two trained files of {trained.method} were given. Give one.")
        trained.check(lm, trained.method)
        found[trained.method] = trained
    return found


def _compat(plan: Plan, method: str) -> list[tuple[str, Any]]:
    return list(EDITORS[method].config_class.reference.items()) if plan.compat == "reference" else []


def read_tests(location: str, split: str, limit: int | None) -> TestSet:
    """The cases of a split, the first ``limit`` of them, with the training requests.

    Raises:
        DatasetError: If the dataset or the split cannot be read.
    """
    opened = open_split(location, split)
    train = opened.records if split == "train" else open_split(location, "train").records
    return TestSet.of(opened.benchmark, split, opened.records[:limit], train)


def make_editor(
    method: str,
    lm: LanguageModel,
    settings: Settings | None = None,
    overrides: Sequence[tuple[str, Any]] = (),
    trained: Trained | None = None,
) -> Editor:
    """A method with its settings for a model.

    Args:
        method: Name of a registered method.
        lm: The model.
        settings: Instead of the shipped ones.
        overrides: Single settings, on top.
        trained: What a method that needs training was trained to; its settings come with it.

    Raises:
        UnknownNameError: If no method has that name.
        ConfigError: If a setting cannot be used.
    """
    cls = EDITORS[method]
    if trained is None:
        values = (settings or settings_for(method, lm.name, lm.map.depth)).values
        editor: Editor = cls(cls.config_class.from_dict({**values, **dict(overrides)}))
    else:
        editor = cls(cls.config_class.from_dict({**trained.config, **dict(overrides)}), trained)
    return editor
