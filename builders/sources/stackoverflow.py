"""Titles of Stack Overflow questions with the snippet of an answer: the same kind of data as CoNaLa, but not CoNaLa."""

import re
from collections.abc import Iterable, Iterator

from clmeeval_data.builders.notation import in_python_3
from clmeeval_data.builders.sources import Pair, Reading, Row
from clmeeval_data.builders.sources.corpus import FileSource
from clmeeval_data.builders.sources.fields import content_key, unusable
from clmeeval_data.builders.sources.sessions import typed
from clmeeval_data.records import Provenance


class StackOverflow(FileSource):
    """Rows of idx, title and snippet, collected in 2015, when Stack Overflow published under CC BY-SA 3.0.

    There are no question ids, so rows with the same title, apart from case and punctuation, form a group. No public
    address is known.
    """

    name = "stackoverflow"
    benchmarks = ("cnle",)
    licence = "CC-BY-SA-3.0"
    file_licence = licence
    summary = "titles of Python questions with a snippet of an answer, 2015; not CoNaLa"
    default = None
    wanted = re.compile(r"(^|/)stackoverflow[^/]*\.(jsonl?|parquet)(\.gz)?$")
    fields = ("idx", "title", "snippet")

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pair of a row; its origin is the row's number in the corpus."""
        flaw = unusable(row, ("title", "snippet"))
        if flaw is not None:
            yield flaw
            return
        provenance = Provenance(
            source=self.name,
            origin=f"{self.name}#{row.get('idx', '')}",
            group=f"so-title-{title_key(row['title'])}",
            licence=self.licence,
        )
        yield Pair(" ".join(row["title"].split()), in_python_3(typed(row["snippet"])), "", None, provenance)


def title_key(title: str) -> str:
    """The same for titles that differ in case, blanks and punctuation alone."""
    return content_key(" ".join(re.findall(r"\w+", title)) or title)


def question_groups(pairs: Iterable[Pair]) -> dict[str, str]:
    """Which groups of this source are questions of CoNaLa too: the group by title -> the group by question id.

    A pair of CoNaLa has the title of its question for its rephrasing, or for its prompt where it has no other.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        group = pair.provenance.group
        if re.fullmatch(r"so-\d+", group):
            title = f"so-title-{title_key(pair.rephrasing or pair.prompt)}"
            found[title] = min(group, found.get(title, group))
    return found
