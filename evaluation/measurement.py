"""Ask a model under edits, and score what it says; and one batch of independent edits: edit, ask, score.

Prompts are read once for all methods that meet the same batch. A batch that does not fit into memory is halved; a case
that fails is written down with its error, and the others go on.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch

from clmeeval_data.evaluation.answers import UneditedAnswers, answer_lengths
from clmeeval_data.evaluation.editors.contract import Case, Editor
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, Sampling, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import PromptMemory, prompts_remembered, read_prompts
from clmeeval_data.evaluation.model.updates import Codebook
from clmeeval_data.evaluation.scoring.cost import measured
from clmeeval_data.evaluation.scoring.dimensions import FLUENCY_TOKENS, FLUENCY_TOP_K, Answers, score_outputs

ASKED_FOR_TARGET = 2  # the first two of Case.prompts: the prompt and the rephrased one
R = TypeVar("R")

logger = logging.getLogger(__name__)


class Reading(NamedTuple):
    """The prompts of a batch, read on the unedited model, and what reading one of them took."""

    memory: PromptMemory
    seconds_each: float


class Extent(NamedTuple):
    """How much a case is asked: how many of its prompts (None for all), and whether for a sampled text."""

    prompts: int | None = None
    sampled: bool = True


ALL, PROMPTS, PROMPT = Extent(), Extent(sampled=False), Extent(1, sampled=False)


@contextmanager
def prompts_read(
    lm: LanguageModel, cases: Sequence[Case], layers: Sequence[int], extent: Extent = ALL
) -> Iterator[Reading]:
    """Read the prompts of a batch once; inside the block everybody takes them from memory.

    Raises:
        CaseError: If a prompt is empty or too long.
    """
    prompts = list(dict.fromkeys(prompt for case in cases for prompt in case.prompts[: extent.prompts]))
    with measured(lm.device) as cost:
        prefix = read_prompts(lm, prompts, layers)
    with prompts_remembered(lm, prompts, prefix) as memory:
        yield Reading(memory, cost.seconds / len(prompts))


@dataclass(frozen=True)
class Asker:
    """Asks a model and scores its answers. ``code``: whether targets are code. ``seed``: of the sampled texts."""

    lm: LanguageModel
    answers: UneditedAnswers
    code: bool
    seed: int

    def ask(
        self,
        memory: PromptMemory,
        cases: Sequence[Case],
        edits: Sequence[Edit],
        under: Sequence[int],
        extent: Extent = ALL,
    ) -> list[Answers]:
        """What the model says to each case's prompts.

        Where an edit leaves a prompt alone, the unedited answer is the answer. The target and the unedited answer serve
        as guesses only where no text is sampled: a sampled text takes its steps one by one, and the others come along.

        Args:
            memory: The prompts, read.
            cases: Whose prompts are asked.
            edits: Edits, and last no edit at all.
            under: Index of the edit under which each case is asked.
            extent: How much is asked.
        """
        jobs: list[Continuation] = []
        places: list[tuple[int, int]] = []  # case and prompt of each job; the sampled text comes after the prompts
        before = self.answers.of(cases)
        found = [[*old.prompts[: extent.prompts], ()] for old in before]
        for index, (case, old) in enumerate(zip(cases, before, strict=True)):
            own, prompts = under[index], case.prompts[: extent.prompts]
            target = tuple(self.lm.encode_target(case.prompt, case.target))
            rows = memory.rows(prompts)
            alone = edits[own].leaves_alone(self.lm, memory.prefix, rows)
            later = len(edits) - 1 if edits[own].first_call_only else own  # the edit of all but the first call
            for place, (row, length) in enumerate(zip(rows, answer_lengths(self.lm, case), strict=False)):
                asked = place < ASKED_FOR_TARGET
                if not alone[place] and (asked or later == own):
                    drafts = () if extent.sampled else (target, old.prompts[place])[0 if asked else 1 :]
                    jobs.append(Continuation(row, own, length, drafts))
                    places.append((index, place))
            if extent.sampled:
                sampling = Sampling(FLUENCY_TOP_K, f"fluency|{self.seed}|{case.case_id}")
                jobs.append(Continuation(rows[0], later, FLUENCY_TOKENS, sampling=sampling))
                places.append((index, len(rows)))
        outputs = generate(self.lm, memory.prefix, edits, jobs) if jobs else []
        for (index, place), output in zip(places, outputs, strict=True):
            found[index][place] = tuple(output)
        return [Answers(tuple(texts[:-1]), texts[-1]) for texts in found]

    def scored(self, case: Case, after: Answers, extent: Extent = ALL) -> dict[str, Any]:
        """``outputs`` and ``scores`` of what a case was asked, as an entry has them."""
        decode, (before,) = self.lm.decode, self.answers.of([case])
        answers = zip(before.prompts, after.prompts, strict=False)
        pairs = [{"before": decode(old), "after": decode(new)} for old, new in answers]
        outputs: dict[str, Any] = {"effectiveness": pairs[0]}
        if extent.prompts is None:
            outputs |= {"generalisation": pairs[1], "specificity": pairs[ASKED_FOR_TARGET:]}
        if extent.sampled:
            outputs["fluency"] = {"after": decode(after.sampled)}
        return {"outputs": outputs, "scores": _scores(case, outputs, self.code)}


@dataclass(frozen=True)
class Measurement:
    """A method at work on independent edits. ``code``: whether targets are code. ``seed``: of the sampled texts."""

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

        def computed(part: Sequence[Case]) -> list[dict[str, Any]]:
            if reading is not None and len(part) == len(cases) and self.lm.memory is reading.memory:
                return self._together(part, reading)
            with prompts_read(self.lm, part, self.layers) as own:
                return self._together(part, own)

        return in_parts(self.lm, cases, computed, failed_entry, "edits")

    def _together(self, cases: Sequence[Case], reading: Reading) -> list[dict[str, Any]]:
        lm, asker = self.lm, Asker(self.lm, self.answers, self.code, self.seed)
        self.answers.of(cases)
        with measured(lm.device) as editing:
            edits = self.editor.edit_each(lm, [case.request for case in cases])
        after = asker.ask(reading.memory, cases, [*edits, unedited(lm)], range(len(edits)))
        cost = {
            "edit_seconds": editing.seconds / len(cases) + reading.seconds_each,  # its own prompt is read too
            "peak_bytes": editing.peak_bytes,
            "batch_size": len(cases),
        }
        return [
            {**entry_head(case), **asker.scored(case, new), "cost": cost, "details": self._details(case, edit, reading)}
            for case, edit, new in zip(cases, edits, after, strict=True)
        ]

    def _details(self, case: Case, edit: Edit, reading: Reading) -> dict[str, Any]:
        """The method's own, and of a codebook how far the rephrased prompt and the neighbours are from its key."""
        memory = reading.memory
        rephrased = edit.distances(self.lm, memory.prefix, memory.rows(case.prompts[1:]))
        if not rephrased:
            return dict(edit.details)
        book = next(update for update in edit.updates if isinstance(update, Codebook))
        near, *far = rephrased
        reach = {"radius": float(book.radii[0]), "distance_rephrased": near, "distance_neighbours": far}
        return {**edit.details, **reach}


