"""One method on one model and dataset: edit, ask, score, write down; stop anywhere and go on from there."""

import logging
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from clmeeval_data import __version__
from clmeeval_data.evaluation.answers import UneditedAnswers, answer_lengths
from clmeeval_data.evaluation.editors.contract import Case, Editor, EditRequest
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, Sampling, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import PromptMemory, prompts_remembered, read_prompts
from clmeeval_data.evaluation.results import RunFolder, RunIdentity
from clmeeval_data.evaluation.scoring.cost import measured
from clmeeval_data.evaluation.scoring.dimensions import (
    FLUENCY_TOKENS,
    FLUENCY_TOP_K,
    Answers,
    case_of,
    cases_hash,
    decoding,
    score_outputs,
)
from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.summary import summarise
from clmeeval_data.records import CNLE, Benchmark, Record
from clmeeval_data.schema import SCHEMA_VERSION

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "sacrebleu", "rouge-score", "rapidfuzz")

ASKED_FOR_TARGET = 2  # the first two of Case.prompts: the prompt and the rephrased one

logger = logging.getLogger(__name__)
Progress = Callable[[int], None]


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
    batch_size: int = 16,
    progress: Progress = lambda cases: None,
) -> RunFolder:
    """Evaluate a method; a run that was stopped goes on, a complete one is returned as it is.

    Args:
        lm: The model.
        tests: What to evaluate on.
        editor: The method.
        out: The results folder.
        seed: Of the fluency samples.
        batch_size: Independent edits computed and evaluated together; it changes no score.
        progress: Told the number of cases that were finished since it was last called.

    Raises:
        ResultsError: If the folder cannot be written or belongs to another run.
        ModelError: If the method does not fit the model.
    """
    identity = _identity(lm, tests, editor, seed)
    folder = RunFolder(out / identity.folder)
    folder.open(identity, _environment(lm, batch_size))
    done = folder.journal.read()
    progress(len(done))
    if folder.summary() is not None:
        return folder
    editor.prepare(lm, tests.train)
    answers = UneditedAnswers(out, tests.benchmark.name, lm)
    evaluation = Evaluation(lm, editor, answers, tests.benchmark is CNLE, seed)
    for batch in _batches(tests.cases, batch_size):
        missing = [case for case in batch if case.case_id not in done]
        if missing:
            entries = evaluation.entries(missing)
            folder.journal.append(entries)
            progress(len(entries))
    summary = summarise(folder.journal.read().values(), total=len(tests.cases))
    folder.finish({"hash": identity.hash, **summary, "signature": signature(folder.run())})
    return folder


@dataclass(frozen=True)
class Evaluation:
    """What the cases of a run have in common. ``code``: whether targets are code."""

    lm: LanguageModel
    editor: Editor
    answers: UneditedAnswers
    code: bool
    seed: int

    def entries(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """Entries of the cases: together, or where that fails one by one, so that only the cause counts as failed."""
        try:
            return self._together(cases)
        except Exception as error:  # a failing case must not end the run; its cause is written down
            if len(cases) > 1:
                logger.info("a batch of %d failed (%s); its cases are tried one by one", len(cases), error)
                return [entry for case in cases for entry in self.entries([case])]
            logger.warning("case %s failed: %s", cases[0].case_id, error)
            logger.debug("where it failed", exc_info=True)
            problem = {"type": type(error).__name__, "message": str(error)}
            return [{"id": cases[0].case_id, "error": problem, "case": cases[0].as_dict()}]

    def _together(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        lm, prompts = self.lm, list(dict.fromkeys(prompt for case in cases for prompt in case.prompts))
        with measured(lm.device) as reading:
            prefix = read_prompts(lm, prompts, self.editor.config.edited_layers)
        with prompts_remembered(lm, prompts, prefix) as memory:
            before = self.answers.of(cases)
            with measured(lm.device) as editing:
                edits = self.editor.edit_each(lm, [case.request for case in cases])
            after = self._ask(memory, cases, edits, before)
        cost = {
            "edit_seconds": editing.seconds / len(cases) + reading.seconds / len(prompts),  # its own prompt is read too
            "peak_bytes": editing.peak_bytes,
            "batch_size": len(cases),
        }
        rows = zip(cases, edits, before, after, strict=True)
        return [{**self._entry(case, old, new), "cost": cost, "details": dict(e.details)} for case, e, old, new in rows]

    def _ask(
        self, memory: PromptMemory, cases: Sequence[Case], edits: Sequence[Edit], before: Sequence[Answers]
    ) -> list[Answers]:
        """What the edited model says to each case's prompts, with the target and the unedited answer as guesses.

        Where an edit leaves a prompt alone, the unedited answer is the answer.
        """
        jobs: list[Continuation] = []
        places: list[tuple[int, int]] = []  # case and prompt of each job; the sampled text comes after the prompts
        found = [[*old.prompts, ()] for old in before]
        for index, (case, old) in enumerate(zip(cases, before, strict=True)):
            target = tuple(self.lm.encode_target(case.prompt, case.target))
            rows, alone = memory.rows(case.prompts), self._left_alone(memory, case, edits[index])
            for place, (row, length) in enumerate(zip(rows, answer_lengths(self.lm, case), strict=True)):
                if not alone[place]:
                    drafts = (target, old.prompts[place])[0 if place < ASKED_FOR_TARGET else 1 :]
                    jobs.append(Continuation(row, index, length, drafts))
                    places.append((index, place))
            sampling = Sampling(FLUENCY_TOP_K, f"fluency|{self.seed}|{case.case_id}")
            jobs.append(Continuation(rows[0], index, FLUENCY_TOKENS, sampling=sampling))
            places.append((index, len(rows)))
        for (index, place), output in zip(places, generate(self.lm, memory.prefix, edits, jobs), strict=True):
            found[index][place] = tuple(output)
        return [Answers(tuple(texts[:-1]), texts[-1]) for texts in found]

    def _left_alone(self, memory: PromptMemory, case: Case, edit: Edit) -> list[bool]:
        rows, looked_up = memory.rows(case.prompts), memory.prefix.looked_up
        queries = {self.lm.map.mlp_output_name(layer): keys[rows] for layer, keys in looked_up.items()}
        return edit.leaves_alone(queries, len(rows))

    def _entry(self, case: Case, before: Answers, after: Answers) -> dict[str, Any]:
        decode = self.lm.decode
        answers = zip(before.prompts, after.prompts, strict=True)
        pairs = [{"before": decode(old), "after": decode(new)} for old, new in answers]
        outputs = {
            "effectiveness": pairs[0],
            "generalisation": pairs[1],
            "specificity": pairs[ASKED_FOR_TARGET:],
            "fluency": {"after": decode(after.sampled)},
        }
        scores = score_outputs(case, outputs, self.code)
        return {"id": case.case_id, "error": None, "case": case.as_dict(), "outputs": outputs, "scores": scores}


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
        method={"name": editor.name, "config": editor.config.as_dict()},
        decoding=decoding(),
        seed=seed,
    )


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
