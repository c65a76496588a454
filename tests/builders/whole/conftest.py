"""Both benchmarks, built once from the raw corpora by the command that a user gives."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clmeeval_data import storage
from clmeeval_data.records import BENCHMARKS, SPLITS, Benchmark

ROOT = Path(__file__).parents[3]
CORPORA = ROOT.parent / "shared" / "data"
FILES = {
    "cnle": (
        "conala-curated=conala_curated_train",
        "conala-curated=conala_curated_test",
        "stackoverflow=stackoverflow_python_ejhfast",
        "python-docs=python_docs_api_pairs",
    ),
    "csne": (
        "codesearchnet=codesearchnet_python_test",
        "codesearchnet=codesearchnet_python_valid",
        "codesearchnet=codesearchnet_python_cosqa_subset",
    ),
}


@dataclass(frozen=True)
class Whole:
    """A whole benchmark: its folder, its cases by split, how many rows went for which reason, what was printed."""

    benchmark: Benchmark[Any]
    folder: Path
    splits: dict[str, list[Any]]
    reasons: Counter[tuple[str, str]]
    printed: str

    @property
    def cases(self) -> list[Any]:
        return [case for split in SPLITS for case in self.splits[split]]

    def prompt(self, case: Any) -> str:
        return getattr(case, self.benchmark.prompt_field)

    def rephrased(self, case: Any) -> str:
        return getattr(case, self.benchmark.rephrased_field)

    def target(self, case: Any) -> str:
        return getattr(case, self.benchmark.target_field)

    def neighbours(self, case: Any) -> list[tuple[str, str]]:
        fields = (self.benchmark.prompt_field, self.benchmark.target_field)
        return [tuple(getattr(each, field) for field in fields) for each in case.neighborhood]


def command(benchmark: str, out: Path, *more: str, sources: tuple[str, ...] | None = None) -> str:
    """Build a benchmark in another process; gives what it printed."""
    words = [benchmark, "--out", str(out), *more]
    for source in FILES[benchmark] if sources is None else sources:
        name, _, file = source.partition("=")
        words += ["--source", f"{name}={CORPORA / file}.jsonl.gz"]
    if benchmark == "csne":
        words += ["--repository-licences", str(CORPORA / "codesearchnet_repo_licenses.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", "from clmeeval_data.builders.cli import main; main()", *words]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def opened(folder: Path, printed: str = "") -> Whole:
    """A built benchmark."""
    splits = {split: storage.read_split(folder, split) for split in SPLITS}
    with gzip.open(folder / storage.DROPPED, "rt", encoding="utf-8") as lines:
        reasons = Counter((row["source"], row["reason"]) for row in map(json.loads, lines))
    return Whole(storage.benchmark_of(folder), folder, splits, reasons, printed)


@pytest.fixture(scope="session")
def raw() -> Path:
    if not CORPORA.is_dir():
        pytest.skip("needs the raw corpora beside the checkout: ../shared/data")
    return CORPORA


@pytest.fixture(scope="session")
def cnle(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("whole") / "cnle"
    return opened(out, command("cnle", out, "--jobs", "2"))


@pytest.fixture(scope="session")
def csne(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("whole") / "csne"
    return opened(out, command("csne", out, "--jobs", "2"))


@pytest.fixture
def cnle_without(raw: Path, tmp_path: Path) -> Callable[[str], Whole]:
    """Build CNLE without one of its sources."""

    def build(name: str) -> Whole:
        sources = tuple(source for source in FILES["cnle"] if not source.startswith(name))
        return opened(tmp_path / "cnle", command("cnle", tmp_path / "cnle", "--jobs", "2", sources=sources))

    return build


@pytest.fixture(params=list(BENCHMARKS), scope="session")
def whole(request: pytest.FixtureRequest) -> Whole:
    return request.getfixturevalue(request.param)
