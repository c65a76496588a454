"""Run some cases of a finished run again and compare: the same seed on the same machine gives the same numbers."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from clmeeval_data.errors import ConfigError, ResultsError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Editor, Track, untracked
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.plan import read_tests
from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.protocols.units import Task, Unit, by_length, units_of
from clmeeval_data.evaluation.protocols.worker import Worker
from clmeeval_data.evaluation.results import MEASURED, RunFolder
from clmeeval_data.evaluation.runner import TestSet, describe
from clmeeval_data.records import targets_are_code


@dataclass(frozen=True)
class Difference:
    """Where a case differs: the path of a value in its entry, what is stored there, and what was found now."""

    case_id: str
    where: str
    stored: Any
    found: Any


@dataclass(frozen=True)
class Verified:
    """How many cases were run again, and all places at which they differ."""

    cases: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> int:
        """How many cases are the same."""
        return self.cases - len({one.case_id for one in self.differences})


def verify(
    folder: RunFolder,
    *,
    sample: int = 20,
    seed: int = 0,
    device: str | None = None,
    dataset: str | None = None,
    revision: str | None = None,
    trained: Path | None = None,
    track: Track = untracked,
) -> Verified:
    """Compute a sample of a run's finished cases again and compare outputs and scores with the stored ones.

    Of a run in batches or sequences whole groups are computed, as many as have the cases that are asked for.

    Args:
        folder: The run.
        sample: How many cases.
        seed: Chooses them.
        device: Where to compute; None: where the run was computed.
        dataset: Where the dataset is now; None: where it was, on the Hub at the commit that it had.
        revision: Of the dataset on the Hub, instead.
        trained: The method's trained file; None: where it was.
        track: Shows the advance.

    Raises:
        ResultsError: If run.json does not say what was run, or model, data or settings are others now.
        ClmeevalError: If the model, the dataset or the trained file cannot be loaded.
    """
    if sample < 1:
        raise ConfigError(f"--sample is {sample}; expected 1 or more.")
    described, stored = folder.run(), folder.entries()
    try:
        identity, surroundings = described["identity"], described["environment"]
        where, model = surroundings["dataset"], surroundings["model"]
        at = revision or (None if dataset else where.get("commit") or where.get("revision"))
        tests = read_tests(dataset or where["location"], where["split"], where["limit"], at)
        lm = load_language_model(model, device or surroundings["device_asked"], identity["model"]["dtype"])
        file = trained or (Path(surroundings["trained"]["path"]) if surroundings["trained"] else None)
        worker = _worker(lm, tests, identity, _editor(identity["method"], file), int(surroundings["batch_size"]))
    except KeyError as error:
        raise ResultsError(
            f"{folder.path / 'run.json'} does not say {error}, which is needed to run it again. "
            "Expected a run of 'clmeeval-evaluate run' of this version."
        ) from None
    _check_identity(folder, worker, tests, identity)
    worker.prepare([0], tests.train, track)
    units = _sampled(tests, worker, set(stored), sample, seed)
    differences: list[Difference] = []
    count = 0
    for unit in track(units, "running again", len(units)):
        task = Task(unit, {0: frozenset(case.case_id for case in unit.cases)})
        for entry in (entry for piece in worker.compute(task) for entry in piece.entries):
            if entry["id"] in stored:
                count += 1
                differences += _differences(stored[entry["id"]], entry)
    return Verified(count, tuple(differences))


def _editor(method: Mapping[str, Any], trained: Path | None) -> Editor:
    cls = EDITORS[method["name"]]
    config = cls.config_class.from_dict(method["config"])
    editor: Editor = cls(config) if trained is None else cls(config, Trained.load(trained))
    return editor


def _worker(lm: LanguageModel, tests: TestSet, identity: Mapping[str, Any], editor: Editor, batch_size: int) -> Worker:
    protocol = EvaluationProtocol.from_dict(identity["protocol"])
    return Worker(lm, [editor], protocol, targets_are_code(tests.benchmark.name), int(identity["seed"]), batch_size)


def _check_identity(folder: RunFolder, worker: Worker, tests: TestSet, stored: Mapping[str, Any]) -> None:
    (now,) = describe(worker, tests, {})
    found = now.identity.as_dict()
    for part, value in found.items():
        if part not in stored or dict(_flat(value)) != dict(_flat(stored[part])):
            raise ResultsError(
                f"{folder.path} was run with another {part} than there is now: {stored.get(part)} against {value}. "
                "Bring that back, or run anew."
            )


def _sampled(tests: TestSet, worker: Worker, finished: set[str], sample: int, seed: int) -> list[Unit]:
    """What is run again: single cases where every edit is alone, otherwise whole groups."""
    choice = random.Random(seed)
    if worker.protocol.name == "single":
        there = [case for case in tests.cases if case.case_id in finished]
        chosen = choice.sample(there, min(sample, len(there)))
        return [Unit(index, tuple(part)) for index, part in enumerate(by_length(chosen, worker.batch_size))]
    units = [
        unit
        for unit in units_of(tests.cases, worker.protocol, worker.batch_size)
        if all(case.case_id in finished for case in unit.cases)
    ]
    choice.shuffle(units)
    before = [0, *accumulate(len(unit.cases) for unit in units)]
    return [unit for unit, count in zip(units, before, strict=False) if count < sample]


def _differences(stored: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Difference]:
    mine, theirs = (dict(_flat(_compared(entry))) for entry in (stored, found))
    for where in sorted({*mine, *theirs}):
        if mine.get(where) != theirs.get(where):
            yield Difference(str(stored["id"]), where, mine.get(where), theirs.get(where))


def _compared(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in MEASURED}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings and lists by their dotted paths; lists and tuples are the same."""
    if isinstance(value, Mapping):
        for key in value:
            yield from _flat(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}.{index}")
    else:
        yield path, value
