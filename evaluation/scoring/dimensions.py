"""The dimensions of an evaluation: which prompts are asked, how much is generated, and against what it is scored.

Effectiveness: the prompt -> the target. Generalisation: the rephrased prompt -> the target. Specificity: every
neighbour -> what the same model answered before the edit. Fluency: how varied a longer sampled text is.

Source: Li et al., ICSE 2025 (arXiv 2411.06638), section III.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.scoring.metrics import ngram_entropy, text_scores
from clmeeval_data.records import Benchmark, Record

SPECIFICITY_TOKENS = 16
FLUENCY_TOKENS = 64
FLUENCY_TOP_K = 5


@dataclass(frozen=True)
class Answers:
    """What a model says to a case's prompts, as token ids in the order of ``Case.prompts``, and its sampled text."""

    prompts: tuple[tuple[int, ...], ...]
    sampled: tuple[int, ...] = ()


def case_of(benchmark: Benchmark[Any], record: Record) -> Case:
    """A record of the dataset as a case to evaluate."""
    row = benchmark.to_row(record)
    return Case(
        case_id=record.case_id,
        prompt=benchmark.prompt(row[benchmark.prompt_field]),
        rephrased_prompt=benchmark.prompt(row[benchmark.rephrased_field]),
        target=row[benchmark.target_field],
        neighbour_prompts=tuple(benchmark.prompt(item[benchmark.prompt_field]) for item in row["neighborhood"]),
    )


def cases_hash(cases: Sequence[Case]) -> str:
    """Twelve hexadecimal digits that name a set of cases, whatever their order."""
    lines = sorted(json.dumps({"case_id": case.case_id, **case.as_dict()}, sort_keys=True) for case in cases)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def decoding() -> dict[str, Any]:
    """How outputs are generated, as part of a run's identity."""
    return {
        "answers": "greedy",
        "specificity_tokens": SPECIFICITY_TOKENS,
        "fluency_tokens": FLUENCY_TOKENS,
        "fluency_top_k": FLUENCY_TOP_K,
    }


def score_outputs(case: Case, outputs: Mapping[str, Any], code: bool) -> dict[str, dict[str, float]]:
    """All scores of one case.

    Args:
        case: The case.
        outputs: ``effectiveness`` and ``generalisation`` ({"after": text}), ``specificity`` (a list of {"before": text,
            "after": text}), ``fluency`` ({"after": text}).
        code: Whether the target is code, so that its syntax is scored too.
    """
    near = [text_scores(item["after"], item["before"], code=False) for item in outputs["specificity"]]
    specificity = {name: fmean(scores[name] for scores in near) for name in near[0]} if near else {}
    if near:
        specificity["exact_match_all"] = float(all(scores["exact_match"] == 1.0 for scores in near))
    return {
        "effectiveness": text_scores(outputs["effectiveness"]["after"], case.target, code=code),
        "generalisation": text_scores(outputs["generalisation"]["after"], case.target, code=code),
        "specificity": specificity,
        "fluency": {"ngram_entropy": ngram_entropy(outputs["fluency"]["after"])},
    }
