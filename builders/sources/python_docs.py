"""The documentation of Python's standard library as pairs: what a function does, and how it is called.

Source: Xu et al., "Incorporating External Knowledge through Pre-training for Natural Language to Code Generation", ACL
2020 (arXiv 2004.09015), made from the documentation of Python 3.7.5.
"""

import ast
import re
import warnings
from collections.abc import Iterator

from clmeeval_data.builders.sources import Pair, Reading, Row, Skipped
from clmeeval_data.builders.sources.corpus import FileSource
from clmeeval_data.builders.sources.docstring import first_sentence
from clmeeval_data.builders.sources.fields import unusable
from clmeeval_data.builders.sources.formats import excerpt
from clmeeval_data.records import Provenance

_ARGUMENTS = re.compile(r"\s*With arguments (?:`[^`]*`[ ,]*)+\.\s*$")
# What the corpus's tokeniser pulled apart, and what it was, in the order of application.
_REPAIRS = tuple(
    (re.compile(pattern), repaired)
    for pattern, repaired in (
        (r"[‘’]", "'"),
        (r"``\s*|\s*''|[“”]", '"'),
        (r"(\w|`) ' ?(s|t|re|ve|ll|d|m)\b", r"\1'\2"),  # the child ' s
        (r"(s) ' (?=\w)", r"\1' "),  # the users ' names
        (r"(?<=[\s(\[])(['\"])\s*([^'\"]*?)\s*\1(?=[\s.,;:)\]]|$)", r"\1\2\1"),  # ' x '
        (r"(?<=[<>!=%]) (?==)", ""),  # < =
        (r"\s+(?=[.,;:!?)\]}])(?!\.\w)", ""),
        (r"(?<=\d) (?=%)", ""),
        (r"(?<=[(\[{])\s+", ""),
        (r"(?<=\w) (?=\(\))", ""),  # fork ()
        (r"(?<=\w) (?=\((?:s|es)\))", ""),  # line (s)
        (r"`a` (?=[a-z]+(?<!\bto)(?<!\bin)(?<!\band)(?<!\bor)(?<!\bis)(?<!\bwith)(?<!\bby)\b)", "a "),  # the article
    )
)
_MOST_READ = 5000  # characters of a text
_OPENING = re.compile(r"^(?:Module: [\w.]+|Windows only:|\((?:Unix|Windows) version\)|\(default: [^()]*\))\s*")
_OPEN_BRACKET = re.compile(r"\s*[(\[][^()\[\]]*$")
# Openings of sentences that speak of something else than what this call does.
_BESIDE = re.compile(
    r"(?:All (?:arguments|following)|Th(?:e|is) (?:above|arguments?|same|first version|keyword|constructor)|"
    r"This (?:\w+ )?is (?:identical|similar|the same|another|deprecated|normally|probably|the entry)|"
    r"This (?:\w+ )?(?:operates|takes a single)|Constructor arguments|"
    r"The \w+ class is instantiated|These|Those|Arguments|Similar|Same|Like|Equivalent|Identical|If|For|When|In|As|No|"
    r"By default|Optional|Instances|See|Notes?|Not|Called|Should|Many|Possible|Flags|Constants?|Legacy|Deprecated|"
    r"\W*Only)(?!\w)|(?:The )?`",
    re.IGNORECASE,
)

_SPECIAL = re.compile(r"\.__\w+__\(")


class PythonDocs(FileSource):
    """The pairs, with the tokenised text put back into English.

    The prompt is the first sentence of the documentation, and what of the call the sentence leaves out: the module or
    object, and the arguments. All calls of a function, which differ in their optional arguments, form a group.
    """

    name = "python-docs"
    benchmarks = ("cnle",)
    licence = "Apache-2.0"
    file_licence = licence
    summary = "sentences of the standard library's documentation with the call that they describe; not CoNaLa"
    default = "https://raw.githubusercontent.com/neulab/external-knowledge-codegen/master/apidocs/python-docs.jsonl"
    wanted = re.compile(r"(^|/)python[-_]docs[^/]*\.(jsonl?|parquet)(\.gz)?$")
    fields = ("question_id", "intent", "snippet")

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pair of a row."""
        flaw = unusable(row, ("intent", "snippet"))
        if flaw is not None:
            yield flaw
            return
        snippet = " ".join(row["snippet"].split())
        text = _ARGUMENTS.sub("", detokenised(row["intent"][:_MOST_READ]))
        sentence = _whole(first_sentence(_OPENING.sub("", text), keep_code=True))
        if not sentence or _BESIDE.match(sentence):
            yield Skipped("the sentence does not say what the call does", excerpt(row["intent"]))
            return
        if _SPECIAL.search(snippet):
            yield Skipped("a special method, which no code calls by its name", excerpt(snippet))
            return
        name = re.sub(r"^@|\(.*", "", snippet).strip()
        provenance = Provenance(
            source=self.name,
            origin=f"{self.name}#{row.get('question_id', '')}",
            group=f"{self.name}-{name}",
            licence=self.licence,
        )
        yield Pair(_complete(sentence, snippet, name.rpartition(".")[0]), snippet, "", None, provenance)


def detokenised(text: str) -> str:
    """English as it was before a tokeniser put blanks around its punctuation; code spans stay."""
    text = " ".join(text.split())
    for pattern, repaired in _REPAIRS:
        text = pattern.sub(repaired, text)
    return " ".join(text.split())


def _whole(sentence: str) -> str:
    """The sentence without what breaks off at its end: an open bracket, a colon. A question says nothing."""
    if sentence.endswith("?"):
        return ""
    closed = _OPEN_BRACKET.sub("", sentence) if sentence.count("(") > sentence.count(")") else sentence
    kept = re.sub(r"(?:,?\s*\b(?:i\.e|e\.g|for example))?[\s.,;:–-]*$", "", closed)
    return f"{kept}." if kept else ""


def _complete(sentence: str, snippet: str, owner: str) -> str:
    """The sentence, with the module or object and the arguments of the call that it doesn't name.

    Of its code spans those stay that are arguments of the call.
    """
    arguments = _arguments(snippet)
    spans = {span: span.lstrip("*") for span in re.findall(r"`([^`]*)`", sentence)}
    for span in set(spans) - {span for span, name in spans.items() if name in dict(arguments)}:
        sentence = sentence.replace(f"`{span}`", span)
    parts = [sentence.removesuffix(".")]
    words = {word.casefold() for word in re.findall(r"\w+", sentence)}
    if owner and owner.rpartition(".")[2].casefold() not in words:
        parts.append(f"{'using' if '(' in snippet else 'from'} `{owner}`")
    missing = [f"`{text}`" for name, text in arguments if name not in spans.values()]
    if missing:
        listed = " and ".join([", ".join(missing[:-1]), missing[-1]] if len(missing) > 1 else missing)
        parts.append(f"with the argument{'s' if len(missing) > 1 else ''} {listed}")
    return ", ".join(parts) + "."


def _arguments(call: str) -> list[tuple[str, str]]:
    """The arguments of a call: name, and text. None where it isn't one, or doesn't parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes
            tree = ast.parse(call.removeprefix("@"), mode="eval").body
        if not isinstance(tree, ast.Call):
            return []
        found = [(ast.unparse(each).lstrip("*"), ast.unparse(each)) for each in tree.args]
        for keyword in tree.keywords:
            value = ast.unparse(keyword.value)
            found.append((keyword.arg, f"{keyword.arg}={value}") if keyword.arg else (value, f"**{value}"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return found
