"""Methods on one model and dataset: edit, ask, score, write down; stop anywhere and go on from there."""

import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from clmeeval_data import __version__
from clmeeval_data.errors import CaseError
from clmeeval_data.evaluation.answers import UneditedAnswers
from clmeeval_data.evaluation.editors.contract import Case, Editor, EditRequest, Track, untracked
from clmeeval_data.evaluation.measurement import Measurement, Reading, is_out_of_memory, prompts_read
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.results import RunFolder, RunIdentity
from clmeeval_data.evaluation.scoring.dimensions import case_of, cases_hash, decoding
from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.summary import summarise
from clmeeval_data.records import CNLE, Benchmark, Record
from clmeeval_data.schema import SCHEMA_VERSION

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "sacrebleu", "rouge-score", "rapidfuzz")

logger = logging.getLogger(__name__)
Progress = Callable[[str, int], None]  # (method, cases)


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


@dataclass(frozen=True)
class _Run:
    """One method's run: its folder, and what is finished."""

    editor: Editor
    folder: RunFolder
    done: set[str]


def run_method(
    lm: LanguageModel, tests: TestSet, editor: Editor, out: Path, *, seed: int = 0, batch_size: int = 16
) -> RunFolder:
    """``run_methods`` with one method."""
    return run_methods(lm, tests, [editor], out, seed=seed, batch_size=batch_size)[0]


def run_methods(
    lm: LanguageModel,
    tests: TestSet,
    editors: Sequence[Editor],
    out: Path,
    *,
    seed: int = 0,
    batch_size: int = 16,
    progress: Progress = lambda method, cases: None,
    track: Track = untracked,
    environment: Mapping[str, Any] | None = None,
) -> list[RunFolder]:
    """Evaluate methods; a run that was stopped goes on, a complete one is left as it is.

    All methods meet a batch of cases before the next one, so that its prompts are read once.

    Args:
        lm: The model.
        tests: What to evaluate on.
        editors: The methods.
        out: The results folder.
        seed: Of the fluency samples.
        batch_size: Independent edits computed and evaluated together; it changes no score.
        progress: Told the number of a method's cases that were finished since it was last told.
        track: Shows the advance of what methods prepare.
        environment: More to write down about new runs that changes no score.

    Raises:
        ResultsError: If a folder cannot be written or belongs to another run.
        ModelError: If a method does not fit the model.
        ConfigError: If a method misses what it needs first.
    """
    runs = []
    for editor in editors:
        identity = _identity(lm, tests, editor, seed)
        folder = RunFolder(out / identity.folder)
        folder.open(identity, {**_environment(lm, batch_size), **(environment or {})})
        runs.append(_Run(editor, folder, set(folder.journal.read())))
        progress(editor.name, len(runs[-1].done))
    open_runs = [run for run in runs if run.folder.summary() is None]
    for run in open_runs:
        run.editor.prepare(lm, tests.train, track)
    if open_runs:
        _measure(lm, tests, open_runs, UneditedAnswers(out, tests.benchmark.name, lm), seed, batch_size, progress)
    for run in open_runs:
        summary = summarise(run.folder.journal.read().values(), total=len(tests.cases))
        described = run.folder.run()
        run.folder.finish({"hash": described["hash"], **summary, "signature": signature(described)})
    return [run.folder for run in runs]


def _measure(
    lm: LanguageModel,
    tests: TestSet,
    runs: Sequence[_Run],
    answers: UneditedAnswers,
    seed: int,
    batch_size: int,
    progress: Progress,
) -> None:
    """Every batch under every method that has not finished it, with its prompts read once."""
    works = [(run, Measurement(lm, run.editor, answers, tests.benchmark is CNLE, seed)) for run in runs]
    for batch in _batches(tests.cases, batch_size):
        missing = [[case for case in batch if case.case_id not in run.done] for run in runs]
        layers = {layer for cases, (_, work) in zip(missing, works, strict=True) if cases for layer in work.layers}
        with ExitStack() as stack:
            reading = _shared(stack, lm, batch, sorted(layers)) if sum(map(bool, missing)) > 1 else None
            for cases, (run, work) in zip(missing, works, strict=True):
                if cases:
                    entries = work.entries(cases, reading if lm.memory is not None else None)
                    run.folder.journal.append(entries)
                    progress(run.editor.name, len(entries))


def _shared(stack: ExitStack, lm: LanguageModel, batch: Sequence[Case], layers: Sequence[int]) -> Reading | None:
    """The batch's prompts for all methods; None where they cannot be read together, which each method then finds."""
    try:
        return stack.enter_context(prompts_read(lm, batch, layers))
    except CaseError:
        return None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _identity(lm: LanguageModel, tests: TestSet, editor: Editor, seed: int) -> RunIdentity:
    return RunIdentity(
        dataset={
            "name": tests.benchmark.name,
            "split": tests.split,
            "schema": SCHEMA_VERSION,
            "n": len(tests.cases),
            "cases": cases_hash(tests.cases),
        },
        model={"name": lm.name, "fingerprint": lm.fingerprint, "dtype": str(lm.dtype).removeprefix("torch.")},
        method={"name": editor.name, "config": editor.config.as_dict(), **_inputs(editor, tests)},
        decoding=decoding(),
        seed=seed,
    )


def _inputs(editor: Editor, tests: TestSet) -> dict[str, Any]:
    inputs = editor.inputs(tests.train)
    return {"inputs": dict(inputs)} if inputs else {}


def _environment(lm: LanguageModel, batch_size: int) -> dict[str, Any]:
    return {
        "versions": {
            "clmeeval-data": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "device": str(lm.device),
        "device_name": torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "batch_size": batch_size,
    }


def _batches(cases: Sequence[Case], size: int) -> list[list[Case]]:
    """Batches of cases of similar length, the same for a run that goes on as for one that starts."""

    def length(case: Case) -> tuple[int, str]:
        return max(len(prompt) for prompt in case.prompts) + len(case.target), case.case_id

    ordered = sorted(cases, key=length)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
