"""The leaderboard of 50 runs x 20,000 cases: seconds and memory to build it, seconds until it stands in Chromium.

    python benchmarks/leaderboard.py --runs 50 --cases 20000

Makes runs with answers of a usual length, builds the page in a process of its own, and opens it (and a case by its
link) with Playwright in the system's Chromium. The baseline is reading the same journals once with ``json.loads`` and
keeping nothing. Needs about 6 GB of disk for the full size.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from clmeeval_data.evaluation.leaderboard import write_leaderboard
from clmeeval_data.evaluation.results import RunFolder, RunIdentity
from clmeeval_data.evaluation.scoring.summary import summarise

METHODS = ("none", "ft", "grace", "agrace", "rome", "memit", "pmet", "malmen", "lora", "alphaedit")
WORDS = (
    "sort",
    "list",
    "values",
    "key",
    "len",
    "reverse",
    "return",
    "def",
    "for",
    "in",
    "not",
    "print",
    "open",
    "path",
    "join",
)
BROWSER = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def make_texts(seed: int) -> list[str]:
    """A thousand texts that look a little like code, of 4 to 15 words."""
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, k=4 + number % 12)) for number in range(1000)]


TEXTS = make_texts(0)


def make_case(number: int) -> dict[str, object]:
    """What is asked in a case."""
    texts = [TEXTS[(number * step) % 1000] for step in (1, 7, 11, 13, 17, 19)]
    return {
        "prompt": f"Intent: {number} {texts[0]}\nCode:",
        "rephrased_prompt": f"Intent: {texts[1]} {number}\nCode:",
        "target": texts[2],
        "neighbour_prompts": [f"Intent: {text}\nCode:" for text in texts[3:]],
    }


def make_entry(number: int, case: dict[str, object], chance: float, source: random.Random) -> dict[str, object]:
    """One line of a journal."""
    target = str(case["target"])
    old = [f"before {number} {TEXTS[(number + place) % 1000]}" for place in range(5)]
    new = [target if source.random() < chance else source.choice(TEXTS) for _ in range(2)]
    near = [old[2 + place] if source.random() < chance else source.choice(TEXTS) for place in range(3)]
    names = ("exact_match", "bleu", "rouge_l", "chrf", "edit_similarity", "valid_syntax", "syntax_match")
    scores = {
        dimension: {name: float(answer == target) if name == "exact_match" else source.random() for name in names}
        for dimension, answer in zip(("effectiveness", "generalisation"), new, strict=True)
    }
    kept = [float(one == other) for one, other in zip(near, old[2:], strict=True)]
    scores["specificity"] = {name: sum(kept) / 3 for name in names[:5]} | {"exact_match_all": float(all(kept))}
    return {
        "id": f"cnle-{number:06}",
        "error": None,
        "case": case,
        "outputs": {
            "effectiveness": {"before": old[0], "after": new[0]},
            "generalisation": {"before": old[1], "after": new[1]},
            "specificity": [{"before": one, "after": other} for one, other in zip(old[2:], near, strict=True)],
            "fluency": {"after": " ".join(source.choices(TEXTS, k=5))},
        },
        "scores": {**scores, "fluency": {"ngram_entropy": 4 + source.random()}},
        "cost": {"edit_seconds": 1 + source.random(), "peak_bytes": 150_000_000, "batch_size": 16},
        "details": {"loss": source.random(), "steps": 30.0},
    }


def make_run(folder: Path, number: int, cases: list[dict[str, object]], tables: int) -> None:
    """One complete run, spread over so many tables; its summary is that of its first hundred cases, to be quick."""
    source = random.Random(-number)
    identity = RunIdentity(
        dataset={"name": "cnle", "split": "test", "schema": "1.0", "n": len(cases), "cases": "ab12cd34"},
        model={"name": f"model-{number % tables}", "fingerprint": "0123456789", "dtype": "float32"},
        method={"name": METHODS[number // tables % len(METHODS)], "config": {"layer": number}},
        decoding={"strategy": "greedy"},
        seed=0,
    )
    run = RunFolder(folder / identity.folder)
    run.open(identity, {"versions": {"clmeeval-data": "0.1.0"}})
    entries = [make_entry(place, case, (number % 10) / 10, source) for place, case in enumerate(cases)]
    run.journal.append(entries)
    summary = summarise(entries[:100], len(entries))
    counted = {"cases": {**summary["cases"], "finished": len(entries)}}
    run.finish({"hash": identity.hash, **summary, **counted})


def build(results: Path, out: Path) -> None:
    """Build the page in this process, and print its seconds, those of a core, and its peak memory in MB."""
    started, busy = time.perf_counter(), time.process_time()
    write_leaderboard([results], out)
    seconds = time.perf_counter() - started, time.process_time() - busy
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]))


def baseline(results: Path) -> tuple[float, float]:
    """Seconds to parse all journals, and those of a core."""
    started, busy = time.perf_counter(), time.process_time()
    for path in results.rglob("records.jsonl"):
        with path.open("rb") as lines:
            for line in lines:
                json.loads(line)
    return time.perf_counter() - started, time.process_time() - busy


def opening(page_file: Path, case: str) -> dict[str, float]:
    """Seconds until the tables can be sorted, and until a case stands that was opened by its link."""
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(BROWSER))
        for name, hash_, selector in (
            ("page", "", "button.sort"),
            ("case by link", f"#case={case}", ".case .method"),
        ):
            page = browser.new_page()
            started = time.perf_counter()
            page.goto(page_file.as_uri() + hash_, wait_until="commit")
            page.wait_for_selector(selector)
            found[name] = time.perf_counter() - started
        browser.close()
    return found


def main() -> None:
    """Make, build, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--tables", type=int, default=1, help="models over which the runs are spread")
    parser.add_argument("--keep", type=Path, help="folder of the runs and the page; made once, then reused")
    parser.add_argument("--build", nargs=2, type=Path, metavar=("RESULTS", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        build(*arguments.build)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        results, out = folder / "results", folder / "site"
        if not results.exists():
            cases = [make_case(number) for number in range(arguments.cases)]
            for number in range(arguments.runs):
                make_run(results, number, cases, arguments.tables)
        journals = sum(path.stat().st_size for path in results.rglob("records.jsonl"))
        print(f"{arguments.runs} runs x {arguments.cases:,} cases, {journals / 1e9:.2f} GB of journals")
        seconds, busy = baseline(results)
        print(f"json.loads of every line   {seconds:6.1f} s ({busy:.1f} s of a core)")
        command = [sys.executable, __file__, "--build", str(results), str(out)]
        seconds, busy, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"page built in              {seconds:6.1f} s ({busy:.1f} s of a core), {peak:,.0f} MB at most")
        pieces = [path.stat().st_size for path in out.rglob("*.js")]
        print(f"data                       {sum(pieces) / 1e9:6.2f} GB in {len(pieces):,} files")
        print(f"the largest of them        {max(pieces) / 1e6:6.2f} MB")
        for name, taken in opening(out / "index.html", f"cnle/model-0/cnle-{arguments.cases // 2:06}").items():
            print(f"opening, {name:<17} {taken:6.2f} s")


if __name__ == "__main__":
    main()
