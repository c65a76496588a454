"""Requests of EasyEdit: what ``BaseEditor.edit_requests(requests)`` takes, ``SPLIT.json``.

The fields are those that ``_prepare_requests`` makes (easyeditor/editors/utils.py of zjunlp/EasyEdit, as of commit
0991bb17) and that ``compute_edit_quality`` reads (easyeditor/evaluate/evaluate.py, as of 0129c9b9): ``prompt``,
``target_new``, ``ground_truth``, ``rephrase_prompt``, ``subject``, ``locality`` and ``portability``. To call ``edit``
instead, as the scripts under examples/ do, make a list of each field: ``prompts``, ``target_new``,
``rephrase_prompts``, ``subject``, and ``locality_inputs={"neighborhood": {"prompt": [...], "ground_truth": [...]}}``
with a list of prompts for each request.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from clmeeval_data.export.contract import ExportedFile
from clmeeval_data.records import Benchmark, Record

UNKNOWN_ANSWER = "<|endoftext|>"  # what EasyEdit's `edit` puts where no answer before the edit is given


def files(benchmark: Benchmark[Any], splits: Mapping[str, Sequence[Record]]) -> list[ExportedFile]:
    """A file for each split."""
    return [
        ExportedFile(f"{split}.json", "array", (request(benchmark, case) for case in cases))
        for split, cases in splits.items()
    ]


def request(benchmark: Benchmark[Any], case: Record) -> dict[str, Any]:
    """A case as EasyEdit's request, its prompts set into the benchmark's template.

    ``subject`` is the whole intent or function, so that what is left of the prompt around it is the template: methods
    that edit at the subject's last token do so where the prompt's own text ends. ``case_id`` is ours; EasyEdit passes
    it on. A case without neighbours has no locality.
    """
    prompts = [benchmark.prompt(getattr(near, benchmark.prompt_field)) for near in case.neighborhood]
    answers = [getattr(near, benchmark.target_field) for near in case.neighborhood]
    return {
        "case_id": case.case_id,
        "prompt": benchmark.prompt(getattr(case, benchmark.prompt_field)),
        "target_new": getattr(case, benchmark.target_field),
        "ground_truth": UNKNOWN_ANSWER,
        "rephrase_prompt": benchmark.prompt(getattr(case, benchmark.rephrased_field)),
        "subject": getattr(case, benchmark.prompt_field),
        "locality": {"neighborhood": {"prompt": prompts, "ground_truth": answers}} if prompts else {},
        "portability": {},
    }
