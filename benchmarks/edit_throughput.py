"""Cases per second with batched independent edits, against the plain protocol, in one run.

    python benchmarks/edit_throughput.py --method grace --dataset cnle --batch 16 --plain 4

Both sides edit the model and ask all of a case's prompts, a sampled text of 64 tokens included; the unedited answers,
which all methods share, are computed before. The plain side runs the first cases of the batch, and the answers of both
sides are compared text by text.
"""

import argparse
import json
import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import plain_protocol
import torch
from rich.console import Console
from rich.table import Table

from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import RECIPES
from clmeeval_data.builders.sources import SOURCES
from clmeeval_data.evaluation.answers import UneditedAnswers
from clmeeval_data.evaluation.cluster import make_editor, read_tests
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.measurement import Measurement
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.runner import TestSet
from clmeeval_data.evaluation.scoring.cost import measured

METHODS = tuple(name for name in EDITORS if name != "none")
DATASETS = ("cnle", "csne")


def texts_of(entry: dict) -> list[str]:
    """The edited answers of a case in the order of its prompts."""
    outputs = entry["outputs"]
    first = [outputs["effectiveness"]["after"], outputs["generalisation"]["after"]]
    return first + [answer["after"] for answer in outputs["specificity"]]


def compare(
    lm: LanguageModel, method: str, tests: TestSet, plain: int, results: Path, trained: Trained | None
) -> dict[str, Any]:
    """Both sides on the same cases: seconds per case, their ratio, and how many answers are the same text."""
    editor, dataset, cases = make_editor(method, lm, trained=trained), tests.benchmark.name, tests.cases
    editor.prepare(lm, tests.train)
    answers = UneditedAnswers(results, dataset, lm)
    answers.of(cases)
    with measured(lm.device) as batched:
        entries = Measurement(lm, editor, answers, dataset == "cnle", seed=0).entries(cases)
    failed = [entry["error"] for entry in entries if entry["error"]]
    if failed:
        raise SystemExit(f"{method} on {dataset}: {failed[0]}")
    found, edit_seconds, started = [], 0.0, time.perf_counter()
    for case in cases[:plain]:
        before = time.perf_counter()
        edit = plain_protocol.edit(lm, editor, case.request)
        edit_seconds += time.perf_counter() - before
        with torch.no_grad(), edit.applied(lm):
            found.append(plain_protocol.answers(lm, case))
    plain_seconds = (time.perf_counter() - started) / plain
    pairs = [
        pair for entry, texts in zip(entries, found, strict=False) for pair in zip(texts_of(entry), texts, strict=True)
    ]
    return {
        "method": method,
        "dataset": dataset,
        "batch": len(cases),
        "batched_seconds": batched.seconds / len(cases),
        "batched_edit_seconds": entries[0]["cost"]["edit_seconds"],
        "plain_seconds": plain_seconds,
        "plain_edit_seconds": edit_seconds / plain,
        "ratio": plain_seconds * len(cases) / batched.seconds,
        "same_answers": sum(mine == theirs for mine, theirs in pairs),
        "answers": len(pairs),
        "peak_bytes": batched.peak_bytes,
    }


def main() -> None:
    """Run the comparisons and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--method", action="append", choices=METHODS)
    parser.add_argument("--dataset", action="append", choices=DATASETS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--plain", type=int, default=4, help="cases that the plain protocol runs")
    parser.add_argument("--trained", type=Path, action="append", help="a file made by 'clmeeval-evaluate train'")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    trained = {one.method: one for one in map(Trained.load, options.trained or [])}
    lm = load_language_model(options.model, options.device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for dataset in options.dataset or DATASETS:
            recipe = RECIPES[f"{dataset}-sample"]
            build(recipe, SOURCES[recipe.source](), Path(folder) / dataset, limit=200)
            tests = read_tests(str(Path(folder) / dataset), "test", None)
            cases = sorted(tests.cases, key=lambda case: case.case_id)[: options.batch]  # ids are hashes: by chance
            tests = replace(tests, cases=tuple(cases))
            for method in options.method or METHODS:
                rows.append(compare(lm, method, tests, options.plain, Path(folder) / "results", trained.get(method)))
                Console(stderr=True).print(rows[-1])
    table = Table("method", "dataset", "plain s/case", "batched s/case", "ratio", "same answers", "peak MB")
    for row in rows:
        same = f"{row['same_answers']}/{row['answers']}"
        seconds = f"{row['plain_seconds']:.2f}", f"{row['batched_seconds']:.2f}"
        peak = f"{(row['peak_bytes'] or 0) / 1e6:.0f}"
        table.add_row(row["method"], row["dataset"], *seconds, f"{row['ratio']:.1f}x", same, peak)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
