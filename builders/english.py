"""The little that the builders know about English: which words carry no content."""

import re

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a all an and any are as at be been between by current each for from given if in into is it its new "
        "no not of on one only or out per same than that the these this those to two up using when whether "
        "which with without ",
    )
)


def content_words(text: str) -> frozenset[str]:
    """The words of a text that carry its meaning, without case and plural: texts with the same ones say the same."""
    found = re.findall(r"\w+", text.casefold())
    return frozenset(re.sub(r"(?<=\w{3})s$", "", word) for word in found if word not in FUNCTION_WORDS)


def has_function_word(text: str) -> bool:
    """Whether any word of the text is a function word, as in every longer English sentence."""
    return not FUNCTION_WORDS.isdisjoint(re.findall(r"\w+", text.casefold()))
