"""From what the steps of a build left in its work folder: the cases, the dropped rows, and the funnel."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.builders.funnel import Funnel
from clmeeval_data.builders.pipeline import stages
from clmeeval_data.builders.pipeline.pool import Pool
from clmeeval_data.builders.recipes import Recipe
from clmeeval_data.builders.sources import Pair
from clmeeval_data.records import BENCHMARKS, SPLITS, Record, Rephrasing

Row = dict[str, Any]


@dataclass(frozen=True)
class Assembly:
    """The results of the steps, read from their files whenever they are asked for.

    Args:
        recipe: The rules.
        pairs: What passed the filters, in the order of the sources.
        selected: Files of ``stages.Select``.
        duplicates: The places of duplicates among the pairs, with the reason and the place of the pair that decided.
        pool: The pairs without duplicates, in the order of their case ids.
        rephrased: Files of ``stages.Rephrase``, one row for each pair of the pool.
        chosen: The ids that the limit keeps.
        near: Files of ``stages.FindNeighbours``, one row for each chosen case, in the order of the pool.
    """

    recipe: Recipe
    pairs: Pool
    selected: Sequence[Path]
    duplicates: Path
    pool: Pool
    rephrased: Sequence[Path]
    chosen: Collection[str]
    near: Sequence[Path]

    def counts(self) -> dict[str, int]:
        """How many cases each split has."""
        found = Counter(row["split"] for row, near in self._cases() if self._has_enough(near))
        return {split: found[split] for split in SPLITS}

    def records(self, split: str) -> Iterator[Record]:
        """The cases of a split, in the order of their ids."""
        for row, near in self._cases():
            if row["split"] == split and self._has_enough(near):
                yield self._record(row, near)

    def dropped(self) -> Iterator[Row]:
        """The rows that didn't become a case, step by step, those of a step in the order in which they came."""
        for row in rows_of(self.selected):
            if "dropped" in row:
                yield row["dropped"]
        for row in storage.read_jsonl(self.duplicates):
            yield self._dropped(stages.DUPLICATES, row["reason"], self.pairs[row["place"]], self.pairs[row["of"]])
        for row in rows_of(self.rephrased):
            if row["text"] is None:
                yield self._dropped(stages.REPHRASING, row["refusals"], self.pool[row["place"]])
        for row in rows_of(self.rephrased):
            if row["text"] is not None and row["case_id"] not in self.chosen:
                yield self._dropped(stages.LIMIT, "beyond the limit", self.pool[row["place"]])
        for row, near in self._cases():
            if not self._has_enough(near):
                yield self._dropped(stages.NEIGHBOURS, "too few neighbours", self.pool[row["place"]])

    def funnel(self) -> Funnel:
        """What became of all rows that were read."""
        funnel = Funnel(steps=stages.steps(self.recipe))
        funnel.read = sum("source" not in row for row in rows_of(self.selected))
        for row in self.dropped():
            funnel.drop(row["step"], row["reason"], stages.show(row), row["decider"])
        return funnel

    def _dropped(self, step: str, reason: str, pair: Pair, decided_by: Pair | None = None) -> Row:
        return stages.dropped(step, reason, pair, self.recipe.benchmark, decided_by)

    def _cases(self) -> Iterator[tuple[Row, list[tuple[int, float]]]]:
        """The chosen cases with their neighbours, whether or not these are enough."""
        chosen = (row for row in rows_of(self.rephrased) if row["case_id"] in self.chosen)
        for row, found in zip(chosen, rows_of(self.near), strict=True):
            yield row, [(place, similarity) for place, similarity in found["near"]]

    def _has_enough(self, near: Sequence[tuple[int, float]]) -> bool:
        return len(near) >= self.recipe.locality.count

    def _record(self, row: Mapping[str, Any], near: Sequence[tuple[int, float]]) -> Record:
        benchmark = BENCHMARKS[self.recipe.benchmark]
        pair = self.pool[row["place"]]
        others = [(self.pool[place], similarity) for place, similarity in near]
        fields = {
            "case_id": row["case_id"],
            benchmark.prompt_field: pair.prompt,
            benchmark.rephrased_field: row["text"],
            benchmark.target_field: pair.target,
            "neighborhood": tuple(benchmark.neighbour(other.prompt, other.target, close) for other, close in others),
            "provenance": pair.provenance,
            "rephrasing": Rephrasing(**row["rephrasing"]),
        }
        if benchmark.name == "csne":
            fields["func_name"] = pair.func_name
        record: Record = benchmark.record(**fields)
        return record


def rows_of(files: Sequence[Path]) -> Iterator[Row]:
    """The rows of several files of a work folder, one after the other."""
    for path in files:
        yield from storage.read_jsonl(path)
