"""One wording of one text: all rules together."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clmeeval_data.paraphrase.rules import calls
from clmeeval_data.paraphrase.rules.choice import Choices
from clmeeval_data.paraphrase.rules.endings import Ending
from clmeeval_data.paraphrase.rules.lexicon import Lexicon
from clmeeval_data.paraphrase.rules.requests import Request, Requests
from clmeeval_data.paraphrase.rules.sentences import Sentences
from clmeeval_data.paraphrase.rules.spans import Masked, Masking
from clmeeval_data.paraphrase.rules.topics import Topic, Topics, links
from clmeeval_data.paraphrase.rules.verbs import Verbs

_FIRST_SENTENCE = re.compile(
    r"(.+?(?<!\betc)(?<!\bvs)(?<!\.)(?: ?[.!?]))(\s+(?=[A-Z\ue000-\uf8ff\"(]).+)|([^;]+?)(\s?; .+)", re.DOTALL
)


@dataclass(frozen=True)
class Reading:
    """What a text is made of.

    Args:
        text: As it was written.
        masked: The same, masked.
        words: The first sentence, masked, without its last punctuation and what it adds about a call.
        ending: How the first sentence ends.
        later: What follows the first sentence, masked.
        call: What the first sentence adds about the call that it describes.
        topic: The language or library that the first sentence names apart from the rest.
        core: The words without the topic.
        request: What the core asks for; None where it is no request.
    """

    text: str
    masked: Masked
    words: str
    ending: Ending
    later: str
    call: calls.Call | None
    topic: Topic | None
    core: str
    request: Request | None


class Rewriter:
    """Words texts anew.

    Args:
        tables: The TOML files of this folder, by name.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self.verbs = Verbs(tables["verbs"])
        self._lexicon = Lexicon(tables["words"], tables["heads"])
        self._requests = Requests(self.verbs, self._lexicon)
        names = links(tables["topics"])
        common = self.verbs.function_words | self.verbs.forms | self.verbs.nouns | self._lexicon.vocabulary
        self._masking = Masking(names, common)
        self._topics = Topics(names, self.verbs, self._requests, self._masking.lowered)
        self._sentences = Sentences(tables["openings"]["opening"], self.verbs, self._masking.lowered)

    def read(self, text: str) -> Reading:
        """What a text is made of."""
        masked = self._masking.mask(text)
        first, later = self._first_sentence(masked.text)
        words = first.rstrip(" \t\r\n.?!:")
        call, rest = calls.find(words)
        topic, core = self._topics.find(rest, masked)
        ending = Ending(first[len(words) :], is_last=not later)
        return Reading(text, masked, rest, ending, later, call, topic, core, self._requests.read(core))

    def write(self, reading: Reading, choices: Choices, is_last_resort: bool) -> str:
        """A wording, masked like the text; it may say the same words.

        Args:
            reading: The text.
            choices: Decide among the wordings.
            is_last_resort: Whether to replace every phrase that can be, and to frame what can't be said otherwise.
        """
        ending, topic = reading.ending, reading.topic
        if reading.request is not None:
            written: str | None = self._requests.write(reading.request, choices, ending)
        else:
            written = self._sentences.write(reading.core, choices, ending)
        if written is None and is_last_resort:
            topic, written = None, self._sentences.frame(reading.words, choices, ending)
        elif written is None:
            written = reading.core + ("?" if ending.asks else "")
        if topic is not None:
            written = self._topics.place(written, topic, choices, ending)
        if reading.call is not None:
            written = calls.place(self._masking.lowered(written), reading.call, choices, ending)
        is_capital = bool(reading.later) or not reading.masked.text[:1].islower()
        written = ending.closed(written, is_capital) + reading.later
        return self._lexicon.reword(written, reading.text, choices, reading.masked.titled, is_eager=is_last_resort)

    def _first_sentence(self, text: str) -> tuple[str, str]:
        """The first sentence of a text and what follows it, with the space between them."""
        found = _FIRST_SENTENCE.fullmatch(text)
        if found is None:
            return text, ""
        if found[1]:
            return found[1], found[2]
        return (found[3], found[4]) if self.verbs.is_statement(found[4].lstrip(" ;")) else (text, "")
