"""What to evaluate: models, datasets, methods and settings as plain values, and how they become loaded objects."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.batch_size import DEFAULT_SIZE
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Editor
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.hparams import Settings, settings_for
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.protocols import SINGLE, EvaluationProtocol
from clmeeval_data.evaluation.protocols.worker import check_protocol
from clmeeval_data.evaluation.recorder import Shard
from clmeeval_data.evaluation.runner import TestSet
from clmeeval_data.hub import commit_of, open_split

Compat = Literal["right", "reference"]
Executor = Literal["here", "ray"]


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    ``batch_size``: None for as many as fit into memory. ``settings``: of the plan's one method, instead of the shipped
    ones; ``overrides``: on top. ``trained``: files of methods that need training. ``compat``: "reference" repeats the
    released code's defects where a method has switches for them. ``protocol``: how many requests an edit holds.
    ``shard``: which part of the run to compute. ``command``: as it was given, for the record. ``executor``: "ray"
    computes on ``workers`` workers of the Ray cluster at ``address``, of one on this machine where there is none.
    ``revision``: a tag, branch or commit of the datasets on the Hub; ``commits``: what it stands for in each of them.
    """

    model: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]
    out: Path
    split: str = "test"
    limit: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int | None = DEFAULT_SIZE
    seed: int = 0
    settings: Settings | None = None
    overrides: tuple[tuple[str, Any], ...] = ()
    trained: tuple[Path, ...] = ()
    compat: Compat = "right"
    protocol: EvaluationProtocol = SINGLE
    shard: Shard | None = None
    command: tuple[str, ...] = ()
    executor: Executor = "here"
    address: str | None = None
    workers: int | None = None
    revision: str | None = None
    commits: tuple[str | None, ...] = ()

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
        if any(number is not None and number < 1 for number in (self.batch_size, self.limit)):
            raise ConfigError(f"--batch-size is {self.batch_size}, --limit {self.limit}; expected 1 or more.")
        for name in self.methods:
            check_protocol(EDITORS[name], self.protocol)
        self._check_executor()

    def _check_executor(self) -> None:
        if self.batch_size is None and (self.shard is not None or self.executor == "ray"):
            raise ConfigError(
                "--batch-size auto does not go with --shards or --executor ray: every process has to make the same "
                "batches. Give a number."
            )
        if self.executor not in typing.get_args(Executor):
            known = ", ".join(typing.get_args(Executor))
            raise ConfigError(f"--executor is {self.executor!r}; expected one of {known}.")
        for option in ("address", "workers"):
            value = getattr(self, option)
            if value is not None and self.executor != "ray":
                raise ConfigError(f"--{option} {value} is for Ray. Add --executor ray.")
        if self.executor == "ray" and (self.device == "auto" or self.device.startswith("cuda:")):
            raise ConfigError(
                f"--device {self.device} does not go with --executor ray, which gives each worker a GPU of its own. "
                "Give --device cuda, or cpu."
            )

    def pinned(self) -> "Plan":
        """The plan with the commits of its datasets, so that everything is read from one state of each of them.

        Raises:
            DatasetError: If a revision of a folder is asked for.
        """
        return replace(self, commits=tuple(commit_of(location, self.revision) for location in self.datasets))

    def revision_of(self, dataset: str) -> str | None:
        """What to load of a dataset, by its location: the commit, where it is known."""
        return self._commit(dataset) or self.revision

    def _commit(self, dataset: str) -> str | None:
        return dict(zip(self.datasets, self.commits, strict=False)).get(dataset)

    def environment(self, dataset: str, method: str) -> dict[str, Any]:
        """What run.json has to say so that one of the plan's runs can be run again, beside its identity.

        Args:
            dataset: Its location, as given.
            method: Name of the method.
        """
        return {
            "command": list(self.command),
            "model": self.model,
            "dataset": {
                "location": dataset,
                "split": self.split,
                "limit": self.limit,
                "revision": self.revision,
                "commit": self._commit(dataset),
            },
            "device_asked": self.device,
            "dtype": self.dtype,
            "seed": self.seed,
            "settings": "shipped" if self.settings is None else self.settings.origin,
            "trained": self._trained_file(method),
        }

    def _trained_file(self, method: str) -> dict[str, str] | None:
        for path in self.trained:
            trained = Trained.load(path)
            if trained.method == method:
                return {"path": str(path.resolve()), "sha256": trained.digest}
        return None


def read_tests(location: str, split: str, limit: int | None, revision: str | None = None) -> TestSet:
    """The cases of a split, the first ``limit`` of them, with the training requests.

    Args:
        location: A dataset folder, or an id on the Hub.
        split: "train", "validation" or "test".
        limit: How many cases at most.
        revision: A branch, tag or commit on the Hub.

    Raises:
        DatasetError: If the dataset, the revision or the split cannot be read.
    """
    opened = open_split(location, split, revision)
    train = opened.records if split == "train" else open_split(location, "train", revision).records
    return TestSet.of(opened.benchmark, split, opened.records[:limit], train)


def make_editors(plan: Plan, lm: LanguageModel) -> list[Editor]:
    """The plan's methods for a model.

    Raises:
        ConfigError: If a setting or a trained file cannot be used.
    """
    trained = _trained(plan, lm)
    return [
        make_editor(method, lm, plan.settings, [*_compat(plan, method), *plan.overrides], trained.get(method))
        for method in plan.methods
    ]


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


def _trained(plan: Plan, lm: LanguageModel) -> Mapping[str, Trained]:
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
