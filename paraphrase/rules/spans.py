"""What must not change in an intent: code, literals, names, numbers, operators and error messages.

Such spans are masked by one character each, from the range of Unicode that is for private use. Whatever rules do to the
text between them, they can neither change a span nor see what is in it.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

# As patterns, with their case as it is: Python looks up the other case of every character of a range otherwise.
TOPIC = "(?-i:[\ue000-\ue7ff])"  # the name of a language, a library or a system: "in Python", "using pandas"
QUOTED = "(?-i:[\ue800-\uefff])"  # a literal in quotes or backticks
SPAN = "(?-i:[\ue800-\uf8ff])"  # a quoted one, or any other that is no topic
MASKED = "(?-i:[\ue000-\uf8ff])"
LONGEST = 0x800  # characters of a text: each kind of span has so many characters to stand for its spans
_FIRST = {"topic": 0xE000, "quoted": 0xE800, "span": 0xF000}

_LITERALS = r"""
    (?P<span>
        [\ue000-\uf8ff]+
      | \b(?:i\.e|e\.g)\.
      | ``[^`]+`` | `[^`]*`
      | \\(?P<quote>['"]).+?\\(?P=quote)
      | (?<!\w)[bBuUrRfF]{0,2}"[^"\n]*"
      | (?<!\w)[bBuUrRfF]{0,2}'(?:[^'\\\n]|\\.)*'(?!\w)
      | “[^”\n]*” | ‘[^’\n]{0,80}’
      | \b[A-Z]\w*(?:Exception|Warning)\s?:\s.*$ | (?i:\b\w*error)\s?:\s?\S.*$
      | \b\w+://[^\s)\]]+
      | \b[A-Za-z_][\w.]*(?:\ ?\(\ ?\)|\([^()\n]*\)) | \b\w+\.\w[\w.]*\ \([^()\n]*\)
      | \[(?=[^\]\n]*[\d'"`=,:_])(?:[^\[\]\n]|\[[^\[\]\n]*\])*\] | \{[^{}\n]*\}
      | \((?=[^()\n]*[\d'"`=_])[^()\n]*\)
    )
  | (?<![\w.\-/])(?P<topic>%s)(?![\w\-/(]|\.\w)
  | (?P<token>
        [^\s()\[\]{},;:'"?!]*[_/\\@\#$%%^&*=<>|~+{}\d][^\s,;]*?(?=[.,;:?!)\]}'"]*(?:\s|,|;|$))
      | (?<![\w.])\.?\w+(?:\.\w+)+ | (?<!\S)\.\w+
      | \b\w*[a-z][A-Z]\w*\b | \b[A-Z][A-Z]+\w*\b
      | (?<!['’])\b[B-HJ-Zb-hj-z]\b(?!['’])
    )
"""
_NAME = re.compile(r"(?<![.:?!…\-–] )(?<=[^\s.:?!…])([ (])([A-Z][a-z]+)\b(?!-)")
_WORD = re.compile(r"\b[A-Za-z][a-z]{3,}\b")


@dataclass(frozen=True)
class Masked:
    """A text whose spans are masked.

    Args:
        text: The text with one character in place of each span.
        spans: What each of these characters stands for.
        titled: Whether the Words Are Written Like This.
    """

    text: str
    spans: dict[str, str]
    titled: bool

    def restore(self, text: str) -> str:
        """A text with the spans back in their places."""
        return re.sub(MASKED, lambda match: self.spans.get(match[0], match[0]), text)

    def is_kept(self, text: str) -> bool:
        """Whether a masked text has each of the spans exactly once."""
        return sorted(re.findall(MASKED, text)) == sorted(self.spans)


class Masking:
    """Finds the spans of texts.

    Args:
        topics: Names of languages, libraries and systems, which may stand in any case.
        common: Words in lower case that are no names even where they are capitalised in the middle of a sentence.
    """

    def __init__(self, topics: Iterable[str], common: Collection[str]) -> None:
        longest_first = sorted(topics, key=lambda topic: (-len(topic), topic))
        names = "|".join(re.escape(topic).replace(r"\ ", r"\s") for topic in longest_first)
        named = rf"(?i:(?:{names})(?:\s?(?:\d+(?:\.[\dx]+)*))?)"
        self._pattern = re.compile(_LITERALS % named, re.VERBOSE)
        self._common = common

    def mask(self, text: str) -> Masked:
        """The text with its spans masked; names are masked unless all words are capitalised."""
        spans: dict[str, str] = {}

        def hide(span: str, kind: str) -> str:
            character = chr(_FIRST[kind] + len(spans))
            spans[character] = span
            return character

        hidden = self._pattern.sub(lambda match: hide(match[0], _kind(match)), text)
        words = _WORD.findall(hidden)
        titled = len(words) > 2 and sum(word[0].isupper() for word in words) > 0.6 * len(words)
        if not titled:
            hidden = _NAME.sub(lambda match: match[1] + self._name(match[2], hide), hidden)
        return Masked(hidden, spans, titled)

    def lowered(self, text: str) -> str:
        """A masked sentence with a small first letter, unless its first word may be a name."""
        first = re.match(r"[A-Z][a-z]*(?![\w'.])", text)
        if first is None or first[0] == "I":
            return text
        if first[0].casefold() not in self._common and not first[0].endswith(("ed", "ing", "ly")):
            return text
        return text[0].lower() + text[1:]

    def _name(self, word: str, hide: Callable[[str, str], str]) -> str:
        return word if word.casefold() in self._common else hide(word, "span")


def _kind(found: re.Match[str]) -> str:
    if found["topic"]:
        return "topic"
    return "quoted" if found[0][0] in "`'\"" else "span"