def in_parts(
    lm: LanguageModel,
    cases: Sequence[Case],
    computed: Callable[[Sequence[Case]], list[R]],
    failed: Callable[[Case, Exception], R],
    what: str,
) -> list[R]:
    """What is computed of the cases together, or where that fails in smaller batches, so that only the cause fails.

    Args:
        lm: The model; prompts that it remembers are forgotten where a batch fails.
        cases: The batch.
        computed: One result for each case.
        failed: The result of a case that fails by itself.
        what: What does not fit into memory, in the plural.
    """
    try:
        return computed(cases)
    except Exception as error:  # a failing case must not end the run; its cause is written down
        lm.memory = None
        if len(cases) == 1:
            return [failed(cases[0], error)]
        parts = _parts(cases, error, what)
    return [found for part in parts for found in in_parts(lm, part, computed, failed, what)]


def unedited(lm: LanguageModel) -> Edit:
    """No edit at all."""
    return Edit((), lm.fingerprint, "none")


def entry_head(case: Case) -> dict[str, Any]:
    """What every entry of a case that did not fail begins with."""
    return {"id": case.case_id, "error": None, "case": case.as_dict()}


def failed_entry(case: Case, error: Exception) -> dict[str, Any]:
    """The entry of a case that failed."""
    logger.warning("case %s failed: %s", case.case_id, error)
    logger.debug("where it failed", exc_info=error)
    return {**entry_head(case), "error": problem_of(error)}


def problem_of(error: Exception) -> dict[str, str]:
    """An error as an entry has it."""
    return {"type": type(error).__name__, "message": str(error)}


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the host, had no room for a tensor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in said or "not enough memory" in said)


def free_memory() -> None:
    """Give back what the device's allocator keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _parts(cases: Sequence[Case], error: Exception, what: str) -> list[Sequence[Case]]:
    """What to try instead of a batch that failed."""
    if not is_out_of_memory(error):
        logger.info("a batch of %d failed (%s); its cases are tried one by one", len(cases), error)
        return [[case] for case in cases]
    half = len(cases) // 2
    logger.warning(
        "out of memory with %d %s at once: going on with %d and %d", len(cases), what, half, len(cases) - half
    )
    free_memory()
    return [cases[:half], cases[half:]]


def _scores(case: Case, outputs: Mapping[str, Any], code: bool) -> dict[str, dict[str, float]]:
    """Scores of the dimensions that were asked; of the others, which stand empty, nothing is kept."""
    rest = {"generalisation": outputs["effectiveness"], "specificity": [], "fluency": {"after": ""}}
    scores = score_outputs(case, {**rest, **outputs}, code)
    return {dimension: found for dimension, found in scores.items() if dimension in outputs}
