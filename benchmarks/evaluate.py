"""Whole evaluations, as users run them, against the plain protocol: seconds per case, method by method, in one run.

    python benchmarks/evaluate.py                                       # the paper's methods on SmolLM2, both datasets
    python benchmarks/evaluate.py --trained cnle.safetensors ...        # trained files of malmen and agrace
    python benchmarks/evaluate.py --shape 7b --device cuda --dtype bfloat16 --batch 64   # random weights, 7B-shaped

What each side includes, per case and method:

* batched: reading the prompts and the unedited answers, once for all methods that are run; the edits of a batch
  together; their answers and sampled texts in one batch; metrics, and writing the results down. The classes, and their
  order, are those of a run of all methods (``runner``): ``prompts_read``, ``UneditedAnswers``, ``Measurement``.
* plain, one case at a time: the edit by full passes; then, under the edit, one generation for the prompt, one for the
  rephrased prompt, one for the neighbours together, and a sampled text; and the unedited answers, which the released
  code computes for every method anew. These are the same computation for every method, so they are timed once and
  charged to each. No metrics, and nothing is written.

What is shared on the batched side is charged in equal parts to the methods of the run (column "ratio"), and in a second
column wholly to each ("alone"), which is what a run of one method would cost. Preparation (statistics, training) is on
neither side. The plain side runs some of the cases, evenly spread over the cases in the order of their length, and its
answers are compared with the batched ones, text by text.

Seconds are wall time; with one thread (OMP_NUM_THREADS=1) and ``--cpu``, seconds of this process's CPU time, which
other work on the machine changes less. ``--count`` runs the batched side once more under torch's counter of
multiplications and additions: the rate that is reached, as a share of a large matrix product's or of ``--peak``.
"""

import argparse
import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import plain_protocol
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import RECIPES
from clmeeval_data.builders.sources import SOURCES
from clmeeval_data.evaluation.answers import UneditedAnswers
from clmeeval_data.evaluation.cluster import make_editor, read_tests
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Case, Editor
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.hparams import settings_for
from clmeeval_data.evaluation.measurement import Measurement, prompts_read
from clmeeval_data.evaluation.model.lm import DTYPES, LanguageModel, load_language_model
from clmeeval_data.evaluation.model.smollm2 import NAME, smollm2_folder
from clmeeval_data.evaluation.runner import TestSet
from clmeeval_data.evaluation.scoring.cost import measured
from clmeeval_data.journal import Journal
from clmeeval_data.records import targets_are_code

PAPER = ("ft", "rome", "memit", "pmet", "malmen", "grace", "agrace")
DATASETS = ("cnle", "csne")
READING, UNEDITED = "(reading)", "(unedited answers)"  # what the methods of a run share
SHAPES = {  # layers, d, f, heads, key-value heads
    "7b": (32, 4096, 11008, 32, 32),
    "tiny": (4, 64, 128, 4, 2),
}


@dataclass
class Clock:
    """Seconds by what they were spent on. ``now``: wall time, or this process's CPU time."""

    device: torch.device
    now: Callable[[], float]

    def __post_init__(self) -> None:
        self.spent: Counter[str] = Counter()

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add the time of a block, work still queued on the device included."""
        self._wait()
        started = self.now()
        try:
            yield
        finally:
            self._wait()
            self.spent[what] += self.now() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def random_model(shape: str, device: str, dtype: str, tokenizer_of: str) -> LanguageModel:
    """A Llama of a given shape with random weights, and the tokenizer of another model."""
    layers, d, f, heads, few = SHAPES[shape]
    tokenizer = AutoTokenizer.from_pretrained(str(smollm2_folder()) if tokenizer_of == NAME else tokenizer_of)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=d, intermediate_size=f, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=few, max_position_embeddings=4096, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[dtype])
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    return LanguageModel(model, tokenizer, f"random-{shape}")


def untrained(method: str, lm: LanguageModel) -> Trained:
    """What a method's training starts from, as a trained file: as long to compute with as a real one."""
    cls = EDITORS[method]
    editor = cls(cls.config_class.from_dict(settings_for(method, lm.name, lm.map.depth).values))
    state = editor.trainer(lm).parameters.state_dict()
    return Trained(method, editor.config.as_dict(), lm.fingerprint, lm.name, {}, state)


def batches_of(cases: Sequence[Case], size: int) -> list[list[Case]]:
    """Batches of cases of similar length."""
    ordered = sorted(cases, key=length_of)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def length_of(case: Case) -> tuple[int, str]:
    """What cases are ordered by: their longest prompt and their target, in characters."""
    return max(len(prompt) for prompt in case.prompts) + len(case.target), case.case_id


