"""Rows per second of each step of a build, and its peak memory, with one worker and with several.

    python benchmarks/build.py --source conala-curated=DIR --source stackoverflow=FILE --source codesearchnet=DIR

A source counts for the dataset that it makes cases for (the first one, where it could make both). Each build runs in a
process of its own. The time of a step runs to the start of the next one, so that all of them add up to the whole.
Memory is the largest sum of the resident sizes of the main process and its workers, looked at ten times a second (on
Linux, and without the workers of Ray; pages that processes share count for each). The builds of one dataset must agree
in every byte.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clmeeval_data.builders.execution import open_executor
from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.pipeline.building import SHARD_SIZE
from clmeeval_data.builders.recipes import recipe_named
from clmeeval_data.builders.sources import SOURCES, SourceOptions, SourceSpec, open_source

STEPS = {
    "reading": "read and filter",
    "removing": "remove duplicates",
    "rephrasing": "rephrase",
    "finding": "find neighbours",
    "writing": "write",
}


class Stopwatch:
    """Follows a build that starts now through its steps: when each began, and how many rows it had."""

    def __init__(self) -> None:
        self._starts = {"reading": time.perf_counter()}
        self._rows: dict[str, int] = dict.fromkeys(STEPS, 0)

    def track(self, rows: Iterable[Any], title: str, _total: int | None) -> Iterator[Any]:
        """The rows, counted for the step that the title begins with."""
        step = title.split(maxsplit=1)[0]
        self._starts.setdefault(step, time.perf_counter())
        for row in rows:
            self._rows[step] += 1
            yield row

    def steps(self, end: float) -> list[dict[str, Any]]:
        """The steps in their order: rows, seconds, and rows per second."""
        starts = [self._starts[step] for step in STEPS]
        seconds = [after - before for before, after in zip(starts, [*starts[1:], end], strict=True)]
        counts = [self._rows[step] for step in STEPS]
        return [
            {"step": STEPS[step], "rows": rows, "seconds": spent, "rows_per_second": rows / spent}
            for step, rows, spent in zip(STEPS, counts, seconds, strict=True)
        ]


class Memory:
    """The largest resident size of this process and its workers together while the block runs, in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
            self.peak = max(self.peak, sum(resident(pid) for pid in pids if pid is not None))


def resident(pid: int) -> int:
    """The resident size of a process in bytes; 0 where the system doesn't say, or the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(recipe: str, specs: list[str], licences: Path | None, executor: str | None, jobs: int) -> dict[str, Any]:
    """One build: its steps, its peak memory in bytes, and the hash of all that it wrote."""
    rules = recipe_named(recipe)
    options = SourceOptions(prob=rules.prob, repository_licences=licences, offline=True)
    sources = [open_source(spec, rules.benchmark, options) for spec in specs]
    running = open_executor(executor, jobs)
    with tempfile.TemporaryDirectory() as folder, Memory() as memory:
        started, watch = time.perf_counter(), Stopwatch()
        report = build(rules, sources, Path(folder) / "out", track=watch.track, executor=running)
        end = time.perf_counter()
        content = {path.name: path.read_bytes() for path in sorted((Path(folder) / "out").rglob("*.*"))}
    return {
        "recipe": recipe,
        "executor": executor or ("serial" if jobs == 1 else "processes"),
        "jobs": jobs,
        "steps": watch.steps(end),
        "seconds": end - started,
        "peak_bytes": memory.peak,
        "read": report.funnel.read,
        "cases": sum(report.counts.values()),
        "sha256": hashlib.sha256(repr(content).encode()).hexdigest(),
    }


def alone(*arguments: Any) -> dict[str, Any]:
    """A measurement in a process of its own, whose memory holds nothing of an earlier one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def by_dataset(specs: list[str]) -> dict[str, list[str]]:
    """The sources of each dataset, in the order in which they were given."""
    found: dict[str, list[str]] = {}
    for spec in specs:
        found.setdefault(SOURCES[SourceSpec.parse(spec).name].benchmarks[0], []).append(spec)
    return found


def table_of(rows: list[dict[str, Any]]) -> Table:
    """The steps of all builds, and what each build took as a whole."""
    table = Table("dataset", "jobs", "step", "rows", "seconds", "rows/s", "peak MB", "cases")
    for row in rows:
        name, jobs = row["recipe"], f"{row['jobs']} ({row['executor']})"
        for step in row["steps"]:
            figures = f"{step['rows']:,}", f"{step['seconds']:.1f}", f"{step['rows_per_second']:,.0f}"
            table.add_row(name, jobs, step["step"], *figures)
        whole = f"{row['read']:,}", f"{row['seconds']:.1f}", f"{row['read'] / row['seconds']:,.0f}"
        last = f"{row['peak_bytes'] / 1e6:,.0f}", f"{row['cases']:,}"
        table.add_row(name, jobs, "whole", *whole, *last, style="bold", end_section=True)
    return table


def main() -> None:
    """Run the builds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", action="append", required=True, help="NAME[=LOCATION], as for clmeeval-build")
    parser.add_argument("--recipe", action="append", help="instead of 'cnle' and 'csne': one for each dataset")
    parser.add_argument("--repository-licences", type=Path, help="of the source codesearchnet")
    parser.add_argument("--jobs", type=int, action="append", help="by default 1, and the number of cores")
    parser.add_argument("--executor", help="'processes' or 'ray'; by default as clmeeval-build chooses")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    recipes = {recipe_named(name).benchmark: name for name in options.recipe or ()}
    rows: list[dict[str, Any]] = []
    for dataset, specs in by_dataset(options.source).items():
        for jobs in options.jobs or (1, os.cpu_count() or 1):
            recipe = recipes.get(dataset, dataset)
            rows.append(alone(recipe, specs, options.repository_licences, options.executor, jobs))
            Console(stderr=True).print(rows[-1])
            if len({row["sha256"] for row in rows if row["recipe"] == recipe}) > 1:
                raise SystemExit(f"{recipe} with {jobs} jobs differs from the build before. Expected the same bytes.")
    Console().print(table_of(rows))
    Console().print(f"in shards of {SHARD_SIZE:,} rows, on {os.cpu_count()} cores")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
