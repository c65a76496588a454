"""The language or library that an intent is about: where it stands, and where else it may stand."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clmeeval_data.paraphrase.rules.choice import Choices
from clmeeval_data.paraphrase.rules.endings import Ending
from clmeeval_data.paraphrase.rules.requests import Requests
from clmeeval_data.paraphrase.rules.sentences import is_name
from clmeeval_data.paraphrase.rules.spans import MASKED, SPAN, TOPIC, Masked
from clmeeval_data.paraphrase.rules.verbs import Verbs

_TOPICS = rf"{TOPIC}(?:(?: and |/| & |, | \+ | | ?\(){TOPIC}\)?)*"
_LINK = r"(?:in|using|with|on)"
_LABEL = re.compile(  # "python: ...", "[python] ..."
    rf"[\[(]?({_TOPICS}|{SPAN})[\])]?\s*(?::|,|;|\.|\||\s/|\s?[-–—]+|(?<=\])|(?<=\)))\s+(.+)"
)
_OTHER_LABEL = re.compile(r"([^:;.,?!]{2,40})(?: ?:| [-–—]+|,(?= (?:how|what|is there|can)\b)) (.+)", re.IGNORECASE)
_PHRASE = re.compile(  # "in a list of strings, find ..."
    rf"((?:for|in|from|given|with|on|inside|within) (?!{TOPIC} ?,)[^,:;?]{{1,60}}) ?, (.+)", re.IGNORECASE
)
_FRONTED = re.compile(rf"({_LINK}) ({_TOPICS})(,?) (?:- )?(.+)", re.IGNORECASE)
_TAIL = re.compile(rf"(.+?)[ ,-]* ({_LINK}) ({_TOPICS})", re.IGNORECASE)
_TAIL_LABEL = re.compile(  # "python: ...", "[python] ..."
    rf"(.+?)\s*(?:,|:|;|\||\s[-–—]+|(?=[\[(]))\s*[\[(]?(?:({_LINK}) )?({_TOPICS})[\])]?", re.IGNORECASE
)
_ENDS = re.compile(rf"{TOPIC}[\])]?$")
_BARE = re.compile(rf"({_TOPICS}) (.+)")
_SHORT_NAME = re.compile(  # of a thing in a language: "python garbage collection", not "python book for beginners"
    r"(?!.*\b(?:in|on|at|for|to|with|from|by|of|and|or|as|vs|when|is|not|how|scripts?|codes?|programs?|versions?|install\w*|"
    r"interpreters?|packages?|modules?|librar\w+|ide|path|books?|shell|apps?|applications?|projects?|servers?|"
    r"equivalents?|ways?|wrappers?|bindings?|ports?|support|api|tutorials?|developers?|sites?|framework|notebook|"
    r"documentation|process|expert|newbie|beginner|behind|after|before|over|under|inside|outside|via|through|without|"
    rf"\w+ing|\w+ed)\b)(?:[A-Za-z]|{MASKED})+(?: (?:[A-Za-z]|{MASKED})+){{1,3}}",
    re.IGNORECASE,
)
_ASKS = re.compile(r"(?:how|what|is|are|can|why|which|do|does|where|should)\b", re.IGNORECASE)
_TIED = re.compile(
    rf"{TOPIC}|\b(?:or|and|vs|between|difference|versions?|from)\b", re.IGNORECASE
)  # to what stands before


@dataclass(frozen=True)
class Topic:
    """What a text is about, apart from what it says about it.

    Args:
        name: As it is written, masked.
        link: The preposition that goes with it; "" where it stays in its place.
        is_front: Whether it stood before the rest as a phrase ("in python, ...") rather than as a label or at the end.
    """

    name: str
    link: str
    is_front: bool


def links(table: Mapping[str, str]) -> dict[str, str]:
    """The preposition that goes with each name, from a table of names per preposition; see ``topics.toml``."""
    return {name.strip(): link for link, names in table.items() for name in names.split("|") if name.strip()}


class Topics:
    """Finds the topics of texts and puts them elsewhere.

    Args:
        links: The preposition that goes with each name, in lower case.
        verbs: The verbs.
        requests: Tell whether what remains without a topic is a request.
        lowered: Gives a sentence the small letter that it has after a comma.
    """

    def __init__(
        self, links: Mapping[str, str], verbs: Verbs, requests: Requests, lowered: Callable[[str], str]
    ) -> None:
        self._links = links
        self._verbs = verbs
        self._requests = requests
        self._lowered = lowered

    def find(self, text: str, masked: Masked) -> tuple[Topic | None, str]:
        """The topic of a masked sentence, without its last punctuation, and the sentence without it."""
        text = text.rstrip(" ,-")
        return self._before(text, masked) or self._after(text, masked) or (None, text)

    def _before(self, text: str, masked: Masked) -> tuple[Topic, str] | None:
        if found := _LABEL.fullmatch(text):
            is_repeated = masked.restore(found[1]).casefold() in masked.restore(found[2]).casefold()
            return Topic(found[1], "" if is_repeated else self._link(found[1], masked), False), found[2]
        if found := _PHRASE.fullmatch(text):
            rest = found[2][0].upper() + found[2][1:]
            if self._requests.read(rest):
                return Topic(found[1], "", True), rest
        if (found := _FRONTED.fullmatch(text)) and (found[3] or _ASKS.match(found[4])):
            return Topic(found[2], found[1].lower(), True), found[4]
        if (found := _OTHER_LABEL.fullmatch(text)) and self._asks(found[2]):
            return Topic(found[1], "", False), found[2]
        if (found := _BARE.fullmatch(text)) and self._may_follow(found[2]):
            return Topic(found[1], self._link(found[1], masked), False), found[2]
        return None

    def _after(self, text: str, masked: Masked) -> tuple[Topic, str] | None:
        if not _ENDS.search(text):
            return None
        if (found := _TAIL.fullmatch(text)) and not _TIED.search(found[1]):
            return Topic(found[3], found[2].lower(), False), found[1]
        if (found := _TAIL_LABEL.fullmatch(text)) and not re.search(TOPIC, found[1]):
            return Topic(found[3], found[2] or self._link(found[3], masked), False), found[1]
        return None

    def _asks(self, text: str) -> bool:
        request = self._requests.read(text)
        return request is not None and request.manner in ("how", "way", "can")

    def _may_follow(self, text: str) -> bool:
        """Whether a text can stand alone after a name without punctuation: "python sort a list"."""
        request = self._requests.read(text)
        if request is None:
            return is_name(text) or (_SHORT_NAME.fullmatch(text) is not None and not self._verbs.is_statement(text))
        first, _, rest = text.partition(" ")
        is_doubtful = first.casefold() in self._verbs.ambiguous or first.endswith("ing")
        return request.manner != "plain" or not is_doubtful or self._verbs.has_object(rest)

    def _link(self, name: str, masked: Masked) -> str:
        if len(name) > 1:
            return ""
        written = re.sub(r"[\s\d.x]+$", "", masked.restore(name)).casefold()
        return self._links.get(" ".join(written.split()), "")

    def place(self, text: str, topic: Topic, choices: Choices, ending: Ending) -> str:
        """A sentence with its topic: at its end, before it as a phrase, or as a label; a thing's name has no phrase."""
        front = f"{topic.link} {topic.name}".strip()
        if topic.is_front and not topic.link:
            places = ["front"]
        elif not topic.link:
            places = ["label"]
        else:
            places = ["tail", "tail", "front", "label"] if ending.is_last else ["tail"]
        has_phrase = text.endswith("?") or self._requests.read(text) is not None or self._verbs.is_statement(text)
        if len(places) > 1 and (not has_phrase or re.match(r"\w+ing\b", text)):
            places.remove("front")
        place = choices.pick("topic", places)
        if place == "tail":
            body, mark = (text[:-1], "?") if text.endswith("?") else (text, "")
            return f"{body} {front}{mark}"
        if place == "front":
            return f"{front[0].upper()}{front[1:]}, {self._lowered(text)}"
        return f"{topic.name}: {text}"
