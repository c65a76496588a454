"""From a docstring to the sentence that describes the function."""

import re

_ROLE = re.compile(r":(?:[a-z]+:)?[a-z]+:`~?\.?([^`<]+?)(?:\s*<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_+")
_EPYTEXT = re.compile(r"\b[A-Z]\{([^{}]*)\}")
_LITERAL = re.compile(r"``(.+?)``|`([^`']+)[`']_{0,2}")
_EMPHASIS = re.compile(r"(?<![\w*])\*{1,2}(\w[\w ]*?)\*{1,2}(?![\w*])")
_MARKUP = ((_ROLE, r"\1"), (_LINK, r"\1"), (_EPYTEXT, r"\1"), (_LITERAL, r"\1\2"), (_EMPHASIS, r"\1"))

_QUOTES = re.compile(r"^\s*[rRuUbB]{0,2}(?:\"\"\"|''')|(?:\"\"\"|''')\s*$")
_SUMMARY = re.compile(r"^[@:\\](?:summary|brief|short|description|desc)\b:?[ \t]*|^!\s*(?:[@\\]brief\b)?")
_RULE = re.compile(r"^[-=~*#_+.]{3,}$")
_TYPES = re.compile(r"^(?:[\w.]*\([^()]*\)|[\w.\[\],]+)\s*[-=]>\s*\S")
_HEADING = re.compile(
    r"(?:args|arguments|param|params|parameters|keyword arg(?:ument)?s|kwargs|inputs?|outputs?|returns?|yields?|raises|"
    r"throws|attributes|examples?|usage|notes?|see also|references?|todo|warnings?|side effects|e\.?g\.?)"
    r"(?:\s*$|:(?=\s|$))",
    re.IGNORECASE,
)
_FIELD = re.compile(r"^(?:[-*>•]+\s|>>>|:\w|[@\\]\w+\b|\.\. |\d+[.)]\s|\$ |```|\|)")
_DANGLING = re.compile(
    r"(?:[,;:(\-/&=+]|\b(?:a|an|the|of|to|in|on|at|by|for|from|with|and|or|as|is|are|be|if|that|which|this|into|its|via|per|"
    r"using|than|when|whether|not|no|all|each|any|given|new|between|like|named|called))$",
    re.IGNORECASE,
)
_TITLE_WORD = re.compile(r"^[A-Z][a-z]+\b")
_OPENER = re.compile(
    r"^(?:Returns?|This|It|If|Also|Therefore|Then|Notes?|Uses|Default|By default|Should|Will|You|We)\b"
)
_TITLE_END = re.compile(r"(?:\([^()]*\))?\s*(?:--?|–|—|:)\s+(?=\w)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][)\"'])\s+(?=[A-Z])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|eg|ie|vs|cf|resp|approx|incl|esp|fig|sec|al|a\.k\.a|aka|ex|no|nr|w\.r\.t|ca)|\betc(?=\.$))\.$",
    re.IGNORECASE,
)
_WRAPPED_AT = 60  # characters: where nobody breaks a line who could go on
_MOST_READ = 5000  # characters


def first_sentence(docstring: str, name: str = "", keep_code: bool = False) -> str:
    """The first sentence of a docstring, on one line, free of markup, with one full stop at its end.

    "" where the docstring has none: it begins with an example, or with the list of the parameters. A sentence that
    breaks off, because a list or an example follows it, keeps its colon or comma, so that a filter can see it.

    Args:
        docstring: The docstring, clean or as written.
        name: The function's name, which is taken away where the docstring begins with it as a title.
        keep_code: Leave code spans in their backticks.
    """
    text = " ".join(_paragraph(docstring))
    for pattern, instead in _MARKUP:
        text = text if keep_code and pattern is _LITERAL else pattern.sub(instead, text)
    text = _without_title(" ".join(text.split()), name)
    sentence = ""
    for part in _SENTENCE_END.split(text):
        sentence = f"{sentence} {part}".strip()
        if not _ABBREVIATION.search(sentence):
            break
    return re.sub(r"(?<=[\w)\]'\"`])$|\s*\.+$", ".", sentence, count=1) if sentence else ""


def _paragraph(docstring: str) -> list[str]:
    """The lines of the first paragraph of prose."""
    found: list[str] = []
    lines = _lines(docstring[:_MOST_READ])
    for number, line in enumerate(lines, start=1):
        if not line or _RULE.match(line):
            if found:
                break
            continue
        if _HEADING.match(line) or _FIELD.match(line) or (found and _begins_anew(found[-1], line)):
            break
        if found or number == len(lines) or not _TYPES.match(line):
            found.append(line)
    return found


def _lines(docstring: str) -> list[str]:
    text = _QUOTES.sub("", _QUOTES.sub("", docstring.strip())).strip()
    text = re.sub(r"\s*\\\n", "\n", _SUMMARY.sub("", text))
    return [line.strip() for line in text.splitlines()]


def _begins_anew(line: str, following: str) -> bool:
    """Whether a line is a sentence though it has no full stop: another one follows, and the line has an end."""
    word = _TITLE_WORD.match(following)
    if word is None or line.endswith((".", "!", "?")) or _DANGLING.search(line):
        return False
    return bool(_OPENER.match(following)) or len(line) + 1 + len(word[0]) <= _WRAPPED_AT


def _without_title(text: str, name: str) -> str:
    for title in (name, name.rpartition(".")[2]):
        if title and text.startswith(title) and (end := _TITLE_END.match(text, len(title))):
            return text[end.end() :]
    return text