def batched(
    lm: LanguageModel, editors: Sequence[Editor], tests: TestSet, size: int, results: Path, clock: Clock
) -> dict[str, dict[str, dict[str, Any]]]:
    """The entries of all cases by method and id, in the way of a run of all methods."""
    answers, code = UneditedAnswers(lm), targets_are_code(tests.benchmark.name)
    works = [Measurement(lm, editor, answers, code, seed=0) for editor in editors]
    layers = sorted({layer for work in works for layer in work.layers})
    found: dict[str, dict[str, dict[str, Any]]] = {editor.name: {} for editor in editors}
    for batch in batches_of(tests.cases, size):
        shared = prompts_read(lm, batch, layers)
        with clock.on(READING):
            reading = shared.__enter__()
        with clock.on(UNEDITED):
            answers.of(batch)
        for work in works:
            name = work.editor.name
            with clock.on(name):
                entries = work.entries(batch, reading)
                Journal(results / f"{name}.jsonl").append(entries)
            found[name] |= {entry["id"]: entry for entry in entries}
        shared.__exit__(None, None, None)
    for name, entries in found.items():
        failed = [entry["error"] for entry in entries.values() if entry["error"]]
        if failed:
            raise SystemExit(f"{name}: {failed[0]}")
    return found


def plain(lm: LanguageModel, editor: Editor, cases: Sequence[Case], clock: Clock) -> dict[str, list[str]]:
    """The plain protocol's answers under the edit of each case, by id."""
    found = {}
    for case in cases:
        with clock.on(editor.name):
            with clock.on(f"{editor.name} edit"):
                edit = plain_protocol.edit(lm, editor, case.request)
            with torch.no_grad(), edit.applied(lm):
                found[case.case_id] = plain_protocol.answers(lm, case)
    return found


def texts_of(entry: dict[str, Any]) -> list[str]:
    """The edited answers of a case in the order of its prompts."""
    outputs = entry["outputs"]
    first = [outputs["effectiveness"]["after"], outputs["generalisation"]["after"]]
    return first + [answer["after"] for answer in outputs["specificity"]]


def largest_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product: what the machine can do at best."""
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=dtype)
    float((one @ one).sum())
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        float((one @ one).sum())  # waits for the device
        seconds.append(time.perf_counter() - started)
    return 2 * len(one) ** 3 / min(seconds)


def operations(lm: LanguageModel, editors: Sequence[Editor], tests: TestSet, size: int) -> dict[str, float]:
    """Operations per case of what the methods share, and of each method's edits and answers."""
    counted: dict[str, float] = {}

    class Counted(Clock):
        @contextmanager
        def on(self, what: str) -> Iterator[None]:
            with FlopCounterMode(display=False) as counter:
                yield
            counted[what] = counted.get(what, 0.0) + counter.get_total_flops() / len(tests.cases)

    with tempfile.TemporaryDirectory() as folder:
        batched(lm, editors, tests, size, Path(folder), Counted(lm.device, time.perf_counter))
    return counted


def compare(lm: LanguageModel, editors: Sequence[Editor], tests: TestSet, options: argparse.Namespace) -> list[dict]:
    """Both sides on one dataset, a row for every method."""
    now = time.process_time if options.cpu else time.perf_counter
    for editor in editors:
        editor.prepare(lm, tests.train)
    ours, theirs = Clock(lm.device, now), Clock(lm.device, now)
    with tempfile.TemporaryDirectory() as folder, measured(lm.device) as cost:
        found = batched(lm, editors, tests, options.batch, Path(folder), ours)
    operated = operations(lm, editors, tests, options.batch) if options.count else {}
    ordered, some = sorted(tests.cases, key=length_of), min(options.plain, len(tests.cases))
    picked = [ordered[int((index + 0.5) * len(ordered) / some)] for index in range(some)]
    with torch.no_grad():
        for case in picked:
            with theirs.on(UNEDITED):
                plain_protocol.unedited(lm, case)
    rows = []
    for editor in editors:
        answers = plain(lm, editor, picked, theirs)
        rows.append(row_of(editor.name, tests, ours.spent, theirs.spent, len(editors), len(picked)))
        mine = found[editor.name]
        pairs = [pair for key, texts in answers.items() for pair in zip(texts_of(mine[key]), texts, strict=True)]
        rows[-1] |= {
            "same_answers": sum(one == other for one, other in pairs),
            "answers": len(pairs),
            "batched_edit_wall_seconds": fmean(entry["cost"]["edit_seconds"] for entry in mine.values()),
            "peak_bytes": cost.peak_bytes,  # of the whole run, all methods
            "batch": options.batch,
        }
        if operated:
            rows[-1]["operations"] = operated[editor.name]
            rows[-1]["shared_operations"] = operated[READING] + operated[UNEDITED]
        Console(stderr=True).print(rows[-1])
    return rows


