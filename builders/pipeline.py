"""From a source and a recipe to a dataset folder: read, filter, rephrase, split, find neighbours, write."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clmeeval_data import storage, syntax
from clmeeval_data.builders.filters import for_recipe
from clmeeval_data.builders.funnel import FirstOnly, Funnel
from clmeeval_data.builders.locality import Neighbour, neighbours
from clmeeval_data.builders.recipes import Recipe
from clmeeval_data.builders.sources import Pair, Source
from clmeeval_data.builders.splits import check_limit, choose, split_of
from clmeeval_data.errors import ConfigError, DatasetError
from clmeeval_data.paraphrase.checks import refusal
from clmeeval_data.paraphrase.engine import ENGINES, Rephrased, Setting, rephrase
from clmeeval_data.records import BENCHMARKS, SPLITS, Benchmark, Record

Track = Callable[[Iterable[Any], str, int | None], Iterable[Any]]


@dataclass(frozen=True)
class BuildReport:
    """What was built: where, how many cases per split, what became of the rows, and what a user should know."""

    out: Path
    counts: Mapping[str, int]
    funnel: Funnel
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A pair of the pool on its way to a record."""

    index: int
    case_id: str
    split: str
    rephrased: Rephrased


def build(
    recipe: Recipe,
    source: Source,
    out: Path,
    limit: int | None = None,
    seed: int = 0,
    track: Track = lambda rows, _title, _total: rows,
) -> BuildReport:
    """Build a dataset. The same source, recipe, limit and seed give the same bytes.

    Neighbours are taken from all rows that pass the filters, whether or not these become cases themselves.

    Args:
        recipe: The rules.
        source: The raw pairs.
        out: The dataset's folder; a dataset that is there is replaced.
        limit: How many cases to keep over all splits; None keeps all.
        seed: Of the splits, the choice under a limit, and the rewordings.
        track: Wraps the rows of a stage, given its title and its length where known, to show progress.

    Raises:
        ConfigError: If the limit is too small, or the source has too few usable rows.
        SourceError: If the source is missing or damaged.
        DatasetError: If the folder holds something else or can't be written.
    """
    if limit is not None:
        check_limit(limit)
    check_out(out)
    benchmark = BENCHMARKS[recipe.benchmark]
    funnel = Funnel()
    pool = read_pool(recipe, source, funnel, track)
    cases = rephrased_cases(recipe, benchmark, pool, seed, funnel, track)
    chosen = _choose(cases, recipe, limit, seed, funnel)
    splits = _records(recipe, benchmark, pool, chosen, funnel, track)
    storage.write_dataset(out, benchmark, splits, manifest(recipe, source, limit, seed, funnel))
    counts = {split: len(splits[split]) for split in SPLITS}
    return BuildReport(out, counts, funnel, _notes(limit, sum(counts.values())))


def check_out(out: Path) -> None:
    """The dataset can be written there; asked before the work starts, rather than found out after it.

    Raises:
        DatasetError: If the folder holds something else, or can't be written.
    """
    storage.check_replaceable(out)
    ancestor = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK):
        raise DatasetError(
            f"cannot write {out}: {ancestor} is not a folder that you may write to. Choose another --out."
        )


def read_pool(recipe: Recipe, source: Source, funnel: Funnel, track: Track) -> list[Pair]:
    """The rows of a source that pass the recipe's filters, without repetitions, in the order of their case ids."""

    def counted(pairs: Iterable[Pair]) -> Iterable[Pair]:
        for pair in pairs:
            funnel.read += 1
            yield pair

    rows: Iterable[Pair] = counted(track(source.read(), f"reading {source.name}", None))
    for step, reason_of in for_recipe(recipe):
        rows = funnel.keep(step, rows, reason_of, _show)
    rows = funnel.keep("duplicates", rows, FirstOnly(_prompt_key, "the same prompt as another row"), _show)
    benchmark = BENCHMARKS[recipe.benchmark]
    return sorted(rows, key=lambda pair: benchmark.case_id(pair.prompt, pair.target))


