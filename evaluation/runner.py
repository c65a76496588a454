"""Methods on one model and dataset: edit, ask, score, write down; stop anywhere and go on from there."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from clmeeval_data import __version__
from clmeeval_data.evaluation.batch_size import DEFAULT_SIZE, fitting_batch_size
from clmeeval_data.evaluation.editors import origin_of
from clmeeval_data.evaluation.editors.contract import Case, Editor, EditRequest, Track, untracked
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.protocols import SINGLE, EvaluationProtocol
from clmeeval_data.evaluation.protocols.worker import Worker, check_protocol
from clmeeval_data.evaluation.recorder import Described, Progress, Recorder, Shard
from clmeeval_data.evaluation.results import RunFolder, RunIdentity
from clmeeval_data.evaluation.scoring.dimensions import case_of, cases_hash, decoding
from clmeeval_data.records import Benchmark, Record, targets_are_code
from clmeeval_data.schema import SCHEMA_VERSION

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "sacrebleu", "rouge-score", "rapidfuzz")


@dataclass(frozen=True)
class TestSet:
    """The cases to evaluate and the requests a method may train on."""

    benchmark: Benchmark[Any]
    split: str
    cases: tuple[Case, ...]
    train: tuple[EditRequest, ...]

    __test__ = False  # its name makes pytest look for tests in it

    @classmethod
    def of(cls, benchmark: Benchmark[Any], split: str, records: Sequence[Record], train: Sequence[Record]) -> "TestSet":
        """A test set from the records of a dataset."""
        cases = tuple(case_of(benchmark, record) for record in records)
        return cls(benchmark, split, cases, tuple(case_of(benchmark, record).request for record in train))


def run_method(
    lm: LanguageModel,
    tests: TestSet,
    editor: Editor,
    out: Path,
    *,
    seed: int = 0,
    batch_size: int = DEFAULT_SIZE,
    protocol: EvaluationProtocol = SINGLE,
) -> RunFolder:
    """``run_methods`` with one method."""
    return run_methods(lm, tests, [editor], out, seed=seed, batch_size=batch_size, protocol=protocol)[0]


def run_methods(
    lm: LanguageModel,
    tests: TestSet,
    editors: Sequence[Editor],
    out: Path,
    *,
    seed: int = 0,
    batch_size: int | None = DEFAULT_SIZE,
    protocol: EvaluationProtocol = SINGLE,
    shard: Shard | None = None,
    environment: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = lambda method, cases: None,
    track: Track = untracked,
) -> list[RunFolder]:
    """Evaluate methods; a run that was stopped goes on, a complete one is left as it is.

    Where every edit stands alone, all methods meet a batch of cases before the next one, so that its prompts are read
    once.

    Args:
        lm: The model.
        tests: What to evaluate on.
        editors: The methods.
        out: The results folder.
        seed: Of the fluency samples.
        batch_size: Independent edits computed and evaluated together; it changes no score. None: as many as fit.
        protocol: How many requests an edit holds.
        shard: Which part of the run to compute; None for all of it.
        environment: By method, what run.json says beside what is known here.
        progress: Told the number of a method's cases that were finished since it was last told.
        track: Shows the advance of what methods prepare.

    Raises:
        ResultsError: If a folder cannot be written, belongs to another run, or is being written by another process.
        ModelError: If a method does not fit the model.
        ConfigError: If a method misses what it needs first, or cannot do the protocol.
    """
    size = batch_size or DEFAULT_SIZE
    worker = Worker(lm, editors, protocol, targets_are_code(tests.benchmark.name), seed, size)
    described = describe(worker, tests, environment or {})
    name = tests.benchmark.name
    with Recorder(out, name, tests.cases, described, protocol, size, shard, progress) as recorder:
        worker.prepare(recorder.open_methods, tests.train, track)
        if batch_size is None and recorder.open_methods:
            worker = replace(worker, batch_size=fitting_batch_size(worker, recorder.open_methods, tests.cases))
            recorder.settle(worker.batch_size)
        for task in recorder.tasks():
            for piece in worker.compute(task):
                recorder.write(task.unit, piece)
        return recorder.finish()


def describe(worker: Worker, tests: TestSet, environment: Mapping[str, Mapping[str, Any]]) -> list[Described]:
    """What the run of each of a worker's methods is.

    Args:
        worker: The loaded model with its methods.
        tests: What they are evaluated on.
        environment: By method, what is said of its run's surroundings beside what is known here.

    Raises:
        ConfigError: If a method misses what it needs first, or cannot do the protocol.
    """
    for editor in worker.editors:
        check_protocol(editor, worker.protocol)
    known = _environment(worker)
    return [
        Described(
            _identity(worker, tests, editor), {**known, "family": editor.family, **environment.get(editor.name, {})}
        )
        for editor in worker.editors
    ]


def _identity(worker: Worker, tests: TestSet, editor: Editor) -> RunIdentity:
    lm = worker.lm
    return RunIdentity(
        dataset={
            "name": tests.benchmark.name,
            "split": tests.split,
            "schema": SCHEMA_VERSION,
            "n": len(tests.cases),
            "cases": cases_hash(tests.cases),
        },
        model=lm.identity,
        method={
            "name": editor.name,
            "config": editor.config.as_dict(),
            **origin_of(editor),
            **_inputs(editor, tests),
        },
        decoding=decoding(),
        seed=worker.seed,
        protocol=worker.protocol.as_dict(),
    )


def _inputs(editor: Editor, tests: TestSet) -> dict[str, Any]:
    inputs = editor.inputs(tests.train)
    return {"inputs": dict(inputs)} if inputs else {}


def _environment(worker: Worker) -> dict[str, Any]:
    device = worker.lm.device
    return {
        "versions": {
            "clmeeval-data": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "batch_size": worker.batch_size,
    }
