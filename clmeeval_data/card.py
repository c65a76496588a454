"""The dataset card: README.md with the metadata that ``load_dataset`` and the Hub read, filled from measured facts."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clmeeval_data.records import SPLITS, Benchmark
from clmeeval_data.schema import SCHEMA_VERSION, features

if TYPE_CHECKING:
    from datasets import DatasetInfo

Rows = Mapping[str, Sequence[Mapping[str, Any]]]

# The licences that the Hub's `license` field knows, among those that code and questions on the web come under.
_HUB_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gfdl gpl-2.0 gpl-3.0
    isc lgpl-2.1 lgpl-3.0 mit mpl-2.0 ms-pl ncsa osl-3.0 postgresql unlicense wtfpl zlib
"""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


class Share(NamedTuple):
    """How often a value occurs, and what part of all cases that is (0 to 1)."""

    value: tuple[str, ...]
    cases: int
    part: float


class Spread(NamedTuple):
    """The smallest, middle, 95th-percentile and largest of some counts."""

    name: str
    low: int
    median: int
    high: int
    largest: int


@dataclass(frozen=True)
class Facts:
    """What a card says about the cases of a dataset, counted over all splits.

    ``shared_groups`` is the number of groups with cases in more than one split.
    """

    total: int
    groups: int
    shared_groups: int
    counts: Mapping[str, int]
    sources: Sequence[Share]
    rephrasings: Sequence[Share]
    spreads: Sequence[Spread]


def measure(benchmark: Benchmark[Any], rows: Rows) -> Facts:
    """Count what the card reports, over at least one row. Texts are measured in characters."""
    cases = [row for split in SPLITS for row in rows[split]]
    fields = (benchmark.prompt_field, benchmark.rephrased_field, benchmark.target_field, "neighborhood")
    groups = [{row["provenance"]["group"] for row in rows[split]} for split in SPLITS]
    all_groups = set().union(*groups)
    return Facts(
        total=len(cases),
        groups=len(all_groups),
        shared_groups=sum(sum(group in part for part in groups) > 1 for group in all_groups),
        counts={split: len(rows[split]) for split in SPLITS},
        sources=_shares((case["provenance"]["source"], case["provenance"]["licence"]) for case in cases),
        rephrasings=_shares(tuple(case["rephrasing"].values()) for case in cases),
        spreads=[_spread(field, [len(case[field]) for case in cases]) for field in fields],
    )


def write_card(folder: Path, benchmark: Benchmark[Any], rows: Rows, manifest: Mapping[str, Any]) -> None:
    """Write README.md into a dataset folder that already holds its parquet files."""
    from datasets.info import DatasetInfosDict

    (folder / "README.md").write_text(render_card(benchmark, measure(benchmark, rows), manifest), encoding="utf-8")
    # datasets adds its own description of the columns and splits to the metadata that the template began
    DatasetInfosDict({"default": _dataset_info(folder, benchmark, rows)}).write_to_directory(str(folder))


def render_card(benchmark: Benchmark[Any], facts: Facts, manifest: Mapping[str, Any]) -> str:
    """The text of a card, without the description of the columns in its metadata."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["cell"] = _cell
    template = environment.from_string(Path(__file__).with_name("card.md.jinja").read_text(encoding="utf-8"))
    known, other = _licences(facts)
    return template.render(
        benchmark=benchmark,
        facts=facts,
        manifest=manifest,
        schema_version=SCHEMA_VERSION,
        licences=known + (["other"] if other else []),
        other_licences=other,
        size=next((name for most, name in _SIZES if facts.total < most), "1M<n<10M"),
    )


def _dataset_info(folder: Path, benchmark: Benchmark[Any], rows: Rows) -> "DatasetInfo":
    from datasets import DatasetInfo, SplitDict, SplitInfo

    splits = SplitDict()
    for split in SPLITS:
        size = sum(len(json.dumps(row, ensure_ascii=False).encode()) for row in rows[split])
        splits.add(SplitInfo(name=split, num_bytes=size, num_examples=len(rows[split])))
    return DatasetInfo(
        features=features(benchmark),
        splits=splits,
        download_size=sum(path.stat().st_size for path in (folder / "data").iterdir()),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )


def _shares(values: Iterable[tuple[str, ...]]) -> list[Share]:
    counts = Counter(values)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Share(value, count, count / counts.total()) for value, count in ordered]


def _spread(name: str, numbers: Sequence[int]) -> Spread:
    ordered = sorted(numbers)
    high = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return Spread(name, ordered[0], statistics.median_low(ordered), high, ordered[-1])


def _licences(facts: Facts) -> tuple[list[str], list[str]]:
    """The licences of a dataset as the Hub names them, and those that it has no name for."""
    known, other = set(), set()
    for _source, licence in (share.value for share in facts.sources):
        name = licence.lower().removesuffix("-only").removesuffix("-or-later")
        if name in _HUB_LICENCES.split():
            known.add(name)
        else:
            other.add(licence)
    return sorted(known), sorted(other)


def _cell(value: object) -> str:
    """A value in a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|") or "-"