def rephrased_cases(
    recipe: Recipe, benchmark: Benchmark[Any], pool: Sequence[Pair], seed: int, funnel: Funnel, track: Track
) -> list[Case]:
    """The pairs that have a rephrasing, each with its id and split."""
    written = {pair.prompt: pair.rephrasing for pair in pool if pair.rephrasing is not None}
    targets = {pair.prompt: pair.target for pair in pool}
    engines = [ENGINES[name](Setting(seed=seed, written=written)) for name in recipe.engines]

    def check(prompt: str, text: str) -> str | None:
        return refusal(prompt, text, targets[prompt], recipe.bounds)

    cases = []
    for index, pair in enumerate(track(pool, "rephrasing", len(pool))):
        rephrased = rephrase([pair.prompt], engines, check)[0]
        if rephrased.text is None:
            funnel.drop("rephrasing", "; ".join(rephrased.refusals), _show(pair))
            continue
        split = split_of(pair.provenance.group, seed, recipe.splits)
        cases.append(Case(index, benchmark.case_id(pair.prompt, pair.target), split, rephrased))
    return cases


def manifest(recipe: Recipe, source: Source, limit: int | None, seed: int, funnel: Funnel) -> dict[str, Any]:
    """How a dataset was made, as JSON values without times or paths."""
    command = f"clmeeval-build {recipe.benchmark} --source {source.name} --seed {seed}"
    command += f" --neighbours {recipe.locality.count}" + ("" if limit is None else f" --limit {limit}")
    return {
        "recipe": recipe.as_dict(),
        "source": {"name": source.name, "licence": source.licence, "summary": source.summary},
        "seed": seed,
        "limit": limit,
        "command": command,
        "limits": list(recipe.limits),
        "funnel": funnel.as_dict(),
        "tools": {name: version(name) for name in ("rapidfuzz", "tree-sitter", "tree-sitter-python")},
    }


def _choose(cases: Sequence[Case], recipe: Recipe, limit: int | None, seed: int, funnel: Funnel) -> list[Case]:
    ids: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        ids[case.split].append(case.case_id)
    kept = choose(ids, recipe.splits, limit, seed)
    for case in cases:
        if case.case_id not in kept:
            funnel.drop("limit", "beyond the limit", case.case_id)
    return [case for case in cases if case.case_id in kept]


def _records(
    recipe: Recipe,
    benchmark: Benchmark[Any],
    pool: Sequence[Pair],
    cases: Sequence[Case],
    funnel: Funnel,
    track: Track,
) -> dict[str, list[Record]]:
    splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
    if recipe.locality.count >= len(pool):
        raise ConfigError(_too_many_neighbours(recipe, len(pool)))
    found = neighbours(pool, [case.index for case in cases], recipe.locality)
    for case, near in zip(cases, track(found, "finding neighbours", len(cases)), strict=True):
        if len(near) < recipe.locality.count:
            funnel.drop("neighbours", "too few neighbours", _show(pool[case.index]))
        else:
            splits[case.split].append(_record(benchmark, pool, case, near))
    if not all(splits.values()):
        raise ConfigError(_too_many_neighbours(recipe, len(pool)))
    return splits


def _too_many_neighbours(recipe: Recipe, usable: int) -> str:
    return (
        f"--neighbours {recipe.locality.count} is more than the cases of some split have: "
        f"the source has {usable} usable rows. Ask for fewer neighbours, or use another --source."
    )


def _record(benchmark: Benchmark[Any], pool: Sequence[Pair], case: Case, near: Sequence[Neighbour]) -> Record:
    pair = pool[case.index]
    neighborhood = tuple(
        benchmark.neighbour(pool[index].prompt, pool[index].target, similarity) for index, similarity in near
    )
    fields = {
        "case_id": case.case_id,
        benchmark.prompt_field: pair.prompt,
        benchmark.rephrased_field: case.rephrased.text,
        benchmark.target_field: pair.target,
        "neighborhood": neighborhood,
        "provenance": pair.provenance,
        "rephrasing": case.rephrased.rephrasing,
    }
    if benchmark.name == "csne":
        fields["func_name"] = pair.func_name
    record: Record = benchmark.record(**fields)
    return record


def _prompt_key(pair: Pair) -> Hashable:
    """What makes two prompts the same: a function's normalised form, or an intent's words."""
    key = syntax.normalised(pair.prompt) if pair.func_name else " ".join(pair.prompt.casefold().split())
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _show(pair: Pair) -> str:
    return f"{pair.func_name}: {pair.target}" if pair.func_name else f"{pair.prompt} -> {pair.target}"


def _notes(limit: int | None, total: int) -> tuple[str, ...]:
    if limit is not None and total < limit:
        return (f"{limit} cases were asked for; the source has {total} that pass all filters.",)
    return ()
