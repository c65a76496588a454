"""From a docstring to the sentence that describes the function."""

import re

_ROLE = re.compile(r":(?:[a-z]+:)?[a-z]+:`~?\.?([^`<]+?)(?:\s*<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_+")
_LITERAL = re.compile(r"``(.+?)``|`([^`']+)[`']_{0,2}")
_EMPHASIS = re.compile(r"(?<![\w*])\*{1,2}(\w[\w ]*?)\*{1,2}(?![\w*])")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|cf|resp|approx|incl|esp|fig|sec|al)\.$", re.IGNORECASE)


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring's first paragraph, on one line, free of markup, with one full stop at its end.

    A sentence that breaks off, because a list or an example follows it, keeps its colon or comma, so that a filter can
    see it.
    """
    paragraph = re.split(r"\n\s*\n|\n\s*(?=[-*>]+\s|:\w+|@\w+|\.\. )", docstring.strip(), maxsplit=1)[0]
    text = " ".join(_without_markup(paragraph).split())
    sentence = ""
    for part in _SENTENCE_END.split(text):
        sentence = f"{sentence} {part}".strip()
        if not _ABBREVIATION.search(sentence):
            break
    return re.sub(r"(?<=[\w)\]'\"])$|\s*\.+$", ".", sentence, count=1)


def _without_markup(text: str) -> str:
    text = _ROLE.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _LITERAL.sub(lambda match: match[1] or match[2], text)
    return _EMPHASIS.sub(r"\1", text)
