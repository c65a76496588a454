"""From sources and a recipe to a dataset folder: read, filter, remove duplicates, rephrase, split, find neighbours.

Each step works through shards of a fixed number of rows, wherever the executor puts them, and leaves a file per shard
in the work folder, from which the next step reads. So a build holds some shards per worker, the bytes of the pool, the
ids of the cases, and what the removal of duplicates and the search for neighbours need of the whole pool.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.builders.chat import Chat
from clmeeval_data.builders.dedup import duplicates, winning_order
from clmeeval_data.builders.execution import Executor, open_executor
from clmeeval_data.builders.funnel import Funnel
from clmeeval_data.builders.licences import Licences
from clmeeval_data.builders.pipeline import stages
from clmeeval_data.builders.pipeline.assembly import Assembly, rows_of
from clmeeval_data.builders.pipeline.damage import ONE_PERCENT, Damage, Tolerance
from clmeeval_data.builders.pipeline.plan import Plan
from clmeeval_data.builders.pipeline.pool import Pool, to_row
from clmeeval_data.builders.pipeline.work import Work, work_folder
from clmeeval_data.builders.recipes import Recipe
from clmeeval_data.builders.sources import Source
from clmeeval_data.builders.sources.stackoverflow import question_groups
from clmeeval_data.builders.splits import check_limit, choose
from clmeeval_data.errors import ConfigError, DatasetError
from clmeeval_data.paraphrase.engine import Setting, in_turn
from clmeeval_data.records import BENCHMARKS, SPLITS

SHARD_SIZE = 1000

Row = dict[str, Any]
Track = Callable[[Iterable[Any], str, int | None], Iterable[Any]]


@dataclass(frozen=True)
class BuildReport:
    """What was built: where, how many cases per split, what became of the rows, and what a user should know."""

    out: Path
    counts: Mapping[str, int]
    funnel: Funnel
    notes: tuple[str, ...]


def build(
    recipe: Recipe,
    sources: Sequence[Source],
    out: Path,
    limit: int | None = None,
    seed: int = 0,
    track: Track = lambda rows, _title, _total: rows,
    *,
    licences: Licences | None = None,
    executor: Executor | None = None,
    work: Path | None = None,
    keep_work: bool = False,
    tolerance: Tolerance = ONE_PERCENT,
    shard_size: int = SHARD_SIZE,
    chat: Chat | None = None,
) -> BuildReport:
    """Build a dataset. The same sources, recipe, limit, seed and licences give the same bytes, wherever it is built.

    Neighbours are taken from all rows that pass the filters, whether or not these become cases themselves. A build that
    was interrupted, however that came, is taken up by the same call: finished shards are not worked on again.

    Args:
        recipe: The rules.
        sources: The raw pairs, read in this order; of two duplicates the earlier one stays.
        out: The dataset's folder; a dataset that is there is replaced once the new one is complete.
        limit: How many cases to keep over all splits; None keeps all.
        seed: Of the splits, the choice under a limit, and the rewordings.
        track: Wraps the rows of a step, given its title and its length where known, to show progress.
        licences: Which licences to keep; None keeps all rows.
        executor: Where shards are worked on, by default in this process. It is closed in the end.
        work: The folder for unfinished work; by default a hidden one beside the dataset.
        keep_work: Keep the finished shards once the dataset is complete.
        tolerance: How many unreadable rows to count and pass over before giving up on a source.
        shard_size: Rows per shard.
        chat: The language model that the recipe's engine llm and its judge ask; the steps that do so run in this
            process, whatever the executor, so that they keep to one budget.

    Raises:
        UnknownNameError: If the recipe asks for an unknown paraphrase engine.
        ConfigError: If the limit is too small, or the sources have too few usable rows; if the recipe asks a language
            model and there is none, or asks none and there is one.
        ChatError: If the language model can't be asked, or its budget is spent. Its replies are kept, as is all work.
        SourceError: If a source is missing, damaged, or has more unreadable rows than tolerated.
        DatasetError: If the folder holds something else or can't be written, a disk is full, a worker died, or another
            process is building the same dataset.
    """
    if limit is not None:
        check_limit(limit)
    check_out(out)
    model = None if chat is None else chat.model
    in_turn(recipe.engines, Setting(chat=model, strength=recipe.strength))  # what is wrong, before the work starts
    plan = Plan(recipe, tuple(sources), limit, seed, licences, shard_size, chat)
    shards = Work(work or work_folder(out), plan.identity())
    with closing(executor or open_executor()) as running, shards.held():
        try:
            assembly = _Build(plan, shards, running, tolerance, track).run()
            report = _write(assembly, plan, out, track, shards.others())
        except ConfigError:
            shards.remove()  # the same call would end the same way
            raise
        if not keep_work:
            shards.remove()
    return report


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


@dataclass(frozen=True)
class _Build:
    """The steps of a build up to the last shard, in their order."""

    plan: Plan
    work: Work
    executor: Executor
    tolerance: Tolerance
    track: Track

    def run(self) -> Assembly:
        """Do what is not done yet."""
        pairs = Pool.open(self.work.whole("pairs", self._kept))
        duplicates = self.work.whole("duplicates", lambda: self._duplicates(pairs))
        pool_file = self.work.whole("pool", lambda: self._unique(pairs, duplicates))
        pool = Pool.open(pool_file)
        rephrased = self._rephrase(pool)
        chosen, places = self._choose(rephrased)
        near = self._find_neighbours(pool_file, len(pool), places)
        selected = self.work.shards("selected")
        return Assembly(self.plan.recipe, pairs, selected, duplicates, pool, rephrased, chosen, near)

    def _kept(self) -> Iterator[Row]:
        """The pairs that pass the filters, while the sources are read."""
        chat = self.plan.judging_chat
        select = stages.Select(self.plan.recipe, self.plan.sources, self.plan.licences, chat)
        damage = Damage(self.plan.sources, self.tolerance)
        for path in self.work.sharded("selected", self._executor(chat), select, self._raw_shards()):
            rows = storage.read_jsonl(path)
            source = next(rows)["source"]
            for row in rows:
                damage.count(source, row)
                if "pair" in row:
                    yield row["pair"]
            damage.check(source)

    def _raw_shards(self) -> Iterator[stages.RawShard]:
        for place, source in enumerate(self.plan.sources):
            rows = self.track(source.rows(), f"reading {source.name}", None)
            for some in stages.in_shards(rows, self.plan.shard_size):
                yield stages.RawShard(place, some)

    def _duplicates(self, pairs: Pool) -> Iterator[Row]:
        """The duplicates by place; they don't depend on the order of the rows within a source."""
        benchmark, rule = self.plan.recipe.benchmark, self.plan.recipe.dedup
        order = self.track(winning_order(pairs, benchmark), "removing duplicates", len(pairs))
        for place, found in sorted(duplicates(pairs, rule, benchmark, order).items()):
            yield {"place": place, "reason": found.kind, "of": found.of}

    def _unique(self, pairs: Pool, duplicates: Path) -> Iterator[Row]:
        """The pool: what is left, in the order of the case ids, so that it doesn't depend on that of the sources.

        One question of two sources is one group.
        """
        benchmark = BENCHMARKS[self.plan.recipe.benchmark]
        gone = {row["place"] for row in storage.read_jsonl(duplicates)}
        groups = question_groups(pairs)
        ids = ((benchmark.case_id(pair.prompt, pair.target), place) for place, pair in enumerate(pairs))
        for _, place in sorted(each for each in ids if each[1] not in gone):
            row = to_row(pairs[place])
            own = row["provenance"]["group"]
            yield {**row, "provenance": {**row["provenance"], "group": groups.get(own, own)}}

    def _rephrase(self, pool: Pool) -> list[Path]:
        size = self.plan.shard_size
        shards = (stages.PoolShard(start, pool[start : start + size]) for start in range(0, len(pool), size))
        chat = self.plan.rephrasing_chat
        rephrase = stages.Rephrase(self.plan.recipe, self.plan.seed, chat)
        return self._run("rephrased", rephrase, shards, "rephrasing", len(pool), chat)

    def _executor(self, chat: Chat | None) -> Executor:
        """Where a step runs: in this process if it asks a language model, whose client has the budget."""
        return self.executor if chat is None else open_executor()

    def _choose(self, rephrased: Sequence[Path]) -> tuple[set[str], list[int]]:
        """The ids of the cases that the limit keeps, and their places in the pool."""
        ids: dict[str, list[str]] = defaultdict(list)
        for row in rows_of(rephrased):
            if row["text"] is not None:
                ids[row["split"]].append(row["case_id"])
        chosen = choose(ids, self.plan.recipe.splits, self.plan.limit, self.plan.seed)
        return chosen, [row["place"] for row in rows_of(rephrased) if row["case_id"] in chosen]

    def _find_neighbours(self, pool_file: Path, usable: int, places: Sequence[int]) -> list[Path]:
        rule, size = self.plan.recipe.locality, self.plan.shard_size
        if rule.count >= usable:
            raise ConfigError(_too_many_neighbours(rule.count, usable))
        search = stages.FindNeighbours(self.executor.share(pool_file), rule)
        shards = (places[start : start + size] for start in range(0, len(places), size))
        return self._run("neighbours", search, shards, "finding neighbours", len(places))

    def _run(
        self,
        name: str,
        function: Callable[[Any], list[Row]],
        shards: Iterable[Any],
        title: str,
        total: int,
        chat: Chat | None = None,
    ) -> list[Path]:
        """The files of a step whose shards have a row for each of ``total`` rows; its advance is told row by row."""
        files: list[Path] = []

        def advance() -> Iterator[int]:
            for path in self.work.sharded(name, self._executor(chat), function, shards):
                done = len(files) * self.plan.shard_size
                files.append(path)
                yield from range(done, min(done + self.plan.shard_size, total))

        for _ in self.track(advance(), title, total):
            pass
        return files


