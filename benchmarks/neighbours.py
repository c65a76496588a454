"""The closest texts of a pool by the lazy search, against rapidfuzz.process.cdist over everything, in one run.

    python benchmarks/neighbours.py --data FOLDER

FOLDER holds the raw corpora (the files of CoNaLa, of Stack Overflow's titles and of CodeSearchNet); without it the
texts are made of the package's sample and of the standard library.

Both sides find the same number of closest texts for the same queries by the same score, and the results are compared
one by one. The brute force uses all cores, and each pair once where the queries are the pool; only the time of cdist
counts. The search uses one process, and its time includes that of making the index; its peak memory is that of a
process of its own. For the large pool the brute force is timed on a sample of the queries. The exponents are fitted to
the times of both sides at a quarter, a half and all of the size: 1 means as many times slower as queries times pool are
larger.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from rapidfuzz import fuzz, process
from rich.console import Console
from rich.table import Table

from clmeeval_data.builders.closest import Index
from clmeeval_data.builders.sources import Pair, open_source, read

ROWS_AT_ONCE = 64  # of the large matrix
ROUNDING = 1e-3  # more than single precision loses of a score
LEAST = 200  # characters of a function: with these the functions of CodeSearchNet have 980 on average


def intents(data: Path | None) -> list[str]:
    """The intents of the corpora, each once."""
    specs = [f"conala-curated={data}", f"stackoverflow={data}"] if data else ["sample"]
    pairs = (pair for spec in specs for pair in read(open_source(spec, "cnle")) if isinstance(pair, Pair))
    return in_order_of_hash(pair.prompt for pair in pairs)


def functions(data: Path | None) -> list[str]:
    """The functions of CodeSearchNet as they are, or those of the standard library, each once."""
    source = open_source(f"codesearchnet={data}" if data else "stdlib", "csne")
    rows = source.rows() if data else ()
    found = (row["code"] for row in rows) if data else (pair.prompt for pair in read(source) if isinstance(pair, Pair))
    return in_order_of_hash(code for code in found if len(code) >= LEAST)


def in_order_of_hash(texts: Iterator[str]) -> list[str]:
    """The different ones of some texts, in an order that has nothing to do with theirs."""
    return sorted(set(texts), key=lambda text: hashlib.sha256(text.encode("utf-8", "replace")).digest())


def recombined(texts: Sequence[str], number: int) -> list[str]:
    """As many texts, made of the words of these and as long as these."""
    draw = random.Random(0)
    lengths = [len(text.split()) for text in texts]
    words = [word for text in texts for word in text.split()]
    return [" ".join(draw.choices(words, k=draw.choice(lengths))) for _ in range(number)]


def search(texts: Sequence[str], queries: int, count: int, scorer: str) -> dict:
    """Our side, alone in its process: seconds, the closest texts of each query, peak memory."""
    started = time.perf_counter()
    index = Index(texts, scorer)
    built = time.perf_counter() - started
    found = [list(islice(index.ranked(query), count)) for query in range(queries)]
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "index_seconds": built, "found": found, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """The most memory that this process ever had (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def brute_force(
    written: Sequence, queries: Sequence[int], whole: bool, count: int
) -> tuple[float, list[list[tuple[int, float]]]]:
    """Seconds of cdist with all cores, and the closest texts of each query.

    Args:
        written: The pool as the score compares it.
        queries: Places in the pool.
        whole: Whether the queries are the pool, so that cdist computes each pair once.
        count: How many of the closest.
    """
    seconds, found = 0.0, []
    rows_at_once = len(queries) if whole else ROWS_AT_ONCE
    for start in range(0, len(queries), rows_at_once):
        chunk = queries[start : start + rows_at_once]
        asked = written if whole else [written[query] for query in chunk]
        started = time.perf_counter()
        scores = process.cdist(asked, written, scorer=fuzz.ratio, dtype=np.float32, workers=-1)
        seconds += time.perf_counter() - started
        found += [closest(written, query, row, count) for query, row in zip(chunk, scores, strict=True)]
    return seconds, found


def closest(written: Sequence, query: int, scores: np.ndarray, count: int) -> list[tuple[int, float]]:
    """The first places of a row by falling score, computed anew in double precision, then by place."""
    scores[query] = -1
    least = np.partition(scores, -count)[-count:].min() - ROUNDING
    places = [place for place in np.flatnonzero(scores >= least).tolist() if place != query]
    exact = process.cdist([written[query]], [written[place] for place in places], scorer=fuzz.ratio, dtype=np.float64)
    return sorted(zip(places, exact[0].tolist(), strict=True), key=lambda match: (-match[1], match[0]))[:count]


def compare(name: str, texts: Sequence[str], queries: int, sample: int, count: int, scorer: str) -> dict:
    """Both sides on one pool, whose first ``queries`` texts are the queries; brute force on ``sample`` of them."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as alone:
        ours = alone.submit(search, texts, queries, count, scorer).result()
    index = Index(texts, scorer)
    written = [index.written(place) for place in range(len(texts))]
    chosen = random.Random(0).sample(range(queries), sample) if sample < queries else range(queries)
    seconds, expected = brute_force(written, chosen, len(chosen) == len(texts), count)
    different = sum(ours["found"][query] != row for query, row in zip(chosen, expected, strict=True))
    if different:
        raise SystemExit(f"{name}: {different} of {len(chosen)} queries have other closest texts than by brute force")
    brute_seconds = seconds * queries / len(chosen)
    return {
        "name": name,
        "scorer": scorer,
        "queries": queries,
        "pool": len(texts),
        "closest": count,
        "characters": statistics.fmean(map(len, texts)),
        "cores": len(os.sched_getaffinity(0)),
        "compared": len(chosen),
        "brute_seconds": brute_seconds,
        "seconds": ours["seconds"],
        "index_seconds": ours["index_seconds"],
        "ratio": brute_seconds / ours["seconds"],
        "peak_bytes": ours["peak_bytes"],
    }


def exponent(rows: Sequence[dict], name: str) -> float:
    """The slope of log seconds over log (queries x pool) by least squares."""
    points = [(math.log(row["queries"] * row["pool"]), math.log(row[name])) for row in rows]
    x, y = (statistics.fmean(values) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def main() -> None:
    """Run the comparisons and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of the raw corpora")
    parser.add_argument("--intents", type=int, default=20_000, help="queries and pool")
    parser.add_argument("--functions", type=int, default=16_000, help="queries and pool")
    parser.add_argument("--pool", type=int, default=600_000, help="recombined intents, asked by the --intents")
    parser.add_argument("--sample", type=int, default=100, help="queries that the brute force answers of these")
    parser.add_argument("--count", type=int, default=10, help="closest texts per query")
    parser.add_argument("--scorer", default="words")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    asked, code = intents(options.data)[: options.intents], functions(options.data)[: options.functions]
    rows, fitted = [], {}
    for name, texts in (("intents", asked), ("functions", code)):
        sizes = [len(texts) // 4, len(texts) // 2, len(texts)]
        grown = [compare(name, texts[:size], size, size, options.count, options.scorer) for size in sizes]
        fitted[name] = {side: exponent(grown, side) for side in ("brute_seconds", "seconds")}
        rows += grown
    pool = [*asked, *recombined(asked, max(options.pool - len(asked), 0))]
    sample = min(options.sample, len(asked))
    rows.append(compare("recombined", pool, len(asked), sample, options.count, options.scorer))
    table = Table("texts", "queries x pool", "letters", "cdist s", "search s", "ratio", "index s", "peak MB")
    for row in rows:
        estimated = "" if row["compared"] == row["queries"] else "*"
        times = f"{row['brute_seconds']:.1f}{estimated}", f"{row['seconds']:.1f}", f"{row['ratio']:.1f}x"
        size = f"{row['queries']} x {row['pool']}", f"{row['characters']:.0f}"
        table.add_row(row["name"], *size, *times, f"{row['index_seconds']:.1f}", f"{row['peak_bytes'] / 1e6:.0f}")
    for name, sides in fitted.items():
        grows = (f"(n x n)^{sides[side]:.2f}" for side in ("brute_seconds", "seconds"))
        table.add_row(name, "grows as", "", *grows, "", "", "", style="bold")
    table.caption = "* estimated from a sample of the queries"
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "exponents": fitted}, indent=1))


if __name__ == "__main__":
    main()
