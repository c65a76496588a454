"""Where raw pairs come from: one file per source, and one line in ``SOURCES``.

A corpus is read in two steps: ``rows`` streams its raw rows in order, and ``pairs`` makes pairs of one row, without any
state, so that it may run in another process.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clmeeval_data.errors import ConfigError
from clmeeval_data.records import Provenance
from clmeeval_data.registry import Registry

Row = Mapping[str, Any]

UNKNOWN_LICENCE = "LicenseRef-unknown"


@dataclass(frozen=True)
class Pair:
    """One raw pair: a prompt and the answer that an edit would put in place.

    For CNLE an intent and a snippet; for CSNE a function without its docstring and the sentence that describes it, with
    the function's qualified name. ``rephrasing`` is another wording that came with the pair, None where there is none.
    """

    prompt: str
    target: str
    func_name: str
    rephrasing: str | None
    provenance: Provenance


@dataclass(frozen=True)
class Unreadable:
    """A row or a line that is damaged: why, and its beginning."""

    reason: str
    text: str


@dataclass(frozen=True)
class Skipped:
    """A sound row that makes no pair: why, and what a reader would want to see of it. This is not damage."""

    reason: str
    text: str


Reading = Pair | Unreadable | Skipped


@dataclass(frozen=True)
class SourceFile:
    """One file that was read, for the manifest.

    Args:
        address: Its URL, or its name; never a path of this machine.
        revision: The commit, tag or version that it belongs to, "" where it has none.
        size: In bytes.
        sha256: Of its bytes.
        licence: SPDX identifier, "" where unknown.
    """

    address: str
    revision: str
    size: int
    sha256: str
    licence: str


@dataclass(frozen=True)
class SourceOptions:
    """How sources are read; each reads the options that concern it.

    Args:
        cache: Where downloads are kept; None for the user's cache folder.
        prob: conala-mined: the least probability of a pair.
        columns: jsonl: the columns of the user's file by what they hold: prompt, target, func_name, rephrasing, group,
            licence or origin. A name that is not given is that of the column.
        licence: jsonl and clmeeval-json: the licence (SPDX) of rows that state none.
        repository_licences: codesearchnet: a JSON file that says which repository has which licence.
        offline: Read what is on this machine, and download nothing.
    """

    cache: Path | None = None
    prob: float = 0.0
    columns: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None
    repository_licences: Path | None = None
    offline: bool = False


DEFAULT_OPTIONS = SourceOptions()


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user names it, and where it is: a Hub id, a URL or a path; None for its own address."""

    name: str
    location: str | None = None

    @classmethod
    def parse(cls, text: str) -> "SourceSpec":
        """The spec written as NAME or NAME=LOCATION.

        Raises:
            ConfigError: If the name or the location is empty.
        """
        name, sign, location = text.partition("=")
        if not name or (sign and not location):
            raise ConfigError(
                f"--source {text!r} is not of the form NAME or NAME=LOCATION. "
                "A location is a Hub id (owner/name), a URL, a file or a folder."
            )
        return cls(name, location or None)


class Source(Protocol):
    """An open corpus: its name, the benchmark that its pairs make ("cnle" or "csne"), its licence, what it is.

    ``spec`` is what opens it, NAME[=LOCATION], where a path of this machine is but its last part.
    """

    name: str
    benchmark: str
    licence: str
    summary: str
    options: SourceOptions

    @property
    def spec(self) -> str:
        """What opens it."""

    def rows(self) -> Iterator[Row]:
        """The raw rows in the order of the corpus, as JSON values. A damaged line is a row of its own.

        Raises:
            SourceError: If the corpus is missing, damaged as a whole, or has no row.
        """

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pairs that a row holds, or why it holds none; depends on the row and the options alone."""

    def files(self) -> tuple[SourceFile, ...]:
        """What is read, file by file.

        Raises:
            SourceError: If the corpus is missing, or its bytes are not those that were promised.
        """


class SourceClass(Protocol):
    """What opens a corpus.

    ``benchmarks`` are those that it can make. ``default`` is where it is read from unless the user says otherwise; ""
    where it needs no address, None where the user has to say.
    """

    name: str
    benchmarks: tuple[str, ...]
    licence: str
    summary: str
    default: str | None

    def __call__(
        self,
        location: str | Path | None = None,
        benchmark: str | None = None,
        options: SourceOptions = DEFAULT_OPTIONS,
    ) -> Source:
        """Open it, for building a benchmark: the first of ``benchmarks`` unless another is named."""


SOURCES: Registry[SourceClass] = Registry(
    "source",
    {
        "sample": "clmeeval_data.builders.sources.sample:SampleSource",
        "stdlib": "clmeeval_data.builders.sources.stdlib:StdlibSource",
        "conala-mined": "clmeeval_data.builders.sources.conala:ConalaMined",
        "conala-curated": "clmeeval_data.builders.sources.conala:ConalaCurated",
        "stackoverflow": "clmeeval_data.builders.sources.stackoverflow:StackOverflow",
        "python-docs": "clmeeval_data.builders.sources.python_docs:PythonDocs",
        "codesearchnet": "clmeeval_data.builders.sources.codesearchnet:CodeSearchNet",
        "jsonl": "clmeeval_data.builders.sources.own:OwnPairs",
        "clmeeval-json": "clmeeval_data.builders.sources.released:Released",
    },
)


def open_source(spec: SourceSpec | str, benchmark: str, options: SourceOptions = DEFAULT_OPTIONS) -> Source:
    """The source of a spec (or NAME[=LOCATION]), for building that benchmark. Nothing is downloaded yet.

    Raises:
        UnknownNameError: If there is no such source.
        ConfigError: If its pairs make another benchmark, or its location is missing or can't be understood.
        SourceError: If its location is a path where nothing is.
    """
    spec = SourceSpec.parse(spec) if isinstance(spec, str) else spec
    kind = SOURCES[spec.name]
    if benchmark not in kind.benchmarks:
        fitting = ", ".join(other for other in SOURCES if benchmark in SOURCES[other].benchmarks)
        made = " and ".join(kind.benchmarks)
        raise ConfigError(
            f"source {spec.name!r} makes {made} cases, not {benchmark}. Sources for {benchmark}: {fitting}."
        )
    if spec.location is None and kind.default is None:
        raise ConfigError(
            f"source {spec.name!r} has no address of its own. Say where it is: --source {spec.name}=LOCATION, where "
            "LOCATION is a Hub id (owner/name), a URL, a file or a folder."
        )
    return kind(spec.location, benchmark, options)


def read(source: Source) -> Iterator[Reading]:
    """Everything that a source gives, in the order of the corpus.

    Raises:
        SourceError: If the corpus is missing, damaged as a whole, or has no row.
    """
    for row in source.rows():
        yield from source.pairs(row)
