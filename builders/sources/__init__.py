"""Where raw pairs come from: one file per source, and one line in ``SOURCES``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from clmeeval_data.errors import ConfigError
from clmeeval_data.records import Provenance
from clmeeval_data.registry import Registry


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


class Source(Protocol):
    """A corpus: its name, the benchmark that its pairs make ("cnle" or "csne"), its licence (SPDX), what it is."""

    name: str
    benchmark: str
    licence: str
    summary: str

    def read(self) -> Iterator[Pair]:
        """The pairs, each time in the same order.

        Raises:
            SourceError: If the corpus is missing or damaged.
        """


SOURCES: Registry[Callable[[], Source]] = Registry(
    "source",
    {
        "sample": "clmeeval_data.builders.sources.sample:SampleSource",
        "stdlib": "clmeeval_data.builders.sources.stdlib:StdlibSource",
    },
)


def open_source(name: str, benchmark: str) -> Source:
    """The source of that name, for building that benchmark.

    Raises:
        UnknownNameError: If there is no such source.
        ConfigError: If its pairs make another benchmark.
    """
    source = SOURCES[name]()
    if source.benchmark != benchmark:
        fitting = ", ".join(other for other in SOURCES if SOURCES[other]().benchmark == benchmark)
        raise ConfigError(
            f"source {name!r} makes {source.benchmark} cases, not {benchmark}. Sources for {benchmark}: {fitting}."
        )
    return source
