"""What a description adds about the call that it describes: "..., using `os.path`, with the argument `path`"."""

import re
from dataclasses import dataclass

from clmeeval_data.paraphrase.rules.choice import Choices
from clmeeval_data.paraphrase.rules.endings import Ending
from clmeeval_data.paraphrase.rules.spans import QUOTED

_CALL = re.compile(
    rf"(?P<words>.+?)(?:, (?P<link>using|from) (?P<owner>{QUOTED}))?"
    rf"(?:, with the argument(?P<plural>s?) (?P<arguments>{QUOTED}(?:(?:, | and ){QUOTED})*))?",
    re.IGNORECASE,
)
_AT_END = {"using": ("using", "by means of"), "from": ("from", "in")}
_IN_FRONT = {"using": "Using", "from": "In"}
_ARGUMENTS = ("with the argument{}", "given the argument{}", "passing the argument{}", "called with the argument{}")


@dataclass(frozen=True)
class Call:
    """Whose function is called, and with what.

    Args:
        link: "using" or "from"; "" where no owner is named.
        owner: The module or object, masked.
        plural: "s" where there are several arguments.
        arguments: The arguments, masked, with commas and "and"; "" where none is named.
    """

    link: str
    owner: str
    plural: str
    arguments: str


def find(words: str) -> tuple[Call | None, str]:
    """The call at the end of a masked sentence, without its last punctuation, and the sentence without it."""
    found = _CALL.fullmatch(words)
    if found is None or not (found["owner"] or found["arguments"]):
        return None, words
    call = Call((found["link"] or "").lower(), found["owner"] or "", found["plural"] or "", found["arguments"] or "")
    return call, found["words"]


def place(text: str, call: Call, choices: Choices, ending: Ending) -> str:
    """A sentence with its call: the owner at its end or, as a phrase, before it; the arguments at its end.

    Args:
        text: The sentence, with ? where it is a question; with a small first letter where that may follow a phrase.
        call: The call.
        choices: Decide on the words.
        ending: How the sentence ended, which it doesn't yet.
    """
    body, mark = (text[:-1], "?") if text.endswith("?") else (text, "")
    if call.arguments:
        body = f"{body}, {choices.pick('arguments', _ARGUMENTS).format(call.plural)} {call.arguments}"
    if not call.owner:
        return body + mark
    if ending.is_last and choices.chance("owner in front", 60):
        return f"{_IN_FRONT[call.link]} {call.owner}, {body}{mark}"
    return f"{body}, {choices.pick('owner', _AT_END[call.link])} {call.owner}{mark}"
