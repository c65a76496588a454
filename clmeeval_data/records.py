"""What one case of CNLE or CSNE is.

A case asks to change one answer of a code model: the answer to ``prompt`` becomes the target. The rephrased prompt asks
for the same answer in other words; the neighbours are close in wording, have other answers, and must not change.

Source: Li et al., "Model Editing for LLMs4Code: How Far are We?", ICSE 2025 (arXiv 2411.06638), section III.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Provenance:
    """Where a case comes from: name of the source, its place there (a URL or a question id), its group, its licence.

    Cases of one group (a question, a repository, a module) always share a split. ``licence`` is an SPDX identifier.
    """

    source: str
    origin: str
    group: str
    licence: str


@dataclass(frozen=True)
class Rephrasing:
    """How the rephrased prompt was made: engine, model behind it ("" where none), version of its rules or prompt."""

    engine: str
    model: str
    version: str


@dataclass(frozen=True)
class CnleNeighbour:
    """An intent close to the case's in wording (similarity 0 to 100, higher is closer), with its own snippet."""

    intent: str
    snippet: str
    similarity: float


@dataclass(frozen=True)
class CsneNeighbour:
    """A function close to the case's in wording (similarity 0 to 100, higher is closer), with its own description."""

    code: str
    code_doc: str
    similarity: float


@dataclass(frozen=True)
class CnleRecord:
    """One case of CNLE (CoNaLa-Edit): intent -> snippet."""

    case_id: str
    intent: str
    rewritten_intent: str
    snippet: str
    neighborhood: tuple[CnleNeighbour, ...]
    provenance: Provenance
    rephrasing: Rephrasing


@dataclass(frozen=True)
class CsneRecord:
    """One case of CSNE (CodeSearchNet-Edit): code -> the sentence that describes it."""

    case_id: str
    func_name: str
    code: str
    code_rewrite: str
    code_doc: str
    neighborhood: tuple[CsneNeighbour, ...]
    provenance: Provenance
    rephrasing: Rephrasing


Record = CnleRecord | CsneRecord
R = TypeVar("R", CnleRecord, CsneRecord)


@dataclass(frozen=True)
class Benchmark(Generic[R]):
    """What tells CNLE and CSNE apart: the record, the names of its three text fields, and the prompt's template."""

    name: str
    record: type[R]
    neighbour: type[CnleNeighbour] | type[CsneNeighbour]
    prompt_field: str
    rephrased_field: str
    target_field: str
    template: str

    def prompt(self, text: str) -> str:
        """The text a model reads: an intent or a function set into the benchmark's template."""
        return self.template.format(text)

    def case_id(self, prompt: str, target: str) -> str:
        """The id of a case: a hash of its prompt and target, so that it stays when other rows come and go."""
        digest = hashlib.sha256("\x1f".join((self.name, prompt, target)).encode("utf-8", "surrogatepass"))
        return f"{self.name}-{digest.hexdigest()[:16]}"

    def to_row(self, record: R) -> dict[str, Any]:
        """A record as plain dicts and lists, in the order of the schema."""
        row = asdict(record)
        row["neighborhood"] = list(row["neighborhood"])
        return row

    def from_row(self, row: Mapping[str, Any]) -> R:
        """The inverse of ``to_row``.

        Raises:
            KeyError: If a field is missing.
        """
        fields = dict(row)
        neighbours = tuple(self.neighbour(**item) for item in row["neighborhood"])
        fields.update(
            neighborhood=neighbours,
            provenance=Provenance(**row["provenance"]),
            rephrasing=Rephrasing(**row["rephrasing"]),
        )
        return self.record(**fields)


CNLE: Benchmark[CnleRecord] = Benchmark(
    name="cnle",
    record=CnleRecord,
    neighbour=CnleNeighbour,
    prompt_field="intent",
    rephrased_field="rewritten_intent",
    target_field="snippet",
    template="Intent: {}\nCode:",
)
CSNE: Benchmark[CsneRecord] = Benchmark(
    name="csne",
    record=CsneRecord,
    neighbour=CsneNeighbour,
    prompt_field="code",
    rephrased_field="code_rewrite",
    target_field="code_doc",
    template="Code: {}\nDescription:",
)
BENCHMARKS: dict[str, Benchmark[Any]] = {CNLE.name: CNLE, CSNE.name: CSNE}


def targets_are_code(benchmark: str) -> bool:
    """Whether the targets of a benchmark, by its name, are code, so that their syntax is scored too."""
    return benchmark == CNLE.name
