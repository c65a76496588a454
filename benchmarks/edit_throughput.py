"""Cases per second with batched independent edits, against the plain protocol, in one run.

    python benchmarks/edit_throughput.py --method grace --dataset cnle --batch 16 --plain 4

Both sides edit the model and ask all of a case's prompts, a sampled text of 64 tokens included; the unedited answers,
which all methods share, are computed before. The plain side runs the first cases of the batch, and the answers of both
sides are compared text by text.

With --count the edits of both sides are run once more under torch's own counter of multiplications and additions: how
much less the batched side has to compute (which a better use of the machine can add to, and nothing else), and how far
it is from the time in which the machine, at the rate of a large matrix product, could do just that.
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
from torch.utils.flop_counter import FlopCounterMode

from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import RECIPES
from clmeeval_data.builders.sources import SOURCES
from clmeeval_data.evaluation.answers import UneditedAnswers
from clmeeval_data.evaluation.cluster import make_editor, read_tests
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Editor
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


def largest_rate(device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product in float32: what the machine can do at best."""
    one = torch.randn(2048, 2048, device=device)
    one @ one
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        float((one @ one).sum())  # waits for the device
        seconds.append(time.perf_counter() - started)
    return 2 * len(one) ** 3 / min(seconds)


def operations(lm: LanguageModel, editor: Editor, tests: TestSet) -> dict[str, float]:
    """Operations of an edit on either side: the whole batch's share, and those of its first case alone."""
    with FlopCounterMode(display=False) as batched:
        editor.edit_each(lm, [case.request for case in tests.cases])
    with FlopCounterMode(display=False) as plain:
        plain_protocol.edit(lm, editor, tests.cases[0].request)
    rate = largest_rate(lm.device)
    return {
        "batched_operations": batched.get_total_flops() / len(tests.cases),
        "plain_operations": plain.get_total_flops(),
        "floor_seconds": batched.get_total_flops() / len(tests.cases) / rate,
        "rate": rate,
    }


def compare(
    lm: LanguageModel, method: str, tests: TestSet, plain: int, results: Path, trained: Trained | None, count: bool
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
        **(operations(lm, editor, tests) if count else {}),
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
    parser.add_argument("--count", action="store_true", help="count the operations of both sides' edits too")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    trained = {one.method: one for one in map(Trained.load, options.trained or [])}
    lm = load_language_model(options.model, options.device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for dataset in options.dataset or DATASETS:
            recipe = RECIPES[f"{dataset}-sample"]
            build(recipe, [SOURCES[recipe.sources[0]]()], Path(folder) / dataset, limit=200)
            tests = read_tests(str(Path(folder) / dataset), "test", None)
            cases = sorted(tests.cases, key=lambda case: case.case_id)[: options.batch]  # ids are hashes: by chance
            tests = replace(tests, cases=tuple(cases))
            for method in options.method or METHODS:
                results, own = Path(folder) / "results", trained.get(method)
                rows.append(compare(lm, method, tests, options.plain, results, own, options.count))
                Console(stderr=True).print(rows[-1])
                if options.json:
                    options.json.write_text(json.dumps(rows, indent=1))
    Console().print(table_of(rows, options.count))


def table_of(rows: list[dict[str, Any]], count: bool) -> Table:
    """The figures of all comparisons; the ratio of the edits alone stands beside that of whole cases."""
    heads = ("method", "dataset", "plain s/case", "batched s/case", "ratio", "plain s/edit", "batched s/edit", "ratio")
    table = Table(*heads, "same answers", "peak MB", *(("Gflop/edit", "fewer", "floor s/edit") if count else ()))
    for row in rows:
        cells = [row["method"], row["dataset"]]
        for kind in ("", "edit_"):
            plain, batched = row[f"plain_{kind}seconds"], row[f"batched_{kind}seconds"]
            cells += [f"{plain:.2f}", f"{batched:.2f}", f"{plain / batched:.1f}x"]
        cells += [f"{row['same_answers']}/{row['answers']}", f"{(row['peak_bytes'] or 0) / 1e6:.0f}"]
        if count:
            mine, theirs = row["batched_operations"], row["plain_operations"]
            cells += [f"{mine / 1e9:.1f}", f"{theirs / mine:.1f}x", f"{row['floor_seconds']:.2f}"]
        table.add_row(*cells)
    return table


if __name__ == "__main__":
    main()
