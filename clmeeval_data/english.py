"""The little that is known here about English: which words carry no content, and what is another language."""

import re

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a all an and any are as at be been between by current each for from given if in into is it its new "
        "no not of on one only or out per same than that the these this those to two up using when whether "
        "which with without ",
    )
)
# Function words of other languages that look like no English word and no name of code.
_FOREIGN = {
    "German": "der das und ist nicht wie ein eine einen einer mit für auf dem von zu wird werden oder auch als aus bei "
    "nach durch sind keine beim zum zur",
    "Spanish": "el la los las que en una por para como con del se es y al este esta si su sus cuando",
    "French": "le la les des une est dans pour avec du et ou qui que sur par ce cette au aux pas comment sont",
    "Portuguese": "os da dos das em não uma um para com que por se ou na ao como mais pelo pela",
    "Italian": "il lo la gli di una con del della che è nel alla dei sono questo come",
    "Dutch": "het een van en voor met niet op dat zijn naar wordt",
}
_FOREIGN_WORDS = {name: frozenset(words.split()) for name, words in _FOREIGN.items()}
_ENDINGS = ("ings", "ing", "ies", "ied", "ers", "ed", "es", "er", "e", "s", "y")
_LITERAL = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"")


def has_function_word(text: str) -> bool:
    """Whether any word of the text is a function word, as in every longer English sentence."""
    return not FUNCTION_WORDS.isdisjoint(re.findall(r"\w+", text.casefold()))


def stem(word: str) -> str:
    """A word in lower case without its ending: "convert" for "converting", "quer" for "query" and "queries"."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 2:
            return word.removesuffix(ending)
    return word


def foreign(text: str, ascii_share: float) -> str | None:
    """Why a text is taken for no English; None where it may be English. Quoted parts are not looked at.

    A text is foreign when less than ``ascii_share`` of its letters are ASCII, or when it has two different function
    words of another language or more, and fewer of English.
    """
    prose = _LITERAL.sub(" ", text)
    letters = [character for character in prose if character.isalpha()]
    if letters and sum(map(str.isascii, letters)) < ascii_share * len(letters):
        return "not English: its letters"
    words = frozenset(re.findall(r"[^\W\d_]{2,}|y", prose.casefold()))
    other = max(len(words & known) for known in _FOREIGN_WORDS.values())
    return "not English: its words" if other > 1 and other > len(words & FUNCTION_WORDS) else None
