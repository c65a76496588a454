"""Verbs: their forms, and where one opens a request rather than being a noun."""

import re
import string
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from clmeeval_data.paraphrase.rules.spans import MASKED, QUOTED

_LETTERS = string.ascii_letters + "'"
Form = Literal["base", "third", "gerund"]
_FORMS: tuple[Form, ...] = ("base", "third", "gerund")
_DETERMINER = (
    r"(?:(?:an?|the|all|each|every|any|my|your|our|its?|this|that|these|those|both|some|multiple|several|two|"
    r"three|four|only|one|first|last|specific|certain|whether|if|many|more|new|current|unique)\b)"
)
_HAS_DETERMINER = re.compile(rf"{MASKED}|{_DETERMINER}", re.IGNORECASE)
_HAS_DETERMINED = re.compile(rf"{QUOTED}|{_DETERMINER}", re.IGNORECASE)
_NO_VERB = re.compile(  # "set by", "start index"
    r"(?:set|read|reset|put) (?:by|during|when|to|if|only)\b|start (?:index|position|date|time|point|tag)\b|"
    r"filter on\b|try except\b|return (?:code|value|type|address)s?\b"
)
_LONG_OBJECT = re.compile(
    rf"[a-z']+ (?:{MASKED}|(?!(?:in|on|with|when|for|while|at|from|and|or|not|is|are|does|as|of|to)\b)[a-z])",
    re.IGNORECASE,
)
_THIRD_PARTICLE = re.compile(r"(?:for|up|into|through|over|on|at|out)\b")
_NO_OBJECT = re.compile(rf"(for|of|and|in|as|vs|versus|when|while|is|between|(?!{MASKED})\W)(?: |$)", re.IGNORECASE)
_WITH_PARTICLE: Mapping[str, str] = {  # verbs whose -ing form is a verb even before these words
    "for": "search look check wait test account listen ask",
    "in": "log read zoom search plot fill",
    "and": "read find sort create get",
}
_ADVERB = (
    r"(?:(?:(?!multiply|apply|supply|reply|comply|imply|rely)\w+ly|only|just|always|also|then|deep|right|left|pretty|"
    r"cross|auto|bulk|elementwise|inner|outer|custom|scalar) |re-|un-)"
)
_SUBORDINATE = re.compile(
    r";|\b(?:that|which|who|whatever|everything|whom|whose|what|when|if|whether|where|how|while|as|because|since|until|"
    r"why|so|unless|after|before)\b|\b(?:the|an?) \w+ (?=the \w+ (?:will|can|is|was|has|should)\b)",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\([^()]*\)|, (?:which|whose) [^,]*,")
_COORDINATED = re.compile(
    r"((?:\b(?:and|or|then|otherwise|else)|[,;])(?: then| also| and| or| otherwise| else)* )([A-Za-z]+)\b"
)
_COORDINATED_BASE = re.compile(r"(?:\b(?:and|or|then|but)|,)\s+(?:then |also |not |and )*([A-Za-z]+)\b")
_OTHER_GERUND = re.compile(r"\b(?:by|without|after|before|while|when|of|for|from|than) \w+ing\b")


class Opened(NamedTuple):
    """A text that opens with a verb: the adverb before it, with a space, or ""; its base form; what follows."""

    adverb: str
    verb: str
    rest: str

    @property
    def text(self) -> str:
        """The text with the verb in its base form."""
        return f"{self.adverb}{self.verb} {self.rest}".rstrip()


class Verbs:
    """The verbs of a table.

    Args:
        table: Lists of words, as text, and irregular forms; see ``verbs.toml``.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        def words(key: str) -> frozenset[str]:
            return frozenset(table[key].split())

        self._irregular: Mapping[str, Mapping[str, str]] = table["irregular"]
        self._doubled = words("doubled")
        self.ambiguous = words("ambiguous")
        self.known = words("requests") | self.ambiguous
        self.nouns = words("objects")
        self.function_words = words("function_words")
        self._before_nouns = words("before_nouns")
        self._compounds = words("compounds")
        self._troubles = words("troubles")
        self._certain = words("certain")
        self._after_nouns = words("after_nouns")
        self._not_openings = words("not_openings")
        finite, nouns, plural = (_either(words(key)) for key in ("finite", "finite_or_nouns", "finite_plural"))
        self._finite = re.compile(
            rf"\b(?:{finite})(?!\w)|(?<!^)(?<!\bto )\b(?:{plural})\b|"
            rf"(?<!\bof )(?<!\bthe )(?<!\ball )(?<!\bin )(?<!\band )\b(?:{nouns}) "
            rf"(?:{MASKED}|{_DETERMINER}|in |to |up |out )",
            re.IGNORECASE,
        )
        self._bases: Mapping[Form, Mapping[str, str]] = {
            form: {self.inflected(base, form): base for base in sorted(self.known)}
            for form in ("base", "third", "gerund")
        }
        self.forms = frozenset[str]().union(*self._bases.values())

    def inflected(self, verb: str, form: Form) -> str:
        """A verb in another form; of several words ("get rid of the keys") the first one is inflected."""
        base, space, rest = verb.partition(" ")
        if form == "base":
            return verb
        if base in self._irregular:
            return self._irregular[base][form] + space + rest
        if form == "third":
            return _third(base) + space + rest
        return _gerund(base + base[-1] if base in self._doubled else base) + space + rest

    def base(self, word: str, form: Form) -> str | None:
        """The base form of a word that is a known verb in that form; None where it is none, or rarely a verb."""
        folded = word.casefold()
        return None if folded in self._not_openings else self._bases[form].get(folded)

    def opening(self, text: str, form: Form) -> Opened | None:
        """A text that opens with a verb in that form; None where it doesn't, or where the word may be a noun."""
        found = re.match(rf"({_ADVERB}?)([A-Za-z]+)(?= |$)\s*(.*)$", text, re.DOTALL | re.IGNORECASE)
        base = self.base(found[2], form) if found else None
        if found is None or base is None:
            return None
        opened = Opened(found[1], base, found[3])
        return opened if self._is_verb(opened, form, text) else None

    def _is_verb(self, opened: Opened, form: Form, text: str) -> bool:
        if form == "gerund":
            alone = _NO_OBJECT.match(opened.rest)
            return alone is None or opened.verb in _WITH_PARTICLE.get(alone[1].casefold(), "").split()
        if opened.verb in self._certain or (form == "third" and _THIRD_PARTICLE.match(opened.rest)):
            return True
        is_annotated = text[0].islower() and re.search(QUOTED, text) is not None
        if opened.verb in self.ambiguous and not is_annotated and not opened.rest.startswith(("over ", "through ")):
            has_noun = opened.verb in self._before_nouns and _first_word(opened.rest) in self.nouns
            return has_noun or (_HAS_DETERMINED if form == "third" else _HAS_DETERMINER).match(opened.rest) is not None
        word = _first_word(opened.rest)
        is_compound = word in self._troubles or (word in self._compounds and not _LONG_OBJECT.match(opened.rest))
        is_noun = _NO_VERB.match(f"{opened.verb} {opened.rest}") is not None
        return word not in self._after_nouns and not is_compound and not is_noun

    def has_object(self, rest: str) -> bool:
        """Whether what follows a word makes it a verb even where it could be a noun."""
        return _HAS_DETERMINER.match(rest) is not None or _first_word(rest) in self.nouns

    def infinitive(self, text: str) -> Opened | None:
        """The same as ``opening`` for a text that follows "to" or "how do I", where any known word is a verb."""
        found = re.match(rf"({_ADVERB}*)([A-Za-z]+)(?= |$)\s*(.*)$", text, re.DOTALL | re.IGNORECASE)
        if found is None or found[2].casefold() not in self.known:
            return None
        return Opened(found[1], found[2].casefold(), found[3])

    def is_statement(self, text: str) -> bool:
        """Whether a text has a finite verb outside of its subordinate clauses."""
        main = _SUBORDINATE.split(_ASIDE.sub("", text), maxsplit=1)[0]
        return self._finite.search(main) is not None

    def in_base_form(self, text: str, form: Form) -> str | None:
        """A text that opens with a verb in that form, with it and the verbs coordinated with it in the base form.

        None where it opens otherwise, or where it is doubtful which verbs are coordinated.
        """
        opened = self.opening(text, form)
        if opened is None:
            return None
        others = [match for match in _COORDINATED.finditer(opened.rest) if self.base(match[2], form)]
        if form == "gerund" and _OTHER_GERUND.search(opened.rest):
            return None if others else opened.text
        for match in others:
            following = opened.rest[match.end() :].lstrip()
            if not following or (self.base(match[2], form) in self.ambiguous and not self.has_object(following)):
                return None
        rest = _COORDINATED.sub(lambda match: match[1] + (self.base(match[2], form) or match[2]), opened.rest)
        return opened._replace(rest=rest).text

    def has_coordinated(self, text: str) -> bool:
        """Whether a request may ask for a second thing: its verb would have to be inflected as well."""
        found = (match[1].casefold() for match in _COORDINATED_BASE.finditer(text))
        return any(word in self.known or word.endswith("ly") for word in found)


def _first_word(text: str) -> str:
    return text[: len(text) - len(text.lstrip(_LETTERS))].casefold()


def _third(base: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh|o)$", base):
        return base + "es"
    return base[:-1] + "ies" if re.search(r"[^aeiou]y$", base) else base + "s"


def _gerund(stem: str) -> str:
    return (stem[:-1] if re.search(r"[^eoy]e$", stem) else stem) + "ing"


def _either(words: frozenset[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
