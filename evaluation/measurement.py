"""One batch of cases under one method: edit, ask, score.

Prompts are read once for all methods that meet the same batch. A batch that does not fit into memory is halved; a case
that fails is written down with its error, and the others go on.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from clmeeval_data.evaluation.answers import UneditedAnswers, answer_lengths
from clmeeval_data.evaluation.editors.contract import Case, Editor
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, Sampling, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import PromptMemory, prompts_remembered, read_prompts
from clmeeval_data.evaluation.scoring.cost import measured
from clmeeval_data.evaluation.scoring.dimensions import FLUENCY_TOKENS, FLUENCY_TOP_K, Answers, score_outputs

ASKED_FOR_TARGET = 2  # the first two of Case.prompts: the prompt and the rephrased one

logger = logging.getLogger(__name__)


class Reading(NamedTuple):
    """The prompts of a batch, read on the unedited model, and what reading one of them took."""

    memory: PromptMemory
    seconds_each: float


@contextmanager
def prompts_read(lm: LanguageModel, cases: Sequence[Case], layers: Sequence[int]) -> Iterator[Reading]:
    """Read all prompts of a batch once; inside the block everybody takes them from memory.

    Raises:
        CaseError: If a prompt is empty or too long.
    """
    prompts = list(dict.fromkeys(prompt for case in cases for prompt in case.prompts))
    with measured(lm.device) as cost:
        prefix = read_prompts(lm, prompts, layers)
    with prompts_remembered(lm, prompts, prefix) as memory:
        yield Reading(memory, cost.seconds / len(prompts))


@dataclass(frozen=True)
class Measurement:
    """A method at work. ``code``: whether targets are code. ``seed``: of the sampled texts."""

    lm: LanguageModel
    editor: Editor
    answers: UneditedAnswers
    code: bool
    seed: int

    @property
    def layers(self) -> tuple[int, ...]:
        """The decoder layers whose input an edit starts from."""
        return self.editor.config.edited_layers[:1]

    def entries(self, cases: Sequence[Case], reading: Reading | None = None) -> list[dict[str, Any]]:
        """Entries of the cases: together, or where that fails in smaller batches, so that only the cause has failed.

        Args:
            cases: The batch.
            reading: The prompts, where they were read for several methods.
        """
        try:
            if reading is not None:
                return self._together(cases, reading)
            with prompts_read(self.lm, cases, self.layers) as own:
                return self._together(cases, own)
        except Exception as error:  # a failing case must not end the run; its cause is written down
            if len(cases) > 1:
                return [entry for part in self._parts(cases, error) for entry in self.entries(part)]
            logger.warning("case %s failed: %s", cases[0].case_id, error)
            logger.debug("where it failed", exc_info=True)
            problem = {"type": type(error).__name__, "message": str(error)}
            return [{"id": cases[0].case_id, "error": problem, "case": cases[0].as_dict()}]

    def _parts(self, cases: Sequence[Case], error: Exception) -> list[Sequence[Case]]:
        """What to try instead of a batch that failed."""
        self.lm.memory = None
        if not is_out_of_memory(error):
            logger.info("a batch of %d failed (%s); its cases are tried one by one", len(cases), error)
            return [[case] for case in cases]
        half = len(cases) // 2
        logger.warning(
            "out of memory with %d edits at once: going on with %d and %d", len(cases), half, len(cases) - half
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return [cases[:half], cases[half:]]

    def _together(self, cases: Sequence[Case], reading: Reading) -> list[dict[str, Any]]:
        lm, memory = self.lm, reading.memory
        before = self.answers.of(cases)
        with measured(lm.device) as editing:
            edits = self.editor.edit_each(lm, [case.request for case in cases])
        after = self._ask(memory, cases, edits, before)
        cost = {
            "edit_seconds": editing.seconds / len(cases) + reading.seconds_each,  # its own prompt is read too
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
            rows = memory.rows(case.prompts)
            alone = edits[index].leaves_alone(self.lm, memory.prefix, rows)
            later = len(edits) if edits[index].first_call_only else index  # the edit of all but the first call
            for place, (row, length) in enumerate(zip(rows, answer_lengths(self.lm, case), strict=True)):
                asked = place < ASKED_FOR_TARGET
                if not alone[place] and (asked or later == index):
                    drafts = (target, old.prompts[place])[0 if asked else 1 :]
                    jobs.append(Continuation(row, index, length, drafts))
                    places.append((index, place))
            sampling = Sampling(FLUENCY_TOP_K, f"fluency|{self.seed}|{case.case_id}")
            jobs.append(Continuation(rows[0], later, FLUENCY_TOKENS, sampling=sampling))
            places.append((index, len(rows)))
        unedited = Edit((), self.lm.fingerprint, "none")
        outputs = generate(self.lm, memory.prefix, [*edits, unedited], jobs)
        for (index, place), output in zip(places, outputs, strict=True):
            found[index][place] = tuple(output)
        return [Answers(tuple(texts[:-1]), texts[-1]) for texts in found]

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


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the host, had no room for a tensor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in said or "not enough memory" in said)
