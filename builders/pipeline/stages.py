"""What is done to one shard of a build, anywhere: plain values that are sent to a worker and called there.

A row that goes no further is kept as a dropped row: the step, the reason, and the texts it had.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from clmeeval_data.builders.chat import Chat
from clmeeval_data.builders.execution import Shared
from clmeeval_data.builders.filters import for_recipe
from clmeeval_data.builders.judge import Judge, Judgement, LexicalJudge, LlmJudge
from clmeeval_data.builders.licences import Licences
from clmeeval_data.builders.locality import NeighbourSearch
from clmeeval_data.builders.pipeline.pool import Pool, to_row
from clmeeval_data.builders.recipes import Locality, Recipe
from clmeeval_data.builders.sources import Pair, Reading, Skipped, Source, Unreadable
from clmeeval_data.builders.sources import Row as RawRow
from clmeeval_data.builders.splits import split_of
from clmeeval_data.paraphrase.checked import rephrase_checked
from clmeeval_data.paraphrase.engine import Setting, in_turn
from clmeeval_data.records import BENCHMARKS

READING, SKIPPED, LICENCES, JUDGE, DUPLICATES = "reading", "skipped", "licences", "judge", "duplicates"
REPHRASING, LIMIT, NEIGHBOURS = "rephrasing", "limit", "neighbours"

_CHARACTERS_PER_SHARD = 4_000_000
_MOST_KEPT = 10_000  # characters of each text of a dropped row

Row = dict[str, Any]


def steps(recipe: Recipe) -> list[str]:
    """The names of the steps at which rows are dropped, in the order of the build."""
    filters = [name for name, _ in for_recipe(recipe, recipe.rules)]
    judge = [JUDGE] if recipe.judge else []
    names = [READING, SKIPPED, LICENCES, *filters, *judge, DUPLICATES, REPHRASING, LIMIT, NEIGHBOURS]
    return list(dict.fromkeys(names))


def dropped(step: str, reason: str, pair: Pair, benchmark: str, decided_by: Pair | None = None) -> Row:
    """A pair that goes no further, with the case id and the text of the pair that decided about it, where one did."""
    case_id = BENCHMARKS[benchmark].case_id
    row = {
        "step": step,
        "reason": reason,
        "source": pair.provenance.source,
        "origin": pair.provenance.origin,
        "case_id": case_id(pair.prompt, pair.target),
        "func_name": pair.func_name,
        "prompt": pair.prompt[:_MOST_KEPT],
        "target": pair.target[:_MOST_KEPT],
        "text": "",
        "decided_by": "",
        "decider": "",
    }
    if decided_by is not None:
        row["decided_by"] = case_id(decided_by.prompt, decided_by.target)
        row["decider"] = show(dropped(step, reason, decided_by, benchmark))
    return row


def show(row: Mapping[str, Any]) -> str:
    """What a reader wants to see of a dropped row."""
    if row["text"]:
        return str(row["text"])
    return f"{row['func_name']}: {row['target']}" if row["func_name"] else f"{row['prompt']} -> {row['target']}"


def in_shards(rows: Iterable[RawRow], size: int) -> Iterator[list[RawRow]]:
    """The rows in shards of ``size``, or fewer where they are long: a shard ends with the row that fills it."""
    shard: list[RawRow] = []
    characters = 0
    for row in rows:
        shard.append(row)
        characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(shard) == size or characters >= _CHARACTERS_PER_SHARD:
            yield shard
            shard, characters = [], 0
    if shard:
        yield shard


class RawShard(NamedTuple):
    """Some rows of a source, which is named by its place among the sources."""

    source: int
    rows: list[RawRow]


@dataclass(frozen=True)
class Select:
    """Raw rows -> the pairs that pass the licences, the filters and the judge, and the dropped rows, in one order.

    The first row of the result names the source; each other one holds a pair or a dropped row. The judge sees what all
    filters let pass; it is off unless the recipe asks for it, and words stand in for it where there is no chat model.
    """

    recipe: Recipe
    sources: tuple[Source, ...]
    licences: Licences | None
    chat: Chat | None = None

    def __call__(self, shard: RawShard) -> list[Row]:
        """The pairs and dropped rows of a shard."""
        source = self.sources[shard.source]
        filters = for_recipe(self.recipe, self.recipe.rules)
        if self.licences is not None:
            filters = [(LICENCES, self.licences.refusal), *filters]

        def filtered(item: Reading) -> Row | Pair:
            if isinstance(item, Unreadable | Skipped):
                return {"dropped": _without_pair(source.name, item)}
            found = ((step, reason) for step, reason_of in filters if (reason := reason_of(item)) is not None)
            step, reason = next(found, ("", ""))
            return {"dropped": dropped(step, reason, item, self.recipe.benchmark)} if step else item

        items = [filtered(item) for row in shard.rows for item in source.pairs(row)]
        refused = self._refused([item for item in items if isinstance(item, Pair)])
        judged = ((refused.pop(0) or {"pair": to_row(item)}) if isinstance(item, Pair) else item for item in items)
        return [{"source": shard.source}, *judged]

    def _refused(self, pairs: Sequence[Pair]) -> list[Row | None]:
        """For each pair the dropped row, if the judge is on and refuses it."""
        if not self.recipe.judge:
            return [None] * len(pairs)
        return [self._below(*found) for found in zip(pairs, self._judge().judge(pairs), strict=True)]

    def _below(self, pair: Pair, judgement: Judgement) -> Row | None:
        if judgement.score >= self.recipe.judge:
            return None
        reason = f"judged below {self.recipe.judge} by {judgement.by}"
        row = dropped(JUDGE, reason, pair, self.recipe.benchmark)
        return {"dropped": {**row, "decider": f"{judgement.score:.2f}: {judgement.reason}"}}

    def _judge(self) -> Judge:
        benchmark = self.recipe.benchmark
        return LexicalJudge(benchmark) if self.chat is None else LlmJudge(self.chat.model, benchmark)


def _without_pair(source: str, item: Unreadable | Skipped) -> Row:
    step = READING if isinstance(item, Unreadable) else SKIPPED
    empty = dict.fromkeys(("origin", "case_id", "func_name", "prompt", "target"), "")
    text = item.text[:_MOST_KEPT] or item.reason
    return {
        "step": step,
        "reason": item.reason,
        "source": source,
        **empty,
        "text": text,
        "decided_by": "",
        "decider": "",
    }


class PoolShard(NamedTuple):
    """Some pairs of the pool, from a place on."""

    start: int
    pairs: list[Pair]


@dataclass(frozen=True)
class Rephrase:
    """Pairs -> their ids, splits and rephrasings, or the reasons why they have none."""

    recipe: Recipe
    seed: int
    chat: Chat | None = None

    def __call__(self, shard: PoolShard) -> list[Row]:
        """One row for each pair, in the same order."""
        benchmark = BENCHMARKS[self.recipe.benchmark]
        written = {pair.prompt: pair.rephrasing for pair in shard.pairs if pair.rephrasing is not None}
        bounds, chat = self.recipe.bounds, None if self.chat is None else self.chat.model
        engines = in_turn(self.recipe.engines, Setting(self.seed, written, bounds.code, chat, self.recipe.strength))
        found = rephrase_checked({pair.prompt: pair.target for pair in shard.pairs}, engines, bounds)
        return [
            {
                "place": place,
                "case_id": benchmark.case_id(pair.prompt, pair.target),
                "split": split_of(pair.provenance.group, self.seed, self.recipe.splits),
                "text": result.text,
                "rephrasing": None if result.rephrasing is None else vars(result.rephrasing),
                "refusals": "; ".join(result.refusals) if result.text is None else "",
            }
            for place, (pair, result) in enumerate(zip(shard.pairs, found, strict=True), start=shard.start)
        ]


@dataclass(frozen=True)
class FindNeighbours:
    """Places of the pool -> their neighbours. A worker reads the pool, and makes its index, once."""

    pool: Shared
    rule: Locality

    def __call__(self, places: Sequence[int]) -> list[Row]:
        """One row for each place, in the same order: the place, and the place and similarity of each neighbour."""
        search = _search(self.pool, self.rule)
        return [{"place": place, "near": [list(each) for each in search.of(place)]} for place in places]


@lru_cache(maxsize=1)
def _search(pool: Shared, rule: Locality) -> NeighbourSearch:
    return NeighbourSearch(Pool(pool.read()), rule)
