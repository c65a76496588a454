"""Requests: how somebody asks how to do something, and the other ways to ask for it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from clmeeval_data.paraphrase.rules.choice import Choices
from clmeeval_data.paraphrase.rules.endings import Ending
from clmeeval_data.paraphrase.rules.lexicon import Lexicon
from clmeeval_data.paraphrase.rules.spans import SPAN, TOPIC
from clmeeval_data.paraphrase.rules.verbs import Form, Verbs

Manner = Literal["how", "way", "can", "plain", "third"]

_I = r"(?:i|we|you|u|one|someone)"
_HOW = re.compile(
    rf"(?:how (?:(?P<best>best )?to|(?:do|can|could|would|should|might|may|did|does|shall|must) {_I}(?P<better> best)?)"
    rf"(?: go about)? |to (?=[a-z]))(?P<body>.+)",
    re.IGNORECASE,
)
_KIND_WORD = (
    r"(?:(?:most|more|less|really|very|super) )?(?:best|better|good|nice|nicest|nicer|right|correct|proper|easy|"
    r"easiest|easier|simple|simplest|simpler|fast|fastest|faster|quick|quickest|quicker|clean|cleanest|cleaner|elegant|"
    r"efficient|pythonic|short|shortest|shorter|cheapest|optimal|recommended|preferred|standard|safe|safest|reliable|"
    r"robust|concise|convenient|effective|generic|general|memory efficient|portable|idiomatic|neat|neater|smart|"
    r"smarter|alternative|built-in|one-line|compact|direct|canonical|straightforward)"
)
_WAY = re.compile(
    r"(?:(?:what(?:'s|s| is| would be| are)|which is|is there|are there|looking for|i(?:'m| am) looking for|need|"
    r"i need) )?(?:(?P<article>an?|the|any|some) )?"
    rf"(?P<kind>{_KIND_WORD}(?:(?: ?/ ?| and | or |, ?| ){_KIND_WORD})* )?(?:(?P<topic>{TOPIC}) )?"
    r"(?:way|method|approach|technique)s? (?P<link>to|of|for|in which to) (?P<body>.+)",
    re.IGNORECASE,
)
_CAN = re.compile(
    rf"(?:is it (?:at all )?possible (?:for me )?to|can {_I}|is there (?:a|any|some) ?way to|(?:is there )?any ?way to|"
    r"possible to|are there any ways to|any ways to) (.+)",
    re.IGNORECASE,
)
_WISH = re.compile(
    r"(?:i )?(?:(?:am |'m )?(?:trying|attempting|looking)|want|need|would like|wish|i'm trying|im trying)(?: help)? to "
    r"((?!.*\b(?:but|error|get|fail\w*)\b).+)",
    re.IGNORECASE,
)
_THING = (
    r"(?:\W|str|strings?|ints?|integers?|floats?|lists?|dicts?|dictionary|dictionaries|arrays?|matrix|json|csv|xml|"
    r"dates?|datetimes?|timestamps?|time|hex|hexadecimal|binary|bytes?|unicode|tuples?|sets?|series|data ?frames?|"
    r"objects?|image|pdf|ascii|decimals?|bool|boolean|numbers?|text|column|rows?|characters?|seconds|epoch|vector)"
)
_CONVERSION = re.compile(
    rf"(?:conversion (?:of|from) )?((?:[\w-]+ |\W )*{_THING}) (?:in)?to (an? )?((?:[\w-]+ |\W )*{_THING})"
    r"(?: conversion)?",
    re.IGNORECASE,
)
_TROUBLE = re.compile(  # at the end of a title in -ing: what somebody meets, not what they want
    r"(?:errors?|denied|fail\w*|failures?|problems?|issues?|exceptions?|troubles?|crash\w*|questions?|slow|confusion|"
    r"weird|strange|hangs?|help|exceeded|not possible|impossible|not found|not \w+ing|dilemma|oddity|behaviou?r|wrong|"
    r"nothing)\W*$|\b(?:unwanted|unexpected\w*|success|despite|unable|only getting|gives?|but)\b|: ",
    re.IGNORECASE,
)
_MET = re.compile(
    r"(?!(?:handle|catch|log|raise|throw|fix|debug|print|ignore|suppress|find|avoid|prevent|solve|resolve|display)\b)"
    r"\w+ (?:[\w-]+ )?(?:errors?|problems?|issues?|exceptions?)\b|(?:get|receive|see) .*(?:errors?|exceptions?)\b|"
    rf"(?:get|receive|see) (?:an? |the )?{SPAN}$",
    re.IGNORECASE,
)
_SEVERAL = re.compile(
    r"[?!;:] |\.{2,}|\. (?=[A-Z])|(?:,|\b(?:and|or|but|then|so))\s(?:how|why|what|is|does|can|when i|i)\b",
    re.IGNORECASE,
)
_TRUTH = re.compile(  # "return true if it is, false otherwise"
    r"return true (?:if|when) (.+?)(?:(?: ?[,;])?(?: and| or)? (?:(?:otherwise|else)(?: ,|,)?(?: (?:it )?returns?)? "
    r"false|(?:returns? )?false (?:otherwise|if not)))",
    re.IGNORECASE,
)
_SUPERLATIVE = re.compile(r"\b(?:\w+est|most|right|correct|proper|recommended|preferred|standard|canonical|optimal)\b")
_QUESTIONS: Mapping[str, Sequence[str]] = {
    "how": ("How to {}", "How do I {}?", "How can I {}?", "How could I {}?", "How would I {}?"),
    "can": ("Is it possible to {}?", "Can I {}?", "Is there a way to {}?", "Is there any way to {}?"),
}
_WISHES = ("Is there a way to {}?", "What is a way to {}?", "I want to {}")
_LONGEST_GERUND = 13  # words: a longer title in -ing is hard to read


@dataclass(frozen=True)
class Request:
    """What somebody wants to do, and how it is asked for.

    Args:
        manner: "how" to do it, by which "way", whether one "can"; as an imperative ("plain"), or as manuals say what a
            function does ("third").
        body: What to do: a verb phrase in the base form, or unknown words after "how to".
        way: The kind of way that is asked for, with its article; "" where any will do.
        is_open: Whether the body opens with a known verb, so that the request can be put in every form.
    """

    manner: Manner
    body: str
    way: str = ""
    is_open: bool = True


class Requests:
    """Reads requests and words them anew."""

    def __init__(self, verbs: Verbs, lexicon: Lexicon) -> None:
        self._verbs = verbs
        self._lexicon = lexicon

    def read(self, text: str) -> Request | None:
        """The request that a masked text is, without its last punctuation; None where it is none."""
        if found := _HOW.fullmatch(text):
            if found[0][:2].casefold() == "to" and not self._verbs.infinitive(found["body"]):
                return None
            is_best = found["best"] or found["better"]
            return self._checked(Request("way" if is_best else "how", found["body"], "the best" if is_best else ""))
        if found := _CAN.fullmatch(text):
            return self._checked(Request("can", found[1]))
        if found := _WAY.fullmatch(text):
            return self._way(found)
        if found := _WISH.fullmatch(text):
            return self._checked(Request("how", found[1]))
        return self._bare(text.rstrip(": ")) or _conversion(text)

    def _way(self, found: re.Match[str]) -> Request | None:
        body: str | None = found["body"]
        if found["link"].casefold() in ("of", "for"):
            body = self._verbs.in_base_form(found["body"], "gerund")
        if body is None:
            return None
        kind = f"{(found['kind'] or '').strip().casefold()} {found['topic'] or ''}".strip()
        if not kind:
            return self._checked(Request("how", body))
        is_known = _SUPERLATIVE.search(kind) or (found["article"] or "").casefold() == "the"
        article = "the" if is_known else "an" if kind[0] in "aeiou" else "a"
        return self._checked(Request("way", body, f"{article} {kind}"))

    def _checked(self, request: Request) -> Request:
        """The request with its verb in lower case, or marked as one whose verb is unknown."""
        opened = self._verbs.infinitive(request.body)
        if opened is None:
            return replace(request, is_open=False)
        return replace(request, body=opened._replace(adverb=opened.adverb.lower()).text)

    def _bare(self, text: str) -> Request | None:
        """A request without any words that ask for it: "sort a list", "sorting a list", "Sorts a list"."""
        if opened := self._verbs.opening(text, "base"):
            if not opened.rest or self._verbs.is_statement(opened.rest.split(",")[0]):
                return None
            return Request("plain", opened._replace(adverb=opened.adverb.lower()).text)
        form: Form = "third" if text[:1].isupper() and self._verbs.opening(text, "third") else "gerund"
        body = self._verbs.in_base_form(text, form)
        if body is None or " " not in body:
            return None
        if form == "gerund" and (self._verbs.is_statement(text) or _TROUBLE.search(text) or _MET.match(body)):
            return None
        return self._checked(Request("third" if form == "third" else "plain", body))

    def write(self, request: Request, choices: Choices, ending: Ending) -> str:
        """The request in other words, without a last full stop; with a question mark where it is a question.

        Args:
            request: The request.
            choices: Decide on the form, which is another one at each attempt, and on the verb.
            ending: How it ended, which decides what it may become.
        """
        body = _TRUTH.sub(r"check whether \1", request.body)
        opened = self._verbs.infinitive(body) if request.is_open else None
        if opened is not None and (not opened.adverb or opened.adverb.endswith("ly ")):
            body = self._lexicon.replace_head(*opened, choices)
        return choices.turn("form", list(self._forms(replace(request, body=body), ending)))

    def _forms(self, request: Request, ending: Ending) -> Iterator[str]:
        body = request.body
        if not ending.is_last:
            asked = (form.format(body) for form in _QUESTIONS["can" if request.manner == "can" else "how"])
            yield from filter(ending.fits, asked) if ending.asks else (body, *self._finite_forms(request))
        elif _SEVERAL.search(body) or "?" in body or not request.is_open or body.startswith("not "):
            forms = _QUESTIONS["can" if request.manner == "can" else "how"]
            if not request.is_open and body[0].islower():
                forms = (*forms, *_WISHES)
            yield from (form.format(body).rstrip("?" if "?" in body else "") for form in forms)
        elif request.manner == "way":
            kind = request.way.partition(" ")[2]
            asks = "Which is" if request.way.startswith("the ") else "Is there"
            yield from (f"What is {request.way} way to {body}?", f"{asks} {request.way} way to {body}?")
            yield f"{kind[0].upper()}{kind[1:]} way to {body}"
        elif request.manner == "can":
            yield from (form.format(body) for form in (*_QUESTIONS["can"], "How can I {}?"))
        else:
            yield from (form.format(body) for form in (*_QUESTIONS["how"], *_WISHES))
            yield body
            if request.manner == "third":
                yield from self._finite_forms(request)
            elif not ending.is_prose and self._is_single(body) and len(body.split()) <= _LONGEST_GERUND:
                yield self._verbs.inflected(body, "gerund")

    def _finite_forms(self, request: Request) -> Iterator[str]:
        if request.manner in ("plain", "third") and self._is_single(request.body):
            yield self._verbs.inflected(request.body, "third")

    def _is_single(self, body: str) -> bool:
        """Whether only the first word of a body has to be inflected."""
        return body.partition(" ")[0] in self._verbs.known and not self._verbs.has_coordinated(body)


def _conversion(text: str) -> Request | None:
    """Two things ("string to date") as a request to convert the one to the other."""
    found = _CONVERSION.fullmatch(text) if len(text.split()) < 10 else None
    if found is None:
        return None
    old = found[1] if found[1][1:2].isupper() else found[1][0].lower() + found[1][1:]
    return Request("how", f"convert {old} to {found[2] or ''}{found[3]}")
