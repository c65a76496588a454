"""One edit's A = (lambda C + k k^T)^-1 k: a dense f x f solve, as the published code does it, against one factor of C.

    python benchmarks/statistics_solve.py --f 11008

With C factored once for a layer, A = C^-1 k / (lambda + k^T C^-1 k) (Sherman and Morrison) costs two triangular solves.
Both sides compute in float64 on the same made-up C, at f/4, f/2 and f, the fastest of several runs counts on either
side, and the exponents are fitted to the three times. A factor under some 50 MB (f = 2500) stays in the processor's
cache: with a small --f the factored side grows faster than f^2 where it stops to fit.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from clmeeval_data.evaluation.model.statistics import KeyStatistics

WEIGHT = 15000.0  # lambda of the published settings
TOLERANCE = 1e-6  # of the relative difference of both sides
RANK = 256


def made_up(f: int, device: str) -> KeyStatistics:
    """A symmetric positive definite C with a decaying spectrum, as those of real keys have."""
    generator = torch.Generator().manual_seed(f)
    directions = torch.randn(f, RANK, generator=generator) / math.sqrt(RANK)
    moment = directions @ directions.T
    moment = (moment + moment.T) / 2
    moment.diagonal().add_(torch.logspace(0, -3, f))
    return KeyStatistics(0, 2 * f, moment.to(device))


def seconds_of(work: Callable[[], Tensor], device: str) -> tuple[float, Tensor]:
    """How long the work takes, and its result."""
    started = time.perf_counter()
    result = work()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, result


def compare(f: int, dense_runs: int, edits: int, device: str) -> dict:
    """Both sides at one width: seconds per edit, and the relative difference of the first edit's A."""
    found = made_up(f, device)
    keys = torch.randn(edits, f, 1, generator=torch.Generator().manual_seed(0)).to(device)

    def dense(key: Tensor) -> Tensor:
        wide = key.double()
        return torch.linalg.solve(WEIGHT * found.second_moment.double() + wide @ wide.T, wide)

    def factored(key: Tensor) -> Tensor:
        solved = found.solve(key)
        return solved / (WEIGHT + key.double().T @ solved)

    slow = [seconds_of(lambda: dense(keys[0]), device) for _ in range(dense_runs)]
    factor_seconds, _ = seconds_of(lambda: found.solve(keys[0]), device)
    quick = [seconds_of(lambda key=key: factored(key), device) for key in keys]
    dense_seconds, seconds = (min(each for each, _ in timed) for timed in (slow, quick))
    expected = slow[0][1]
    difference = float((quick[0][1] - expected).norm() / expected.norm())
    if difference > TOLERANCE:
        raise SystemExit(f"f = {f}: both sides differ by {difference:.1e}, expected at most {TOLERANCE:.0e}")
    return {
        "f": f,
        "device": device,
        "threads": torch.get_num_threads(),
        "dense_seconds": dense_seconds,
        "factor_seconds": factor_seconds,
        "factored_seconds": seconds,
        "ratio": dense_seconds / seconds,
        "difference": difference,
        "dense_runs": dense_runs,
        "edits": edits,
    }


def exponent(rows: list[dict], name: str) -> float:
    """The slope of log seconds over log f by least squares."""
    points = [(math.log(row["f"]), math.log(row[name])) for row in rows]
    x, y = (statistics.fmean(values) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def main() -> None:
    """Run the comparison at three widths and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--f", type=int, default=11008, help="MLP width; 11008 is that of a 7B Llama")
    parser.add_argument("--dense", type=int, default=3, help="runs of the dense side; the fastest counts")
    parser.add_argument("--edits", type=int, default=20, help="edits of the factored side; the fastest counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    compare(64, 1, 1, options.device)  # what libraries load on their first call is nobody's time
    rows = []
    for f in (options.f // 4, options.f // 2, options.f):
        rows.append(compare(f, options.dense, options.edits, options.device))
        Console(stderr=True).print(rows[-1])
    fitted = {name: exponent(rows, name) for name in ("dense_seconds", "factor_seconds", "factored_seconds")}
    table = Table("f", "dense s/edit", "factored s/edit", "ratio", "relative difference", "factoring s, once")
    for row in rows:
        seconds = f"{row['dense_seconds']:.3f}", f"{row['factored_seconds']:.5f}"
        last = f"{row['difference']:.1e}", f"{row['factor_seconds']:.3f}"
        table.add_row(str(row["f"]), *seconds, f"{row['ratio']:.0f}x", *last)
    dense, factoring, factored = (f"f^{fitted[f'{name}_seconds']:.2f}" for name in ("dense", "factor", "factored"))
    table.add_row("grows as", dense, factored, "", "", factoring, style="bold")
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "exponents": fitted}, indent=1))


if __name__ == "__main__":
    main()
