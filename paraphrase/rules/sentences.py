"""Sentences that are no request: questions why or what, troubles, names of things, the language of manuals."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from clmeeval_data.paraphrase.rules.choice import Choices
from clmeeval_data.paraphrase.rules.endings import Ending
from clmeeval_data.paraphrase.rules.spans import MASKED
from clmeeval_data.paraphrase.rules.verbs import Form, Verbs

_FORMS: tuple[Form, ...] = ("base", "third", "gerund")
_PLACE = re.compile(r"\{(?:(\w+):)?(\d)\}")
_COPULAS = frozenset({"is", "has", "can", "does", "was"})
_NAME = re.compile(
    r"(?:(?!(?:in|of|for|how|why|what|is|using|with|from|to|by|an?|the|and|or|at|as|on)\b)[a-z]+ ){0,2}"
    r"(?:number|names?|size|type|list|version|values?|index|indices|position|length|count|path|offset|time|flag|string|"
    r"dictionary|tuple|sequence|set|maximum|minimum|total|object|instance|class|subclass|sum|product|average|"
    r"difference|percentage|representation|order|state|status|source|id|array|address) of (?!error)",
    re.IGNORECASE,
)
_NO_NAME = re.compile(
    r"(?:an?|the|do|another|given|exactly|similarly|like|same|similar|must|for|in|on|with|when|if|because|where|used|not|no|"
    r"optional|each|all|any|some|this|these|there|it|as|at|by|to|from|see|otherwise|however|note|only|windows|unix|availability|"
    r"(?!deprecated)\w+ed|\w+ing|how|what|why|which|who|and|or|but|equal|equivalent|identical|bad|wrong|too|out|set|read|unable|"
    r"cannot)\b|.* (?:only|\w+ed|busy)$",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"(if|when|after|before) ([^,;:]+?) ?, (?:then )?((?:[^,;:()]|\([^()]*\))+)", re.IGNORECASE)
_NO_SUBJECT = re.compile(r"(?:should|must|can|may|will|is|does|has|was|would|cannot|isn't|doesn't)\b", re.IGNORECASE)
_POINTS_BACK = re.compile(r"\b(?:it|its|they|them|their|this|that|otherwise)\b")
_BEFORE_NOUNS = frozenset(
    {"the", "a", "of", "all", "in", "for", "with", "to", "from", "multiple", "two", "several", "and"}
)
_TROUBLED = re.compile(
    r"(?:(?:no|not|error|problem|issue|strange|weird|missing|unexpected|trouble|bug|invalid)s?|i|i.m|my|we|it)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"(?:how|what|why|which|where|who|is|are|does|do|can|could|should|will|would|has|have|any)\b", re.IGNORECASE
)
_NOTES = ("Note that {}", "It should be noted that {}")
_ABOUT_THINGS = ("Question about {}", "Help with {}", "A question concerning {}", "I have a question about {}")
_ABOUT_SEVERAL = ("Help needed: {}", "In other words: {}")
_ABOUT_TROUBLES = ("Help needed: {}", "My problem: {}", "Problem: {}")
_ABOUT_QUESTIONS = ("Question: {}?", "I have a question: {}?")


def is_name(text: str) -> bool:
    """Whether a text is the name of a thing without an article: "number of keys"."""
    return _NAME.match(text) is not None


@dataclass(frozen=True)
class Opening:
    """Sentences of one kind.

    Args:
        pattern: Matches them, without their last punctuation.
        unless: Doesn't match their start; None where it doesn't matter.
        only: Matches their start; None where it doesn't matter.
        into: Templates of what may take their place.
    """

    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None
    only: re.Pattern[str] | None
    into: tuple[str, ...]

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Opening":
        """The kind that an entry of ``openings.toml`` describes."""
        unless, only = (re.compile(table[key], re.IGNORECASE) if key in table else None for key in ("unless", "only"))
        return cls(re.compile(table["from"], re.IGNORECASE), unless, only, tuple(table["into"]))

    def match(self, text: str) -> re.Match[str] | None:
        """The match where the text is of this kind."""
        found = self.pattern.fullmatch(text)
        if found is None or (self.only and not self.only.match(text)) or (self.unless and self.unless.match(text)):
            return None
        return found


class Sentences:
    """Words sentences anew by how they open.

    Args:
        openings: The entries of ``openings.toml``.
        verbs: The verbs.
        lowered: Gives a sentence the small letter that it has inside of another one.
    """

    def __init__(self, openings: Sequence[Mapping[str, Any]], verbs: Verbs, lowered: Callable[[str], str]) -> None:
        self._openings = [Opening.of(table) for table in openings]
        self._verbs = verbs
        self._lowered = lowered

    def write(self, text: str, choices: Choices, ending: Ending) -> str | None:
        """A masked sentence, without its last punctuation, in other words; None where it opens in no known way.

        Args:
            text: The sentence.
            choices: Decide on the wording, which is another one at each attempt.
            ending: How it ended, which decides what it may become.
        """
        options = [option for option in self._options(text, ending.is_prose) if ending.fits(option)]
        options = [option for option in options if option.casefold().rstrip("?") != text.casefold()]
        return choices.turn("opening", options) if options else None

    def _options(self, text: str, is_prose: bool) -> Iterator[str]:
        for opening in self._openings:
            found = opening.match(text)
            if found is None:
                continue
            filled = [self._filled(template, found) for template in opening.into]
            usable = [sentence for sentence in filled if sentence is not None]
            yield from usable
            if usable or not filled:
                return
        found = _CONDITION.fullmatch(text)
        if found and not _POINTS_BACK.search(found[3]):
            yield f"{found[3]} {found[1].lower()} {found[2]}"
        if is_prose or not self._may_state(text):
            yield from self._named(text)

    def _filled(self, template: str, found: re.Match[str]) -> str | None:
        values = []
        for form, number in _PLACE.findall(template):
            value = self._in_form(found[int(number)], form) if form else found[int(number)]
            if value is not None and not form and not template.startswith("{"):
                value = self._lowered(value)
            if value is None:
                return None
            values.append(value)
        filled = iter(values)
        return re.sub(r"^A (?=[aeiou])", "An ", _PLACE.sub(lambda _: next(filled), template))

    def _in_form(self, text: str, form: Form) -> str | None:
        word, space, rest = text.partition(" ")
        for old in _FORMS:
            base = self._verbs.base(word, old)
            if base is not None:
                return self._verbs.inflected(base, form) + space + rest
        return text if form == "third" and word in _COPULAS else None

    def _may_state(self, text: str) -> bool:
        """Whether a word of a title may be its finite verb, since it isn't where a noun would be."""
        words = text.casefold().split()
        pairs = pairwise(words[1:])
        return any(self._verbs.base(word, "third") and before not in _BEFORE_NOUNS for before, word in pairs)

    def _named(self, text: str) -> Iterator[str]:
        """A thing that is named, asked for."""
        if self._verbs.is_statement(text) or re.match(r"an? (?:\w+ )?(?:error|problem|issue)\b", text, re.IGNORECASE):
            return
        lowered = text[:1].lower() + text[1:]
        if lowered.startswith("the "):
            yield from (f"What {_be(text[4:])} {lowered}?", f"Get {lowered}", f"I need {lowered}")
        elif lowered.startswith(("a ", "an ")):
            yield from (f"Is there {lowered}?", f"I need {lowered}", f"Looking for {lowered}")
        elif is_name(text):
            yield from (f"What {_be(text)} the {lowered}?", f"The {lowered}", f"Get the {lowered}")

    def frame(self, text: str, choices: Choices, ending: Ending) -> str:
        """A sentence in a frame that adds nothing to what it says, for want of other words.

        Args:
            text: The sentence, without its last punctuation.
            choices: Decide on the frame.
            ending: How it ended, which tells a manual from a title.
        """
        is_statement = self._verbs.is_statement(text) or _TROUBLED.match(text) is not None
        lowered = self._lowered(text)
        if ending.is_prose and ending.is_last:
            return self._prose(text, lowered, is_statement, choices)
        if not ending.is_last:
            frames: tuple[str, ...] = _NOTES if ending.is_prose and is_statement else _ABOUT_SEVERAL
        elif _ASKS.match(text) or (ending.asks and is_statement):
            frames = _ABOUT_QUESTIONS
        else:
            frames = _ABOUT_TROUBLES if is_statement else _ABOUT_THINGS
        return choices.pick("frame", frames).format(text if frames in (_ABOUT_QUESTIONS, _ABOUT_TROUBLES) else lowered)

    def _prose(self, text: str, lowered: str, is_statement: bool, choices: Choices) -> str:
        """The only sentence of a description in a frame."""
        if _NO_SUBJECT.match(text):
            return f"It {lowered}"
        is_order = lowered.startswith("do ") or self._verbs.opening(text, "base") is not None
        if is_statement and not is_order:
            return choices.turn("frame", _NOTES).format(lowered)
        return self._name(text, choices) or f"In other words: {lowered}"

    def _name(self, text: str, choices: Choices) -> str | None:
        first = re.match(rf"[A-Za-z]+(?!')|{MASKED}", text)
        if first is None or _NO_NAME.match(text) or self._verbs.opening(text, "base"):
            return None
        lowered = self._lowered(text)
        return choices.turn("name", [f"What {_be(text)} the {lowered}?", f"The {lowered}"])


def _be(text: str) -> str:
    """The verb that agrees with a noun phrase."""
    noun = re.split(
        r" (?:of|in|for|with|to|from|on|at|by|that|which|whose|used|as|when|where|\w+ing|\W)", text, maxsplit=1
    )[0]
    return "are" if re.search(r"[^isu]s$", noun) else "is"