def _write(assembly: Assembly, plan: Plan, out: Path, track: Track, others: Sequence[Path]) -> BuildReport:
    counts = assembly.counts()
    if not all(counts.values()):
        raise ConfigError(_too_many_neighbours(plan.recipe.locality.count, len(assembly.pool)))
    funnel = assembly.funnel()
    splits = {split: track(assembly.records(split), f"writing {split}", counts[split]) for split in SPLITS}
    benchmark = BENCHMARKS[plan.recipe.benchmark]
    storage.write_dataset(out, benchmark, splits, plan.manifest(funnel), assembly.dropped())
    return BuildReport(out, counts, funnel, tuple(_notes(plan, sum(counts.values()), others)))


def _too_many_neighbours(count: int, usable: int) -> str:
    return (
        f"--neighbours {count} is more than the cases of some split have: the source has {usable} usable rows. "
        "Ask for fewer neighbours, or use another --source."
    )


def _notes(plan: Plan, total: int, others: Sequence[Path]) -> Iterator[str]:
    if plan.chat is not None:
        yield f"{plan.chat.options.model}: {plan.chat.spent}."
    if plan.limit is not None and total < plan.limit:
        yield f"{plan.limit} cases were asked for; the source has {total} that pass all filters."
    if others:
        yield f"unfinished work of other builds is in {others[0].parent}; delete what you won't take up again."
