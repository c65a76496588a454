"""The dataset card: README.md with the metadata that ``load_dataset`` and the Hub read, filled from measured facts."""

import itertools
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clmeeval_data.errors import DatasetError
from clmeeval_data.records import SPLITS, Benchmark
from clmeeval_data.schema import SCHEMA_VERSION, arrow_schema, features

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetInfo

Rows = Mapping[str, Sequence[Mapping[str, Any]]]

# The licences that the Hub's `license` field knows, among those that code and questions on the web come under.
_HUB_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gfdl gpl-2.0 gpl-3.0
    isc lgpl-2.1 lgpl-3.0 mit mpl-2.0 ms-pl ncsa osl-3.0 postgresql unlicense wtfpl zlib
"""
UNKNOWN_LICENCE = "LicenseRef-unknown"
TITLES = {"cnle": "CNLE (CoNaLa-Edit)", "csne": "CSNE (CodeSearchNet-Edit)"}
SUMMARIES = {
    "cnle": (
        "CNLE asks an editing method to change one answer of a code model: the code that it writes for an intent. Each "
        "case has the intent, a rephrased intent that asks for the same code, the code that the edited model should "
        "write, and neighbouring intents whose code must stay as it was."
    ),
    "csne": (
        "CSNE asks an editing method to change one answer of a code model: the sentence with which it describes a "
        "function. Each case has the function, a rewritten function that does the same, the description that the "
        "edited model should give, and neighbouring functions whose descriptions must stay as they were."
    ),
}
_SHARED_COLUMNS = {
    "case_id": "id of the case: a hash of its prompt and target",
    "neighborhood.similarity": "how close its wording is to the case's, from 0 to 100 (higher is closer)",
    "provenance": "where the case comes from; cases of one group share a split",
    "provenance.source": "name of the source",
    "provenance.origin": "the place in the source: an address, or an id",
    "provenance.group": "the question, repository or module; cases of one group share a split",
    "provenance.licence": "licence of the text that the case was made from, as an SPDX identifier",
    "rephrasing": "how the rephrased prompt was made",
    "rephrasing.engine": "what made it",
    "rephrasing.model": "the language model behind it, empty where there is none",
    "rephrasing.version": "version of its rules or of its prompt",
}
# What each column holds, and each field inside a column, by its path.
COLUMNS = {
    "cnle": {
        **_SHARED_COLUMNS,
        "intent": "what to do, in words: the prompt",
        "rewritten_intent": "the same intent in other words: tests whether an edit generalises",
        "snippet": "the code that does it: the target",
        "neighborhood": "close intents with other code: test whether an edit is specific",
        "neighborhood.intent": "another intent",
        "neighborhood.snippet": "the code for it",
    },
    "csne": {
        **_SHARED_COLUMNS,
        "func_name": "name of the function",
        "code": "the function without its docstring: the prompt",
        "code_rewrite": "the same function written another way: tests whether an edit generalises",
        "code_doc": "what the function does, in one sentence: the target",
        "neighborhood": "close functions with other descriptions: test whether an edit is specific",
        "neighborhood.code": "another function",
        "neighborhood.code_doc": "its description",
    },
}
CITATION = """\
@inproceedings{li2025model,
  title = {Model Editing for {LLMs4Code}: How Far are We?},
  author = {Li, Xiaopeng and others},
  booktitle = {Proceedings of the 47th IEEE/ACM International Conference on Software Engineering (ICSE)},
  year = {2025},
  note = {arXiv:2411.06638}
}"""
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


class Step(NamedTuple):
    """A step of a build: how many rows went there, and how many were left after it."""

    name: str
    dropped: int
    left: int


class Funnel(NamedTuple):
    """What became of the rows that were read: those that are left after the last step are the cases."""

    read: int
    steps: Sequence[Step]
    kept: int


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


def funnel_of(manifest: Mapping[str, Any], cases: int) -> Funnel | None:
    """The rows that a manifest says were dropped, by step; None where it says nothing about rows.

    Args:
        manifest: The manifest.
        cases: How many cases the dataset has.

    Raises:
        DatasetError: If the manifest's funnel can't be read, or its numbers are not those of the dataset.
    """
    if "funnel" not in manifest:
        return None
    try:
        found = manifest["funnel"]
        gone: Counter[str] = Counter()
        for drop in found["dropped"]:
            gone[drop["step"]] += drop["count"]
        read, kept = int(found["read"]), int(found["kept"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"the funnel of the manifest can't be read ({error!r}). Expected that of clmeeval-build: build it again."
        ) from error
    if not read - gone.total() == kept == cases:
        raise DatasetError(
            f"the funnel of the manifest doesn't add up: {read} rows read, {gone.total()} dropped, {kept} kept, and "
            f"{cases} cases in the dataset. Build the dataset again, or leave the funnel out."
        )
    left = list(itertools.accumulate(gone.values(), lambda before, dropped: before - dropped, initial=read))[1:]
    return Funnel(read, [Step(name, gone[name], after) for name, after in zip(gone, left, strict=True)], kept)


def write_card(folder: Path, benchmark: Benchmark[Any], rows: Rows, manifest: Mapping[str, Any]) -> None:
    """Write README.md into a dataset folder that already holds its parquet files."""
    from datasets.info import DatasetInfosDict

    (folder / "README.md").write_text(render_card(benchmark, measure(benchmark, rows), manifest), encoding="utf-8")
    # datasets adds its own description of the columns and splits to the metadata that the template began
    DatasetInfosDict({"default": _dataset_info(folder, benchmark, rows)}).write_to_directory(str(folder))


def render_card(benchmark: Benchmark[Any], facts: Facts, manifest: Mapping[str, Any]) -> str:
    """The text of a card, without the description of the columns in its metadata.

    Raises:
        DatasetError: If the funnel of the manifest doesn't fit the cases.
    """
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
        title=TITLES[benchmark.name],
        summary=SUMMARIES[benchmark.name],
        columns=_columns(benchmark),
        funnel=funnel_of(manifest, facts.total),
        unknown=sum(share.cases for share in facts.sources if share.value[1] == UNKNOWN_LICENCE),
        citation=CITATION,
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


def _columns(benchmark: Benchmark[Any]) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column."""
    return [(field.name, _type(field.type), COLUMNS[benchmark.name][field.name]) for field in arrow_schema(benchmark)]


def _type(kind: "pa.DataType") -> str:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(f"`{field.name}`" for field in kind) + "}"
    return str(kind)


def _cell(value: object) -> str:
    """A value in a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("<", "&lt;").replace("|", "\\|") or "-"
