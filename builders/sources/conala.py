"""CoNaLa: questions of Stack Overflow with Python snippets that answer them, mined and curated.

Source: Yin et al., "Learning to Mine Aligned Code and Natural Language Pairs from Stack Overflow", MSR 2018 (arXiv
1805.08949).

Licence: the card on the Hub says MIT, which its authors can say of what is theirs: the choice of the pairs, the
probabilities and the annotated wordings. The questions and snippets were written by users of Stack Overflow, and all
of them before May 2018 (the paper's crawl; the largest question id among the curated ones is of 2017), when Stack
Overflow published under CC BY-SA 3.0, or 2.5 before April 2011, whose adaptations may be shared under 3.0. A row holds
both, so the stricter licence is given.
"""

import re
from collections.abc import Iterator

from clmeeval_data.builders.notation import in_python_3
from clmeeval_data.builders.sources import Pair, Reading, Row, Skipped, Unreadable
from clmeeval_data.builders.sources.corpus import FileSource
from clmeeval_data.builders.sources.fields import is_number, text_or_none, unusable
from clmeeval_data.builders.sources.formats import excerpt
from clmeeval_data.builders.sources.sessions import typed
from clmeeval_data.records import Provenance

LICENCE = "CC-BY-SA-3.0"

_ARCHIVE = "http://www.phontron.com/download/conala-corpus-v1.1.zip"

_LINK = re.compile(r"</?a\b[^<>]*>")  # three of the questions


class ConalaMined(FileSource):
    """The mined pairs, each with the probability that the snippet answers the question.

    Reads the original archive, its ``conala-mined.jsonl``, and the forms of the Hub (JSON lines, parquet). Rows below
    the option ``prob`` are skipped.
    """

    name = "conala-mined"
    benchmarks = ("cnle",)
    licence = LICENCE
    file_licence = LICENCE
    summary = "CoNaLa, 593,891 mined pairs of Stack Overflow titles and snippets, with a probability each"
    default = _ARCHIVE
    wanted = re.compile(r"(^|/)conala[-_]mined[^/]*\.(jsonl?|parquet)(\.gz)?$|(^|/)mined/.*\.parquet$")
    fields = ("question_id", "parent_answer_post_id", "prob", "intent", "snippet")

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pair of a row; its origin is the answer that holds the snippet."""
        flaw = unusable(row, ("intent", "snippet")) or _without_question(row)
        if flaw is None and not is_number(row.get("prob")):
            flaw = Unreadable("field 'prob' is no number", excerpt(row))
        if flaw is not None:
            yield flaw
        elif row["prob"] < self.options.prob:
            yield Skipped("the probability is below the threshold", excerpt(row["intent"]))
        else:
            answer = row.get("parent_answer_post_id")
            origin = f"https://stackoverflow.com/a/{answer}" if _is_id(answer) else question_url(row["question_id"])
            yield Pair(
                row["intent"].strip(), in_python_3(typed(row["snippet"])), "", None, _provenance(self.name, row, origin)
            )


class ConalaCurated(FileSource):
    """The curated pairs, of the train and the test file alike.

    The annotated wording names the variables and literals of the snippet, so it is the prompt; the question as it was
    asked is its rephrasing, which a check may refuse for lack of these. A row without annotation has the question for
    its prompt and no rephrasing. Reads the original archive, its two JSON files, and the forms of the Hub.
    """

    name = "conala-curated"
    benchmarks = ("cnle",)
    licence = LICENCE
    file_licence = LICENCE
    summary = "CoNaLa, 2,879 curated pairs of Stack Overflow questions and snippets, most with an annotated wording"
    default = _ARCHIVE
    wanted = re.compile(
        r"(^|/)conala[-_](paired[-_]|curated[-_])?(train|test)[^/]*\.(jsonl?|parquet)(\.gz)?$|(^|/)curated/.*\.parquet$"
    )
    fields = ("question_id", "intent", "rewritten_intent", "snippet")

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pair of a row; its origin is the question."""
        flaw = unusable(row, ("intent", "snippet"), optional=("rewritten_intent",)) or _without_question(row)
        if flaw is not None:
            yield flaw
            return
        asked, annotated = _LINK.sub("", row["intent"]).strip(), text_or_none(row, "rewritten_intent")
        provenance = _provenance(self.name, row, question_url(row["question_id"]))
        if annotated is None:
            yield Pair(asked, row["snippet"], "", None, provenance)
        else:
            yield Pair(annotated, row["snippet"], "", asked, provenance)


def question_url(question: object) -> str:
    """The address of a question."""
    return f"https://stackoverflow.com/questions/{question}"


def _provenance(source: str, row: Row, origin: str) -> Provenance:
    return Provenance(source=source, origin=origin, group=f"so-{row['question_id']}", licence=LICENCE)


def _without_question(row: Row) -> Unreadable | None:
    if _is_id(row.get("question_id")):
        return None
    return Unreadable("field 'question_id' is no number of a question", excerpt(row))


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdecimal()
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