def row_of(
    name: str, tests: TestSet, ours: Counter[str], theirs: Counter[str], methods: int, plain_cases: int
) -> dict[str, Any]:
    """Seconds per case of a method on both sides."""
    cases = len(tests.cases)
    shared, own = (ours[READING] + ours[UNEDITED]) / cases, ours[name] / cases
    before, usual = theirs[UNEDITED] / plain_cases, theirs[name] / plain_cases
    return {
        "method": name,
        "dataset": tests.benchmark.name,
        "cases": cases,
        "plain_cases": plain_cases,
        "methods": methods,
        "plain_seconds": usual + before,
        "plain_edit_seconds": theirs[f"{name} edit"] / plain_cases,
        "plain_unedited_seconds": before,
        "batched_seconds": own + shared / methods,
        "batched_own_seconds": own,
        "shared_seconds": shared,
        "ratio": (usual + before) / (own + shared / methods),
        "ratio_alone": (usual + before) / (own + shared),
        "ratio_without_unedited": usual / (own + ours[READING] / cases / methods),
    }


def table_of(rows: list[dict[str, Any]], rate: float | None) -> Table:
    """The figures of all comparisons."""
    heads = ["method", "dataset", "plain s/case", "of it edit", "unedited", "batched s/case", "of it shared", "ratio"]
    heads += ["alone", "no unedited", "same answers"] + (["Gflop/case", "Gflop/s", "of the peak"] if rate else [])
    table = Table(*heads, title="ratio: shared work in equal parts; alone: all of it; no unedited: on neither side")
    for row in rows:
        cells = [row["method"], row["dataset"], f"{row['plain_seconds']:.2f}", f"{row['plain_edit_seconds']:.2f}"]
        cells += [f"{row['plain_unedited_seconds']:.2f}", f"{row['batched_seconds']:.2f}"]
        cells += [f"{row['shared_seconds'] / row['methods']:.2f}", f"{row['ratio']:.1f}x", f"{row['ratio_alone']:.1f}x"]
        cells += [f"{row['ratio_without_unedited']:.1f}x", f"{row['same_answers']}/{row['answers']}"]
        if rate:
            reached = row["operations"] / row["batched_own_seconds"]
            cells += [f"{row['operations'] / 1e9:.0f}", f"{reached / 1e9:.0f}", f"{reached / rate:.0%}"]
        table.add_row(*cells)
    return table


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--shape", choices=SHAPES, help="a model of this shape with random weights instead")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--method", action="append", choices=[name for name in EDITORS if name != "none"])
    parser.add_argument("--dataset", action="append", choices=DATASETS)
    parser.add_argument("--data", type=Path, help="a folder with the datasets cnle and csne; default: the samples")
    parser.add_argument("--cases", type=int, default=32, help="cases of the batched side")
    parser.add_argument("--batch", type=int, default=32, help="cases in a batch")
    parser.add_argument("--plain", type=int, default=4, help="cases that the plain protocol runs, per method")
    parser.add_argument(
        "--trained",
        type=Path,
        action="append",
        help="a file made by 'clmeeval-evaluate train'; below a folder cnle or csne it is for that dataset only",
    )
    parser.add_argument("--untrained", action="store_true", help="methods that need training run with first weights")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds of the process instead of wall seconds")
    parser.add_argument("--count", action="store_true", help="count the operations of the batched side too")
    parser.add_argument("--peak", type=float, help="the card's peak in Tflop/s; default: a large matrix product's rate")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def tests_of(dataset: str, options: argparse.Namespace, folder: Path) -> TestSet:
    """Cases of the test split, evenly spread over their ids, which are hashes."""
    if options.data is None:
        recipe = RECIPES[f"{dataset}-sample"]
        build(recipe, [SOURCES[recipe.sources[0]]()], folder / dataset, limit=200)
    tests = read_tests(str((options.data or folder) / dataset), "test", None)
    return replace(tests, cases=tuple(sorted(tests.cases, key=lambda case: case.case_id)[: options.cases]))


def trained_for(dataset: str, lm: LanguageModel, options: argparse.Namespace) -> dict[str, Trained]:
    """The trained files for a dataset, by method."""
    other = next(name for name in DATASETS if name != dataset)
    fitting = [path for path in options.trained or [] if other not in path.parts]
    found = {one.method: one for one in map(Trained.load, fitting)}
    if options.untrained or options.shape:
        for method in options.method or PAPER:
            if getattr(EDITORS[method], "needs_training", False) and method not in found:
                found[method] = untrained(method, lm)
    return found


def main() -> None:
    """Run the comparisons and print a table."""
    options = arguments()
    logging.disable(logging.WARNING)
    if options.shape:
        lm = random_model(options.shape, options.device, options.dtype, options.model)
    else:
        lm = load_language_model(options.model, options.device, options.dtype)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for dataset in options.dataset or DATASETS:
            tests, trained = tests_of(dataset, options, Path(folder)), trained_for(dataset, lm, options)
            methods = options.method or PAPER
            editors = [make_editor(method, lm, trained=trained.get(method)) for method in methods]
            rows += compare(lm, editors, tests, options)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1))
    rate = None
    if options.count:
        rate = options.peak * 1e12 if options.peak else largest_rate(lm.device, lm.dtype)
    Console(width=180).print(table_of(rows, rate))


if __name__ == "__main__":
    main()
