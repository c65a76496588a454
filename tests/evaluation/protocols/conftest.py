"""Cases with targets of a few tokens, methods that edit a tiny model, and answers made the plain way."""

import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from clmeeval_data.evaluation.answers import answer_lengths
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.plan import Plan
from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.runner import TestSet
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import write_dataset

SETTINGS = {
    "none": {},
    "ft": {"layer": 1, "steps": 3, "learning_rate": 1e-2, "clamp": 1e-2},
    "grace": {"layer": 2, "learning_rate": 0.3, "steps": 5, "start": "zero"},
    "rome": {"layer": 1, "steps": 5, "contexts": 0},
    "memit": {"layers": (1, 2), "steps": 5, "contexts": 0, "weight": 1.0},
    "pmet": {"layers": (1, 2), "steps": 5, "contexts": 0, "weight": 1.0},
    "alphaedit": {"layers": (1, 2), "steps": 5, "contexts": 0},
    "ultraedit": {"layers": (2, 3), "eta": 1e-3},
    "lora": {"layers": (1, 2), "steps": 3, "rank": 2},
    "incontext": {},
}


@pytest.fixture(scope="session")
def protocol_tests(sample_rows):
    """Seven short cases with two neighbours each, and five training requests."""

    def prompt(row, field="intent"):
        return CNLE.prompt(row[field])

    rows = sorted(sample_rows, key=lambda row: len(row["intent"]) + len(row["snippet"]))
    cases = [
        Case(f"case-{i}", prompt(row), prompt(row, "rewritten_intent"), row["snippet"],
             (prompt(rows[i + 30]), prompt(rows[i + 31])))
        for i, row in enumerate(rows[2:21])
    ]  # fmt: skip
    chosen = [cases[i] for i in (4, 0, 6, 2, 1, 5, 3)]  # not in the order of their length
    return TestSet(CNLE, "test", tuple(chosen), tuple(case.request for case in cases[10:15]))


@pytest.fixture
def make_method():
    """A method with the settings above, and others on top."""

    def make(name, **changes):
        cls = EDITORS[name]
        return cls(cls.config_class(**{**SETTINGS[name], **changes}))

    return make


@pytest.fixture
def copied():
    """A model of its own with the same weights."""

    def make(lm):
        return LanguageModel(copy.deepcopy(lm.model), lm.tokenizer, lm.name)

    return make


def entries_of(folder):
    """The entries without what is measured."""
    return {key: {k: v for k, v in e.items() if k not in {"cost", "details"}} for key, e in folder.entries().items()}


@pytest.fixture
def entries():
    return entries_of


@pytest.fixture
def plain_answers():
    """What transformers' own generation answers to all prompts of a case, one at a time, without any of our caches."""

    def answer(lm, case):
        found = []
        for prompt, length in zip(case.prompts, answer_lengths(lm, case), strict=True):
            ids = torch.tensor([lm.encode(prompt)])
            options = {"max_new_tokens": length, "do_sample": False, "pad_token_id": lm.pad_id}
            with torch.no_grad():
                output = lm.model.generate(ids, attention_mask=torch.ones_like(ids), **options)
            found.append(lm.decode(output[0, ids.shape[1] :].tolist()))
        return found

    return answer


@pytest.fixture
def answers_in():
    """The texts of an entry in the order of the case's prompts."""

    def read(entry, which="after"):
        outputs = entry["outputs"]
        answers = [outputs["effectiveness"], outputs["generalisation"], *outputs["specificity"]]
        return [answer[which] for answer in answers]

    return read


class Command(NamedTuple):
    """A command line, where it writes, its environment, and the same as a plan that writes elsewhere."""

    words: list[str]
    out: Path
    environment: dict[str, str]
    plan: Callable[[Path], Plan]


@pytest.fixture
def sequence_command(saved_work, tmp_path):
    """The command that edits twelve cases of a dataset with one sequence of ROME."""
    settings = {"layer": 1, "steps": 10, "contexts": 0}

    def plan(out):
        return Plan(
            model=str(saved_work / "model"),
            datasets=(str(saved_work / "data"),),
            methods=("rome",),
            out=out,
            overrides=tuple(settings.items()),
            protocol=EvaluationProtocol("sequential", 12),
        )

    def command(out):
        words = [sys.executable, "-m", "clmeeval_data.evaluation.cli", "run", "--model", str(saved_work / "model")]
        words += ["--dataset", str(saved_work / "data"), "--out", str(tmp_path / out), "--method", "rome"]
        words += ["--protocol", "sequential:12", *(f"--set={name}={value}" for name, value in settings.items())]
        environment = {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        return Command(words, tmp_path / out, {**os.environ, **environment}, plan)

    return command


@pytest.fixture
def saved_work(save_model, tmp_path):
    """A folder with ``model``, saved, and ``data``, a dataset with twelve test cases."""
    records = [
        CnleRecord(
            CNLE.case_id(f"add {i} to x", f"x += {i} * 7 - {i}"),
            f"add {i} to x",
            f"increase x by {i}",
            f"x += {i} * 7 - {i}",
            (CnleNeighbour(f"do {i} things", f"f({i})", 50.0),),
            Provenance("test", f"q{i}", f"group {i}", "Apache-2.0"),
            Rephrasing("human", "", "1"),
        )
        for i in range(16)
    ]
    write_dataset(tmp_path / "data", CNLE, {"train": records[:2], "validation": records[2:4], "test": records[4:]}, {})
    save_model(tmp_path / "model")
    return tmp_path
